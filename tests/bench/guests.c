/*
 * The guests that are measured, as machine code with its text beside it.
 */
#include "tests/bench/bench.h"

/* 1: out %al,$0x80; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t storm[] = {0xe6, 0x80, 0x66, 0x49, 0x75, 0xfa, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_storm = {storm, sizeof storm, IN_REAL, 40000};

/* mov $0x3f8,%dx; mov $'A',%al; out %al,(%dx); out %al,$0xf4; 1: hlt; jmp 1b */
static const uint8_t hello[] = {0xba, 0xf8, 0x03, 0xb0, 'A', 0xee, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_hello = {hello, sizeof hello, IN_REAL, 1};

/* 1: inc %ax; add %ax,%bx; mov %bx,(0x9000); mov (0x9000),%dx; jmp 1b */
static const uint8_t stroll_real[] = {0x40, 0x01, 0xc3, 0x89, 0x1e, 0x00, 0x90,
                                      0x8b, 0x16, 0x00, 0x90, 0xeb, 0xf3};
/* 1: inc %eax; add %rax,%rbx; mov %ebx,0x9000; mov 0x9000,%edx; jmp 1b */
static const uint8_t stroll_long[] = {0xff, 0xc0, 0x48, 0x01, 0xc3, 0x89, 0x1c,
                                      0x25, 0x00, 0x90, 0x00, 0x00, 0x8b, 0x14,
                                      0x25, 0x00, 0x90, 0x00, 0x00, 0xeb, 0xeb};
const struct guest guest_stroll[3] = {
    {stroll_real, sizeof stroll_real, IN_REAL, 0},
    {stroll_long, sizeof stroll_long, IN_RING0, 0},
    {stroll_long, sizeof stroll_long, IN_RING3, 0},
};

/* nop; 1: inc %eax; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t loop[] = {0x90, 0xff, 0xc0, 0xff, 0xc9, 0x75,
                               0xfa, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_loop = {loop, sizeof loop, IN_RING0, 20000};

/* 1: mov %ecx,0x9000; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t writes[] = {0x89, 0x0c, 0x25, 0x00, 0x90, 0x00, 0x00, 0xff,
                                 0xc9, 0x75, 0xf5, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_writes = {writes, sizeof writes, IN_RING0, 40000};

/* 1: mov 0x9000,%eax; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t reads[] = {0x8b, 0x04, 0x25, 0x00, 0x90, 0x00, 0x00, 0xff,
                                0xc9, 0x75, 0xf5, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_reads = {reads, sizeof reads, IN_RING0, 40000};

/* 1: incl 0x9000; dec %ecx; jnz 1b; out %al,$0xf4; 2: hlt; jmp 2b */
static const uint8_t counts[] = {0xff, 0x04, 0x25, 0x00, 0x90, 0x00, 0x00, 0xff,
                                 0xc9, 0x75, 0xf5, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd};
const struct guest guest_counts = {counts, sizeof counts, IN_RING0, 20000};

/* 1: jmp 1b */
static const uint8_t spin[] = {0xeb, 0xfe};
const struct guest guest_spin[3] = {
    {spin, sizeof spin, IN_REAL, 0},
    {spin, sizeof spin, IN_RING0, 0},
    {spin, sizeof spin, IN_RING3, 0},
};

/* 1: sti; hlt; jmp 1b: an interrupt could wake it, so this is no end */
static const uint8_t dream[] = {0xfb, 0xf4, 0xeb, 0xfc};
const struct guest guest_sleep = {dream, sizeof dream, IN_RING0, 0};

/* 1: out %al,$0x80; jmp 1b */
static const uint8_t exits[] = {0xe6, 0x80, 0xeb, 0xfc};
const struct guest guest_exits = {exits, sizeof exits, IN_RING0, 0};

/* 1: mov 0x9000,%eax; jmp 1b */
static const uint8_t peek[] = {0x8b, 0x04, 0x25, 0x00, 0x90, 0x00, 0x00, 0xeb, 0xf7};
const struct guest guest_peek = {peek, sizeof peek, IN_RING0, 0};
