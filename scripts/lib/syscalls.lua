-- System calls of ring 3 programs, with arguments and results, by SYSCALL and by INT.
--
--   vmscope run --script syscalls,from=SYMBOL[,int=0x80][,abi=linux][,count=1] GUEST
--
-- from=SYMBOL  code that runs when the kernel has set up its entries and has not left for ring 3 yet:
--              there LSTAR and the IDT are read
-- int=VECTOR   the interrupt that is a system call; 0x80 unless given
-- abi=linux    names the calls of 64-bit Linux
-- count=1      only counts, without a line for each call
--
-- A line is `KIND NUMBER(RDI, RSI, RDX) = RAX from ADDRESS`. The result is seen at the kernel's SYSRET
-- or IRET, which is looked for along the code of the entry.
local args = type(...) == "table" and ... or {}
local from = args.from or error("syscalls needs from=SYMBOL: where the kernel is ready for ring 3")
local vector = tonumber(args.int or 0x80)
local names = {}
if args.abi == "linux" then
  names = {[0] = "read", "write", "open", "close", "stat", "fstat", "lstat", "poll", "lseek", "mmap",
           "mprotect", "munmap", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "ioctl",
           [20] = "writev", [39] = "getpid", [56] = "clone", [57] = "fork", [59] = "execve",
           [60] = "exit", [61] = "wait4", [63] = "uname", [231] = "exit_group", [257] = "openat"}
end

local calls, results, counts = 0, 0, {}
local pending = {} -- by vCPU and the address it returns to

-- The target of an IDT gate.
local function gate(n)
  local r = vm.regs
  local long = vm.mode():find("^long") or vm.mode():find("64")
  local size = long and 16 or 8
  if (n + 1) * size - 1 > r.idtr_limit then return nil end
  local at = r.idtr_base + n * size
  if vm.mem.u8[at + 5] & 0x80 == 0 then return nil end
  local target = vm.mem.u16[at] | vm.mem.u16[at + 6] << 16
  if long then target = target | vm.mem.u32[at + 8] << 32 end
  return target
end

local function told(c, result)
  if args.count then return end
  print(string.format("%-7s %s(0x%x, 0x%x, 0x%x) = %s from 0x%x%s", c.kind, names[c.n] or c.n, c.a, c.b, c.c,
                      result, c.back, c.symbol and " <" .. c.symbol .. ">" or ""))
end

local function enter(kind)
  return function(e)
    local r = vm.regs
    local back = kind == "syscall" and r.rcx or vm.mem.u64[r.rsp]
    local c = {kind = kind, n = r.rax, a = r.rdi, b = r.rsi, c = r.rdx, back = back, symbol = vm.symbols[back]}
    calls = calls + 1
    counts[names[c.n] or c.n] = (counts[names[c.n] or c.n] or 0) + 1
    local mine = pending[e.vcpu] or {}
    pending[e.vcpu] = mine
    mine[#mine + 1] = c
  end
end

local function leave(is_iret)
  return function(e)
    local mine, back = pending[e.vcpu] or {}, is_iret and vm.mem.u64[vm.regs.rsp] or vm.regs.rcx
    for i = #mine, 1, -1 do
      if mine[i].back == back then
        results = results + 1
        told(table.remove(mine, i), string.format("0x%x", vm.regs.rax))
        return
      end
    end
  end
end

-- The instruction that ends the entry at `at`: decoded in a line, along its jumps.
local watched = {}
local function watch_return(at)
  local seen = {}
  for _ = 1, 500 do
    local insn = not seen[at] and vm.disasm(at)[1]
    if not insn then return end
    seen[at] = true
    if insn.mnemonic:find("^sysret") or insn.mnemonic:find("^iret") then
      if not watched[at] then vm:break_at(at, leave(insn.mnemonic:find("^iret") ~= nil)) end
      watched[at] = true
      return
    end
    at = insn.mnemonic == "jmp" and insn.target or at + insn.len
  end
end

local known = {}
vm.on("stop", function(s)
  if s.point ~= known.from then return end
  local lstar, int = vm.regs.lstar, gate(vector)
  if lstar ~= 0 and lstar ~= known.lstar then
    known.lstar = lstar
    vm:break_at(lstar, enter("syscall"))
    watch_return(lstar)
  end
  if int and int ~= known.int then
    known.int = int
    vm:break_at(int, enter("int"))
    watch_return(int)
  end
  return "continue"
end)
known.from = vm:break_at(from)

vm.on("end", function()
  for _, mine in pairs(pending) do
    for _, c in ipairs(mine) do told(c, "?") end
  end
  local list = {}
  for name, n in pairs(counts) do list[#list + 1] = {tostring(name), n} end
  table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  for _, l in ipairs(list) do print(string.format("syscalls: %6d %s", l[2], l[1])) end
  print(string.format("syscalls: %d calls, %d results", calls, results))
end)
