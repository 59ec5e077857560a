-- vm.watch: with a function and without, by name, by access, by condition, taken away again.
-- guest: heap
local hits = {}
vm:break_at("guest_main", {temporary = true})
assert(vm:run(30).kind == "breakpoint")
local used = vm.symbols.used
assert(used and vm.mem.u64[used] == 0)
local h = vm:watch("used", {len = 8}, function(s)
  hits[#hits + 1] = s.new
  assert(s.kind == "watchpoint" and s.addr == used and s.old < s.new, s.text)
  assert(vm.symbols[s.rip]:find("heap_alloc"), s.text)
end)
local id = vm:watch(vm.symbols.given, {len = 8, access = "change", condition = "*(u64*)given == 3"})
local s = vm:run(30)
assert(s.kind == "watchpoint" and s.point == id and vm.mem.u64[vm.symbols.given] == 3, s.text)
assert(#hits == 3 and h.hits == 3 and hits[1] == 16 and hits[3] == 160, table.concat(hits, " "))
h:remove()
assert(not h.enabled)
vm.cmd("delete " .. id)
local r = vm:watch("used", {len = 8, access = "access"})
s = vm:run(30)
assert(s.point == r and vm.symbols[s.rip]:find("heap_alloc"), s.text)
vm.cmd("delete " .. r)
assert(not pcall(vm.watch, "nosuchname"))
assert(not pcall(vm.watch, used, {access = "look"}))
s = vm:run(30)
assert(s.kind == "debug exit" and #hits == 3, s.text)
-- "stop" from the function keeps it stopped
vm:reset()
local stops = 0
vm:watch("used", {len = 8}, function(s) stops = stops + 1 return "stop" end)
s = vm:run(30)
vm:sleep(0.05)
assert(s.kind == "watchpoint" and vm.state() == "stopped" and stops == 1, s.text .. " " .. stops)
print("passed")
vm.quit(0)
