/*
 * apic_smp: local APICs and a second processor. The boot processor starts processor 1 by INIT and
 * start-up IPI; both count ticks of their own APIC timer; then they exchange IPIs.
 *
 * build   make guests            gives o/guests/apic_smp (ELF64, multiboot 1)
 * run     ./vmscope run -c 2 o/guests/apic_smp
 * expect  status 33; COM1: "apic_smp: processor 1 runs", "apic_smp: timer ticks: 10 on processor
 *         0, 5 on processor 1", "apic_smp: 5 pings, 5 pongs"; with one processor: status 35
 */
#include "guests/lib/guest.h"
#include "guests/lib/trap.h"

#define AP_ID           1
#define AP_PAGE         0x8000ul
#define AP_VECTOR       (AP_PAGE >> 12)
#define BSP_TICKS       10
#define AP_TICKS        5
#define ROUNDS          5
#define TICK_COUNT      2000000u /* 2 ms at 1 GHz */
#define VECTOR_PING     0x40
#define VECTOR_PONG     0x41
#define VECTOR_TIMER    0x42
#define VECTOR_SPURIOUS 0xff

#define APIC_BASE 0xfee00000ul
enum {
    APIC_ID = 0x20,
    APIC_EOI = 0xb0,
    APIC_SVR = 0xf0,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};
#define SVR_ENABLE   0x100u
#define LVT_PERIODIC 0x20000u
#define LVT_MASKED   0x10000u
#define DIVIDE_BY_1  0xbu
#define ICR_FIXED    0x4000u /* level assert */
#define ICR_INIT     0x4500u
#define ICR_STARTUP  0x4600u
#define ICR_PENDING  0x1000u

extern const uint8_t ap_start[], ap_end[];
void ap_main(void);

static volatile unsigned ticks[2], pings, pongs;
static volatile unsigned ap_online, ap_ticked, ap_finish;

static uint32_t apic_read(unsigned reg)
{
    return *(volatile uint32_t *)(APIC_BASE + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(APIC_BASE + reg) = value;
}

static unsigned apic_id(void)
{
    return apic_read(APIC_ID) >> 24;
}

static void apic_enable(void)
{
    apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
}

static void send_ipi(unsigned to, uint32_t what)
{
    apic_write(APIC_ICR_HIGH, to << 24);
    apic_write(APIC_ICR_LOW, what);
    while (apic_read(APIC_ICR_LOW) & ICR_PENDING)
        __asm__ volatile("pause");
}

static void on_timer(struct trap *t)
{
    ticks[apic_id() & 1]++;
    t->rflags &= ~0x200ull; /* one for each sleep: a slow host has the next tick ready by now */
    apic_write(APIC_EOI, 0);
}

static void on_ping(struct trap *t)
{
    (void)t;
    pings++;
    apic_write(APIC_EOI, 0);
    send_ipi(0, ICR_FIXED | VECTOR_PONG);
}

static void on_pong(struct trap *t)
{
    (void)t;
    pongs++;
    apic_write(APIC_EOI, 0);
}

static void on_spurious(struct trap *t)
{
    (void)t; /* no end of interrupt: SDM volume 3, "Spurious Interrupt" */
}

/* Periodic ticks until this processor has had `n` of them. */
static void count_ticks(unsigned n)
{
    volatile unsigned *mine = &ticks[apic_id() & 1];
    *mine = 0;
    apic_write(APIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, TICK_COUNT);
    GUEST_ASSERT(apic_read(APIC_TIMER_CURRENT) <= TICK_COUNT);
    while (*mine < n)
        wait_interrupt();
    apic_write(APIC_LVT_TIMER, LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 0);
}

/* Sleeps about `ms` milliseconds (at 1 GHz) by a one-shot timer. */
static void sleep_ms(unsigned ms)
{
    ticks[0] = 0;
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
    apic_write(APIC_TIMER_INITIAL, ms * 1000000u);
    while (!ticks[0])
        wait_interrupt();
}

void ap_main(void)
{
    trap_load();
    apic_enable();
    GUEST_ASSERT(apic_id() == AP_ID);
    ap_online = 1;
    count_ticks(AP_TICKS);
    ap_ticked = ticks[1];
    while (!ap_finish)
        wait_interrupt();
}

static void start_ap(void)
{
    for (unsigned i = 0; i < (unsigned)(ap_end - ap_start); i++)
        ((volatile uint8_t *)AP_PAGE)[i] = ap_start[i];
    send_ipi(AP_ID, ICR_INIT);
    sleep_ms(10);
    send_ipi(AP_ID, ICR_STARTUP | AP_VECTOR);
    for (unsigned i = 0; i < 1000 && !ap_online; i++) {
        sleep_ms(2);
        if (i == 0 && !ap_online) /* the specification asks for a second one */
            send_ipi(AP_ID, ICR_STARTUP | AP_VECTOR);
    }
    if (!ap_online)
        print("apic_smp: processor 1 does not answer: this guest wants -c 2\n");
    GUEST_ASSERT(ap_online);
}

void guest_main(uintptr_t mbi)
{
    (void)mbi;
    trap_init();
    trap_handle(VECTOR_TIMER, on_timer, 0);
    trap_handle(VECTOR_PING, on_ping, 0);
    trap_handle(VECTOR_PONG, on_pong, 0);
    trap_handle(VECTOR_SPURIOUS, on_spurious, 0);
    pic_init(0);
    apic_enable();
    GUEST_ASSERT(apic_id() == 0);

    start_ap();
    print("apic_smp: processor 1 runs\n");
    count_ticks(BSP_TICKS);
    unsigned bsp_ticked = ticks[0];
    for (unsigned i = 0; i < 10000 && !ap_ticked; i++)
        sleep_ms(1);
    printk("apic_smp: timer ticks: %d on processor 0, %d on processor 1\n",
           (unsigned long)bsp_ticked, (unsigned long)ap_ticked);
    GUEST_ASSERT(bsp_ticked == BSP_TICKS && ap_ticked == AP_TICKS);

    for (unsigned i = 1; i <= ROUNDS; i++) {
        send_ipi(AP_ID, ICR_FIXED | VECTOR_PING);
        while (pongs < i)
            wait_interrupt();
        GUEST_ASSERT(pings == i && pongs == i);
    }
    printk("apic_smp: %d pings, %d pongs\n", (unsigned long)pings, (unsigned long)pongs);
    ap_finish = 1;
    GUEST_PASS();
}
