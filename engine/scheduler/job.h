/* One request on its way through the engine: a copy of what was asked, its events, and the state
 * that the text pool and then the scheduler thread keep for it.
 *
 * Two references: the submitter's (job_release) and the engine's. Every field has one owner at a
 * time: the text pool until the job is handed over, then the scheduler thread; what the consumer
 * touches meanwhile is the event queue and the two atomics. */
#ifndef WICARA_SCHEDULER_JOB_H
#define WICARA_SCHEDULER_JOB_H

#include <stdatomic.h>

#include "engine/base/mem.h"
#include "engine/engine.h"
#include "engine/grammar/grammar.h"
#include "engine/scheduler/event_queue.h"
#include "engine/scheduler/output.h"
#include "engine/scheduler/speculate.h"
#include "engine/scheduler/wakeup.h"
#include "engine/tokenizer/tokenizer.h"

struct sequence;

/* What the scheduler keeps for each choice of a running job. */
struct job_choice {
    struct sequence *sequence;
    struct sampler *sampler;
    struct matcher *matcher;  // NULL = the answer is free
    struct output output;
    int32_t *tokens;  // [n_prompt + max_tokens] prompt, then what was generated
    size_t n_tokens;
    struct speculator *speculator;         // NULL = no guessing
    int32_t drafts[SPECULATE_TOKENS_MAX];  // guessed for the next step
    bool ended;
    bool has_stop_token;  // stop_token ended it
    int32_t stop_token;
    int64_t last_token_ns;
    size_t n_forced;  // tokens of job.stop_thinking that were given
};

struct job {
    _Atomic uint32_t refs;
    _Atomic bool cancelled;
    _Atomic int phase;  // enum job_phase
    struct event_queue events;
    struct wakeup *wakeup;  // of the scheduler that runs it

    struct job *next;            // in the list of its present owner
    struct job_request request;  // pointers lead into the arena
    size_t *stop_bytes;          // [n_stops]
    struct arena arena;
    struct token_list prompt;         // filled by the text pool
    size_t max_tokens;                // resolved by the text pool
    struct grammar *grammar;          // likewise, NULL = the answer is free
    struct sampling_params sampling;  // likewise; `history` is set for each choice
    uint64_t seed;
    /* CHAT: how the reply is read; filled by the text pool, no format name = as plain text. */
    struct reply_format reply_format;
    struct reply_tools *reply_tools;
    bool is_thinking;                 // the prompt ends inside a thought
    struct token_list stop_thinking;  // with a budget: what ends a thought

    struct job_choice choices[ENGINE_CHOICES_MAX];
    size_t n_live;  // choices that have not ended
    bool is_paused;
    int64_t paused_ns;  // since when
    size_t n_scored;    // prompt tokens whose log-probabilities are out (the first has none)
    bool is_waiting;    // counted in metrics.jobs_waiting
    bool has_matched;   // cached_tokens is known
    size_t cached_tokens;
    size_t completion_tokens, reasoning_tokens;
    int64_t submitted_ns, admitted_ns, first_token_ns;
};

/* Copies the request. One reference each for the submitter and for the engine. */
enum status job_create(struct job **out, const struct job_request *request, struct wakeup *wakeup,
                       struct error *err) MUST_CHECK;
void job_unref(struct job *job);

static inline bool job_is_cancelled(const struct job *job)
{
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed);
}

#endif
