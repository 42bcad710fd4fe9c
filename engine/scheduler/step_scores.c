/* Log-probabilities of the prompt's own tokens, and how far a prompt has come.
 *
 * Row p gives the distribution of token p + 1, so the rows of a prompt but its last are scored,
 * each once: a prefix from the cache must end before the first row that is wanted (match_prefix()
 * sees to it), and what a preempted job computes again is not scored again. Logits come a tile of
 * rows at a time and leave a few floats each; 2,048 x 152k of them never exist at once. */
#include <assert.h>

#include "engine/base/clock.h"
#include "engine/scheduler/scheduler_state.h"

bool scheduler_scores_row(struct scheduler *s, const struct batch_item *item, int32_t i_item,
                          int32_t position)
{
    const struct job *job = s->slots[item->job];
    size_t next = (size_t)position + 1;
    if (!job->request.prompt_scores || next < job->n_scored || next >= job->prompt.n_ids)
        return false;
    s->scores[s->n_scores++] = (struct score){
        .item = i_item,
        .token = job->prompt.ids[next],
        .n_top = (size_t)job->request.top_prompt_scores,
    };
    return true;
}

static void score_rows(void *context, size_t first, size_t last, size_t worker)
{
    (void)worker;
    struct scheduler *s = context;
    for (size_t i = first; i < last; i++) {
        struct score *score = &s->scores[s->score_first + i];
        score->is_bad =
            !logprobs_of_given(s->score_logits + i * s->n_vocab, s->n_vocab, score->token,
                               score->n_top, s->score_keys + i * TOP_LOGPROBS_MAX, &score->sample);
    }
}

void scheduler_score_tile(void *context, size_t first, size_t n, const float *logits)
{
    struct scheduler *s = context;
    assert(first + n <= s->n_scores);
    s->score_first = first;
    s->score_logits = logits;
    if (n == 1)
        score_rows(s, 0, 1, 0);
    else
        pool_run(s->parts.pool, n, 1, score_rows, s);
}

/* The scores [first, last) of one job as an event. */
static enum status send_scores(struct scheduler *s, struct job *job, size_t first, size_t last,
                               struct error *err)
{
    if (!scheduler_room_for_event(s, last - first))
        return error_set(err, ERR_MEMORY, "no memory for the prompt's tokens");
    for (size_t i = first; i < last; i++) {
        if (s->scores[i].is_bad)
            return error_set(err, ERR_INTERNAL, "the model's logits are not numbers");
        scheduler_fill_token(s, &s->scores[i].sample, i - first);
    }
    job->n_scored += last - first;
    struct job_event event = {
        .type = EVENT_PROMPT, .tokens = s->event_tokens, .n_tokens = last - first};
    return event_queue_push(&job->events, &event, err);
}

static enum status send_progress(struct job *job, const struct batch_item *item, struct error *err)
{
    size_t n_done = (size_t)(item->first + item->n_rows);
    struct job_event event = {
        .type = EVENT_PROGRESS,
        .prompt_tokens = job->prompt.n_ids,
        .cached_tokens = job->cached_tokens,
        .done_tokens = n_done < job->prompt.n_ids ? n_done : job->prompt.n_ids,
        .prefill_s = (double)(clock_ns() - job->admitted_ns) * 1e-9,
    };
    return event_queue_push(&job->events, &event, err);
}

void scheduler_send_scores(struct scheduler *s)
{
    size_t first = 0;
    for (int32_t i = 0; i < s->plan.n_items; i++) {
        const struct batch_item *item = &s->plan.items[i];
        struct job *job = s->slots[item->job];
        size_t last = first;
        while (last < s->n_scores && s->scores[last].item == i)
            last++;
        struct error err = {0};
        enum status status = OK;
        if (job == NULL) {  // it failed with an earlier item of this step
            first = last;
            continue;
        }
        if (job->request.progress && (size_t)item->first < job->prompt.n_ids)
            status = send_progress(job, item, &err);
        if (status == OK && last > first)
            status = send_scores(s, job, first, last, &err);
        if (status != OK)
            scheduler_fail_job(s, (size_t)item->job, &err);
        else if (last > first)
            scheduler_pause_if_full(s, item->job);
        first = last;
    }
}
