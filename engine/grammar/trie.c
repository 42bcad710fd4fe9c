/* Builds a tree of strings from a sorted list in one pass; see trie.h.
 *
 * What an item adds to its predecessor are its last nodes, so nodes come in order by themselves. */
#include "engine/grammar/trie.h"

#include "engine/base/mem.h"

static int compare_items(const void *a, const void *b)
{
    const struct trie_item *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = memcmp(x->bytes, y->bytes, n);
    if (order == 0)
        order = (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
    return order != 0 ? order : (x->token > y->token) - (x->token < y->token);
}

static size_t shared_bytes(const struct trie_item *a, const struct trie_item *b)
{
    size_t n = 0;
    while (n < a->n_bytes && n < b->n_bytes && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* Items are sorted, so what an item adds to its predecessor are its last nodes. */
static size_t count_nodes(const struct trie_item *items, size_t n_items)
{
    size_t n = 0;
    for (size_t i = 0; i < n_items; i++)
        n += items[i].n_bytes - (i == 0 ? 0 : shared_bytes(&items[i - 1], &items[i]));
    return n;
}

/* Nothing more comes below the open nodes from number `keep` on. */
static void close_nodes(struct trie *trie, const uint32_t *open, size_t *n_open, size_t keep)
{
    while (*n_open > keep) {
        struct trie_node *node = &trie->nodes[open[--*n_open]];
        node->end = (uint32_t)trie->n_nodes;
        if (*n_open > 0 && trie->nodes[open[*n_open - 1]].deepest < node->deepest)
            trie->nodes[open[*n_open - 1]].deepest = node->deepest;
    }
}

enum status trie_build(struct trie *trie, struct trie_item *items, size_t n_items,
                       struct error *err)
{
    *trie = (struct trie){0};
    if (n_items > 0)
        qsort(items, n_items, sizeof *items, compare_items);
    size_t n_nodes = count_nodes(items, n_items);
    trie->nodes = mem_alloc_array(n_nodes + 1, sizeof *trie->nodes);
    trie->tokens = mem_alloc_array(n_items + 1, sizeof *trie->tokens);
    if (trie->nodes == NULL || trie->tokens == NULL || n_nodes >= UINT32_MAX) {
        trie_release(trie);
        return error_set(err, ERR_MEMORY, "no memory for a tree of %zu tokens", n_items);
    }
    uint32_t open[TRIE_DEPTH_MAX + 1];  // nodes of the present string
    size_t n_open = 0;
    for (size_t i = 0; i < n_items; i++) {
        size_t keep = i == 0 ? 0 : shared_bytes(&items[i - 1], &items[i]);
        close_nodes(trie, open, &n_open, keep);
        for (; n_open < items[i].n_bytes; n_open++) {
            open[n_open] = (uint32_t)trie->n_nodes;
            trie->nodes[trie->n_nodes++] = (struct trie_node){
                .first_token = (uint32_t)trie->n_tokens,
                .byte = (uint8_t)items[i].bytes[n_open],
                .depth = (uint8_t)n_open,
                .deepest = (uint8_t)n_open,
            };
        }
        trie->tokens[trie->n_tokens++] = items[i].token;
    }
    close_nodes(trie, open, &n_open, 0);
    trie->nodes[trie->n_nodes] = (struct trie_node){.first_token = (uint32_t)trie->n_tokens};
    return OK;
}

void trie_release(struct trie *trie)
{
    mem_free(trie->nodes);
    mem_free(trie->tokens);
    *trie = (struct trie){0};
}
