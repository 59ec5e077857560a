-- assist: what KVM refused and vmscope carried out, and nothing that the debugger brings about itself:
-- a planted byte is no internal error of the guest's, a step of ring 3 no shutdown.
-- guest: ring3
-- status: 0
local counts = { assist = 0, internal = 0, shutdown = 0 }
for kind in pairs(counts) do
  vm.on(kind, function(e)
    assert(e.kind == kind)
    counts[kind] = counts[kind] + 1
  end)
end
vm.cmd("set breakpoint registers off")
vm.cmd("break guest_main")
vm.cmd("break *0x40000000") -- user_main
local s = vm:run(30)
assert(s.kind == "breakpoint" and vm.symbols[s.rip] == "guest_main", s.text)
s = vm:run(30)
assert(s.kind == "breakpoint" and vm.regs.rip == 0x40000000, s.text)
vm:step(5)
vm.cmd("delete")
s = vm:run(30)
assert(s.kind == "debug exit", s.text)
-- 5 times INT 0x80 and 6 times SYSCALL on a KVM that emulates ring 0
assert(counts.assist == 0 or counts.assist == 11, counts.assist)
assert(counts.internal == 0 and counts.shutdown == 0, counts.internal .. " " .. counts.shutdown)
print("passed")
vm.quit(0)
