/*
 * Escaping of hostile text. Any thread.
 */
#include "vmm/base/esc.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f;
}

void esc_line(struct buf *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++) {
        if (p[i] == '\\')
            buf_adds(out, "\\\\");
        else if (is_plain(p[i]))
            buf_addc(out, (char)p[i]);
        else
            buf_addf(out, "\\x%02x", p[i]);
    }
}

/* Length of a whole, well-formed, printable UTF-8 sequence at `p` (RFC 3629), or 0. */
static size_t utf8_len(const uint8_t *p, size_t len)
{
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    uint32_t cp = p[0] & (0x7fu >> n);

    if (p[0] < 0xc2 || p[0] > 0xf4 || len < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (p[i] & 0x3f);
    }
    if ((n == 3 && cp < 0x800) || (n == 4 && (cp < 0x10000 || cp > 0x10ffff)))
        return 0;
    if (cp < 0xa0 || (cp >= 0xd800 && cp <= 0xdfff))
        return 0; /* C1 controls are terminal commands too */
    if ((cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) ||
        (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff)
        return 0; /* invisible and direction-changing characters can forge what a reader sees */
    return n;
}

void esc_console(struct buf *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++) {
        size_t n;

        if (is_plain(p[i]) || p[i] == '\n' || p[i] == '\t') {
            buf_addc(out, (char)p[i]);
        } else if (p[i] == '\r') {
            if (i + 1 < len && p[i + 1] != '\n')
                buf_addc(out, '\n');
        } else if (p[i] >= 0x80 && (n = utf8_len(p + i, len - i))) {
            buf_add(out, p + i, n);
            i += n - 1;
        } else {
            buf_addf(out, "\\x%02x", p[i]);
        }
    }
}

const char *esc_cut(char *dst, size_t cap, const void *bytes, size_t len)
{
    struct buf b = {0};

    esc_line(&b, bytes, len < cap ? len : cap);
    if (b.len >= cap || len > cap) {
        size_t keep = b.len < cap - 4 ? b.len : cap - 4;

        memcpy(dst, buf_str(&b), keep);
        memcpy(dst + keep, "...", 4);
    } else {
        memcpy(dst, buf_str(&b), b.len + 1);
    }
    buf_fini(&b);
    return dst;
}

void esc_json(struct buf *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        size_t n;

        if (p[i] == '"' || p[i] == '\\')
            buf_addf(out, "\\%c", p[i]);
        else if (is_plain(p[i]))
            buf_addc(out, (char)p[i]);
        else if (p[i] < 0x80)
            buf_addf(out, "\\u%04x", p[i]);
        else if ((n = utf8_len(p + i, len - i))) {
            buf_add(out, p + i, n);
            i += n - 1;
        } else {
            buf_adds(out, "\\ufffd");
        }
    }
    buf_addc(out, '"');
}
