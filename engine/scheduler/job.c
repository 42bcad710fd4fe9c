/* Jobs: life, cancellation and the consumer's side of engine.h.
 *
 * The request is copied into the job's arena at once, so that engine_submit() borrows nothing. The
 * last reference frees the job, in whichever thread that is; by then the scheduler has released the
 * parts that only it may touch (sequences, samplers). */
#include "engine/scheduler/job.h"

#include <assert.h>

#include "engine/base/clock.h"
#include "engine/base/rng.h"

enum { JOB_ARENA_BYTES_MAX = 1 << 28 };

static bool copy_text(struct job *job, const char **text)
{
    if (*text == NULL)
        return true;
    *text = arena_memdup0(&job->arena, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_array(struct job *job, const void **items, size_t n, size_t bytes)
{
    size_t total;
    if (n == 0) {
        *items = NULL;
        return true;
    }
    if (!size_mul(n, bytes, &total))
        return false;
    *items = arena_memdup0(&job->arena, *items, total);
    return *items != NULL;
}

static bool copy_stops(struct job *job, const struct job_request *from)
{
    size_t n = from->n_stops;
    const char **stops = arena_alloc(&job->arena, (n + 1) * sizeof *stops);
    job->stop_bytes = arena_alloc(&job->arena, (n + 1) * sizeof *job->stop_bytes);
    if (stops == NULL || job->stop_bytes == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        job->stop_bytes[i] = strlen(from->stops[i]);
        stops[i] = arena_memdup0(&job->arena, from->stops[i], job->stop_bytes[i]);
        if (stops[i] == NULL)
            return false;
    }
    job->request.stops = stops;
    return true;
}

/* NUL-terminated strings. */
static bool copy_texts(struct job *job, const char *const **texts, size_t n)
{
    const char **copies = arena_alloc(&job->arena, (n + 1) * sizeof *copies);
    if (copies == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        copies[i] = arena_memdup0(&job->arena, (*texts)[i], strlen((*texts)[i]));
        if (copies[i] == NULL)
            return false;
    }
    *texts = copies;
    return true;
}

static bool copy_text_bias(struct job *job, const struct job_request *from)
{
    size_t n = from->n_text_bias;
    struct job_text_bias *list = arena_alloc(&job->arena, (n + 1) * sizeof *list);
    for (size_t i = 0; list != NULL && i < n; i++) {
        list[i] = from->text_bias[i];
        if (!copy_text(job, &list[i].text))
            return false;
    }
    job->request.text_bias = list;
    return list != NULL;
}

static bool copy_sampling(struct job *job, const struct job_request *from)
{
    struct job_request *to = &job->request;
    const void *stops = from->stop_tokens, *allowed = from->allowed_tokens;
    if (!copy_array(job, &stops, from->n_stop_tokens, sizeof *from->stop_tokens) ||
        !copy_array(job, &allowed, from->n_allowed_tokens, sizeof *from->allowed_tokens))
        return false;
    to->stop_tokens = stops;
    to->allowed_tokens = allowed;
    return copy_texts(job, &to->dry_breakers, from->n_dry_breakers) &&
           copy_texts(job, &to->bad_words, from->n_bad_words) && copy_text_bias(job, from);
}

static bool copy_request(struct job *job, const struct job_request *from)
{
    struct job_request *to = &job->request;
    *to = *from;
    if (from->prompt != NULL) {
        to->prompt = arena_memdup0(&job->arena, from->prompt, from->prompt_bytes);
        if (to->prompt == NULL)
            return false;
    }
    if (from->suffix != NULL) {
        to->suffix = arena_memdup0(&job->arena, from->suffix, from->suffix_bytes);
        if (to->suffix == NULL)
            return false;
    }
    const void *ids = from->prompt_tokens, *bias = from->logit_bias;
    if (!copy_array(job, &ids, from->n_prompt_tokens, sizeof *from->prompt_tokens) ||
        !copy_array(job, &bias, from->n_logit_bias, sizeof *from->logit_bias))
        return false;
    to->prompt_tokens = ids;
    to->logit_bias = bias;
    return copy_text(job, &to->messages_json) && copy_text(job, &to->continue_text) &&
           copy_text(job, &to->tools_json) && copy_text(job, &to->template_variables_json) &&
           copy_stops(job, from) && copy_sampling(job, from) &&
           copy_text(job, &to->constraint.text) && copy_text(job, &to->constraint.param) &&
           copy_text(job, &to->constraint.free_until) && copy_text(job, &to->calls_schema);
}

enum status job_create(struct job **out, const struct job_request *request, struct wakeup *wakeup,
                       struct error *err)
{
    *out = NULL;
    struct job *job = mem_calloc(1, sizeof *job);
    if (job == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a job");
    enum status status = event_queue_init(&job->events, request->on_ready, request->user, err);
    if (status != OK) {
        mem_free(job);
        return status;
    }
    job->events.lazy = request->lazy_ready;
    atomic_init(&job->refs, 2);
    atomic_init(&job->cancelled, false);
    atomic_init(&job->phase, JOB_PHASE_QUEUED);
    job->wakeup = wakeup_ref(wakeup);
    arena_init(&job->arena, JOB_ARENA_BYTES_MAX);
    job->submitted_ns = clock_ns();
    job->seed = request->has_seed ? request->seed : rng_seed_from_system();
    if (!copy_request(job, request)) {
        job_unref(job);
        job_unref(job);
        return error_set(err, ERR_MEMORY, "no memory to copy the request");
    }
    *out = job;
    return OK;
}

void job_unref(struct job *job)
{
    if (atomic_fetch_sub(&job->refs, 1) != 1)
        return;
    for (size_t c = 0; c < ENGINE_CHOICES_MAX; c++)
        assert(job->choices[c].sequence == NULL && job->choices[c].sampler == NULL &&
               job->choices[c].matcher == NULL);
    event_queue_release(&job->events);
    token_list_release(&job->prompt);
    token_list_release(&job->stop_thinking);
    reply_tools_free(job->reply_tools);
    grammar_unref(job->grammar);
    arena_release(&job->arena);
    wakeup_unref(job->wakeup);
    mem_free(job);
}

/* ---- engine.h ---- */

bool job_next_event(struct job *job, const struct job_event **out)
{
    bool drained;
    bool found = event_queue_next(&job->events, out, &drained);
    if (drained)
        wakeup_signal(job->wakeup);
    return found;
}

void job_cancel(struct job *job)
{
    if (atomic_exchange(&job->cancelled, true))
        return;
    event_queue_close(&job->events);
    wakeup_signal(job->wakeup);
}

void job_release(struct job *job)
{
    if (job == NULL)
        return;
    job_cancel(job);
    event_queue_wait_notified(&job->events);
    job_unref(job);
}

enum job_phase job_phase(const struct job *job)
{
    return (enum job_phase)atomic_load(&job->phase);
}
