/* Paths to handlers, and what is checked before a handler runs: method, key, media type.
 * Default-deny: a route without AUTH_OPEN needs a key when keys are set up. */
#ifndef WICARA_SERVER_ROUTE_H
#define WICARA_SERVER_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "server/api_error.h"
#include "server/app.h"
#include "server/http.h"

enum route_auth { AUTH_KEY, AUTH_OPEN };

struct route {
    const char *method;  // "GET" (serves HEAD too) or "POST"
    const char *path;
    bool prefix;  // path is followed by one argument
    enum route_auth auth;
    void (*handle)(struct request *request, struct http_exchange *exchange);
};
const struct route *route_table(size_t *n_routes);

/* The HTTP server's handlers; `user` is the struct app. */
void route_on_head(void *user, struct http_exchange *exchange);
void route_on_request(void *user, struct http_exchange *exchange);
void route_on_done(void *user, struct http_exchange *exchange, int http_status, double seconds);

/* ---- replies with the headers that all have ---- */

void route_add_headers(struct request *request, struct http_exchange *exchange);
void reply_json(struct request *request, struct http_exchange *exchange, int http_status,
                struct buf *body_take);
void reply_error(struct request *request, struct http_exchange *exchange,
                 const struct api_error *error);
void reply_failure(struct request *request, struct http_exchange *exchange,
                   const struct error *err);

/* ---- handlers, by file ---- */

void api_chat(struct request *request, struct http_exchange *exchange);
void api_completions(struct request *request, struct http_exchange *exchange);
void api_models(struct request *request, struct http_exchange *exchange);
void api_model(struct request *request, struct http_exchange *exchange);
void api_props(struct request *request, struct http_exchange *exchange);
void api_tokenizer_info(struct request *request, struct http_exchange *exchange);
void api_version(struct request *request, struct http_exchange *exchange);
void api_tokenize(struct request *request, struct http_exchange *exchange);
void api_detokenize(struct request *request, struct http_exchange *exchange);
void api_render(struct request *request, struct http_exchange *exchange);
void api_count(struct request *request, struct http_exchange *exchange);
void api_openapi(struct request *request, struct http_exchange *exchange);
void api_health(struct request *request, struct http_exchange *exchange);
void api_live(struct request *request, struct http_exchange *exchange);
void api_metrics(struct request *request, struct http_exchange *exchange);
void static_file(struct request *request, struct http_exchange *exchange);

#endif
