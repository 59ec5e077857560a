/*
 * Architectural starting states. They change register images only; the caller gets and sets them
 * on the vCPU's thread. apic_base and cr8 stay as they come in from KVM.
 */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H

#include <linux/kvm.h>

#include "vmm/boot.h"

/* Selectors of the GDT that x86_boot_apply makes: those of GRUB and of Linux's boot protocol. */
#define X86_SEL_CODE32 0x08 /* for a long-mode guest that wants back */
#define X86_SEL_CODE   0x10
#define X86_SEL_DATA   0x18

/* From KVM's present registers to the state `bs` asks for. Protected mode: flat 4 GiB segments.
 * Long mode: also page tables that identity-map the first 4 GiB and all RAM by 2 MiB pages, all
 * writable and executable, supervisor only. GDT and tables are placed once in free guest memory
 * and claimed in bs ("GDT", "page tables"); a second call writes them anew at the same place. The
 * IDT is empty: the first exception without an IDT of the guest's own is a triple fault.
 * Errors: RAM past `maxphyaddr` bits, no room, an entry the mode cannot reach. */
int x86_boot_apply(struct boot_state *bs, struct mem *m, unsigned maxphyaddr,
                   struct kvm_sregs *sregs, struct kvm_regs *regs, struct err *e);
/* Power-on and RESET#: F000:FFF0 with base 0xffff0000 (Intel SDM volume 3, table 10-1). RDX gets
 * `signature`, CPUID leaf 1 EAX. */
void x86_reset_state(uint32_t signature, struct kvm_sregs *sregs, struct kvm_regs *regs);
/* After INIT and a start-up IPI: vector<<8 : 0000 (SDM volume 3, 9.4). */
void x86_sipi_state(uint8_t vector, uint32_t signature, struct kvm_sregs *sregs,
                    struct kvm_regs *regs);

#endif
