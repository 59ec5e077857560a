-- System calls of ring 3 programs, by SYSCALL and by INT 0x80 (or int=VECTOR).
--
--   vmscope run --script syscalls,from=process_run GUEST
--
-- `from` is code that runs when the kernel has set up its entries and not yet left for ring 3; there
-- LSTAR and the IDT are read. abi=linux names the calls of 64-bit Linux.
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

local calls, counts = 0, {}

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

local function enter(kind)
  return function()
    local r = vm.regs
    local n = r.rax
    calls = calls + 1
    counts[n] = (counts[n] or 0) + 1
    local back = kind == "syscall" and r.rcx or vm.mem.u64[r.rsp]
    print(string.format("%-7s %s(0x%x, 0x%x, 0x%x) from 0x%x%s", kind, names[n] or n, r.rdi, r.rsi,
                        r.rdx, back, vm.symbols[back] and " <" .. vm.symbols[back] .. ">" or ""))
  end
end

local known = {}
vm.on("stop", function(s)
  if s.point ~= known.from then return end
  local lstar, int = vm.regs.lstar, gate(vector)
  if lstar ~= 0 and lstar ~= known.lstar then
    known.lstar = lstar
    vm:break_at(lstar, enter("syscall"))
  end
  if int and int ~= known.int then
    known.int = int
    vm:break_at(int, enter("int"))
  end
  return "continue"
end)
known.from = vm:break_at(from)

vm.on("end", function() print(string.format("syscalls: %d calls", calls)) end)
