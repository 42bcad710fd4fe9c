/* Per-key quotas; see limits.h. Counters only: a request takes one on its way in and gives it back
 * when its exchange is released, whatever happened in between. Without keys there is one counter,
 * for everybody. */
#include "server/limits.h"

#include "engine/base/mem.h"

enum status key_limits_init(struct key_limits *limits, size_t n_keys, size_t jobs_max,
                            struct error *err)
{
    limits->n_keys = n_keys > 0 ? n_keys : 1;
    limits->jobs_max = jobs_max;
    limits->jobs = mem_calloc(limits->n_keys, sizeof *limits->jobs);
    return limits->jobs ? OK : error_set(err, ERR_MEMORY, "no memory for the limits");
}

void key_limits_release(struct key_limits *limits)
{
    mem_free(limits->jobs);
    limits->jobs = NULL;
}

bool key_limits_enter(struct key_limits *limits, int key)
{
    if ((size_t)key >= limits->n_keys)
        return false;
    size_t before = atomic_fetch_add(&limits->jobs[key], 1);
    if (limits->jobs_max == 0 || before < limits->jobs_max)
        return true;
    atomic_fetch_sub(&limits->jobs[key], 1);
    return false;
}

void key_limits_leave(struct key_limits *limits, int key)
{
    atomic_fetch_sub(&limits->jobs[key], 1);
}
