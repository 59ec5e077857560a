-- GDT and IDT linter: reports what a processor accepts but an author hardly means.
--
--   vmscope run --script tables,at=kernel_main GUEST      at a symbol
--   lua require("tables")()                              at the prompt, now
local args = type(...) == "table" and ... or {}

local function lint()
  local r, problems = vm.regs, 0
  local long = r.efer & 0x400 ~= 0
  local function bad(...) problems = problems + 1; print("tables: " .. string.format(...)) end
  if r.cr0 & 1 == 0 then
    print("tables: real mode has no descriptor tables to look at")
    return 0
  end

  local gdt_base, gdt_limit = r.gdtr_base, r.gdtr_limit
  if (gdt_limit + 1) % 8 ~= 0 then bad("the GDT's limit 0x%x is not a multiple of 8 minus 1", gdt_limit) end
  local codes = {}
  local at = 0
  while at + 7 <= gdt_limit do
    local d = vm.mem.u64[gdt_base + at]
    local kind, s, present = d >> 40 & 15, d >> 44 & 1, d >> 47 & 1
    local dpl, l, big = d >> 45 & 3, d >> 53 & 1, d >> 54 & 1
    local base = d >> 16 & 0xffffff | (d >> 56) << 24
    local wide = s == 0 and long and (kind == 2 or kind == 9 or kind == 11)
    if at == 0 then
      if d ~= 0 then bad("GDT entry 0 is not null (0x%x)", d) end
    elseif present == 1 and s == 1 and kind & 8 ~= 0 then
      codes[at] = {dpl = dpl, long = l == 1}
      if l == 1 and big == 1 then bad("GDT 0x%x: code segment has both L and D set", at) end
      if l == 1 and base ~= 0 then bad("GDT 0x%x: base 0x%x of a 64-bit segment is ignored", at, base) end
    elseif present == 1 and s == 0 and (kind == 9 or kind == 11) then
      local limit = d & 0xffff | (d >> 48 & 15) << 16
      if limit < (long and 0x67 or 0x67) then bad("GDT 0x%x: TSS limit 0x%x is below 0x67", at, limit) end
      if dpl ~= 0 then bad("GDT 0x%x: TSS has privilege level %d", at, dpl) end
    end
    at = at + (wide and 16 or 8)
  end
  if r.cr0 & 0x80000000 ~= 0 and not vm.translate(gdt_base) then bad("the GDT at 0x%x is not mapped", gdt_base) end

  local size = long and 16 or 8
  local present, idt_base, idt_limit = 0, r.idtr_base, r.idtr_limit
  if idt_limit + 1 < 32 * size then bad("the IDT has %d entries: not all exceptions have one", (idt_limit + 1) // size) end
  for n = 0, math.min((idt_limit + 1) // size, 256) - 1 do
    local e = idt_base + n * size
    if not vm.translate(e) then bad("IDT entry %d at 0x%x is not mapped", n, e) break end
    local low, high = vm.mem.u32[e], vm.mem.u32[e + 4]
    if high & 0x8000 ~= 0 then
      present = present + 1
      local sel, dpl, kind = low >> 16, high >> 13 & 3, high >> 8 & 15
      local target = low & 0xffff | high & 0xffff0000
      if long then target = target | vm.mem.u32[e + 8] << 32 end
      if high & 0x1000 ~= 0 then bad("vector %d: bit 44 is set, the gate faults when used", n) end
      if kind ~= 14 and kind ~= 15 and not (kind == 5 and not long) then bad("vector %d: type %d is no interrupt or trap gate", n, kind) end
      local code = codes[sel & ~7]
      if not code then bad("vector %d: selector 0x%x is no code segment", n, sel)
      elseif long and not code.long then bad("vector %d: selector 0x%x is not 64-bit", n, sel) end
      if not vm.translate(target) then bad("vector %d: its handler 0x%x is not mapped", n, target) end
      if n < 32 and dpl == 3 and n ~= 3 and n ~= 4 then bad("vector %d: ring 3 may raise this exception by INT", n) end
      if n == 8 and kind == 15 then bad("vector 8 is a trap gate: interrupts stay on in the double fault") end
    elseif n == 8 or n == 13 or n == 14 then
      bad("vector %d has no handler", n)
    end
  end
  print(string.format("tables: %d code segments, %d gates, %d problems",
                      (function() local c = 0 for _ in pairs(codes) do c = c + 1 end return c end)(),
                      present, problems))
  return problems
end

if args.at then
  local id = vm:break_at(args.at, {temporary = true})
  vm.on("stop", function(s)
    if s.point == id then lint() return "continue" end
  end)
elseif type(...) == "table" then
  vm.on("end", lint)
end
return lint
