/*
 * Small boot images, built byte by byte, for the loaders' tests. All of them are valid; tests break
 * them with img_put and img_seal.
 */
#ifndef TESTS_UNIT_IMAGES_H
#define TESTS_UNIT_IMAGES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/le.h"

struct img {
    uint8_t b[0x8000];
    size_t n;
    size_t sum_at, sum_fields; /* Multiboot header, its checksum is the last of these fields */
};

#define IMG_DATA   0x1000u /* file offset of segment 0 */
#define IMG_HEADER 0x800u  /* file offset of Multiboot headers */
#define IMG_SHDRS  0x2000u

static inline void img_put(struct img *i, size_t off, unsigned size, uint64_t v)
{
    if (off + size > sizeof i->b)
        abort();
    le_store(i->b + off, size, v);
    if (off + size > i->n)
        i->n = off + size;
}

static inline void img_bytes(struct img *i, size_t off, const void *p, size_t n)
{
    for (size_t k = 0; k < n; k++)
        img_put(i, off + k, 1, ((const uint8_t *)p)[k]);
}

/* Makes the Multiboot checksum right again. */
static inline void img_seal(struct img *i)
{
    uint32_t sum = 0;

    if (!i->sum_fields)
        return;
    for (size_t k = 0; k + 1 < i->sum_fields; k++)
        sum += (uint32_t)le_load(i->b + i->sum_at + 4 * k, 4);
    img_put(i, i->sum_at + 4 * (i->sum_fields - 1), 4, (uint32_t)-sum);
}

static inline void img_segment64(struct img *i, unsigned nr, uint32_t type, uint64_t off,
                                 uint64_t vaddr, uint64_t paddr, uint64_t filesz, uint64_t memsz)
{
    size_t at = 64 + 56 * (size_t)nr;

    img_put(i, at, 4, type);
    img_put(i, at + 4, 4, 7);
    img_put(i, at + 8, 8, off);
    img_put(i, at + 16, 8, vaddr);
    img_put(i, at + 24, 8, paddr);
    img_put(i, at + 32, 8, filesz);
    img_put(i, at + 40, 8, memsz);
    img_put(i, at + 48, 8, 0x1000);
    img_put(i, 56, 2, nr + 1u);
}

static inline void img_segment32(struct img *i, unsigned nr, uint32_t type, uint32_t off,
                                 uint32_t vaddr, uint32_t paddr, uint32_t filesz, uint32_t memsz)
{
    const uint32_t f[] = {type, off, vaddr, paddr, filesz, memsz, 7, 0x1000};

    for (size_t k = 0; k < 8; k++)
        img_put(i, 52 + 32 * (size_t)nr + 4 * k, 4, f[k]);
    img_put(i, 44, 2, nr + 1u);
}

static inline void img_data(struct img *i)
{
    img_bytes(i, IMG_DATA, "ABCDEFGHIJKLMNOP", 16);
    img_bytes(i, IMG_DATA + 16, "12345678", 8);
}

/* Linked at -2 GiB + 1 MiB, loaded at 1 MiB; entry 0x100004. */
static inline void img_elf64(struct img *i)
{
    *i = (struct img){0};
    img_bytes(i, 0,
              "\x7f"
              "ELF\2\1\1",
              7);
    img_put(i, 16, 2, 2);
    img_put(i, 18, 2, 62);
    img_put(i, 20, 4, 1);
    img_put(i, 24, 8, 0xffffffff80100004);
    img_put(i, 32, 8, 64);
    img_put(i, 52, 2, 64);
    img_put(i, 54, 2, 56);
    img_segment64(i, 0, 1, IMG_DATA, 0xffffffff80100000, 0x100000, 16, 0x2000);
    img_segment64(i, 1, 1, IMG_DATA + 16, 0xffffffff80102000, 0x102000, 8, 8);
    img_data(i);
}

/* Linked at 3 GiB + 1 MiB, loaded at 1 MiB; entry 0x100004. */
static inline void img_elf32(struct img *i)
{
    *i = (struct img){0};
    img_bytes(i, 0,
              "\x7f"
              "ELF\1\1\1",
              7);
    img_put(i, 16, 2, 2);
    img_put(i, 18, 2, 3);
    img_put(i, 20, 4, 1);
    img_put(i, 24, 4, 0xc0100004);
    img_put(i, 28, 4, 52);
    img_put(i, 40, 2, 52);
    img_put(i, 42, 2, 32);
    img_segment32(i, 0, 1, IMG_DATA, 0xc0100000, 0x100000, 16, 0x2000);
    img_segment32(i, 1, 1, IMG_DATA + 16, 0xc0102000, 0x102000, 8, 8);
    img_data(i);
}

/* Null, .text, .symtab (16 bytes at 0x1800) and .shstrtab (8 bytes at 0x1810). */
static inline void img_sections(struct img *i, unsigned bits)
{
    static const struct {
        uint32_t type;
        uint64_t addr, off, size, align;
    } s[] = {{0, 0, 0, 0, 0},
             {1, 0x100000, IMG_DATA, 16, 16},
             {2, 0, 0x1800, 16, 8},
             {3, 0, 0x1810, 8, 1}};
    unsigned w = bits / 8, len = bits == 64 ? 64 : 40;

    img_bytes(i, 0x1800, "symbols-symbols.", 16);
    img_bytes(i, 0x1810, "strings.", 8);
    for (unsigned k = 0; k < 4; k++) {
        size_t at = IMG_SHDRS + len * k;

        img_put(i, at + 4, 4, s[k].type);
        img_put(i, at + 8 + w, w, s[k].addr);
        img_put(i, at + 8 + 2 * w, w, s[k].off);
        img_put(i, at + 8 + 3 * w, w, s[k].size);
        img_put(i, at + 16 + 4 * w, w, s[k].align);
        img_put(i, at + len - 1, 1, 0);
    }
    img_put(i, bits == 64 ? 40 : 32, w, IMG_SHDRS);
    img_put(i, bits == 64 ? 58 : 46, 2, len);
    img_put(i, bits == 64 ? 60 : 48, 2, 4);
    img_put(i, bits == 64 ? 62 : 50, 2, 3);
}

static inline void img_header1(struct img *i, size_t at, uint32_t flags)
{
    img_put(i, at, 4, 0x1badb002);
    img_put(i, at + 4, 4, flags);
    i->sum_at = at;
    i->sum_fields = 3;
    img_seal(i);
}

static inline void img_mb1_elf32(struct img *i)
{
    img_elf32(i);
    img_sections(i, 32);
    img_header1(i, IMG_HEADER, 3);
}

static inline void img_mb1_elf64(struct img *i)
{
    img_elf64(i);
    img_sections(i, 64);
    img_header1(i, IMG_HEADER, 3);
}

/* 0x100 bytes of a raw file from 0x10 on, at 0x200000; entry 0x200040, bss to 0x201000. */
static inline void img_mb1_raw(struct img *i)
{
    const uint32_t f[] = {0x200010, 0x200000, 0x200100, 0x201000, 0x200040};

    *i = (struct img){0};
    img_header1(i, 0x20, 0x10003);
    for (size_t k = 0; k < 5; k++)
        img_put(i, 0x20 + 12 + 4 * k, 4, f[k]);
    img_bytes(i, 0x10, "first", 5);
    img_bytes(i, 0x50, "entry", 5);
    img_put(i, 0x1ff, 1, 0);
}

static inline void img_header2(struct img *i, size_t at)
{
    img_put(i, at, 4, 0xe85250d6);
    img_put(i, at + 4, 4, 0);
    img_put(i, at + 8, 4, 16);
    i->sum_at = at;
    i->sum_fields = 4;
    img_seal(i);
}

/* Appends a tag (type, flags, payload of 32-bit words) and makes header_length fit. */
static inline void img_tag(struct img *i, unsigned type, unsigned flags, const uint32_t *words,
                           size_t n)
{
    size_t len = (size_t)le_load(i->b + i->sum_at + 8, 4), at = i->sum_at + len;

    img_put(i, at, 2, type);
    img_put(i, at + 2, 2, flags);
    img_put(i, at + 4, 4, 8 + 4 * n);
    for (size_t k = 0; k < n; k++)
        img_put(i, at + 8 + 4 * k, 4, words[k]);
    img_put(i, i->sum_at + 8, 4, len + ((8 + 4 * n + 7) & ~(size_t)7));
    img_seal(i);
}

static inline void img_mb2_elf64(struct img *i)
{
    img_elf64(i);
    img_sections(i, 64);
    img_header2(i, IMG_HEADER);
    img_tag(i, 0, 0, NULL, 0);
}

static inline void img_mb2_elf32(struct img *i)
{
    img_elf32(i);
    img_sections(i, 32);
    img_header2(i, IMG_HEADER);
    img_tag(i, 0, 0, NULL, 0);
}

/* The whole file at 0x200000, bss to 0x201000, entry 0x200100; also a relocatable tag that its
 * address satisfies. Tags: address at 0x10, entry at 0x28, relocatable at 0x38, end at 0x50. */
static inline void img_mb2_raw(struct img *i)
{
    *i = (struct img){0};
    img_header2(i, 0);
    img_tag(i, 2, 0, (const uint32_t[]){0x200000, 0x200000, 0, 0x201000}, 4);
    img_tag(i, 3, 0, (const uint32_t[]){0x200100}, 1);
    img_tag(i, 10, 0, (const uint32_t[]){0x100000, 0x3fffff, 0x1000, 1}, 4);
    img_tag(i, 0, 0, NULL, 0);
    img_bytes(i, 0x100, "entry", 5);
}

/* ELF64 with a Xen note in a third segment at 0x1400; the note's entry is 0x100008. */
static inline void img_pvh(struct img *i)
{
    img_elf64(i);
    img_segment64(i, 2, 4, 0x1400, 0, 0, 44, 44);
    img_put(i, 0x1400, 4, 4); /* some other note first */
    img_put(i, 0x1404, 4, 4);
    img_put(i, 0x1408, 4, 1);
    img_bytes(i, 0x140c, "GNU", 4);
    img_put(i, 0x1410, 4, 0);
    img_put(i, 0x1414, 4, 4);
    img_put(i, 0x1418, 4, 8);
    img_put(i, 0x141c, 4, 18);
    img_bytes(i, 0x1420, "Xen", 4);
    img_put(i, 0x1424, 8, 0x100008);
}

/* Protocol 2.12, one setup sector, a kernel of 0x400 bytes, relocatable, 64-bit entry. */
static inline void img_linux(struct img *i)
{
    *i = (struct img){0};
    img_put(i, 0x1f1, 1, 1);
    img_put(i, 0x1f4, 4, 0x400 / 16);
    img_put(i, 0x1fe, 2, 0xaa55);
    img_put(i, 0x200, 2, 0x66eb);
    img_put(i, 0x202, 4, 0x53726448);
    img_put(i, 0x206, 2, 0x20c);
    img_put(i, 0x211, 1, 1);
    img_put(i, 0x214, 4, 0x100000);
    img_put(i, 0x22c, 4, 0x2fffff);
    img_put(i, 0x230, 4, 0x10000);
    img_put(i, 0x234, 1, 1);
    img_put(i, 0x236, 2, 1);
    img_put(i, 0x238, 4, 255);
    img_put(i, 0x250, 8, 0x1234);
    img_put(i, 0x258, 8, 0x100000);
    img_put(i, 0x260, 4, 0x8000);
    img_bytes(i, 0x400, "start32", 7);
    img_bytes(i, 0x600, "start64", 7);
    img_put(i, 0x7ff, 1, 0x99);
}

static inline void img_linux32(struct img *i)
{
    img_linux(i);
    img_put(i, 0x206, 2, 0x206);
    img_put(i, 0x236, 2, 0);
}

static inline void img_sector(struct img *i)
{
    *i = (struct img){0};
    img_bytes(i, 0, "\xf4\xeb\xfd", 3);
    img_put(i, 510, 2, 0xaa55);
}

#endif
