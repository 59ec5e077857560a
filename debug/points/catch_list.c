/*
 * The list of enabled catchpoints and what they ask for, summed up. Changed as points.h says.
 */
#include <string.h>

#include "debug/points/points_int.h"
#include "vmm/base/x.h"

/* Where no byte leaves the guest its handlers cannot be watched either. */
static bool catches_by_steps(const struct points *p)
{
    return method_of(&p->vm->methods, MF_CATCH, PM_LONG0) == METHOD_STEPPING;
}

static void catch_sums(struct points *p)
{
    p->catch_vectors = 0;
    p->catch_steps = p->catch_texts = p->catch_cpuids = 0;
    for (unsigned i = 0; i < p->catches; i++) {
        const struct point_spec *spec = &p->catch_bp[i]->pub.spec;

        if (spec->catch_what == CATCH_EXCEPTION)
            p->catch_vectors |= spec->catch_vector < 0 ? UINT32_MAX : 1u << spec->catch_vector;
        p->catch_steps += spec->catch_what == CATCH_MODE || spec->catch_what == CATCH_CR3 ||
                          spec->catch_what == CATCH_CPUID;
        p->catch_steps += spec->catch_what == CATCH_EXCEPTION && catches_by_steps(p);
        p->catch_cpuids += spec->catch_what == CATCH_CPUID;
        p->catch_texts += spec->catch_what == CATCH_CONSOLE;
    }
}

void catch_add(struct points *p, struct bp *b)
{
    if (p->catches == p->catch_cap) {
        p->catch_cap = p->catch_cap ? p->catch_cap * 2 : 16;
        p->catch_bp = xrealloc(p->catch_bp, p->catch_cap, sizeof(struct bp *));
    }
    p->catch_bp[p->catches++] = b;
    catch_sums(p);
}

void catch_del(struct points *p, const struct bp *b)
{
    unsigned i = 0;

    while (p->catch_bp[i] != b)
        i++;
    memmove(&p->catch_bp[i], &p->catch_bp[i + 1], (p->catches - i - 1) * sizeof(struct bp *));
    p->catches--;
    catch_sums(p);
}

const char *catch_method(const struct points *p, const struct point_spec *spec)
{
    switch (spec->catch_what) {
    case CATCH_EXCEPTION:
        return catches_by_steps(p) ? "single steps" : "break at the guest's handler";
    case CATCH_MODE:
    case CATCH_CR3:
    case CATCH_CPUID:
        return "single steps";
    case CATCH_CONSOLE:
        return "console output";
    default:
        return "exit";
    }
}
