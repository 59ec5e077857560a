/*
 * Bits of the processor's registers and of page table entries that several files look at, by the
 * manual's names (Intel SDM 3A 2.3, 2.5, 4.5 and 3B 17.2; AMD APM 2 3.1). All are 64 bits wide, so
 * that ~BIT keeps the upper half of a register.
 */
#ifndef VMM_X86_BITS_H
#define VMM_X86_BITS_H

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)

#define CR4_VME     (1ull << 0)
#define CR4_TSD     (1ull << 2)
#define CR4_PSE     (1ull << 4)
#define CR4_PAE     (1ull << 5)
#define CR4_PGE     (1ull << 7)
#define CR4_OSFXSR  (1ull << 9)
#define CR4_LA57    (1ull << 12)
#define CR4_PCIDE   (1ull << 17)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_SMEP    (1ull << 20)
#define CR4_SMAP    (1ull << 21)

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define RFLAGS_CF   (1ull << 0)
#define RFLAGS_ONE  (1ull << 1) /* always set */
#define RFLAGS_AF   (1ull << 4)
#define RFLAGS_ZF   (1ull << 6)
#define RFLAGS_TF   (1ull << 8)
#define RFLAGS_IF   (1ull << 9)
#define RFLAGS_DF   (1ull << 10)
#define RFLAGS_IOPL (3ull << 12)
#define RFLAGS_RF   (1ull << 16)
#define RFLAGS_VM   (1ull << 17)
#define RFLAGS_AC   (1ull << 18)

#define DR6_BS   (1ull << 14)
#define DR6_ONES 0xffff0ff0ull /* always set */
#define DR7_ONE  (1ull << 10)  /* always set */

#define PTE_P  (1ull << 0)
#define PTE_W  (1ull << 1)
#define PTE_U  (1ull << 2)
#define PTE_A  (1ull << 5)
#define PTE_D  (1ull << 6)
#define PTE_PS (1ull << 7) /* a large page, in a directory's entry */
#define PTE_G  (1ull << 8)
#define PTE_NX (1ull << 63)

#endif
