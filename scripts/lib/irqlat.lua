-- Interrupt handler times: from the moment an interrupt is given to a vCPU to its end-of-interrupt
-- (8259 or local APIC), as a histogram for each vector.
--
--   vmscope run --script irqlat GUEST
local open, hist, total = {}, {}, 0

vm.on("irq", function(e)
  open[e.vcpu] = open[e.vcpu] or {}
  table.insert(open[e.vcpu], {vector = e.vector, at = e.at})
end)

local function eoi(e)
  local list = open[e.vcpu]
  local last = list and table.remove(list)
  if not last then return end
  local us = (e.at - last.at) * 1e6
  local slot, top = 0, 1
  while us >= top and slot < 20 do slot, top = slot + 1, top * 2 end
  local h = hist[last.vector] or {n = 0, sum = 0, max = 0}
  hist[last.vector] = h
  h[slot] = (h[slot] or 0) + 1
  h.n, h.sum, h.max = h.n + 1, h.sum + us, math.max(h.max, us)
  total = total + 1
end
vm.on("io", "port == 0x20 && write && (value & 0x20)", eoi)
vm.on("mmio", "gpa == 0xfee000b0 && write", eoi)

vm.on("end", function()
  local vectors = {}
  for v in pairs(hist) do vectors[#vectors + 1] = v end
  table.sort(vectors)
  for _, v in ipairs(vectors) do
    local h = hist[v]
    print(string.format("irqlat: vector 0x%x, %d times, mean %.1f us, longest %.1f us", v, h.n,
                        h.sum / h.n, h.max))
    for slot = 0, 20 do
      if h[slot] then
        print(string.format("  < %7d us %6d %s", 1 << slot, h[slot],
                            ("#"):rep(math.max(1, math.floor(50 * h[slot] / h.n)))))
      end
    end
  end
  print(string.format("irqlat: %d interrupts measured", total))
end)
