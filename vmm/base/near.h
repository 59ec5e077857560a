/*
 * "Did you mean": the known name nearest to a mistyped one. Plain data, any thread.
 */
#ifndef VMM_BASE_NEAR_H
#define VMM_BASE_NEAR_H

/* Insertions, deletions, replacements and swaps of neighbours between two words; words are cut at
 * 40 bytes. */
unsigned near_distance(const char *a, const char *b);

/* Set `word`, offer every known name, then read `best`: NULL when none is near enough to be
 * worth naming. Names are borrowed. */
struct near {
    const char *word;
    const char *best;
    unsigned distance;
};
/* One known name; of equally near ones the first offered stays. */
void near_offer(struct near *n, const char *name);

#endif
