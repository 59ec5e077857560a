/*
 * The executor of single instructions (native.h).
 *
 * Its page tables are written here and read by KVM, which may keep shadows of them. An entry that
 * becomes present needs nothing. An entry that changes is taken back by dropping the page from the
 * executor's own mapping of guest memory (MADV_DONTNEED on shared memory loses nothing): that tells
 * KVM to forget every translation to it.
 */
#include "vmm/native.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/le.h"
#include "vmm/base/log.h"
#include "vmm/base/x.h"
#include "vmm/guest_access.h"
#include "vmm/vcpu.h"
#include "vmm/x86_bits.h"

/* Tables and the scratch page live in the guest's PCI hole, where no RAM is. */
#define AREA_GPA     MEM_HOLE_START
#define AREA_PAGES   256u
#define SCRATCH_PAGE 1u /* page 0 is the PML4 */
#define DUMMY_PAGE   2u /* the operand of trial runs */
#define FIRST_TABLE  3u
#define SCRATCH_AT   0x00003a5a5a5a5000ull /* linear; far from what systems map */

#define SYNC_ALL (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

#define DUMMY_AT (SCRATCH_AT + PAGE_BYTES)

/* Linear pages kept mapped; a gather touches at most 16 pages, a move two, the code two. */
#define PAGES_MAX 24
/* Faults of one instruction that may be answered before it counts as hopeless. */
#define RUNS_MAX 64
/* Tables that one instruction may need: a gather over 16 distant pages. */
#define TABLES_SPARE 60u

#define VECTOR_DB 1
#define VECTOR_BP 3

#define FLAGS_ARITH 0x8d5u /* CF PF AF ZF SF OF */

struct page {
    bool used;
    uint64_t linear, gpa;
    bool writable;
    uint64_t stamp; /* the instruction that mapped it */
};

struct native {
    int vm, vcpu;
    struct kvm_run *run;
    size_t run_bytes;
    const struct mem *mem;
    uint8_t *ram;  /* the guest's memory mapped once more */
    uint8_t *area; /* tables and scratch */
    unsigned tables;
    struct page page[PAGES_MAX];
    unsigned next; /* to evict */
    uint64_t stamp;
    uint64_t xcr0;
    struct kvm_xsave xsave; /* as the executor holds it */
    bool xsave_known;
};

/* ---- making it ------------------------------------------------------------------------------- */

static struct kvm_segment flat3(bool code)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = code ? 0x33 : 0x2b,
                                .type = code ? 11 : 3,
                                .present = 1,
                                .dpl = 3,
                                .db = !code,
                                .s = 1,
                                .l = code,
                                .g = 1};
}

static int enter_ring3(struct native *n)
{
    struct kvm_sregs s;
    int rc = kvm_get_sregs(n->vcpu, &s);

    if (rc < 0)
        return rc;
    s.cr0 = 0x80000033;              /* PG NE ET MP PE: no TS, so nothing here is #NM */
    s.cr4 = 0x20 | 0x600 | 1u << 18; /* PAE OSFXSR OSXMMEXCPT OSXSAVE */
    s.cr3 = AREA_GPA;
    s.efer = 0x500;
    s.cs = flat3(true);
    s.ds = s.es = s.fs = s.gs = s.ss = flat3(false);
    s.idt.limit = s.gdt.limit = 0; /* every event is a shutdown, with all state kept */
    rc = kvm_set_sregs(n->vcpu, &s);
    if (rc < 0) {
        s.cr4 &= ~(1ull << 18); /* no XSAVE here: then no AVX either */
        rc = kvm_set_sregs(n->vcpu, &s);
    }
    return rc;
}

static void clear_tables(struct native *n)
{
    memset(n->area, 0, (size_t)AREA_PAGES * PAGE_BYTES);
    memset(n->page, 0, sizeof n->page);
    n->tables = FIRST_TABLE;
}

static int make_memory(struct native *n)
{
    int rc = 0;

    n->ram = mmap(NULL, n->mem->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                  n->mem->memfd, 0);
    n->area = mmap(NULL, (size_t)AREA_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (n->ram == MAP_FAILED || n->area == MAP_FAILED)
        return -errno;
    clear_tables(n);
    for (unsigned i = 0; i < n->mem->regions && rc == 0; i++) {
        const struct mem_region *r = &n->mem->region[i];

        if (r->hva >= n->mem->base && r->hva < n->mem->base + n->mem->ram_bytes)
            rc = kvm_set_slot(n->vm, i, r->gpa, r->len_bytes, n->ram + (r->hva - n->mem->base), 0);
    }
    return rc ? rc
              : kvm_set_slot(n->vm, MEM_REGIONS_MAX, AREA_GPA, (uint64_t)AREA_PAGES * PAGE_BYTES,
                             n->area, 0);
}

static int make(struct native *n, struct vm *vm)
{
    int bytes = kvm_vcpu_mmap_bytes(vm->kvm), rc;

    n->vm = kvm_create_vm(vm->kvm);
    if (n->vm < 0)
        return n->vm;
    (void)kvm_set_tss_addr(n->vm, 0xfffbd000); /* VT-x wants it, others do not know it */
    rc = make_memory(n);
    if (rc < 0)
        return rc;
    n->vcpu = kvm_create_vcpu(n->vm, 0);
    if (n->vcpu < 0 || bytes < (int)sizeof(struct kvm_run))
        return n->vcpu < 0 ? n->vcpu : -EINVAL;
    n->run_bytes = (size_t)bytes;
    n->run = mmap(NULL, n->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, n->vcpu, 0);
    if (n->run == MAP_FAILED)
        return -errno;
    rc = kvm_set_cpuid(n->vcpu, vm->cpuid);
    if (rc == 0)
        rc = enter_ring3(n);
    if (rc < 0)
        return rc;
    n->run->immediate_exit = 1; /* runs nothing: fetches the shared copies of the registers */
    n->run->kvm_valid_regs = SYNC_ALL;
    rc = kvm_run(n->vcpu);
    n->run->immediate_exit = 0;
    return rc == -EINTR ? 0 : rc;
}

static struct native *native_new(struct vm *vm)
{
    struct native *n = xcalloc(1, sizeof *n);
    int rc;

    n->vm = n->vcpu = -1;
    n->run = MAP_FAILED;
    n->ram = n->area = MAP_FAILED;
    n->mem = &vm->mem;
    rc = make(n, vm);
    if (rc < 0) {
        log_error("cannot make the VM that carries out instructions: %s", strerror(-rc));
        native_free(n);
        return NULL;
    }
    return n;
}

void native_free(struct native *n)
{
    if (!n)
        return;
    if (n->run != MAP_FAILED)
        munmap(n->run, n->run_bytes);
    if (n->vcpu >= 0)
        close(n->vcpu);
    if (n->vm >= 0)
        close(n->vm);
    if (n->ram != MAP_FAILED)
        munmap(n->ram, n->mem->ram_bytes);
    if (n->area != MAP_FAILED)
        munmap(n->area, (size_t)AREA_PAGES * PAGE_BYTES);
    free(n);
}

/* ---- its page tables ------------------------------------------------------------------------- */

/* Host address of the entry that maps `linear`; makes tables on the way. NULL: no room. */
static uint8_t *leaf(struct native *n, uint64_t linear)
{
    uint64_t table = 0;

    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint8_t *e = n->area + table * PAGE_BYTES + (linear >> shift & 511) * 8;

        if (!(le_load(e, 8) & PTE_P)) {
            if (n->tables >= AREA_PAGES)
                return NULL;
            le_store(e, 8, (AREA_GPA + (uint64_t)n->tables++ * PAGE_BYTES) | PTE_P | PTE_W | PTE_U);
        }
        table = ((le_load(e, 8) & 0xffffffffff000) - AREA_GPA) / PAGE_BYTES;
    }
    return n->area + table * PAGE_BYTES + (linear >> 12 & 511) * 8;
}

/* Makes KVM forget its translations to a guest page. */
static void forget(struct native *n, uint64_t gpa)
{
    uint8_t *main = mem_ptr(n->mem, gpa, 1);

    if (main && madvise(n->ram + (main - n->mem->base), PAGE_BYTES, MADV_DONTNEED) < 0)
        log_error("cannot drop a translation: %s", strerror(errno));
}

static void unmap(struct native *n, struct page *p)
{
    uint8_t *e = leaf(n, p->linear); /* exists, so there is room */

    if (e)
        le_store(e, 8, 0);
    forget(n, p->gpa);
    p->used = false;
}

/* All tables anew: their pages are used up. Taking the slot away makes KVM forget all of it. */
static int start_over(struct native *n)
{
    int rc = kvm_set_slot(n->vm, MEM_REGIONS_MAX, 0, 0, NULL, 0);

    for (unsigned i = 0; i < PAGES_MAX; i++)
        if (n->page[i].used)
            forget(n, n->page[i].gpa);
    clear_tables(n);
    return rc < 0 ? rc
                  : kvm_set_slot(n->vm, MEM_REGIONS_MAX, AREA_GPA,
                                 (uint64_t)AREA_PAGES * PAGE_BYTES, n->area, 0);
}

static struct page *page_find(struct native *n, uint64_t linear)
{
    for (unsigned i = 0; i < PAGES_MAX; i++)
        if (n->page[i].used && n->page[i].linear == linear)
            return &n->page[i];
    return NULL;
}

/* A free place; pages of the present instruction are not taken away. */
static struct page *page_place(struct native *n)
{
    for (unsigned i = 0; i < PAGES_MAX; i++)
        if (!n->page[i].used)
            return &n->page[i];
    for (unsigned i = 0; i < PAGES_MAX; i++) {
        struct page *p = &n->page[n->next++ % PAGES_MAX];

        if (p->stamp != n->stamp) {
            unmap(n, p);
            return p;
        }
    }
    return NULL;
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* May the executor's entry be writable without telling? Only when a store would change no bit. */
static bool may_write(const struct vcpu *v, const struct walk *w)
{
    return guest_verdict(v, w, true) < 0 && (w->mode == PAGING_NONE || w->dirty);
}

static void put_entry(struct native *n, const struct page *p)
{
    uint8_t *e = leaf(n, p->linear);

    if (e)
        le_store(e, 8,
                 (p->gpa & ~0xfffull) | PTE_P | PTE_U | PTE_A | PTE_D | (p->writable ? PTE_W : 0));
}

/* The guest may have changed its tables since: pages that no longer mean the same are dropped. */
static void recheck(struct vcpu *v, struct native *n, const struct walk_regs *r)
{
    for (unsigned i = 0; i < PAGES_MAX; i++) {
        struct page *p = &n->page[i];
        struct walk w;

        if (!p->used)
            continue;
        walk(n->mem, r, p->linear, &w);
        if (guest_verdict(v, &w, false) >= 0 || (w.gpa & ~0xfffull) != p->gpa ||
            (w.mode != PAGING_NONE && !w.accessed) || (p->writable && !may_write(v, &w)))
            unmap(n, p);
    }
}

enum mapped { MAPPED, MAP_FAULT, MAP_CANNOT };

static enum mapped map_page(struct vcpu *v, struct native *n, const struct walk_regs *r,
                            uint64_t linear, bool write, int *ec, const char **why)
{
    struct page *p = page_find(n, linear & ~0xfffull);
    struct walk w;

    walk(n->mem, r, linear, &w);
    if (w.result == WALK_NON_CANONICAL || w.result == WALK_TABLE_NOT_RAM) {
        *why = "a page table of the guest is not in memory";
        return MAP_CANNOT;
    }
    *ec = guest_verdict(v, &w, write);
    if (*ec >= 0)
        return MAP_FAULT;
    if (!mem_ptr(n->mem, w.gpa & ~0xfffull, PAGE_BYTES)) {
        *why = "its operand is not in memory but in a device or a hole";
        return MAP_CANNOT;
    }
    guest_mark(v, &w, write);
    walk(n->mem, r, linear, &w); /* with those bits */
    if (p && p->gpa != (w.gpa & ~0xfffull)) {
        unmap(n, p);
        p = NULL;
    }
    if (!p)
        p = page_place(n);
    if (!p || !leaf(n, linear)) {
        *why = "it touches too many pages";
        return MAP_CANNOT;
    }
    *p = (struct page){.used = true,
                       .linear = linear & ~0xfffull,
                       .gpa = w.gpa & ~0xfffull,
                       .writable = may_write(v, &w),
                       .stamp = n->stamp};
    put_entry(n, p);
    return MAPPED;
}

/* ---- what goes in and comes out -------------------------------------------------------------- */

static int sync_xcr0(struct vcpu *v, struct native *n)
{
    struct kvm_xcrs x;

    if (kvm_get_xcrs(v->fd, &x) < 0 || !x.nr_xcrs || x.xcrs[0].value == n->xcr0)
        return 0;
    n->xcr0 = x.xcrs[0].value;
    return kvm_set_xcrs(n->vcpu, &x);
}

static int fpu_in(struct vcpu *v, struct native *n)
{
    struct kvm_xsave x = {0};
    int rc = sync_xcr0(v, n);

    if (rc == 0)
        rc = kvm_get_xsave(v->fd, &x);
    /* cppcheck-suppress uninitvar ; filled by the call, or rc is negative */
    if (rc < 0 || (n->xsave_known && !memcmp(&x, &n->xsave, sizeof x)))
        return rc;
    n->xsave = x;
    n->xsave_known = true;
    return kvm_set_xsave(n->vcpu, &x);
}

static int fpu_out(struct vcpu *v, struct native *n)
{
    struct kvm_xsave x;
    int rc = kvm_get_xsave(n->vcpu, &x);

    if (rc < 0 || !memcmp(&x, &n->xsave, sizeof x))
        return rc;
    n->xsave = x;
    return kvm_set_xsave(v->fd, &x);
}

/* The guest's general registers; RIP at the instruction or at its copy. `tf`: RFLAGS_TF or 0. */
static void regs_in(struct vcpu *v, struct native *n, uint64_t rip, uint64_t tf)
{
    struct kvm_sregs *s = &n->run->s.regs.sregs;

    n->run->s.regs.regs = *v->regs;
    n->run->s.regs.regs.rip = rip;
    n->run->s.regs.regs.rflags = (v->regs->rflags & (FLAGS_ARITH | RFLAGS_DF)) | 2 | RFLAGS_IF | tf;
    n->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    if (s->fs.base != v->sregs->fs.base || s->gs.base != v->sregs->gs.base) {
        s->fs.base = v->sregs->fs.base;
        s->gs.base = v->sregs->gs.base;
        n->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    }
}

static void regs_out(struct vcpu *v, const struct native *n, uint64_t rip, int holder)
{
    struct kvm_regs old = *v->regs, r = n->run->s.regs.regs;

    r.rip = rip;
    r.rflags = (old.rflags & ~(uint64_t)(FLAGS_ARITH | RFLAGS_RF)) | (r.rflags & FLAGS_ARITH);
    if (holder >= 0)
        *insn_reg(&r, (unsigned)holder) = *insn_reg(&old, (unsigned)holder);
    *v->regs = r;
    vcpu_dirty(v, VS_REGS);
}

/* ---- running --------------------------------------------------------------------------------- */

/* One entry. The vector of the event that ended it, or -errno. */
static int enter(struct native *n)
{
    int rc;

    /* Kicks are for the vCPU proper; an instruction under the trap flag ends by itself. */
    do {
        n->run->kvm_valid_regs = SYNC_ALL;
        rc = kvm_run(n->vcpu);
    } while (rc == -EINTR || rc == -EAGAIN);
    if (rc < 0)
        return rc;
    return n->run->exit_reason == KVM_EXIT_SHUTDOWN ? n->run->s.regs.events.exception.nr : -EIO;
}

static bool has_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* Lets the code run until the event `end`, mapping what it faults on: #DB ends one instruction, #BP
 * the copy of several. True when it ended, or in a fault. */
static bool run_mapped(struct vcpu *v, struct native *n, int end, struct native_fault *fault,
                       const char **why)
{
    struct walk_regs r;
    int ec;

    vcpu_walk_regs(v, &r);
    recheck(v, n, &r);
    for (unsigned i = 0; i < RUNS_MAX; i++) {
        const struct kvm_sync_regs *s = &n->run->s.regs;
        int vector = enter(n);

        if (vector == end)
            return true;
        if (vector != 14) {
            *why = "the second VM did not run it";
            if (vector < 0)
                return false;
            *fault = (struct native_fault){vector, has_error_code(vector),
                                           s->events.exception.error_code};
            return true;
        }
        if (s->events.exception.error_code & 8) {
            *why = "its operand is at an address that this host keeps for itself";
            return false;
        }
        switch (map_page(v, n, &r, s->sregs.cr2, s->events.exception.error_code & 2, &ec, why)) {
        case MAPPED:
            break;
        case MAP_FAULT:
            v->sregs->cr2 = s->sregs.cr2;
            vcpu_dirty(v, VS_SREGS);
            *fault = (struct native_fault){14, true, (uint32_t)ec};
            return true;
        case MAP_CANNOT:
            return false;
        }
        /* RIP is at what faulted, RF is set; TF is not kept. */
        if (end == VECTOR_DB)
            n->run->s.regs.regs.rflags |= RFLAGS_TF;
        n->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    }
    *why = "it faults without end";
    return false;
}

static void map_own(struct native *n, uint64_t linear, unsigned page)
{
    uint8_t *e = leaf(n, linear);

    if (e)
        le_store(e, 8,
                 (AREA_GPA + (uint64_t)page * PAGE_BYTES) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D);
}

/* Puts 64-bit code for the instruction on the scratch page. */
static bool put_scratch(struct native *n, const struct insn_shape *s, int *holder)
{
    uint8_t code[INSN_BYTES_MAX + 4], *at = n->area + SCRATCH_PAGE * PAGE_BYTES;
    unsigned len = insn_rewrite(s, code, holder);

    if (!len)
        return false;
    map_own(n, SCRATCH_AT, SCRATCH_PAGE);
    map_own(n, DUMMY_AT, DUMMY_PAGE);
    memcpy(at, code, len);
    return true;
}

static bool canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* A KVM that emulates answers #GP in ring 3 by trying to emulate the instruction, and makes #UD of
 * it when it cannot. So an instruction with a memory operand that is said to be undefined is tried
 * on a harmless operand: if it runs there, #GP was meant (its address is not canonical or not
 * aligned, or the data are not what it takes). */
static void disbelieve_ud(struct vcpu *v, struct native *n, const struct insn_shape *s,
                          struct native_fault *fault)
{
    uint64_t at = insn_linear(s, v->regs, v->sregs);
    int holder = -1, seg = 3;

    if (fault->vector != 6 || !insn_has_memory(s) || !put_scratch(n, s, &holder))
        return;
    memset(n->area + DUMMY_PAGE * PAGE_BYTES, 0, PAGE_BYTES);
    regs_in(v, n, SCRATCH_AT, RFLAGS_TF);
    *insn_reg(&n->run->s.regs.regs, (unsigned)holder) = DUMMY_AT;
    n->xsave_known = false;
    if (enter(n) == 6)
        return;
    insn_offset(s, v->regs, &seg);
    *fault = (struct native_fault){seg == 2 && !canonical(at) ? 12 : 13, true, 0};
}

/* The second VM, ready for something new; NULL when there is none, and then `why`. */
static struct native *begin(struct vcpu *v, const char **why)
{
    struct native *n = v->native;

    *why = "this host does not keep a VM's state at a shutdown";
    if (!v->vm->probe.hidden_idt || !v->vm->probe.shutdown_keeps_state)
        return NULL;
    *why = "the second VM could not be made";
    if (!n)
        n = v->native = v->native_broken ? NULL : native_new(v->vm);
    v->native_broken = !n;
    if (!n || (n->tables + TABLES_SPARE > AREA_PAGES && start_over(n) < 0))
        return NULL;
    n->stamp++;
    return n;
}

bool native_run(struct vcpu *v, const struct insn_shape *s, bool fpu, struct native_fault *fault,
                const char **why)
{
    bool in_place = s->bits == 64 && !s->edited;
    uint64_t rip = v->regs->rip;
    struct native *n = begin(v, why);
    int holder = -1;

    *fault = (struct native_fault){.vector = -1};
    if (!n)
        return false;
    if (!in_place) {
        if (!put_scratch(n, s, &holder)) {
            *why = "it has a form that is not understood";
            return false;
        }
        rip = SCRATCH_AT;
    }
    regs_in(v, n, rip, RFLAGS_TF);
    if (holder >= 0)
        *insn_reg(&n->run->s.regs.regs, (unsigned)holder) = insn_linear(s, v->regs, v->sregs);
    *why = "KVM refused the FPU state";
    if (fpu && fpu_in(v, n) < 0)
        return false;
    if (!run_mapped(v, n, VECTOR_DB, fault, why))
        return false;
    if (fault->vector >= 0) {
        /* #MF and #XM leave their cause in the status words. */
        if (fpu && (fault->vector == 16 || fault->vector == 19) && fpu_out(v, n) < 0)
            return false;
        n->xsave_known = false;
        disbelieve_ud(v, n, s, fault);
        return true;
    }
    if (fpu && fpu_out(v, n) < 0) {
        *why = "KVM refused the FPU state";
        return false;
    }
    regs_out(v, n, in_place ? n->run->s.regs.regs.rip : v->regs->rip + s->len, holder);
    return true;
}

/* ---- several instructions at once ------------------------------------------------------------ */

struct batch {
    unsigned count, bytes; /* bytes of code, from the first instruction on */
    bool fpu;
    uint16_t at[NATIVE_BATCH + 1]; /* offset of each instruction, and of the end */
};

/* Must the guest stand before this address? Data points are for watchpoints to decide: then nothing
 * is batched. */
static bool debug_register_at(const struct vcpu *v, uint64_t linear)
{
    for (unsigned i = 0; i < 4; i++)
        if ((v->debug_set.dr7 >> 2 * i & 3) && v->debug_set.dr[i] == linear)
            return true;
    return false;
}

/* Does anything want to see each instruction by itself: a step, a data point, the guest's own debug
 * registers? */
static bool must_go_singly(const struct vcpu *v)
{
    struct kvm_debugregs d;

    if (v->debug_set.step || v->data.dr7 || (v->regs->rflags & RFLAGS_TF))
        return true;
    return kvm_get_debugregs(v->fd, &d) < 0 || (d.dr7 & 0xff);
}

/* Does it keep to what the copy can do: nothing relative to its own address, no jump? */
static bool goes_along(const struct insn_shape *s, bool (*may)(void *arg, enum insn_class c),
                       void *arg, enum insn_class *c)
{
    if (insn_rip_relative(s))
        return false;
    *c = insn_classify(s);
    if (*c == IC_NONE)
        return insn_is_plain(s);
    return may(arg, *c);
}

/* Chooses the instructions and copies them to the scratch page, an int3 behind them. */
static void gather(struct vcpu *v, struct native *n, bool (*may)(void *arg, enum insn_class c),
                   void *arg, struct batch *b, uint8_t class_of[NATIVE_BATCH])
{
    uint8_t *code = n->area + SCRATCH_PAGE * PAGE_BYTES;
    uint64_t at = v->regs->rip;
    size_t room = PAGE_BYTES - (at & (PAGE_BYTES - 1)), got;
    struct walk_regs r;
    struct insn_shape s;
    enum insn_class c;

    if (room > PAGE_BYTES - 1)
        room = PAGE_BYTES - 1;
    vcpu_walk_regs(v, &r);
    got = walk_read(n->mem, &r, at, code, room);
    *b = (struct batch){0};
    while (b->count < NATIVE_BATCH &&
           insn_shape(&s, 64, code + b->bytes, (unsigned)(got - b->bytes)) &&
           goes_along(&s, may, arg, &c) && (!b->count || !debug_register_at(v, at + b->bytes))) {
        class_of[b->count++] = (uint8_t)c;
        b->fpu |= c != IC_NONE && c != IC_BITS && c != IC_CX16;
        b->bytes += s.len;
        b->at[b->count] = (uint16_t)b->bytes;
    }
    /* What came last and asks for nothing is KVM's. */
    while (b->count && class_of[b->count - 1] == IC_NONE)
        b->bytes = b->at[--b->count];
    code[b->bytes] = 0xcc;
}

/* How many instructions are done when the copy stands at `rip`. */
static unsigned done_before(const struct batch *b, uint64_t rip)
{
    for (unsigned i = 0; i < b->count; i++)
        if (rip == SCRATCH_AT + b->at[i])
            return i;
    return rip == SCRATCH_AT + b->bytes + 1 ? b->count : 0;
}

unsigned native_batch(struct vcpu *v, bool (*may)(void *arg, enum insn_class c), void *arg,
                      uint8_t class_of[NATIVE_BATCH])
{
    struct native_fault fault = {.vector = -1};
    uint64_t rip = v->regs->rip, cr2 = v->sregs->cr2;
    struct native *n;
    const char *why;
    struct batch b;
    unsigned done;

    if (must_go_singly(v))
        return 0;
    n = begin(v, &why);
    if (!n)
        return 0;
    gather(v, n, may, arg, &b, class_of);
    if (b.count < 2)
        return 0;
    map_own(n, SCRATCH_AT, SCRATCH_PAGE);
    regs_in(v, n, SCRATCH_AT, 0);
    if (b.fpu && fpu_in(v, n) < 0)
        return 0;
    (void)run_mapped(v, n, VECTOR_BP, &fault, &why);
    /* Whatever ended it stands before an instruction; that one gets its turn, and its fault, by
     * itself. */
    v->sregs->cr2 = cr2;
    done = done_before(&b, n->run->s.regs.regs.rip);
    if (!done || (b.fpu && fpu_out(v, n) < 0)) {
        n->xsave_known = false;
        return 0;
    }
    n->xsave_known = n->xsave_known && fault.vector < 0;
    regs_out(v, n, rip + b.at[done], -1);
    return done;
}
