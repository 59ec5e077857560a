-- internal: KVM gives up; a hook may say why in its own words.
-- guest: nowhere
-- status: 10
local texts = {}
vm.on("internal", function(e) texts[#texts + 1] = e.text end)
vm.on("end", function()
  local s = vm.last_stop()
  assert(s.kind == "internal error" and s.rip == 0xfe000000, s.kind)
  assert(#texts >= 1 and texts[1] ~= "", #texts)
  print("passed")
end)
