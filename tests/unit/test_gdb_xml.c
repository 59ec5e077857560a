/* What gdb is told about registers, and values in its terms. */
#include "debug/gdb/desc.h"
#include "tests/test.h"
#include "vmm/base/le.h"

static struct desc d;

static int number_of(const char *name)
{
    for (unsigned i = 0; i < d.count; i++)
        if (!strcmp(d.reg[i].name, name))
            return (int)i;
    return -1;
}

static void order_is_gdbs(void)
{
    desc_build(&d, GDB_X86_64, true);
    CHECK_EQ(number_of("rax"), 0);
    CHECK_EQ(number_of("rbx"), 1);
    CHECK_EQ(number_of("rsp"), 7);
    CHECK_EQ(number_of("r8"), 8);
    CHECK_EQ(number_of("rip"), 16);
    CHECK_EQ(number_of("eflags"), 17);
    CHECK_EQ(number_of("gs"), 23);
    CHECK_EQ(d.core, 24);
    CHECK_EQ(number_of("st0"), 24);
    CHECK_EQ(number_of("fctrl"), 32);
    CHECK_EQ(number_of("xmm0"), 40);
    CHECK_EQ(number_of("mxcsr"), 56);
    CHECK(number_of("ymm15h") > 0 && number_of("k_gs_base") > 0 && number_of("cr8") > 0);
    desc_build(&d, GDB_386, false);
    CHECK_EQ(number_of("eax"), 0);
    CHECK_EQ(number_of("ecx"), 1);
    CHECK_EQ(number_of("esp"), 4);
    CHECK_EQ(number_of("eip"), 8);
    CHECK_EQ(number_of("gs"), 15);
    CHECK_EQ(number_of("st0"), 16);
    CHECK_EQ(number_of("xmm7"), 39);
    CHECK(number_of("ymm0h") < 0 && number_of("r8") < 0 && number_of("fs_base") > 0);
}

static void names_are_unique(void)
{
    for (int a = 0; a < GDB_ARCHES; a++) {
        desc_build(&d, (enum gdb_arch)a, true);
        CHECK(d.count < DESC_MAX);
        for (unsigned i = 0; i < d.count; i++)
            CHECK_EQ(number_of(d.reg[i].name), i);
    }
}

static void xml_is_whole(void)
{
    struct buf b = {0};

    desc_build(&d, GDB_8086, false);
    desc_xml(&d, &b);
    CHECK_HAS(buf_str(&b), "<architecture>i8086</architecture>");
    CHECK_HAS(buf_str(&b), "<feature name=\"org.gnu.gdb.i386.core\">");
    CHECK_HAS(buf_str(&b), "<field name=\"PE\" start=\"0\" end=\"0\"/>");
    CHECK_HAS(buf_str(&b), "<reg name=\"cr0\" bitsize=\"32\"");
    CHECK_HAS(buf_str(&b), "type=\"cr0_flags\"");
    CHECK_HAS(buf_str(&b), "</feature>\n</target>\n");
    buf_fini(&b);
}

static struct vcpu_state st;

static void set_up(uint64_t cr0, uint16_t cs, uint64_t rip)
{
    memset(&st, 0, sizeof st);
    st.have = VS_ALL;
    st.sregs.cr0 = cr0;
    st.sregs.cs.selector = cs;
    st.sregs.cs.base = (uint64_t)cs << 4;
    st.sregs.cs.limit = 0xffff;
    st.sregs.ss.limit = 0xffff;
    st.regs.rip = rip;
}

static uint64_t value(unsigned n, bool linear)
{
    uint8_t raw[32];

    if (!desc_read(&d, n, &st, linear, raw))
        return 0xdead;
    return le_load(raw, d.reg[n].bytes < 8 ? d.reg[n].bytes : 8);
}

static void pc_is_linear(void)
{
    struct reg_value v;
    uint8_t raw[8];
    int id;

    desc_build(&d, GDB_8086, false);
    set_up(0, 0x7c0, 0x12);
    CHECK_EQ(value(d.pc, true), 0x7c12);
    CHECK_EQ(value(d.pc, false), 0x12);
    le_store(raw, 8, 0x7c20);
    CHECK(!desc_write(&d, d.pc, &st, true, raw, &id, &v));
    CHECK_EQ(id, REG_rip);
    CHECK_EQ(v.u, 0x20);
    le_store(raw, 8, 0x100);
    CHECK_HAS(desc_write(&d, d.pc, &st, true, raw, &id, &v), "outside CS");
}

static void narrow_writes(void)
{
    struct reg_value v;
    uint8_t raw[32] = {0x44, 0x33, 0x22, 0x11};
    int id;

    desc_build(&d, GDB_386, false);
    set_up(1, 8, 0);
    st.regs.rax = 0xaabbccdd00000000;
    CHECK(!desc_write(&d, 0, &st, true, raw, &id, &v));
    CHECK_EQ(v.u, 0xaabbccdd11223344);
    le_store(raw, 4, 0x10000);
    CHECK_HAS(desc_write(&d, (unsigned)number_of("cs"), &st, true, raw, &id, &v), "wider");
}

static void x87_tags(void)
{
    struct reg_value v;
    uint8_t raw[32] = {0};
    uint8_t *x = (uint8_t *)&st.xsave;
    int id;

    desc_build(&d, GDB_386, false);
    set_up(1, 8, 0);
    CHECK_EQ(value((unsigned)number_of("ftag"), true), 0xffff);
    CHECK_EQ(value((unsigned)number_of("fctrl"), true), 0x37f);
    x[512] = 1;       /* XSTATE_BV: x87 in use */
    x[3] = 7 << 3;    /* TOP is 7 */
    x[4] = 0x80;      /* physical register 7 is used */
    x[32 + 7] = 0x80; /* its integer bit */
    x[32 + 9] = 0x3f; /* 1.0 */
    x[32 + 8] = 0xff;
    CHECK_EQ(value((unsigned)number_of("ftag"), true), 0x3fff);
    le_store(raw, 4, 0x3fff);
    CHECK(!desc_write(&d, (unsigned)number_of("ftag"), &st, true, raw, &id, &v));
    CHECK_EQ(id, REG_ftag);
    CHECK_EQ(v.u, 0x80);
}

static void modes(void)
{
    CHECK_EQ(desc_arch_of(MODE_REAL), GDB_8086);
    CHECK_EQ(desc_arch_of(MODE_PROT16), GDB_8086);
    CHECK_EQ(desc_arch_of(MODE_PROT32), GDB_386);
    CHECK_EQ(desc_arch_of(MODE_COMPAT32), GDB_386);
    CHECK_EQ(desc_arch_of(MODE_LONG64), GDB_X86_64);
}

static const struct test tests[] = {
    {"order_is_gdbs", order_is_gdbs},
    {"names_are_unique", names_are_unique},
    {"xml_is_whole", xml_is_whole},
    {"pc_is_linear", pc_is_linear},
    {"narrow_writes", narrow_writes},
    {"x87_tags", x87_tags},
    {"modes", modes},
};
TEST_MAIN(tests)
