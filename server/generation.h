/* A job of the engine behind an exchange: from a validated request to the last byte of its answer.
 */
#ifndef WICARA_SERVER_GENERATION_H
#define WICARA_SERVER_GENERATION_H

#include "server/generation_request.h"
#include "server/route.h"

/* What bodies are read by here. While the model loads, its sampling is not known and nothing is
 * served. */
struct request_rules app_request_rules(const struct app *app);

/* Submits the request's job and leaves the exchange waiting, or replies with what went wrong. The
 * generation request may be released when it returns. */
void generation_start(struct request *request, struct http_exchange *exchange,
                      struct generation_request *generation);

#endif
