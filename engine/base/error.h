/* Status codes and error texts, the one way in which a function says that it failed.
 *
 * A fallible function returns `enum status` and takes `struct error *err` last. The first failure
 * wins: a second error_set() on the same struct keeps the text that is there, so the deepest and
 * most exact message reaches the user. `err` may be NULL where the caller wants the status
 * alone. */
#ifndef WICARA_BASE_ERROR_H
#define WICARA_BASE_ERROR_H

#define MUST_CHECK               __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* name, short text. Only server/api_error.c maps a status to an HTTP status. */
#define STATUS_LIST(X)                                                                             \
    X(OK, "ok")                                                                                    \
    X(ERR_INVALID, "invalid request")                                                              \
    X(ERR_CONTEXT, "context length exceeded")                                                      \
    X(ERR_FORMAT, "malformed file")                                                                \
    X(ERR_UNSUPPORTED, "not supported")                                                            \
    X(ERR_NOT_FOUND, "not found")                                                                  \
    X(ERR_LIMIT, "limit exceeded")                                                                 \
    X(ERR_IO, "input or output failed")                                                            \
    X(ERR_MEMORY, "out of memory")                                                                 \
    X(ERR_BUSY, "at capacity")                                                                     \
    X(ERR_LOADING, "model is loading")                                                             \
    X(ERR_SHUTDOWN, "shutting down")                                                               \
    X(ERR_CANCELLED, "cancelled")                                                                  \
    X(ERR_INTERNAL, "internal error")

enum status {
#define X(name, text) name,
    STATUS_LIST(X)
#undef X
};

enum { ERROR_TEXT_BYTES = 240, ERROR_PARAM_BYTES = 64 };

struct error {
    enum status status;             // OK while nothing failed
    char text[ERROR_TEXT_BYTES];    // names the file, tensor or field, the limit and the value
    char param[ERROR_PARAM_BYTES];  // request field at fault, "" when none
};

/* Records the failure unless one is recorded already; returns `status`. */
enum status error_set(struct error *err, enum status status, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The same for a request field; `param` is its path, as in "messages[2].role". */
enum status error_set_param(struct error *err, enum status status, const char *param,
                            const char *format, ...) PRINTF_LIKE(4, 5);

/* Prepends "context: " to a recorded text, as a file name in front of a parser's message. */
void error_prefix(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

const char *status_name(enum status status);  // "ERR_FORMAT"
const char *status_text(enum status status);  // "malformed file"

#endif
