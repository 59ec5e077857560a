/*
 * Interrupt lines between devices and controllers, and the vCPU's view of the controllers. Machine
 * lock held.
 */
#include "vmm/devices/ioapic.h"
#include "vmm/devices/lapic.h"
#include "vmm/devices/pic.h"
#include "vmm/machine.h"

void irq_set(struct machine *m, unsigned gsi, bool level)
{
    uint32_t bit = 1u << (gsi & 31);

    if (gsi >= MACHINE_GSIS)
        return;
    if (level && !(m->gsi_level & bit)) {
        m->gsi_raised[gsi]++;
        machine_event(m, &(struct exit_device){.event = DEVICE_LINE,
                                               .id = DEVICE_NO_ID,
                                               .cpu = DEVICE_NO_CPU,
                                               .line = (uint16_t)gsi,
                                               .vector = EXIT_NO_VECTOR});
    }
    m->gsi_level = level ? m->gsi_level | bit : m->gsi_level & ~bit;
    if (m->irqchip_kernel) {
        if (m->hooks.gsi)
            m->hooks.gsi(m->hooks.arg, gsi, level);
        return;
    }
    if (gsi < 16)
        pic_line(m, gsi, level);
    /* Pin 0 takes the 8259s' output on a PC, so the timer's line comes in at pin 2. */
    ioapic_line(m, gsi ? gsi : 2, level);
}

/* An ExtINT request stands beside the priorities of the local APIC (SDM 3A, 11.1), so it is asked
 * first; KVM's own chips do the same. */
int intr_vector(struct machine *m, unsigned cpu)
{
    if (m->irqchip_kernel || cpu >= m->cpus)
        return -1;
    if (lapic_accepts_extint(m, cpu) && pic_output(m))
        return pic_vector(m);
    return lapic_pending(m, cpu);
}

int intr_ack(struct machine *m, unsigned cpu)
{
    int vector, gsi;

    if (m->irqchip_kernel || cpu >= m->cpus)
        return -1;
    if (lapic_accepts_extint(m, cpu) && pic_output(m)) {
        lapic_extint_done(m, cpu);
        vector = pic_inta(m);
        gsi = pic_gsi(m);
    } else {
        vector = lapic_ack(m, cpu);
        gsi = vector < 0 ? -1 : ioapic_gsi(m, (uint8_t)vector);
    }
    m->cpu[cpu].line = (unsigned)(gsi + 1);
    return vector;
}
