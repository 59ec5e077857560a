-- Exit-storm watcher: says when the guest leaves more often than `rate` times a second, and from
-- where. A short sample is taken only while there is a storm.
--
--   vmscope run --script storm,rate=20000 GUEST
local args = type(...) == "table" and ... or {}
local rate = tonumber(args.rate or 20000)
local period = tonumber(args.period or 0.1)
local sample_max = tonumber(args.sample or 2000)
local storms, before, at = 0, vm.exits(), vm.now()

local function place(e)
  local where = e.symbol or vm.hex(e.rip)
  if e.port then return string.format("%s port 0x%x at %s", e.kind, e.port, where) end
  if e.gpa then return string.format("%s 0x%x at %s", e.kind, e.gpa, where) end
  if e.msr then return string.format("%s 0x%x at %s", e.kind, e.msr, where) end
  return e.kind .. " at " .. where
end

local function report(per_second, counts, total)
  local list = {}
  for what, n in pairs(counts) do list[#list + 1] = {what, n} end
  table.sort(list, function(a, b) return a[2] > b[2] end)
  print(string.format("storm: %.0f exits a second", per_second))
  for i = 1, math.min(5, #list) do
    print(string.format("  %5.1f %%  %s", 100 * list[i][2] / total, list[i][1]))
  end
end

local sampling = false
vm.every(period, function()
  local now, n = vm.now(), vm.exits()
  local per_second = (n - before) / (now - at)
  before, at = n, now
  if per_second < rate or sampling then return end
  storms, sampling = storms + 1, true
  local counts, total, hook = {}, 0
  hook = vm.on("exit", function(e)
    local p = place(e)
    counts[p] = (counts[p] or 0) + 1
    total = total + 1
    if total == sample_max then
      hook:remove()
      vm.defer(function() report(per_second, counts, total); sampling = false end)
    end
  end)
end)

vm.on("end", function() print(string.format("storm: %d storms seen", storms)) end)
