/* Who runs: the inbox, cancellations, slow readers, admission; see scheduler.h.
 *
 * One turn of the loop: take in new jobs, look at each job's cancel flag and queue, admit, run a
 * step (step.c), deliver its tokens (deliver.c). With nothing to run the thread sleeps on the
 * wake-up, which submitters, cancellers and consumers signal. Jobs are this thread's alone from
 * scheduler_add_take() to their last event; what is shared is in the table of server/README.md. */
#include "engine/scheduler/scheduler.h"

#include <assert.h>

#include "engine/base/clock.h"
#include "engine/cache/kv_size.h"
#include "engine/cache/sequence.h"
#include "engine/scheduler/scheduler_state.h"

/* A reader that does not take events for this long loses its job and the KV it holds. */
static const int64_t SLOW_READER_NS = 60 * (int64_t)1000000000;

enum status scheduler_create(struct scheduler **out, const struct scheduler_parts *parts,
                             struct error *err)
{
    *out = NULL;
    struct scheduler *s = mem_calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the scheduler");
    s->parts = *parts;
    s->n_vocab = model_info(parts->model)->n_vocab;
    pthread_mutex_init(&s->mu, NULL);
    batch_init(&s->batch, &parts->limits);
    size_t n_sequences = (size_t)parts->limits.sequences_max;
    size_t n_outputs = n_sequences + (size_t)parts->limits.draft_rows_max;
    size_t n_rows = n_outputs + (size_t)parts->limits.prefill_rows_max;
    s->rows = mem_alloc_array(n_rows, sizeof *s->rows);
    s->draws = mem_alloc_array(n_sequences, sizeof *s->draws);
    s->scores = mem_alloc_array(n_rows, sizeof *s->scores);
    s->score_keys = mem_alloc_array(n_outputs * TOP_LOGPROBS_MAX, sizeof *s->score_keys);
    if (size_mul(n_outputs * sizeof *s->logits, s->n_vocab, &s->logits_bytes))
        s->logits = mem_map(s->logits_bytes);
    if (s->rows == NULL || s->draws == NULL || s->logits == NULL || s->scores == NULL ||
        s->score_keys == NULL) {
        scheduler_free(s);
        return error_set(err, ERR_MEMORY, "no memory for steps of %zu sequences", n_sequences);
    }
    *out = s;
    return OK;
}

void scheduler_free(struct scheduler *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_slots; i++)
        assert(s->slots[i] == NULL);
    mem_free(s->rows);
    mem_free(s->draws);
    mem_free(s->scores);
    mem_free(s->score_keys);
    mem_free(s->reload.blocks);
    if (s->logits != NULL)
        mem_unmap(s->logits, s->logits_bytes);
    mem_free(s->event_tokens);
    mem_free(s->event_top);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

void scheduler_add_take(struct scheduler *s, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&s->mu);
    if (s->inbox_tail != NULL)
        s->inbox_tail->next = job;
    else
        s->inbox_head = job;
    s->inbox_tail = job;
    pthread_mutex_unlock(&s->mu);
    wakeup_signal(s->parts.wakeup);
}

void scheduler_stop(struct scheduler *s)
{
    atomic_store(&s->is_stopping, true);
    wakeup_signal(s->parts.wakeup);
}

/* ---- intake ---- */

static struct job *take_from_inbox(struct scheduler *s)
{
    pthread_mutex_lock(&s->mu);
    struct job *job = s->inbox_head;
    if (job != NULL) {
        s->inbox_head = job->next;
        if (s->inbox_head == NULL)
            s->inbox_tail = NULL;
    }
    pthread_mutex_unlock(&s->mu);
    return job;
}

static uint64_t tenant_key(const uint8_t tenant[ENGINE_TENANT_BYTES])
{
    uint64_t key;
    memcpy(&key, tenant, sizeof key);  // of a digest: any eight bytes will do
    return key;
}

static void take_in(struct scheduler *s)
{
    for (size_t slot = 0; slot < BATCH_JOBS_MAX; slot++) {
        if (s->slots[slot] != NULL)
            continue;
        struct job *job = take_from_inbox(s);
        if (job == NULL)
            return;
        s->slots[slot] = job;
        if (slot >= s->n_slots)
            s->n_slots = slot + 1;
        job->n_live = job->request.n_choices;
        scheduler_apply(s, (struct batch_event){
                               .type = BATCH_ARRIVE,
                               .job = (int32_t)slot,
                               .n_tokens = (int32_t)job->prompt.n_ids,
                               .n_choices = (int32_t)job->request.n_choices,
                               .tenant = tenant_key(job->request.tenant),
                           });
    }
}

/* Cancelled jobs go, readers that caught up come back, readers that never will are given up.
 * Returns the next moment at which a slow reader is given up. */
static int64_t look_at_jobs(struct scheduler *s)
{
    int64_t deadline = INT64_MAX;
    for (size_t slot = 0; slot < s->n_slots; slot++) {
        struct job *job = s->slots[slot];
        if (job == NULL)
            continue;
        if (job_is_cancelled(job)) {
            scheduler_cancel_job(s, slot);
            continue;
        }
        if (!job->is_paused)
            continue;
        if (event_queue_is_drained(&job->events)) {
            job->is_paused = false;
            scheduler_apply(s, (struct batch_event){.type = BATCH_RESUME, .job = (int32_t)slot});
        } else if (clock_ns() - job->paused_ns >= SLOW_READER_NS) {
            struct error err = {0};
            (void)error_set(&err, ERR_LIMIT, "the answer was not read for %d seconds",
                            (int)(SLOW_READER_NS / 1000000000));
            scheduler_fail_job(s, slot, &err);
        } else if (job->paused_ns + SLOW_READER_NS < deadline) {
            deadline = job->paused_ns + SLOW_READER_NS;
        }
    }
    return deadline;
}

/* ---- admission ---- */

static enum status create_choice(struct scheduler *s, struct job *job, uint32_t c,
                                 struct error *err)
{
    struct job_choice *choice = &job->choices[c];
    const struct job_request *request = &job->request;
    size_t n_prompt = job->prompt.n_ids, n_max = n_prompt + job->max_tokens;
    struct reply_options reply = {
        .format = &job->reply_format,
        .tools = job->reply_tools,
        .is_thinking = job->is_thinking,
        .one_call = request->one_tool_call,
    };
    enum status status =
        output_init(&choice->output, s->parts.tokenizer, request->stops, job->stop_bytes,
                    request->n_stops, job->reply_format.name != NULL ? &reply : NULL, err);
    if (status != OK)
        return status;
    choice->output.matcher.include = request->include_stop;
    choice->output.decoder.show_control = request->show_control;
    choice->tokens = mem_alloc_array(n_max, sizeof *choice->tokens);
    if (choice->tokens == NULL)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", n_max);
    memcpy(choice->tokens, job->prompt.ids, n_prompt * sizeof *choice->tokens);
    choice->n_tokens = n_prompt;
    struct sampling_params params = job->sampling;
    params.history = choice->tokens;
    params.n_prompt = n_prompt;
    status = sampler_create(&choice->sampler, s->n_vocab, &params, c, err);
    if (status != OK)
        return status;
    sampler_accept_prompt(choice->sampler, job->prompt.ids, n_prompt);
    if (job->grammar != NULL)
        status = matcher_create(&choice->matcher, job->grammar, job->max_tokens, err);
    if (status == OK && s->parts.limits.draft_rows_max > 0 && !request->no_speculation)
        status = speculator_create(&choice->speculator, n_max, err);
    if (status == OK)
        status = sequence_create(&choice->sequence, s->parts.cache, n_max, request->tenant, err);
    if (status == OK && request->has_cache_salt)
        sequence_set_salt(choice->sequence, request->cache_salt);
    return status;
}

static enum status first_admission(struct scheduler *s, struct job *job, struct error *err)
{
    job->admitted_ns = clock_ns();
    atomic_fetch_sub(&s->parts.metrics->jobs_waiting, 1);
    job->is_waiting = false;
    histogram_add(&s->parts.metrics->queue_s,
                  (double)(job->admitted_ns - job->submitted_ns) * 1e-9);
    atomic_store(&job->phase, JOB_PHASE_PREFILL);
    for (uint32_t c = 0; c < job->request.n_choices; c++) {
        enum status status = create_choice(s, job, c, err);
        if (status != OK)
            return status;
    }
    metrics_count(&s->parts.metrics->prompt_tokens, job->prompt.n_ids);
    histogram_add(&s->parts.metrics->prompt_length, (double)job->prompt.n_ids);
    return OK;
}

struct job_choice *scheduler_leader(const struct job *job, size_t *n_known)
{
    size_t leader = 0;
    while (job->choices[leader].ended)
        leader++;
    const struct job_choice *choice = &job->choices[leader];
    // Choices are forked at the end of the prompt, so the leader must still have to compute there.
    *n_known = job->n_live > 1 ? job->prompt.n_ids : choice->n_tokens;
    // The row before the first prompt token without its log-probability must run.
    if (job->request.prompt_scores && job->n_scored < *n_known)
        *n_known = job->n_scored;
    return (struct job_choice *)choice;
}

void scheduler_match_prefix(struct scheduler *s, int32_t slot)
{
    struct job *job = s->slots[slot];
    size_t n_known;
    struct job_choice *choice = scheduler_leader(job, &n_known);
    size_t n_found = sequence_match_prefix(choice->sequence, choice->tokens, n_known);
    scheduler_apply(
        s, (struct batch_event){.type = BATCH_MATCHED, .job = slot, .n_tokens = (int32_t)n_found});
    if (job->has_matched)
        return;
    job->has_matched = true;
    job->cached_tokens = n_found;
    metrics_count(&s->parts.metrics->prefix_queries, job->prompt.n_ids);
    metrics_count(&s->parts.metrics->prefix_hits, n_found);
}

static void admit(struct scheduler *s)
{
    int32_t admitted[BATCH_SEQUENCES_MAX];
    int32_t n_admitted = batch_admit(&s->batch, admitted);
    for (int32_t i = 0; i < n_admitted; i++) {
        struct job *job = s->slots[admitted[i]];
        struct error err = {0};
        if (job->is_waiting && first_admission(s, job, &err) != OK)
            scheduler_fail_job(s, (size_t)admitted[i], &err);
        else if (!scheduler_reload_begin(s, admitted[i]))
            scheduler_match_prefix(s, admitted[i]);
    }
}

/* ---- the loop ---- */

static void publish_cache_counts(struct scheduler *s)
{
    struct metrics *metrics = s->parts.metrics;
    size_t group = kv_layout_widest(kv_cache_layout(s->parts.cache));
    size_t n_free = kv_cache_blocks_free(s->parts.cache, group);
    size_t n_cached = kv_cache_blocks_cached(s->parts.cache, group);
    atomic_store_explicit(&metrics->kv_blocks_free, n_free, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_blocks_cached, n_cached, memory_order_relaxed);
    if (s->parts.spill == NULL)
        return;
    struct kv_store_stats stats;
    uint64_t n_dropped;
    kv_spill_stats(s->parts.spill, &stats, &n_dropped);
    atomic_store_explicit(&metrics->kv_blocks_spilled, stats.blocks_written, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_bytes_spilled, stats.bytes_written, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_bytes_reloaded, stats.bytes_read, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_blocks_damaged, stats.blocks_damaged, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_blocks_dropped, n_dropped, memory_order_relaxed);
    atomic_store_explicit(&metrics->kv_dir_bytes, stats.bytes, memory_order_relaxed);
}

static void end_all(struct scheduler *s)
{
    struct error err = {0};
    (void)error_set(&err, ERR_SHUTDOWN, "the server is shutting down");
    do {
        take_in(s);
        for (size_t slot = 0; slot < s->n_slots; slot++)
            if (s->slots[slot] != NULL)
                scheduler_fail_job(s, slot, &err);
    } while (s->inbox_head != NULL);
}

void scheduler_run(struct scheduler *s)
{
    while (!atomic_load(&s->is_stopping)) {
        take_in(s);
        int64_t deadline = look_at_jobs(s);
        admit(s);
        bool has_more = scheduler_reload_go_on(s, &deadline);
        bool has_run = scheduler_step(s);
        publish_cache_counts(s);
        if (!has_run && !has_more)
            wakeup_wait(s->parts.wakeup, deadline);
    }
    end_all(s);
}
