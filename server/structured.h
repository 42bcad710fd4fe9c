/* What a request asks of the form of its answer: response_format and its kin. */
#ifndef WICARA_SERVER_STRUCTURED_H
#define WICARA_SERVER_STRUCTURED_H

#include "server/generation_request.h"

/* Reads response_format, guided_*, structured_outputs, grammar and json_schema into
 * request->job.constraint. Errors: ERR_INVALID with the field, also when more than one of them asks
 * for something; ERR_MEMORY. Whether a schema or grammar is good is the engine's to say. */
enum status structured_read(struct generation_request *request, struct error *err) MUST_CHECK;

#endif
