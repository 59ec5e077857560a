-- msr is rdmsr and wrmsr, with and without a filter; accesses can be answered.
-- guest: --visible all --append n=100 storm_msr
-- status: 33
local n, by, filtered = 0, {rdmsr = 0, wrmsr = 0}, 0
vm.on("msr", function(e)
  n = n + 1
  assert(by[e.kind] and e.msr and not e.port and not e.gpa)
  by[e.kind] = by[e.kind] + 1
end)
vm.on("rdmsr", function(e) assert(e.kind == "rdmsr" and not e.write) by.r = (by.r or 0) + 1 end)
vm.on("msr", "msr == 0xffffffff", function() error("never") end)
vm.on("msr", {msr = 0x1b}, function() filtered = filtered + 1 end)
vm.on("end", function()
  assert(n == by.rdmsr + by.wrmsr and by.rdmsr == (by.r or 0), n)
  assert(n > 0, "no access of an MSR left the guest")
  print("passed")
end)
