/* Chat and completion jobs as waiting work of an exchange; see generation.h.
 *
 * A completion request with several prompts is several jobs behind one exchange. Nothing is taken
 * from any of them before all are prepared, so that a bad prompt still gets its 4xx; then their
 * events are taken in turn, so that no job waits for its reader longer than the others.
 *
 * The head of a streamed reply goes out when every 4xx is decided and the first text (or a ping) is
 * due: an error before that is a plain HTTP error, later it is an error event, after which the
 * stream ends without [DONE], so that a cut answer never looks whole. Back-pressure: events are
 * only taken while there is room in the socket's buffer; a job whose events nobody takes pauses
 * itself. */
#include "server/generation.h"

#include <stdatomic.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "server/answer.h"
#include "server/chat_request.h"
#include "server/sse.h"

/* A prompt's job. */
struct part {
    struct job *job;
    bool prepared;  // EVENT_PREPARED was seen
};

struct generation {
    struct app *app;
    struct request *request;  // valid while the exchange is
    struct part *parts;       // [n_parts]
    size_t n_parts, n_prepared;
    size_t next;  // the part whose events are taken next
    struct answer answer;
    struct buf first;  // stream: what was ready before the head went out
    struct buf body;   // whole answer
    bool ended;        // the last event was seen
    int key;
};

static void cancel_parts(struct generation *generation)
{
    for (size_t i = 0; i < generation->n_parts; i++)
        if (generation->parts[i].job)
            job_cancel(generation->parts[i].job);
}

static void generation_cancel(void *state)
{
    cancel_parts(state);
}

static void generation_free(struct generation *generation)
{
    for (size_t i = 0; i < generation->n_parts; i++)
        if (generation->parts[i].job)
            job_release(generation->parts[i].job);
    mem_free(generation->parts);
    answer_release(&generation->answer);
    buf_release(&generation->first);
    buf_release(&generation->body);
    mem_free(generation);
}

static void generation_release(void *state)
{
    struct generation *generation = state;
    key_limits_leave(&generation->app->key_limits, generation->key);
    generation_free(generation);
}

static void fail(struct generation *generation, struct http_exchange *exchange,
                 const struct job_event *event)
{
    const struct engine_info *info = engine_info(generation->app->engine);
    struct api_error error = api_error_from(&event->error);
    if (event->error.status == ERR_CONTEXT && info) {
        error.prompt_tokens = event->prompt_tokens;
        error.ctx_size = info->ctx_size;
    }
    cancel_parts(generation);
    generation->ended = true;
    reply_error(generation->request, exchange, &error);
}

static void fail_text(struct generation *generation, struct http_exchange *exchange,
                      enum status status, const char *text)
{
    struct error err = {OK, "", ""};
    status = error_set(&err, status, "%s", text);
    cancel_parts(generation);
    generation->ended = true;
    reply_failure(generation->request, exchange, &err);
}

static bool all_prepared(const struct generation *generation)
{
    return generation->n_prepared == generation->n_parts;
}

/* The next event of some part; only first events until all parts are prepared. */
static bool next_event(struct generation *generation, size_t *part, const struct job_event **event)
{
    for (size_t i = 0; i < generation->n_parts; i++) {
        *part = (generation->next + i) % generation->n_parts;
        if (!all_prepared(generation) && generation->parts[*part].prepared)
            continue;
        if (job_next_event(generation->parts[*part].job, event)) {
            generation->next = *part + 1;
            return true;
        }
    }
    return false;
}

static bool prepare(struct generation *generation, size_t part, const struct job_event *event)
{
    const struct engine_info *info = engine_info(generation->app->engine);
    generation->parts[part].prepared = true;
    generation->request->prompt_tokens += event->prompt_tokens;
    if (++generation->n_prepared == 1 &&
        !answer_prepare(&generation->answer, generation->app->model_id, info->fingerprint,
                        event->seed, event->prompt_tokens))
        return false;
    return answer_event(&generation->answer, part, event, &generation->first);
}

static void start_stream(struct generation *generation, struct http_exchange *exchange)
{
    route_add_headers(generation->request, exchange);
    http_add_header(exchange, "Cache-Control", "no-store");
    http_add_header(exchange, "X-Accel-Buffering", "no");
    http_stream(exchange, 200, "text/event-stream; charset=utf-8");
}

static void note_done(struct generation *generation, const struct job_event *event)
{
    if (event->type != EVENT_DONE)
        return;
    generation->ended = answer_is_done(&generation->answer);
    generation->request->completion_tokens += event->completion_tokens;
}

/* An event after PREPARED, before the reply's head: true when the reply is on its way. */
static bool take_event(struct generation *generation, struct http_exchange *exchange, size_t part,
                       const struct job_event *event)
{
    bool stream = generation->answer.shape.stream;
    struct buf *out = stream ? &generation->first : &generation->body;
    if (stream)
        answer_stream_start(&generation->answer, out);
    if (!answer_event(&generation->answer, part, event, out)) {
        fail_text(generation, exchange, ERR_INTERNAL, "the answer outgrew its memory");
        return true;
    }
    note_done(generation, event);
    if (stream)
        start_stream(generation, exchange);
    else if (generation->ended)
        reply_json(generation->request, exchange, 200, &generation->body);
    return stream || generation->ended;
}

static void generation_wake(void *state, struct http_exchange *exchange, unsigned events)
{
    struct generation *generation = state;
    const struct job_event *event;
    size_t part;
    while (next_event(generation, &part, &event)) {
        if (event->type == EVENT_REJECTED || event->type == EVENT_FAILED) {
            fail(generation, exchange, event);
            return;
        }
        if (event->type == EVENT_PREPARED) {
            if (!prepare(generation, part, event)) {
                fail_text(generation, exchange, ERR_MEMORY, "no memory for the answer");
                return;
            }
        } else if (take_event(generation, exchange, part, event)) {
            return;
        }
    }
    if (events & HTTP_STOPPING) {
        fail_text(generation, exchange, ERR_SHUTDOWN, "the server is shutting down");
    } else if ((events & HTTP_PING) && all_prepared(generation) &&
               generation->answer.shape.stream) {
        answer_stream_start(&generation->answer, &generation->first);
        sse_keep_alive(&generation->first);
        start_stream(generation, exchange);
    }
}

static void write_error_event(struct generation *generation, struct buf *out,
                              const struct error *err)
{
    struct api_error error = api_error_from(err);
    sse_event_begin(out);
    api_error_write(out, &error);
    sse_event_end(out);
    generation->ended = true;
}

static enum http_fill generation_fill(void *state, struct buf *out, size_t bytes_max,
                                      unsigned events)
{
    struct generation *generation = state;
    const struct job_event *event;
    size_t part;
    if (generation->first.n_bytes > 0) {
        buf_append(out, generation->first.bytes, generation->first.n_bytes);
        buf_release(&generation->first);
    }
    while (!generation->ended && out->n_bytes < bytes_max &&
           next_event(generation, &part, &event)) {
        if (event->type == EVENT_FAILED) {
            cancel_parts(generation);
            write_error_event(generation, out, &event->error);
        } else if (!answer_event(&generation->answer, part, event, out)) {
            cancel_parts(generation);
            return HTTP_FILL_BROKEN;
        } else {
            note_done(generation, event);
        }
    }
    if (generation->ended)
        return HTTP_FILL_END;
    if (out->n_bytes == 0 && (events & HTTP_STOPPING)) {
        struct error err = {OK, "", ""};
        enum status status = error_set(&err, ERR_SHUTDOWN, "the server is shutting down");
        (void)status;
        cancel_parts(generation);
        write_error_event(generation, out, &err);
        return HTTP_FILL_END;
    }
    if (out->n_bytes == 0 && (events & HTTP_PING))
        sse_keep_alive(out);
    return HTTP_FILL_MORE;
}

static const struct http_work generation_work = {generation_wake, generation_fill,
                                                 generation_cancel, generation_release};

static struct generation *generation_create(struct request *request,
                                            const struct generation_request *wanted)
{
    struct generation *generation = mem_calloc(1, sizeof *generation);
    if (!generation)
        return NULL;
    generation->app = request->app;
    generation->request = request;
    generation->key = request->key;
    buf_init(&generation->first, 2 * (size_t)ANSWER_BYTES_MAX);
    buf_init(&generation->body, 2 * (size_t)ANSWER_BYTES_MAX);
    bool whole = answer_init(&generation->answer, &wanted->shape);
    generation->n_parts = wanted->shape.n_prompts;
    generation->parts = mem_calloc(generation->n_parts, sizeof *generation->parts);
    if (!generation->parts)
        generation->n_parts = 0;
    if (whole && generation->parts)
        return generation;
    generation_free(generation);
    return NULL;
}

/* The job of one prompt of a completion request; a chat has one job, which is complete already. */
static enum status set_prompt(struct generation *generation, struct generation_request *wanted,
                              size_t part, struct error *err)
{
    if (!wanted->prompts)
        return OK;
    const struct request_prompt *prompt = &wanted->prompts[part];
    struct job_request *job = &wanted->job;
    job->prompt = prompt->text;
    job->prompt_bytes = prompt->n_bytes;
    job->prompt_tokens = prompt->ids;
    job->n_prompt_tokens = prompt->n_ids;
    job->echo_tokens = wanted->shape.echo && !prompt->text;
    if (wanted->shape.echo && prompt->text &&
        !answer_set_echo(&generation->answer, part, prompt->text, prompt->n_bytes))
        return error_set(err, ERR_MEMORY, "no memory for the prompt");
    return OK;
}

static enum status submit_parts(struct generation *generation, struct http_exchange *exchange,
                                struct generation_request *wanted, struct error *err)
{
    struct request *request = generation->request;
    struct job_request *job = &wanted->job;
    memcpy(job->tenant, request->tenant, sizeof job->tenant);
    job->arrival_unix_s = clock_unix_s();
    job->on_ready = http_notify;
    job->lazy_ready = !wanted->shape.stream;
    job->user = http_wake_handle(exchange);
    if (!job->has_seed && generation->n_parts > 1) {  // one seed for all, which the answer tells
        job->has_seed = true;
        job->seed = rng_seed_from_system();
    }
    enum status status = OK;
    for (size_t i = 0; status == OK && i < generation->n_parts; i++) {
        status = set_prompt(generation, wanted, i, err);
        if (status == OK)
            status = engine_submit(request->app->engine, job, &generation->parts[i].job, err);
    }
    return status;
}

struct request_rules app_request_rules(const struct app *app)
{
    bool is_ready = engine_state(app->engine) == ENGINE_READY;
    return (struct request_rules){.model_id = app->model_id,
                                  .strict = app->options->strict_params,
                                  .sampling =
                                      is_ready ? &engine_info(app->engine)->sampling : NULL};
}

void generation_start(struct request *request, struct http_exchange *exchange,
                      struct generation_request *wanted)
{
    struct app *app = request->app;
    struct error err = {OK, "", ""};
    if (!key_limits_enter(&app->key_limits, request->key)) {
        struct api_error error =
            api_error_http(429, "this API key has as many requests in flight as it may");
        reply_error(request, exchange, &error);
        return;
    }
    struct generation *generation = generation_create(request, wanted);
    enum status status = OK;
    if (!generation) {
        key_limits_leave(&app->key_limits, request->key);
        status = error_set(&err, ERR_MEMORY, "no memory for the request");
        reply_failure(request, exchange, &err);
        return;
    }
    status = app_readiness(app, &err);
    if (status == OK && wanted->job.kind == JOB_CHAT)
        status = chat_reasoning_settle(wanted, engine_info(app->engine),
                                       app->options->strict_params, &err);
    if (status == OK)
        status = submit_parts(generation, exchange, wanted, &err);
    if (status != OK) {
        reply_failure(request, exchange, &err);
        generation_release(generation);
        return;
    }
    if (wanted->ignored.n_bytes > 0)
        http_add_header(exchange, "X-Ignored-Params", wanted->ignored.bytes);
    http_wait(exchange, &generation_work, generation);
}
