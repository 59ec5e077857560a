-- A million events, and the memory that Lua holds stays what it was, to the byte.
-- guest: --append n=100000000 storm_pio
-- On a host that is slow in all it does a part of it is enough.
local many = os.getenv("TESTS_SCALE") and 10000 or 1000000
local n, changes, last, hooks = 0, 0, 0, {}
local function look(e)
  local sum = e.port + e.value + e.rip + vm.regs.rax
  local good = e.write and e.kind == "io" and e.symbol and not e.gpa
  assert(good and sum > 0)
  n = n + 1
  local now = collectgarbage("count")
  if now ~= last then changes, last = changes + 1, now end
  if n == many then return "stop", "enough" end
end
for i = 1, 20 do hooks[i] = vm.on("io", "port == 0x80 && write", look) end
local s = vm:run(90)
assert(s.kind == "hook" and s.text:find("enough"), s.text)
assert(n >= many and changes < 10, changes)
for _, h in ipairs(hooks) do h:remove() end
-- every field, more rarely
local fields = {"kind", "port", "size", "value", "write", "count", "gpa", "msr", "vector", "rip", "cs_base",
                "symbol", "cr3", "cpl", "vcpu", "mode", "seq", "at", "guest_ns", "host_ns", "unclaimed",
                "string", "stepped", "register", "reason", "exception", "dr6"}
n, changes = 0, 0
vm.on("io", "port == 0x80", function(e)
  for i = 1, #fields do local x = e[fields[i]] end
  local y = vm.mem.u8[0x100000] + vm.phys.u32[0x100000] + vm.regs.al
  vm.regs.rbp = vm.regs.rbp
  n = n + 1
  local now = collectgarbage("count")
  if now ~= last then changes, last = changes + 1, now end
  if n == many // 200 then return "stop", "enough" end
  return e:reply(0)
end)
s = vm:run(60)
assert(n == many // 200 and changes < 10, changes)
print("passed")
vm.quit(0)
