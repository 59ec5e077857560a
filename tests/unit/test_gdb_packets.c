/*
 * Every packet of the table: that it is answered, and what it says to what it cannot mean. The
 * list goes through one session in order; a row of the table that no line here begins fails.
 */
#include "debug/gdb/stub.h"
#include "tests/unit/gdb_client.h"
#include "vmm/base/x.h"

struct line {
    const char *ask;
    const char *is;  /* the whole reply, or NULL */
    const char *has; /* a part of it */
};

/* clang-format off */
static const struct line lines[] = {
    {"qSupported", NULL, "PacketSize=40000;"},
    {"qSupported:swbreak+;hwbreak+;exec-events+;xmlRegisters=i386", NULL, "QNonStop+;"},
    {"qSupported:;;;=+", NULL, "vContSupported+"},
    {"qSupported:swbreak+;hwbreak+", NULL, "error-message+"},
    {"?", NULL, "T05thread:1;"},
    {"?x", "", NULL},
    {"!", "OK", NULL},
    {"qC", "QC1", NULL},
    {"qCx", "", NULL},
    {"qXfer:features:read:target.xml:0,100", NULL, "m<?xml"},
    {"qXfer:features:read:target.xml:zz,1", "E16", NULL},
    {"qXfer:features:read:target.xml:0", "E16", NULL},
    {"qXfer:features:read:annex:0,1", "E00", NULL},
    {"qXfer:features:read:", "E00", NULL},
    {"qXfer:features:write:target.xml:0:00", "", NULL},
    {"qXfer:memory-map:read::0,1000", NULL, "<memory type=\"ram\" start=\"0x0\""},
    {"qXfer:memory-map:read::ffff,1000", "l", NULL},
    {"qXfer:memory-map:read::0", "E16", NULL},
    {"qXfer:threads:read::0,1000", NULL, "name=\"vCPU 0\">stopped, real, ring 0</thread>"},
    {"qXfer:threads:read::0;1", "E16", NULL},
    {"qXfer:exec-file:read:1:0,fff", "E16", NULL}, /* a boot sector has no symbols */
    {"qXfer:auxv:read::0,1000", "", NULL},
    {"qXfer:siginfo:read::0,1000", "", NULL},
    {"qfThreadInfo", "m1", NULL},
    {"qsThreadInfo", "l", NULL},
    {"qThreadExtraInfo,1", NULL, "76435055"},
    {"qThreadExtraInfo,2", "E16", NULL},
    {"qThreadExtraInfo,-1", "E16", NULL},
    {"T1", "OK", NULL},
    {"T0", "OK", NULL},
    {"Tp1.1", "OK", NULL},
    {"T", "E03", NULL},
    {"T1x", "E03", NULL},
    {"T-1", "E03", NULL},
    {"Hg1", "OK", NULL},
    {"Hgp1.1", "OK", NULL},
    {"Hc0", "OK", NULL},
    {"Hc-1", "OK", NULL},
    {"H", "E16", NULL},
    {"Hx1", "E16", NULL},
    {"Hg2", "E16", NULL},
    {"Hgffffffffffffffffff", "E16", NULL},
    {"g", NULL, "007c0000"},
    {"g;", NULL, "007c0000"},
    {"gx", "", NULL},
    {"p8", "007c0000", NULL},
    {"p", "E16", NULL},
    {"pfff", "E16", NULL},
    {"p8;", "E16", NULL},
    {"P0=78563412", "OK", NULL},
    {"p0", "78563412", NULL},
    {"P0", NULL, "E.there is no such register"},
    {"Pfff=00", NULL, "E.there is no such register"},
    {"P0=785634", "E.eax has 4 bytes", NULL},
    {"P0=7856341", NULL, "E."},
    {"P0=7856341g", NULL, "E."},
    {"G44332211", "OK", NULL},
    {"Gxxxxxxxx", "OK", NULL},
    {"p0", "44332211", NULL},
    {"G4433221", NULL, "E.the packet ends within eax"},
    {"G4433221g", NULL, "E.the registers are not in hex"},
    {"M7000,2:0102", "OK", NULL},
    {"M7000,2:01", NULL, "E."},
    {"M7000,2", "E16", NULL},
    {"M7000,ffffffffffffffff:00", "E16", NULL},
    {"Mfee00000,1:00", NULL, "E.only 0 of 1 bytes at 0xfee00000 are RAM"},
    {"M7000,0:", "OK", NULL},
    {"m7000,2", "0102", NULL},
    {"m7000,0", "", NULL},
    {"m7000", "E16", NULL},
    {"m,2", "E16", NULL},
    {"m7000,2,", "E16", NULL},
    {"mfee00000,4", "E0e", NULL},
    {"X7000,2:ab", "OK", NULL},
    {"X7000,3:ab", NULL, "E.the packet has not 3 bytes"},
    {"X7000,0:", "OK", NULL},
    {"X7000", "E16", NULL},
    {"x7000,2", "bab", NULL},
    {"xfee00000,2", "E0e", NULL},
    {"x7000", "E16", NULL},
    {"x7000,0", "OK", NULL},
    {"x7000,2", "ab", NULL},
    {"qSearch:memory:7000;100;ab", "1,7000", NULL},
    {"qSearch:memory:7001;100;ab", "0", NULL},
    {"qSearch:memory:fee00000;100;ab", "0", NULL},
    {"qSearch:memory:7000;100", "E16", NULL},
    {"qSearch:memory:7000;100;", "E16", NULL},
    {"qSearch:memory", "", NULL},
    {"qCRC:7000,2", NULL, "C"},
    {"qCRC:7000,0", "Cffffffff", NULL},
    {"qCRC:fee00000,1", "E0e", NULL},
    {"qCRC:7000", "E16", NULL},
    {"Z0,7c0e,1", "OK", NULL},
    {"Z0,7c0e,1", "OK", NULL},
    {"Z1,7d00,1", "OK", NULL},
    {"Z2,7200,20", "OK", NULL},
    {"Z3,7300,1", "OK", NULL},
    {"Z4,7400,3", "OK", NULL},
    {"Z5,7400,3", "", NULL},
    {"Z2,7000,0", "E16", NULL},
    {"Z0,7c0e", "E16", NULL},
    {"Z", "E16", NULL},
    {"Zx,7c0e,1", "E16", NULL},
    {"Z0,7c0e,1;cmds:0,X1,27", "OK", NULL},
    {"Z0,7c0e,1;nonsense", NULL, "E.the packet is not understood"},
    {"Z0,7c0e,1", "OK", NULL},
    {"z1,7d00,1", "OK", NULL},
    {"z2,7200,20", "OK", NULL},
    {"z3,7300,1", "OK", NULL},
    {"z4,7400,3", "OK", NULL},
    {"z4,7400,3", "OK", NULL}, /* what is not there is out */
    {"z7,7400,3", "", NULL},
    {"z0,", "E16", NULL},
    {"vCont?", "vCont;c;C;s;S;r;t", NULL},
    {"vCont", "", NULL},
    {"vCont;", "E16", NULL},
    {"vCont;q", "E16", NULL},
    {"vCont;C", "E16", NULL},
    {"vCont;s:2", "E16", NULL},
    {"vCont;r7c00", "E16", NULL},
    {"vCont;s:1", NULL, "T05thread:1;"},
    {"vCont;S05:1", NULL, "T05thread:1;"},
    {"vCont;r7c04,7c05:1", NULL, "T05thread:1;"},
    {"vCont;c", NULL, "swbreak:;"},
    {"vCont;C05:p1.-1", NULL, "swbreak:;"},
    {"vCont;t", NULL, "thread:1;"},
    {"c", NULL, "swbreak:;"},
    {"c7c04", NULL, "swbreak:;"},
    {"czz", "E16", NULL},
    {"C05", NULL, "swbreak:;"},
    {"C05;7c04", NULL, "swbreak:;"},
    {"s", NULL, "T05"},
    {"s7c00", NULL, "T05"},
    {"sffffffff", NULL, "E.cannot go on from there"},
    {"S05", NULL, "T05"},
    {"S05;7c00", NULL, "T05"},
    {"bs", NULL, "replaylog:begin;"},
    {"bc", NULL, "replaylog:begin;"},
    {"bx", "", NULL},
    {"vStopped", "OK", NULL},
    {"vCtrlC", "OK", NULL},
    {"vMustReplyEmpty", "", NULL},
    {"qAttached", "1", NULL},
    {"qAttached:1", "1", NULL},
    {"qRcmd,61726368", NULL, "O"}, /* arch */
    {"qRcmd,6172636", "E16", NULL},
    {"qRcmd,zz", "E16", NULL},
    {"qRcmd,", "OK", NULL},
    {"qOffsets", "", NULL},
    {"qSymbol::", "OK", NULL},
    {"qTStatus", "", NULL},
    {"QThreadEvents:1", "OK", NULL},
    {"QThreadEvents", "", NULL},
    {"QNonStop:0", "OK", NULL},
    {"QNonStop:", "E16", NULL},
    {"QNonStop:11", "E16", NULL},
    {"qqemu.sstepbits", "ENABLE=1,NOIRQ=2,NOTIMER=4", NULL},
    {"Qqemu.sstepbits", "ENABLE=1,NOIRQ=2,NOTIMER=4", NULL},
    {"qqemu.sstep", "0x7", NULL},
    {"Qqemu.sstep", "0x7", NULL},
    {"Qqemu.sstep=1", "OK", NULL},
    {"qqemu.sstep=7", "OK", NULL},
    {"Qqemu.sstep:5", "OK", NULL},
    {"qqemu.sstep", "0x1", NULL},
    {"Qqemu.sstep=7", "OK", NULL},
    {"Qqemu.sstep=", "E16", NULL},
    {"Qqemu.sstep=ff", "E16", NULL},
    {"qqemu.PhyMemMode", "0", NULL},
    {"Qqemu.PhyMemMode:1", "OK", NULL},
    {"qqemu.PhyMemMode", "1", NULL},
    {"Qqemu.PhyMemMode:0", "OK", NULL},
    {"Qqemu.PhyMemMode:", "E16", NULL},
    {"Qqemu.PhyMemMode", "", NULL},
    {"vFile:setfs:0", "F0", NULL},
    {"vFile:open:2f", "F-1,16", NULL},
    {"vFile:open:2f,1,0", "F-1,1", NULL},
    {"vFile:open:2f6574632f706173737764,0,0", "F-1,2", NULL},
    {"vFile:close:1", "F0", NULL},
    {"vFile:pread:0,10,0", "F-1,9", NULL},
    {"vFile:fstat:0", "F-1,9", NULL},
    {"vFile:pwrite:0,0,x", "", NULL},
    {"qHostInfo", NULL, "triple:693338362d"},
    {"qProcessInfo", NULL, "pid:1;triple:693338362d"},
    {"qRegisterInfo0", NULL, "name:eax;bitsize:32;offset:0;"},
    {"qRegisterInfo", "E45", NULL},
    {"qRegisterInfofff", "E45", NULL},
    {"jThreadsInfo", NULL, "\"tid\":1,\"name\":\"vCPU 0\",\"reason\":"},
    {"QListThreadsInStopReply", "OK", NULL},
    {"QEnableErrorStrings", "OK", NULL},
    {"P0=00", NULL, "E01;"},
    {"QThreadSuffixSupported", "OK", NULL},
    {"qMemoryRegionInfo:7c10", "start:7000;size:1000;permissions:rwx;", NULL},
    {"qMemoryRegionInfo:", "E16", NULL},
    {"vRun;", NULL, "T05thread:1;"},
    {"vRun;66696c65;61", NULL, "T05thread:1;"}, /* whose file and arguments mean nothing here */
    {"vRun", "", NULL},
    {"vAttach;1", NULL, "T05thread:1;"},
    {"vKill;1", "OK", NULL},
    {"vKill", "", NULL},
    {"QStartNoAckMode", "OK", NULL},
    {"D", "OK", NULL},
    {"D;1", "OK", NULL},
};
/* clang-format on */

/* Have these no line: k and R are not answered, and are tried at the end. */
static bool has_line(const struct packet_row *r)
{
    if (!strcmp(r->name, "k") || !strcmp(r->name, "R"))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        const char *rest;

        if (packet_find(lines[i].ask, strlen(lines[i].ask), &rest) == r)
            return true;
    }
    return false;
}

static void each_row_is_tried(void)
{
    for (const struct packet_row *r = packet_table; r->name; r++)
        if (!has_line(r))
            TEST_FAIL("%s: no line of this test asks it", r->name);
}

static void each_is_answered(void)
{
    WITH_SESSION(1, false);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        const struct line *l = &lines[i];
        const char *got;

        request(l->ask, strlen(l->ask));
        got = l->has && !strcmp(l->has, "O") ? reply() : stop_reply();
        if (l->is ? strcmp(got, l->is) : !strstr(got, l->has))
            TEST_FAIL("%s is answered by \"%s\"", l->ask, got);
        if (l->has && !strcmp(l->has, "O"))
            CHECK_STR(stop_reply(), "OK");
    }
    hang_up();
    settle();
    CHECK(attach());
    CHECK_STR(ask("!"), "OK");
    request("R00", 3);
    CHECK_HAS(ask("?"), "T05");
    CHECK_STR(ask("p8"), "007c0000");
    hang_up();
    settle();
    CHECK(attach());
    request("k", 1);
    CHECK_STR(reply(), "(closed)");
    close_session();
}

/* While another client lets it run: numbers for what would be data, else sentences. */
static void the_guest_runs(void)
{
    static const char *const data[] = {"g",
                                       "p8",
                                       "m7000,2",
                                       "x7000,2",
                                       "qCRC:7000,1",
                                       "jThreadsInfo",
                                       "qXfer:features:read:target.xml:0,fff"};
    static const char *const writes[] = {"G00", "P0=00000000", "M7000,1:00", "X7000,1:a"};
    static const char *const always[] = {"qC",        "T1",        "qXfer:memory-map:read::0,1000",
                                         "Z1,7d00,1", "z1,7d00,1", "vCtrlC"};
    struct err e = {0};

    WITH_SESSION(1, false);
    CHECK_HAS(ask("?"), "T05");
    CHECK(!session_run(s, &e));
    until_running();
    for (size_t i = 0; i < ARRAY_LEN(data); i++)
        CHECK_STR(ask(data[i]), "E10");
    for (size_t i = 0; i < ARRAY_LEN(writes); i++)
        CHECK_STR(ask(writes[i]), "E.the guest is running");
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        CHECK(ask(always[i])[0] != 'E');
    settle();
    request("vCont;c", 7); /* where it stands, instead of running on */
    CHECK_HAS(stop_reply(), "T02");
    close_session();
}

static const struct test tests[] = {
    {"each_row_is_tried", each_row_is_tried},
    {"each_is_answered", each_is_answered},
    {"the_guest_runs", the_guest_runs},
};
TEST_MAIN(tests)
