/* Regular expressions over bytes as shared terms, with their derivatives.
 *
 * A term is a small number; equal terms have equal numbers (hash-consing), so a term is a state of
 * a deterministic automaton: its successor under a byte is its derivative. Counted repetition stays
 * a counter (x{2,1000} is one term), and intersection and complement are terms like any other.
 * Source: Brzozowski 1964; Owens, Reppy, Turon 2009. */
#ifndef WICARA_GRAMMAR_TERM_H
#define WICARA_GRAMMAR_TERM_H

#include "engine/grammar/budget.h"

typedef int32_t term;

enum { TERM_NONE = 0, TERM_EMPTY = 1 };  // accepts nothing; accepts the empty text

static const uint32_t TERM_ENDLESS = UINT32_MAX;   // no upper bound of a repetition
static const uint32_t TERM_LENGTH_MAX = 1u << 30;  // lengths saturate here

struct byte_set {
    uint64_t words[4];
};

static inline void byte_set_add(struct byte_set *set, unsigned first, unsigned last)
{
    for (unsigned b = first; b <= last; b++)
        set->words[b >> 6] |= UINT64_C(1) << (b & 63);
}

static inline bool byte_set_has(const struct byte_set *set, unsigned byte)
{
    return set->words[byte >> 6] >> (byte & 63) & 1;
}

enum term_kind {
    TERM_KIND_NONE,
    TERM_KIND_EMPTY,
    TERM_KIND_CLASS,
    TERM_KIND_CAT,
    TERM_KIND_ALT,
    TERM_KIND_AND,
    TERM_KIND_NOT,
    TERM_KIND_REPEAT,
    TERM_KIND_MULTIPLE,
};

struct term_node {
    uint8_t kind;
    bool is_nullable;
    bool is_mixed;        // may accept nothing although it is not TERM_NONE (and, not, multiple)
    int32_t a, b;         // CLASS: a = set; CAT, REPEAT, NOT: terms; ALT, AND: a = first of list,
                          // b = count; MULTIPLE: a = remainder, b = divisor
    uint32_t min, max;    // REPEAT; MULTIPLE: min = decimals left, max = 1 behind the point
    uint32_t min_length;  // bytes of the shortest text, unless is_mixed
};

struct terms {
    struct budget *budget;
    struct byte_set usable;  // classes hold no other bytes
    struct term_node *nodes;
    size_t n_nodes, nodes_capacity;
    struct byte_set *sets;
    size_t n_sets, sets_capacity;
    term *lists;
    size_t n_lists, lists_capacity;
    int32_t *buckets;  // open addressing over nodes, -1 = free
    size_t n_buckets, buckets_capacity;
    term *stack;  // scratch of the builders
    size_t n_stack, stack_capacity;
};

/* usable: bytes that texts may hold at all, NULL = all. */
bool terms_init(struct terms *terms, struct budget *budget, const struct byte_set *usable);
void terms_release(struct terms *terms);
/* Forgets the terms made after the first n_nodes. */
void terms_truncate(struct terms *terms, size_t n_nodes, size_t n_sets, size_t n_lists);

/* Builders. After a failure of the budget they return TERM_NONE. */
term term_class(struct terms *terms, const struct byte_set *set);
term term_range(struct terms *terms, unsigned first, unsigned last);
term term_literal(struct terms *terms, const char *bytes, size_t n_bytes);
term term_text(struct terms *terms, const char *text);
term term_cat(struct terms *terms, term a, term b);
term term_alt(struct terms *terms, term a, term b);
term term_and(struct terms *terms, term a, term b);
term term_not(struct terms *terms, term a);
term term_repeat(struct terms *terms, term a, uint32_t min, uint32_t max);
term term_optional(struct terms *terms, term a);
/* Decimal digits, and up to `decimals` digits behind a point, whose value times 10^decimals is a
 * multiple of `divisor` (1..2^30). */
term term_multiple(struct terms *terms, uint32_t divisor, unsigned decimals);
/* One of the texts; they are sorted in place. Shared beginnings become shared terms. */
struct term_string {
    const char *bytes;
    size_t n_bytes;
};
term term_strings(struct terms *terms, struct term_string *strings, size_t n_strings);

/* The texts that follow `byte` / that `byte` may be appended to (no AND, NOT, MULTIPLE inside). */
term term_derive(struct terms *terms, term t, unsigned byte);
term term_derive_back(struct terms *terms, term t, unsigned byte);
/* `t` without the texts that hold a byte of `bytes` (no AND, NOT, MULTIPLE inside). */
term term_without(struct terms *terms, term t, const struct byte_set *bytes);

/* Splits the bytes into classes that `t` cannot tell apart in its first byte: class_of[256] gets
 * numbers from 0; returns how many. */
unsigned term_first_classes(struct terms *terms, term t, uint8_t class_of[256]);

/* Writes the first in byte order of the shortest texts, min_length bytes. For terms that are not
 * mixed. False after a failure of the budget. */
bool term_shortest(struct terms *terms, term t, char *out);

static inline const struct term_node *term_at(const struct terms *terms, term t)
{
    return &terms->nodes[t];
}

#endif
