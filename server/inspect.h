/* The report about a model, in words and as JSON. */
#ifndef WICARA_SERVER_INSPECT_H
#define WICARA_SERVER_INSPECT_H

#include "engine/base/buf.h"
#include "engine/engine_models.h"

void inspect_write_text(const struct inspect_report *report, const char *path, struct buf *out);
void inspect_write_json(const struct inspect_report *report, const char *path, struct buf *out);

#endif
