/* One step: the plan's rows through the model, then one draw for each row that samples.
 *
 * KV is committed, and thereby published, only after the whole step is complete; an abandoned step
 * leaves no trace in the planner or the cache. Draws read rows of their own, so they run beside
 * each other in the pool; a prompt's first token is drawn for all choices from copies of one
 * row. */
#include <assert.h>

#include "engine/base/clock.h"
#include "engine/cache/sequence.h"
#include "engine/sampling/logprobs.h"
#include "engine/scheduler/scheduler_state.h"

static void release_preempted(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan.n_preempted; i++) {
        struct job *job = s->slots[s->plan.preempted[i]];
        scheduler_reload_forget(s, s->plan.preempted[i]);
        for (size_t c = 0; c < job->request.n_choices; c++)
            if (job->choices[c].sequence != NULL)
                sequence_truncate(job->choices[c].sequence, 0);
    }
    metrics_count(&s->parts.metrics->preemptions, (uint64_t)s->plan.n_preempted);
}

static struct job_choice *choice_of(struct scheduler *s, const struct batch_item *item)
{
    return &s->slots[item->job]->choices[item->choice];
}

/* The planner counts blocks pessimistically, so a planned row has one. */
static void reserve(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const struct batch_item *item = &s->plan.items[i];
        enum status status = sequence_reserve(choice_of(s, item)->sequence,
                                              (size_t)(item->first + item->n_rows), NULL);
        assert(status == OK);
        (void)status;
    }
}

/* An abandoned step gives its blocks back: the planner counts what is stored, and the job may get
 * other rows, or none, next time. */
static void give_back(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        struct sequence *sequence = choice_of(s, &s->plan.items[i])->sequence;
        sequence_truncate(sequence, sequence_tokens(sequence));
    }
}

static size_t build_rows(struct scheduler *s)
{
    size_t n = 0;
    s->n_scores = 0;
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const struct batch_item *item = &s->plan.items[i];
        const struct job_choice *choice = choice_of(s, item);
        int32_t n_known = item->n_rows - item->n_drafts;
        s->sequences[i] = choice->sequence;
        for (int32_t r = 0; r < item->n_rows; r++) {
            bool samples = item->samples && r >= n_known - 1;
            bool scores = !samples && scheduler_scores_row(s, item, i, item->first + r);
            s->rows[n++] = (struct step_row){
                .sequence = i,
                .position = item->first + r,
                .token =
                    r < n_known ? choice->tokens[item->first + r] : choice->drafts[r - n_known],
                .outputs = samples  ? ROW_LOGITS
                           : scores ? ROW_SCORE
                                    : ROW_NONE,
            };
        }
    }
    return n;
}

static bool is_abandoned(void *context)
{
    struct scheduler *s = context;
    if (atomic_load_explicit(&s->is_stopping, memory_order_relaxed))
        return true;
    for (int32_t i = 0; i < s->plan.n_items; i++)
        if (!job_is_cancelled(s->slots[s->plan.items[i].job]))
            return false;
    return true;
}

static enum status forward(struct scheduler *s)
{
    struct step step = {
        .rows = s->rows,
        .n_rows = build_rows(s),
        .sequences = s->sequences,
        .n_sequences = (size_t)s->plan.n_items,
        .logits = s->logits,
        .score = scheduler_score_tile,
        .abandoned = is_abandoned,
        .context = s,
    };
    return model_forward(s->parts.model, s->parts.pool, s->parts.cache, &step);
}

static void commit(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const struct batch_item *item = &s->plan.items[i];
        struct job *job = s->slots[item->job];
        struct job_choice *choice = &job->choices[item->choice];
        sequence_commit(choice->sequence, choice->tokens,
                        (size_t)(item->first + item->n_rows - item->n_drafts));
        for (int32_t c = 0; item->forks && c < (int32_t)job->request.n_choices; c++) {
            if (c == item->choice || job->choices[c].ended)
                continue;
            enum status status =
                sequence_fork(job->choices[c].sequence, choice->sequence, job->prompt.n_ids, NULL);
            assert(status == OK);
            (void)status;
        }
    }
}

static size_t list_draws(struct scheduler *s)
{
    size_t n_draws = 0, n_rows = 0, row = 0;
    for (int32_t i = 0; i < s->plan.n_items; i++)
        n_rows += s->plan.items[i].samples ? 1 + (size_t)s->plan.items[i].n_drafts : 0;
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const struct batch_item *item = &s->plan.items[i];
        if (!item->samples)
            continue;
        struct job *job = s->slots[item->job];
        float *logits = s->logits + row * s->n_vocab;
        row += 1 + (size_t)item->n_drafts;
        for (uint32_t c = 0; c < job->request.n_choices; c++) {
            bool is_own = c == (uint32_t)item->choice;
            if (job->choices[c].ended || (!is_own && !item->forks))
                continue;
            float *copy = logits;
            if (!is_own) {  // there are as many rows of logits as sequences
                copy = s->logits + n_rows++ * s->n_vocab;
                memcpy(copy, logits, s->n_vocab * sizeof *logits);
            }
            struct draw *draw = &s->draws[n_draws++];
            draw->slot = item->job;
            draw->choice = c;
            draw->job = job;
            draw->logits = copy;
            draw->n_drafts = (size_t)item->n_drafts;
            draw->n_samples = 0;
            draw->status = OK;
            draw->err = (struct error){0};
        }
    }
    assert(n_rows <= (size_t)(s->parts.limits.sequences_max + s->parts.limits.draft_rows_max));
    return n_draws;
}

enum { CHARACTER_TOKENS_MAX = 3 };  // behind the first byte of a character

/* The token that comes whatever the model says, to end a thought whose budget is used up; or
 * TOKEN_NONE. What was delivered decides, so the answer depends on the request alone. */
static int32_t forced_token(const struct job *job, const struct job_choice *choice)
{
    const struct output *output = &choice->output;
    if (choice->n_forced == job->stop_thinking.n_ids)  // there is none, or it was given
        return TOKEN_NONE;
    size_t budget = job->request.thinking_budget;
    // A character that has begun gets the tokens that it may need.
    if (output->decoder.n_pending > 0)
        budget += CHARACTER_TOKENS_MAX;
    bool is_due =
        output->reply != NULL && reply_is_thinking(output->reply) && output->n_reasoning >= budget;
    return choice->n_forced > 0 || is_due ? job->stop_thinking.ids[choice->n_forced] : TOKEN_NONE;
}

static enum status give_token(const struct scheduler *s, struct draw *draw, int32_t token)
{
    struct job_choice *choice = &draw->job->choices[draw->choice];
    int32_t n_top = draw->job->request.top_logprobs;
    rank_key keys[TOP_LOGPROBS_MAX + 1];
    *draw->samples = (struct sample){.token = token};
    choice->n_forced++;
    if (n_top >= 0 &&
        !logprobs_of_given(draw->logits, s->n_vocab, token, (size_t)n_top, keys, draw->samples))
        return error_set(&draw->err, ERR_INTERNAL, "the model's logits are not numbers");
    return OK;
}

/* Guesses that may follow the next token: none behind a place where a thought may have to end. */
static size_t guesses_max(const struct job *job, const struct job_choice *choice, size_t wanted)
{
    const struct output *output = &choice->output;
    if (choice->n_forced == job->stop_thinking.n_ids || output->reply == NULL)
        return wanted;
    if (choice->n_forced > 0)
        return 0;
    size_t used = output->n_reasoning + 1, budget = job->request.thinking_budget;
    size_t room = budget > used ? budget - used : 0;
    return room < wanted ? room : wanted;
}

/* With a grammar, only what it allows may be drawn. */
static enum status draw_allowed(const struct scheduler *s, struct draw *draw, size_t i)
{
    struct job_choice *choice = &draw->job->choices[draw->choice];
    const uint64_t *allowed;
    if (choice->matcher != NULL) {
        enum status status = matcher_mask(choice->matcher, &allowed, &draw->err);
        if (status != OK)
            return status;
        sampler_allow(choice->sampler, allowed);
    }
    return sampler_draw(choice->sampler, draw->logits + i * s->n_vocab,
                        (uint32_t)(choice->n_tokens + i), &draw->samples[i], &draw->err);
}

/* Draws behind the known token; behind a guessed one only when it is what was drawn there. */
static void run_draw(const struct scheduler *s, struct draw *draw)
{
    struct job_choice *choice = &draw->job->choices[draw->choice];
    if (draw->job->request.no_answer)
        return;
    for (size_t i = 0; i <= draw->n_drafts; i++) {
        struct sample *sample = &draw->samples[i];
        int32_t forced = i == 0 ? forced_token(draw->job, choice) : TOKEN_NONE;
        draw->status =
            forced != TOKEN_NONE ? give_token(s, draw, forced) : draw_allowed(s, draw, i);
        if (draw->status != OK)
            return;
        if (choice->matcher != NULL)
            draw->status = matcher_accept(choice->matcher, sample->token, &draw->err);
        if (draw->status != OK)
            return;
        sampler_accept(choice->sampler, sample->token);
        choice->tokens[choice->n_tokens + i] = sample->token;  // what the next draw looks back at
        draw->n_samples++;
        if (choice->matcher != NULL && matcher_is_complete(choice->matcher))
            return;
        if (i < draw->n_drafts && sample->token != choice->drafts[i])
            return;
    }
}

static void run_draws(void *context, size_t first, size_t last, size_t worker)
{
    (void)worker;
    struct scheduler *s = context;
    for (size_t i = first; i < last; i++)
        run_draw(s, &s->draws[i]);
}

static void count_step(struct scheduler *s)
{
    struct metrics *metrics = s->parts.metrics;
    uint64_t n_decode = (uint64_t)s->plan.n_decode_rows;
    metrics_count(&metrics->steps, 1);
    metrics_count(&metrics->decode_rows, n_decode);
    metrics_count(&metrics->prefill_rows,
                  (uint64_t)(s->plan.n_rows - s->plan.n_draft_rows) - n_decode);
    histogram_add(&metrics->step_rows, (double)s->plan.n_rows);
    if (n_decode == 0)
        return;
    metrics_count(&metrics->decode_steps, 1);
    histogram_add(&metrics->decode_batch, (double)n_decode);
}

/* ---- guesses ---- */

static void guess(struct scheduler *s, int32_t slot, int32_t c, double chance_min)
{
    struct job *job = s->slots[slot];
    struct job_choice *choice = &job->choices[c];
    if (choice->speculator == NULL)
        return;
    // What the last draw would give must still be wanted.
    size_t n_left = job->prompt.n_ids + job->max_tokens - choice->n_tokens;
    size_t n = speculator_guess(choice->speculator, choice->tokens, choice->n_tokens, chance_min,
                                guesses_max(job, choice, n_left - 1), choice->drafts);
    if (n > 0)
        scheduler_apply(
            s, (struct batch_event){
                   .type = BATCH_DRAFTED, .job = slot, .choice = c, .n_tokens = (int32_t)n});
}

/* Offers the planner what may follow each choice in decode, where that pays. */
static void guess_all(struct scheduler *s)
{
    int32_t n_decoding = 0;
    for (int turn = 0; turn < 2; turn++) {  // count, then guess
        double chance_min = n_decoding > 0 ? batch_draft_chance(&s->batch, n_decoding) : 1;
        for (size_t slot = 0; slot < s->n_slots; slot++) {
            for (size_t c = 0; s->slots[slot] != NULL && c < s->slots[slot]->request.n_choices;
                 c++) {
                if (!batch_is_decoding(&s->batch, (int32_t)slot, (int32_t)c))
                    continue;
                n_decoding++;
                if (turn == 1)
                    guess(s, (int32_t)slot, (int32_t)c, chance_min);
            }
        }
    }
}

bool scheduler_step(struct scheduler *s)
{
    if (s->parts.limits.draft_rows_max > 0)
        guess_all(s);
    batch_plan(&s->batch, &s->plan);
    release_preempted(s);
    if (s->plan.n_items == 0)
        return s->plan.n_preempted > 0;  // room was made: admission may go on
    reserve(s);
    int64_t start_ns = clock_ns();
    if (forward(s) != OK) {
        give_back(s);
        scheduler_apply(s, (struct batch_event){.type = BATCH_STEP_LOST});
        return true;
    }
    int64_t forward_ns = clock_ns();
    commit(s);
    size_t n_draws = list_draws(s);
    if (n_draws == 1)
        run_draws(s, 0, 1, 0);
    else if (n_draws > 1)
        pool_run(s->parts.pool, n_draws, 1, run_draws, s);
    int64_t drawn_ns = clock_ns();
    scheduler_apply(s, (struct batch_event){.type = BATCH_STEP_DONE,
                                            .n_tokens = s->plan.n_rows,
                                            .us = (drawn_ns - start_ns) / 1000});
    count_step(s);
    scheduler_send_scores(s);
    for (size_t i = 0; i < n_draws; i++)
        scheduler_deliver(s, &s->draws[i]);
    struct metrics *metrics = s->parts.metrics;
    metrics_count(&metrics->forward_us, (uint64_t)(forward_ns - start_ns) / 1000);
    metrics_count(&metrics->sampling_us, (uint64_t)(drawn_ns - forward_ns) / 1000);
    metrics_count(&metrics->delivery_us, (uint64_t)(clock_ns() - drawn_ns) / 1000);
    return true;
}
