/*
 * What several loaders share: segments, modules, small structures in guest memory, sentences.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/acpi.h"
#include "vmm/base/x.h"
#include "vmm/host_file.h"
#include "vmm/loaders/loader.h"

typedef unsigned long long ull;

#define STACK_BYTES 0x4000u

int load_bad(struct load *l, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(l->err, ENOEXEC, "cannot load %s: %s", l->name, text);
}

int load_segment(struct load *l, uint64_t gpa, struct bytes data, uint64_t mem_len_bytes,
                 const char *what)
{
    uint8_t *at;
    int r;

    BUG_ON(data.n > mem_len_bytes);
    if (!mem_len_bytes)
        return 0;
    r = boot_claim(&l->out->claims, l->mem, l->name, gpa, mem_len_bytes, l->err, "%s", what);
    if (r < 0)
        return r;
    at = mem_ptr(l->mem, gpa, mem_len_bytes);
    BUG_ON(!at);
    if (data.n)
        memcpy(at, data.p, data.n);
    memset(at + data.n, 0, mem_len_bytes - data.n);
    if (!l->segments || gpa < l->low)
        l->low = gpa;
    if (gpa + mem_len_bytes > l->high)
        l->high = gpa + mem_len_bytes;
    l->segments++;
    return 0;
}

int load_file(struct load *l, const char *path, const char *what, uint64_t low, uint64_t high,
              bool top, uint64_t *gpa, uint64_t *len_bytes)
{
    struct host_file f;
    int r = host_file_open(&f, path, what, BOOT_FILE_MAX, l->err);

    if (r < 0)
        return r;
    *len_bytes = f.len_bytes;
    r = boot_place(&l->out->claims, l->mem, f.len_bytes, PAGE_BYTES, low, high, top, what, gpa,
                   l->err);
    if (r < 0)
        err_prefix(l->err, "cannot load %s %s", what, f.name);
    else
        r = host_file_read(&f, mem_ptr(l->mem, *gpa, f.len_bytes), l->err);
    host_file_close(&f);
    return r;
}

/* Name of a file without its folders. */
static const char *load_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int load_module(struct load *l, const char *path, const char *args, const char *what,
                       uint64_t low, struct load_module *m)
{
    m->text = args ? args : load_base_name(path);
    return load_file(l, path, what, low, MEM_HOLE_END, false, &m->gpa, &m->len_bytes);
}

int load_modules(struct load *l, uint64_t low, struct load_module out[LOAD_MODULES_MAX],
                 unsigned *count)
{
    const struct boot_config *cfg = l->cfg;
    int r = 0;

    *count = 0;
    if (low < BOOT_HIGH)
        low = BOOT_HIGH;
    if (cfg->initrd) {
        r = load_module(l, cfg->initrd, NULL, "initrd", low, &out[0]);
        *count = 1;
    }
    for (unsigned i = 0; !r && i < cfg->modules && i < BOOT_MODULES_MAX; i++)
        r = load_module(l, cfg->module[i].path, cfg->module[i].args, "module", low,
                        &out[(*count)++]);
    return r;
}

int load_stack(struct load *l, unsigned word_bytes, uint64_t *rsp)
{
    uint64_t gpa;
    int r = boot_place_low(&l->out->claims, l->mem, STACK_BYTES, PAGE_BYTES, "stack", &gpa, l->err);

    if (r < 0)
        return err_prefix(l->err, "cannot load %s", l->name);
    memset(mem_ptr(l->mem, gpa, STACK_BYTES), 0, STACK_BYTES);
    *rsp = gpa + STACK_BYTES - word_bytes;
    return 0;
}

/* The self-tests of RSA, DH and the like take a quarter of an hour at three million instructions a
 * second. */
static const char *const when_emulated[] = {"cryptomgr.notests", "no_timer_check"};

void load_linux_cmdline(struct load *l, struct buf *out)
{
    const char *user = l->cfg->append ? l->cfg->append : "";

    for (unsigned i = 0; l->cfg->emulated && i < ARRAY_LEN(when_emulated); i++)
        if (!strstr(user, when_emulated[i]))
            buf_addf(out, "%s%s", out->len ? " " : "", when_emulated[i]);
    l->out->is_linux = true;
    snprintf(l->told, sizeof l->told, "%s", buf_str(out));
    buf_addf(out, "%s%s", out->len && *user ? " " : "", user);
}

void load_tables(struct load *l)
{
    if (!l->out->rsdp)
        l->out->rsdp = acpi_place(&l->out->claims, l->mem, l->cfg->cpus);
}

void put_le(struct buf *b, unsigned size_bytes, uint64_t v)
{
    uint8_t raw[8];

    le_store(raw, size_bytes, v);
    buf_add(b, raw, size_bytes);
}

void put_align(struct buf *b, size_t align)
{
    while (b->len % align)
        buf_addc(b, 0);
}

void put_ranges(struct buf *b, const struct boot_range *range, unsigned ranges)
{
    for (unsigned i = 0; i < ranges; i++) {
        put_le(b, 8, range[i].gpa);
        put_le(b, 8, range[i].len_bytes);
        put_le(b, 4, range[i].type);
        put_le(b, 4, 0);
    }
}

int load_info(struct load *l, load_build_fn *build, const void *arg, const char *what,
              uint64_t *gpa)
{
    struct buf b = {0};
    size_t len;
    int r;

    build(&b, 0, arg);
    len = b.len;
    r = boot_place_low(&l->out->claims, l->mem, len, PAGE_BYTES, what, gpa, l->err);
    if (r < 0) {
        buf_fini(&b);
        return err_prefix(l->err, "cannot load %s", l->name);
    }
    buf_clear(&b);
    build(&b, *gpa, arg);
    BUG_ON(b.len != len || mem_write(l->mem, *gpa, b.data, len) != len);
    buf_fini(&b);
    return 0;
}

void load_summary(struct load *l, const char *format, const char *detail)
{
    size_t used;

    snprintf(l->out->summary, sizeof l->out->summary,
             "%s%s, %u segment%s in 0x%llx-0x%llx, entry 0x%llx", format, detail, l->segments,
             l->segments == 1 ? "" : "s", (ull)l->low, (ull)(l->high - 1), (ull)l->out->entry);
    used = strlen(l->out->summary);
    if (l->told[0])
        snprintf(l->out->summary + used, sizeof l->out->summary - used,
                 "; told also \"%s\", since this KVM emulates ring 0", l->told);
}
