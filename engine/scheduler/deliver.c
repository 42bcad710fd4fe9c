/* What the consumer gets: a drawn token becomes text, events and, in the end, usage; and the ways
 * in which a job ends.
 *
 * A choice ends by an end-of-generation token (which is counted but has no text), by a stop string
 * or token, by the one tool call that was asked for, or by its length; the others win over the
 * last. A job ends with DONE after its last choice, with FAILED on an error, and silently when it
 * was cancelled: its queue is closed by then. */
#include <assert.h>

#include "engine/base/clock.h"
#include "engine/cache/sequence.h"
#include "engine/scheduler/scheduler_state.h"

/* ---- ends ---- */

void scheduler_release_choice(struct job_choice *choice)
{
    sequence_free(choice->sequence);
    sampler_free(choice->sampler);
    speculator_free(choice->speculator);
    matcher_free(choice->matcher);
    output_release(&choice->output);
    mem_free(choice->tokens);
    choice->sequence = NULL;
    choice->sampler = NULL;
    choice->speculator = NULL;
    choice->matcher = NULL;
    choice->tokens = NULL;
}

/* The planner's slot is free already. */
static void end_job(struct scheduler *s, size_t slot)
{
    struct job *job = s->slots[slot];
    scheduler_reload_forget(s, (int32_t)slot);
    s->slots[slot] = NULL;
    for (size_t c = 0; c < ENGINE_CHOICES_MAX; c++)
        scheduler_release_choice(&job->choices[c]);
    if (job->is_waiting)
        atomic_fetch_sub(&s->parts.metrics->jobs_waiting, 1);
    atomic_fetch_sub(&s->parts.metrics->jobs, 1);
    if (atomic_exchange(&job->phase, JOB_PHASE_ENDED) == JOB_PHASE_DECODE)
        atomic_fetch_sub(&s->parts.metrics->jobs_decoding, 1);
    job_unref(job);
}

void scheduler_cancel_job(struct scheduler *s, size_t slot)
{
    scheduler_apply(s, (struct batch_event){.type = BATCH_CANCEL, .job = (int32_t)slot});
    metrics_count(&s->parts.metrics->finished_cancelled, 1);
    end_job(s, slot);
}

void scheduler_fail_job(struct scheduler *s, size_t slot, const struct error *err)
{
    struct job_event event = {.type = EVENT_FAILED, .error = *err};
    event_queue_push_last(&s->slots[slot]->events, &event);
    scheduler_apply(s, (struct batch_event){.type = BATCH_CANCEL, .job = (int32_t)slot});
    metrics_count(&s->parts.metrics->finished_error, 1);
    end_job(s, slot);
}

static double seconds(int64_t from_ns, int64_t to_ns)
{
    return (double)(to_ns - from_ns) * 1e-9;
}

static void send_done(struct scheduler *s, struct job *job, int64_t now_ns)
{
    struct metrics *metrics = s->parts.metrics;
    if (job->first_token_ns == 0)  // no answer was wanted
        job->first_token_ns = now_ns;
    struct job_event event = {
        .type = EVENT_DONE,
        .seed = job->seed,
        .prompt_tokens = job->prompt.n_ids,
        .cached_tokens = job->cached_tokens,
        .completion_tokens = job->completion_tokens,
        .reasoning_tokens = job->reasoning_tokens,
        .queue_s = seconds(job->submitted_ns, job->admitted_ns),
        .prefill_s = seconds(job->admitted_ns, job->first_token_ns),
        .decode_s = seconds(job->first_token_ns, now_ns),
    };
    histogram_add(&metrics->prefill_s, event.prefill_s);
    histogram_add(&metrics->decode_s, event.decode_s);
    histogram_add(&metrics->e2e_s, seconds(job->submitted_ns, now_ns));
    event_queue_push_last(&job->events, &event);
}

/* ---- parts ---- */

bool scheduler_room_for_event(struct scheduler *s, size_t n_tokens)
{
    if (n_tokens <= s->n_event_tokens_max)
        return true;
    size_t wanted = 2 * n_tokens + 8;
    struct job_token *tokens = mem_realloc_array(s->event_tokens, wanted, sizeof *tokens);
    if (tokens != NULL)
        s->event_tokens = tokens;
    struct job_alternative *top =
        mem_realloc_array(s->event_top, wanted * ENGINE_TOP_LOGPROBS_MAX, sizeof *top);
    if (top != NULL)
        s->event_top = top;
    if (tokens == NULL || top == NULL)
        return false;
    s->n_event_tokens_max = wanted;
    return true;
}

void scheduler_fill_token(struct scheduler *s, const struct sample *sample, size_t i)
{
    const struct tokenizer *tokenizer = s->parts.tokenizer;
    struct job_token *token = &s->event_tokens[i];
    struct job_alternative *top = s->event_top + i * ENGINE_TOP_LOGPROBS_MAX;
    *token = (struct job_token){.token = sample->token,
                                .logprob = sample->logprob,
                                .top = top,
                                .n_top = sample->n_top,
                                .rank = sample->rank};
    token->bytes = tokenizer_piece(tokenizer, sample->token, &token->n_bytes);
    token->is_control = tokenizer_is_control(tokenizer, sample->token);
    for (size_t k = 0; k < sample->n_top; k++) {
        top[k] = (struct job_alternative){.token = sample->top[k].token,
                                          .logprob = sample->top[k].logprob};
        top[k].bytes = tokenizer_piece(tokenizer, top[k].token, &top[k].n_bytes);
    }
}

static enum job_event_type event_type(enum reply_part_type type)
{
    static const enum job_event_type types[] = {
        [REPLY_CONTENT] = EVENT_TEXT,
        [REPLY_REASONING] = EVENT_REASONING,
        [REPLY_CALL] = EVENT_TOOL_CALL,
        [REPLY_ARGUMENTS] = EVENT_TOOL_ARGUMENTS,
    };
    return types[type];
}

/* All parts that are ready; the tokens go with the last. */
static enum status send_parts(struct scheduler *s, struct job *job, uint32_t c, struct error *err)
{
    struct output *output = &job->choices[c].output;
    if (!scheduler_room_for_event(s, output->n_ready))
        return error_set(err, ERR_MEMORY, "no memory for the answer's tokens");
    for (size_t i = 0; i < output->n_ready; i++)
        scheduler_fill_token(s, &output->tokens[i].sample, i);
    const struct reply_part none = {.type = REPLY_CONTENT};
    const struct reply_part *parts = output->n_parts > 0 ? output->parts : &none;
    size_t n_parts = output->n_parts > 0 ? output->n_parts : 1;
    const char *text = output->part.bytes;
    enum status status = OK;
    for (size_t i = 0; i < n_parts && status == OK; i++) {
        struct job_event event = {
            .type = event_type(parts[i].type),
            .choice = c,
            .call = parts[i].call,
            .text = text,
            .n_bytes = parts[i].n_bytes,
            .id_bytes = parts[i].id_bytes,
            .tokens = s->event_tokens,
            .n_tokens = i + 1 == n_parts ? output->n_ready : 0,
            .completion_tokens = job->completion_tokens,
        };
        status = event_queue_push(&job->events, &event, err);
        text += parts[i].n_bytes;
    }
    output_sent(output);
    return status;
}

/* ---- one token ---- */

static void count_token(struct scheduler *s, struct job *job, struct job_choice *choice)
{
    struct metrics *metrics = s->parts.metrics;
    int64_t now_ns = clock_ns();
    job->completion_tokens++;
    metrics_count(&metrics->generation_tokens, 1);
    if (choice->last_token_ns != 0)
        histogram_add(&metrics->inter_token_s, seconds(choice->last_token_ns, now_ns));
    choice->last_token_ns = now_ns;
    if (job->first_token_ns != 0)
        return;
    job->first_token_ns = now_ns;
    atomic_store(&job->phase, JOB_PHASE_DECODE);
    atomic_fetch_add(&metrics->jobs_decoding, 1);
    histogram_add(&metrics->time_to_first_token_s, seconds(job->submitted_ns, now_ns));
}

static bool is_stop_token(const struct job_request *request, int32_t token)
{
    for (size_t i = 0; i < request->n_stop_tokens; i++)
        if (request->stop_tokens[i] == token)
            return true;
    return false;
}

/* Adds the i-th drawn token to the choice and tells whether it ends with it. */
static enum status take_token(struct scheduler *s, struct draw *draw, size_t i, bool *is_last,
                              enum finish_reason *reason, struct error *err)
{
    struct job *job = draw->job;
    struct job_choice *choice = &job->choices[draw->choice];
    int32_t token = draw->samples[i].token;
    choice->tokens[choice->n_tokens++] = token;
    scheduler_apply(s, (struct batch_event){.type = BATCH_SAMPLED,
                                            .job = draw->slot,
                                            .choice = (int32_t)draw->choice,
                                            .n_tokens = i + 1 < draw->n_samples});
    count_token(s, job, choice);
    const struct job_request *request = &job->request;
    bool is_stop = is_stop_token(request, token), is_stopped = true;
    bool is_end = !request->ignore_eos && tokenizer_is_eog(s->parts.tokenizer, token);
    if (is_stop) {
        choice->has_stop_token = true;
        choice->stop_token = token;
    }
    if (is_stop ? request->include_stop : !is_end) {
        bool may_stop = choice->n_tokens - job->prompt.n_ids > request->min_tokens;
        bool has_match;
        enum status status =
            output_push(&choice->output, &draw->samples[i], may_stop, &has_match, err);
        if (status != OK)
            return status;
        is_stopped = is_stop || has_match;
    }
    // A constrained text that can end where its tokens do has ended by itself.
    bool is_full = choice->n_tokens == job->prompt.n_ids + job->max_tokens;
    if (choice->matcher != NULL && !is_stopped && i + 1 == draw->n_samples)
        is_stopped = matcher_is_complete(choice->matcher) ||
                     (is_full && matcher_is_accepting(choice->matcher));
    *is_last = is_stopped || is_full;
    if (!*is_last)
        return OK;
    enum status status = output_finish(&choice->output, !is_stopped, err);
    bool is_matched = choice->output.matcher.match != NULL;  // perhaps only in what was held back
    bool calls = choice->output.n_calls > 0 && !is_matched;
    *reason = !is_stopped && !is_matched ? FINISH_LENGTH : calls ? FINISH_TOOL_CALLS : FINISH_STOP;
    job->reasoning_tokens += choice->output.n_reasoning;
    return status;
}

static enum status finish_choice(struct scheduler *s, struct draw *draw, enum finish_reason reason,
                                 struct error *err)
{
    struct job *job = draw->job;
    struct job_choice *choice = &job->choices[draw->choice];
    struct job_event event = {
        .type = EVENT_FINISHED,
        .choice = draw->choice,
        .finish_reason = reason,
        .stop = choice->output.matcher.match,
        .has_stop_token = choice->has_stop_token,
        .stop_token = choice->stop_token,
        .completion_tokens = job->completion_tokens,
    };
    enum status status = event_queue_push(&job->events, &event, err);
    if (status != OK)
        return status;
    struct metrics *metrics = s->parts.metrics;
    metrics_count(reason == FINISH_LENGTH ? &metrics->finished_length : &metrics->finished_stop, 1);
    histogram_add(&metrics->generation_length, (double)(choice->n_tokens - job->prompt.n_ids));
    choice->ended = true;
    scheduler_release_choice(choice);
    scheduler_apply(s, (struct batch_event){.type = BATCH_ENDED,
                                            .job = draw->slot,
                                            .choice = (int32_t)draw->choice});
    if (--job->n_live > 0)
        return OK;
    send_done(s, job, clock_ns());
    end_job(s, (size_t)draw->slot);
    return OK;
}

void scheduler_pause_if_full(struct scheduler *s, int32_t slot)
{
    struct job *job = s->slots[slot];
    if (job->is_paused || !event_queue_is_full(&job->events))
        return;
    job->is_paused = true;
    job->paused_ns = clock_ns();
    scheduler_apply(s, (struct batch_event){.type = BATCH_PAUSE, .job = slot});
}

static void learn(struct scheduler *s, const struct draw *draw)
{
    size_t n_right = draw->n_samples > 0 ? draw->n_samples - 1 : 0;
    metrics_count(&s->parts.metrics->draft_tokens, draw->n_drafts);
    metrics_count(&s->parts.metrics->draft_tokens_accepted, n_right);
    speculator_learn(draw->job->choices[draw->choice].speculator, draw->n_drafts, n_right);
}

/* Of the guessed tokens' K and V, what belongs to tokens that were drawn stays. */
static void keep_drafts(const struct draw *draw)
{
    const struct job_choice *choice = &draw->job->choices[draw->choice];
    sequence_commit(choice->sequence, choice->tokens, choice->n_tokens - 1);
    sequence_truncate(choice->sequence, choice->n_tokens - 1);
}

static enum status deliver(struct scheduler *s, struct draw *draw, struct error *err)
{
    struct job_choice *choice = &draw->job->choices[draw->choice];
    const struct output *output = &choice->output;
    enum finish_reason reason = FINISH_LENGTH;
    enum status status = OK;
    bool is_last = false;
    if (draw->n_drafts > 0)
        learn(s, draw);
    for (size_t i = 0; i < draw->n_samples && !is_last && status == OK; i++)
        status = take_token(s, draw, i, &is_last, &reason, err);
    if (status == OK && !is_last && draw->status != OK) {
        *err = draw->err;
        status = draw->status;
    }
    if (status == OK && draw->job->request.no_answer)
        return finish_choice(s, draw, FINISH_LENGTH, err);
    if (status != OK)
        return status;
    // Tokens without text of their own wait for the next text, the last ones go as they are.
    if (output->n_parts > 0 || (is_last && output->n_ready > 0))
        status = send_parts(s, draw->job, draw->choice, err);
    if (status != OK)
        return status;
    if (is_last)
        return finish_choice(s, draw, reason, err);
    if (draw->n_drafts > 0)
        keep_drafts(draw);
    scheduler_pause_if_full(s, draw->slot);
    return OK;
}

void scheduler_deliver(struct scheduler *s, struct draw *draw)
{
    if (s->slots[draw->slot] != draw->job)  // it failed with an earlier draw of this step
        return;
    struct error err = {0};
    if (deliver(s, draw, &err) != OK)
        scheduler_fail_job(s, (size_t)draw->slot, &err);
}
