-- mode: one call for each change of the CPU mode, seen at the first exit in the new one.
-- guest: modes.bin
-- status: 33
local seen = {}
vm.on("mode", function(e) seen[#seen + 1] = e.mode end)
vm.on("end", function()
  local text = table.concat(seen, " ")
  for i = 2, #seen do assert(seen[i] ~= seen[i - 1], text) end
  assert(text:find("^real .*prot16.*prot32.*long64.*real$") or text:find("^real .*prot.*long64.*real$"), text)
  print("passed")
end)
