/*
 * Every instruction that an emulating KVM lacks, or might, in every mode: the same bytes run in
 * 64-bit ring 3, which is the processor's own everywhere, and registers, flags, memory and the
 * FPU's state must be equal in the others; instructions that 64-bit code does not have, or that ask
 * for system state, have what the manual says of them in their row. Each row's
 * kind must have been counted and left its record, and with the assist off the guest stops at it
 * with a sentence. Needs a KVM that emulates ring 0; skips elsewhere, where nothing is assisted.
 */
#include "tests/unit/guest_image.h"

#include "debug/session_priv.h"
#include "tests/unit/far_world.h"

#define DATA   FW_TARGET /* RSI; operands */
#define AT_END 0x55      /* the code of the end */
#define FAULT  0x80      /* the code of a handler, plus its vector */

/* Modes that a row is run in: bits by enum where. */
enum where {
    IN_REAL,
    IN_PROT16,
    IN_PROT32,
    IN_COMPAT0,
    IN_LONG0,
    IN_PROT32_3,
    IN_COMPAT3,
    IN_LONG3,
    WHERES
};
#define REAL    (1u << IN_REAL)
#define PROT    (1u << IN_PROT16 | 1u << IN_PROT32)
#define COMPAT  (1u << IN_COMPAT0)
#define LONG    (1u << IN_LONG0)
#define COMPAT3 (1u << IN_COMPAT3)
#define PROT3   (1u << IN_PROT32_3)
#define LONG3   (1u << IN_LONG3)
#define RING0   (REAL | PROT | COMPAT | LONG)
#define NO_VEX  (PROT | COMPAT | LONG) /* all but real mode */
#define OLD     (REAL | PROT | COMPAT) /* all but 64-bit code */

static const struct {
    const char *name;
    enum fw_mode mode;
    unsigned cpl, bits;
} places[WHERES] = {
    {"real mode", FW_REAL, 0, 16},
    {"prot16", FW_PROT16, 0, 16},
    {"prot32", FW_PROT32, 0, 32},
    {"compatibility ring 0", FW_COMPAT, 0, 32},
    {"long ring 0", FW_LONG, 0, 64},
    {"prot32 ring 3", FW_PROT32, 3, 32},
    {"compatibility ring 3", FW_COMPAT, 3, 32},
    {"long ring 3", FW_LONG, 3, 64},
};

#define WIDE     1 /* a prefix 66 gives it 32-bit operands in 16-bit code */
#define UNSEEN   2 /* KVM makes #UD of it by itself */
#define NO_AX    1 /* what differs from run to run */
#define NO_CX    2
#define NO_DX    4
#define NO_FLAGS 8
#define BY_KVM   ASSIST_KINDS /* no assist is needed, or asked for */

struct row {
    const char *name;
    unsigned where;
    enum assist_kind kind;
    uint8_t
        modrm; /* where [esi] stands in the bytes, which 16-bit code writes otherwise; 0: nowhere */
    uint8_t flags;
    uint8_t len, code[20];
    const char *want;  /* unless the processor says: "ax cx dx bx sp bp si di flags", hex */
    uint64_t rax, rdx; /* unless 0 */
    uint8_t varies;    /* NO_… */
    const char *cpuid; /* the feature without which this processor has it not */
};

#define CODE(...) .len = sizeof((uint8_t[]){__VA_ARGS__}), .code = {__VA_ARGS__}

/* clang-format off */
static const struct row rows[] = {
    /* moves between registers and flags */
    {"popcnt", RING0 | COMPAT3, ASSIST_BITS, 3, WIDE, CODE(0xf3, 0x0f, 0xb8, 0x06)},
    {"popcnt of 16 bits", LONG, ASSIST_BITS, 0, 0, CODE(0x66, 0xf3, 0x0f, 0xb8, 0xc1)},
    {"crc32", RING0 | COMPAT3, ASSIST_BITS, 4, WIDE, CODE(0xf2, 0x0f, 0x38, 0xf1, 0x06)},
    {"crc32 of a byte", RING0, ASSIST_BITS, 4, 0, CODE(0xf2, 0x0f, 0x38, 0xf0, 0x06)},
    {"adcx", RING0, ASSIST_BITS, 0, 0, CODE(0x66, 0x0f, 0x38, 0xf6, 0xc1)},
    {"adox", RING0, ASSIST_BITS, 0, 0, CODE(0xf3, 0x0f, 0x38, 0xf6, 0xc1)},
    {"andn", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe2, 0x70, 0xf2, 0x06)},
    {"blsr", NO_VEX, ASSIST_BITS, 0, 0, CODE(0xc4, 0xe2, 0x78, 0xf3, 0xc9)},
    {"bextr", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe2, 0x70, 0xf7, 0x06)},
    {"pdep", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe2, 0x73, 0xf5, 0x06)},
    {"mulx", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe2, 0x73, 0xf6, 0x06)},
    {"rorx", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe3, 0x7b, 0xf0, 0x06, 0x07)},
    {"shlx", NO_VEX, ASSIST_BITS, 4, 0, CODE(0xc4, 0xe2, 0x71, 0xf7, 0x06)},
    {"cmpxchg16b", LONG, ASSIST_CX16, 0, 0, CODE(0xf0, 0x48, 0x0f, 0xc7, 0x0e)},
    {"cmpxchg8b", RING0, BY_KVM, 3, 0, CODE(0xf0, 0x0f, 0xc7, 0x0e)},
    {"xlat", RING0, BY_KVM, 0, WIDE, CODE(0x89, 0xf3, 0xd7)},
    {"movnti", RING0, BY_KVM, 2, WIDE, CODE(0x0f, 0xc3, 0x06)},
    {"prefetcht0", RING0, BY_KVM, 2, 0, CODE(0x0f, 0x18, 0x0e)},
    {"prefetchw", RING0, BY_KVM, 2, 0, CODE(0x0f, 0x0d, 0x0e)},
    {"clflush", RING0, BY_KVM, 2, 0, CODE(0x0f, 0xae, 0x3e)},
    {"endbr64", RING0, BY_KVM, 0, 0, CODE(0xf3, 0x0f, 0x1e, 0xfa)},
    {"endbr32", RING0, BY_KVM, 0, 0, CODE(0xf3, 0x0f, 0x1e, 0xfb)},
    {"rdsspd as nop", RING0, BY_KVM, 0, 0, CODE(0xf3, 0x0f, 0x1e, 0xc8)},
    {"nopl", RING0, BY_KVM, 2, 0, CODE(0x0f, 0x1f, 0x06)},
    {"lock xadd", RING0, BY_KVM, 3, WIDE, CODE(0xf0, 0x0f, 0xc1, 0x06)},
    {"clwb", RING0, ASSIST_CACHE, 3, 0, CODE(0x66, 0x0f, 0xae, 0x36), .cpuid = "clwb"},
    {"jecxz taken", RING0, BY_KVM, 0, WIDE, CODE(0x31, 0xc9, 0x67, 0xe3, 0x01, 0x40, 0x90)},
    {"loopnz", RING0, BY_KVM, 0, WIDE, CODE(0x31, 0xd2, 0x39, 0xd2, 0xe0, 0x02, 0xb0, 0x77)},

    /* the FPU */
    {"fwait", RING0, ASSIST_FWAIT, 0, 0, CODE(0x9b)},
    {"fld1, fldpi, faddp", RING0, ASSIST_X87, 0, 0, CODE(0xd9, 0xe8, 0xd9, 0xeb, 0xde, 0xc1)},
    {"fild, fsqrt", RING0, ASSIST_X87, 1, 0, CODE(0xdb, 0x06, 0xd9, 0xe1, 0xd9, 0xfa)},
    {"fistp", RING0, ASSIST_X87, 3, 0, CODE(0xd9, 0xeb, 0xdb, 0x1e)},
    {"fnstsw ax", RING0, ASSIST_X87, 0, 0, CODE(0xd9, 0xee, 0xdf, 0xe0)},
    {"fldcw", RING0, ASSIST_X87, 1, 0, CODE(0xd9, 0x2e)},
    {"emms", RING0, ASSIST_MMX, 0, 0, CODE(0x0f, 0x77)},
    {"paddb mm", RING0, ASSIST_MMX, 2, 0, CODE(0x0f, 0xfc, 0x06)},
    {"pxor", RING0 | COMPAT3, ASSIST_SSE, 3, 0, CODE(0x66, 0x0f, 0xef, 0x06)},
    {"movd", RING0, ASSIST_SSE, 0, 0, CODE(0x66, 0x0f, 0x6e, 0xc1)},
    {"pmovmskb", RING0, ASSIST_SSE, 0, 0, CODE(0x66, 0x0f, 0xd7, 0xc1)},
    {"cvtsi2sd", RING0, ASSIST_SSE, 0, WIDE, CODE(0xf2, 0x0f, 0x2a, 0xc1)},
    {"addps", RING0, ASSIST_SSE, 2, 0, CODE(0x0f, 0x58, 0x06)},
    {"ldmxcsr", RING0, ASSIST_SSE, 2, 0, CODE(0x0f, 0xae, 0x16)},
    {"stmxcsr", RING0, ASSIST_SSE, 2, 0, CODE(0x0f, 0xae, 0x1e)},
    {"pshufb", RING0, ASSIST_SSE, 4, 0, CODE(0x66, 0x0f, 0x38, 0x00, 0x06)},
    {"pclmulqdq", RING0, ASSIST_SSE, 4, 0, CODE(0x66, 0x0f, 0x3a, 0x44, 0x06, 0x11)},
    {"aesenc", RING0, ASSIST_SSE, 4, 0, CODE(0x66, 0x0f, 0x38, 0xdc, 0x06)},
    {"sha1rnds4", RING0, ASSIST_SSE, 3, 0, CODE(0x0f, 0x3a, 0xcc, 0x06, 0x02)},
    {"sha256msg1", RING0, ASSIST_SSE, 3, 0, CODE(0x0f, 0x38, 0xcc, 0x06)},
    {"vpxor", NO_VEX, ASSIST_AVX, 3, 0, CODE(0xc5, 0xf9, 0xef, 0x06)},
    {"vaddps ymm", NO_VEX, ASSIST_AVX, 3, 0, CODE(0xc5, 0xf4, 0x58, 0x06)},
    {"vpaddd ymm (AVX2)", NO_VEX, ASSIST_AVX, 3, 0, CODE(0xc5, 0xf5, 0xfe, 0x06)},
    {"vfmadd231ps", NO_VEX, ASSIST_AVX, 4, 0, CODE(0xc4, 0xe2, 0x71, 0xb8, 0x06)},
    {"vzeroupper", NO_VEX, ASSIST_AVX, 0, 0, CODE(0xc5, 0xf8, 0x77)},

    {"fxsave", RING0, BY_KVM, 2, 0, CODE(0x0f, 0xae, 0x06)},
    {"xsave", RING0, ASSIST_XSAVE, 2, 0, CODE(0x0f, 0xae, 0x26)},
    {"xsaveopt", RING0, ASSIST_XSAVE, 2, 0, CODE(0x0f, 0xae, 0x36)},
    {"xsavec", RING0, ASSIST_XSAVE, 2, 0, CODE(0x0f, 0xc7, 0x26)},
    {"lahf", RING0, BY_KVM, 0, 0, CODE(0x9f)},
};

/* What the manual says of those that have no like in 64-bit ring 3. */
static const struct row own_rows[] = {
    /* which 64-bit code does not have */
    {"aaa", OLD, ASSIST_BCD, 0, 0, CODE(0x37), .rax = 0x20e, .want = "ax 304 cx 3f021507 dx 91929394 flags 11"},
    {"aas", OLD, ASSIST_BCD, 0, 0, CODE(0x3f), .rax = 0x20e, .want = "ax 108 cx 3f021507 dx 91929394 flags 11"},
    {"daa", OLD, ASSIST_BCD, 0, 0, CODE(0x27), .rax = 0x9b, .want = "ax 1 cx 3f021507 dx 91929394 flags 11"},
    {"das", OLD, BY_KVM, 0, 0, CODE(0x2f), .rax = 0x9b, .want = "ax 35 cx 3f021507 dx 91929394 flags 15"},
    {"aaa in 64-bit code", LONG, ASSIST_UNDEFINED, 0, 0, CODE(0x37), .want = "vector 6"},
    {"aam", OLD, BY_KVM, 0, 0, CODE(0xd4, 0x0a), .rax = 0x4f, .want = "ax 709 cx 3f021507 dx 91929394 flags 4"},
    {"aam by 0", OLD, BY_KVM, 0, 0, CODE(0xd4, 0), .want = "vector 0"},
    {"aad", OLD, BY_KVM, 0, 0, CODE(0xd5, 0x0a), .rax = 0x0407, .want = "ax 2f cx 3f021507 dx 91929394 flags 0"},
    {"salc", OLD, BY_KVM, 0, 0, CODE(0xf9, 0xd6), .want = "ax 818283ff cx 3f021507 dx 91929394 flags 1"},
    {"bound, outside", OLD, ASSIST_BOUND, 3, WIDE, CODE(0x31, 0xc0, 0x62, 0x06), .want = "vector 5"},
    {"bound, inside", OLD, ASSIST_BOUND, 1, WIDE, CODE(0x62, 0x0e), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    {"into without overflow", OLD, BY_KVM, 0, 0, CODE(0xce), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    {"into", PROT | COMPAT, ASSIST_INT, 0, 0, CODE(0xb0, 0x7f, 0xfe, 0xc0, 0xce), .want = "vector 4"},
    {"arpl", PROT | COMPAT, ASSIST_ARPL, 0, 0, CODE(0x63, 0xc8), .want = "ax 81828387 cx 3f021507 dx 91929394 flags 40"},
    {"arpl in real mode", REAL, ASSIST_ARPL, 0, 0, CODE(0x63, 0xc8), .want = "vector 6"},
    /* frames */
    {"enter 16, 3", RING0, ASSIST_ENTER, 0, 0, CODE(0xc8, 0x10, 0, 3, 0xc9), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    {"enter 16, 0", RING0, BY_KVM, 0, 0, CODE(0xc8, 0x10, 0, 0, 0xc9), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    /* questions about selectors: 10 is data of ring 0 */
    {"lar", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, WIDE, CODE(0x0f, 0x02, 0xc2), .rdx = DATA0, .want = "ax cf9300 cx 3f021507 dx 10 flags 40"},
    {"lar of a task", COMPAT | LONG, ASSIST_SEGMENT, 0, WIDE, CODE(0x0f, 0x02, 0xc2), .rdx = TSS64, .want = "ax 8b00 cx 3f021507 dx 90 flags 40"},
    {"lar of nothing", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, WIDE, CODE(0x0f, 0x02, 0xc2), .rdx = 0x1f8, .want = "ax 81828384 cx 3f021507 dx 1f8 flags 0"},
    {"lsl", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, WIDE, CODE(0x0f, 0x03, 0xc2), .rdx = DATA0, .want = "ax ffffffff cx 3f021507 dx 10 flags 40"},
    {"lsl of 16 bits", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, WIDE, CODE(0x0f, 0x03, 0xc2), .rdx = DATA16, .want = "ax ffff cx 3f021507 dx 58 flags 40"},
    {"verr", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, 0, CODE(0x0f, 0x00, 0xe2), .rdx = CODE0, .want = "ax 81828384 cx 3f021507 dx 8 flags 40"},
    {"verw of code", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, 0, CODE(0x0f, 0x00, 0xea), .rdx = CODE0, .want = "ax 81828384 cx 3f021507 dx 8 flags 0"},
    {"verw", PROT | COMPAT | LONG, ASSIST_SEGMENT, 0, 0, CODE(0x0f, 0x00, 0xea), .rdx = DATA0, .want = "ax 81828384 cx 3f021507 dx 10 flags 40"},
    {"verr in real mode", REAL, ASSIST_SEGMENT, 0, 0, CODE(0x0f, 0x00, 0xe2), .want = "vector 6"},
    {"str", PROT | COMPAT | LONG, BY_KVM, 0, WIDE, CODE(0x0f, 0x00, 0xc9), .varies = NO_CX, .want = "ax 81828384 cx 0 dx 91929394 flags 0"},
    {"sldt", PROT | COMPAT | LONG, BY_KVM, 0, WIDE, CODE(0x0f, 0x00, 0xc1), .want = "ax 81828384 cx 0 dx 91929394 flags 0"},
    {"lldt", 1u << IN_PROT32, BY_KVM, 0, WIDE, CODE(0x0f, 0x00, 0xd2, 0x0f, 0x00, 0xc0), .rdx = LDT, .want = "ax 70 cx 3f021507 dx 70 flags 0"},
    {"ltr of a busy one", PROT, BY_KVM, 0, 0, CODE(0x0f, 0x00, 0xda), .rdx = TSS, .want = "vector 13"},
    {"smsw", 1u << IN_PROT32 | COMPAT | LONG, BY_KVM, 0, 0, CODE(0x0f, 0x01, 0xe0, 0x83, 0xe0, 0x0e), .want = "ax 2 cx 3f021507 dx 91929394 flags 0"},
    /* processor state */
    {"xgetbv", RING0, ASSIST_XGETBV, 0, WIDE, CODE(0x31, 0xc9, 0x0f, 0x01, 0xd0), .want = "ax 7 cx 0 dx 0 flags 44"},
    {"xgetbv of 5", RING0, ASSIST_XGETBV, 0, 0, CODE(0xb1, 5, 0x0f, 0x01, 0xd0), .want = "vector 13"},
    {"rdtsc", RING0, BY_KVM, 0, 0, CODE(0x0f, 0x31), .varies = NO_AX | NO_DX, .want = "ax 0 cx 3f021507 dx 0 flags 0"},
    {"rdtscp", RING0, ASSIST_RDTSCP, 0, 0, CODE(0x0f, 0x01, 0xf9), .varies = NO_AX | NO_DX, .want = "ax 0 cx 0 dx 0 flags 0"},
    {"rdpid", COMPAT | LONG, ASSIST_RDTSCP, 0, UNSEEN, CODE(0xf3, 0x0f, 0xc7, 0xf8), .want = "ax 0 cx 3f021507 dx 91929394 flags 0"},
    {"rdrand", REAL | PROT | COMPAT, ASSIST_BITS, 0, WIDE, CODE(0x0f, 0xc7, 0xf0), .varies = NO_AX, .want = "ax 0 cx 3f021507 dx 91929394 flags 1"},
    {"rdseed", REAL | PROT | COMPAT, ASSIST_BITS, 0, WIDE, CODE(0x0f, 0xc7, 0xf8), .varies = NO_AX | NO_FLAGS, .want = "ax 0 cx 3f021507 dx 91929394 flags 0"},
    {"stac", RING0, ASSIST_SMAP, 0, 0, CODE(0x0f, 0x01, 0xcb), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 40000"},
    {"clac", RING0, ASSIST_SMAP, 0, 0, CODE(0x0f, 0x01, 0xca), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    {"invpcid", RING0, ASSIST_INVPCID, 6, WIDE, CODE(0x31, 0xc0, 0x66, 0x0f, 0x38, 0x82, 0x06), .want = "vector 13"},
    {"monitor, mwait", RING0, ASSIST_MONITOR, 0, WIDE, CODE(0x31, 0xc9, 0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9), .want = "ax 81828384 cx 0 dx 91929394 flags 44"},
    {"swapgs", LONG, BY_KVM, 0, 0, CODE(0x0f, 0x01, 0xf8), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
    {"wrfsbase, rdfsbase", LONG, BY_KVM, 0, 0, CODE(0xf3, 0x0f, 0xae, 0xd2, 0xf3, 0x0f, 0xae, 0xc0), .want = "ax 91929394 cx 3f021507 dx 91929394 flags 0"},
    {"sysenter without MSRs", OLD, BY_KVM, 0, 0, CODE(0x0f, 0x34), .want = "vector 13"},
    {"sysenter without MSRs in 64-bit code", LONG, ASSIST_SYSENTER, 0, 0, CODE(0x0f, 0x34), .want = "vector 13"},
    {"ud0", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0xff, 0xc0), .want = "vector 6"},
    {"ud1", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0xb9, 0xc0), .want = "vector 6"},
    {"ud2 in real mode", REAL, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0x0b), .want = "vector 6"},
    {"fe /7", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0xfe, 0xff), .want = "vector 6"},
    {"8f /1", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x8f, 0xc8), .want = "vector 6"},
    {"0f 00 /7", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0x00, 0xf8), .want = "vector 6"},
    {"VEX of map 0", LONG, ASSIST_UNDEFINED, 0, 0, CODE(0xc4, 0xe0, 0x79, 0x10, 0xc0), .want = "vector 6"},
    {"vmptrld without VMX", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0xc7, 0x30), .want = "vector 6"},
    {"vmxon without VMX", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0xf3, 0x0f, 0xc7, 0x30), .want = "vector 6"},
    {"vmread without VMX", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x0f, 0x78, 0xc0), .want = "vector 6"},
    {"invept without VMX", RING0, ASSIST_UNDEFINED, 0, 0, CODE(0x66, 0x0f, 0x38, 0x80, 0x00), .want = "vector 6"},
    {"vmrun without SVM", RING0, BY_KVM, 0, 0, CODE(0x0f, 0x01, 0xd8), .want = "vector 6"},
    {"ud2", PROT | COMPAT | LONG, BY_KVM, 0, 0, CODE(0x0f, 0x0b), .want = "vector 6"},
    {"vpxor in real mode", REAL, ASSIST_AVX, 0, 0, CODE(0xc5, 0xf9, 0xef, 0xc0), .want = "vector 6"},
    /* transfers */
    {"int 5", PROT | COMPAT | LONG, ASSIST_INT, 0, 0, CODE(0xcd, 5), .want = "vector 5"},
    {"int 5 in real mode", REAL, BY_KVM, 0, 0, CODE(0xcd, 5), .want = "vector 5"},
    /* its vector is made that of 5: mov eax, [14h]; mov [244h], eax */
    {"int 91h in real mode", REAL, ASSIST_INT, 0, 0, CODE(0x66, 0xa1, 0x14, 0, 0x66, 0xa3, 0x44, 2, 0xcd, 0x91), .want = "vector 5"},
    {"int3", PROT | COMPAT | LONG, ASSIST_INT, 0, 0, CODE(0xcc), .want = "vector 3"},
    {"int1", RING0, ASSIST_INT, 0, 0, CODE(0xf1), .want = "vector 1"},
    {"push cs", OLD, BY_KVM, 0, 0, CODE(0x0e, 0x90), .want = "ax 81828384 cx 3f021507 dx 91929394 flags 0"},
};
/* clang-format on */

/* ---- one run --------------------------------------------------------------------------------- */

/* What is compared. */
struct end {
    struct kvm_regs regs;
    uint8_t data[256], xsave[2696 - 160];
    uint32_t mxcsr;
    uint16_t fcw, fsw;
    uint8_t ftw;
    uint32_t code; /* of the debug exit */
    enum stop_kind kind;
    char text[400];
    uint64_t counts[ASSIST_KINDS];
    unsigned records;
};

static struct session *s;

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        p[i] = (uint8_t)(seed >> 33);
    }
}

/* Handlers say their vector; all else ends in HLT. */
static void put_handlers(uint8_t *mem)
{
    memset(mem + FW_CODE, 0xf4, 0x1000);
    for (unsigned v = 0; v < 32; v++) {
        const uint8_t body[] = {0xb0, (uint8_t)(FAULT + v), 0xe6, 0xf4, 0xf4};

        memcpy(mem + FW_HANDLER + v * 16, body, sizeof body);
    }
}

static void put_code(const struct row *w, enum where at, uint8_t *mem)
{
    /* mov %eax, %ebp, since the end needs AL; out */
    static const uint8_t end[] = {0x66, 0x89, 0xc5, 0xb0, AT_END, 0xe6, 0xf4, 0xf4};
    unsigned n = 0, narrow = places[at].bits == 16;
    uint8_t *p = mem + FW_CODE;

    if ((w->flags & WIDE) && narrow)
        p[n++] = 0x66;
    memcpy(p + n, w->code, w->len);
    if (w->modrm && narrow)
        p[n + w->modrm] = (uint8_t)((p[n + w->modrm] & ~7u) | 4); /* [si] */
    memcpy(p + n + w->len, end + !narrow, sizeof end - !narrow);
}

static void set_state(void *arg, struct vcpu *v)
{
    const struct row *w = ((void **)arg)[0];
    enum where at = *(enum where *)((void **)arg)[1];
    struct vcpu_state st;
    struct kvm_regs *r = &st.regs;

    if (vcpu_get_state(v, VS_REGS | VS_SREGS | VS_XSAVE | VS_XCRS, &st) < 0)
        abort();
    fw_registers(v->vm->mem.base, places[at].mode, places[at].cpl, &st.sregs, r);
    st.sregs.cr0 = (st.sregs.cr0 & ~0xcull) | 0x22; /* MP, NE; no EM, no TS */
    st.sregs.cr4 |= 0x40600;
    r->rflags = 2;
    st.sregs.tr.limit = 0x90; /* with leave for the port of the end */
    r->rax = w->rax ? w->rax : 0x81828384;
    r->rcx = 0x3f021507;
    r->rdx = w->rdx ? w->rdx : 0x91929394;
    r->rbx = 0x76543210;
    r->rsi = DATA;
    r->rdi = DATA + 0x80;
    r->rbp = DATA + 0x40;
    st.xcrs.nr_xcrs = 1;
    st.xcrs.xcrs[0].value = 7;
    fill((uint8_t *)st.xsave.region + 160, 256, 7);
    fill((uint8_t *)st.xsave.region + 576, 256, 9);
    ((uint8_t *)st.xsave.region)[512] = 7;
    if (vcpu_set_state(v, VS_REGS | VS_SREGS | VS_XSAVE | VS_XCRS, &st) < 0)
        test_fail(__FILE__, __LINE__, "KVM does not take the state of %s", places[at].name);
}

static unsigned records_of(enum assist_kind kind)
{
    struct exit_event ev;
    unsigned n = 0;

    for (uint64_t seq = 0; seq < 200; seq++)
        n += session_trace_get(s, 0, seq, &ev) && ev.reason == EXIT_ASSIST &&
             ev.u.assist.what == kind;
    return n;
}

static void collect(const struct row *w, struct end *out)
{
    const struct vcpu_state *st = session_cpu(s, 0, VS_REGS | VS_SREGS | VS_XSAVE);
    const struct stop_info *si = session_last_stop(s);
    const uint8_t *x = (const uint8_t *)st->xsave.region;

    memset(out, 0, sizeof *out);
    out->regs = st->regs;
    memcpy(out->data, s->vm->mem.base + DATA, sizeof out->data);
    memcpy(out->xsave, x + 32, 128); /* x87 and MMX */
    memcpy(out->xsave + 128, x + 160, 128);
    memcpy(out->xsave + 256, x + 576, 128);
    memcpy(&out->fcw, x, 2);
    memcpy(&out->fsw, x + 2, 2);
    out->ftw = x[4];
    memcpy(&out->mxcsr, x + 24, 4);
    out->kind = si->kind;
    out->code = si->code;
    snprintf(out->text, sizeof out->text, "%.300s", si->text);
    session_assist_counts(s, out->counts);
    out->records = w->kind < ASSIST_KINDS ? records_of(w->kind) : 0;
}

static bool by_steps;

static bool run(const struct row *w, enum where at, bool off, struct end *out)
{
    struct session_config cfg = {.mem_bytes = 2 << 20,
                                 .assist_off = off,
                                 .cpu_features = "+xsave,+avx",
                                 .boot = FLAT_AT(FW_CODE, BOOT_MODE_REAL)};
    void *arg[] = {(void *)(uintptr_t)w, &at};
    struct err e = {0};
    uint8_t *mem;

    if (!guest_open(&s, cfg, (const uint8_t[]){0xf4}, 1))
        return false;
    if (!s->vm->probe.emulated) {
        snprintf(test_why, sizeof test_why, "this KVM leaves ring 0 to the processor");
        test_skipped = true;
        guest_close(&s);
        return false;
    }
    mem = s->vm->mem.base;
    fw_memory(mem, places[at].mode);
    put_handlers(mem);
    put_code(w, at, mem);
    fill(mem + DATA, 256, 3);
    mem[DATA + 2] = 0x80; /* an MXCSR and a control word that may be loaded */
    memcpy(mem + DATA, "\x80\x1f\x00\x00", 4);
    vcpu_call(s->vm->cpu[0], set_state, arg);
    if (!test_failed && ((by_steps ? session_step(s, 0, 100000, &e) : session_run(s, &e)) < 0 ||
                         !session_wait(s, TEST_HANG_NS, NULL)))
        test_fail(__FILE__, __LINE__, "%s in %s does not end: %.200s", w->name, places[at].name,
                  e.msg);
    if (!test_failed)
        collect(w, out);
    guest_close(&s);
    return !test_failed;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static const char *differs(const struct end *a, const struct end *b)
{
    static char text[100];
    const struct kvm_regs *x = &a->regs, *y = &b->regs;
    const uint64_t p[] = {x->rcx, x->rdx, x->rbx, x->rsi, x->rdi, x->rbp};
    const uint64_t q[] = {y->rcx, y->rdx, y->rbx, y->rsi, y->rdi, y->rbp};
    static const char *const names[] = {"cx", "dx", "bx", "si", "di", "ax"};

    for (unsigned i = 0; i < 6; i++)
        if ((uint32_t)p[i] != (uint32_t)q[i]) {
            snprintf(text, sizeof text, "%s is 0x%llx, want 0x%llx", names[i],
                     (unsigned long long)p[i], (unsigned long long)q[i]);
            return text;
        }
    if ((x->rflags ^ y->rflags) & 0x8d5) {
        snprintf(text, sizeof text, "flags are 0x%llx, want 0x%llx", (unsigned long long)x->rflags,
                 (unsigned long long)y->rflags);
        return text;
    }
    if (memcmp(a->data, b->data, sizeof a->data))
        return "memory differs";
    if (memcmp(a->xsave, b->xsave, 128))
        return "x87 registers differ";
    if (memcmp(a->xsave + 128, b->xsave + 128, 128))
        return "xmm registers differ";
    if (memcmp(a->xsave + 256, b->xsave + 256, 128))
        return "ymm registers differ";
    if (a->fcw != b->fcw || a->fsw != b->fsw || a->ftw != b->ftw || a->mxcsr != b->mxcsr)
        return "control or status words differ";
    return NULL;
}

static void one(const struct row *w, enum where at, const struct end *want, unsigned *bad)
{
    const char *why = NULL;
    char text[200];
    struct end got;

    if (!run(w, at, false, &got))
        return;
    if (got.kind != STOP_DEBUG_EXIT || got.code != want->code)
        snprintf(text, sizeof text, "ends with %#x: %.120s", got.code, got.text);
    else if (!(why = differs(&got, want)) && w->kind < ASSIST_KINDS && !got.counts[w->kind])
        why = "its kind was not counted";
    else if (!why && w->kind < ASSIST_KINDS && !got.records)
        why = "it left no record";
    else if (!why)
        return;
    printf("  %s in %s: %s\n", w->name, places[at].name, why ? why : text);
    ++*bad;
}

/* The registers that such instructions change, or the vector that they raise. */
static void describe(const struct row *w, const struct end *e, char *text, size_t cap)
{
    const struct kvm_regs *r = &e->regs;
    uint32_t ax = w->varies & NO_AX ? 0 : (uint32_t)r->rbp;
    uint32_t cx = w->varies & NO_CX ? 0 : (uint32_t)r->rcx;
    uint32_t dx = w->varies & NO_DX ? 0 : (uint32_t)r->rdx;

    if (e->kind != STOP_DEBUG_EXIT)
        snprintf(text, cap, "%.150s", e->text);
    else if (e->code != AT_END)
        snprintf(text, cap, "vector %u", e->code - FAULT);
    else
        snprintf(text, cap, "ax %x cx %x dx %x flags %x", ax, cx, dx,
                 w->varies & NO_FLAGS ? 0 : (unsigned)r->rflags & 0x408d5);
}

static void as_the_manual_says(void)
{
    unsigned bad = 0;

    for (size_t i = 0; i < sizeof own_rows / sizeof own_rows[0]; i++) {
        const struct row *w = &own_rows[i];

        for (unsigned at = 0; at < WHERES; at++) {
            struct end got;
            char text[200];

            if (!(w->where >> at & 1))
                continue;
            if (!run(w, at, false, &got))
                return;
            describe(w, &got, text, sizeof text);
            if (strcmp(text, w->want) && ++bad)
                printf("  %s in %s\n    is:   \"%s\"\n    want: \"%s\"\n", w->name, places[at].name,
                       text, w->want);
            else if (w->kind < ASSIST_KINDS && (!got.counts[w->kind] || !got.records) && ++bad)
                printf("  %s in %s was not counted, or left no record\n", w->name, places[at].name);
        }
    }
    if (bad)
        TEST_FAIL("%u runs were otherwise", bad);
}

static void as_the_processor(void)
{
    unsigned bad = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !test_failed && !test_skipped; i++) {
        struct end want;

        if (!run(&rows[i], IN_LONG3, false, &want))
            return;
        if (want.kind != STOP_DEBUG_EXIT) {
            printf("  %s in ring 3: %s\n", rows[i].name, want.text);
            bad++;
            continue;
        }
        if (want.code != AT_END)
            printf("  %s in ring 3 ends with %#x\n", rows[i].name, want.code);
        for (unsigned at = 0; at < WHERES && !test_failed; at++)
            if (rows[i].where >> at & 1)
                one(&rows[i], at, &want, &bad);
    }
    if (bad)
        TEST_FAIL("%u runs were otherwise", bad);
}

/* Without the assist the guest stands at the instruction, and a sentence names it. */
static void off_one(const struct row *w, unsigned *bad)
{
    enum where at = (enum where)__builtin_ctz(w->where & ~(COMPAT3 | PROT3 | LONG3));
    struct end got;

    if (w->kind == BY_KVM || (w->flags & UNSEEN) || test_failed || test_skipped ||
        !run(w, at, true, &got))
        return;
    if (got.kind == STOP_INTERNAL_ERROR && strstr(got.text, "cannot run") &&
        strstr(got.text, "--assist off"))
        return;
    if (got.kind == STOP_STUCK && strstr(got.text, "neither runs `int 0x91`") &&
        strstr(got.text, "--assist off"))
        return;
    printf("  %s in %s: %s\n", w->name, places[at].name, got.text);
    ++*bad;
}

static void off(void)
{
    unsigned bad = 0;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        off_one(&rows[i], &bad);
    for (size_t i = 0; i < sizeof own_rows / sizeof own_rows[0]; i++)
        off_one(&own_rows[i], &bad);
    if (bad)
        TEST_FAIL("%u runs were otherwise", bad);
}

/* IRET to virtual-8086 mode, which an emulating KVM lacks: the guest stands before it. */
static void no_v86(void)
{
    static const struct row iret = {
        "iret to virtual-8086 mode", 0, BY_KVM, 0, 0,
        /* pushl $0x23002; pushl $0x700; pushl $0; iret */
        CODE(0x68, 0x02, 0x30, 0x02, 0, 0x68, 0, 7, 0, 0, 0x6a, 0, 0xcf)};
    struct end got;

    if (!run(&iret, IN_PROT32, false, &got))
        return;
    CHECK_EQ(got.kind, STOP_INTERNAL_ERROR);
    CHECK_EQ(got.regs.rip, FW_CODE + 12);
    CHECK_HAS(got.text, "`iretd` (cf) leads to virtual-8086 mode, which this host's KVM does not");
    CHECK(!strstr(got.text, "CPUID"));
}

/* Some hosts let ring 3 wait at a lock across a cache line, and kicks begin the wait anew: then it
 * is carried out. Steps always do that. Each may hold the whole machine up, so there are no more
 * than it takes to see that. */
static void split_locks(void)
{
    static const struct row many = {
        "lock inc, 40 times", 0, BY_KVM, 0, 0,
        /* mov $40,%ecx; 1: lock inc 0x3e(%rsi); dec %ecx; jnz 1b */
        CODE(0xb9, 40, 0, 0, 0, 0xf0, 0xff, 0x46, 0x3e, 0xff, 0xc9, 0x75, 0xf8)};
    static const struct row two = {"lock xadd, xchg", 0, ASSIST_LOCK, 0, 0,
                                   /* lock xadd %eax,0x3e(%rsi); xchg %rcx,0x3a(%rsi) */
                                   CODE(0xf0, 0x0f, 0xc1, 0x46, 0x3e, 0x48, 0x87, 0x4e, 0x3a)};
    uint8_t data[256];
    struct end got;
    uint64_t sum;

    fill(data, sizeof data, 3);
    for (int steps = 0; steps < 2; steps++) {
        by_steps = steps;
        if (run(&many, IN_LONG3, false, &got)) {
            CHECK_EQ(got.kind, STOP_DEBUG_EXIT);
            CHECK_EQ(got.code, AT_END);
            CHECK_EQ(le_load(got.data + 0x3e, 4), (uint32_t)(le_load(data + 0x3e, 4) + 40));
            CHECK(!steps || got.counts[ASSIST_LOCK] == 40);
        }
        if (!test_skipped && !test_failed && run(&two, IN_LONG3, false, &got)) {
            CHECK_EQ(got.kind, STOP_DEBUG_EXIT);
            CHECK_EQ(got.code, AT_END);
            sum = (uint32_t)(le_load(data + 0x3e, 4) + 0x81828384);
            CHECK_EQ(le_load(got.data + 0x3a, 8), 0x3f021507);
            CHECK_EQ(got.regs.rcx, sum << 32 | le_load(data + 0x3a, 4));
            CHECK_EQ((uint32_t)got.regs.rbp, (uint32_t)le_load(data + 0x3e, 4));
            CHECK(!steps || (got.counts[ASSIST_LOCK] == 2 && got.records == 2));
        }
        by_steps = false;
    }
}

static const struct test tests[] = {
    {"as the processor", as_the_processor},
    {"as the manual says", as_the_manual_says},
    {"off", off},
    {"no virtual-8086 mode", no_v86},
    {"split locks", split_locks},
};

TEST_MAIN(tests)
