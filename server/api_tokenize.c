/* POST /tokenize, /detokenize, /apply-template: text work of the engine without generation.
 *
 * Two dialects meet here. llama.cpp sends `content` (BOS only when add_special is true), vLLM sends
 * `prompt` (with BOS unless add_special_tokens is false); the answers carry the fields of both. */
#include "server/route.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <limits.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "server/chat_request.h"
#include "server/generation_request.h"

enum { REPLY_BYTES_MAX = 128 << 20, WORK_ARENA_BYTES = 4 * REQUEST_BODY_BYTES_MAX };

struct text_work {
    struct request *request;
    struct job *job;
    bool with_pieces;
};

static void write_piece(struct buf *out, const struct job_token *token)
{
    buf_printf(out, "{\"id\":%" PRId32 ",\"piece\":", token->token);
    if (utf8_is_valid(token->bytes, token->n_bytes, NULL)) {
        buf_append_json(out, token->bytes, token->n_bytes);
    } else {
        for (size_t i = 0; i < token->n_bytes; i++)
            buf_printf(out, "%c%u", i ? ',' : '[', (unsigned)(unsigned char)token->bytes[i]);
        buf_append_char(out, ']');
    }
    buf_append_char(out, '}');
}

static void write_tokens(const struct text_work *work, const struct job_event *event,
                         struct buf *out)
{
    buf_append_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < event->n_tokens; i++) {
        if (i > 0)
            buf_append_char(out, ',');
        if (work->with_pieces)
            write_piece(out, &event->tokens[i]);
        else
            buf_printf(out, "%" PRId32, event->tokens[i].token);
    }
    buf_printf(out, "],\"count\":%zu,\"max_model_len\":%zu}", event->n_tokens,
               engine_info(work->request->app->engine)->ctx_size);
}

static void text_wake(void *state, struct http_exchange *exchange, unsigned events)
{
    struct text_work *work = state;
    const struct job_event *event;
    struct buf body;
    buf_init(&body, REPLY_BYTES_MAX);
    while (job_next_event(work->job, &event)) {
        if (event->type == EVENT_REJECTED || event->type == EVENT_FAILED) {
            reply_failure(work->request, exchange, &event->error);
            return;
        }
        if (event->type == EVENT_TOKENS) {
            write_tokens(work, event, &body);
            work->request->prompt_tokens = event->n_tokens;
            reply_json(work->request, exchange, 200, &body);
            return;
        }
        if (event->type == EVENT_RENDERED) {
            buf_append_text(&body, "{\"content\":");
            buf_append_json(&body, event->text, event->n_bytes);
            buf_append_text(&body, ",\"prompt\":");
            buf_append_json(&body, event->text, event->n_bytes);
            buf_append_char(&body, '}');
            reply_json(work->request, exchange, 200, &body);
            return;
        }
    }
    if (events & HTTP_STOPPING) {
        struct error err = {OK, "", ""};
        enum status status = error_set(&err, ERR_SHUTDOWN, "the server is shutting down");
        (void)status;
        reply_failure(work->request, exchange, &err);
    }
}

static enum http_fill text_fill(void *state, struct buf *out, size_t bytes_max, unsigned events)
{
    (void)state, (void)out, (void)bytes_max, (void)events;
    return HTTP_FILL_BROKEN;  // never streams
}
static void text_cancel(void *state)
{
    job_cancel(((struct text_work *)state)->job);
}
static void text_release(void *state)
{
    struct text_work *work = state;
    job_release(work->job);
    mem_free(work);
}
static const struct http_work text_work_vtable = {text_wake, text_fill, text_cancel, text_release};

static void start(struct request *request, struct http_exchange *exchange, struct job_request *job,
                  bool with_pieces)
{
    struct error err = {OK, "", ""};
    struct text_work *work = mem_calloc(1, sizeof *work);
    enum status status =
        work ? app_readiness(request->app, &err) : error_set(&err, ERR_MEMORY, "no memory");
    if (status == OK) {
        memcpy(job->tenant, request->tenant, sizeof job->tenant);
        job->arrival_unix_s = clock_unix_s();
        job->n_choices = 1;
        job->top_logprobs = -1;
        job->on_ready = http_notify;
        job->user = http_wake_handle(exchange);
        status = engine_submit(request->app->engine, job, &work->job, &err);
    }
    if (status != OK) {
        mem_free(work);
        reply_failure(request, exchange, &err);
        return;
    }
    work->request = request;
    work->with_pieces = with_pieces;
    http_wait(exchange, &text_work_vtable, work);
}

static enum status read_bool(const cJSON *root, const char *name, bool *out, struct error *err)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, name);
    if (!node || cJSON_IsNull(node))
        return OK;
    if (!cJSON_IsBool(node))
        return error_set_param(err, ERR_INVALID, name, "'%s' must be a boolean", name);
    *out = cJSON_IsTrue(node);
    return OK;
}

static enum status read_tokenize(const cJSON *root, struct job_request *job, bool *with_pieces,
                                 struct error *err)
{
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(root, "content");
    const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(root, "prompt");
    const cJSON *text = content ? content : prompt;
    if (!cJSON_IsString(text)) {
        return error_set_param(err, ERR_INVALID, content || !prompt ? "content" : "prompt",
                               "'content' (or 'prompt') is required, a string");
    }
    bool add_special = !content, parse_special = true;
    enum status status = read_bool(root, "add_special", &add_special, err);
    if (status == OK)
        status = read_bool(root, "add_special_tokens", &add_special, err);
    if (status == OK)
        status = read_bool(root, "parse_special", &parse_special, err);
    if (status == OK)
        status = read_bool(root, "with_pieces", with_pieces, err);
    job->kind = JOB_TOKENIZE;
    job->prompt = text->valuestring;
    job->prompt_bytes = strlen(text->valuestring);
    job->no_special = !add_special;
    job->parse_special = parse_special;
    return status;
}

static enum status read_detokenize(const cJSON *root, struct job_request *job, struct arena *arena,
                                   struct error *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "tokens");
    if (!cJSON_IsArray(list)) {
        return error_set_param(err, ERR_INVALID, "tokens",
                               "'tokens' is required, an array of token ids");
    }
    size_t n_tokens = (size_t)cJSON_GetArraySize(list), n = 0;
    int32_t *tokens = arena_alloc(arena, (n_tokens + 1) * sizeof *tokens);
    if (!tokens)
        return error_set(err, ERR_MEMORY, "no memory for the tokens");
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (id < 0 || id > INT32_MAX || id != (double)(int32_t)id) {
            return error_set_param(err, ERR_INVALID, "tokens", "'tokens[%zu]' is not a token id",
                                   n);
        }
        tokens[n++] = (int32_t)id;
    }
    job->kind = JOB_DETOKENIZE;
    job->prompt_tokens = tokens;
    job->n_prompt_tokens = n_tokens;
    return OK;
}

/* The rows of the chat table say what each member is; only these four matter here. */
static enum status read_render(const struct request_body *body, struct job_request *job,
                               struct arena *arena, struct error *err)
{
    struct params params;
    struct buf ignored;
    buf_init(&ignored, 2 * IGNORED_BYTES_MAX);
    enum status status = params_parse(ENDPOINT_CHAT, body, false, &params, &ignored, err);
    buf_release(&ignored);
    if (status == OK)
        status = chat_messages_check(&params.messages, arena, &job->messages_json, err);
    if (status == OK && params.tools.node && params.tools.node->child)
        status = chat_tools_check(&params.tools, arena, &job->tools_json, err);
    if (status == OK && params.chat_template_kwargs.node) {
        status = chat_variables_check(&params.chat_template_kwargs, arena,
                                      &job->template_variables_json, err);
    }
    job->kind = JOB_RENDER;
    return status;
}

static void text_request(struct request *request, struct http_exchange *exchange,
                         enum job_kind kind)
{
    struct request_body body = {0};
    struct error err = {OK, "", ""};
    struct job_request job = {0};
    struct arena arena;
    bool with_pieces = false;
    size_t n_bytes;
    const char *text = http_body(exchange, &n_bytes);
    arena_init(&arena, WORK_ARENA_BYTES);
    enum status status = request_body_parse(&body, text, n_bytes, &err);
    if (status == OK && kind == JOB_TOKENIZE)
        status = read_tokenize(body.root, &job, &with_pieces, &err);
    else if (status == OK && kind == JOB_DETOKENIZE)
        status = read_detokenize(body.root, &job, &arena, &err);
    else if (status == OK)
        status = read_render(&body, &job, &arena, &err);
    if (status == OK)
        start(request, exchange, &job, with_pieces);
    else
        reply_failure(request, exchange, &err);
    request_body_release(&body);
    arena_release(&arena);
}

void api_tokenize(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, JOB_TOKENIZE);
}
void api_detokenize(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, JOB_DETOKENIZE);
}
void api_render(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, JOB_RENDER);
}
