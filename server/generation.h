/* A job of the engine behind an exchange: from a validated request to the last byte of its answer.
 */
#ifndef WICARA_SERVER_GENERATION_H
#define WICARA_SERVER_GENERATION_H

#include "server/generation_request.h"
#include "server/route.h"

/* Submits the request's job and leaves the exchange waiting, or replies with what went wrong. The
 * generation request may be released when it returns. */
void generation_start(struct request *request, struct http_exchange *exchange,
                      struct generation_request *generation);

#endif
