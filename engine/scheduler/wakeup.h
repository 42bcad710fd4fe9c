/* What the scheduler thread sleeps on. Shared by reference count, because a job may be cancelled or
 * read after the engine that ran it has been closed. */
#ifndef WICARA_SCHEDULER_WAKEUP_H
#define WICARA_SCHEDULER_WAKEUP_H

#include <stdbool.h>
#include <stdint.h>

struct wakeup;

struct wakeup *wakeup_create(void);  // one reference; NULL when memory is out
struct wakeup *wakeup_ref(struct wakeup *wakeup);
void wakeup_unref(struct wakeup *wakeup);  // NULL is fine

void wakeup_signal(struct wakeup *wakeup);
/* Returns when there was a signal since the last wait, or at the deadline of clock_ns()
 * (INT64_MAX = none). */
void wakeup_wait(struct wakeup *wakeup, int64_t deadline_ns);

#endif
