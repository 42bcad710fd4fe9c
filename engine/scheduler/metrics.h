/* Counters and histograms of one engine, written with relaxed atomics by whoever has the fact. */
#ifndef WICARA_SCHEDULER_METRICS_H
#define WICARA_SCHEDULER_METRICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/histogram.h"

#define METRICS_COUNTERS(X)                                                                        \
    X(prompt_tokens)                                                                               \
    X(generation_tokens)                                                                           \
    X(prefix_queries)                                                                              \
    X(prefix_hits)                                                                                 \
    X(kv_blocks_reloaded)                                                                          \
    X(preemptions)                                                                                 \
    X(steps)                                                                                       \
    X(decode_rows)                                                                                 \
    X(prefill_rows)                                                                                \
    X(decode_steps)                                                                                \
    X(draft_tokens)                                                                                \
    X(draft_tokens_accepted)                                                                       \
    X(forward_us)                                                                                  \
    X(sampling_us)                                                                                 \
    X(delivery_us)                                                                                 \
    X(finished_stop)                                                                               \
    X(finished_length)                                                                             \
    X(finished_cancelled)                                                                          \
    X(finished_error)

#define METRICS_HISTOGRAMS(X)                                                                      \
    X(time_to_first_token_s)                                                                       \
    X(inter_token_s)                                                                               \
    X(e2e_s)                                                                                       \
    X(queue_s)                                                                                     \
    X(prefill_s)                                                                                   \
    X(decode_s)                                                                                    \
    X(step_rows)                                                                                   \
    X(decode_batch)                                                                                \
    X(prompt_length)                                                                               \
    X(generation_length)

struct metrics {
    _Atomic size_t jobs;           // have not sent their last event
    _Atomic size_t jobs_waiting;   // of them, not yet admitted
    _Atomic size_t jobs_decoding;  // of them, past their first token
    _Atomic size_t kv_blocks, kv_blocks_free, kv_blocks_cached;
    /* Of the directory of KV blocks, as the scheduler last saw it. */
    _Atomic uint64_t kv_blocks_spilled, kv_bytes_spilled, kv_bytes_reloaded, kv_blocks_damaged,
        kv_blocks_dropped, kv_dir_bytes;
#define X(name) _Atomic uint64_t name;
    METRICS_COUNTERS(X)
#undef X
#define X(name) struct histogram name;
    METRICS_HISTOGRAMS(X)
#undef X
};

void metrics_init(struct metrics *metrics);

static inline void metrics_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
