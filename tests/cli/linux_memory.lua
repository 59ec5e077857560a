-- A Linux kernel's memory made by hand, for scripts/lib/linux.lua: kallsyms, BTF, a log and tasks, 64 MiB
-- further than linked, in the memory of a guest that stands at its first instruction in long mode.
local SLIDE, PHYS = 0x4000000, 0x1000000
local TEXT = 0xffffffff81000000 + SLIDE
local TABLES = 0x800000
local function phys(va) return va - TEXT + PHYS end
local function put(va, bytes) vm.phys:write(phys(va), bytes) end
local function put64(va, v) put(va, string.pack("<I8", v)) end
local function check(name, good, why) print((good and "PASS " or "MISS ") .. name .. (good and "" or ": " .. tostring(why))) end

-- Page tables: the image in four large pages.
local function entry(at, v) vm.phys:write(at, string.pack("<I8", v)) end
entry(TABLES + 511 * 8, TABLES + 0x1000 | 3)
entry(TABLES + 0x1000 + 510 * 8, TABLES + 0x2000 | 3)
for i = 0, 3 do entry(TABLES + 0x2000 + ((TEXT >> 21 & 511) + i) * 8, PHYS + i * 0x200000 | 0x83) end
vm.regs.cr3 = TABLES

local BTF, LOG, TASKS, BANNER = TEXT + 0x400000, TEXT + 0x480000, TEXT + 0x500000, TEXT + 0x3000

-- BTF: a type for each structure, members with their offsets.
local strings, types = "\0", {}
local function text(s) local at = #strings; strings = strings .. s .. "\0"; return at end
types[1] = string.pack("<I4I4I4I4", text("long"), 1 << 24, 8, 64)
local function struct(name, size, members)
  local out = string.pack("<I4I4I4", name and text(name) or 0, 4 << 24 | #members, size)
  for _, m in ipairs(members) do out = out .. string.pack("<I4I4I4", m[1] and text(m[1]) or 0, m[3] or 1, m[2] * 8) end
  types[#types + 1] = out
  return #types
end
local link = struct("list_head", 16, {{"next", 0}, {"prev", 8}})
local numbers = struct(nil, 8, {{"pid", 0}, {"tgid", 4}})
struct("task_struct", 256, {{"__state", 0}, {"tasks", 16, link}, {nil, 40, numbers}, {"comm", 64}, {"mm", 96},
                            {"real_parent", 104}, {"signal", 112}, {"thread_node", 120, link}})
struct("signal_struct", 64, {{"thread_head", 8, link}})
local lpos = struct("prb_data_blk_lpos", 16, {{"begin", 0}, {"next", 8}})
struct("prb_desc", 24, {{"state_var", 0}, {"text_blk_lpos", 8, lpos}})
struct("printk_info", 32, {{"seq", 0}, {"ts_nsec", 8}, {"text_len", 16}})
local ring = struct("prb_desc_ring", 48, {{"count_bits", 0}, {"descs", 8}, {"infos", 16}, {"head_id", 24}, {"tail_id", 32}})
local data = struct("prb_data_ring", 32, {{"size_bits", 0}, {"data", 8}})
struct("printk_ringbuffer", 80, {{"desc_ring", 0, ring}, {"text_data_ring", 48, data}})
local body = table.concat(types)
local btf = string.pack("<I2I1I1I4I4I4I4I4", 0xeb9f, 1, 0, 24, 0, #body, #body, #strings) .. body .. strings
put(BTF, btf)

-- The log: 8 descriptors, 128 bytes of text; the last record did not fit at the end and begins anew.
local texts = {"Linux version 0.0", "two\nlines", "", "wrapped around the end"}
local at, descs, infos, bytes = 40, "", "", string.rep("\0", 128)
for i, t in ipairs(texts) do
  local room = 8 + (#t + 7 & ~7)
  local begin, from = at, at
  if i == 4 then begin, from = 120, 0; at = 128 end
  local stop = at + room
  if t == "" then begin, stop = 1, 1 else at = stop end
  descs = descs .. string.pack("<I8I8I8", 2 << 62 | 4 + i, begin, stop)
  infos = infos .. string.pack("<I8I8I2I2I4I8", i, 1500000000 * i, #t, 0, 0, 0)
  if t ~= "" then bytes = bytes:sub(1, from + 8) .. t .. bytes:sub(from + 9 + #t) end
end
put(LOG, string.pack("<I8I8I8I8I8I8I8I8", 3, LOG + 0x100, LOG + 0x200, 8, 5, 0, 7, LOG + 0x400))
-- Descriptor 5 is at place 5 of 8, the last one at 0.
local function place(list, size) return ("\0"):rep(5 * size) .. list:sub(1, 3 * size), list:sub(3 * size + 1) end
for where, list in pairs{[LOG + 0x100] = {descs, 24}, [LOG + 0x200] = {infos, 32}} do
  local tail, first = place(list[1], list[2])
  put(where, tail)
  put(where, first)
end
put(LOG + 0x400, bytes)

-- Tasks: swapper, init with a second thread, kthreadd.
local INIT, SH, THREAD, KTHREADD, SIGNAL = TASKS, TASKS + 0x100, TASKS + 0x200, TASKS + 0x300, TASKS + 0x800
local function task(t, state, next_task, pid, tgid, comm, mm, parent, signal, next_thread)
  put(t, string.pack("<I4xxxxI8I8I8I8I4I4xxxxxxxxxxxxxxxxz", state, 0, next_task + 16, 0, 0, pid, tgid, comm))
  put64(t + 96, mm)
  put64(t + 104, parent)
  put64(t + 112, signal)
  put64(t + 120, next_thread)
end
task(INIT, 0, SH, 0, 0, "swapper", 0, INIT, SIGNAL, SIGNAL + 8)
task(SH, 1, KTHREADD, 1, 1, "sh", 0x1000, INIT, SIGNAL + 0x40, THREAD + 120)
task(THREAD, 2, 0, 5, 1, "sh-worker", 0x1000, INIT, SIGNAL + 0x40, SIGNAL + 0x48)
task(KTHREADD, 0x402, INIT, 2, 2, "kthreadd", 0, INIT, SIGNAL + 0x80, SIGNAL + 0x88)
put64(SIGNAL + 0x48, SH + 120)
put64(SIGNAL + 0x88, KTHREADD + 120)
put(BANNER, "Linux version 0.0 (made by hand)\n\0")

-- kallsyms: characters are tokens of their own, 0 is a longer one.
local names = {{"T_text", TEXT}, {"Tdo_one", TEXT + 0x1000}, {"Rlinux_banner", BANNER}, {"R__start_BTF", BTF},
               {"R__stop_BTF", BTF + #btf}, {"Dprb", LOG - 8}, {"Dinit_task", INIT}}
put64(LOG - 8, LOG)
for i = 1, 1200 do names[#names + 1] = {string.format("tinit_filler_%d", i), TEXT + 0x10000 + 16 * i} end
table.sort(names, function(a, b) return a[2] < b[2] end)
local function tables(percpu)
  local offsets, packed, markers = "", {}, ""
  local size = 0
  for i, n in ipairs(names) do
    local off = n[2] - TEXT
    offsets = offsets .. string.pack("<I4", (percpu and -1 - off or off) & 0xffffffff)
    if i % 256 == 1 then markers = markers .. string.pack("<I4", size) end
    local t = n[1]:gsub("init_", "\0")
    packed[i] = string.char(#t) .. t
    size = size + #packed[i]
  end
  local tokens, index = {}, ""
  local length = 0
  for i = 0, 255 do
    tokens[i + 1] = (i == 0 and "init_" or i > 32 and i < 127 and string.char(i) or "?" .. i) .. "\0"
    index = index .. string.pack("<I2", length)
    length = length + #tokens[i + 1]
  end
  local function pad(s) return s .. ("\0"):rep(-#s & 7) end
  local list = string.pack("<I8", #names) .. pad(table.concat(packed)) .. pad(markers)
  local token = pad(table.concat(tokens)) .. pad(index)
  return pad(offsets) .. string.pack("<I8", TEXT), list, token
end

local function try(line)
  local good, out = vm.try(line)
  return out, good
end
local way = ...
local addresses, list, token = tables(way.form == "old")
-- Linux 6.3 and before: addresses, names, tokens. Since 6.4: names, tokens, addresses.
put(TEXT + 0x600000, way.form == "old" and addresses .. list .. token or list .. token .. addresses)

local lx = dofile("scripts/lib/linux.lua")
check("slide", lx.slide() == SLIDE, vm.hex(lx.slide()))
check("recognised", try("os"):find("Linux 0.0"), try("os"))
check("slide_said", try("os slide"):find("KASLR slide: 0x4000000 %(_text at 0xffffffff85000000, 1207 names"), try("os slide"))
check("banner", try("os version") == "Linux version 0.0 (made by hand)\n", try("os version"))
check("tokens", lx.symbol("init_filler_77") == TEXT + 0x10000 + 16 * 77, "init_filler_77")
local want = "[    1.500000] Linux version 0.0\n[    3.000000] two\n[    3.000000] lines\n[    6.000000] wrapped around the end\n"
check("dmesg", try("os dmesg") == want, try("os dmesg"))
check("dmesg_tail", try("os dmesg 1") == "[    6.000000] wrapped around the end\n", try("os dmesg 1"))
local tasks, all = try("os tasks"), try("os tasks all")
check("tasks", tasks:find("0 +R +%[swapper%]\n.* 1 +1 +0 +S +sh\n.* 2 +2 +0 +I +%[kthreadd%]\n$"), tasks)
check("all_tasks", all:find(" 5 +1 +0 +D +sh%-worker\n") and not tasks:find("worker"), all)
check("struct", try("os struct prb_desc.text_blk_lpos.next"):find("0x10 +text_blk_lpos.next"), try("os struct prb_desc.text_blk_lpos.next"))
check("whole_struct", try("os struct task_struct"):find("0x2c +tgid\n.*0x100 +%(its size%)"), try("os struct task_struct"))
check("symbols", try("os symbols") == "linux: 1207 names\n" and vm.symbols[TEXT + 0x1004] == "do_one+0x4" and
                 vm.eval("do_one") == TEXT + 0x1000 and vm.symbols[TEXT + 0x10018] == "init_filler_1+0x8",
      vm.symbols[TEXT + 0x1004])

-- What is broken is said, in a sentence and without end neither.
local function said(name, line, pattern)
  local out, good = try(line)
  check(name, not good and out:find(pattern) and not out:find("traceback"), out)
end
said("no_such_name", "os address nothing", "kallsyms has no `nothing`")
said("no_such_struct", "os struct nothing", "no structure `nothing`")
said("no_such_member", "os struct task_struct.nothing", "has no `nothing`")
put64(KTHREADD + 16, SH + 16) -- a list that never comes back to its head
said("endless_list", "os tasks", "never comes back to its head")
put64(KTHREADD + 16, 0x123456789)
said("stray_list", "os tasks", "no memory at 0x123456")
put(LOG, string.pack("<I4", 31))
said("log_too_large", "os dmesg", "makes no sense")
put(BANNER, "no version")
said("not_linux", "os dmesg", "none of the systems")
vm.regs.cr3 = TABLES + 0x3000
said("no_image", "os dmesg", "no Linux kernel is mapped at 0xffffffff80000000 yet")
vm.quit(0)
