/*
 * The boot information of multiboot 2: a list of tags (Multiboot2 Specification 2.0, section 3.4).
 * Runs while the loader's memory is still untouched; strings stay where the loader put them.
 */
#include "guests/tinyos/tinyos.h"

#define MB2_LOADED 0x36d76289

enum { TAG_END = 0, TAG_CMDLINE = 1, TAG_LOADER = 2, TAG_MODULE = 3, TAG_MMAP = 6 };

struct tag {
    uint32_t type, size;
};

struct tag_module {
    struct tag head;
    uint32_t start, end;
    char string[];
};

struct tag_mmap {
    struct tag head;
    uint32_t entry_size, entry_version;
    char entries[];
};

struct boot_info boot_info = {.loader = "somebody", .cmdline = ""};

static void add_module(const struct tag_module *t)
{
    if (boot_info.modules < ARRAY_LEN(boot_info.module))
        boot_info.module[boot_info.modules++] = (struct module){t->start, t->end, t->string};
}

static void add_ranges(const struct tag_mmap *t)
{
    const char *end = (const char *)t + t->head.size;
    if (t->entry_size < 20)
        return;
    for (const char *p = t->entries; p + t->entry_size <= end; p += t->entry_size) {
        const uint64_t *e = (const uint64_t *)p;
        if (boot_info.ranges == ARRAY_LEN(boot_info.range))
            return;
        boot_info.range[boot_info.ranges++] =
            (struct memory_range){.base = e[0], .len = e[1], .type = (uint32_t)e[2]};
    }
}

bool multiboot_init(uint32_t magic, uint32_t info_phys)
{
    if (magic != MB2_LOADED || info_phys >= KERNEL_SIZE)
        return false;
    const char *p = phys_to_virt(info_phys);
    const char *end = p + *(const uint32_t *)p;
    p += 8;
    while (p + sizeof(struct tag) <= end) {
        const struct tag *t = (const struct tag *)p;
        if (t->type == TAG_END || t->size < sizeof *t)
            break;
        if (t->type == TAG_CMDLINE)
            boot_info.cmdline = p + sizeof *t;
        else if (t->type == TAG_LOADER)
            boot_info.loader = p + sizeof *t;
        else if (t->type == TAG_MODULE)
            add_module((const struct tag_module *)t);
        else if (t->type == TAG_MMAP)
            add_ranges((const struct tag_mmap *)t);
        p += (t->size + 7u) & ~7u;
    }
    return true;
}

bool boot_option(const char *name, char *value, size_t size)
{
    const char *s = boot_info.cmdline;
    while (*s) {
        const char *n = name;
        while (*n && *s == *n) {
            s++;
            n++;
        }
        if (!*n && *s == '=') {
            size_t i = 0;
            for (s++; *s && *s != ' ' && i + 1 < size; s++)
                value[i++] = *s;
            value[i] = 0;
            return true;
        }
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    return false;
}
