-- debug: breakpoints by debug register leave by it; a hook on it sees what stopped whom.
-- guest: stack
-- status: 0
local seen = 0
vm.on("debug", function(e) seen = seen + 1 assert(e.dr6 and e.exception and e.kind == "debug") end)
local id = vm:break_at("guest_main")
local s = vm:run(30)
assert(s.kind == "breakpoint" and s.point == id and vm.symbols[s.rip] == "guest_main", s.text)
vm:step(5)
assert(seen > 0, "no debug exit was seen")
print("passed")
vm.quit(0)
