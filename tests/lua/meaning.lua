-- Symbols, lines, instructions, translation and searching on a kernel in long mode.
-- guest: stack
vm:break_at("guest_main", {temporary = true})
vm:run(30)
local main = vm.symbols.guest_main
assert(main == vm.regs.rip and vm.symbols[main] == "guest_main" and vm.symbols[main + 1] == "guest_main+0x1")
assert(vm.symbols.nosuchname == nil and vm.symbols[1 << 40] == nil and #vm.symbols > 20)
local y = vm.symbol("guest_main")
assert(y.addr == main and y.size > 0 and y.is_function and vm.symbol(main + 2).name == "guest_main")
assert(vm.symbol("nosuchname") == nil)
local found = false
for i, f in ipairs(vm.functions()) do found = found or f.name == "guest_main" assert(f.is_function) end
assert(found)
local file, line = vm.line(main)
assert(file:find("stack.c$") and line > 10)
local list = vm.disasm(main, 4)
assert(#list == 4 and list[2].addr == main + list[1].len and #list[1].bytes == list[1].len)
assert(vm.read(main, list[1].len) == list[1].bytes)
local at, calls, rets = main, 0, 0
while at < main + y.size do
  local i = vm.disasm(at)[1]
  if i.is_call then calls = calls + 1 assert(i.target == nil or vm.symbols[i.target]) end
  if i.is_ret then rets = rets + 1 end
  at = at + i.len
end
assert(calls > 0)
assert(#vm.disasm(1 << 40, 3) == 0)
assert(vm.translate(main) == main and vm.phys.u32[main] == vm.mem.u32[main])
local gpa, why = vm.translate(1 << 45)
assert(gpa == nil and why)
-- a pattern across a border of the search's chunks, and one behind a hole
vm:write(0x200000 - 3, "needle")
assert(vm:find(0x1f0000, 0x20000, "needle")[1] == 0x200000 - 3)
assert(vm.phys:find(0x1f0000, 0x20000, "needle")[1] == 0x200000 - 3)
assert(vm.mem:find(0x1f0000, 0x20000, "needle", 1)[1] == 0x200000 - 3)
assert(#vm:find(0x1f0000, 0x20000, "no such needle") == 0)
local last = 128 << 20
vm.phys:write(0x300000, "behind")
assert(vm.phys:find(0, last, "behind")[1] == 0x300000)
assert(#vm.phys:find(last - 4, 4096, "\0") == 4)
assert(#vm:find(0x8000, 4096, "\0", 5) <= 5)
-- where there is none: an error with a sentence, never a value
local function fails(words, fn, ...)
  local good, text = pcall(fn, ...)
  assert(not good and tostring(text):find(words), tostring(text))
end
for _, bad in ipairs{last, last - 1, -1, -3, 1 << 47, 1 << 62} do
  fails("no physical memory", function() return vm.phys.u64[bad] end)
  fails("no physical memory", function() vm.phys.u64[bad] = 1 end)
end
assert(vm.phys.u8[last - 1] == vm.phys:read(last - 1, 1):byte())
local before = vm.phys.u32[last - 4]
fails("no physical memory", function() vm.phys.u64[last - 4] = -1 end)
assert(vm.phys.u32[last - 4] == before, "half a number was written")
fails("no memory", function() return vm.mem.u8[1 << 47] end)
fails("no memory", function() return vm.mem.u16[-1] end)
fails("how wide", function() return vm.mem[main] end)
fails("how wide", function() vm.phys[main] = 1 end)
fails("u8, u16", function() return vm.mem.u7 end)
fails("does not fit", function() vm.mem.u8[0x8000] = 256 end)
fails("does not fit", function() vm.mem.s16[0x8000] = -32769 end)
fails("integer", function() return vm.mem.u8[0.5] end)
fails("64M", vm.read, 0, -1)
print("passed")
vm.quit(0)
