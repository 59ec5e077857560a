-- Memory-allocation checker: leaks, double and foreign frees, overlapping blocks.
--
--   vmscope run --script heapcheck,alloc=kmalloc,free=kfree GUEST
--
-- `alloc` takes its size in RDI (size=REGISTER) and returns in RAX; `free` takes the block in RDI.
local args = type(...) == "table" and ... or {}
local alloc, free = args.alloc or "malloc", args.free or "free"
local size_reg = args.size or "rdi"
local live, freed, pending, bad, allocs, frees = {}, {}, {}, 0, 0, 0

local function complain(fmt, ...)
  bad = bad + 1
  print("heapcheck: " .. string.format(fmt, ...))
end

local function caller()
  local at = vm.mem.u64[vm.regs.rsp]
  return vm.symbols[at] or vm.hex(at)
end

vm:break_at(alloc, function(e)
  pending[e.vcpu] = {size = vm.regs[size_reg], by = caller()}
end)

local f = vm.symbol(alloc) or error("there is no function " .. alloc)
local at = f.addr
while at < f.addr + f.size do
  local insn = vm.disasm(at)[1]
  if insn.is_ret then
    vm:break_at(at, function(e)
      local p, block = pending[e.vcpu], vm.regs.rax
      if not p then return end
      pending[e.vcpu] = nil
      allocs = allocs + 1
      if block == 0 then return end
      for other, b in pairs(live) do
        if block < other + b.size and other < block + p.size then
          complain("0x%x (%d bytes, for %s) overlaps 0x%x (%d bytes, for %s)", block, p.size, p.by,
                   other, b.size, b.by)
        end
      end
      live[block], freed[block] = p, nil
    end)
  end
  at = at + insn.len
end

vm:break_at(free, function()
  local block = vm.regs.rdi
  frees = frees + 1
  if block == 0 then return end
  if live[block] then
    freed[block], live[block] = caller(), nil
  elseif freed[block] then
    complain("0x%x is freed again by %s; %s freed it before", block, caller(), freed[block])
  else
    complain("%s frees 0x%x, which %s never gave", caller(), block, alloc)
  end
end)

vm.on("end", function()
  local leaks, bytes = 0, 0
  for block, b in pairs(live) do
    leaks, bytes = leaks + 1, bytes + b.size
    print(string.format("heapcheck: 0x%x (%d bytes, for %s) was not freed", block, b.size, b.by))
  end
  print(string.format("heapcheck: %d allocations, %d frees, %d errors, %d blocks left (%d bytes)",
                      allocs, frees, bad, leaks, bytes))
end)
