/* The one mapping from a status of ours to an HTTP answer in OpenAI's error shape.
 *
 * The body always carries all four keys (message, type, param, code); param and code are strings or
 * null. Retry advice follows from the status: 429 and 503 say when to come back, everything that a
 * retry cannot mend says so, because the official SDKs retry on their own (x-should-retry). */
#ifndef WICARA_SERVER_API_ERROR_H
#define WICARA_SERVER_API_ERROR_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

struct api_error {
    int http_status;
    const char *type;      // "invalid_request_error" ...
    const char *code;      // NULL = null
    const char *message;   // borrowed
    const char *param;     // NULL or "" = null
    int retry_after_s;     // 0 = no Retry-After
    size_t prompt_tokens;  // context errors: 0 = not known
    size_t ctx_size;
};

/* HTTP status, type and code of a failure; message and param borrow from `err`. */
struct api_error api_error_from(const struct error *err);

/* An error that arises in the HTTP layer itself (404, 405, 413 ...): type and code by status. */
struct api_error api_error_http(int http_status, const char *message);

/* {"error":{...}} */
void api_error_write(struct buf *out, const struct api_error *error);

/* True when the same request may succeed later. */
bool api_error_is_retryable(const struct api_error *error);

#endif
