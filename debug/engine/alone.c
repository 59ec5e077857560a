/*
 * One vCPU alone in the guest: while it has lifted a planted byte, or changes points, no other may
 * execute. vCPU threads.
 */
#include "debug/engine/engine_int.h"

void engine_alone_pause(struct engine *g)
{
    pthread_mutex_lock(&g->alone);
    g->paused++;
    pthread_cond_broadcast(&g->alone_cond);
    while (g->alone_owner)
        pthread_cond_wait(&g->alone_cond, &g->alone);
    g->paused--;
    pthread_mutex_unlock(&g->alone);
}

static void kick_all(struct engine *g)
{
    for (unsigned i = 0; i < g->vm->cpus; i++)
        vcpu_kick(g->vm->cpu[i]);
}

void engine_alone_begin(struct engine *g, struct vcpu *v)
{
    if (g->vm->cpus == 1)
        return;
    if (g->alone_owner == v) { /* only v itself makes that so */
        g->alone_depth++;
        return;
    }
    pthread_mutex_lock(&g->alone);
    while (g->alone_owner) { /* somebody else is: wait as a paused one */
        g->paused++;
        pthread_cond_broadcast(&g->alone_cond);
        while (g->alone_owner)
            pthread_cond_wait(&g->alone_cond, &g->alone);
        g->paused--;
    }
    g->alone_owner = v;
    atomic_store(&g->alone_wanted, 1);
    kick_all(g);
    while (g->paused + 1 < g->in_body)
        if (!vcpu_wait_a_while(&g->alone_cond, &g->alone))
            kick_all(g);
    pthread_mutex_unlock(&g->alone);
}

void engine_alone_end(struct engine *g)
{
    if (g->vm->cpus == 1)
        return;
    if (g->alone_depth) {
        g->alone_depth--;
        return;
    }
    pthread_mutex_lock(&g->alone);
    g->alone_owner = NULL;
    atomic_store(&g->alone_wanted, 0);
    pthread_cond_broadcast(&g->alone_cond);
    pthread_mutex_unlock(&g->alone);
}

void engine_body_count(struct engine *g, int change)
{
    pthread_mutex_lock(&g->alone);
    while (change > 0 && g->alone_owner)
        pthread_cond_wait(&g->alone_cond, &g->alone);
    g->in_body += (unsigned)change;
    pthread_cond_broadcast(&g->alone_cond);
    pthread_mutex_unlock(&g->alone);
}
