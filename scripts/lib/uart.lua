-- A 16450 UART in Lua, as an example of a device: COM4 at 0x2e8 with interrupt line 3.
--
--   vmscope run --script uart,echo=1 GUEST
--
-- What the guest sends is printed line by line; echo=1 gives it back as input.
local args = type(...) == "table" and ... or {}
local base, line = tonumber(args.base or 0x2e8), tonumber(args.irq or 3)
local r

local function reset()
  r = {ier = 0, lcr = 0, mcr = 0, scr = 0, dll = 1, dlm = 0, input = {}, out = "", thre = false}
end
reset()

local function update()
  local wants = (r.ier & 1 ~= 0 and #r.input > 0) or (r.ier & 2 ~= 0 and r.thre)
  vm.irq(line, wants and r.mcr & 8 ~= 0)
end

local function send(byte)
  r.thre = true
  if byte == 10 then
    print("uart: " .. r.out)
    r.out = ""
  else
    r.out = r.out .. string.char(byte)
  end
  if args.echo then table.insert(r.input, byte) end
end

local function read(port)
  local reg = port - base
  if r.lcr & 0x80 ~= 0 and reg < 2 then return reg == 0 and r.dll or r.dlm end
  if reg == 0 then
    local byte = table.remove(r.input, 1) or 0
    update()
    return byte
  elseif reg == 1 then return r.ier
  elseif reg == 2 then
    if r.ier & 1 ~= 0 and #r.input > 0 then return 4 end
    if r.ier & 2 ~= 0 and r.thre then r.thre = false; update(); return 2 end
    return 1
  elseif reg == 3 then return r.lcr
  elseif reg == 4 then return r.mcr
  elseif reg == 5 then return 0x60 | (#r.input > 0 and 1 or 0)
  elseif reg == 6 then return 0xb0
  else return r.scr end
end

local function write(port, value)
  local reg = port - base
  if r.lcr & 0x80 ~= 0 and reg < 2 then
    if reg == 0 then r.dll = value else r.dlm = value end
  elseif reg == 0 then send(value)
  elseif reg == 1 then r.ier = value & 15
  elseif reg == 3 then r.lcr = value
  elseif reg == 4 then r.mcr = value & 31
  elseif reg == 7 then r.scr = value end
  update()
end

local ports = {}
for i = 0, 7 do ports[#ports + 1] = base + i end
vm.device{name = "lua-uart", help = "a 16450 at " .. vm.hex(base), ports = ports,
          read = read, write = write, reset = reset}
