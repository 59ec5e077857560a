-- Multiboot checker: the header in the image, and what the kernel was given at its entry.
--
--   vmscope run --script multiboot GUEST
local problems = 0
local function say(...) print("multiboot: " .. string.format(...)) end
local function bad(...) problems = problems + 1; say("PROBLEM: " .. string.format(...)) end
local function u32(s, at) return at + 4 <= #s and string.unpack("<I4", s, at + 1) or 0 end

local image = ""
if io then
  local f = io.open(vm.image(), "rb")
  if f then image = f:read(32768) or ""; f:close() end
end

local function header1()
  for at = 0, math.min(#image, 8192) - 12, 4 do
    if u32(image, at) == 0x1badb002 then
      local flags, sum = u32(image, at + 4), u32(image, at + 8)
      say("version 1 header at 0x%x of the file, flags 0x%x", at, flags)
      if (0x1badb002 + flags + sum) & 0xffffffff ~= 0 then bad("its checksum is wrong") end
      if flags & 0xfff8 ~= 0 and flags & 0xffe8 ~= 0 then bad("it requires unknown features 0x%x", flags & 0xfff8) end
      if flags & 0x10000 ~= 0 then
        local h, load, last, bss, entry = u32(image, at + 12), u32(image, at + 16), u32(image, at + 20),
                                          u32(image, at + 24), u32(image, at + 28)
        if load > h then bad("load_addr 0x%x is above header_addr 0x%x", load, h) end
        if last ~= 0 and (entry < load or entry >= last) then bad("entry 0x%x is outside of what is loaded", entry) end
        if bss ~= 0 and bss < last then bad("bss_end 0x%x is below load_end 0x%x", bss, last) end
      end
      return true
    end
  end
end

local function header2()
  for at = 0, math.min(#image, 32768) - 16, 8 do
    if u32(image, at) == 0xe85250d6 then
      local arch, len, sum = u32(image, at + 4), u32(image, at + 8), u32(image, at + 12)
      say("version 2 header at 0x%x of the file, %d bytes", at, len)
      if (0xe85250d6 + arch + len + sum) & 0xffffffff ~= 0 then bad("its checksum is wrong") end
      if arch ~= 0 then bad("architecture %d is not i386", arch) end
      local tag, ended = at + 16, false
      while tag + 8 <= at + len do
        local kind, size = u32(image, tag) & 0xffff, u32(image, tag + 4)
        if size < 8 then bad("the tag at 0x%x has size %d", tag, size) break end
        if kind == 0 then ended = true break end
        tag = tag + (size + 7 & ~7)
      end
      if not ended then bad("the tags have no end tag within the header's length") end
      return true
    end
  end
end

local function given()
  local magic, info = vm.regs.eax, vm.regs.ebx
  if magic == 0x2badb002 then
    local flags = vm.phys.u32[info]
    say("entered with version 1 information at 0x%x, flags 0x%x", info, flags)
    if info & 3 ~= 0 then bad("the information is not aligned to 4 bytes") end
    if flags & 1 ~= 0 then say("memory: %d KiB low, %d KiB high", vm.phys.u32[info + 4], vm.phys.u32[info + 8]) end
    if flags & 0x40 ~= 0 then
      local len, at = vm.phys.u32[info + 44], vm.phys.u32[info + 48]
      local last, n = at + len, 0
      while at < last do n = n + 1; at = at + vm.phys.u32[at] + 4 end
      say("memory map: %d entries", n)
      if at ~= last then bad("the memory map's last entry does not end with the map") end
    end
  elseif magic == 0x36d76289 then
    local total = vm.phys.u32[info]
    say("entered with version 2 information at 0x%x, %d bytes", info, total)
    if info & 7 ~= 0 then bad("the information is not aligned to 8 bytes") end
    local tag, ended, n = info + 8, false, 0
    while tag + 8 <= info + total do
      local kind, size = vm.phys.u32[tag], vm.phys.u32[tag + 4]
      if size < 8 then bad("tag %d at 0x%x has size %d", kind, tag, size) break end
      if kind == 0 then ended = true break end
      n, tag = n + 1, tag + (size + 7 & ~7)
    end
    say("%d tags", n)
    if not ended then bad("the tags have no end") end
  else
    say("EAX is 0x%x at the entry, so this was no Multiboot boot", magic)
  end
  if vm.regs.cr0 & 0x80000001 ~= 1 then bad("CR0 is 0x%x at the entry: paging must be off, protection on", vm.regs.cr0) end
  if vm.regs.rflags & 0x200 ~= 0 then bad("interrupts are on at the entry") end
end

if not header1() and not header2() then
  say(image == "" and "the image cannot be read here, so its header was not checked"
                   or "there is no Multiboot header in the image")
else
  given()
end
say("%d problems", problems)
