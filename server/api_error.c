/* Failures to HTTP answers: one table for statuses of ours, one for plain HTTP statuses.
 *
 * A full server answers 503, a key over its own quota 429: a router takes the first as "try another
 * replica" and the second as "this client must slow down". Source: OpenAI's error object;
 * reference api.md section 1.10. */
#include "server/api_error.h"

#include <stdint.h>

static const char invalid[] = "invalid_request_error";
static const char unavailable[] = "unavailable_error";
static const char internal[] = "server_error";

/* By enum status; a request field that is refused arrives as ERR_INVALID or ERR_UNSUPPORTED. */
static const struct api_error by_status[] = {
    [OK] = {500, internal, "internal_error", NULL, NULL, 0, 0, 0},
    [ERR_INVALID] = {400, invalid, NULL, NULL, NULL, 0, 0, 0},
    [ERR_CONTEXT] = {400, invalid, "context_length_exceeded", NULL, NULL, 0, 0, 0},
    [ERR_FORMAT] = {500, internal, "internal_error", NULL, NULL, 0, 0, 0},
    [ERR_UNSUPPORTED] = {400, invalid, "unsupported_parameter", NULL, NULL, 0, 0, 0},
    [ERR_NOT_FOUND] = {404, invalid, "not_found", NULL, NULL, 0, 0, 0},
    [ERR_LIMIT] = {400, invalid, "limit_exceeded", NULL, NULL, 0, 0, 0},
    [ERR_IO] = {500, internal, "io_error", NULL, NULL, 0, 0, 0},
    [ERR_MEMORY] = {503, unavailable, "out_of_memory", NULL, NULL, 1, 0, 0},
    [ERR_BUSY] = {503, unavailable, "server_is_overloaded", NULL, NULL, 1, 0, 0},
    [ERR_LOADING] = {503, unavailable, "loading", NULL, NULL, 2, 0, 0},
    [ERR_SHUTDOWN] = {503, unavailable, "shutting_down", NULL, NULL, 2, 0, 0},
    [ERR_CANCELLED] = {503, unavailable, "cancelled", NULL, NULL, 1, 0, 0},
    [ERR_INTERNAL] = {500, internal, "internal_error", NULL, NULL, 0, 0, 0},
};

static const struct api_error by_http_status[] = {
    {400, invalid, NULL, NULL, NULL, 0, 0, 0},
    {401, invalid, "invalid_api_key", NULL, NULL, 0, 0, 0},
    {403, invalid, "forbidden", NULL, NULL, 0, 0, 0},
    {404, invalid, "not_found", NULL, NULL, 0, 0, 0},
    {405, invalid, "method_not_allowed", NULL, NULL, 0, 0, 0},
    {408, invalid, "request_timeout", NULL, NULL, 0, 0, 0},
    {413, invalid, "request_too_large", NULL, NULL, 0, 0, 0},
    {415, invalid, "unsupported_media_type", NULL, NULL, 0, 0, 0},
    {417, invalid, "expectation_failed", NULL, NULL, 0, 0, 0},
    {431, invalid, "too_many_headers", NULL, NULL, 0, 0, 0},
    {429, "rate_limit_error", "rate_limit_exceeded", NULL, NULL, 1, 0, 0},
    {500, internal, "internal_error", NULL, NULL, 0, 0, 0},
    {503, unavailable, "server_is_overloaded", NULL, NULL, 1, 0, 0},
};

struct api_error api_error_from(const struct error *err)
{
    enum status status = err->status;
    if ((size_t)status >= sizeof by_status / sizeof by_status[0] || !by_status[status].http_status)
        status = ERR_INTERNAL;
    struct api_error error = by_status[status];
    error.message = err->text[0] ? err->text : status_text(status);
    error.param = err->param;
    return error;
}

struct api_error api_error_http(int http_status, const char *message)
{
    struct api_error error = by_status[ERR_INTERNAL];
    for (size_t i = 0; i < sizeof by_http_status / sizeof by_http_status[0]; i++) {
        if (by_http_status[i].http_status == http_status)
            error = by_http_status[i];
    }
    error.message = message;
    return error;
}

bool api_error_is_retryable(const struct api_error *error)
{
    return error->http_status == 408 || error->http_status == 429 || error->http_status == 503;
}

static void write_text(struct buf *out, const char *text)
{
    if (text && text[0])
        buf_append_json(out, text, strlen(text));
    else
        buf_append_text(out, "null");
}

void api_error_write(struct buf *out, const struct api_error *error)
{
    buf_append_text(out, "{\"error\":{\"message\":");
    buf_append_json(out, error->message, strlen(error->message));
    buf_append_text(out, ",\"type\":");
    write_text(out, error->type);
    buf_append_text(out, ",\"param\":");
    write_text(out, error->param);
    buf_append_text(out, ",\"code\":");
    write_text(out, error->code);
    if (error->prompt_tokens > 0) {
        buf_printf(out, ",\"n_prompt_tokens\":%zu,\"n_ctx\":%zu", error->prompt_tokens,
                   error->ctx_size);
    }
    buf_append_text(out, "}}");
}
