/*
 * Reads symbols out of ELF files of either class with libelf. Files are hostile: libelf checks
 * ranges, and what it hands out is checked again. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "debug/symbols/sym_int.h"
#include "vmm/base/esc.h"
#include "vmm/base/x.h"

void sym_image_free(struct sym_image *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->name_count; i++)
        free(m->names[i].safe);
    free(m->names);
    if (m->eh_cfi)
        dwarf_cfi_end(m->eh_cfi);
    if (m->dwarf)
        dwarf_end(m->dwarf);
    if (m->elf)
        elf_end(m->elf);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
}

static int open_file(struct sym_image *m, const char *path, const char *shown, struct err *e)
{
    struct stat st;

    /* A FIFO must not hang us. */
    m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0)
        return err_set(e, errno, "cannot open \"%s\" for symbols: %s", shown, strerror(errno));
    if (fstat(m->fd, &st))
        return err_set(e, errno, "cannot look at \"%s\": %s", shown, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "cannot read symbols from \"%s\": it is no regular file", shown);
    return 0;
}

static int open_elf(struct sym_image *m, const char *shown, struct err *e)
{
    GElf_Ehdr eh;

    BUG_ON(elf_version(EV_CURRENT) == EV_NONE);
    /* Not mapped: a file that is rebuilt while we run would otherwise end us by SIGBUS. */
    m->elf = elf_begin(m->fd, ELF_C_READ, NULL);
    if (!m->elf)
        return err_set(e, EINVAL, "cannot read \"%s\": %s", shown, elf_errmsg(-1));
    if (elf_kind(m->elf) != ELF_K_ELF)
        return err_set(e, EINVAL,
                       "\"%s\" is no ELF file and has no symbols; name the ELF file it was made "
                       "from",
                       shown);
    if (!gelf_getehdr(m->elf, &eh))
        return err_set(e, EINVAL, "the ELF header of \"%s\" is broken: %s", shown, elf_errmsg(-1));
    if (eh.e_machine != EM_386 && eh.e_machine != EM_X86_64)
        return err_set(e, EINVAL, "\"%s\" is for another processor (ELF machine %u, not x86)",
                       shown, eh.e_machine);
    if (eh.e_type == ET_REL)
        return err_set(e, EINVAL,
                       "\"%s\" is an object file whose addresses are not decided yet; link it "
                       "first",
                       shown);
    return 0;
}

static void find_extent(struct sym_image *m)
{
    size_t n = 0;

    m->low = UINT64_MAX;
    if (elf_getphdrnum(m->elf, &n))
        n = 0;
    for (size_t i = 0; i < n && i < 65536; i++) {
        GElf_Phdr p;

        if (!gelf_getphdr(m->elf, (int)i, &p) || p.p_type != PT_LOAD)
            continue;
        if (p.p_vaddr < m->low)
            m->low = p.p_vaddr;
        if (p.p_memsz <= UINT64_MAX - p.p_vaddr && p.p_vaddr + p.p_memsz > m->high)
            m->high = p.p_vaddr + p.p_memsz;
    }
    if (m->low >= m->high) { /* no program headers: every address may be its */
        m->low = 0;
        m->high = UINT64_MAX;
    }
}

/* elfutils 0.188 reads past the end of a string section that does not end in NUL, so such a file's
 * debug information is not used. */
static bool debug_strings_end(Elf *elf)
{
    size_t names;

    if (elf_getshdrstrndx(elf, &names))
        return false;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL;) {
        GElf_Shdr sh;
        const char *name = gelf_getshdr(scn, &sh) ? elf_strptr(elf, names, sh.sh_name) : NULL;
        Elf_Data *data;

        if (!name || (strcmp(name, ".debug_str") && strcmp(name, ".debug_line_str")))
            continue;
        if ((sh.sh_flags & SHF_COMPRESSED) && elf_compress(scn, 0, 0) < 0)
            return false;
        data = elf_getdata(scn, NULL);
        if (!data || (data->d_size && !data->d_buf) ||
            (data->d_size && ((const char *)data->d_buf)[data->d_size - 1]))
            return false;
    }
    return true;
}

/* Where the symbol's section ends, for symbols without a size. */
static uint64_t section_end(Elf *elf, const GElf_Sym *sym)
{
    Elf_Scn *scn = sym->st_shndx < SHN_LORESERVE ? elf_getscn(elf, sym->st_shndx) : NULL;
    GElf_Shdr sh;

    if (!scn || !gelf_getshdr(scn, &sh) || sh.sh_size > UINT64_MAX - sh.sh_addr ||
        sym->st_value < sh.sh_addr || sym->st_value >= sh.sh_addr + sh.sh_size)
        return sym->st_value == UINT64_MAX ? UINT64_MAX : sym->st_value + 1;
    return sh.sh_addr + sh.sh_size;
}

static uint8_t rank_of(const GElf_Sym *sym, unsigned type)
{
    unsigned bind = GELF_ST_BIND(sym->st_info);

    return (uint8_t)((sym->st_shndx != SHN_ABS) * 32u + (bind == STB_GLOBAL) * 16u +
                     (bind == STB_WEAK) * 8u + (sym->st_size != 0) * 4u + (type == STT_FUNC) * 2u +
                     (type == STT_OBJECT));
}

static bool add_symbol(struct symbols *t, Elf *elf, const GElf_Sym *sym, const char *name,
                       int64_t slide)
{
    unsigned type = GELF_ST_TYPE(sym->st_info);
    struct sym_entry e = {0};
    uint64_t end;

    if (type == STT_GNU_IFUNC)
        type = STT_FUNC;
    if (!name || !name[0] || sym->st_shndx == SHN_UNDEF ||
        (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE))
        return false;
    end = sym->st_size && sym->st_size <= UINT64_MAX - sym->st_value ? sym->st_value + sym->st_size
                                                                     : section_end(elf, sym);
    e.is_absolute = sym->st_shndx == SHN_ABS;
    if (e.is_absolute) /* a number, such as a size: it does not move with the image */
        slide = 0;
    e.s = (struct symbol){.name = sym_safe_name_dup(name),
                          .addr = sym->st_value + (uint64_t)slide,
                          .size = sym->st_size,
                          .is_function = type == STT_FUNC};
    e.end = end + (uint64_t)slide;
    if (e.end < e.s.addr)
        e.end = UINT64_MAX;
    e.rank = rank_of(sym, type);
    sym_append(t, &e);
    return true;
}

static int64_t read_table(struct symbols *t, Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh,
                          int64_t slide)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    size_t entry = gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT), n;
    int64_t added = 0;

    if (!data || !data->d_buf || !entry)
        return 0;
    n = data->d_size / entry;
    for (size_t i = 1; i < n && i <= INT32_MAX; i++) {
        GElf_Sym sym;

        if (!gelf_getsym(data, (int)i, &sym))
            continue;
        added += add_symbol(t, elf, &sym, elf_strptr(elf, sh->sh_link, sym.st_name), slide);
    }
    return added;
}

static int64_t read_symbols(struct symbols *t, Elf *elf, int64_t slide)
{
    int64_t added = 0;

    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL;) {
        GElf_Shdr sh;

        if (gelf_getshdr(scn, &sh) && (sh.sh_type == SHT_SYMTAB || sh.sh_type == SHT_DYNSYM))
            added += read_table(t, elf, scn, &sh, slide);
    }
    return added;
}

int64_t symbols_load(struct symbols *t, const char *path, int64_t slide, struct err *e)
{
    struct sym_image *m = xcalloc(1, sizeof *m);
    size_t before = t->count;
    char shown[200];
    int err;

    m->fd = -1;
    m->slide = slide;
    esc_cut(shown, sizeof shown, path, strlen(path));
    err = open_file(m, path, shown, e);
    if (!err)
        err = open_elf(m, shown, e);
    if (err) {
        sym_image_free(m);
        return err;
    }
    find_extent(m);
    /* Without debug information this is NULL, and lines are unknown. */
    if (debug_strings_end(m->elf))
        m->dwarf = dwarf_begin_elf(m->elf, DWARF_C_READ, NULL);
    if (read_symbols(t, m->elf, slide))
        sym_index(t);
    BUG_ON(pthread_mutex_lock(&t->dwarf_lock) != 0); /* unwinding on other threads */
    m->next = t->images;
    t->images = m;
    BUG_ON(pthread_mutex_unlock(&t->dwarf_lock) != 0);
    return (int64_t)(t->count - before);
}
