/* Character properties and case mappings of Python's str, from generated tables. */
#ifndef WICARA_TEMPLATE_JINJA_UNICODE_H
#define WICARA_TEMPLATE_JINJA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum char_class {
    CHAR_ALPHA,
    CHAR_DECIMAL,
    CHAR_DIGIT,
    CHAR_NUMERIC,
    CHAR_LOWER,
    CHAR_UPPER,
    CHAR_TITLE,
    CHAR_HIDDEN,
    CHAR_IGNORABLE
};
enum char_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_FOLD };

bool char_is(enum char_class class, uint32_t c);
bool char_is_space(uint32_t c);  // str.isspace()
bool char_is_cased(uint32_t c);
int char_decimal(uint32_t c);  // 0-9, or -1
/* 1-3 code points. The final sigma is the caller's. */
size_t char_convert(enum char_case to, uint32_t c, uint32_t out[3]);

/* Next character of valid UTF-8; an invalid byte counts as one character (its value). */
size_t char_next(const char *bytes, size_t n_bytes, uint32_t *c);

#endif
