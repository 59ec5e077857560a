-- Line coverage by breakpoints, written for lcov and genhtml.
--
--   vmscope run --script coverage,out=guest.info[,match=PATTERN] GUEST
--
-- Every source line of the functions whose names match gets a breakpoint that counts on the vCPU's
-- thread. by=step counts by single steps instead (slow, and for code that cannot be planted).
local args = type(...) == "table" and ... or {}
if not io then error("coverage writes a file, which --script-sandbox takes away") end
local out = args.out or "coverage.info"
local match = args.match or "."
local files, hits, at_line = {}, {}, {}

-- Addresses of lines, by decoding the functions.
for _, f in ipairs(vm.functions()) do
  if f.size > 0 and f.name:find(match) then
    local at, last, file = f.addr, nil, nil
    local first = {} -- its lowest line in each file: a function may begin with code of a header
    while at < f.addr + f.size do
      local insn = vm.disasm(at)[1]
      local name, n = vm.line(at)
      if not insn then break end
      if name and n > 0 then
        first[name] = math.min(first[name] or n, n)
        file = name -- the end of a function is its own
        files[name] = files[name] or {functions = {}, lines = {}}
        local key = name .. ":" .. n
        if key ~= last then
          files[name].lines[n] = files[name].lines[n] or {}
          table.insert(files[name].lines[n], at)
          at_line[at] = true
        end
        last = key
      end
      at = at + insn.len
    end
    if file then files[file].functions[f.name] = {line = first[file], addr = f.addr} end
  end
end

local points = 0
if args.by == "step" then
  vm.spawn(function()
    while vm.state() ~= "ended" do
      local rip = vm.regs.cs_base + vm.regs.rip
      if at_line[rip] then hits[rip] = (hits[rip] or 0) + 1 end
      vm:step()
    end
  end)
else
  for at in pairs(at_line) do
    local good = pcall(function()
      vm:break_at(at, function() hits[at] = (hits[at] or 0) + 1 end)
    end)
    if good then points = points + 1 end
  end
  print(string.format("coverage: %d lines have a breakpoint", points))
end

vm.on("end", function()
  local f, found, hit = assert(io.open(out, "w")), 0, 0
  local names = {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  f:write("TN:\n")
  for _, name in ipairs(names) do
    local of = files[name]
    f:write("SF:", name, "\n")
    local funcs = {}
    for fn in pairs(of.functions) do funcs[#funcs + 1] = fn end
    table.sort(funcs)
    for _, fn in ipairs(funcs) do
      f:write(string.format("FN:%d,%s\nFNDA:%d,%s\n", of.functions[fn].line, fn,
                            hits[of.functions[fn].addr] or 0, fn))
    end
    local lines, lf, lh = {}, 0, 0
    for n in pairs(of.lines) do lines[#lines + 1] = n end
    table.sort(lines)
    for _, n in ipairs(lines) do
      local count = 0
      for _, at in ipairs(of.lines[n]) do count = math.max(count, hits[at] or 0) end
      f:write(string.format("DA:%d,%d\n", n, count))
      lf, lh = lf + 1, lh + (count > 0 and 1 or 0)
    end
    f:write(string.format("LF:%d\nLH:%d\nend_of_record\n", lf, lh))
    found, hit = found + lf, hit + lh
  end
  f:close()
  print(string.format("coverage: %d of %d lines (%.1f %%) in %s", hit, found,
                      found > 0 and 100 * hit / found or 0, out))
end)
