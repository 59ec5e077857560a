/*
 * Bytes of a control client, without a guest: fed whole and in pieces they get the same answers,
 * and every answer is a line of JSON. Requests are checked against the table of methods up to the
 * point where a guest would be needed.
 */
#include <stdint.h>
#include <string.h>

#include "debug/control/rpc.h"
#include "vmm/base/x.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answers(const uint8_t *data, size_t size, size_t piece, struct buf *out)
{
    struct control c = {.listen_fd = -1, .later_fd = -1, .timer_fd = -1};
    struct client cl = {.c = &c, .fd = -1};

    for (size_t at = 0; at < size; at += piece)
        client_feed(&cl, data + at, size - at < piece ? size - at : piece);
    cl.eof = true;
    client_feed(&cl, "", 0);
    buf_add(out, buf_str(&cl.out), cl.out.len);
    client_fini(&cl);
}

static void check_lines(const struct buf *b)
{
    for (const char *p = buf_str(b), *end; *p; p = end + 1) {
        json_t *line;

        end = strchr(p, '\n');
        BUG_ON(!end);
        line = json_loadb(p, (size_t)(end - p), 0, NULL);
        BUG_ON(!line || !json_object_get(line, "error"));
        json_decref(line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, bytes = {0};

    if (size > 100000)
        return 0;
    answers(data, size, size ? size : 1, &whole);
    answers(data, size, 3, &bytes);
    BUG_ON(whole.len != bytes.len || memcmp(buf_str(&whole), buf_str(&bytes), whole.len));
    check_lines(&whole);
    buf_fini(&whole);
    buf_fini(&bytes);
    return 0;
}
