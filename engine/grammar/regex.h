/* Regular expressions as text to terms: the syntax that JSON Schema patterns and guided_regex use.
 *
 *   .  [a-z]  [^a-z]  a|b  (a)  (?:a)  (?<name>a)  * + ? {m} {m,} {m,n} (and lazy: the same set)
 *   ^ $  \d \w \s \D \W \S  \p{L} \P{L}  \t \n \r \f \v \0 \xHH \uHHHH \u{H...}  \cX  \. and so on
 *
 * \d, \w and \s are ASCII. Lookaround, back-references, word boundaries, flags, atomic groups and
 * possessive quantifiers are refused by name. */
#ifndef WICARA_GRAMMAR_REGEX_H
#define WICARA_GRAMMAR_REGEX_H

#include "engine/grammar/chars.h"

enum {
    REGEX_BYTES_MAX = 16384,
    REGEX_DEPTH_MAX = 64,
    REGEX_COUNT_MAX = 1000000,   // m and n of {m,n}
    REGEX_ANCHORS_FIRST = 0xFD,  // bytes from here on stand for anchors while a pattern is read
};

struct regex_options {
    enum text_form form;
    bool is_search;  // matches anywhere, unless anchored; else the whole text
};

struct regex {
    term term;
    uint32_t chars_min, chars_max;  // of the texts; TERM_ENDLESS = no bound
};

/* ERR_INVALID for a syntax error, ERR_UNSUPPORTED for what is refused, both with the offset; a
 * failure of the budget is left to the caller. */
enum status regex_parse(struct terms *terms, const char *pattern, size_t n_bytes,
                        const struct regex_options *options, struct regex *out,
                        struct error *err) MUST_CHECK;

#endif
