/* Finds the tokens that are matched as a whole before anything else: control tokens, where every
 * byte is trusted, and user-defined tokens, anywhere. */
#ifndef WICARA_TOKENIZER_SPECIAL_H
#define WICARA_TOKENIZER_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/prompt_text.h"

struct vocab;

enum { SPECIAL_BYTES_MAX = 1024 };  // a longer one would make matching slow

/* A tree over the bytes of the tokens' texts. Nodes with the same parent are chained. */
struct special_node {
    uint32_t first_child;  // 0 = none (node 0 is the root)
    uint32_t next;         // sibling, 0 = none
    int32_t id;            // of the token that ends here, -1 = none
    unsigned char byte;
};

struct special {
    const struct vocab *vocab;  // borrowed
    struct special_node *nodes;
    size_t n_nodes;
    uint32_t roots[256];  // children of the root, by byte
};

struct special_match {
    size_t first;  // bytes [first, last) of the text
    size_t last;
    int32_t id;
};

/* Takes the special tokens of which flags[id] & mask is `wanted`; the kinds of the vocabulary must
 * be final. ERR_LIMIT naming a token that is too long. */
enum status special_init(struct special *special, const struct vocab *vocab, const uint8_t *flags,
                         uint8_t mask, uint8_t wanted, struct error *err) MUST_CHECK;
void special_release(struct special *special);

/* Where a search stands in the untrusted spans; zero at the start of a text. */
struct special_cursor {
    size_t span;
};
/* The leftmost match at or behind `at`, the longest of those that start there. */
bool special_next(const struct special *special, const struct prompt_text *text, size_t at,
                  struct special_cursor *cursor, struct special_match *match);

#endif
