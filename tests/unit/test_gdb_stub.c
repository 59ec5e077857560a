/* The remote stub on real KVM, spoken to in raw packets over a socket of its own. */
#include "tests/unit/gdb_client.h"

/* ---- tests -------------------------------------------------------------------------------------
 */

static void handshake(void)
{
    struct stat st;

    WITH_SESSION(1, false);
    CHECK(!stat(sock_path, &st));
    CHECK_EQ(st.st_mode & 0777, 0600);
    CHECK_HAS(ask("qSupported:swbreak+;hwbreak+;xmlRegisters=i386"), "PacketSize=40000");
    CHECK_STR(ask("QStartNoAckMode"), "OK");
    CHECK_HAS(ask("?"), "T05thread:1;");
    CHECK_STR(ask("vMustReplyEmpty"), "");
    CHECK_STR(ask("qC"), "QC1");
    CHECK_STR(ask("qfThreadInfo"), "m1");
    CHECK_STR(ask("qsThreadInfo"), "l");
    CHECK_STR(ask("T1"), "OK");
    CHECK_STR(ask("T2"), "E03");
    CHECK_STR(ask("Hg0"), "OK");
    CHECK_STR(ask("Hc-1"), "OK");
    CHECK_STR(ask("Hg9"), "E16");
    CHECK_STR(ask("qAttached"), "1");
    CHECK_STR(ask("qSymbol::"), "OK");
    CHECK_STR(ask("!"), "OK");
    CHECK_HAS(ask("vCont?"), "vCont;c;C;s;S;r;t");
    CHECK_HAS(ask("qXfer:features:read:target.xml:0,fff"), "<architecture>i8086");
    CHECK_HAS(ask("qXfer:memory-map:read::0,fff"), "ram");
    CHECK_HAS(ask("qXfer:threads:read::0,fff"), "name=\"vCPU 0\"");
    CHECK_STR(ask("qXfer:features:read:target.xml:ffffff,10"), "l");
    CHECK_STR(ask("qXfer:features:read:other.xml:0,10"), "E00");
    close_session();
}

static void registers(void)
{
    WITH_SESSION(1, false);
    ask("qXfer:features:read:target.xml:0,fff");
    CHECK_STR(ask("p8"), "007c0000");    /* eip */
    CHECK_STR(ask("P0=78563412"), "OK"); /* eax */
    CHECK_STR(ask("p0"), "78563412");
    CHECK_HAS(ask("g"), "78563412");
    CHECK_EQ(strlen(ask("g")), 16 * 8);
    CHECK_HAS(ask("P0=12"), "E.eax has 4 bytes");
    CHECK_HAS(ask("P999=12"), "E.");
    CHECK_HAS(ask("pzz"), "E16");
    CHECK_HAS(ask("Pa=00000100"), "wider"); /* cs */
    CHECK_STR(ask("G44332211"), "OK");
    CHECK_STR(ask("p0"), "44332211");
    CHECK_HAS(ask("G123"), "E.");
    close_session();
}

static void memory(void)
{
    static const char x[] = "X7000,5:a#b$*";
    char all[600];

    WITH_SESSION(1, false);
    CHECK_STR(ask("m7c00,4"), "31c08ed8");
    CHECK_STR(ask("M7000,3:010203"), "OK");
    CHECK_STR(ask("m7000,3"), "010203");
    CHECK_STR(ask_len(x, sizeof x - 1), "OK");
    CHECK_STR(ask("x7000,5"), "ba#b$*");
    CHECK_STR(ask("x7000,0"), "OK"); /* lldb asks so, and wants no b from then on */
    CHECK_STR(ask("x7000,5"), "a#b$*");
    /* what is not RAM is not read, and a prefix is honest */
    CHECK_STR(ask("mfee00000,4"), "E0e");
    CHECK_STR(ask("m1ffffe,8"), "0000");
    CHECK_HAS(ask("M1ffffe,4:01020304"), "E.only 2 of 4");
    CHECK_HAS(ask("M7000,3:0102"), "E.");
    CHECK_STR(ask("m7000"), "E16");
    CHECK_STR(ask("mffffffffffffffff,1"), "E0e");
    CHECK(strlen(ask("m0,ffffffffffffffff")) <= PACKET_MAX);
    memset(all, '0', sizeof all);
    CHECK_STR(ask("M7100,4:00000000"), "OK");
    CHECK_EQ(strlen(ask("m10000,10000")), 0x20000);
    CHECK_STR(ask_len("qSearch:memory:7000;1000;b$", 27), "1,7002");
    CHECK_STR(ask_len("qSearch:memory:8000;1000;b$", 27), "0");
    CHECK_STR(ask("M7000,9:313233343536373839"), "OK");
    CHECK_STR(ask("qCRC:7000,9"), "C376e6e7"); /* the check value of CRC-32/MPEG-2 */
    CHECK_STR(ask("Qqemu.PhyMemMode:1"), "OK");
    CHECK_STR(ask("qqemu.PhyMemMode"), "1");
    CHECK_STR(ask("m7c00,4"), "31c08ed8");
    close_session();
}

/* A dump's next reply is made ahead; it must not be older than the request. */
static void dumps(void)
{
    uint8_t byte = 0;
    char *was;

    WITH_SESSION(1, false);
    for (unsigned round = 0; round < 3; round++) {
        was = strdup(ask("m10000,1000"));
        CHECK(was);
        CHECK_STR(ask("m11000,1000"), was); /* all zeros */
        byte = (uint8_t)(0xa0 + round);
        CHECK_EQ(session_mem_write(s, 0, SPACE_PHYS, 0x12000, &byte, 1), 1);
        CHECK_EQ(ask("m12000,1000")[1], '0' + (int)round);
        CHECK_EQ(strlen(reply_buf.data), 0x2000);
        CHECK_STR(ask("m13000,1000"), was);
        CHECK_STR(ask("m13fff,2"), "0000");
        put("-", 1); /* the last once more */
        CHECK_STR(reply(), "0000");
        free(was);
    }
    CHECK_EQ(strlen(ask("m1fe000,1000")), 0x2000);
    CHECK_EQ(strlen(ask("m1ff000,1000")), 0x2000);
    CHECK_STR(ask("m200000,1000"), "E0e");
    close_session();
}

static void steps(void)
{
    WITH_SESSION(1, false);
    CHECK_HAS(ask("vCont;s:1"), "T05thread:1;");
    CHECK_STR(ask("p8"), "027c0000");
    CHECK_HAS(ask("s"), "T05");
    CHECK_STR(ask("p8"), "047c0000");
    CHECK_HAS(ask("vCont;r7c04,7c0b:1"), "T05"); /* leaves the range by the call */
    CHECK_STR(ask("p8"), "0e7c0000");
    CHECK_HAS(ask("S05"), "T05");
    CHECK_STR(ask("p8"), "0f7c0000");
    CHECK_HAS(ask("s7c04"), "T05");
    CHECK_STR(ask("p8"), "057c0000");
    CHECK_STR(ask("vCont;q"), "E16");
    CHECK_STR(ask("vCont;s:7"), "E16");
    CHECK_HAS(ask("bs"), "replaylog:begin");
    CHECK_HAS(ask("bc"), "replaylog:begin");
    CHECK_STR(ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4");
    CHECK_STR(ask("qqemu.sstep"), "0x7");
    CHECK_STR(ask("Qqemu.sstep=1"), "OK");
    CHECK_STR(ask("qqemu.sstep"), "0x1");
    close_session();
}

static void breakpoints(void)
{
    const struct point *p;

    WITH_SESSION(1, false);
    ask("qSupported:swbreak+;hwbreak+");
    CHECK_STR(ask("Z0,7c0e,1"), "OK");
    CHECK_STR(ask("Z0,7c0e,1"), "OK"); /* the same again is no second one */
    p = session_point_next(s, 0);
    CHECK(p && !session_point_next(s, p->id));
    CHECK_HAS(ask("vCont;c"), "swbreak:;");
    CHECK_STR(ask("p8"), "0e7c0000");
    CHECK_STR(ask("m7c0e,2"), "9090"); /* planted bytes are not seen */
    CHECK_STR(ask("z0,7c0e,1"), "OK");
    CHECK_STR(ask("Z1,7c04,1"), "OK");
    CHECK_HAS(ask("c"), "hwbreak:;");
    CHECK_STR(ask("p8"), "047c0000");
    p = session_point_next(s, 0);
    CHECK(p && p->spec.addr == LOOP && !session_point_next(s, p->id));
    /* more than the processor has debug registers */
    for (int i = 0; i < 12; i++) {
        char text[32];

        snprintf(text, sizeof text, "Z1,%x,1", 0x7d00 + i);
        CHECK_STR(ask(text), "OK");
    }
    CHECK_HAS(ask("c"), "hwbreak:;");
    CHECK_STR(ask("Z9,0,1"), "");
    CHECK_STR(ask("Z0,zz"), "E16");
    CHECK_STR(ask("Z0,100,1;X5,2702"), "E.an agent expression of the packet is cut");
    CHECK_HAS(ask("Z0,100,1;X1,02"), "empty stack");
    CHECK_STR(ask("D"), "OK");
    CHECK(!session_point_next(s, 0));
    CHECK_EQ(session_state(s), SS_RUNNING);
    close_session();
}

/* A sole step may end on a point that z took out for it: the client hears of a step. What lies
 * behind a cut address is told of as the same point. */
static void points_that_are_out(void)
{
    WITH_SESSION(1, false);
    ask("qSupported:swbreak+;hwbreak+");
    CHECK_STR(ask("Z0,7c02,1"), "OK");
    CHECK_HAS(ask("c"), "swbreak:;");
    CHECK_STR(ask("Z0,7c04,1"), "OK");
    CHECK_STR(ask("z0,7c02,1"), "OK");
    CHECK_STR(ask("z0,7c04,1"), "OK");
    request("vCont;s:1", 9);
    CHECK_HAS(reply(), "T05thread:1;00:"); /* no words, no swbreak */
    CHECK_STR(ask("p8"), "047c0000");
    CHECK_STR(ask("Z0,80001000,1"), "OK");
    CHECK(session_point_next(s, 0));
    CHECK_STR(ask("z0,80001000,1"), "OK");
    CHECK_STR(ask("Z0,7c0e,1"), "OK");
    CHECK_HAS(ask("c"), "swbreak:;");
    CHECK_EQ(session_point_next(s, 0)->spec.addr, FUNC);
    CHECK(!session_point_next(s, session_point_next(s, 0)->id));
    close_session();
}

static void conditions(void)
{
    const struct point *p;

    WITH_SESSION(1, false);
    ask("qXfer:features:read:target.xml:0,fff");
    /* reg 0 (eax), const16 0x300, equal, end */
    CHECK_STR(ask("Z0,7c0e,1;X8,2600002303001327"), "OK");
    CHECK_HAS(ask("c"), "T05");
    CHECK_STR(ask("p0"), "00030000");
    p = session_point_next(s, 0);
    CHECK(p);
    CHECK_EQ(p->false_hits, 0x2ff);
    CHECK_EQ(p->hits, 1);
    /* another condition replaces it: memory at 0x7000 */
    CHECK_STR(ask("Z0,7c0e,1;Xa,23700018230400132727"), "OK");
    p = session_point_next(s, 0);
    CHECK(p && !session_point_next(s, p->id));
    CHECK_HAS(ask("c"), "T05");
    CHECK_STR(ask("p0"), "00040000");
    /* one that cannot be evaluated stops, and says why */
    CHECK_STR(ask("Z0,7c0e,1;X7,24fffffff01727"), "OK");
    request("c", 1);
    CHECK_HAS(stop_reply(), "T05");
    close_session();
}

static void interrupts(unsigned cpus, bool kernel)
{
    WITH_SESSION(cpus, kernel);
    ask("QStartNoAckMode");
    for (int i = 0; i < 20; i++) {
        request("vCont;c", 7);
        until_running();
        put("\x03", 1);
        CHECK_HAS(stop_reply(), "T02thread:1;");
        CHECK_HAS(ask("vCont;s:1"), "T05");
    }
    close_session();
}
static void interrupts_1_user(void)
{
    interrupts(1, false);
}
static void interrupts_4_user(void)
{
    interrupts(4, false);
}
static void interrupts_4_kernel(void)
{
    interrupts(4, true);
}

static void threads(void)
{
    WITH_SESSION(4, false);
    CHECK_STR(ask("qfThreadInfo"), "m1,2,3,4");
    CHECK_STR(ask("Hg3"), "OK");
    CHECK_STR(ask("qC"), "QC3");
    CHECK_STR(ask("qThreadExtraInfo,1"),
              "7643505520303a2073746f707065642c207265616c2c2072696e672030");
    CHECK_STR(ask("Hg1"), "OK");
    CHECK_HAS(ask("vCont;s:1"), "T05thread:1;");
    request("vCont;s:2", 9); /* waits for its start: nothing to step */
    CHECK_HAS(stop_reply(), "T05");
    close_session();
}

/* With the kernel's chips a vCPU that waits for its start does so inside KVM_RUN: a step of it does
 * not end, but has to let itself be interrupted. */
static void steps_a_sleeping_vcpu(void)
{
    WITH_SESSION(2, true);
    for (int i = 0; i < 3; i++) {
        request("vCont;s:2", 9);
        settle();
        put("\x03", 1);
        CHECK_HAS(stop_reply(), "T");
    }
    CHECK_STR(ask("QNonStop:1"), "OK");
    CHECK_HAS(ask("?"), "thread:1;");
    for (int i = 0; i < 3; i++) {
        CHECK_STR(ask("vCont;s:2"), "OK");
        CHECK_EQ(strlen(ask("g")), 16 * 8); /* holds the machine for a moment */
    }
    close_session();
}

static void restarts(void)
{
    WITH_SESSION(1, false);
    CHECK_STR(ask("!"), "OK");
    CHECK_HAS(ask("vCont;s:1"), "T05");
    CHECK_HAS(ask("vRun;"), "T05thread:1;");
    CHECK_STR(ask("p8"), "007c0000");
    CHECK_HAS(ask("vCont;s:1"), "T05");
    CHECK_STR(ask("vKill;1"), "OK");
    CHECK_HAS(ask("vAttach;1"), "T05");
    CHECK_STR(ask("p8"), "007c0000");
    request("R00", 3);
    CHECK_HAS(ask("?"), "T05");
    close_session();
}

static void monitor(void)
{
    WITH_SESSION(1, false);
    /* "info cpus", "arch", "nonsense" */
    CHECK_HAS(ask("qRcmd,696e666f2063707573"), "O");
    CHECK_STR(reply(), "OK");
    CHECK_HAS(ask("qRcmd,61726368"), "O");
    CHECK_STR(reply(), "OK");
    CHECK_HAS(ask("qRcmd,6e6f6e73656e7365"), "O");
    CHECK_STR(reply(), "OK");
    CHECK_STR(ask("qRcmd,6"), "E16");
    /* "gdb close": answered, then the connection ends */
    CHECK_HAS(ask("qRcmd,67646220636c6f7365"), "O");
    CHECK_STR(reply(), "OK");
    CHECK_STR(reply(), "(closed)");
    CHECK(!gdb_is_listening(s));
    close_session();
}

static void lldb_asks(void)
{
    WITH_SESSION(2, false);
    CHECK_STR(ask("QThreadSuffixSupported"), "OK");
    CHECK_STR(ask("QListThreadsInStopReply"), "OK");
    CHECK_STR(ask("QEnableErrorStrings"), "OK");
    CHECK_HAS(ask("qHostInfo"), "endian:little;ptrsize:4;");
    CHECK_HAS(ask("qProcessInfo"), "pid:1;triple:");
    CHECK_HAS(ask("qRegisterInfo0"), "name:eax;bitsize:32;offset:0;");
    CHECK_HAS(ask("qRegisterInfo8"), "generic:pc;");
    CHECK_STR(ask("qRegisterInfofff"), "E45");
    CHECK_HAS(ask("jThreadsInfo"), "{\"tid\":2,\"name\":\"vCPU 1\",\"reason\":\"none\"");
    CHECK_HAS(ask("?"), "threads:1,2;");
    CHECK_STR(ask("p8;thread:0001;"), "007c0000");
    CHECK_EQ(strlen(ask("g;thread:0002;")), 16 * 8);
    CHECK_STR(ask("p8;thread:0009;"), "E16");
    CHECK_HAS(ask("qMemoryRegionInfo:7c10"), "start:7000;size:1000;permissions:rwx;");
    CHECK_STR(ask("qMemoryRegionInfo:zz"), "E16");
    CHECK_HAS(ask("P8=00"), "E01;"); /* a sentence in hex */
    CHECK_HAS(ask("vCont;s:1"), "reason:trace;");
    close_session();
}

static void qemu_scripts_ask(void)
{
    static const char *const both[] = {"qqemu", "Qqemu"};

    WITH_SESSION(1, false);
    for (int i = 0; i < 2; i++) {
        char text[40];

        snprintf(text, sizeof text, "%s.sstepbits", both[i]);
        CHECK_STR(ask(text), "ENABLE=1,NOIRQ=2,NOTIMER=4");
        snprintf(text, sizeof text, "%s.sstep=%d", both[i], i ? 7 : 1);
        CHECK_STR(ask(text), "OK");
        snprintf(text, sizeof text, "%s.sstep", both[i]);
        CHECK_STR(ask(text), i ? "0x7" : "0x1");
        snprintf(text, sizeof text, "%s.sstep=8", both[i]);
        CHECK_STR(ask(text), "E16");
    }
    CHECK_STR(ask("Qqemu.PhyMemMode:2"), "E16");
    CHECK_STR(ask("qqemu.PhyMemMode"), "0");
    close_session();
}

/* What is answered for completeness, and what is refused. */
static void rare_packets(void)
{
    WITH_SESSION(1, false);
    CHECK_STR(ask("QNonStop:0"), "OK");
    CHECK_STR(ask("QNonStop:2"), "E16");
    CHECK_STR(ask("QThreadEvents:1"), "OK");
    CHECK_STR(ask("qOffsets"), "");
    CHECK_STR(ask("qTStatus"), "");
    CHECK_STR(ask("qXfer:auxv:read::0,1000"), "");
    CHECK_STR(ask("qXfer:exec-file:read::0,1000"), "E16"); /* a boot sector has no symbols */
    CHECK_STR(ask("vFile:setfs:0"), "F0");
    CHECK_STR(ask("vFile:open:2f6574632f706173737764,0,0"), "F-1,2"); /* nothing but the kernel */
    CHECK_STR(ask("vFile:open:2f6574632f706173737764,1,0"), "F-1,1");
    CHECK_STR(ask("vFile:open:2f"), "F-1,16");
    CHECK_STR(ask("vFile:pread:0,10,0"), "F-1,9");
    CHECK_STR(ask("vFile:pread:ffffffffffffffff,10,0"), "F-1,9");
    CHECK_STR(ask("vFile:fstat:7"), "F-1,9");
    CHECK_STR(ask("vFile:close:99"), "F0");
    CHECK_STR(ask("vFile:unlink:2f"), "");
    CHECK_STR(ask("vStopped"), "OK");
    CHECK_STR(ask("vCtrlC"), "OK");
    CHECK_STR(ask("QPassSignals:e;10"), "");
    CHECK_STR(ask("qThreadExtraInfo,9"), "E16");
    CHECK_STR(ask("qRcmd"), "");
    CHECK_HAS(ask("vCont;t"), "thread:1;");
    request("k", 1); /* resets, and leaves */
    CHECK_STR(reply(), "(closed)");
    hang_up();
    settle();
    CHECK(attach());
    CHECK_HAS(ask("?"), "T05");
    CHECK_STR(ask("p8"), "007c0000");
    close_session();
}

static void others_see_and_move(void)
{
    struct err e = {0};

    WITH_SESSION(1, false);
    CHECK_STR(ask("Z0,7c0e,1"), "OK");
    CHECK(session_point_next(s, 0));
    CHECK_HAS(ask("?"), "T05");
    CHECK(!session_step(s, 0, 3, &e)); /* as from the prompt */
    CHECK(session_wait(s, UINT64_MAX, NULL));
    request("c", 1); /* the client is told where it stands instead of running on */
    CHECK_HAS(stop_reply(), "T05");
    CHECK_STR(ask("p8"), "057c0000");
    CHECK_HAS(ask("c"), "T05");
    CHECK_STR(ask("p8"), "0e7c0000");
    close_session();
}

static void acknowledges(void)
{
    char bytes[64];

    WITH_SESSION(1, false);
    put("$qC#b4", 6);
    CHECK(turn(fd));
    CHECK_EQ(recv(fd, bytes, 1, 0), 1);
    CHECK_EQ(bytes[0], '+');
    CHECK_STR(reply(), "QC1");
    put("-", 1); /* once more, please */
    CHECK_STR(reply(), "QC1");
    put("$qC#b5", 6);
    CHECK(turn(fd));
    CHECK_EQ(recv(fd, bytes, 1, 0), 1);
    CHECK_EQ(bytes[0], '-');
    CHECK_STR(ask("qC"), "QC1");
    close_session();
}

static const struct test tests[] = {
    {"handshake", handshake},
    {"registers", registers},
    {"memory", memory},
    {"dumps", dumps},
    {"steps", steps},
    {"breakpoints", breakpoints},
    {"points_that_are_out", points_that_are_out},
    {"conditions", conditions},
    {"interrupts_1_user", interrupts_1_user},
    {"interrupts_4_user", interrupts_4_user},
    {"interrupts_4_kernel", interrupts_4_kernel},
    {"threads", threads},
    {"steps_a_sleeping_vcpu", steps_a_sleeping_vcpu},
    {"restarts", restarts},
    {"monitor", monitor},
    {"lldb_asks", lldb_asks},
    {"qemu_scripts_ask", qemu_scripts_ask},
    {"rare_packets", rare_packets},
    {"others_see_and_move", others_see_and_move},
    {"acknowledges", acknowledges},
};
TEST_MAIN(tests)
