-- Exit-storm watcher: says when the guest leaves too often, from where, and when that is over.
--
--   vmscope run --script storm[,rate=20000][,period=0.1][,sample=2000] GUEST
--
-- rate=N      exits a second that are a storm
-- period=S    seconds between two looks
-- sample=N    exits that are looked at, once at the begin of each storm; nothing is looked at else
local args = type(...) == "table" and ... or {}
local rate, period = tonumber(args.rate or 20000), tonumber(args.period or 0.1)
local sample_max = tonumber(args.sample or 2000)
local storms, total_before, at = 0, vm.exits(), vm.now()
local storm -- the present one: {since=, from=, counts=, total=}

local function place(e)
  local where = e.symbol or vm.hex(e.rip)
  if e.port then return string.format("%s port 0x%x at %s", e.kind, e.port, where) end
  if e.gpa then return string.format("%s 0x%x at %s", e.kind, e.gpa, where) end
  if e.msr then return string.format("%s 0x%x at %s", e.kind, e.msr, where) end
  return e.kind .. " at " .. where
end

local function report(s)
  local list = {}
  for what, n in pairs(s.counts) do list[#list + 1] = {what, n} end
  table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  print(string.format("storm %d: %.0f exits a second", s.number, s.rate))
  for i = 1, math.min(5, #list) do
    print(string.format("  %5.1f %%  %s", 100 * list[i][2] / s.total, list[i][1]))
  end
end

local function begin(per_second)
  storms = storms + 1
  local s = {number = storms, since = at, from = total_before, counts = {}, total = 0, rate = per_second}
  storm = s
  s.hook = vm.on("exit", function(e)
    local p = place(e)
    s.counts[p] = (s.counts[p] or 0) + 1
    s.total = s.total + 1
    if s.total == sample_max then
      s.hook:remove()
      s.hook = nil
      vm.defer(function() report(s) end)
    end
  end)
end

local function over(now, exits)
  if storm.hook then storm.hook:remove() report(storm) end
  print(string.format("storm %d: over after %.2f s and %d exits", storm.number, now - storm.since, exits - storm.from))
  storm = nil
end

vm.every(period, function()
  local now, exits = vm.now(), vm.exits()
  local per_second = (exits - total_before) / math.max(now - at, period) -- a late look makes the next one early
  if not storm and per_second >= rate then begin(per_second)
  elseif storm then
    -- One calm look is no end: a busy host may have held the guest up.
    storm.calm = per_second < rate and (storm.calm or 0) + 1 or 0
    if storm.calm == 3 then over(now, exits) end
  end
  total_before, at = exits, now
end)

vm.on("end", function()
  if storm then over(vm.now(), (vm.exits())) end
  print(string.format("storm: %d storm%s seen", storms, storms == 1 and "" or "s"))
end)
