-- KVM hands one hypercall on, number 12; a hook sees it and RAX tells the guest that there is none.
-- needs: a processor with virtualisation
-- guest: hello64
-- status: 49
local code = { 0xb8, 12, 0, 0, 0,         -- mov eax, 12
               0xbb, 0, 0, 0x10, 0,       -- mov ebx, 0x100000
               0xb9, 1, 0, 0, 0,          -- mov ecx, 1
               0x31, 0xd2,                -- xor edx, edx
               0x0f, 0x01, 0xd9,          -- vmmcall; KVM makes it vmcall where it has to
               0xe6, 0xf4 }               -- out 0xf4, al
local at, n = vm.regs.rip, 0
for i, b in ipairs(code) do vm.mem.u8[at + i - 1] = b end
vm.on("hypercall", function(e)
  assert(e.kind == "hypercall" and e.rip >= at and e.rip < at + #code)
  n = n + 1
end)
vm.on("end", function()
  assert(n == 1, n)
  print("passed")
end)
