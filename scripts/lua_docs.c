/*
 * The interface described once: `help lua NAME`, docs/lua.md's reference and the annotation file
 * for editors are printed from these rows, and a test runs every example.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug/out.h"
#include "scripts/lua_int.h"
#include "scripts/script_path.h"
#include "vmm/base/near.h"

/* clang-format off */
const struct lua_doc lua_docs[] = {
    {"vm.on",
     "vm.on(kind, [filter,] fn) -> hook",
     "param kind string\n"
     "param filter string|number|table|nil\n"
     "param fn fun(e: event|stop|string, channel: string?): string?, string?\n"
     "return hook\n"
     "overload fun(kind: string, fn: fun(e: event|stop|string, channel: string?): string?, string?): hook",
     "Calls fn at every event of a kind. On the vCPU's thread, while it happens: exit (every "
     "exit), the kinds of exits (io, mmio, rdmsr, wrmsr, hlt, irq, hypercall, shutdown, debug, "
     "internal, assist, …) and mode (fn sees the first exit in a new CPU mode). What is carried "
     "out for KVM is an assist, and what planted bytes and steps bring about no internal or "
     "shutdown. Hooks of accesses run before the device. fn gets an event and returns nothing, "
     "\"stop\" (and a reason), \"drop\", \"log\" or e:reply(…).\n"
     "On the main thread: stop (fn gets the stop; \"continue\" lets the guest go on; it may "
     "wait and step), console (a line, its channel), reset, tick (the filter is a period in "
     "seconds), trace (records from the ring, later and perhaps incomplete) and end.\n"
     "A filter is an expression over the exit's fields, registers and memory, or a table of "
     "fields: it is evaluated in C, so Lua is entered for matches only.",
     "local n = 0\n"
     "vm.on(\"io\", \"port == 0x3f8 && write\", function(e) n = n + 1 end)\n"
     "vm.on(\"io\", {port = 0x510}, function(e) return e:reply(0x1d) end)\n"
     "vm.on(\"hlt\", function() return \"stop\", \"the first halt\" end)"},
    {"event",
     "e.FIELD, e:reply(value)",
     "class event\n"
     "field kind string\n"
     "field port integer?\n"
     "field size integer\n"
     "field value integer?\n"
     "field write boolean\n"
     "field count integer?\n"
     "field gpa integer?\n"
     "field msr integer?\n"
     "field vector integer?\n"
     "field rip integer\n"
     "field cs_base integer\n"
     "field symbol string?\n"
     "field cr3 integer\n"
     "field cpl integer\n"
     "field vcpu integer\n"
     "field mode string\n"
     "field seq integer\n"
     "field at number\n"
     "field guest_ns integer\n"
     "field host_ns integer\n"
     "field unclaimed boolean\n"
     "field string boolean\n"
     "field stepped boolean\n"
     "field register string?\n"
     "field text string\n"
     "field reason integer\n"
     "field exception integer?\n"
     "field dr6 integer?\n"
     "field line integer?\n"
     "field event string?\n"
     "field target integer?\n"
     "field reply fun(self: event, answer: integer|string): string",
     "What a hook sees: kind, port, size, value, write, count, gpa, msr, vector, rip (linear), "
     "cs_base, symbol, cr3, cpl, vcpu, mode, seq, at (seconds), guest_ns, host_ns, unclaimed, "
     "string, stepped, register (the device's name of it), text (as in the trace), reason, "
     "exception, dr6; of the devices' own records (kind device, in \"trace\" alone): event (line, "
     "request, eoi, timer, …), line, vector, target (a vCPU). Fields that the exit does not have are nil. Asking for the value of a "
     "read has the device answer first. e:reply(number or bytes) answers in its stead, for "
     "a write: it reaches no device. An event lives during the call.",
     "vm.on(\"io\", function(e)\n"
     "  if e.write then print(e.kind, e.port, e.value, e.symbol) end\n"
     "end)"},
    {"hook",
     "h.hits, h.errors, h.id, h.enabled, h:remove()",
     "class hook\n"
     "field hits integer\n"
     "field errors integer\n"
     "field id integer\n"
     "field enabled boolean\n"
     "field remove fun(self: hook)",
     "What vm.on and points with a function return.",
     "local h = vm.on(\"hlt\", function() end)\n"
     "assert(h.hits == 0 and h.enabled)\n"
     "h:remove()"},
    {"vm.break_at",
     "vm.break_at(where, [options,] [fn]) -> id or hook",
     "param where integer|string\n"
     "param options table|(fun(e: event): string?, string?)|nil\n"
     "param fn (fun(e: event): string?, string?)?\n"
     "return integer|hook",
     "Sets a breakpoint at an address or expression. Without fn it stops the guest, and s.point "
     "of the stop is the id. With fn, fn runs on the vCPU's thread and stops the guest only "
     "by returning \"stop\". Options: condition (an expression), temporary, ignore (hits to "
     "pass), vcpu.",
     "local n = 0\n"
     "local h = vm:break_at(vm.regs.rip + 0x100, function() n = n + 1 end)\n"
     "h:remove()"},
    {"vm.watch",
     "vm.watch(where, [options,] [fn]) -> id or hook",
     "param where integer|string\n"
     "param options table|(fun(s: stop): string?)|nil\n"
     "param fn (fun(s: stop): string?)?\n"
     "return integer|hook",
     "Sets a watchpoint on memory. Options: len (8), access (write, read, access, change), "
     "condition. With fn, fn gets the stop on the main thread and the guest goes on unless "
     "it returns \"stop\".",
     "local good, why = pcall(vm.watch, 0x5000, {len = 4, access = \"write\"})"},
    {"vm.catch",
     "vm.catch(kind, [filter,] [fn]) -> id or hook",
     "param kind string\n"
     "param filter string|table|(fun(s: stop): string?)|nil\n"
     "param fn (fun(s: stop): string?)?\n"
     "return integer|hook",
     "Stops the guest at exits of a kind; with fn as vm.watch.",
     "vm:catch(\"io\", \"port == 0x80\")"},
    {"vm.cont",
     "vm.cont() -> vm",
     "return table",
     "Lets the guest run and returns at once; vm.wait_stop and vm.wait_console wait.",
     "vm:cont()\n"
     "vm:wait_stop(20)"},
    {"vm.run",
     "vm.run([timeout]) -> stop",
     "param timeout number?\n"
     "return stop",
     "vm.cont and vm.wait_stop in one.",
     "local s = vm:run(20)\n"
     "print(s.kind, s.text)"},
    {"vm.stop",
     "vm.stop() -> stop",
     "return stop",
     "Stops the guest and waits until it stands.",
     "vm:cont()\n"
     "print(vm:stop().kind)"},
    {"stop",
     "s.kind, s.rip, s.vcpu, s.point, s.text, s.code, s.steps, s.vector",
     "class stop\n"
     "field kind string\n"
     "field text string\n"
     "field rip integer\n"
     "field vcpu integer\n"
     "field point integer?\n"
     "field code integer\n"
     "field steps integer\n"
     "field vector integer?\n"
     "field addr integer?\n"
     "field old integer?\n"
     "field new integer?\n"
     "field by integer?\n"
     "field device string?",
     "Why the guest stands: entry, step, breakpoint, watchpoint, catchpoint, arrived, interrupted, "
     "halted, powered off, debug exit, reset, triple fault, internal error, stuck, hook. rip "
     "is linear. Watchpoints have addr, old and new; by is the instruction that did it, or device whose "
     "DMA it was.",
     "local s = vm.last_stop()\n"
     "assert(s.kind == \"entry\")"},
    {"vm.wait_stop",
     "vm.wait_stop([timeout]) -> stop",
     "param timeout number?\n"
     "return stop",
     "Waits until the guest stands; an error when the time (in seconds) runs out first.",
     "vm:cont()\n"
     "print(vm:wait_stop(20).text)"},
    {"vm.wait_console",
     "vm.wait_console(pattern, [timeout,] [channel]) -> text",
     "param pattern string\n"
     "param timeout number?\n"
     "param channel string?\n"
     "return string",
     "Waits until the guest has printed what the Lua pattern matches and returns the match, "
     "or its first capture. What was matched is used up. 30 seconds unless given; an error "
     "when the time runs out or the guest stands without having printed it. channel: com1, "
     "com2 or debug (port 0xE9); any when absent.",
     "vm:cont()\n"
     "print(vm:wait_console(\"hel%w+\", 20))"},
    {"vm.send",
     "vm.send(text, [channel]) -> count",
     "param text string\n"
     "param channel string?\n"
     "return integer",
     "Input for COM1 (or com2); returns how many bytes were taken.",
     "vm:send(\"root\\n\")"},
    {"vm.type",
     "vm.type(text) -> count",
     "param text string\n"
     "return integer",
     "Types on the guest's keyboard.",
     "vm:type(\"help\\n\")"},
    {"vm.console",
     "vm.console([channel]) -> text",
     "param channel string?\n"
     "return string",
     "What a channel has printed, the last 256 KiB at least.",
     "vm:run(20)\n"
     "print(#vm.console())"},
    {"vm.step",
     "vm.step([n, [vcpu]]) -> stop",
     "param n integer?\n"
     "param vcpu integer?\n"
     "return stop",
     "Steps n instructions; a running guest is stopped first.",
     "local s = vm:step(3)\n"
     "assert(s.steps == 3)"},
    {"vm.over",
     "vm.over([n, [vcpu]]) -> stop",
     "param n integer?\n"
     "param vcpu integer?\n"
     "return stop",
     "As vm.step; calls, software interrupts and rep count as one.",
     "vm:over(2)"},
    {"vm.finish",
     "vm.finish([vcpu, [timeout]]) -> stop",
     "param vcpu integer?\n"
     "param timeout number?\n"
     "return stop",
     "Until the present function has returned.",
     "pcall(vm.finish, 0, 2)"},
    {"vm.until_at",
     "vm.until_at(where, [timeout]) -> stop",
     "param where integer|string\n"
     "param timeout number?\n"
     "return stop",
     "Until an address is about to execute.",
     "local at = vm.regs.rip + vm.disasm()[1].len\n"
     "vm:until_at(at, 10)"},
    {"vm.reset",
     "vm.reset()",
     "",
     "Resets the board and loads the image again.",
     "vm:step(2)\n"
     "vm:reset()\n"
     "assert(vm.last_stop().kind == \"entry\")"},
    {"vm.state",
     "vm.state() -> text",
     "return string",
     "stopped, running or ended.",
     "assert(vm.state() == \"stopped\")"},
    {"vm.last_stop",
     "vm.last_stop() -> stop",
     "return stop",
     "The last stop.",
     "print(vm.last_stop().text)"},
    {"vm.sleep",
     "vm.sleep(seconds)",
     "param seconds number",
     "Waits; hooks and the guest go on meanwhile.",
     "vm:sleep(0.01)"},
    {"vm.spawn",
     "vm.spawn(fn, …)",
     "param fn function\n"
     "param ... any",
     "Runs fn as a script of its own, which may wait too.",
     "vm.spawn(function(a) vm:sleep(0.01); print(a) end, \"later\")"},
    {"vm.every",
     "vm.every(seconds, fn) -> hook",
     "param seconds number\n"
     "param fn function\n"
     "return hook",
     "Calls fn again and again.",
     "local h = vm.every(0.5, function() print(vm.exits()) end)"},
    {"vm.after",
     "vm.after(seconds, fn)",
     "param seconds number\n"
     "param fn function",
     "Calls fn once, later.",
     "vm.after(0.01, function() print(\"now\") end)"},
    {"vm.defer",
     "vm.defer(fn)",
     "param fn function",
     "Has the main thread run fn soon: for what a hook may not do itself.",
     "vm.on(\"hlt\", function() vm.defer(function() print(\"halted\") end) end)"},
    {"vm.regs",
     "vm.regs.NAME, vm.regs.NAME = value",
     "field regs table<string, integer|string>",
     "Registers of the focus vCPU, inside a hook of the vCPU that stands there. Every register "
     "that `info registers` knows, and parts of them (eax, al). Wider ones than 64 bits are "
     "bytes. In a hook general, segment and control registers can be set.",
     "vm.regs.rax = 1\n"
     "assert(vm.regs.al == 1)\n"
     "print(vm.hex(vm.regs.cr0))"},
    {"vm.cpu",
     "vm.cpu(n) -> regs",
     "param n integer\n"
     "return table<string, integer|string>",
     "Registers of vCPU n.",
     "print(vm.cpu(0).rip)"},
    {"vm.mem",
     "vm.mem.u8[addr], u16 u32 u64 s8 s16 s32 s64",
     "class memory\n"
     "field u8 table<integer, integer>\n"
     "field u16 table<integer, integer>\n"
     "field u32 table<integer, integer>\n"
     "field u64 table<integer, integer>\n"
     "field s8 table<integer, integer>\n"
     "field s16 table<integer, integer>\n"
     "field s32 table<integer, integer>\n"
     "field s64 table<integer, integer>\n"
     "field read fun(self: memory, addr: integer, len: integer): string\n"
     "field write fun(self: memory, addr: integer, bytes: string)\n"
     "field find fun(self: memory, start: integer, len: integer, bytes: string, max: integer?): integer[]",
     "Linear memory as numbers, read and written. Breakpoints are invisible in it. Where there is "
     "no memory reading and writing are errors; a number is written whole or not at all, and one "
     "that does not fit is an error.",
     "local old = vm.mem.u32[0x8000]\n"
     "vm.mem.u32[0x8000] = 0x12345678\n"
     "assert(vm.mem.u8[0x8000] == 0x78)\n"
     "vm.mem.u32[0x8000] = old"},
    {"vm.phys",
     "vm.phys.u8[gpa], …, vm.phys:read(gpa, n), vm.phys:write(gpa, bytes), vm.phys:find(gpa, n, bytes)",
     "field phys memory\n"
     "field mem memory",
     "Physical memory; usable anywhere, also inside devices and while the guest runs.",
     "print(#vm.phys:read(0x8000, 16))"},
    {"vm.read",
     "vm.read(addr, n) -> bytes",
     "param addr integer\n"
     "param n integer\n"
     "return string",
     "Linear memory as a string of bytes.",
     "print(vm:read(vm.regs.cs_base + vm.regs.rip, 2):byte(1, -1))"},
    {"vm.write",
     "vm.write(addr, bytes)",
     "param addr integer\n"
     "param bytes string",
     "Writes linear memory.",
     "vm:write(0x8000, \"abc\")\n"
     "assert(vm.string(0x8000, 3) == \"abc\")"},
    {"vm.string",
     "vm.string(addr, [max]) -> text",
     "param addr integer\n"
     "param max integer?\n"
     "return string",
     "A text that ends with a zero byte.",
     "vm:write(0x8000, \"hi\\0\")\n"
     "assert(vm.string(0x8000) == \"hi\")"},
    {"vm.find",
     "vm.find(start, length, bytes, [max]) -> addresses",
     "param start integer\n"
     "param length integer\n"
     "param bytes string\n"
     "param max integer?\n"
     "return integer[]",
     "Looks for bytes in linear memory; what is not mapped is passed over. At most 100 addresses "
     "unless max says otherwise.",
     "vm:write(0x8100, \"needle\")\n"
     "assert(vm:find(0x8000, 0x1000, \"needle\")[1] == 0x8100)"},
    {"vm.translate",
     "vm.translate(addr) -> gpa or nil, why",
     "param addr integer\n"
     "return integer?\n"
     "return string?",
     "Walks the page tables.",
     "assert(vm:translate(0x8000) == 0x8000)"},
    {"vm.eval",
     "vm.eval(expression) -> integer",
     "param expression string\n"
     "return integer",
     "An expression as the prompt knows it.",
     "assert(vm.eval(\"$rip + 1\") == vm.regs.rip + 1)"},
    {"vm.symbols",
     "vm.symbols.NAME -> address, vm.symbols[addr] -> text, #vm.symbols",
     "field symbols table<string|integer, integer|string>",
     "Symbols by name and by address; assigning adds one.",
     "vm.symbols.here = 0x8000\n"
     "assert(vm.symbols[0x8004] == \"here+4\" or vm.symbols.here == 0x8000)"},
    {"vm.symbol",
     "vm.symbol(name or addr) -> {name, addr, size, is_function}",
     "param what string|integer\n"
     "return table?",
     "The symbol of that name, or the one that holds the address.",
     "print(vm.symbol(\"main\"))"},
    {"vm.functions",
     "vm.functions() -> list",
     "return table[]",
     "Every function, in order of address.",
     "print(#vm.functions())"},
    {"vm.line",
     "vm.line(addr) -> file, line",
     "param addr integer\n"
     "return string?\n"
     "return integer?",
     "The source line of an address.",
     "print(vm.line(vm.regs.rip))"},
    {"vm.disasm",
     "vm.disasm([addr, [count]]) -> list",
     "param addr integer?\n"
     "param count integer?\n"
     "return table[]",
     "Instructions: addr, len, bytes, text, mnemonic, operands, is_call, is_ret, is_branch, "
     "target.",
     "for _, i in ipairs(vm.disasm(nil, 3)) do print(vm.hex(i.addr), i.text) end"},
    {"vm.mode",
     "vm.mode() -> text",
     "return string",
     "The CPU mode: real, prot32, long64, …",
     "print(vm.mode())"},
    {"vm.exits",
     "vm.exits() -> total, counts",
     "return integer\n"
     "return table<string, integer>",
     "How many exits there were, in all and by kind.",
     "local n, by = vm.exits()\n"
     "print(n, by.io)"},
    {"vm.cpus",
     "vm.cpus() -> n",
     "return integer",
     "The number of vCPUs.",
     "assert(vm.cpus() >= 1)"},
    {"vm.image",
     "vm.image() -> path",
     "return string",
     "The guest's file.",
     "print(vm.image())"},
    {"vm.cmd",
     "vm.cmd(line) -> text, data",
     "param line string\n"
     "return string\n"
     "return table",
     "Runs a command as at the prompt: its text and its JSON as a table. Stepping commands "
     "are waited for (data.stop), continue is not. A failing command is an error; vm.try returns "
     "false, text, data instead.",
     "local text, data = vm.cmd(\"info registers rip\")\n"
     "print(text)"},
    {"vm.try",
     "vm.try(line) -> good, text, data",
     "param line string\n"
     "return boolean\n"
     "return string\n"
     "return table",
     "As vm.cmd, without raising.",
     "assert(vm.try(\"nosuchcommand\") == false)"},
    {"vm.command",
     "vm.command{name=, usage=, help=, run=fn(args, words), complete=fn(before, word)}",
     "param command { name: string, usage: string?, help: string?, run: (fun(args: string, words: string[]): any), complete: (fun(before: string, word: string): string[])? }",
     "Adds a command to the prompt, to -e, to keys and to vm.cmd. run gets the rest of the line, "
     "and its words; what it prints or returns is the answer. help's first line is the summary. "
     "complete gets the words before the one that is being typed, and returns a list: those that "
     "begin alike are offered.",
     "vm.command{name = \"double\", usage = \"N\", help = \"Doubles N.\", run = function(a) "
     "return 2 * tonumber(a) end}\n"
     "assert(vm.cmd(\"double 21\"):find(\"42\"))"},
    {"vm.table",
     "vm.table(rows, columns, [name])",
     "param rows table[]\n"
     "param columns string[]\n"
     "param name string?",
     "Prints a table as commands do: text in columns, and JSON where JSON is asked for. Rows are "
     "lists, or tables by the columns' names; a column whose name begins with > is set to the "
     "right.",
     "vm.table({{\"init\", 1}, {\"sh\", 2}}, {\"name\", \">pid\"})"},
    {"vm.words",
     "vm.words(line) -> list",
     "param line string\n"
     "return string[]",
     "The words of a line; quotes keep blanks together.",
     "assert(vm.words(\"a 'b c'\")[2] == \"b c\")"},
    {"vm.formatter",
     "vm.formatter(kind, [filter,] fn) -> hook",
     "param kind string\n"
     "param filter string|table|nil\n"
     "param fn fun(e: event): string?\n"
     "return hook\n"
     "overload fun(kind: string, fn: fun(e: event): string?): hook",
     "Gives exits a text of its own in the exits panel, in `info exits last`, in `explain` and in "
     "logged lines: for a protocol that only your guest speaks. fn returns the text, or nil for "
     "the usual one. It runs later than the exit, so only the event is to be looked at.",
     "vm.formatter(\"io\", \"port == 0x3f8 && write\", function(e)\n"
     "  return \"says \" .. string.char(e.value & 0x7f)\n"
     "end)"},
    {"vm.resolver",
     "vm.resolver{name=, resolve=fn(addr), find=fn(name)} -> resolver",
     "class resolver\n"
     "field forget fun()\n"
     "field remove fun()\n"
     "param resolver { name: string?, resolve: (fun(addr: integer): string?, integer?, integer?)?, find: (fun(name: string): integer?)? }\n"
     "return resolver",
     "Names addresses that no symbol file knows (a JIT's code, a loaded module). resolve returns "
     "a name and, where known, the address at which it begins and its size, or nil; find returns "
     "the address of a name, or nil. They are asked after the symbols of files, and their answers "
     "are kept: what was unknown is asked again after each stop, r.forget() drops all. They may be "
     "asked while the guest runs, so look at vm.phys or at tables of your own, not at vm.regs.",
     "local r = vm.resolver{name = \"jit\",\n"
     "  resolve = function(addr) if addr >> 12 == 0x300 then return \"trampoline\", 0x300000, 4096 end end,\n"
     "  find = function(name) if name == \"trampoline\" then return 0x300000 end end}\n"
     "assert(vm.symbols[0x300010] == \"trampoline+0x10\" and vm.eval(\"trampoline\") == 0x300000)\n"
     "r.remove()"},
    {"vm.os",
     "vm.os{name=, detect=fn(), views={NAME=fn(args, words) or {run=fn, columns=, help=}}}",
     "param system { name: string, detect: (fun(): any)?, views: table<string, table|fun(args: string, words: string[]): any> }",
     "A helper that knows an operating system. The command `os` asks the helpers' detect which "
     "system the guest is (a text it returns is the version; false may be followed by why not) and "
     "lists the views of that one; `os VIEW ARGS` runs one. A view with columns returns rows, as for "
     "vm.table.",
     "vm.os{name = \"toy\", detect = function() return \"1.0\" end,\n"
     "  views = {tasks = {help = \"the tasks\", columns = {\"name\", \">pid\"},\n"
     "                    run = function() return {{\"init\", 1}} end}}}\n"
     "assert(vm.cmd(\"os tasks\"):find(\"init\"))"},
    {"tui.pane",
     "tui.pane{name=, title=, help=, draw=fn(cols, rows), keys={KEY=fn}, every=seconds} -> pane",
     "class pane\n"
     "field refresh fun()\n"
     "field remove fun()\n"
     "param pane { name: string, title: string?, help: string?, draw: (fun(cols: integer, rows: integer): string|table), keys: table<string, function>?, every: number? }\n"
     "return pane",
     "A pane beside the panels of the workbench (key 0; Left and Right choose among panes); without "
     "a screen the command `pane NAME` prints it. draw returns a text, or a list of lines; a line "
     "is a text or a list of parts, and a part a text or {text, style}: normal, dim, title, addr, "
     "name, number, changed, error. It is drawn anew after a stop, after a key, after p.refresh() "
     "and, with `every`, so often while the guest runs. keys: functions by the names of keys (d, "
     "Enter, Space, F9, PgDn); `pane NAME key KEY` is the same.",
     "local last\n"
     "tui.pane{name = \"counts\", title = \"Exits by kind\", every = 0.5,\n"
     "  keys = {d = function() last = \"d\" end},\n"
     "  draw = function(cols, rows)\n"
     "    local lines = {}\n"
     "    for kind, n in pairs(select(2, vm.exits())) do lines[#lines + 1] = {{kind, \"name\"}, \" \", {n, \"number\"}} end\n"
     "    return lines\n"
     "  end}\n"
     "vm.cmd(\"pane counts key d\")\n"
     "assert(last == \"d\")"},
    {"vm.device",
     "vm.device{name=, ports={…}, read=fn(port, size), write=fn(port, value, size), reset=fn()}",
     "param device { name: string?, help: string?, ports: integer[], read: (fun(port: integer, size: integer): integer?)?, write: fun(port: integer, value: integer, size: integer)?, reset: fun()? }",
     "A device on ports. Its functions run with the machine locked: of vm they may use phys "
     "(their DMA, which watchpoints see), irq, console_put and print.",
     "vm.device{name = \"answer\", ports = {0x510, 0x511},\n"
     "  read = function(port, size) return 0x2a end,\n"
     "  write = function(port, value, size) print(port, value) end}"},
    {"vm.mmio",
     "vm.mmio{name=, base=, size=, read=fn(off, size), write=fn(off, value, size), reset=fn()}",
     "param device { name: string?, help: string?, base: integer, size: integer, read: (fun(offset: integer, size: integer): integer?)?, write: fun(offset: integer, value: integer, size: integer)?, reset: fun()? }",
     "A device on memory.",
     "local last = 0\n"
     "vm.mmio{name = \"latch\", base = 0xfe100000, size = 0x1000,\n"
     "  read = function(off, size) return last end,\n"
     "  write = function(off, value, size) last = value end}"},
    {"vm.irq",
     "vm.irq(line, level)",
     "param line integer\n"
     "param level boolean",
     "Sets an interrupt line (0 to 23).",
     "vm.irq(5, true)\n"
     "vm.irq(5, false)"},
    {"vm.console_put",
     "vm.console_put(text, [channel])",
     "param text string\n"
     "param channel string?",
     "Console output as if a device had made it (debug unless given).",
     "vm.console_put(\"from a script\\n\", \"com1\")"},
    {"vm.now",
     "vm.now() -> seconds",
     "return number",
     "The host's monotonic clock.",
     "local t = vm.now()\n"
     "assert(vm.now() >= t)"},
    {"vm.limit",
     "vm.limit{hook=seconds, main=seconds}",
     "param limits { hook: number?, main: number? }",
     "How much processor time a hook, and other code without waiting, may take (1 and 10 seconds at first).",
     "vm.limit{hook = 0.5}"},
    {"vm.quit",
     "vm.quit([status])",
     "param status integer?",
     "Ends vmscope, also from a hook.",
     "vm.on(\"shutdown\", function() vm.quit(6) end)"},
    {"vm.json",
     "vm.json(text) -> value",
     "param text string\n"
     "return any",
     "Reads JSON.",
     "assert(vm.json('[1, {\"a\": 2}]')[2].a == 2)"},
    {"vm.hex",
     "vm.hex(n) -> text",
     "param n integer\n"
     "return string",
     "A number as 0x….",
     "assert(vm.hex(255) == \"0xff\")"},
    {NULL, NULL, NULL, NULL, NULL},
};
/* clang-format on */

static void script_row(void *arg, const char *name, const char *path)
{
    struct buf about = {0};

    (void)script_about(path, &about);
    out_row(arg);
    out_cell(arg, "%s", name);
    out_cell(arg, "%.*s", (int)strcspn(buf_str(&about), "\n"), buf_str(&about));
    buf_fini(&about);
}

static void list_all(struct out *o)
{
    static const char *const columns[] = {"name", "form", NULL};
    static const char *const scripts[] = {"script", "what it does", NULL};

    out_table(o, "api", NULL, columns);
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        out_row(o);
        out_cell(o, "%s", d->name);
        out_cell(o, "%s", d->form);
    }
    out_table_end(o);
    out_text(o, "%s", "");
    out_table(o, "scripts", NULL, scripts);
    script_each(script_row, o);
    out_table_end(o);
    out_text(o, "`help lua NAME` says more of each.");
}

/* A script by name: what it says of itself. */
static bool script_help(const char *name, struct out *o)
{
    struct buf about = {0};
    char *path = script_path(name);
    bool good = path && script_about(path, &about);

    if (good) {
        out_text(o, "%.*s", (int)about.len - (about.data[about.len - 1] == '\n'), buf_str(&about));
        out_json_str(o, "script", path);
        out_json_str(o, "help", buf_str(&about));
    }
    buf_fini(&about);
    free(path);
    return good;
}

int docs_help(const char *name, struct out *o)
{
    struct near near = {.word = name};

    if (!*name) {
        list_all(o);
        return 0;
    }
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        if (!strcmp(d->name, name) || (!strncmp(d->name, "vm.", 3) && !strcmp(d->name + 3, name))) {
            out_text(o, "%s", d->form);
            out_text(o, "%s", d->help);
            out_text(o, "Example:\n%s", d->example);
            out_json_str(o, "name", d->name);
            out_json_str(o, "form", d->form);
            out_json_str(o, "help", d->help);
            out_json_str(o, "example", d->example);
            return 0;
        }
        near_offer(&near, d->name);
    }
    if (script_help(name, o))
        return 0;
    if (near.best)
        out_error(o, "scripts know no `%s`: did you mean `%s`?", name, near.best);
    else
        out_error(o, "scripts know no `%s`: `help lua` lists all", name);
    return -ENOENT;
}

/* vm._docs() -> list of rows, for the tests and the pages made from them */
static int vm_docs(lua_State *L)
{
    lua_Integer n = 0;

    lua_newtable(L);
    for (const struct lua_doc *d = lua_docs; d->name; d++) {
        lua_createtable(L, 0, 5);
        lua_pushstring(L, d->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, d->form);
        lua_setfield(L, -2, "form");
        lua_pushstring(L, d->types);
        lua_setfield(L, -2, "types");
        lua_pushstring(L, d->help);
        lua_setfield(L, -2, "help");
        lua_pushstring(L, d->example);
        lua_setfield(L, -2, "example");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

void lua_open_docs(lua_State *L)
{
    lua_pushcfunction(L, vm_docs);
    lua_setfield(L, -2, "_docs");
}
