/* The events of one job, from the thread that makes them to the consumer that takes them.
 *
 * Bounded by consent: the producer asks event_queue_is_full() and pauses the job; what one more
 * step adds on top is bounded too. Untaken deltas of one kind of a choice are joined to one event,
 * so a slow reader gets fewer, larger events. The last event never fails for want of memory. */
#ifndef WICARA_SCHEDULER_EVENT_QUEUE_H
#define WICARA_SCHEDULER_EVENT_QUEUE_H

#include <pthread.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

enum { EVENT_QUEUE_EVENTS_MAX = 256, EVENT_QUEUE_BYTES_MAX = 64 * 1024 };

struct event_node;

struct event_queue {
    pthread_mutex_t mu;
    pthread_cond_t notified;
    struct event_node *head;   /* guarded by mu; untaken events, oldest first */
    struct event_node *tail;   /* guarded by mu */
    size_t n_events, n_bytes;  /* guarded by mu; of the untaken ones */
    bool closed;               /* guarded by mu; nothing goes in or out any more */
    bool ended;                /* guarded by mu; the last event is in */
    bool notifying;            /* guarded by mu; on_ready is being called */
    bool announced;            /* guarded by mu; lazy: on_ready was called for what is there */
    struct event_node *spare;  /* guarded by mu; a taken one, to be used again */
    struct event_node *taken;  // the consumer's; valid until its next call
    struct event_node *last;   // kept for the last event
    bool lazy;                 // on_ready is not called for the parts of an answer (engine.h)
    void (*on_ready)(void *user);
    void *user;
};

enum status event_queue_init(struct event_queue *queue, void (*on_ready)(void *user), void *user,
                             struct error *err) MUST_CHECK;
void event_queue_release(struct event_queue *queue);

/* Producer: one thread at a time. Text, tokens and their bytes are copied; `stop` is borrowed for
 * the queue's lifetime. Events into a closed or ended queue vanish. */
enum status event_queue_push(struct event_queue *queue, const struct job_event *event,
                             struct error *err) MUST_CHECK;
/* The last event; only the fields of REJECTED, FAILED and DONE. Cannot fail. */
void event_queue_push_last(struct event_queue *queue, const struct job_event *event);
bool event_queue_is_full(struct event_queue *queue);
bool event_queue_is_drained(struct event_queue *queue);  // well below full again

/* Consumer. *drained is set when a full queue may have become one that takes more. */
bool event_queue_next(struct event_queue *queue, const struct job_event **out, bool *drained);
/* Drops what is there and all that comes. */
void event_queue_close(struct event_queue *queue);
/* Waits for an on_ready call under way; none begins after event_queue_close(). */
void event_queue_wait_notified(struct event_queue *queue);

#endif
