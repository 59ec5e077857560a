-- Function tracer: entry and exit of functions by symbol, as a tree.
--
--   vmscope run --script functrace,match=^process_ GUEST
--
-- `match` is a Lua pattern for names; max=N ends the tracing after N lines; args=0 hides registers.
local args = type(...) == "table" and ... or {}
local match, max = args.match or ".", tonumber(args.max or 10000)
local depth, lines, functions = {}, 0, 0

local function line(text)
  lines = lines + 1
  if lines <= max then print(text) end
  if lines == max then print("functrace: that was the last line (max=" .. max .. ")") end
end

local function enter(f)
  return function(e)
    local d = depth[e.vcpu] or 0
    local r = vm.regs
    local shown = args.args == "0" and "" or string.format("(0x%x, 0x%x)", r.rdi, r.rsi)
    line(("  "):rep(d) .. f.name .. shown)
    depth[e.vcpu] = d + 1
  end
end
local function leave(f)
  return function(e)
    local d = math.max((depth[e.vcpu] or 1) - 1, 0)
    depth[e.vcpu] = d
    line(string.format("%s%s = 0x%x", ("  "):rep(d), f.name, vm.regs.rax))
  end
end

for _, f in ipairs(vm.functions()) do
  if f.name:find(match) and f.size > 0 and not f.name:find("interrupt") then
    local good = pcall(function()
      vm:break_at(f.addr, enter(f))
      -- Where it returns: every ret inside it.
      local at = f.addr
      while at < f.addr + f.size do
        local insn = vm.disasm(at)[1]
        if not insn then break end
        if insn.is_ret then vm:break_at(at, leave(f)) end
        at = at + insn.len
      end
    end)
    if good then functions = functions + 1 end
  end
end
print(string.format("functrace: %d functions match %s", functions, match))
vm.on("end", function() print(string.format("functrace: %d lines", lines)) end)
