/*
 * What KVM's trace points and vmscope's devices tell, event by event. Sources: Linux
 * arch/x86/kvm/trace.h; Intel SDM volume 3, chapters "VM Exits", "Advanced Programmable Interrupt
 * Controller" and "Multiple-Processor Management"; AMD APM volume 2, chapter 15; data sheets of
 * 8254, 8259A and 82093AA.
 */
#include "debug/trace/explain.h"
#include "vmm/base/x.h"

/* clang-format off */
static const struct explain_kind kernel[] = {
{KERNEL_EXIT, "The processor left the guest. Most such exits KVM deals with itself; those that it cannot become an exit to vmscope, whose record follows.",
 "the number is the basic exit reason of the VMCS, the information its exit qualification and interruption information.", "the number is EXITCODE of the VMCB, the information EXITINFO1 and EXITINFO2.",
 NULL, "Nothing, unless a record of kind io, mmio or the like follows.", "Whatever KVM made of it.", "Intel SDM vol. 3, appendix C; AMD APM vol. 2, appendix C; trace point kvm:kvm_exit"},
{KERNEL_ENTRY, "KVM is about to let the processor into the guest.", "VMLAUNCH or VMRESUME.", "VMRUN.", NULL, "Nothing.", "It runs from this RIP.", "trace point kvm:kvm_entry"},
{KERNEL_CPUID, "The guest executed CPUID, which every hypervisor must answer: the guest's processor is not the host's.",
 "CPUID always exits: basic exit reason 10.", "the CPUID intercept: VMEXIT_CPUID, 0x72.", "this KVM interprets CPUID in ring 0.",
 "Nothing now: KVM answers from the table that vmscope gave it at the start (KVM_SET_CPUID2).", "EAX, EBX, ECX and EDX of that leaf.", "Intel SDM vol. 2, CPUID; trace point kvm:kvm_cpuid"},
{KERNEL_MSR, "The guest read or wrote a model-specific register that KVM implements.", "the MSR bitmap has its bit set: basic exit reason 31 for RDMSR, 32 for WRMSR.", "the MSR permission map has its bit set: VMEXIT_MSR, 0x7C.",
 "this KVM interprets RDMSR and WRMSR in ring 0.", "Nothing; with `--visible all` such accesses become exits to vmscope.", "The value, or #GP where KVM refused.", "Intel SDM vol. 4; trace point kvm:kvm_msr"},
{KERNEL_FAULT, "The guest touched memory that its second-level page tables do not map yet, or not for that access.",
 "EPT violation: basic exit reason 48.", "nested page fault: VMEXIT_NPF, 0x400.", "this KVM shadows the guest's page tables in software.",
 "Nothing: KVM maps the page of the memory slot. A page without a slot becomes an mmio exit instead.", "Its access done, a few microseconds later.", "Intel SDM vol. 3, \"EPT Violations\"; trace point kvm:kvm_page_fault"},
{KERNEL_PIO, "A port access on its way through KVM; unless a device of the kernel answers, an io exit follows.", "I/O: basic exit reason 30.", "VMEXIT_IOIO, 0x7B.", NULL, "See the io record.", "See the io record.", "trace point kvm:kvm_pio"},
{KERNEL_MMIO, "An access to memory without a slot on its way through KVM; unless a device of the kernel answers, an mmio exit follows.", "EPT violation (48) or misconfiguration (49).", "VMEXIT_NPF, 0x400.", NULL, "See the mmio record.", "See the mmio record.", "trace point kvm:kvm_mmio"},
{KERNEL_VIRQ, "KVM gives the guest an interrupt with the next entry: one of its own chips', or the one that vmscope handed over.", "the VM-entry interruption-information field.", "EVENTINJ of the VMCB.", NULL, "With vmscope's chips: an `inject` record stands before this one.", "Its handler.", "Intel SDM vol. 3, \"Event Injection\"; trace point kvm:kvm_inj_virq"},
{KERNEL_EXCEPTION, "KVM gives the guest an exception with the next entry, as the processor would have.", "the VM-entry interruption-information field.", "EVENTINJ of the VMCB.", NULL, "Nothing, unless `catch exception` asked for it.", "Its handler, with an error code where the exception has one.", "Intel SDM vol. 3, \"Event Injection\"; trace point kvm:kvm_inj_exception"},
{KERNEL_INSN, "KVM's emulator carried out one instruction of the guest, since the processor could not (or, on a host that interprets ring 0, does not).", "the exit before it gave the emulator the work.", "the exit before it gave the emulator the work.", "this KVM interprets ring 0: there is one such record for each of its instructions.", "Nothing.", "The instruction done.", "trace point kvm:kvm_emulate_insn"},
{KERNEL_APIC, "The guest touched a register of the kernel's local APIC.", "APIC access (44) or write (56), or an EPT violation at the APIC's page.", "a nested page fault at the APIC's page, or AVIC's own exits.", NULL, "Nothing: with `--irqchip user` such accesses are mmio exits to vmscope.", "The register's value.", "Intel SDM vol. 3, \"Local APIC\"; trace point kvm:kvm_apic"},
{KERNEL_CR, "The guest moved to or from a control register.", "control-register access: basic exit reason 28.", "VMEXIT_CR0_READ and the codes behind it, 0x00 to 0x1F.", "this KVM interprets it.", "Nothing.", "The register as it would be without a hypervisor.", "Intel SDM vol. 3, \"Control-Register Accesses\"; trace point kvm:kvm_cr"},
{KERNEL_HYPERCALL, "The guest called KVM by VMCALL or VMMCALL.", "VMCALL always exits: basic exit reason 18.", "the VMMCALL intercept: VMEXIT_VMMCALL, 0x81.", NULL, "Nothing.", "KVM's answer in RAX.", "Linux Documentation/virt/kvm/x86/hypercalls.rst; trace point kvm:kvm_hypercall"},
};

static const struct explain_kind device[] = {
{DEVICE_LINE, "A device raised its interrupt line. Both interrupt controllers see it: the two 8259s and the IOAPIC.", "no exit.", "no exit.", NULL,
 "The controllers latched the edge, or follow the level; masks and priorities decide when it reaches a vCPU. With `--irqchip kernel` the line went to KVM.", "Nothing yet: an `inject` record says when the interrupt is given.", "8259A data sheet; 82093AA data sheet, \"Interrupt Redirection\""},
{DEVICE_REQUEST, "A local APIC got a vector to deliver: from the IOAPIC, its timer, or another processor.", "no exit.", "no exit.", NULL,
 "The vector's bit in the request register (IRR) is set; if its priority is above the processor's, the vCPU is kicked out of the guest.", "The interrupt, as soon as its priority, RFLAGS.IF and shadows allow.", "Intel SDM vol. 3, \"Interrupt Acceptance for Fixed Interrupts\""},
{DEVICE_EOI, "The guest told an interrupt controller that the handler is done.", "the write was an exit of its own: I/O (30) for an 8259, EPT violation or APIC write for a local APIC.", "the write was an exit of its own: VMEXIT_IOIO or VMEXIT_NPF.", NULL,
 "The in-service bit of the vector is cleared, so that equal and lower priorities may come; a level-triggered line that is still up is offered again.", "The next interrupt that waited, if any.", "Intel SDM vol. 3, \"Signaling Interrupt Servicing Completion\"; 8259A data sheet, OCW2"},
{DEVICE_NMI, "A non-maskable interrupt was sent to a vCPU.", "no exit.", "no exit.", NULL, "The vCPU is kicked and gets it by KVM_NMI.", "Its handler of vector 2, whatever RFLAGS.IF says.", "Intel SDM vol. 3, \"Nonmaskable Interrupt\""},
{DEVICE_INIT, "A processor was told to start over: the first half of starting another processor.", "no exit.", "no exit.", NULL, "The vCPU's registers are set as after reset, and it waits for a start-up message.", "It does not run until then.", "Intel SDM vol. 3, \"MP Initialization Protocol\""},
{DEVICE_SIPI, "A start-up message: the other half of starting a processor.", "no exit.", "no exit.", NULL, "A vCPU that waits begins at page 0x1000 times the vector, in real mode; a running one ignores it.", "The first instruction of that page.", "Intel SDM vol. 3, \"MP Initialization Protocol\""},
{DEVICE_TIMER_SET, "A device set an alarm for a moment of guest time.", "no exit.", "no exit.", NULL, "A host timer wakes a vCPU's thread at that moment; guest time stands while the machine stands.", "Nothing.", "8254 data sheet; MC146818 data sheet; Intel SDM vol. 3, \"APIC Timer\""},
{DEVICE_TIMER_OFF, "A device took its alarm back.", "no exit.", "no exit.", NULL, "The host's timer follows the next alarm.", "Nothing.", "8254 data sheet; MC146818 data sheet; Intel SDM vol. 3, \"APIC Timer\""},
{DEVICE_TIMER, "A device's alarm fired.", "no exit, though the host's timer may have ended the guest's turn: basic exit reason 1.", "no exit, though the host's timer may have ended the guest's turn: VMEXIT_INTR.", NULL, "The device does what it had planned: most raise an interrupt line or ask a local APIC for a vector.", "An interrupt, if it wants one.", "8254 data sheet; MC146818 data sheet; Intel SDM vol. 3, \"APIC Timer\""},
{DEVICE_DMA, "A device read or wrote guest memory by itself.", "no exit: the vCPU is not asked.", "no exit: the vCPU is not asked.", NULL, "The bytes were copied; memory outside RAM is refused.", "The bytes in place; an interrupt usually says when.", "The device's data sheet"},
{DEVICE_RESET, "The whole machine was set to its power-on state.", "no exit.", "no exit.", NULL, "Every device and vCPU starts over, memory is loaded anew.", "Its first instruction.", "docs/architecture.md"},
{DEVICE_POWER_OFF, "The guest switched the machine off.", "the write to the power port was an exit of its own.", "the write to the power port was an exit of its own.", NULL, "The machine stops.", "It does not run.", "ACPI specification, \"Power Management\""},
};
/* clang-format on */

_Static_assert(ARRAY_LEN(kernel) == KERNEL_EVENTS, "a row for each event, in order");
_Static_assert(ARRAY_LEN(device) == DEVICE_EVENTS, "a row for each event, in order");

const struct explain_kind *explain_event(const struct exit_event *ev)
{
    if (ev->reason == EXIT_KERNEL && ev->u.kernel.event < ARRAY_LEN(kernel))
        return &kernel[ev->u.kernel.event];
    if (ev->reason == EXIT_DEVICE && ev->u.device.event < ARRAY_LEN(device))
        return &device[ev->u.device.event];
    return explain_kind(ev->reason);
}
