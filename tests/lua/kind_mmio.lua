-- mmio: what an access is, a device's place taken, an access dropped; and the trace afterwards.
-- guest: --append n=100 storm_mmio
-- status: 33
local reads, writes, keyed, traced = 0, 0, 0, 0
vm.on("mmio", function(e)
  assert(e.kind == "mmio" and e.gpa == 0xfe000000 and e.size == 4 and not e.port and not e.msr)
  assert(e.rip >= 0x100000 and e.symbol:find("^guest_main") and e.mode == "long64" and e.cpl == 0)
  if e.write then writes = writes + 1 assert(e.value % 2 == 1) return "drop" end
  reads = reads + 1
  return e:reply(reads * 3)
end)
local all = vm.on("mmio", "write && value == 1", function(e) keyed = keyed + 1 end)
local other = vm.on("mmio", "gpa == 0xfe000004", function() error("another address") end)
vm.on("trace", "kind == mmio && !write", function(e)
  traced = traced + 1
  assert(e.value == traced * 3 and not e.unclaimed, e.text)
end)
vm.on("end", function()
  assert(reads == 50 and writes == 50 and keyed == 1 and other.hits == 0 and all.hits == 1)
  assert(traced == 50, traced)
  print("passed")
end)
