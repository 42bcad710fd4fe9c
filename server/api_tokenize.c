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
#include "server/generation.h"

enum { REPLY_BYTES_MAX = 128 << 20 };

enum text_kind { TEXT_TOKENIZE, TEXT_DETOKENIZE, TEXT_RENDER, TEXT_COUNT };

struct text_work {
    struct request *request;
    struct job *job;
    enum text_kind kind;
    bool with_pieces, with_texts;  // TOKENIZE
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
    if (!params->tokens.node) {
        return error_set_param(err, ERR_INVALID, "tokens",
                               "'tokens' is required, an array of token ids");
    }
    return request_read_ids(arena, params->tokens.node, "tokens", &job->prompt_tokens,
                            &job->n_prompt_tokens, err);
}

/* Tools, template variables and how the last message is to end: for chats and for /tokenize. */
static enum status read_chat(struct generation_request *body, struct job_request *job,
                             struct error *err)
{
    const struct params *params = &body->params;
    enum status status =
        chat_messages_check(&params->messages, &body->arena, &job->messages_json, err);
    if (status == OK)
        status = chat_end_check(params, &body->arena, job, err);
    if (status == OK && params->tools.node && params->tools.node->child)
        status = chat_tools_check(&params->tools, &body->arena, &job->tools_json, err);
    if (status == OK && params->chat_template_kwargs.node) {
        status = chat_variables_check(&params->chat_template_kwargs, &body->arena,
                                      &job->template_variables_json, err);
    }
    return status;
}

static enum status read_body(struct text_work *work, struct http_exchange *exchange,
                             struct generation_request *body, struct job_request *job,
                             struct error *err)
{
    static const enum endpoint endpoints[] = {ENDPOINT_TOKENIZE, ENDPOINT_DETOKENIZE, ENDPOINT_CHAT,
                                              ENDPOINT_CHAT};
    static const enum job_kind kinds[] = {JOB_TOKENIZE, JOB_DETOKENIZE, JOB_RENDER, JOB_TOKENIZE};
    const struct app *app = work->request->app;
    const struct request_rules rules = app_request_rules(app);
    bool chat = endpoints[work->kind] == ENDPOINT_CHAT;
    size_t n_bytes;
    const char *text = http_body(exchange, &n_bytes);
    enum status status = (chat ? generation_request_begin : generation_request_open)(
        body, endpoints[work->kind], text, n_bytes, &rules, err);
    job->kind = kinds[work->kind];
    if (status != OK)
        return status;
    if (work->kind == TEXT_DETOKENIZE)
        return read_detokenize(&body->params, job, &body->arena, err);
    if (work->kind == TEXT_TOKENIZE && !body->params.messages.node)
        return read_tokenize(&body->params, work, job, err);
    work->with_pieces = body->params.with_pieces;
    work->with_texts = body->params.return_token_strs;
    return read_chat(body, job, err);
}

static void text_request(struct request *request, struct http_exchange *exchange,
                         enum text_kind kind)
{
    struct error err = {OK, "", ""};
    struct generation_request body = {0};
    struct job_request job = {0};
    struct text_work *work = mem_calloc(1, sizeof *work);
    enum status status = OK;
    if (work) {
        work->request = request;
        work->kind = kind;
        status = read_body(work, exchange, &body, &job, &err);
        if (status == OK)
            status = buf_status(&body.ignored, "the list of ignored fields", &err);
        if (status == OK)
            status = submit(work, exchange, &job, &err);
    } else {
        status = error_set(&err, ERR_MEMORY, "no memory for the request");
    }
    if (status == OK) {
        if (body.ignored.n_bytes > 0)
            http_add_header(exchange, "X-Ignored-Params", body.ignored.bytes);
        http_wait(exchange, &text_work_vtable, work);
    } else {
        mem_free(work);
        reply_failure(request, exchange, &err);
    }
    generation_request_release(&body);
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
