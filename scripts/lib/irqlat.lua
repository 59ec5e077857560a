-- Interrupt latency: from the raised line to the vCPU, and on to the handler's end, as histograms.
--
--   vmscope run --script irqlat GUEST
--
-- Two times for each vector: from the moment a device asked (its line went up, or a local APIC was
-- asked) until the interrupt was given to the vCPU, and from there to the handler's end-of-interrupt.
-- It reads the trace, so the guest does not wait for it. The interrupt chips of the kernel
-- (--irqchip kernel) tell nothing of this.
local asked, given, hist, total = {}, {}, {}, 0

local function add(vector, which, seconds)
  local of = hist[vector] or {}
  hist[vector] = of
  local h = of[which] or {n = 0, sum = 0, max = 0}
  of[which] = h
  local us, slot, top = seconds * 1e6, 0, 1
  while us >= top and slot < 20 do slot, top = slot + 1, top * 2 end
  h[slot] = (h[slot] or 0) + 1
  h.n, h.sum, h.max = h.n + 1, h.sum + us, math.max(h.max, us)
end

-- Without a line it is the vector and the vCPU that say which interrupt is meant.
local function key(e, vcpu) return e.line and "line " .. e.line or vcpu .. " " .. e.vector end

vm.on("trace", "kind == device || kind == inject", function(e)
  if e.kind == "inject" then
    local k = key(e, e.vcpu)
    if asked[k] then add(e.vector, "until the vCPU got it", e.at - asked[k]) end
    asked[k] = nil
    given[e.vcpu .. " " .. e.vector] = e.at
  elseif e.event == "line" or e.event == "request" then
    local k = key(e, e.target or e.vcpu)
    asked[k] = asked[k] or e.at
  elseif e.event == "eoi" and e.vector then
    local k = (e.target or e.vcpu) .. " " .. e.vector
    if given[k] then
      add(e.vector, "until its handler ended it", e.at - given[k])
      total = total + 1
    end
    given[k] = nil
  end
end)

vm.on("end", function()
  local vectors = {}
  for v in pairs(hist) do vectors[#vectors + 1] = v end
  table.sort(vectors)
  for _, v in ipairs(vectors) do
    for _, which in ipairs{"until the vCPU got it", "until its handler ended it"} do
      local h = hist[v][which]
      if h then
        print(string.format("irqlat: vector 0x%x %s: %d times, mean %.1f us, longest %.1f us", v, which, h.n,
                            h.sum / h.n, h.max))
        for slot = 0, 20 do
          if h[slot] then
            print(string.format("  < %7d us %6d %s", 1 << slot, h[slot],
                                ("#"):rep(math.max(1, math.floor(50 * h[slot] / h.n)))))
          end
        end
      end
    end
  end
  print(string.format("irqlat: %d interrupts measured", total))
end)
