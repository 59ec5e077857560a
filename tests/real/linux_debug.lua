-- Debian's kernel under the debugger, told by tests/real/linux_debug.sh: points on its names, the watch on
-- its clock, and steps over the instructions at which it changes between rings.
local a = ...
local lx = dofile("scripts/lib/linux.lua")
local patience = tonumber(a.patience)

local function check(what, good, ...)
  print(string.format("%s linux_%s%s", good and "ok" or "FAIL", what, good and "" or ": " .. string.format(...)))
end
local function give_up(...)
  print("FAIL linux_debug: " .. string.format(...))
  vm.quit(0)
  vm:sleep(10)
end
local function where() return vm.symbols[vm.regs.rip] or vm.hex(vm.regs.rip) end
local function ring() return vm.regs.cs & 3 end
local function symbol(name) return lx.symbol(name) or give_up("the kernel has no %s", name) end

-- Runs up to an address, another point, or condition there.
local function arrive(at, condition)
  vm:break_at(at, {temporary = true, condition = condition})
  local s = vm:run(patience)
  if s.kind ~= "breakpoint" or s.rip ~= at then
    give_up("%s at %s on the way to 0x%x", s.kind, where(), at)
  end
  return s
end

-- Steps until the bytes at RIP are these.
local function step_to(bytes, most)
  for _ = 1, most do
    if vm:read(vm.regs.rip, #bytes) == bytes then return vm.regs.rip end
    vm:step()
  end
  give_up("no such instruction within %d steps, now at %s", most, where())
end

vm:cont()
vm:wait_console("x86/fpu: [^\n]*\n", patience)
vm:stop()
if lx.use_symbols() < 50000 then give_up("its names are not found") end

-- int3: a step goes into the guest's own handler, and the guest gets its exception.
arrive(symbol("int3_selftest"))
step_to("\xcc", 300)
vm:step()
check("step_int3", where() == "asm_exc_int3", "at %s", where())
arrive(symbol("int3_magic"))
check("own_int3", true)

-- More points than debug registers.
local points, wanted = {}, {"rest_init", "kernel_init", "kthreadd", "do_one_initcall", "free_initmem",
                            "run_init_process"}
for _, name in ipairs(wanted) do points[vm:break_at(symbol(name), {temporary = true})] = name end
local hit, jiffies = {}, symbol("jiffies_64")
while #hit < #wanted do
  local s = vm:run(patience)
  if s.kind ~= "breakpoint" or points[s.point] ~= where() then
    give_up("%s at %s, hit so far: %s\n%s", s.kind, where(), table.concat(hit, " "), vm.cmd("info breakpoints"))
  end
  hit[#hit + 1] = where()
  if hit[#hit] == "kernel_init" then -- the clock ticks
    local w = vm:watch(jiffies, {len = 8, access = "write"})
    local seen, last, text = 0, nil, nil
    while seen < 5 do
      s = vm:run(patience)
      if s.kind == "watchpoint" and s.new > s.old and (not last or s.old == last) then
        seen, last = seen + 1, s.new
      elseif points[s.point] then
        hit[#hit + 1] = where()
      else
        text = string.format("after 0x%x: %s", last or 0, s.text)
        break
      end
    end
    check("watch_jiffies", seen == 5, "%s", text)
    vm.cmd("delete " .. w)
  end
end
check("points", table.concat(hit, " "):find("rest_init.*run_init_process"), "%s", table.concat(hit, " "))

-- IRET into ring 3.
arrive(symbol("native_irq_return_iret"), "(*(u64*)($rsp + 8) & 3) == 3")
local to = vm.mem.u64[vm.regs.rsp]
vm:step()
check("step_iret", vm.regs.rip == to and ring() == 3, "at 0x%x in ring %d, not 0x%x", vm.regs.rip, ring(), to)

-- SYSCALL and SYSRET.
local entry = symbol("entry_SYSCALL_64")
arrive(entry)
local back = vm.regs.rcx
local sysret = vm:read(entry, 0x400):find("\x48\x0f\x07", 1, true)
if not sysret then give_up("entry_SYSCALL_64 has no sysretq") end
arrive(entry + sysret - 1)
vm:step()
check("step_sysret", vm.regs.rip == back and ring() == 3, "at %s in ring %d, not 0x%x", where(), ring(), back)
local at = step_to("\x0f\x05", 50)
vm:step()
check("step_syscall", vm.regs.rip == entry and ring() == 0 and vm.regs.rcx == at + 2 and vm.regs.r11 & 0x100 == 0,
      "at %s in ring %d, r11 0x%x", where(), ring(), vm.regs.r11)

-- HLT, while that program sleeps: the next step goes into the handler of the interrupt that wakes it.
arrive(symbol("default_idle"))
at = step_to("\xf4", 60)
vm:step()
check("step_hlt", vm.regs.rip == at + 1, "at %s", where())
vm:step()
check("step_wakes", where():find("irq") or where():find("sysvec"), "at %s", where())

vm:cont()
vm:wait_console("vmscope%-init: ring 3 reached", patience)
