/* The scheduler's state, shared by scheduler.c (who runs), step.c (the step) and deliver.c (what
 * the consumer gets). Private to them. */
#ifndef WICARA_SCHEDULER_SCHEDULER_STATE_H
#define WICARA_SCHEDULER_SCHEDULER_STATE_H

#include <pthread.h>

#include "engine/sampling/logprobs.h"
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

/* A row of the step whose logits say how probable the prompt's next token was. */
struct score {
    int32_t item;   // of the plan
    int32_t token;  // the next one
    size_t n_top;
    bool is_bad;  // the row holds no numbers
    struct sample sample;
};

/* Jobs that wait for KV to be read back, in order of admission; the first one's is under way. */
struct reload {
    int32_t slots[BATCH_JOBS_MAX];
    size_t n_slots;
    bool is_active;
    bool is_stalled;              // no answer for too long: nothing is asked until there is one
    uint64_t ticket;              // of the one under way; older answers are nobody's
    struct stored_block *blocks;  // that it asks for
    size_t n_blocks, n_asked, n_answered;
    int64_t progress_ns;  // when it began, or was last answered
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
    struct reload reload;

    struct step_row *rows;  // [limits: sequences_max + prefill_rows_max + draft_rows_max]
    const struct sequence *sequences[BATCH_SEQUENCES_MAX];
    float *logits;  // [sequences_max + draft_rows_max, n_vocab]
    size_t logits_bytes;
    struct draw *draws;    // [sequences_max]
    struct score *scores;  // [rows], in row order; n_scores in this step
    size_t n_scores;
    rank_key *score_keys;       // [rows of logits, TOP_LOGPROBS_MAX] scratch of a tile
    const float *score_logits;  // the tile's, n_vocab each
    size_t score_first;

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

/* scheduler.c: the job's sequence starts with what the prefix cache has. */
void scheduler_match_prefix(struct scheduler *s, int32_t slot);
/* The choice that computes the prompt, and how many of its tokens the prefix cache may serve. */
struct job_choice *scheduler_leader(const struct job *job, size_t *n_known);

/* reload.c: KV that has spilled. */
/* True when an admitted job has KV to wait for; scheduler_match_prefix() follows by itself. */
bool scheduler_reload_begin(struct scheduler *s, int32_t slot);
/* Takes what was read and asks for more. True when there is more to take at once; else *deadline_ns
 * may become earlier. */
bool scheduler_reload_go_on(struct scheduler *s, int64_t *deadline_ns);
void scheduler_reload_forget(struct scheduler *s, int32_t slot);  // the job waits no longer

/* step_scores.c: log-probabilities of prompts. */
bool scheduler_scores_row(struct scheduler *s, const struct batch_item *item, int32_t i_item,
                          int32_t position);
void scheduler_score_tile(void *context, size_t first, size_t n, const float *logits);
void scheduler_send_scores(struct scheduler *s);

/* deliver.c */
void scheduler_fill_token(struct scheduler *s, const struct sample *sample, size_t i);
bool scheduler_room_for_event(struct scheduler *s, size_t n_tokens);
void scheduler_pause_if_full(struct scheduler *s, int32_t slot);
void scheduler_deliver(struct scheduler *s, struct draw *draw);
/* The job ends with EVENT_FAILED (REJECTED is past); its slot is free afterwards. */
void scheduler_fail_job(struct scheduler *s, size_t slot, const struct error *err);
void scheduler_cancel_job(struct scheduler *s, size_t slot);
void scheduler_release_choice(struct job_choice *choice);

#endif
