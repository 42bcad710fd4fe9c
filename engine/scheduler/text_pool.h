/* The few threads that turn requests into prompt tokens, so that neither an HTTP thread nor the
 * scheduler thread ever renders or tokenizes. */
#ifndef WICARA_SCHEDULER_TEXT_POOL_H
#define WICARA_SCHEDULER_TEXT_POOL_H

#include "engine/scheduler/metrics.h"
#include "engine/scheduler/prepare.h"

enum { TEXT_POOL_THREADS = 2 };

struct scheduler;
struct text_pool;

/* Prepared jobs go to `scheduler`. Errors: ERR_MEMORY, ERR_BUSY when the system refuses a
 * thread. */
enum status text_pool_create(struct text_pool **out, const struct prepare *prepare,
                             struct scheduler *scheduler, struct metrics *metrics,
                             struct error *err) MUST_CHECK;
/* Ends what waits with ERR_SHUTDOWN and joins the threads. */
void text_pool_free(struct text_pool *pool);
/* Takes the engine's reference to the job. */
void text_pool_add_take(struct text_pool *pool, struct job *job);

#endif
