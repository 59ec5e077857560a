-- Linux helper: the kernel's log, its tasks and its slide from the memory of a 64-bit guest, without
-- debug information: names come from the kernel's own kallsyms, structure layouts from its BTF.
--
--   vmscope run --script linux bzImage                      then, when it stands: os dmesg, os tasks, ...
--   vmscope run --script linux,dmesg=20,tasks=all bzImage   at the end of the run: 20 lines, all tasks
--
-- os dmesg [N]          the log (its last N lines), read from the ring buffer of Linux 5.10 and later
-- os tasks [all]        processes, with `all` their threads too
-- os slide              how far KASLR moved the image
-- os version            the kernel's banner
-- os symbols            has breakpoints, expressions and disassembly know the kernel's names
-- os address NAME       the address of a name
-- os struct NAME[.MEMBER]  where the members of a structure lie
local args = ...
args = type(args) == "table" and args or {}

local IMAGE, IMAGE_END, LINKED = 0xffffffff80000000, 0xffffffffc0000000, 0xffffffff81000000
local MB2 = 0x200000
local function below(a, b) return math.ult(a, b) end
-- An error that is no text is shown as a sentence, without a traceback.
local sentence = {__tostring = function(e) return e.text end}
local function fail(...) error(setmetatable({text = string.format(...)}, sentence)) end

---- memory: through page tables of our own choice, since user code may run on a copy without the kernel

local function walk(cr3, va, levels)
  local table_at = cr3 & 0x000ffffffffff000
  for level = levels, 1, -1 do
    local shift = 12 + 9 * (level - 1)
    local good, e = pcall(function() return vm.phys.u64[table_at + (va >> shift & 511) * 8] end)
    if not good or e & 1 == 0 then return nil end
    local size = 1 << shift
    if level == 1 or (level <= 3 and e & 0x80 ~= 0) then
      return (e & 0x000ffffffffff000 & ~(size - 1)) + (va & size - 1), size - (va & size - 1)
    end
    table_at = e & 0x000ffffffffff000
  end
end

local space = {}
local function try_read(va, n)
  local parts = {}
  while n > 0 do
    local pa, room = walk(space.cr3, va, space.levels)
    if not pa then return nil end
    local len = math.min(n, room)
    local good, bytes = pcall(vm.phys.read, vm.phys, pa, len)
    if not good or #bytes < len then return nil end
    parts[#parts + 1] = bytes
    va, n = va + len, n - len
  end
  return table.concat(parts)
end
local function read(va, n)
  return try_read(va, n) or fail("linux: the guest has no memory at 0x%x", va)
end
local function u64(va) return (string.unpack("<I8", read(va, 8))) end
local function u32(va) return (string.unpack("<I4", read(va, 4))) end

-- The image: the first stretch of mapped pages where Linux runs. Under page-table isolation a process
-- in ring 3 has tables with little of it; the full ones lie one page below.
local function find_image()
  local r = vm.cpu(0)
  if r.efer & 0x400 == 0 then
    fail("linux: vCPU 0 is not in long mode: no 64-bit Linux runs there yet, let it boot further")
  end
  space.levels = r.cr4 & 0x1000 ~= 0 and 5 or 4
  for _, cr3 in ipairs{r.cr3 & ~0x1fff, r.cr3 & ~0xfff} do
    local first, last
    space.cr3 = cr3
    local at = IMAGE
    while below(at, IMAGE_END) do
      if walk(cr3, at, space.levels) then
        first, last = first or at, at
      elseif first then
        break
      end
      at = at + MB2
    end
    if first and last - first >= 2 * MB2 then return first, last + MB2 end
  end
  fail("linux: no Linux kernel is mapped at 0x%x yet; let it boot further", IMAGE)
end

---- kallsyms (kernel/kallsyms.c, scripts/kallsyms.c): names as strings of tokens

-- The tokens of the digits stand for themselves; a search for them finds the table.
local DIGITS = "0\0" .. "1\0" .. "2\0" .. "3\0" .. "4\0" .. "5\0" .. "6\0" .. "7\0" .. "8\0" .. "9\0"

local function token_table_at(bytes, digits)
  -- 48 tokens lie before the digit 0; the index that follows the table confirms the begin.
  local ends, at = 0, digits
  while at > 1 and ends < 48 do
    at = at - 1
    if bytes:byte(at) == 0 then ends = ends + 1 end
  end
  local low = at
  for start = math.max(low - 64, 1), digits do
    if (start - 1) % 4 == 0 then
      local tokens, offsets, p = {}, {}, start
      for i = 0, 255 do
        local z = bytes:find("\0", p, true)
        if not z or z - p > 64 then break end
        tokens[i], offsets[i] = bytes:sub(p, z - 1), p - start
        p = z + 1
      end
      if tokens[255] and tokens[48] == "0" and tokens[57] == "9" then
        local index = (p - 1 + 7 & ~7) + 1
        local good = index + 511 <= #bytes
        for i = 0, 255, 51 do
          good = good and string.unpack("<I2", bytes, index + 2 * i) == offsets[i]
        end
        if good then return start, tokens, index + 512 end
      end
    end
  end
end

local function find_tokens(first, last)
  local keep = 8192
  for base = first, last - MB2, MB2 do
    local back = base > first and keep or 0
    local bytes = try_read(base - back, MB2 + back + keep) or try_read(base - back, MB2 + back)
    local at = 1
    while bytes do
      at = bytes:find(DIGITS, at, true)
      if not at then break end
      local start, tokens, after = token_table_at(bytes, at)
      if start then return base - back + start - 1, tokens, base - back + after - 1 end
      at = at + 1
    end
  end
end

local function name_step(bytes, at)
  local n = bytes:byte(at)
  if not n then return nil end
  if n & 0x80 == 0 then return at + 1, n end
  local high = bytes:byte(at + 1)
  return high and at + 2, high and (n & 0x7f | high << 7)
end

-- Walks n names; where they end, and where the 257th begins.
local function walk_names(bytes, at, n)
  local second, len
  for i = 1, n do
    at, len = name_step(bytes, at)
    if not at or len == 0 then return nil end
    at = at + len
    if i == 256 then second = at end
  end
  return at, second
end

-- The count of names, the names, and the offset of every 256th name lie in a row before the tokens;
-- what else is there differs between versions.
local function find_names(k, tokens_at)
  local from = math.max(k.first, (tokens_at & ~7) - (8 << 20))
  local bytes, unpack = read(from, tokens_at - from), string.unpack
  for at = (#bytes - 16 & ~7) + 1, 1, -8 do
    local n = unpack("<I8", bytes, at)
    if n > 1000 and n < 1 << 21 and walk_names(bytes, at + 8, 256) then
      local stop, second = walk_names(bytes, at + 8, n)
      local markers = stop and (stop + 6 & ~7) + 1
      if stop and markers + 7 <= #bytes and unpack("<I4", bytes, markers) == 0 and
         unpack("<I4", bytes, markers + 4) == second - at - 8 then
        return from + at - 1, n, bytes:sub(at + 8, stop - 1)
      end
    end
  end
  fail("linux: this kernel's kallsyms has no list of names where it was looked for")
end

local function plausible(base) return not below(base, IMAGE) and below(base, IMAGE_END) end

-- Addresses: before the names until Linux 6.3, behind the tokens since.
local function find_offsets(count_at, count, after)
  local size = 4 * count + 7 & ~7
  for _, at in ipairs{count_at - 8 - size, after + 7 & ~7} do
    local base = try_read(at + size, 8)
    base = base and string.unpack("<I8", base)
    if base and plausible(base) then return read(at, 4 * count), base end
  end
  fail("linux: this kernel's kallsyms has no addresses where they were looked for")
end

local kernel -- what was found, while it is still true

local function load_names(k)
  vm.limit{main = 120} -- a hundred thousand names take seconds on a busy host
  local tokens_at, tokens, after = find_tokens(k.first, k.last)
  if not tokens_at then
    fail("linux: the image at 0x%x has no kallsyms (a kernel without CONFIG_KALLSYMS, or one that " ..
         "has not unpacked itself yet)", k.first)
  end
  local count_at, count, names = find_names(k, tokens_at)
  local offsets, base = find_offsets(count_at, count, after)
  local negative = 0
  for i = 0, count - 1, 97 do
    if string.unpack("<i4", offsets, 1 + 4 * i) < 0 then negative = negative + 1 end
  end
  k.name, k.addr, k.kind, k.at, k.count = {}, {}, {}, {}, count
  local at, parts = 1, {}
  for i = 1, count do
    local p, len = name_step(names, at)
    if not p or p + len - 1 > #names then fail("linux: kallsyms ends after %d of %d names", i - 1, count) end
    for j = 1, len do parts[j] = tokens[names:byte(p + j - 1)] end
    local text = table.concat(parts, "", 1, len)
    local off = string.unpack("<i4", offsets, 1 + 4 * (i - 1))
    -- With per-CPU symbols among them, offsets are negative and those are plain addresses.
    local addr = negative == 0 and base + (off & 0xffffffff) or off < 0 and base - 1 - off or off
    local name = text:sub(2)
    k.kind[i], k.name[i], k.addr[i] = text:sub(1, 1), name, addr
    if not k.at[name] then k.at[name] = addr end
    at = p + len
  end
end

local function load()
  local r = vm.cpu(0)
  if kernel and kernel.cr3 == r.cr3 & ~0x1fff then return kernel end
  local first, last = find_image()
  if kernel and kernel.first == first then
    kernel.cr3 = r.cr3 & ~0x1fff
    return kernel
  end
  local k = {first = first, last = last, cr3 = r.cr3 & ~0x1fff}
  load_names(k)
  kernel = k
  return k
end

local function symbol(name, why)
  local k = load()
  return k.at[name] or fail("linux: kallsyms has no `%s`%s", name, why or
    " (without CONFIG_KALLSYMS_ALL it lists functions only)")
end

---- BTF (Documentation/bpf/btf.rst): offsets of structure members

local KIND_STRUCT, KIND_UNION = 4, 5
-- Bytes behind each type's head, by kind: fixed, and for each member.
local EXTRA = {[0] = {0, 0}, {4, 0}, {0, 0}, {12, 0}, {0, 12}, {0, 12}, {0, 8}, {0, 0}, {0, 0}, {0, 0},
               {0, 0}, {0, 0}, {0, 0}, {0, 8}, {4, 0}, {0, 12}, {0, 0}, {4, 0}, {0, 0}, {0, 12}}

local function load_btf(k)
  local at, stop = k.at.__start_BTF, k.at.__stop_BTF
  if not at then
    fail("linux: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF), so the layout of its structures is unknown")
  end
  local head = read(at, 24)
  local magic, _, _, head_len, type_off, type_len, str_off, str_len =
    string.unpack("<I2I1I1I4I4I4I4I4", head)
  if magic ~= 0xeb9f or (stop and stop - at < head_len + str_off + str_len) or str_len > 1 << 26 or
     type_len > 1 << 26 then
    fail("linux: what lies at __start_BTF is no BTF")
  end
  local b = {bytes = read(at + head_len + type_off, type_len), strings = read(at + head_len + str_off, str_len),
             pos = {}, named = {}}
  local p, id, unpack = 1, 1, string.unpack
  while p + 11 <= type_len do
    local name, info = unpack("<I4I4", b.bytes, p)
    local kind, vlen = info >> 24 & 31, info & 0xffff
    local extra = EXTRA[kind]
    if not extra then fail("linux: BTF type %d is of unknown kind %d", id, kind) end
    b.pos[id] = p
    if (kind == KIND_STRUCT or kind == KIND_UNION) and name ~= 0 then b.named[name] = b.named[name] or id end
    p, id = p + 12 + extra[1] + extra[2] * vlen, id + 1
  end
  return b
end

local function btf()
  local k = load()
  k.btf = k.btf or load_btf(k)
  return k.btf
end

local function btf_name(b, off)
  local z = b.strings:find("\0", off + 1, true)
  return z and b.strings:sub(off + 1, z - 1) or ""
end

local function struct_id(name)
  local b = btf()
  local at = 1
  while true do
    local p = b.strings:find("\0" .. name .. "\0", at, true)
    if not p then fail("linux: the kernel's BTF has no structure `%s`", name) end
    if b.named[p] then return b.named[p] end
    at = p + 1
  end
end

-- Through typedefs and qualifiers.
local function bare(b, id)
  while b.pos[id] do
    local _, info, kind = string.unpack("<I4I4I4", b.bytes, b.pos[id])
    local k = info >> 24 & 31
    if k ~= 8 and k ~= 9 and k ~= 10 and k ~= 11 and k ~= 18 then return id, k end
    id = kind
  end
end

local function members(id, visit, base, depth)
  local b = btf()
  local p = b.pos[id]
  local _, info = string.unpack("<I4I4", b.bytes, p)
  for i = 0, (info & 0xffff) - 1 do
    local name, kind, off = string.unpack("<I4I4I4", b.bytes, p + 12 + 12 * i)
    if info >> 31 == 1 then off = off & 0xffffff end
    local inner, what = bare(b, kind)
    local found
    if name == 0 and (what == KIND_STRUCT or what == KIND_UNION) and depth < 8 then
      found = members(inner, visit, base + off // 8, depth + 1)
    else
      found = visit(btf_name(b, name), base + off // 8, inner, what)
    end
    if found then return found end
  end
end

local function struct_size(id)
  local b = btf()
  return (string.unpack("<I4", b.bytes, b.pos[id] + 8))
end

-- offset_of("task_struct", "signal") or offset_of("prb_desc", "text_blk_lpos", "begin"); nil when absent.
local function offset_of(name, ...)
  local id, total = struct_id(name), 0
  for _, member in ipairs{...} do
    if not id then return nil end
    local hit = members(id, function(n, off, inner, what)
      if n == member then return {off, (what == KIND_STRUCT or what == KIND_UNION) and inner} end
    end, 0, 0)
    if not hit then return nil end
    total, id = total + hit[1], hit[2] or nil
  end
  return total
end
local function need(name, ...)
  return offset_of(name, ...) or
    fail("linux: `struct %s` has no `%s` in this kernel", name, table.concat({...}, "."))
end

---- the log: kernel/printk/printk_ringbuffer.h

local function log_lines()
  local prb = u64(symbol("prb", ": the log before Linux 5.10 had another form, which is not read"))
  local ring, data = need("printk_ringbuffer", "desc_ring"), need("printk_ringbuffer", "text_data_ring")
  local count = 1 << (u32(prb + ring + need("prb_desc_ring", "count_bits")) & 31)
  local descs = u64(prb + ring + need("prb_desc_ring", "descs"))
  local infos = u64(prb + ring + need("prb_desc_ring", "infos"))
  local head = u64(prb + ring + need("prb_desc_ring", "head_id"))
  local tail = u64(prb + ring + need("prb_desc_ring", "tail_id"))
  local size = 1 << (u32(prb + data + need("prb_data_ring", "size_bits")) & 31)
  local text = u64(prb + data + need("prb_data_ring", "data"))
  local desc_size, info_size = struct_size(struct_id("prb_desc")), struct_size(struct_id("printk_info"))
  local state_at, begin_at = need("prb_desc", "state_var"), need("prb_desc", "text_blk_lpos", "begin")
  local next_at = need("prb_desc", "text_blk_lpos", "next")
  local ns_at, len_at = need("printk_info", "ts_nsec"), need("printk_info", "text_len")
  if count > 1 << 24 or size > 1 << 27 then fail("linux: the log's ring buffer makes no sense") end
  local all_descs, all_infos = read(descs, desc_size * count), read(infos, info_size * count)
  local all_text = read(text, size)
  local lines, id = {}, tail
  for _ = 1, count do
    local i = (id & 0x3fffffffffffffff) % count
    local d, n = 1 + i * desc_size, 1 + i * info_size
    local state = string.unpack("<I8", all_descs, d + state_at) >> 62
    local begin = string.unpack("<I8", all_descs, d + begin_at)
    local stop = string.unpack("<I8", all_descs, d + next_at)
    -- Bit 0 of a position says that the record has no text.
    if (state == 1 or state == 2) and begin & 1 == 0 then
      local from, to = begin % size, stop % size
      if to ~= 0 and from > to then from = 0 end -- it did not fit at the end: the buffer's begin has it
      local len = string.unpack("<I2", all_infos, n + len_at)
      local ns = string.unpack("<I8", all_infos, n + ns_at)
      for line in (all_text:sub(from + 9, from + 8 + len) .. "\n"):gmatch("(.-)\n") do
        lines[#lines + 1] = string.format("[%5d.%06d] %s", ns // 1000000000, ns // 1000 % 1000000, line)
      end
    end
    if id == head then break end
    id = id + 1 & 0x3fffffffffffffff
  end
  return lines
end

---- tasks: include/linux/sched.h

local STATES = {[0] = "R", [1] = "S", [2] = "D", [4] = "T", [8] = "t", [0x10] = "X", [0x20] = "Z"}

local function state_letter(state)
  if state & 0x402 == 0x402 then return "I" end
  for bit = 0, 5 do
    if state & 1 << bit ~= 0 then return STATES[1 << bit] end
  end
  return state == 0 and "R" or "?"
end

-- Calls visit(task) for each element of a list whose head is at `head`.
local function each(head, link, visit)
  local at, seen = u64(head), {}
  while at ~= head do
    if seen[at] then fail("linux: the list at 0x%x never comes back to its head", head) end
    seen[at] = true
    visit(at - link)
    at = u64(at)
  end
end

local function tasks(threads)
  local init = symbol("init_task")
  local o = {tasks = need("task_struct", "tasks"), pid = need("task_struct", "pid"),
             tgid = need("task_struct", "tgid"), comm = need("task_struct", "comm"),
             mm = need("task_struct", "mm"), parent = need("task_struct", "real_parent"),
             state = offset_of("task_struct", "__state") or need("task_struct", "state"),
             thread = offset_of("task_struct", "thread_node"), signal = need("task_struct", "signal"),
             head = offset_of("signal_struct", "thread_head")}
  local list = {}
  local function add(task)
    list[#list + 1] = {task = task, pid = u32(task + o.pid), tgid = u32(task + o.tgid),
                       state = state_letter(u32(task + o.state)), kernel = u64(task + o.mm) == 0,
                       ppid = u32(u64(task + o.parent) + o.tgid), comm = string.unpack("z", read(task + o.comm, 16) .. "\0")}
  end
  local function process(task)
    if threads and o.thread and o.head and task ~= init then
      each(u64(task + o.signal) + o.head, o.thread, add)
    else
      add(task)
    end
  end
  process(init)
  each(init + o.tasks, o.tasks, process)
  return list
end

---- what a user calls

local M = {}
function M.slide() return symbol("_text") - LINKED end
function M.dmesg() return log_lines() end
function M.tasks(all) return tasks(all) end
function M.symbol(name) return symbol(name) end
function M.offset(...) return need(...) end
function M.banner()
  return (string.unpack("z", read(symbol("linux_banner"), 512) .. "\0"):gsub("%s+$", ""))
end

-- The name at or before an address; kallsyms is sorted. Per-CPU names come first, with small numbers.
local function name_at(addr)
  local low, high = 1, kernel.count
  if below(addr, kernel.first) or not below(addr, kernel.last) then return nil end
  while low < high do
    local mid = (low + high + 1) // 2
    if below(addr, kernel.addr[mid]) then high = mid - 1 else low = mid end
  end
  local at, next_at = kernel.addr[low], kernel.addr[low + 1]
  if below(addr, at) then return nil end
  return kernel.name[low], at, next_at and not below(next_at, at) and next_at - at or nil
end

-- Has breakpoints, expressions and disassembly know the kernel's names; returns how many there are.
local resolver
function M.use_symbols()
  local k = load()
  if resolver then
    resolver.forget()
  else
    resolver = vm.resolver{name = "kallsyms", resolve = function(addr) if kernel then return name_at(addr) end end,
                           find = function(name) return kernel and kernel.at[name] end}
  end
  return k.count
end
vm.on("reset", function()
  kernel = nil
  if resolver then resolver.forget() end
end)

local function task_rows(all)
  local rows = {}
  for _, t in ipairs(tasks(all)) do
    rows[#rows + 1] = {vm.hex(t.task), t.pid, t.tgid, t.ppid, t.state, t.kernel and "[" .. t.comm .. "]" or t.comm}
  end
  return rows
end
local function member_rows(what)
  local name, path = what:match("^([%w_]+)%.?([%w_.]*)$")
  if not name then fail("linux: a structure is asked for as NAME or NAME.MEMBER") end
  if path ~= "" then
    local words = {}
    for word in path:gmatch("[%w_]+") do words[#words + 1] = word end
    return {{vm.hex(need(name, table.unpack(words))), path}}
  end
  local rows, id = {}, struct_id(name)
  members(id, function(n, off) rows[#rows + 1] = {vm.hex(off), n} end, 0, 0)
  rows[#rows + 1] = {vm.hex(struct_size(id)), "(its size)"}
  return rows
end
local function show_dmesg(a)
  local lines = log_lines()
  for i = math.max(#lines - (tonumber(a) or #lines) + 1, 1), #lines do print(lines[i]) end
end
local function show_slide()
  local slide = M.slide()
  print(string.format("KASLR slide: 0x%x (_text at 0x%x, %d names in kallsyms)", slide, slide + LINKED, load().count))
end

vm.os{
  name = "Linux",
  detect = function()
    local good, banner = pcall(M.banner)
    if not good then return false, tostring(banner) end
    return banner:match("^Linux version (%S+)") or false
  end,
  views = {
    dmesg = {help = "the log, or its last N lines", run = show_dmesg},
    tasks = {help = "the processes; `all`: their threads too",
             columns = {"task", ">pid", ">tgid", ">ppid", "s", "command"}, run = function(a) return task_rows(a == "all") end},
    slide = {help = "how far KASLR moved the image", run = show_slide},
    version = {help = "the kernel's banner", run = function() print(M.banner()) end},
    symbols = {help = "has breakpoints and disassembly know the kernel's names",
               run = function() print(string.format("linux: %d names", M.use_symbols())) end},
    address = {help = "the address of a NAME", run = function(a) print(string.format("%s = 0x%x", a, symbol(a))) end},
    struct = {help = "where the members of NAME, or NAME.MEMBER, lie", columns = {">offset", "member"}, run = member_rows},
  },
}

if args.dmesg or args.tasks or args.slide then
  vm.on("end", function()
    local function try(line)
      local _, text = vm.try(line)
      print((text:gsub("\n$", "")))
    end
    if args.slide then try("os slide") end
    if args.dmesg then try("os dmesg " .. args.dmesg) end
    if args.tasks then try("os tasks " .. args.tasks) end
  end)
end
return M
