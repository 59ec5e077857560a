-- Port I/O recorder and replayer.
--
--   vmscope run --script portio,record=io.txt[,filter=port==0x60] GUEST
--   vmscope run --script portio,replay=io.txt GUEST
--
-- A line is `r|w PORT SIZE VALUE`. Replay answers every read of a recorded port from the file, in
-- order for each port, and says where the guest writes something else than was recorded.
local args = type(...) == "table" and ... or {}
if not io then error("portio needs files, which --script-sandbox takes away") end
local file = args.record or args.replay
  or error("portio needs record=FILE or replay=FILE behind its name")

if args.record then
  local out, n = assert(io.open(file, "w")), 0
  vm.on("io", args.filter, function(e)
    if e.string then return end -- rep ins and outs are counted, not kept
    n = n + 1
    out:write(string.format("%s 0x%x %d 0x%x\n", e.write and "w" or "r", e.port, e.size, e.value))
  end)
  vm.on("end", function()
    out:close()
    print(string.format("portio: %d accesses in %s", n, file))
  end)
  return
end

local reads, writes, ports = {}, {}, {}
for line in io.lines(file) do
  local way, port, size, value = line:match("^([rw]) (0x%x+) (%d) (0x%x+)$")
  if not way then error(file .. ": not a line of a recording: " .. line) end
  port = tonumber(port)
  local list = way == "r" and reads or writes
  list[port] = list[port] or {next = 1}
  table.insert(list[port], {size = tonumber(size), value = math.tointeger(tonumber(value))})
  ports[port] = true
end

local answered, different = 0, 0
vm.on("io", function(e)
  local list = (e.write and writes or reads)[e.port]
  if not list or e.string then return end
  local was = list[list.next]
  if not was then
    if different == 0 then print(string.format("portio: the recording of port 0x%x is at its end", e.port)) end
    different = different + 1
    return
  end
  list.next = list.next + 1
  if not e.write then
    answered = answered + 1
    return e:reply(was.value)
  elseif was.value ~= e.value then
    different = different + 1
    print(string.format("portio: 0x%x wrote 0x%x to port 0x%x; the recording has 0x%x",
                        e.rip, e.value, e.port, was.value))
  end
end)
vm.on("end", function()
  print(string.format("portio: %d reads answered, %d differences", answered, different))
end)
