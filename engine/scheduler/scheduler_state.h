/* The scheduler's state, shared by scheduler.c (who runs), step.c (the step) and deliver.c (what
 * the consumer gets). Private to them. */
#ifndef WICARA_SCHEDULER_SCHEDULER_STATE_H
#define WICARA_SCHEDULER_SCHEDULER_STATE_H

#include <pthread.h>

#include "engine/sampling/sampler.h"
#include "engine/scheduler/scheduler.h"

/* What one choice draws in a step: a token, and one more behind each guess that was right. */
struct draw {
    int32_t slot;
    uint32_t choice;
    struct job *job;
    float *logits;    // [1 + n_drafts, n_vocab], this draw's own
    size_t n_drafts;  // rows of guessed tokens, job->choices[choice].drafts
    struct sample samples[1 + SPECULATE_TOKENS_MAX];
    size_t n_samples;    // of them, drawn; the ones but the last were guessed
    enum status status;  // of the draw behind them
    struct error err;
};

struct scheduler {
    struct scheduler_parts parts;
    size_t n_vocab;
    _Atomic bool is_stopping;
    pthread_mutex_t mu;
    struct job *inbox_head, *inbox_tail; /* guarded by mu */

    struct job *slots[BATCH_JOBS_MAX];  // by the planner's slot; NULL = free
    size_t n_slots;                     // slots [n_slots, MAX) were never used
    struct batch batch;
    struct batch_plan plan;

    struct step_row *rows;  // [limits: sequences_max + prefill_rows_max + draft_rows_max]
    const struct sequence *sequences[BATCH_SEQUENCES_MAX];
    float *logits;  // [sequences_max + draft_rows_max, n_vocab]
    size_t logits_bytes;
    struct draw *draws;  // [sequences_max]

    struct job_token *event_tokens;     // [n_event_tokens_max]
    struct job_alternative *event_top;  // [n_event_tokens_max * ENGINE_TOP_LOGPROBS_MAX]
    size_t n_event_tokens_max;
};

static inline void scheduler_apply(struct scheduler *s, struct batch_event event)
{
    batch_apply(&s->batch, &event);
}

/* step.c: plans and runs one step; false when there was nothing to run. */
bool scheduler_step(struct scheduler *s);

/* deliver.c */
void scheduler_deliver(struct scheduler *s, struct draw *draw);
/* The job ends with EVENT_FAILED (REJECTED is past); its slot is free afterwards. */
void scheduler_fail_job(struct scheduler *s, size_t slot, const struct error *err);
void scheduler_cancel_job(struct scheduler *s, size_t slot);
void scheduler_release_choice(struct job_choice *choice);

#endif
