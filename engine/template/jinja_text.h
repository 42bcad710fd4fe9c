/* Strings with provenance: every operation keeps which bytes came from the request. */
#ifndef WICARA_TEMPLATE_JINJA_TEXT_H
#define WICARA_TEMPLATE_JINJA_TEXT_H

#include "engine/template/jinja_value.h"

extern const struct text text_empty;

/* A text that borrows / copies the bytes; all of them trusted or all untrusted. */
const struct text *text_borrow(struct jinja *j, const char *bytes, size_t n_bytes, bool untrusted);
const struct text *text_copy(struct jinja *j, const char *bytes, size_t n_bytes, bool untrusted);
const struct text *text_literal(struct jinja *j, const char *literal);  // borrowed, trusted

size_t text_chars(const struct text *text);
bool text_is_ascii(const struct text *text);
bool text_equals(const struct text *text, const char *literal);
bool text_same(const struct text *a, const struct text *b);
/* True when a byte of [first, last) is untrusted. */
bool text_range_untrusted(const struct text *text, size_t first, size_t last);
static inline bool text_untrusted(const struct text *text)
{
    return text->taint == TAINT_ALL || (text->taint == TAINT_SOME && text->n_spans > 0);
}

/* Bytes [first, last) / characters [first, last), sharing the memory. */
const struct text *text_slice(struct jinja *j, const struct text *text, size_t first, size_t last);
const struct text *text_slice_chars(struct jinja *j, const struct text *text, size_t first,
                                    size_t last);
size_t text_byte_of_char(const struct text *text, size_t char_index);
const struct text *text_concat(struct jinja *j, const struct text *a, const struct text *b);
const struct text *text_repeat(struct jinja *j, const struct text *text, int64_t count);
const struct text *text_with_markup(struct jinja *j, const struct text *text, bool markup);
/* HTML-escapes & < > ' " as markupsafe does, unless the text is markup already. */
const struct text *text_escape(struct jinja *j, const struct text *text);

/* Byte offset of `needle` at or after `from`, or SIZE_MAX. text_rfind: the last that ends by
 * `to`. */
size_t text_find(const struct text *text, const struct text *needle, size_t from);
size_t text_rfind(const struct text *text, const struct text *needle, size_t to);
/* Counts a step for every 16 occurrences, for loops over text_find(). */
void text_count_hit(struct jinja *j, size_t *hits);
const struct text *text_replace(struct jinja *j, const struct text *text, const struct text *from,
                                const struct text *to, int64_t count_max);
enum text_side { TEXT_LEFT = 1, TEXT_RIGHT = 2, TEXT_BOTH = 3 };
/* chars NULL: Unicode white space. */
const struct text *text_strip(struct jinja *j, const struct text *text, const struct text *chars,
                              enum text_side side);
/* separator NULL: runs of white space. splits_max < 0: no limit. */
struct list *text_split(struct jinja *j, const struct text *text, const struct text *separator,
                        int64_t splits_max);
struct list *text_rsplit(struct jinja *j, const struct text *text, const struct text *separator,
                         int64_t splits_max);
struct list *text_splitlines(struct jinja *j, const struct text *text, bool keep_ends);

/* Runs of equal trust, in order. */
struct text_run {
    size_t first, last;
    bool untrusted;
    uint32_t span;  // next span to look at
};
#define TEXT_RUN_START ((struct text_run){0})
bool text_next_run(const struct text *text, struct text_run *run);

/* ---- builder ---- */

struct text_builder {
    struct jinja *j;
    char *bytes;
    size_t n_bytes, capacity;
    struct text_span *spans;
    size_t n_spans, span_capacity;
    size_t owed;  // bytes appended and not yet counted as steps
};
void builder_init(struct text_builder *b, struct jinja *j);
void builder_bytes(struct text_builder *b, const char *bytes, size_t n_bytes, bool untrusted);
void builder_literal(struct text_builder *b, const char *literal);
void builder_char(struct text_builder *b, uint32_t code_point, bool untrusted);
void builder_text(struct text_builder *b, const struct text *text);
void builder_slice(struct text_builder *b, const struct text *text, size_t first, size_t last);
void builder_fill(struct text_builder *b, const struct text *fill, size_t count);
const struct text *builder_finish(struct text_builder *b);
bool builder_untrusted(const struct text_builder *b);

#endif
