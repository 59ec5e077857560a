/*
 * Any bytes as an image: the first chooses the loader (0: recognition), the rest is the file. A
 * load either says why not in one sentence, or gives a state that x86_boot can apply.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vmm/base/x.h"
#include "vmm/x86_boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct mem m;
    struct boot_config cfg = {.image = "fuzz"};
    struct boot_state bs;
    struct kvm_sregs sregs = {0};
    struct kvm_regs regs;
    struct err e = {0};

    if (!m.base && mem_init(&m, 4u << 20, &e) < 0)
        return 0;
    if (!len)
        return 0;
    cfg.kind = (enum boot_kind)(data[0] % BOOT_KINDS);
    if (boot_load_image(&cfg, data + 1, len - 1, &m, &bs, &e) < 0) {
        BUG_ON(!e.code || strlen(e.msg) < 20 || strchr(e.msg, '\n'));
        return 0;
    }
    BUG_ON(!bs.loader || !bs.summary[0]);
    if (x86_boot_apply(&bs, &m, 40, &sregs, &regs, &e) < 0)
        BUG_ON(e.code != ENOSPC && e.code != E2BIG);
    else
        BUG_ON(sregs.cs.base + regs.rip != bs.entry);
    return 0;
}
