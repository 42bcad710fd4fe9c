/* The engine's interface: opening in its own thread, submission, observation, closing; see
 * engine.h.
 *
 * One thread belongs to the engine: it loads the model, then becomes the scheduler thread and
 * worker
 * 0 of the compute pool. Everything here runs in the caller's thread and takes no lock for longer
 * than a few instructions; jobs leave through the text pool. Order of closing: the text pool hands
 * over or rejects what it has, then the scheduler ends what runs, then the parts go. */
#include "engine/engine.h"

#include <assert.h>
#include <math.h>

#include "engine/base/clock.h"
#include "engine/engine_defaults.h"
#include "engine/engine_state.h"

enum {
    PREFILL_CHUNK_MAX = 16384,
    QUEUE_JOBS_MAX = BATCH_JOBS_MAX - BATCH_SEQUENCES_MAX,
};

/* A close waits so long for cached blocks to be written to kv_dir. */
static const int64_t FLUSH_NS = 5 * (int64_t)1000000000;

static enum status check_option(const char *name, size_t value, size_t max, struct error *err)
{
    if (value <= max)
        return OK;
    return error_set_param(err, ERR_INVALID, name, "%s is %zu, the most is %zu", name, value, max);
}

static enum status check_options(const struct engine_options *o, struct error *err)
{
    if (o->model_path == NULL || o->model_path[0] == '\0')
        return error_set_param(err, ERR_INVALID, "model", "no model file is given");
    enum status status = check_option("parallel", o->parallel, BATCH_SEQUENCES_MAX, err);
    if (status == OK)
        status = check_option("threads", o->threads, POOL_THREADS_MAX, err);
    if (status == OK)
        status = check_option("queue", o->queue_jobs_max, QUEUE_JOBS_MAX, err);
    if (status == OK)
        status = check_option("prefill_chunk", o->prefill_chunk, PREFILL_CHUNK_MAX, err);
    if (status == OK)
        status = check_option("ctx_size", o->ctx_size, INT32_MAX / 2, err);
    struct engine_sampling sampling;
    if (status == OK)
        status = engine_sampling_read(&sampling, NULL, o->sampling, err);
    if (status == OK && o->kv_dir != NULL && o->no_prefix_cache)
        return error_set_param(err, ERR_INVALID, "kv_dir",
                               "kv_dir needs the prefix cache, which is turned off");
    enum cpu_level level;
    if (status == OK && o->cpu_level != NULL && !kernels_level_parse(o->cpu_level, &level))
        return error_set_param(err, ERR_INVALID, "cpu", "there is no CPU level \"%s\"",
                               o->cpu_level);
    return status;
}

static bool copy_option(const char **text)
{
    if (*text == NULL)
        return true;
    *text = mem_strdup(*text);
    return *text != NULL;
}

static void free_options(struct engine_options *o)
{
    mem_free((char *)o->model_path);
    mem_free((char *)o->model_alias);
    mem_free((char *)o->cpu_level);
    mem_free((char *)o->sampling);
    mem_free((char *)o->kv_dir);
}

static bool copy_options(struct engine_options *to, const struct engine_options *from)
{
    *to = *from;
    engine_fill_defaults(to);
    const char **const texts[] = {&to->model_path, &to->model_alias, &to->cpu_level, &to->sampling,
                                  &to->kv_dir};
    bool is_complete = true;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        is_complete = copy_option(texts[i]) && is_complete;
    return is_complete;
}

/* Publishes the end of loading. A drain that came meanwhile stays. */
static void end_load(struct engine *engine, const struct error *err)
{
    pthread_mutex_lock(&engine->mu);
    engine->is_load_over = true;
    if (err->status != OK) {
        engine->load_error = *err;
        atomic_store(&engine->state, ENGINE_FAILED);
    } else if (atomic_load(&engine->state) == ENGINE_LOADING) {
        atomic_store(&engine->state, ENGINE_READY);
    }
    pthread_cond_broadcast(&engine->loaded);
    pthread_mutex_unlock(&engine->mu);
}

static void *thread_main(void *context)
{
    struct engine *engine = context;
    struct error err = {0};
    enum status status = engine_load(engine, &err);
    if (status != OK) {
        (void)error_set(&err, status, "%s", status_text(status));
        error_prefix(&err, "%s", engine->options.model_path);
        engine_unload(engine);
    }
    end_load(engine, &err);
    if (status == OK) {
        scheduler_run(engine->scheduler);
        kv_cache_flush(engine->cache, clock_ns() + FLUSH_NS);
    }
    return NULL;
}

enum status engine_open(struct engine **out, const struct engine_options *options,
                        struct error *err)
{
    *out = NULL;
    enum status status = check_options(options, err);
    if (status != OK)
        return status;
    struct engine *engine = mem_calloc(1, sizeof *engine);
    if (engine == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the engine");
    pthread_mutex_init(&engine->mu, NULL);
    pthread_cond_init(&engine->loaded, NULL);
    account_init(&engine->account, 0);
    metrics_init(&engine->metrics);
    atomic_init(&engine->state, ENGINE_LOADING);
    engine->wakeup = wakeup_create();
    if (engine->wakeup == NULL || !copy_options(&engine->options, options))
        status = error_set(err, ERR_MEMORY, "no memory for the engine");
    else if (pthread_create(&engine->thread, NULL, thread_main, engine) != 0)
        status = error_set(err, ERR_MEMORY, "the system refuses a thread for the engine");
    if (status != OK) {
        engine_close(engine);
        return status;
    }
    engine->has_thread = true;
    *out = engine;
    return OK;
}

enum engine_state engine_state(const struct engine *engine)
{
    return (enum engine_state)atomic_load(&engine->state);
}

enum status engine_wait(struct engine *engine, struct error *err)
{
    pthread_mutex_lock(&engine->mu);
    while (!engine->is_load_over)
        pthread_cond_wait(&engine->loaded, &engine->mu);
    enum status status = engine->load_error.status;
    if (status != OK && err != NULL && err->status == OK)
        *err = engine->load_error;
    pthread_mutex_unlock(&engine->mu);
    return status;
}

void engine_drain(struct engine *engine)
{
    pthread_mutex_lock(&engine->mu);
    if (atomic_load(&engine->state) != ENGINE_FAILED)
        atomic_store(&engine->state, ENGINE_DRAINING);
    pthread_cond_broadcast(&engine->loaded);
    pthread_mutex_unlock(&engine->mu);
}

size_t engine_jobs(const struct engine *engine)
{
    return atomic_load(&engine->metrics.jobs);
}

void engine_close(struct engine *engine)
{
    if (engine == NULL)
        return;
    if (engine->has_thread) {
        engine_drain(engine);
        // A load cannot be interrupted: the parts are known once it is over.
        pthread_mutex_lock(&engine->mu);
        while (!engine->is_load_over)
            pthread_cond_wait(&engine->loaded, &engine->mu);
        pthread_mutex_unlock(&engine->mu);
        text_pool_free(engine->text_pool);
        engine->text_pool = NULL;
        if (engine->scheduler != NULL)
            scheduler_stop(engine->scheduler);
        pthread_join(engine->thread, NULL);
    }
    engine_unload(engine);
    wakeup_unref(engine->wakeup);
    free_options(&engine->options);
    pthread_cond_destroy(&engine->loaded);
    pthread_mutex_destroy(&engine->mu);
    mem_free(engine);
}

const struct engine_info *engine_info(const struct engine *engine)
{
    return &engine->info;
}

/* ---- jobs ---- */

static enum status check_sampling(const struct job_request *r, struct error *err)
{
    if (!(r->temperature >= 0) || !isfinite(r->temperature))
        return error_set_param(err, ERR_INVALID, "temperature", "must be 0 or more");
    if (!(r->top_p > 0 && r->top_p <= 1))
        return error_set_param(err, ERR_INVALID, "top_p", "must be above 0 and at most 1");
    if (!(r->min_p >= 0 && r->min_p <= 1))
        return error_set_param(err, ERR_INVALID, "min_p", "must be in 0..1");
    if (!(r->repetition_penalty > 0) || !isfinite(r->repetition_penalty))
        return error_set_param(err, ERR_INVALID, "repetition_penalty", "must be above 0");
    if (!isfinite(r->presence_penalty))
        return error_set_param(err, ERR_INVALID, "presence_penalty", "must be finite");
    if (!isfinite(r->frequency_penalty))
        return error_set_param(err, ERR_INVALID, "frequency_penalty", "must be finite");
    if (r->top_logprobs > ENGINE_TOP_LOGPROBS_MAX)
        return error_set_param(err, ERR_LIMIT, "top_logprobs", "must be at most %d",
                               ENGINE_TOP_LOGPROBS_MAX);
    if (r->n_logit_bias > ENGINE_LOGIT_BIAS_MAX)
        return error_set_param(err, ERR_LIMIT, "logit_bias", "must have at most %d entries",
                               ENGINE_LOGIT_BIAS_MAX);
    for (size_t i = 0; i < r->n_logit_bias; i++)
        if (!isfinite(r->logit_bias[i].bias))
            return error_set_param(err, ERR_INVALID, "logit_bias", "must be finite");
    return OK;
}

static enum status check_request(const struct job_request *r, struct error *err)
{
    if (r->kind != JOB_CHAT && r->kind != JOB_COMPLETION)
        return OK;
    if (r->n_choices < 1 || r->n_choices > ENGINE_CHOICES_MAX)
        return error_set_param(err, ERR_LIMIT, "n", "must be in 1..%d", ENGINE_CHOICES_MAX);
    if (r->n_stops > ENGINE_STOPS_MAX)
        return error_set_param(err, ERR_LIMIT, "stop", "must be at most %d strings",
                               ENGINE_STOPS_MAX);
    for (size_t i = 0; i < r->n_stops; i++) {
        size_t n = strlen(r->stops[i]);
        if (n < 1 || n > ENGINE_STOP_BYTES_MAX)
            return error_set_param(err, ERR_LIMIT, "stop", "a stop string must have 1..%d bytes",
                                   ENGINE_STOP_BYTES_MAX);
    }
    return check_sampling(r, err);
}

static enum status check_state(struct engine *engine, struct error *err)
{
    switch (engine_state(engine)) {
    case ENGINE_READY:
        return OK;
    case ENGINE_LOADING:
        return error_set(err, ERR_LOADING, "the model is still loading");
    case ENGINE_DRAINING:
        return error_set(err, ERR_SHUTDOWN, "the server is shutting down");
    case ENGINE_FAILED:
        break;
    }
    return engine_wait(engine, err);
}

enum status engine_submit(struct engine *engine, const struct job_request *request,
                          struct job **out, struct error *err)
{
    *out = NULL;
    enum status status = check_state(engine, err);
    if (status == OK)
        status = check_request(request, err);
    if (status != OK)
        return status;
    struct metrics *metrics = &engine->metrics;
    if (atomic_fetch_add(&metrics->jobs_waiting, 1) >= engine->options.queue_jobs_max) {
        atomic_fetch_sub(&metrics->jobs_waiting, 1);
        return error_set(err, ERR_BUSY, "%zu requests are waiting already",
                         engine->options.queue_jobs_max);
    }
    struct job *job;
    status = job_create(&job, request, engine->wakeup, err);
    if (status != OK) {
        atomic_fetch_sub(&metrics->jobs_waiting, 1);
        return status;
    }
    job->is_waiting = true;
    atomic_fetch_add(&metrics->jobs, 1);
    *out = job;
    text_pool_add_take(engine->text_pool, job);
    return OK;
}

/* ---- observation ---- */

void engine_metrics(const struct engine *engine, struct engine_metrics *out)
{
    const struct metrics *m = &engine->metrics;
    size_t jobs = atomic_load(&m->jobs), waiting = atomic_load(&m->jobs_waiting);
    *out = (struct engine_metrics){
        .jobs_waiting = waiting,
        .jobs_running = jobs > waiting ? jobs - waiting : 0,
        .jobs_decoding = atomic_load(&m->jobs_decoding),
        .kv_blocks = atomic_load(&m->kv_blocks),
        .kv_blocks_free = atomic_load(&m->kv_blocks_free),
        .kv_blocks_cached = atomic_load(&m->kv_blocks_cached),
        .kv_blocks_spilled = atomic_load(&m->kv_blocks_spilled),
        .kv_bytes_spilled = atomic_load(&m->kv_bytes_spilled),
        .kv_bytes_reloaded = atomic_load(&m->kv_bytes_reloaded),
        .kv_blocks_damaged = atomic_load(&m->kv_blocks_damaged),
        .kv_blocks_dropped = atomic_load(&m->kv_blocks_dropped),
        .kv_dir_bytes = atomic_load(&m->kv_dir_bytes),
    };
#define X(name) out->name = atomic_load_explicit(&m->name, memory_order_relaxed);
    METRICS_COUNTERS(X)
#undef X
#define X(name) out->name = &m->name;
    METRICS_HISTOGRAMS(X)
#undef X
}
