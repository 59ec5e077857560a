-- What GRUB for coreboot finds in memory, and what it and its guest did, for tests/real/grub.sh.

-- coreboot's tables: a header, and one record with the memory map.
local function internet_sum(s)
  local sum = 0
  for i = 1, #s, 2 do sum = sum + string.unpack("<I2", s .. "\0", i) end
  while sum > 0xffff do sum = (sum & 0xffff) + (sum >> 16) end
  return ~sum & 0xffff
end
local ranges = string.pack("<I8I8I4", 0, 0x9f000, 1) .. string.pack("<I8I8I4", 0x100000, 0x3f00000, 1)
local record = string.pack("<I4I4", 1, 8 + #ranges) .. ranges
local function header(sum)
  return "LBIO" .. string.pack("<I4I4I4I4I4", 24, sum, #record, internet_sum(record), 1)
end
vm.phys:write(0x500, header(internet_sum(header(0))) .. record)

local latch, bytes, writes = false, 0, 0
vm.on("io", "port == 0x3fb && write", function(e) latch = e.value & 0x80 ~= 0 end)
vm.on("io", "port == 0x3f8 && write", function()
  writes = writes + 1
  if not latch then bytes = bytes + 1 end
end)
vm.on("end", function()
  local exits, by = vm.exits()
  local counters = vm.cmd("info counters all")
  local function counter(name) return counters:match("\n" .. name .. " +(%d+)") or 0 end
  print(string.format("bytes=%d\nwrites=%d\nio=%d\nexits=%d", bytes, writes, by.io, exits))
  print(string.format("kvm_io=%d\nkvm_runs=%d", counter("io_exits"), counter("fpu_reload")))
end)
