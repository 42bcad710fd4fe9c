/* The one thread that owns the model's state: admits, plans, runs the step, samples, makes text.
 * Everything it decides is decided by batch.c; everything it computes is computed by the model. */
#ifndef WICARA_SCHEDULER_SCHEDULER_H
#define WICARA_SCHEDULER_SCHEDULER_H

#include "engine/base/pool.h"
#include "engine/cache/kv_spill.h"
#include "engine/model/model.h"
#include "engine/scheduler/batch.h"
#include "engine/scheduler/job.h"
#include "engine/scheduler/metrics.h"

struct scheduler;

/* Borrowed for the scheduler's life. */
struct scheduler_parts {
    struct model *model;
    struct pool *pool;
    struct kv_cache *cache;
    struct kv_spill *spill;  // where the cache's blocks spill to; NULL = nowhere
    const struct tokenizer *tokenizer;
    struct metrics *metrics;
    struct wakeup *wakeup;
    struct batch_limits limits;
};

enum status scheduler_create(struct scheduler **out, const struct scheduler_parts *parts,
                             struct error *err) MUST_CHECK;
/* After scheduler_run() has returned. NULL is fine. */
void scheduler_free(struct scheduler *scheduler);

/* Takes the engine's reference to a prepared job. Any thread. */
void scheduler_add_take(struct scheduler *scheduler, struct job *job);

/* Runs until scheduler_stop(); then ends all jobs with ERR_SHUTDOWN and returns. The calling thread
 * is worker 0 of the pool. */
void scheduler_run(struct scheduler *scheduler);
void scheduler_stop(struct scheduler *scheduler);  // any thread

#endif
