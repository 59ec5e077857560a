-- shutdown: the triple fault with its vector, before the stop that tells of it.
-- guest: triple
-- status: 6
local order = {}
vm.on("shutdown", function(e) order[#order + 1] = "shutdown " .. e.vector end)
vm.on("stop", function(s) order[#order + 1] = s.kind end)
vm.on("end", function()
  assert(table.concat(order, ", ") == "shutdown 6, triple fault", table.concat(order, ", "))
  print("passed")
end)
