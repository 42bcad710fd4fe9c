/* JSON text to values: key order and number spelling are kept. */
#ifndef WICARA_TEMPLATE_JSON_VALUE_H
#define WICARA_TEMPLATE_JSON_VALUE_H

#include "engine/template/jinja_text.h"
#include "engine/template/jinja_value.h"

enum { JSON_VALUE_DEPTH_MAX = 96 };  // below VALUE_DEPTH_MAX, so that it can be printed again

/* All that comes out is untrusted. `json` is borrowed as long as the machine lives; `what` names
 * the text in messages. Fails with ERR_INVALID and the byte offset. */
struct value json_parse(struct jinja *j, const char *json, size_t n_bytes, const char *what);
/* The same for a string of the template; what comes from its trusted bytes stays trusted. */
struct value json_parse_text(struct jinja *j, const struct text *text, const char *what);

#endif
