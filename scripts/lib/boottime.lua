-- Boot-phase timer: when POST codes and console lines came, and how long each phase took.
--
--   vmscope run --script boottime GUEST
local args = type(...) == "table" and ... or {}
local start, marks = nil, {}
local max = tonumber(args.max or 200)

local function mark(what)
  local now = vm.now()
  start = start or now
  if #marks < max then marks[#marks + 1] = {at = now - start, what = what} end
end

mark("entry")
vm.on("io", "port == 0x80 && write && size == 1", function(e)
  mark(string.format("POST %02x%s", e.value, e.symbol and " in " .. e.symbol or ""))
end)
vm.on("console", function(line, channel)
  if line ~= "" then mark(channel .. ": " .. line:gsub("[^\32-\126]", "?")) end
end)
vm.on("mode", function(e) mark("mode " .. e.mode) end)

vm.on("end", function()
  mark("end")
  table.sort(marks, function(a, b) return a.at < b.at end)
  print("boottime:     at ms   took ms")
  for i, m in ipairs(marks) do
    local next_at = marks[i + 1] and marks[i + 1].at or m.at
    print(string.format("boottime: %9.2f %9.2f  %s", m.at * 1000, (next_at - m.at) * 1000, m.what))
  end
end)
