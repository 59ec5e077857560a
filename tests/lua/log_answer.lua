-- "log" prints the exit's row, in a formatter's words where there is one; "stop" gives its reason.
-- guest: hello16.bin
local h = vm.on("io", "port == 0x3f8 && value == 0x68", function(e) return "log" end)
local f = vm.formatter("io", "port == 0xe9", function(e) return "debug console: " .. string.char(e.value) end)
local g = vm.on("io", "port == 0xe9 && value == 0x68", function(e) return "log" end)
local s
vm.on("io", "port == 0xf4", function(e) return "stop", "the guest wants to leave with " .. e.value end)
s = vm:run(20)
assert(s.kind == "hook" and s.text:find("the guest wants to leave with 16"), s.text)
assert(h.hits == 1 and g.hits == 1 and f.hits == 1, f.hits)
assert(not pcall(vm.on, "io", "port == ", print) and not pcall(vm.on, "io", {port = "x"}, print))
assert(not pcall(vm.on, "io", "nosuchfield == 1", print))
local wrong = vm.on("hlt", function() return "nonsense" end)
print("passed")
vm.quit(0)
