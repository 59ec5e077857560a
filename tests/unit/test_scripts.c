/*
 * Scripts against a real machine: what the interface does, every example of its documentation, and
 * scripts that mean harm.
 */
#include "tests/unit/guest_image.h"

#include <stdlib.h>
#include <unistd.h>

#include "debug/out.h"
#include "debug/session.h"
#include "scripts/lua_host.h"
#include "vmm/base/buf.h"
#include "vmm/base/clock.h"
#include "vmm/base/x.h"

/* Real mode: prints "hello world\r\nlogin: " on COM1, copies port 0x510 to 0x80, sends "x\n" to
 * 0x2e8, polls COM1 for input (2000 times, or for ever), echoes it, writes 16 to 0xf4. */
static const uint8_t code[] = {
    0xba, 0xf8, 0x03, 0xbe, 0x36, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xba,
    0x10, 0x05, 0xec, 0xe6, 0x80, 0xba, 0xe8, 0x02, 0xb0, 0x78, 0xee, 0xb0, 0x0a, 0xee, 0xba,
    0xfd, 0x03, 0xb9, 0xd0, 0x07, 0xec, 0xa8, 0x01, 0x75, 0x04, 0xe2, 0xf9, 0xeb, 0x05, 0xba,
    0xf8, 0x03, 0xec, 0xee, 0xb0, 0x10, 0xe6, 0xf4, 0xf4, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x20,
    0x77, 0x6f, 0x72, 0x6c, 0x64, 0x0d, 0x0a, 0x6c, 0x6f, 0x67, 0x69, 0x6e, 0x3a, 0x20, 0x00};
#define POLL_AT 40 /* loop; 0xeb makes it for ever */

static struct session *s;
static struct scripts *h;
static struct cmd_client client;
static struct buf printed;
static unsigned hook_ms = 1000, main_ms = 20000;

static void on_print(void *arg, const char *text, size_t len)
{
    (void)arg;
    buf_add(&printed, text, len);
}

static bool open_guest(bool for_ever, bool sandbox)
{
    const struct session_config cfg = {.mem_bytes = 2 << 20, .boot.kind = BOOT_FLAT};
    struct scripts_config sc = {
        .sandbox = sandbox, .mem_bytes = 32 << 20, .hook_ms = hook_ms, .main_ms = main_ms};
    struct err e = {0};
    uint8_t bytes[sizeof code];

    memcpy(bytes, code, sizeof code);
    if (for_ever)
        bytes[POLL_AT] = 0xeb;
    buf_clear(&printed);
    sc.print = on_print;
    client = (struct cmd_client){.quit_status = -1};
    if (!guest_open(&s, cfg, bytes, sizeof bytes))
        return false;
    client.s = s;
    if (scripts_open(&h, s, &client, &sc, &e)) {
        test_fail(__FILE__, __LINE__, "%.500s", e.msg);
        return false;
    }
    return true;
}

static void close_guest(void)
{
    scripts_close(h);
    guest_close(&s);
    cmd_client_fini(&client);
}

/* Delivers until no script waits and the guest stands. False when it hangs. */
static bool settle(void)
{
    for (uint64_t end = clock_ns() + TEST_HANG_NS; clock_ns() < end;) {
        struct pollfd p = {.fd = session_fd(s), .events = POLLIN};

        if (scripts_idle(h) && session_state(s) != SS_RUNNING && poll(&p, 1, 0) == 0)
            return true;
        if (poll(&p, 1, 10) > 0)
            session_dispatch(s);
        if (client.quit)
            return true;
    }
    return false;
}

/* Runs a script to its end; its failure fails the test. */
#define RUN(text)                                                                                  \
    do {                                                                                           \
        struct err e_ = {0};                                                                       \
        const char *why_;                                                                          \
        if (scripts_run_text(h, text, "=test", &e_))                                               \
            TEST_FAIL("%.500s", e_.msg);                                                           \
        CHECK(settle());                                                                           \
        if (scripts_failed(h, &why_))                                                              \
            TEST_FAIL("%.500s", why_);                                                             \
    } while (0)

static void run_clean(const char *text, bool for_ever, bool sandbox)
{
    if (!open_guest(for_ever, sandbox))
        return;
    RUN(text);
    close_guest();
}

/* The script must fail and say `words`; then all must still work. */
static void run_bad(const char *text, const char *words)
{
    struct err e = {0};
    const char *why;
    bool open;

    hook_ms = 50;
    main_ms = 200;
    open = open_guest(false, false);
    hook_ms = 1000;
    main_ms = 20000;
    if (!open)
        return;
    if (!scripts_run_text(h, text, "=bad", &e)) {
        struct err e2 = {0};

        if (session_state(s) == SS_STOPPED && scripts_idle(h))
            CHECK(!session_run(s, &e2));
        CHECK(settle());
    }
    CHECK(scripts_failed(h, &why));
    /* A limit of time may strike first. */
    if (!strstr(why, "too long"))
        CHECK_HAS(why, words);
    if (scripts_run_text(h, "assert(1 + 1 == 2)", "=after", &e))
        TEST_FAIL("after %.40s: %.400s", text, e.msg);
    close_guest();
}

/* ---- what it does --------------------------------------------------------------------------- */

static void registers_and_memory(void)
{
    run_clean(
        "assert(vm.regs.rip == 0x7c00 and vm.state() == 'stopped')\n"
        "vm.regs.eax = 0x11223344 assert(vm.regs.al == 0x44 and vm.regs.ah == 0x33)\n"
        "vm.regs.ah = 0x55 assert(vm.regs.rax == 0x11225544)\n"
        "vm.mem.u64[0x9000] = -2 assert(vm.mem.s64[0x9000] == -2 and vm.mem.u8[0x9000] == 0xfe)\n"
        "assert(vm.phys.u16[0x9000] == 0xfffe and vm.mem.s8[0x9000] == -2)\n"
        "assert(vm:read(0x7c00, 3) == '\\xba\\xf8\\x03' and vm.read(0x7c00, 0) == '')\n"
        "assert(not pcall(vm.read, 1 << 40, 4) and not pcall(function() return vm.regs.nosuch "
        "end))\n"
        "assert(#vm.regs.xmm0 == 16)\n"
        "assert(vm.find(0x7c00, 512, 'hello')[1] == 0x7c36)\n"
        "assert(vm.disasm()[1].text:find('mov') and vm.eval('$rip') == 0x7c00)\n"
        "assert(#vm.disasm(0x7c00, 5) == 5)\n",
        false, false);
}

static void story(void)
{
    run_clean("vm:cont()\n"
              "assert(vm:wait_console('login:', 20) == 'login:')\n"
              "assert(vm:send('Q') == 1)\n"
              "assert(vm:wait_console('Q', 20) == 'Q')\n"
              "local s = vm:wait_stop(20)\n"
              "assert(s.kind == 'debug exit' and s.code == 16, s.text)\n"
              "assert(vm.state() == 'ended')\n"
              "vm:reset() local s = vm:step(10) assert(s.steps == 10 and s.kind == 'step')\n"
              "assert(vm.regs.cs & 3 == 0)\n"
              "vm:cont() vm:sleep(0.01) vm:step(2) assert(vm.state() == 'stopped')\n"
              "local good, why = pcall(vm.wait_console, 'never printed', 1)\n"
              "assert(not good and why:find('never printed'), why)\n",
              true, false);
    if (test_failed || test_skipped)
        return;
    run_clean("vm:cont()\n"
              "local good, why = pcall(vm.wait_console, 'never', 0.05)\n"
              "assert(not good and why:find('time ran out'), why)\n"
              "local good, why = pcall(vm.wait_stop, 0.01)\n"
              "assert(not good and why:find('time ran out'), why)\n"
              "assert(vm:stop().kind == 'interrupted')\n",
              true, false);
}

static void hooks(void)
{
    run_clean("local log, post = {}, nil\n"
              "vm.on('io', {port=0x510}, function(e)\n"
              "  log[#log+1] = e.kind .. e.size .. tostring(e.write) return e:reply(0x1d) end)\n"
              "vm.on('io', 'port == 0x80', function(e) post = e.value end)\n"
              "vm.on('io', 'port == 0xf4', function(e) return 'drop' end)\n"
              "local n = 0 local all = vm.on('exit', function() n = n + 1 end)\n"
              "local none = vm.on('io', 'port == 0x999', function() error('not matched') end)\n"
              "local value = vm.on('io', 'port == 0x3fd && value == 0x60', function() end)\n"
              "local s = vm:run(20)\n"
              "assert(s.kind == 'halted', s.text)\n"
              "assert(#log == 1 and log[1] == 'io1false' and post == 0x1d)\n"
              "assert(n > 2000 and all.hits == n and none.hits == 0 and value.hits > 1000)\n"
              "all:remove() assert(not all.enabled)\n"
              "vm:reset()\n"
              "vm.on('io', 'port == 0x2e8', function(e) return 'stop', 'the port of COM4' end)\n"
              "local s = vm:run(20)\n"
              "assert(s.kind == 'hook' and s.text:find('the port of COM4'), s.text)\n"
              "assert(not pcall(vm.on, 'io', 'port ==', print))\n"
              "assert(not pcall(vm.on, 'nosuch', print) and not pcall(vm.on, 'io'))\n",
              false, false);
}

static void hook_reads_and_writes(void)
{
    run_clean("local seen\n"
              "vm.on('io', 'port == 0x80', function(e)\n"
              "  seen = e.value assert(vm.regs.rip >= 0x7c00 and vm.mem.u8[0x7c00] == 0xba)\n"
              "  vm.mem.u8[0x7c36] = 0x58 vm.regs.rbx = 0x1234 assert(vm.phys.u8[0x7c36] == 0x58)\n"
              "  assert(vm.eval('port') == 0x80 and vm.translate(0x7c00) == 0x7c00)\n"
              "  assert(not pcall(vm.step) and not pcall(vm.cmd, 'stepi')) end)\n"
              "vm.on('io', 'port == 0x3fd', function(e) kept = e end)\n"
              "vm:run(20)\n"
              "assert(seen == 0xff and vm.mem.u8[0x7c36] == 0x58 and vm.regs.rbx == 0x1234)\n"
              "local good, why = pcall(function() return kept.port end)\n"
              "assert(not good and why:find('over'), why)\n",
              false, false);
}

static void points(void)
{
    run_clean(
        "local n, rip = 0\n"
        "local h = vm:break_at(0x7c12, function(e) n = n + 1 rip = e.rip vm.regs.al = 0x42 end)\n"
        "local post vm.on('io', 'port == 0x80', function(e) post = e.value end)\n"
        "local id = vm:break_at('0x7c14', {temporary = true})\n"
        "local s = vm:run(20)\n"
        "assert(s.kind == 'breakpoint' and s.point == id and s.rip == 0x7c14, s.text)\n"
        "assert(n == 1 and rip == 0x7c12 and post == 0x42)\n"
        "h:remove()\n"
        "local hits = 0 vm:catch('io', 'port == 0x2e8', function(s) hits = hits + 1 end)\n"
        "local stops = 0 vm.on('stop', function(s) stops = stops + 1 end)\n"
        "vm:cont() vm:sleep(0.2)\n"
        "while vm.state() ~= 'ended' do vm:sleep(0.02) end\n"
        "assert(hits == 2 and stops == 3, hits .. ' ' .. stops)\n",
        false, false);
}

static void devices(void)
{
    run_clean("local out, resets = '', 0\n"
              "vm.device{name='com4', ports={0x2e8}, read=function() return 0 end,\n"
              "  write=function(p, v, size) assert(p == 0x2e8 and size == 1) vm.irq(5, true) "
              "vm.irq(5, false)\n"
              "    out = out .. string.char(v) vm.console_put('c') assert(#vm.phys:read(0, 4) == "
              "4) end,\n"
              "  reset=function() resets = resets + 1 end}\n"
              "vm.device{name='id', ports={0x510}, read=function(p, size) return 0x77 end}\n"
              "local post vm.on('io', 'port == 0x80', function(e) post = e.value end)\n"
              "local reads = 0 vm.on('io', 'port == 0x510', function(e) assert(e.value == 0x77) "
              "reads = reads + 1 end)\n"
              "vm:run(20)\n"
              "assert(out == 'x\\n' and post == 0x77 and reads == 1 and resets == 1)\n"
              "assert(vm.console('debug') == 'cc')\n"
              "assert(not pcall(vm.device, {name='id', ports={0x99}}))\n"
              "assert(not pcall(vm.device, {name='z', ports={0x3f8}}))\n"
              "assert(not pcall(vm.mmio, {name='m', base=0xfe000000, size=0}))\n"
              "vm.mmio{name='m', base=0xfd000000, size=16, read=function(o) return o end}\n",
              false, false);
}

/* What a device reads and writes by itself meets watchpoints by every method, names the device, and
 * leaves a planted byte where it is. */
static void dma(void)
{
    static const char *const ways[] = {NULL, "watch-write=read-only-slot,watch-access=no-slot",
                                       "watch-write=stepping,watch-access=stepping"};
    static const char script[] =
        "local code\n"
        "vm.cmd('set breakpoint registers off')\n"
        "vm.device{name='disk', ports={0x510}, read=function()\n"
        "  vm.phys:write(0x1ffe, '\\1\\2\\3\\4') code = vm.phys:read(0x7c12, 4)\n"
        "  vm.phys:write(0x7c12, '\\xe6\\x80\\xba\\xe8') return vm.phys.u8[0x2001] end}\n"
        "vm.cmd('break *0x7c14') vm.cmd('rwatch *(u16*)0x2001') vm.cmd('watch *(u32*)0x1ffa')\n"
        "vm.cmd('watch -w 0x2003 if *(u8*)0x2001 == 4') vm.cmd('watch phys:0x2000,2')\n"
        "vm:cont() local w = vm:wait_stop()\n"
        "assert(w.kind == 'watchpoint' and w.device == 'disk' and not w.by, w.text)\n"
        "assert(w.addr == 0x2000 and w.old == 0 and w.new == 0x403, w.text)\n"
        "assert(w.text:find('by device disk %(DMA%)') and w.text:find('at once'), w.text)\n"
        "assert(code == '\\xe6\\x80\\xba\\xe8')\n"
        "vm:cont() local b = vm:wait_stop() assert(b.kind == 'breakpoint' and b.rip == 0x7c14, "
        "b.text)\n"
        "assert(vm.mem:read(0x7c12, 4) == code)\n"
        "vm:run(20)\n"
        "local _, list = vm.cmd('info breakpoints')\n"
        "for i, hits in pairs{1, 1, 0, 0, 1} do\n"
        "  assert(list.breakpoints[i].Hits == hits, i .. vm.cmd('info breakpoints')) end\n";

    for (size_t i = 0; i < ARRAY_LEN(ways) && !test_failed && !test_skipped; i++) {
        if (ways[i])
            setenv("VMSCOPE_FORCE_METHODS", ways[i], 1);
        run_clean(script, false, false);
        unsetenv("VMSCOPE_FORCE_METHODS");
    }
}

static void commands(void)
{
    run_clean(
        "local text, data = vm.cmd('info registers rip')\n"
        "assert(text:find('0x7c00') and type(data) == 'table')\n"
        "local good, why = pcall(vm.cmd, 'nosuchcommand') assert(not good and why:find('nosuch'))\n"
        "vm.command{name='twice', usage='N', help='Doubles.', run=function(a) print('from', a) "
        "return 2 * a end}\n"
        "local text = vm.cmd('twice 21') assert(text:find('42') and text:find('from'), text)\n"
        "assert(not pcall(vm.command, {name='twice', run=print}))\n"
        "assert(not pcall(vm.command, {name='Bad Name', run=print}))\n"
        "local _, d = vm.cmd('stepi 3') assert(d.stop.steps == 3)\n"
        "vm.command{name='three', run=function() return vm:step(3).steps end}\n"
        "local t = vm.try('three')\n"
        "local deep = 0 vm.command{name='again', run=function() deep = deep + 1\n"
        "if deep == 4 then error('bottom') end return vm.cmd('again') end}\n"
        "local _, why = pcall(vm.cmd, 'again') local _, n = why:gsub('bottom', '')\n"
        "assert(n == 1, why)\n"
        "assert(vm.json('{\"a\":[1,2.5,\"x\\\\u00e9\",null,true]}').a[3] == 'x\\xc3\\xa9')\n"
        "assert(not pcall(vm.json, '{') and not pcall(vm.json, ('['):rep(1000)))\n",
        false, false);
}

static void console_tick_trace(void)
{
    run_clean("local lines, ticks, ios = {}, 0, 0\n"
              "vm.on('console', function(l, c) lines[#lines+1] = c .. ':' .. l end)\n"
              "local t = vm.every(0.005, function() ticks = ticks + 1 end)\n"
              "vm.on('trace', 'kind == io && port == 0x3f8', function(e) ios = ios + 1 end)\n"
              "local late = false vm.after(0.01, function() late = true end)\n"
              "local resets = 0 vm.on('reset', function() resets = resets + 1 end)\n"
              "vm:run(20) vm:sleep(0.05)\n"
              "assert(lines[1] == 'com1:hello world', lines[1])\n"
              "assert(ticks > 0 and late and ios == 20, ios)\n"
              "t:remove() vm:reset() vm:sleep(0.01) assert(resets == 1)\n",
              false, false);
}

static void sandbox(void)
{
    run_clean("assert(not io and not os and not package and not dofile and not loadfile)\n"
              "assert(not debug.sethook and not debug.getregistry)\n"
              "assert(not pcall(require, '../../etc/passwd'))\n"
              "assert(not load('\\27Lua'))\n"
              "assert(load('return 1', 'x', 'bt')() == 1)\n"
              "assert(load('return x', 'x', 't', {x = 7})() == 7)\n"
              "assert(getmetatable(vm.regs) == false)\n",
              false, true);
}

static void prompt(void)
{
    struct out o = {0};

    if (!open_guest(false, false))
        return;
    CHECK_EQ(cmd_exec(&client, "lua vm.regs.rip", &o), 0);
    CHECK_HAS(buf_str(&o.text), "0x7c00");
    out_fini(&o);
    o = (struct out){0};
    CHECK(cmd_exec(&client, "lua error('an error')", &o) != 0);
    CHECK_HAS(buf_str(&o.text), "an error");
    out_fini(&o);
    o = (struct out){0};
    CHECK_EQ(cmd_exec(&client, "help lua vm.on", &o), 0);
    CHECK_HAS(buf_str(&o.text), "Calls fn");
    CHECK_EQ(cmd_exec(&client, "help lua on", &o), 0);
    CHECK(cmd_exec(&client, "help lua vm.om", &o) != 0);
    CHECK_HAS(buf_str(&o.text), "did you mean");
    CHECK_EQ(cmd_exec(&client, "info scripts", &o), 0);
    CHECK(cmd_exec(&client, "source no-such-script.lua", &o) != 0);
    out_fini(&o);
    CHECK(!scripts_failed(h, NULL));
    close_guest();
}

static void quit_from_a_hook(void)
{
    struct err e = {0};

    if (!open_guest(true, false))
        return;
    CHECK(!scripts_run_text(h, "vm.on('io', function() vm.quit(3) end) vm:cont()", "=q", &e));
    CHECK(settle());
    CHECK(client.quit);
    CHECK_EQ(client.quit_status, 3);
    close_guest();
}

/* ---- what is documented --------------------------------------------------------------------- */

static void every_example_runs(void)
{
    struct err e = {0};
    unsigned count;

    if (!open_guest(false, false))
        return;
    CHECK(!scripts_run_text(h, "print(#vm._docs())", "=n", &e));
    count = (unsigned)strtoul(buf_str(&printed), NULL, 10);
    CHECK(count > 50);
    /* Every function has its row. */
    CHECK(!scripts_run_text(
        h,
        "local has = {} for _, d in ipairs(vm._docs()) do has[d.name] = true end\n"
        "for name, t in pairs{vm = vm, tui = tui} do for k in pairs(t) do\n"
        "  assert(k:sub(1, 1) == '_' or has[name .. '.' .. k], name .. '.' .. k .. ' has no help') "
        "end end",
        "=rows", &e));
    CHECK_STR(e.msg, "");
    close_guest();
    for (unsigned i = 1; i <= count; i++) {
        char text[200];

        if (!open_guest(false, false))
            return;
        snprintf(text, sizeof text,
                 "local d = vm._docs()[%u] assert(load(d.example, '=' .. d.name))()", i);
        RUN(text);
        close_guest();
    }
}

/* ---- harm ------------------------------------------------------------------------------------ */

static void endless_loops(void)
{
    run_bad("while true do end", "ran too long");
    run_bad("while true do pcall(function() while true do end end) end", "ran too long");
    run_bad("local function f() return f() end f()", "ran too long");
    run_bad("coroutine.wrap(function() while true do pcall(error) end end)()", "ran too long");
    run_bad("local t = setmetatable({}, {__index = function(t, k) while true do end end}) local x "
            "= t.x",
            "ran too long");
    run_bad("setmetatable({}, {__gc = function() while true do end end})", "__gc");
    run_bad("vm.on('io', function() while true do end end)", "ran too long");
    run_bad("vm.on('io', function() while true do pcall(function() while true do end end) end end)",
            "ran too long");
    run_bad("xpcall(function() while true do end end, function() while true do end end)",
            "ran too long");
}

/* In C, where no instruction of Lua's is counted. */
static void endless_library_calls(void)
{
    run_bad("local s = ('a'):rep(30) s:find(('a?'):rep(30) .. ('a'):rep(30))", "ran too long");
    run_bad("vm.on('io', function() (('a'):rep(60000)):match(('.-'):rep(5) .. 'b') end)",
            "ran too long");
    run_bad("(('a'):rep(60000)):gsub(('.-'):rep(5) .. 'b', '')", "ran too long");
    run_bad("vm:cont() vm:wait_console(('.-'):rep(8) .. 'Q', 5)", "");
    run_bad("table.move({}, 1, 1 << 60, 2)", "too many elements");
    run_bad("table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 1)",
            "too many elements");
    run_bad("local x <close> = setmetatable({}, {__close = function() while true do end end}) "
            "error('first')",
            "");
    run_bad("while true do vm.on('io', print):remove() end", "hooks were set");
    run_bad("vm.command{name='again', run=function() return vm.cmd('again') end} vm.cmd('again')",
            "run each other");
    run_bad("vm.resolver{resolve=function() while true do end end} error(vm.symbols[0x9000])", "");
    run_bad(
        "tui.pane{name='spin', draw=function() while true do end end} error((vm.cmd('pane spin')))",
        "too long");
    run_bad("tui.pane{name='p', draw=function() return {{{'x', 'nostyle'}}} end} "
            "error((vm.cmd('pane p')))",
            "no style");
    run_bad("vm.formatter('io', function() while true do end end)\n"
            "vm:cont() vm:wait_stop() error((vm.cmd('info exits last 1')))",
            "");
}

static void memory_hogs(void)
{
    run_bad("local s = 'x' while true do s = s .. s end", "not enough memory");
    run_bad("local s = ('x'):rep(1 << 40)", "too large");
    run_bad("vm.on('io', function() local s = 'x' while true do s = s .. s end end)",
            "not enough memory");
    run_bad("local function f() f() end f()", "");
    run_bad("string.rep('a', 1 << 20):rep(1 << 8)", "not enough memory");
    run_bad("vm:read(0, 1 << 30)", "64M");
}

static void errors_in_errors(void)
{
    run_bad("error(setmetatable({}, {__tostring = function() error('deep') end}))", "");
    run_bad("error()", "nil");
    run_bad("error({})", "table");
    run_bad("vm.on('io', function() error(setmetatable({}, {__tostring = function() error('x') "
            "end})) end)",
            "");
    run_bad("vm.on('io', function() error() end)", "");
    run_bad("vm.on('io', function() return 42 end)", "returned a number");
    run_bad("vm.on('stop', function() error('in a stop hook') end)", "in a stop hook");
    run_bad("vm.device{name='d', ports={0x510}, read=function() error('in a device') end}",
            "in a device");
    run_bad("vm.device{name='d', ports={0x510}, read=function() return vm.regs.rax end}",
            "inside a device");
    run_bad("vm.on('console', function() error('console') end)", "console");
    run_bad("vm:wait_console('[', 1)", "");
    run_bad("vm:cont() vm:wait_console('%', 5)", "malformed");
}

static void ten_errors_end_a_hook(void)
{
    struct err e = {0};

    if (!open_guest(false, false))
        return;
    CHECK(!scripts_run_text(h, "h = vm.on('io', function() error('again') end)", "=t", &e));
    CHECK(!session_run(s, &e));
    CHECK(settle());
    CHECK_HAS(buf_str(&printed), "is disabled: it failed 10 times in a row");
    CHECK(!scripts_run_text(h, "assert(h.errors == 10 and not h.enabled and h.hits == 10)", "=u",
                            &e));
    close_guest();
}

static void strange_ways(void)
{
    /* The vm ends inside a hook, hooks come and go inside hooks, coroutines are left behind. */
    run_clean(
        "vm.on('io', function() vm.stop = nil vm.quit() end)\n"
        "vm.on('io', function() pcall(vm.reset) pcall(vm.cmd, 'quit') pcall(vm.device, {}) end)\n"
        "vm:cont()",
        false, false);
    if (test_failed || test_skipped)
        return;
    run_clean("local h h = vm.on('io', function() h:remove() h:remove()\n"
              "  for i = 1, 50 do local x = vm.on('io', function() end) if i % 2 == 0 then "
              "x:remove() end end end)\n"
              "local c vm.on('io', function() if not c then c = coroutine.wrap(function(a) "
              "coroutine.yield(a) error('no') end) c(1) end end)\n"
              "vm:run(20) collectgarbage()",
              false, false);
    if (test_failed || test_skipped)
        return;
    run_clean("for i = 1, 50 do coroutine.wrap(function() coroutine.yield() end)() end\n"
              "vm.spawn(function() coroutine.yield() coroutine.yield() end)\n"
              "local good, why = pcall(coroutine.wrap(function() vm:step() end))\n"
              "assert(not good and why:find('vm.spawn'), why)\n"
              "vm.on('io', function(e) vm.defer(function() done = true end) end)\n"
              "vm:run(20) vm:sleep(0.01) assert(done)",
              false, false);
    if (test_failed || test_skipped)
        return;
    run_bad("vm.on('io', function() coroutine.yield() end)", "yield");
    if (test_failed || test_skipped)
        return;
    /* They remove themselves. */
    run_clean("local n, list = 0, {}\n"
              "local function once(make) local h h = make(function() n = n + 1 h:remove() end) "
              "list[#list + 1] = h end\n"
              "once(function(fn) return vm.on('io', fn) end)\n"
              "once(function(fn) return vm.on('console', fn) end)\n"
              "once(function(fn) return vm.on('stop', fn) end)\n"
              "once(function(fn) return vm.on('trace', fn) end)\n"
              "once(function(fn) return vm.every(0.001, fn) end)\n"
              "vm:run(20) vm:sleep(0.02)\n"
              "vm.cmd('info exits last 2')\n"
              "for i, h in ipairs(list) do assert(h.hits == 1 and not h.enabled, i) end\n"
              "assert(n == 5, n)",
              false, false);
}

static void ten_thousand_hooks(void)
{
    run_clean(
        "local h, n = {}, 0\n"
        "for i = 1, 10000 do h[i] = vm.on('io', 'port == ' .. i, function() n = n + 1 end) end\n"
        "vm:run(20)\n"
        "assert(n > 2000 and h[0x510].hits == 1, n)\n"
        "for i = 1, 10000 do h[i]:remove() end\n"
        "vm:reset() local before = n vm:run(20) assert(n == before)",
        false, false);
}

static void names_formats_panes(void)
{
    run_clean(
        "local asked = 0\n"
        "local r = vm.resolver{name='jit', resolve=function(a) asked = asked + 1\n"
        "  if a >= 0x9000 and a < 0x9100 then return 'code\\27[2J', 0x9000, 0x100 end end,\n"
        "  find=function(n) if n == 'jit_entry' then return 0x9004 end end}\n"
        "assert(vm.symbols[0x9004] == 'code?[2J+0x4' and asked == 1, vm.symbols[0x9004])\n"
        "assert(vm.symbols[0x9004] and asked == 1, 'not kept')\n"
        "assert(vm.eval('jit_entry') == 0x9004 and vm.symbols.jit_entry == 0x9004)\n"
        "assert(vm.symbols[0x200000] == nil and vm.symbols[0x200000] == nil and asked == 2)\n"
        "vm:step() assert(vm.symbols[0x200000] == nil and asked > 2)\n"
        "r.forget() local n = asked assert(vm.symbols[0x9004] and asked == n + 1)\n"
        "r.remove() assert(vm.symbols[0x9004] == nil and vm.symbols.jit_entry == nil)\n"
        "local f = vm.formatter('io', {port=0x80}, function(e) return 'POST\\n' .. e.value end)\n"
        "vm:run(20)\n"
        "local text = vm.cmd('info exits last 4000')\n"
        "assert(text:find('POST\\\\x0a') and f.hits == 1, f.hits)\n"
        "f:remove() assert(not vm.cmd('info exits last 5'):find('POST'))\n"
        "local keys, sizes = '', ''\n"
        "local p = tui.pane{name='k', title='K', keys={d=function(_, k) keys = keys .. k end},\n"
        "  draw=function(c, l) sizes = c .. 'x' .. l return {{'a', {'b', 'error'}}, 'c\\27'} end}\n"
        "assert(vm.cmd('pane k') == 'ab\\nc\\\\x1b\\n', vm.cmd('pane k'))\n"
        "assert(sizes == '80x24') vm.cmd('pane k key d') assert(keys == 'd')\n"
        "assert(not vm.try('pane k key x') and not vm.try('pane nosuch'))\n"
        "assert(vm.cmd('pane'):find('K')) p.remove() assert(not vm.try('pane k'))\n"
        "assert(not pcall(tui.pane, {name='two words', draw=print}))\n"
        "assert(not pcall(tui.pane, {name='x'}))\n"
        "assert(not vm.try('os'))\n"
        "vm.os{name='no', detect=function() return false end, views={}}\n"
        "assert(not vm.try('os'))\n"
        "vm.os{name='toy', detect=function() return '2' end, views={t={columns={'n'},\n"
        "  run=function(args, w) return {{n=args .. #w}} end}}}\n"
        "local text, data = vm.cmd('os t a \"b c\"')\n"
        "assert(text:find('b c') and data.t[1].n == 'a \"b c\"2', text)\n",
        false, false);
}

static void left_waiting(void)
{
    struct err e = {0};

    if (!open_guest(true, false))
        return;
    CHECK(!scripts_run_text(h, "vm:cont() vm:wait_stop()", "=w", &e));
    CHECK(scripts_waiting(h));
    close_guest(); /* while the guest runs and a script waits */
    if (!open_guest(true, false))
        return;
    CHECK(!scripts_run_text(h, "vm.on('io', function() for i = 1, 1e6 do end end) vm:cont()", "=w",
                            &e));
    close_guest();
}

static const struct test tests[] = {
    {"registers_and_memory", registers_and_memory},
    {"story", story},
    {"hooks", hooks},
    {"hook_reads_and_writes", hook_reads_and_writes},
    {"points", points},
    {"devices", devices},
    {"dma", dma},
    {"commands", commands},
    {"console_tick_trace", console_tick_trace},
    {"sandbox", sandbox},
    {"prompt", prompt},
    {"quit_from_a_hook", quit_from_a_hook},
    {"every_example_runs", every_example_runs},
    {"endless_loops", endless_loops},
    {"endless_library_calls", endless_library_calls},
    {"memory_hogs", memory_hogs},
    {"ten_thousand_hooks", ten_thousand_hooks},
    {"names_formats_panes", names_formats_panes},
    {"errors_in_errors", errors_in_errors},
    {"ten_errors_end_a_hook", ten_errors_end_a_hook},
    {"strange_ways", strange_ways},
    {"left_waiting", left_waiting},
};
TEST_MAIN(tests)
