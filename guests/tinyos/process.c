/*
 * One process in ring 3: its pages, its start, its system calls, its end. The shell waits while it
 * runs; interrupts go on.
 */
#include "guests/tinyos/tinyos.h"

#include "guests/tinyos/syscall.h"

#define KILLED 128

extern const char user_start[], user_end[], user_load[]; /* tinyos.ld; user_load is physical */
void user_main(uint64_t arg);                            /* hello_user.c */

static uint8_t stack[4096] __attribute__((aligned(4096)));
static bool running;

static void map(void)
{
    uint64_t pages = (uint64_t)(user_end - user_start) / 4096;
    for (uint64_t i = 0; i < pages; i++)
        memory_map_user(USER_CODE + i * 4096, (uint64_t)user_load + i * 4096, false);
    for (unsigned i = 0; i < sizeof stack / 8; i++)
        ((uint64_t *)stack)[i] = 0;
    memory_map_user(USER_STACK_TOP - sizeof stack, virt_to_phys(stack), true);
}

uint64_t process_run(uint64_t arg)
{
    map();
    running = true;
    /* Both ways in from ring 3 use the shell's own stack, below where it waits. */
    uint64_t rsp = USER_STACK_TOP - 8; /* as if user_main had been called */
    uint64_t code = user_enter((uint64_t)user_main, rsp, arg);
    running = false;
    return code;
}

bool process_is_running(void)
{
    return running;
}

void process_kill(const struct trap *t)
{
    user_leave(KILLED + t->vector);
}

static uint64_t sys_write(uint64_t text, uint64_t len)
{
    if (!memory_is_mapped(text, len, true))
        return (uint64_t)-1;
    console_write((const char *)text, len);
    return len;
}

void process_system_call(struct trap *t)
{
    switch (t->rax) {
    case SYS_EXIT:
        user_leave(t->rdi);
    case SYS_WRITE:
        t->rax = sys_write(t->rdi, t->rsi);
        break;
    case SYS_SLEEP:
        timer_sleep_ms(t->rdi);
        t->rax = 0;
        break;
    case SYS_GETTICKS:
        t->rax = timer_ticks();
        break;
    default:
        t->rax = (uint64_t)-1;
    }
}
