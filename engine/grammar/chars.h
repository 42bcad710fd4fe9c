/* Sets of characters, and the terms of their UTF-8 in plain text or inside a JSON string. */
#ifndef WICARA_GRAMMAR_CHARS_H
#define WICARA_GRAMMAR_CHARS_H

#include "engine/grammar/term.h"

enum { CHARS_LAST = 0x10FFFF };

struct char_range {
    uint32_t first, last;
};

struct char_set {
    struct budget *budget;
    struct char_range *ranges;  // any order, may overlap until chars_normalize()
    size_t n_ranges, capacity;
};

void chars_init(struct char_set *set, struct budget *budget);
void chars_release(struct char_set *set);
bool chars_add(struct char_set *set, uint32_t first, uint32_t last);
bool chars_add_set(struct char_set *set, const struct char_set *other);
/* Sorted, disjoint, apart. */
void chars_normalize(struct char_set *set);
bool chars_invert(struct char_set *set);

/* How text is written where it is matched. */
enum text_form {
    TEXT_PLAIN,  // UTF-8
    TEXT_JSON,   // between the quotes of a JSON string, each character in one spelling only
};

term chars_term(struct terms *terms, struct char_set *set, enum text_form form);
/* Any character. */
term chars_any(struct terms *terms, enum text_form form);
/* One character inside a JSON string in any spelling; \u0000 and lone surrogates excluded. */
term chars_json_free(struct terms *terms);
/* The text as it stands between the quotes of a JSON string (the spelling of TEXT_JSON). */
term chars_json_literal(struct terms *terms, const char *text, size_t n_bytes);

#endif
