/* From a request to prompt tokens: render, tokenize, and every check that depends on the text or
 * the model. After it every 4xx is decided. */
#ifndef WICARA_SCHEDULER_PREPARE_H
#define WICARA_SCHEDULER_PREPARE_H

#include "engine/grammar/cache.h"
#include "engine/scheduler/batch.h"
#include "engine/scheduler/job.h"
#include "engine/template/chat_prompt.h"
#include "engine/template/reply.h"

/* Immutable facts about the model; used by several threads at once. */
struct prepare {
    const struct tokenizer *tokenizer;
    const struct chat_prompt *chat_prompt;  // NULL: there is none, template_error says why
    struct error template_error;
    struct reply_format reply_format;  // of the template, resolved; no name = replies are plain
    size_t n_vocab;                    // logits of the model
    size_t ctx_size;                   // tokens of one sequence
    struct batch_limits limits;
    struct grammar_cache *grammars;
};

/* True for the kinds that the scheduler runs (CHAT, COMPLETION). */
static inline bool job_generates(const struct job *job)
{
    return job->request.kind == JOB_CHAT || job->request.kind == JOB_COMPLETION;
}

/* Fills prompt and max_tokens of a generating job and pushes EVENT_PREPARED; answers the other
 * kinds in full. On an error the caller rejects the job. Errors: ERR_INVALID and ERR_CONTEXT with
 * `param`, ERR_UNSUPPORTED, ERR_LIMIT, ERR_MEMORY, ERR_CANCELLED. */
enum status prepare_job(const struct prepare *prepare, struct job *job,
                        struct error *err) MUST_CHECK;

#endif
