/* POST /tokenize, /detokenize, /apply-template, /v1/chat/completions/input_tokens: text work of the
 * engine without generation.
 *
 * Two dialects meet here. llama.cpp sends `content` (BOS only when add_special is true), vLLM sends
 * `prompt` (with BOS unless add_special_tokens is false) or `messages`; the answers carry the
 * fields of both. The last two take the body of a chat completion, all of which is checked. */
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

enum text_kind { TEXT_TOKENIZE, TEXT_DETOKENIZE, TEXT_RENDER, TEXT_COUNT };

struct text_work {
    struct request *request;
    struct job *job;
    enum text_kind kind;
    bool with_pieces, with_texts;  // TOKENIZE
};

/* What the reader of a body fills in. */
struct text_request {
    struct request_body body;
    struct params params;
    struct buf ignored;
    struct arena arena;
    struct job_request job;
};

/* A token's bytes as text, or as a list of numbers when they are no text on their own. */
static void write_bytes(struct buf *out, const struct job_token *token)
{
    if (utf8_is_valid(token->bytes, token->n_bytes, NULL)) {
        buf_append_json(out, token->bytes, token->n_bytes);
        return;
    }
    for (size_t i = 0; i < token->n_bytes; i++)
        buf_printf(out, "%c%u", i ? ',' : '[', (unsigned)(unsigned char)token->bytes[i]);
    buf_append_char(out, ']');
}

static void write_tokens(const struct text_work *work, const struct job_event *event,
                         struct buf *out)
{
    buf_append_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < event->n_tokens; i++) {
        const struct job_token *token = &event->tokens[i];
        if (i > 0)
            buf_append_char(out, ',');
        buf_printf(out, work->with_pieces ? "{\"id\":%" PRId32 ",\"piece\":" : "%" PRId32,
                   token->token);
        if (work->with_pieces) {
            write_bytes(out, token);
            buf_append_char(out, '}');
        }
    }
    buf_append_char(out, ']');
    for (size_t i = 0; work->with_texts && i < event->n_tokens; i++) {
        buf_append_text(out, i > 0 ? "," : ",\"token_strs\":[");
        buf_append_json(out, event->tokens[i].bytes, event->tokens[i].n_bytes);
    }
    if (work->with_texts)
        buf_append_text(out, event->n_tokens > 0 ? "]" : ",\"token_strs\":[]");
    buf_printf(out, ",\"count\":%zu,\"max_model_len\":%zu}", event->n_tokens,
               engine_info(work->request->app->engine)->ctx_size);
}

static void write_text(const struct job_event *event, struct buf *out)
{
    buf_append_text(out, "{\"content\":");
    buf_append_json(out, event->text, event->n_bytes);
    buf_append_text(out, ",\"prompt\":");
    buf_append_json(out, event->text, event->n_bytes);
    buf_append_char(out, '}');
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
        work->request->prompt_tokens = event->n_tokens;
        if (event->type == EVENT_RENDERED)
            write_text(event, &body);
        else if (work->kind == TEXT_COUNT)
            buf_printf(&body, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu}",
                       event->n_tokens);
        else
            write_tokens(work, event, &body);
        reply_json(work->request, exchange, 200, &body);
        return;
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

static enum status submit(struct text_work *work, struct http_exchange *exchange,
                          struct job_request *job, struct error *err)
{
    struct request *request = work->request;
    enum status status = app_readiness(request->app, err);
    if (status != OK)
        return status;
    memcpy(job->tenant, request->tenant, sizeof job->tenant);
    job->arrival_unix_s = clock_unix_s();
    job->n_choices = 1;
    job->top_logprobs = -1;
    job->on_ready = http_notify;
    job->user = http_wake_handle(exchange);
    return engine_submit(request->app->engine, job, &work->job, err);
}

/* A boolean that is not given stays as it is. */
static void read_bool(const struct param_value *value, bool *out)
{
    if (value->node)
        *out = cJSON_IsTrue(value->node);
}

static enum status read_tokenize(const struct params *params, struct text_work *work,
                                 struct job_request *job, struct error *err)
{
    const cJSON *content = params->content.node, *prompt = params->prompt.node;
    const cJSON *text = content ? content : prompt;
    if (!text) {
        return error_set_param(err, ERR_INVALID, "content",
                               "'content' (or 'prompt') is required, a string");
    }
    bool add_special = !content;
    read_bool(&params->add_special, &add_special);
    read_bool(&params->add_special_tokens, &add_special);
    work->with_pieces = params->with_pieces;
    work->with_texts = params->return_token_strs;
    job->prompt = text->valuestring;
    job->prompt_bytes = strlen(text->valuestring);
    job->no_special = !add_special;
    job->parse_special = params->parse_special;
    return OK;
}

static enum status read_detokenize(const struct params *params, struct job_request *job,
                                   struct arena *arena, struct error *err)
{
    const cJSON *list = params->tokens.node;
    if (!list) {
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
    job->prompt_tokens = tokens;
    job->n_prompt_tokens = n_tokens;
    return OK;
}

/* Tools, template variables and how the last message is to end: for chats and for /tokenize. */
static enum status read_chat(struct text_request *text, struct error *err)
{
    const struct params *params = &text->params;
    struct job_request *job = &text->job;
    enum status status =
        chat_messages_check(&params->messages, &text->arena, &job->messages_json, err);
    if (status == OK && params->tools.node && params->tools.node->child)
        status = chat_tools_check(&params->tools, &text->arena, &job->tools_json, err);
    if (status == OK && params->chat_template_kwargs.node) {
        status = chat_variables_check(&params->chat_template_kwargs, &text->arena,
                                      &job->template_variables_json, err);
    }
    return status;
}

static enum status read_body(struct text_request *text, struct text_work *work,
                             const struct app *app, struct error *err)
{
    static const enum endpoint endpoints[] = {ENDPOINT_TOKENIZE, ENDPOINT_DETOKENIZE, ENDPOINT_CHAT,
                                              ENDPOINT_CHAT};
    static const enum job_kind kinds[] = {JOB_TOKENIZE, JOB_DETOKENIZE, JOB_RENDER, JOB_TOKENIZE};
    enum status status =
        params_parse(endpoints[work->kind], &text->body, app->options->strict_params, &text->params,
                     &text->ignored, err);
    if (status == OK)
        status = request_check_model(&text->params.model, app->model_id, err);
    if (status != OK)
        return status;
    text->job.kind = kinds[work->kind];
    if (work->kind == TEXT_DETOKENIZE)
        return read_detokenize(&text->params, &text->job, &text->arena, err);
    if (work->kind == TEXT_TOKENIZE && !text->params.messages.node)
        return read_tokenize(&text->params, work, &text->job, err);
    work->with_pieces = text->params.with_pieces;
    work->with_texts = text->params.return_token_strs;
    return read_chat(text, err);
}

static enum status begin(struct text_work *work, struct http_exchange *exchange,
                         struct text_request *text, struct error *err)
{
    size_t n_bytes;
    const char *body = http_body(exchange, &n_bytes);
    enum status status = request_body_parse(&text->body, body, n_bytes, err);
    if (status == OK)
        status = read_body(text, work, work->request->app, err);
    if (status == OK)
        status = buf_status(&text->ignored, "the list of ignored fields", err);
    return status == OK ? submit(work, exchange, &text->job, err) : status;
}

static void text_request(struct request *request, struct http_exchange *exchange,
                         enum text_kind kind)
{
    struct error err = {OK, "", ""};
    struct text_request text = {0};
    buf_init(&text.ignored, 2 * IGNORED_BYTES_MAX);
    arena_init(&text.arena, WORK_ARENA_BYTES);
    struct text_work *work = mem_calloc(1, sizeof *work);
    enum status status = OK;
    if (work) {
        work->request = request;
        work->kind = kind;
        status = begin(work, exchange, &text, &err);
    } else {
        status = error_set(&err, ERR_MEMORY, "no memory for the request");
    }
    if (status == OK) {
        if (text.ignored.n_bytes > 0)
            http_add_header(exchange, "X-Ignored-Params", text.ignored.bytes);
        http_wait(exchange, &text_work_vtable, work);
    } else {
        mem_free(work);
        reply_failure(request, exchange, &err);
    }
    request_body_release(&text.body);
    arena_release(&text.arena);
    buf_release(&text.ignored);
}

void api_tokenize(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, TEXT_TOKENIZE);
}
void api_detokenize(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, TEXT_DETOKENIZE);
}
void api_render(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, TEXT_RENDER);
}
void api_count(struct request *request, struct http_exchange *exchange)
{
    text_request(request, exchange, TEXT_COUNT);
}
