/*
 * Optimal string alignment over three rows. Any thread.
 */
#include "vmm/base/near.h"

#include <string.h>

#define CUT 40u

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned near_distance(const char *a, const char *b)
{
    unsigned row[3][CUT + 1];
    unsigned la = (unsigned)strnlen(a, CUT), lb = (unsigned)strnlen(b, CUT);

    for (unsigned j = 0; j <= lb; j++)
        row[0][j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned d = last[j - 1] + (a[i - 1] != b[j - 1]);

            d = least(d, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = least(d, before[j - 2] + 1);
            now[j] = d;
        }
    }
    return row[la % 3][lb];
}

void near_offer(struct near *n, const char *name)
{
    size_t len = strnlen(n->word, CUT);
    unsigned d = near_distance(n->word, name);
    /* A third of the letters may differ; a known name that only continues the word is near. */
    unsigned limit = len < 3 ? 1 : len < 9 ? 2 : 3;

    if (len >= 3 && !strncmp(n->word, name, len))
        d = 1;
    if (d <= limit && d < len && (!n->best || d < n->distance)) {
        n->best = name;
        n->distance = d;
    }
}
