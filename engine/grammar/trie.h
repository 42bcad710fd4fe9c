/* A set of byte strings with token ids as a tree in an array, in order of a walk in depth.
 *
 * The nodes below node i are (i, nodes[i].end); walking is a scan that jumps over what it does not
 * need. Tokens of equal bytes share a node. Immutable after building. */
#ifndef WICARA_GRAMMAR_TRIE_H
#define WICARA_GRAMMAR_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { TRIE_DEPTH_MAX = 255 };  // longest string

struct trie_node {
    uint32_t end;          // one past the last node below
    uint32_t first_token;  // its tokens are [first_token, next node's first_token)
    uint8_t byte;
    uint8_t depth;    // of a root's child: 0
    uint8_t deepest;  // depth of the deepest node below, or its own
};

struct trie {
    struct trie_node *nodes;  // [n_nodes + 1], the last one is a sentinel
    size_t n_nodes;
    int32_t *tokens;
    size_t n_tokens;
};

struct trie_item {
    const char *bytes;
    uint32_t n_bytes;  // 1..TRIE_DEPTH_MAX
    int32_t token;
};

/* Sorts the items in place. ERR_MEMORY. */
enum status trie_build(struct trie *trie, struct trie_item *items, size_t n_items,
                       struct error *err) MUST_CHECK;
void trie_release(struct trie *trie);
static inline size_t trie_bytes(const struct trie *trie)
{
    return (trie->n_nodes + 1) * sizeof *trie->nodes + trie->n_tokens * sizeof *trie->tokens;
}

#endif
