/* A sticky signal; see wakeup.h.
 *
 * The flag keeps a signal that comes while nobody waits, so a producer never has to know whether
 * the scheduler is asleep, and a wake-up between "nothing to do" and "wait" is not lost. */
#include "engine/scheduler/wakeup.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/base/mem.h"

struct wakeup {
    _Atomic uint32_t refs;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool pending; /* guarded by mu */
};

struct wakeup *wakeup_create(void)
{
    struct wakeup *wakeup = mem_calloc(1, sizeof *wakeup);
    if (wakeup == NULL)
        return NULL;
    atomic_init(&wakeup->refs, 1);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&wakeup->mu, NULL);
    pthread_cond_init(&wakeup->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return wakeup;
}

struct wakeup *wakeup_ref(struct wakeup *wakeup)
{
    atomic_fetch_add(&wakeup->refs, 1);
    return wakeup;
}

void wakeup_unref(struct wakeup *wakeup)
{
    if (wakeup == NULL || atomic_fetch_sub(&wakeup->refs, 1) != 1)
        return;
    pthread_cond_destroy(&wakeup->changed);
    pthread_mutex_destroy(&wakeup->mu);
    mem_free(wakeup);
}

void wakeup_signal(struct wakeup *wakeup)
{
    pthread_mutex_lock(&wakeup->mu);
    wakeup->pending = true;
    pthread_cond_signal(&wakeup->changed);
    pthread_mutex_unlock(&wakeup->mu);
}

void wakeup_wait(struct wakeup *wakeup, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};
    pthread_mutex_lock(&wakeup->mu);
    int timed_out = 0;
    while (!wakeup->pending && !timed_out) {
        if (deadline_ns == INT64_MAX)
            pthread_cond_wait(&wakeup->changed, &wakeup->mu);
        else
            timed_out = pthread_cond_timedwait(&wakeup->changed, &wakeup->mu, &until) != 0;
    }
    wakeup->pending = false;
    pthread_mutex_unlock(&wakeup->mu);
}
