/* Case conversions and character tests of whole strings, as Python's str has them. */
#ifndef WICARA_TEMPLATE_JINJA_CASING_H
#define WICARA_TEMPLATE_JINJA_CASING_H

#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

const struct text *text_upper(struct jinja *j, const struct text *text);
const struct text *text_lower(struct jinja *j, const struct text *text);
const struct text *text_casefold(struct jinja *j, const struct text *text);
const struct text *text_capitalize(struct jinja *j, const struct text *text);
const struct text *text_swapcase(struct jinja *j, const struct text *text);
const struct text *text_title(struct jinja *j, const struct text *text);
/* The filter |title: words begin behind white space, - ( { [ <. */
const struct text *text_title_words(struct jinja *j, const struct text *text);

/* str.isupper() and so on. */
bool text_is_upper(const struct text *text);
bool text_is_lower(const struct text *text);
bool text_is_title(const struct text *text);
bool text_is_space(const struct text *text);
bool text_is_of(const struct text *text, unsigned classes);  // bits of enum char_class; non-empty

#endif
