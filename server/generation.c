/* Chat and completion jobs as waiting work of an exchange; see generation.h.
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
#include "server/answer.h"
#include "server/chat_request.h"
#include "server/sse.h"

struct generation {
    struct app *app;
    struct request *request;  // valid while the exchange is
    struct job *job;
    struct answer answer;
    struct buf first;  // stream: what was ready before the head went out
    struct buf body;   // whole answer
    bool prepared;     // EVENT_PREPARED was seen
    bool ended;        // the last event was seen
    int key;
};

static void generation_cancel(void *state)
{
    struct generation *generation = state;
    job_cancel(generation->job);
}

static void generation_release(void *state)
{
    struct generation *generation = state;
    if (generation->job)
        job_release(generation->job);
    key_limits_leave(&generation->app->key_limits, generation->key);
    answer_release(&generation->answer);
    buf_release(&generation->first);
    buf_release(&generation->body);
    mem_free(generation);
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
    generation->ended = true;
    reply_error(generation->request, exchange, &error);
}

static void fail_text(struct generation *generation, struct http_exchange *exchange,
                      enum status status, const char *text)
{
    struct error err = {OK, "", ""};
    status = error_set(&err, status, "%s", text);
    job_cancel(generation->job);
    generation->ended = true;
    reply_failure(generation->request, exchange, &err);
}

static bool prepare(struct generation *generation, const struct job_event *event)
{
    const struct engine_info *info = engine_info(generation->app->engine);
    generation->prepared = true;
    generation->request->prompt_tokens = event->prompt_tokens;
    return answer_prepare(&generation->answer, generation->app->model_id, info->fingerprint,
                          event->seed, event->prompt_tokens);
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
    generation->ended = true;
    generation->request->completion_tokens = event->completion_tokens;
}

/* An event after PREPARED, before the reply's head: true when the reply is on its way. */
static bool take_event(struct generation *generation, struct http_exchange *exchange,
                       const struct job_event *event)
{
    bool stream = generation->answer.shape.stream;
    struct buf *out = stream ? &generation->first : &generation->body;
    if (stream)
        answer_stream_start(&generation->answer, out);
    if (!answer_event(&generation->answer, event, out)) {
        fail_text(generation, exchange, ERR_INTERNAL, "the answer outgrew its memory");
        return true;
    }
    note_done(generation, event);
    if (stream)
        start_stream(generation, exchange);
    else if (event->type == EVENT_DONE)
        reply_json(generation->request, exchange, 200, &generation->body);
    return stream || event->type == EVENT_DONE;
}

static void generation_wake(void *state, struct http_exchange *exchange, unsigned events)
{
    struct generation *generation = state;
    const struct job_event *event;
    while (job_next_event(generation->job, &event)) {
        if (event->type == EVENT_REJECTED || event->type == EVENT_FAILED) {
            fail(generation, exchange, event);
            return;
        }
        if (event->type == EVENT_PREPARED) {
            if (!prepare(generation, event)) {
                fail_text(generation, exchange, ERR_MEMORY, "no memory for the answer");
                return;
            }
        } else if (take_event(generation, exchange, event)) {
            return;
        }
    }
    if (events & HTTP_STOPPING) {
        fail_text(generation, exchange, ERR_SHUTDOWN, "the server is shutting down");
    } else if ((events & HTTP_PING) && generation->prepared && generation->answer.shape.stream) {
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
    if (generation->first.n_bytes > 0) {
        buf_append(out, generation->first.bytes, generation->first.n_bytes);
        buf_release(&generation->first);
    }
    while (!generation->ended && out->n_bytes < bytes_max &&
           job_next_event(generation->job, &event)) {
        if (event->type == EVENT_FAILED) {
            write_error_event(generation, out, &event->error);
        } else if (!answer_event(&generation->answer, event, out)) {
            job_cancel(generation->job);
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
        job_cancel(generation->job);
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
    answer_init(&generation->answer, &wanted->shape);
    buf_init(&generation->first, 1 << 20);
    buf_init(&generation->body, 2 * (size_t)ANSWER_BYTES_MAX);
    return generation;
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
    if (!generation)
        status = error_set(&err, ERR_MEMORY, "no memory for the request");
    if (status == OK)
        status = app_readiness(app, &err);
    if (status == OK && wanted->job.kind == JOB_CHAT)
        status = chat_reasoning_settle(wanted, engine_info(app->engine),
                                       app->options->strict_params, &err);
    if (status == OK) {
        memcpy(wanted->job.tenant, request->tenant, sizeof wanted->job.tenant);
        wanted->job.arrival_unix_s = clock_unix_s();
        wanted->job.on_ready = http_notify;
        wanted->job.user = http_wake_handle(exchange);
        status = engine_submit(app->engine, &wanted->job, &generation->job, &err);
    }
    if (status != OK) {
        reply_failure(request, exchange, &err);
        if (generation)
            generation_release(generation);
        else
            key_limits_leave(&app->key_limits, request->key);
        return;
    }
    if (wanted->ignored.n_bytes > 0)
        http_add_header(exchange, "X-Ignored-Params", wanted->ignored.bytes);
    http_wait(exchange, &generation_work, generation);
}
