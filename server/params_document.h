/* The parameter table as documents: JSON schemas for /openapi.json, a Markdown table for README.md
 * (`wicara --print-parameters`). */
#ifndef WICARA_SERVER_PARAMS_DOCUMENT_H
#define WICARA_SERVER_PARAMS_DOCUMENT_H

#include "server/params.h"

/* The JSON schema of a body for `endpoint`, an object. */
void params_write_schema(struct buf *out, enum endpoint endpoint);
/* One row a field: where, status, range and default, what it does, and who else has it. */
void params_write_markdown(struct buf *out);

#endif
