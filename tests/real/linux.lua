-- The story of one boot of Linux, told by tests/real/linux.sh: how far it got, and what linux.lua and
-- `kaslr` say about it at a stop. name=: of the tests; until=: smp, alternatives or init; cpus=: how many.
local a = ...
local lx = dofile("scripts/lib/linux.lua")
local patience = tonumber(a.patience)

local function check(what, good, why)
  print(string.format("%s %s_%s%s", good and "ok" or "FAIL", a.name, what, good and "" or ": " .. tostring(why)))
end
local function reached(what, pattern)
  local good, why = pcall(vm.wait_console, vm, pattern, patience)
  check(what, good, why)
  if not good then vm.quit(0); vm:sleep(10) end
end
local function has(list, pick)
  for _, x in ipairs(list) do if pick(x) then return true end end
  return false
end

vm:cont()
reached("prints", "Linux version 6[^\n]*\n")
if a["until"] == "smp" then
  reached("processors", "smp: Brought up 1 node, " .. a.cpus .. " CPUs")
  vm:stop()
  lx.use_symbols()
  local ticked, n = {}, 0 -- a breakpoint is hit by each, and steps of one leave the others alone
  vm.break_at("scheduler_tick")
  for _ = 1, 40 do
    local s = vm:run(patience)
    if s.rip ~= lx.symbol("scheduler_tick") then check("tick", false, s.text) break end
    n = n + (ticked[s.vcpu] and 0 or 1)
    ticked[s.vcpu] = true
    vm.step(3, s.vcpu)
    if n > 1 then break end
  end
  check("ticks_of_several", n > 1, n .. " processors came to scheduler_tick")
  vm.quit(0)
  return
end
reached("slub", "SLUB: HWalign[^\n]*\n")               -- cmpxchg16b
reached("fpu", "x86/fpu: [^\n]*\n")                     -- xsave, xgetbv
reached("selftests", "Freeing SMP alternatives memory[^\n]*\n") -- int3, rewriting of its own code
vm:stop()

-- A breakpoint on a name that only the kernel's own tables tell, moved or not.
check("symbols", lx.use_symbols() > 50000 and vm.symbols[lx.symbol("rest_init")] == "rest_init",
      vm.symbols[lx.symbol("rest_init")])
local s
vm:break_at("rest_init", {temporary = true})
s = vm:run(patience)
check("breakpoint", s.kind == "breakpoint" and s.rip == lx.symbol("rest_init"),
      string.format("%s at 0x%x, not at 0x%x", s.kind, s.rip, lx.symbol("rest_init")))

local text, data = vm.cmd("kaslr")
check("kaslr", data.slide == lx.slide(), text .. " but _text says " .. vm.hex(lx.slide()))
if a.moved and lx.slide() == 0 then -- one place of some five hundred
  print("SKIP " .. a.name .. "_moved: of all places KASLR chose the one where the kernel was linked")
elseif a.moved then
  check("moved", lx.slide() & 0x1fffff == 0, vm.hex(lx.slide()))
end
check("banner", lx.banner():find("^Linux version 6"), lx.banner())
local lines = lx.dmesg()
check("dmesg", #lines > 40 and lines[1]:find("Linux version 6") and
               has(lines, function(l) return l:find("Freeing SMP alternatives memory") end),
      #lines .. " lines, first: " .. tostring(lines[1]))
-- What the console shows is the same text, line by line, but for line ends.
local console, missing = vm.console("com1"):gsub("\r", ""), nil
for i = #lines - 10, #lines - 1 do
  if not console:find(lines[i]:match("%] (.*)"), 1, true) then missing = lines[i] end
end
check("dmesg_is_the_console", not missing, tostring(missing) .. " is not on the console")
local tasks = lx.tasks()
check("tasks", tasks[1] and tasks[1].pid == 0 and tasks[1].comm:find("^swapper") and tasks[1].kernel,
      #tasks .. " tasks")
if a["until"] ~= "init" then vm.quit(0) return end

-- The program of the initramfs, before its pages are mapped; its data, its system calls, its faults.
vm.cmd("symbol-file " .. a.init)
local function at(name) return (vm.symbol(name) or {}).addr end
local function ring() return vm.regs.cs & 3 end
local function run_to(what, where, want_ring)
  vm.break_at(where, {temporary = true})
  local stop = vm:run(patience)
  local want = type(where) == "string" and at(where) or where
  check(what, stop.kind == "breakpoint" and stop.rip == want and ring() == want_ring, stop.text)
end
run_to("ring3_breakpoint", "_start", 3)
reached("initramfs", "Run /init as init process")
tasks = lx.tasks(true)
check("all_tasks", has(tasks, function(t) return t.pid == 2 and t.comm == "kthreadd" and t.kernel end) and
                   has(tasks, function(t) return t.pid == 1 end) and #tasks > 10, #tasks .. " tasks")
vm.cmd("watch *(long *)" .. vm.hex(at("counter")))
for _, want in ipairs{1, 3} do
  s = vm:run(patience)
  check("ring3_watch_" .. want, s.kind == "watchpoint" and vm.mem.u64[at("counter")] == want, s.text)
end
vm.cmd("delete")
text = vm.cmd("finish")
vm:wait_stop(patience)
check("finish", vm.regs.rip > at("_start") and vm.regs.rip < at("_start") + 256, text)

-- Into the kernel by SYSCALL, and back to the instruction behind it.
run_to("syscall_entry", "entry_SYSCALL_64", 0)
local back = vm.regs.rcx
check("syscall_callers", vm.cmd("backtrace"):find("#1 [^\n]*_start"), vm.cmd("backtrace"))
run_to("syscall_body", "do_syscall_64", 0)
check("syscall_number", vm.regs.rsi == 39, vm.hex(vm.regs.rsi))
run_to("sysret", back, 3)
check("pid", vm.regs.rax == 1, vm.regs.rax)

-- The fault of one page, by its address, and back by IRET to the store that faulted.
local room = at("room") + 4096
vm.cmd(string.format("catch exception 14 if cr2 == 0x%x", room))
s = vm:run(patience)
check("page_fault", vm.regs.cr2 == room and ring() == 0, s.text)
check("fault_callers", vm.cmd("backtrace"):find("#1 [^\n]*touch"), vm.cmd("backtrace"))
vm.cmd("delete")
run_to("iret", "touch", 3)
vm.step(1)
check("store_again", vm.mem.u8[room] == 1 and ring() == 3, vm.hex(vm.regs.rip))
vm:cont()
reached("ring3", "vmscope%-init: ring 3 reached")
