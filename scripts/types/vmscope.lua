---@meta
-- What vmscope's scripts see, for editors that understand LuaLS annotations.
-- Printed by `vmscope --dump-lua types`.

---What a hook sees: kind, port, size, value, write, count, gpa, msr, vector, rip (linear), cs_base, symbol, cr3, cpl, vcpu, mode, seq, at (seconds), guest_ns, host_ns, unclaimed, string, stepped, register (the device's name of it), text (as in the trace), reason, exception, dr6; of the devices' own records (kind device, in "trace" alone): event (line, request, eoi, timer, …), line, vector, target (a vCPU). Fields that the exit does not have are nil. Asking for the value of a read has the device answer first. e:reply(number or bytes) answers in its stead, for a write: it reaches no device. An event lives during the call.
---@class event
---@field kind string
---@field port integer?
---@field size integer
---@field value integer?
---@field write boolean
---@field count integer?
---@field gpa integer?
---@field msr integer?
---@field vector integer?
---@field rip integer
---@field cs_base integer
---@field symbol string?
---@field cr3 integer
---@field cpl integer
---@field vcpu integer
---@field mode string
---@field seq integer
---@field at number
---@field guest_ns integer
---@field host_ns integer
---@field unclaimed boolean
---@field string boolean
---@field stepped boolean
---@field register string?
---@field text string
---@field reason integer
---@field exception integer?
---@field dr6 integer?
---@field line integer?
---@field event string?
---@field target integer?
---@field reply fun(self: event, answer: integer|string): string

---What vm.on and points with a function return.
---@class hook
---@field hits integer
---@field errors integer
---@field id integer
---@field enabled boolean
---@field remove fun(self: hook)

---Why the guest stands: entry, step, breakpoint, watchpoint, catchpoint, arrived, interrupted, halted, powered off, debug exit, reset, triple fault, internal error, stuck, hook. rip is linear. Watchpoints have addr, old and new; by is the instruction that did it, or device whose DMA it was.
---@class stop
---@field kind string
---@field text string
---@field rip integer
---@field vcpu integer
---@field point integer?
---@field code integer
---@field steps integer
---@field vector integer?
---@field addr integer?
---@field old integer?
---@field new integer?
---@field by integer?
---@field device string?

---Linear memory as numbers, read and written. Breakpoints are invisible in it. Where there is no memory reading and writing are errors; a number is written whole or not at all, and one that does not fit is an error.
---@class memory
---@field u8 table<integer, integer>
---@field u16 table<integer, integer>
---@field u32 table<integer, integer>
---@field u64 table<integer, integer>
---@field s8 table<integer, integer>
---@field s16 table<integer, integer>
---@field s32 table<integer, integer>
---@field s64 table<integer, integer>
---@field read fun(self: memory, addr: integer, len: integer): string
---@field write fun(self: memory, addr: integer, bytes: string)
---@field find fun(self: memory, start: integer, len: integer, bytes: string, max: integer?): integer[]

---@class resolver
---@field forget fun()
---@field remove fun()

---@class pane
---@field refresh fun()
---@field remove fun()

---@class vm
---@field regs table<string, integer|string>
---@field phys memory
---@field mem memory
---@field symbols table<string|integer, integer|string>
vm = {}

---@class tui
tui = {}

---Calls fn at every event of a kind. On the vCPU's thread, while it happens: exit (every exit), the kinds of exits (io, mmio, rdmsr, wrmsr, hlt, irq, hypercall, shutdown, debug, internal, assist, …) and mode (fn sees the first exit in a new CPU mode). What is carried out for KVM is an assist, and what planted bytes and steps bring about no internal or shutdown. Hooks of accesses run before the device. fn gets an event and returns nothing, "stop" (and a reason), "drop", "log" or e:reply(…).
---On the main thread: stop (fn gets the stop; "continue" lets the guest go on; it may wait and step), console (a line, its channel), reset, tick (the filter is a period in seconds), trace (records from the ring, later and perhaps incomplete) and end.
---A filter is an expression over the exit's fields, registers and memory, or a table of fields: it is evaluated in C, so Lua is entered for matches only.
---@param kind string
---@param filter string|number|table|nil
---@param fn fun(e: event|stop|string, channel: string?): string?, string?
---@return hook
---@overload fun(kind: string, fn: fun(e: event|stop|string, channel: string?): string?, string?): hook
---@overload fun(self: vm, kind: string, filter: string|number|table|nil, fn: fun(e: event|stop|string, channel: string?): string?, string?): hook
function vm.on(kind, filter, fn) end

---Sets a breakpoint at an address or expression. Without fn it stops the guest, and s.point of the stop is the id. With fn, fn runs on the vCPU's thread and stops the guest only by returning "stop". Options: condition (an expression), temporary, ignore (hits to pass), vcpu.
---@param where integer|string
---@param options table|(fun(e: event): string?, string?)|nil
---@param fn (fun(e: event): string?, string?)?
---@return integer|hook
---@overload fun(self: vm, where: integer|string, options: table|(fun(e: event): string?, string?)|nil, fn: (fun(e: event): string?, string?)?): integer|hook
function vm.break_at(where, options, fn) end

---Sets a watchpoint on memory. Options: len (8), access (write, read, access, change), condition. With fn, fn gets the stop on the main thread and the guest goes on unless it returns "stop".
---@param where integer|string
---@param options table|(fun(s: stop): string?)|nil
---@param fn (fun(s: stop): string?)?
---@return integer|hook
---@overload fun(self: vm, where: integer|string, options: table|(fun(s: stop): string?)|nil, fn: (fun(s: stop): string?)?): integer|hook
function vm.watch(where, options, fn) end

---Stops the guest at exits of a kind; with fn as vm.watch.
---@param kind string
---@param filter string|table|(fun(s: stop): string?)|nil
---@param fn (fun(s: stop): string?)?
---@return integer|hook
---@overload fun(self: vm, kind: string, filter: string|table|(fun(s: stop): string?)|nil, fn: (fun(s: stop): string?)?): integer|hook
function vm.catch(kind, filter, fn) end

---Lets the guest run and returns at once; vm.wait_stop and vm.wait_console wait.
---@return table
---@overload fun(self: vm): table
function vm.cont() end

---vm.cont and vm.wait_stop in one.
---@param timeout number?
---@return stop
---@overload fun(self: vm, timeout: number?): stop
function vm.run(timeout) end

---Stops the guest and waits until it stands.
---@return stop
---@overload fun(self: vm): stop
function vm.stop() end

---Waits until the guest stands; an error when the time (in seconds) runs out first.
---@param timeout number?
---@return stop
---@overload fun(self: vm, timeout: number?): stop
function vm.wait_stop(timeout) end

---Waits until the guest has printed what the Lua pattern matches and returns the match, or its first capture. What was matched is used up. 30 seconds unless given; an error when the time runs out or the guest stands without having printed it. channel: com1, com2 or debug (port 0xE9); any when absent.
---@param pattern string
---@param timeout number?
---@param channel string?
---@return string
---@overload fun(self: vm, pattern: string, timeout: number?, channel: string?): string
function vm.wait_console(pattern, timeout, channel) end

---Input for COM1 (or com2); returns how many bytes were taken.
---@param text string
---@param channel string?
---@return integer
---@overload fun(self: vm, text: string, channel: string?): integer
function vm.send(text, channel) end

---Types on the guest's keyboard.
---@param text string
---@return integer
---@overload fun(self: vm, text: string): integer
function vm.type(text) end

---What a channel has printed, the last 256 KiB at least.
---@param channel string?
---@return string
---@overload fun(self: vm, channel: string?): string
function vm.console(channel) end

---Steps n instructions; a running guest is stopped first.
---@param n integer?
---@param vcpu integer?
---@return stop
---@overload fun(self: vm, n: integer?, vcpu: integer?): stop
function vm.step(n, vcpu) end

---As vm.step; calls, software interrupts and rep count as one.
---@param n integer?
---@param vcpu integer?
---@return stop
---@overload fun(self: vm, n: integer?, vcpu: integer?): stop
function vm.over(n, vcpu) end

---Until the present function has returned.
---@param vcpu integer?
---@param timeout number?
---@return stop
---@overload fun(self: vm, vcpu: integer?, timeout: number?): stop
function vm.finish(vcpu, timeout) end

---Until an address is about to execute.
---@param where integer|string
---@param timeout number?
---@return stop
---@overload fun(self: vm, where: integer|string, timeout: number?): stop
function vm.until_at(where, timeout) end

---Resets the board and loads the image again.
---@overload fun(self: vm)
function vm.reset() end

---stopped, running or ended.
---@return string
---@overload fun(self: vm): string
function vm.state() end

---The last stop.
---@return stop
---@overload fun(self: vm): stop
function vm.last_stop() end

---Waits; hooks and the guest go on meanwhile.
---@param seconds number
---@overload fun(self: vm, seconds: number)
function vm.sleep(seconds) end

---Runs fn as a script of its own, which may wait too.
---@param fn function
---@param ... any
---@overload fun(self: vm, fn: function, ...: any)
function vm.spawn(fn, ...) end

---Calls fn again and again.
---@param seconds number
---@param fn function
---@return hook
---@overload fun(self: vm, seconds: number, fn: function): hook
function vm.every(seconds, fn) end

---Calls fn once, later.
---@param seconds number
---@param fn function
---@overload fun(self: vm, seconds: number, fn: function)
function vm.after(seconds, fn) end

---Has the main thread run fn soon: for what a hook may not do itself.
---@param fn function
---@overload fun(self: vm, fn: function)
function vm.defer(fn) end

---Registers of vCPU n.
---@param n integer
---@return table<string, integer|string>
---@overload fun(self: vm, n: integer): table<string, integer|string>
function vm.cpu(n) end

---Linear memory as a string of bytes.
---@param addr integer
---@param n integer
---@return string
---@overload fun(self: vm, addr: integer, n: integer): string
function vm.read(addr, n) end

---Writes linear memory.
---@param addr integer
---@param bytes string
---@overload fun(self: vm, addr: integer, bytes: string)
function vm.write(addr, bytes) end

---A text that ends with a zero byte.
---@param addr integer
---@param max integer?
---@return string
---@overload fun(self: vm, addr: integer, max: integer?): string
function vm.string(addr, max) end

---Looks for bytes in linear memory; what is not mapped is passed over. At most 100 addresses unless max says otherwise.
---@param start integer
---@param length integer
---@param bytes string
---@param max integer?
---@return integer[]
---@overload fun(self: vm, start: integer, length: integer, bytes: string, max: integer?): integer[]
function vm.find(start, length, bytes, max) end

---Walks the page tables.
---@param addr integer
---@return integer?
---@return string?
---@overload fun(self: vm, addr: integer): integer?, string?
function vm.translate(addr) end

---An expression as the prompt knows it.
---@param expression string
---@return integer
---@overload fun(self: vm, expression: string): integer
function vm.eval(expression) end

---The symbol of that name, or the one that holds the address.
---@param what string|integer
---@return table?
---@overload fun(self: vm, what: string|integer): table?
function vm.symbol(what) end

---Every function, in order of address.
---@return table[]
---@overload fun(self: vm): table[]
function vm.functions() end

---The source line of an address.
---@param addr integer
---@return string?
---@return integer?
---@overload fun(self: vm, addr: integer): string?, integer?
function vm.line(addr) end

---Instructions: addr, len, bytes, text, mnemonic, operands, is_call, is_ret, is_branch, target.
---@param addr integer?
---@param count integer?
---@return table[]
---@overload fun(self: vm, addr: integer?, count: integer?): table[]
function vm.disasm(addr, count) end

---The CPU mode: real, prot32, long64, …
---@return string
---@overload fun(self: vm): string
function vm.mode() end

---How many exits there were, in all and by kind.
---@return integer
---@return table<string, integer>
---@overload fun(self: vm): integer, table<string, integer>
function vm.exits() end

---The number of vCPUs.
---@return integer
---@overload fun(self: vm): integer
function vm.cpus() end

---The guest's file.
---@return string
---@overload fun(self: vm): string
function vm.image() end

---Runs a command as at the prompt: its text and its JSON as a table. Stepping commands are waited for (data.stop), continue is not. A failing command is an error; vm.try returns false, text, data instead.
---@param line string
---@return string
---@return table
---@overload fun(self: vm, line: string): string, table
function vm.cmd(line) end

---As vm.cmd, without raising.
---@param line string
---@return boolean
---@return string
---@return table
---@overload fun(self: vm, line: string): boolean, string, table
function vm.try(line) end

---Adds a command to the prompt, to -e, to keys and to vm.cmd. run gets the rest of the line, and its words; what it prints or returns is the answer. help's first line is the summary. complete gets the words before the one that is being typed, and returns a list: those that begin alike are offered.
---@param command { name: string, usage: string?, help: string?, run: (fun(args: string, words: string[]): any), complete: (fun(before: string, word: string): string[])? }
---@overload fun(self: vm, command: { name: string, usage: string?, help: string?, run: (fun(args: string, words: string[]): any), complete: (fun(before: string, word: string): string[])? })
function vm.command(command) end

---Prints a table as commands do: text in columns, and JSON where JSON is asked for. Rows are lists, or tables by the columns' names; a column whose name begins with > is set to the right.
---@param rows table[]
---@param columns string[]
---@param name string?
---@overload fun(self: vm, rows: table[], columns: string[], name: string?)
function vm.table(rows, columns, name) end

---The words of a line; quotes keep blanks together.
---@param line string
---@return string[]
---@overload fun(self: vm, line: string): string[]
function vm.words(line) end

---Gives exits a text of its own in the exits panel, in `info exits last`, in `explain` and in logged lines: for a protocol that only your guest speaks. fn returns the text, or nil for the usual one. It runs later than the exit, so only the event is to be looked at.
---@param kind string
---@param filter string|table|nil
---@param fn fun(e: event): string?
---@return hook
---@overload fun(kind: string, fn: fun(e: event): string?): hook
---@overload fun(self: vm, kind: string, filter: string|table|nil, fn: fun(e: event): string?): hook
function vm.formatter(kind, filter, fn) end

---Names addresses that no symbol file knows (a JIT's code, a loaded module). resolve returns a name and, where known, the address at which it begins and its size, or nil; find returns the address of a name, or nil. They are asked after the symbols of files, and their answers are kept: what was unknown is asked again after each stop, r.forget() drops all. They may be asked while the guest runs, so look at vm.phys or at tables of your own, not at vm.regs.
---@param resolver { name: string?, resolve: (fun(addr: integer): string?, integer?, integer?)?, find: (fun(name: string): integer?)? }
---@return resolver
---@overload fun(self: vm, resolver: { name: string?, resolve: (fun(addr: integer): string?, integer?, integer?)?, find: (fun(name: string): integer?)? }): resolver
function vm.resolver(resolver) end

---A helper that knows an operating system. The command `os` asks the helpers' detect which system the guest is (a text it returns is the version; false may be followed by why not) and lists the views of that one; `os VIEW ARGS` runs one. A view with columns returns rows, as for vm.table.
---@param system { name: string, detect: (fun(): any)?, views: table<string, table|fun(args: string, words: string[]): any> }
---@overload fun(self: vm, system: { name: string, detect: (fun(): any)?, views: table<string, table|fun(args: string, words: string[]): any> })
function vm.os(system) end

---A pane beside the panels of the workbench (key 0; Left and Right choose among panes); without a screen the command `pane NAME` prints it. draw returns a text, or a list of lines; a line is a text or a list of parts, and a part a text or {text, style}: normal, dim, title, addr, name, number, changed, error. It is drawn anew after a stop, after a key, after p.refresh() and, with `every`, so often while the guest runs. keys: functions by the names of keys (d, Enter, Space, F9, PgDn); `pane NAME key KEY` is the same.
---@param pane { name: string, title: string?, help: string?, draw: (fun(cols: integer, rows: integer): string|table), keys: table<string, function>?, every: number? }
---@return pane
---@overload fun(self: tui, pane: { name: string, title: string?, help: string?, draw: (fun(cols: integer, rows: integer): string|table), keys: table<string, function>?, every: number? }): pane
function tui.pane(pane) end

---A device on ports. Its functions run with the machine locked: of vm they may use phys (their DMA, which watchpoints see), irq, console_put and print.
---@param device { name: string?, help: string?, ports: integer[], read: (fun(port: integer, size: integer): integer?)?, write: fun(port: integer, value: integer, size: integer)?, reset: fun()? }
---@overload fun(self: vm, device: { name: string?, help: string?, ports: integer[], read: (fun(port: integer, size: integer): integer?)?, write: fun(port: integer, value: integer, size: integer)?, reset: fun()? })
function vm.device(device) end

---A device on memory.
---@param device { name: string?, help: string?, base: integer, size: integer, read: (fun(offset: integer, size: integer): integer?)?, write: fun(offset: integer, value: integer, size: integer)?, reset: fun()? }
---@overload fun(self: vm, device: { name: string?, help: string?, base: integer, size: integer, read: (fun(offset: integer, size: integer): integer?)?, write: fun(offset: integer, value: integer, size: integer)?, reset: fun()? })
function vm.mmio(device) end

---Sets an interrupt line (0 to 23).
---@param line integer
---@param level boolean
---@overload fun(self: vm, line: integer, level: boolean)
function vm.irq(line, level) end

---Console output as if a device had made it (debug unless given).
---@param text string
---@param channel string?
---@overload fun(self: vm, text: string, channel: string?)
function vm.console_put(text, channel) end

---The host's monotonic clock.
---@return number
---@overload fun(self: vm): number
function vm.now() end

---How much processor time a hook, and other code without waiting, may take (1 and 10 seconds at first).
---@param limits { hook: number?, main: number? }
---@overload fun(self: vm, limits: { hook: number?, main: number? })
function vm.limit(limits) end

---Ends vmscope, also from a hook.
---@param status integer?
---@overload fun(self: vm, status: integer?)
function vm.quit(status) end

---Reads JSON.
---@param text string
---@return any
---@overload fun(self: vm, text: string): any
function vm.json(text) end

---A number as 0x….
---@param n integer
---@return string
---@overload fun(self: vm, n: integer): string
function vm.hex(n) end

