-- hlt, irq and tick; and which vector, where, on which vCPU.
-- guest: timer_irq
-- status: 33
local hlt, irq, other, ticks = 0, 0, 0, 0
vm.on("hlt", function(e) hlt = hlt + 1 assert(not e.port and not e.value and e.vcpu == 0) end)
vm.on("irq", "vector == 0x20", function(e) irq = irq + 1 assert(e.vector == 0x20 and e.kind == "inject") end)
vm.on("irq", function(e) if e.vector ~= 0x20 then other = other + 1 end end)
local tick = vm.on("tick", 0.01, function() ticks = ticks + 1 end)
vm.on("end", function()
  assert(hlt == 20 and irq == 20 and other == 0, hlt .. " " .. irq)
  assert(ticks > 2 and tick.hits == ticks, ticks)
  print("passed")
end)
assert(vm:run(100).kind == "debug exit")
while ticks < 3 do vm:sleep(0.01) end -- the guest may have been quicker
