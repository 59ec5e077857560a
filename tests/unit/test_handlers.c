/*
 * Handlers in assembly, without frame information: at each of their instructions, and in what they
 * call, the trace leads to what was interrupted, and `finish` runs there. In real, protected and
 * long mode, with and without an error code.
 */
#include "tests/unit/guest_image.h"

#include "debug/session.h"
#include "debug/symbols/unwind.h"
#include "vmm/base/x.h"

#define AT 0x7000ull

/* An interrupt and, where `fault` is one, a fault that the handler skips; both out of a function
 * with a frame. In real mode the handlers have another segment than the code that is interrupted.
 * clang-format off */
#define GUEST(name, code, sp, bp, ax, cx, fault, setup, save, restore, slot, skip)                 \
    asm(".pushsection .rodata\n"                                                                   \
        #name "_image: " code "\n"                                                                 \
        "  mov $0x9000, %" sp "\n"                                                                 \
        setup                                                                                      \
        "  call 2f\n"                                                                              \
        "  out %al, $0xf4\n"                                                                       \
        "1: hlt\n"                                                                                 \
        "  jmp 1b\n"                                                                               \
        "2: push %" bp "\n"                                                                        \
        "  mov %" sp ", %" bp "\n"                                                                 \
        "  push $7\n"                                                                              \
        "  mov $0xfff0, %" ax "\n"                                                                 \
        #name "_int: int $0x40\n"                                                                  \
        #name "_fault: " fault "\n"                                                                \
        "  leave\n"                                                                                \
        "  ret\n"                                                                                  \
        #name "_handlers:\n"                                                                       \
        #name "_h40: push $0\n"                                                                    \
        "  push $0x40\n"                                                                           \
        "  jmp 3f\n"                                                                               \
        #name "_h13: push $13\n"                                                                   \
        "3: " save                                                                                 \
        "  mov %" sp ", %" cx "\n"                                                                 \
        "  test $1, %" cx "\n"                                                                     \
        "  jz 5f\n"                                                                                \
        "  push %" cx "\n"                                                                         \
        "  pop %" cx "\n"                                                                          \
        "5: sub $24, %" sp "\n"                                                                    \
        "  call 9f\n"                                                                              \
        "  add $24, %" sp "\n"                                                                     \
        skip                                                                                       \
        restore                                                                                    \
        "  add $2*" slot ", %" sp "\n"                                                             \
        #name "_iret:\n"

GUEST(real, ".code16", "sp", "bp", "ax", "cx", "nop; nop",
      "  movw $"
      "real_h40 - real_image"
      ", 0x100\n"
      "  movw $0x700, 0x102\n",
      "pusha\n push %ds\n", "pop %ds\n popa\n", "2", "")
      "  iret\n"
      "9: push %bp\n  mov %sp, %bp\n  sub $16, %sp\n  nop\n  leave\n  ret\n"
      "real_end:\n.popsection\n");
      GUEST(prot, ".code32", "esp", "ebp", "eax", "ecx", "mov %ax, %fs",
            "  lidtl prot_idtr - prot_image + 0x7000\n", "pusha\n push %ds\n", "pop %ds\n popa\n",
            "4", "  cmpl $13, 36(%esp)\n  jne 6f\n  addl $2, 44(%esp)\n6:\n")
      "  iret\n"
      "9: push %ebp\n  mov %esp, %ebp\n  sub $16, %esp\n  nop\n  leave\n  ret\n"
      ".balign 8\nprot_idt: .fill 13, 8, 0\n"
      "  .word prot_h13 - prot_image + 0x7000, 0x10, 0x8e00, 0\n"
      "  .fill 50, 8, 0\n"
      "  .word prot_h40 - prot_image + 0x7000, 0x10, 0x8e00, 0\n"
      "prot_idtr: .word 65 * 8 - 1\n  .long prot_idt - prot_image + 0x7000\n"
      "prot_end:\n.code64\n.popsection\n");
      GUEST(wide, ".code64", "rsp", "rbp", "rax", "rcx", "mov %ax, %fs",
            "  lidt wide_idtr - wide_image + 0x7000\n",
            "push %rax\n push %rcx\n push %rdx\n push %r8\n push %rbp\n push %rsi\n push %rdi\n",
            "pop %rdi\n pop %rsi\n pop %rbp\n pop %r8\n pop %rdx\n pop %rcx\n pop %rax\n", "8",
            "  cmpl $13, 56(%rsp)\n  jne 6f\n  addl $2, 72(%rsp)\n6:\n")
      "  iretq\n"
      "9: push %rbp\n  mov %rsp, %rbp\n  sub $16, %rsp\n  nop\n  leave\n  ret\n"
      ".balign 8\nwide_idt: .fill 26, 8, 0\n"
      "  .word wide_h13 - wide_image + 0x7000, 0x10, 0x8e00, 0, 0, 0, 0, 0\n"
      "  .fill 100, 8, 0\n"
      "  .word wide_h40 - wide_image + 0x7000, 0x10, 0x8e00, 0, 0, 0, 0, 0\n"
      "wide_idtr: .word 65 * 16 - 1\n  .quad wide_idt - wide_image + 0x7000\n"
      "wide_end:\n.popsection\n");
      /* clang-format on */

      struct guest {
          enum boot_mode mode;
          const uint8_t *image, *end, *at_int, *at_fault, *handlers, *iret;
      };
#define DECLARE(name)                                                                              \
    extern const uint8_t name##_image[], name##_end[], name##_int[], name##_fault[],               \
        name##_handlers[], name##_iret[]
      DECLARE(real);
      DECLARE(prot);
      DECLARE(wide);
#define GUEST_ROW(name, boot)                                                                      \
    {                                                                                              \
        boot, name##_image, name##_end, name##_int, name##_fault, name##_handlers, name##_iret     \
    }
      static const struct guest guests[] = {
          GUEST_ROW(real, BOOT_MODE_REAL),
          GUEST_ROW(prot, BOOT_MODE_PROT),
          GUEST_ROW(wide, BOOT_MODE_LONG),
      };

      static struct session *s;
      static const struct guest *g;

      static uint64_t at(const uint8_t *label)
      {
          return AT + (uint64_t)((uintptr_t)label - (uintptr_t)g->image);
      }

      static uint64_t pc(void)
      {
          return session_last_stop(s)->cs_base + session_last_stop(s)->rip;
      }

      static uint64_t stack(void)
      {
          struct reg_value v = {0};

          session_reg_get(s, 0, REG_rsp, &v, NULL);
          return v.u;
      }

      static bool open_guest(const struct guest *which)
      {
          const struct session_config cfg = {.mem_bytes = 4 << 20,
                                             .boot = FLAT_AT(AT, which->mode)};

          g = which;
          return guest_open(&s, cfg, g->image, (size_t)((uintptr_t)g->end - (uintptr_t)g->image));
      }

      static bool step(void)
      {
          if (session_step(s, 0, 1, NULL) == 0 && session_wait(s, TEST_HANG_NS, NULL) &&
              session_last_stop(s)->kind == STOP_STEP)
              return true;
          test_fail(__FILE__, __LINE__, "%.300s", session_last_stop(s)->text);
          return false;
      }

      /* Inside a handler or what it calls; its first instruction and all after it. */
      static bool handling(void)
      {
          return pc() >= at(g->handlers) && pc() < at(g->end);
      }

      /* What was interrupted is in the trace, with its stack pointer; the fault's address rises
       * when the handler skips it. */
      static void leads_back(uint64_t to, bool is_fault, uint64_t sp)
      {
          struct unwind_frame f[8];
          char end[160];
          size_t n = session_backtrace(s, 0, f, 8, end);

          for (size_t i = 1; i < n; i++)
              if ((f[i].pc == to || (is_fault && f[i].pc == to + 2)) && f[i].sp == sp &&
                  f[i].how == UNWIND_EVENT)
                  return;
          test_fail(__FILE__, __LINE__, "mode %d at +0x%llx: %zu frames, the second 0x%llx, %.100s",
                    g->mode, (unsigned long long)(pc() - AT), n,
                    (unsigned long long)(n > 1 ? f[1].pc : 0), end);
      }

      /* Steps through the whole guest; `in_handler` at each instruction of handlers. */
      static void through(void (*in_handler)(uint64_t to, bool is_fault, uint64_t sp))
      {
          for (unsigned i = 0; i < ARRAY_LEN(guests) && !test_failed; i++) {
              unsigned seen = 0;

              if (!open_guest(&guests[i]))
                  return;
              for (unsigned k = 0; k < 400 && !test_failed; k++) {
                  bool is_fault = pc() == at(g->at_fault);
                  uint64_t to = is_fault ? pc() : at(g->at_fault), sp = stack();

                  if (!step())
                      break;
                  for (; handling() && !test_failed; seen++) {
                      in_handler(to, is_fault, sp);
                      if (test_failed || !step())
                          break;
                  }
                  if (seen && pc() > at(g->at_fault) && pc() < at(g->handlers))
                      break;
              }
              if (!test_failed && seen < (g->mode == BOOT_MODE_REAL ? 20 : 40))
                  test_fail(__FILE__, __LINE__, "mode %d: only %u instructions of handlers",
                            g->mode, seen);
              guest_close(&s);
          }
      }

      static void traces_lead_back(void)
      {
          through(leads_back);
      }

      static uint64_t past_iret, sp_there;

      static void note_it(uint64_t to, bool is_fault, uint64_t sp)
      {
          (void)is_fault;
          past_iret = to;
          sp_there = sp;
      }

      /* From the nth instruction of the first handler: until it is out of there. */
      static void finish_from(unsigned n)
      {
          unsigned depth = 0;

          for (unsigned k = 0; k < 60 && pc() != at(g->at_int) && !test_failed; k++)
              step();
          note_it(at(g->at_fault), false, stack());
          for (unsigned k = 0; k < n && !test_failed; k++)
              if (step() && !handling())
                  return; /* it has that few */
          while (!test_failed && handling() && depth++ < 3)
              if (session_finish(s, 0, NULL) < 0 || !session_wait(s, TEST_HANG_NS, NULL) ||
                  session_last_stop(s)->kind != STOP_TEMPORARY)
                  test_fail(__FILE__, __LINE__, "mode %d, instruction %u: %.300s", g->mode, n,
                            session_last_stop(s)->text);
          if (!test_failed && (pc() != past_iret || stack() != sp_there))
              test_fail(__FILE__, __LINE__,
                        "mode %d, instruction %u: came to +0x%llx, stack 0x%llx", g->mode, n,
                        (unsigned long long)(pc() - AT), (unsigned long long)stack());
      }

      static void finish_runs_there(void)
      {
          unsigned by = getenv("VMSCOPE_IN_RIG") ? 6 : 1; /* emulated processors are slow */

          for (unsigned i = 0; i < ARRAY_LEN(guests); i++) {
              for (unsigned n = 1; n < 30 && !test_failed; n += by) {
                  if (!open_guest(&guests[i]))
                      return;
                  finish_from(n);
                  guest_close(&s);
              }
          }
      }

      static const struct test tests[] = {
          {"traces out of handlers", traces_lead_back},
          {"finish out of handlers", finish_runs_there},
      };
      TEST_MAIN(tests)
