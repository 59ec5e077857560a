-- The linters tell of what is broken on purpose, and of nothing before.
-- guest: ring3
vm.limit{main = 90}
local lint = require("tables")
vm:break_at("enter_user", {temporary = true})
assert(vm:run(30).kind == "breakpoint")
local said = {}
local real_print = print
local function problems()
  said = {}
  print = function(text) said[#said + 1] = text end
  local n = lint()
  print = real_print
  return n, table.concat(said, "\n")
end
local n, text = problems()
assert(n == 0, text)
local gdt, idt = vm.regs.gdtr_base, vm.regs.idtr_base
local function broken(words, poke)
  local g, i = vm:read(gdt, vm.regs.gdtr_limit + 1), vm:read(idt, vm.regs.idtr_limit + 1)
  poke()
  n, text = problems()
  assert(n >= 1 and text:find(words, 1, true), words .. " is not in: " .. text)
  vm:write(gdt, g)
  vm:write(idt, i)
end
broken("GDT entry 0 is not null", function() vm.mem.u8[gdt] = 1 end)
broken("vector 14 has no handler", function() vm.mem.u8[idt + 14 * 16 + 5] = 0 end)
broken("is no code segment", function() vm.mem.u16[idt + 13 * 16 + 2] = 0x7f8 end)
broken("its handler 0x100000000000 is not mapped", function()
  vm.mem.u16[idt + 3 * 16] = 0
  vm.mem.u16[idt + 3 * 16 + 6] = 0
  vm.mem.u32[idt + 3 * 16 + 8] = 0x1000
end)
broken("ring 3 may raise this exception", function() vm.mem.u8[idt + 14 * 16 + 5] = 0xee end)
broken("type 12 is no interrupt or trap gate", function() vm.mem.u8[idt + 5 * 16 + 5] = 0x8c end)
broken("not a multiple of 8", function() vm.regs.gdtr_limit = vm.regs.gdtr_limit - 1 end)
print("passed")
vm.quit(0)
