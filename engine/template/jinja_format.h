/* Text forms of values: str(), repr(), json.dumps(), % formatting and str.format(). */
#ifndef WICARA_TEMPLATE_JINJA_FORMAT_H
#define WICARA_TEMPLATE_JINJA_FORMAT_H

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_value.h"

const struct text *format_str(struct jinja *j, struct value v);
const struct text *format_repr(struct jinja *j, struct value v);
/* str() of the value appended; what {{ }} and ~ do. */
void format_append(struct text_builder *b, struct value v);

struct json_style {
    bool ascii_only, sort_keys;
    const struct text *indent;          // NULL: all on one line
    const struct text *item_separator;  // NULL: Python's default
    const struct text *key_separator;
};
/* All of the result is untrusted as soon as a part of the value is. */
const struct text *format_json(struct jinja *j, struct value v, const struct json_style *style);

/* "..." % value, and "...".format(args). */
const struct text *format_percent(struct jinja *j, const struct text *format, struct value v);
const struct text *format_braces(struct jinja *j, const struct text *format,
                                 const struct call_args *args);

#endif
