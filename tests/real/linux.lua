-- The story of one boot of Linux, told by tests/real/linux.sh: how far it got, and what linux.lua and
-- `kaslr` say about it at a stop. name=: of the tests; until=: prints, alternatives or init.
local a = ...
local lx = dofile("scripts/lib/linux.lua")
local patience = tonumber(a.patience or 480)

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
if a["until"] == "prints" then vm.quit(0) return end
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

vm:cont()
reached("initramfs", "Run /init as init process")
vm:stop()
tasks = lx.tasks(true)
check("all_tasks", has(tasks, function(t) return t.pid == 2 and t.comm == "kthreadd" and t.kernel end) and
                   has(tasks, function(t) return t.pid == 1 end) and #tasks > 10, #tasks .. " tasks")
vm:cont()
reached("ring3", "vmscope%-init: ring 3 reached")
