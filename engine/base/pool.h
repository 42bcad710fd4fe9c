/* Compute workers: a fixed set of threads that run one function over a range of items.
 *
 * pool_run() is a fork and a join. The caller is worker 0; workers spin shortly for the next task
 * and then sleep, so that a step of a hundred small tasks costs no system calls and an idle server
 * costs nothing. Items are dealt out in contiguous slices: a static share each, taken in pieces
 * that shrink to `grain`, then stealing. The function must give the same result however the range
 * is cut. */
#ifndef WICARA_BASE_POOL_H
#define WICARA_BASE_POOL_H

#include <stddef.h>

#include "engine/base/error.h"

enum { POOL_THREADS_MAX = 256 };

struct pool;

/* Items [first, last) of the task; worker is 0..n_threads-1, for scratch of its own. */
typedef void pool_fn(void *context, size_t first, size_t last, size_t worker);

/* n_threads counts the caller. Errors: ERR_INVALID out of 1..POOL_THREADS_MAX, ERR_MEMORY,
 * ERR_BUSY when the system refuses a thread. */
enum status pool_create(struct pool **out, size_t n_threads, struct error *err) MUST_CHECK;
void pool_free(struct pool *pool);
size_t pool_threads(const struct pool *pool);

/* Runs fn over [0, n_items) and returns when all is done. Only one thread may call it at a time.
 * grain >= 1: the smallest slice worth handing out. */
void pool_run(struct pool *pool, size_t n_items, size_t grain, pool_fn *fn, void *context);

/* Cores that this process may use: affinity mask and cgroup quota, at least 1. */
size_t pool_cores_available(void);

#endif
