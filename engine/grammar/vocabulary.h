/* A model's vocabulary as grammars see it: the bytes of every token as a tree.
 *
 * Control tokens stand in the tree as the byte 0xFF (which no UTF-8 text holds) and their text, so
 * that only a grammar that names one allows it; tokens that end a generation are not in it. Built
 * once a model, immutable, shared by all grammars. */
#ifndef WICARA_GRAMMAR_VOCABULARY_H
#define WICARA_GRAMMAR_VOCABULARY_H

#include <stdbool.h>

#include "engine/grammar/trie.h"

struct tokenizer;

enum {
    VOCABULARY_PLAIN_MAX = 32,       // bytes of the tokens in `plain` and `rest`
    VOCABULARY_CONTROL_BYTE = 0xFF,  // stands before the text of a control token
};

#define NODE_OF_NO_TOKEN UINT32_MAX

struct vocabulary {
    size_t n_tokens;  // width of masks: logits of the model
    size_t n_words;   // 64-bit words of a mask
    struct trie all;
    uint32_t *parents;      // [all.n_nodes] of each node, NODE_OF_NO_TOKEN at the top
    uint32_t *token_nodes;  // [n_tokens] a token's node of `all`, or NODE_OF_NO_TOKEN
    // Tokens that hold only whole characters that a JSON string holds as they are. plain[k]: mask
    // of those of at most k characters; `rest`: all others; `longer`: those of more bytes than the
    // others may have, plain or not.
    uint64_t *plain;  // [VOCABULARY_PLAIN_MAX + 1, n_words]
    struct trie rest, longer;
    int32_t *ends;  // tokens that end a generation
    size_t n_ends;
    char *controls;      // texts of the control tokens, with the byte before
    bool has_byte[256];  // a token stands for this byte alone; others occur in no constrained text
    int missing;         // a printable ASCII character that has none, or -1
};

/* n_tokens: logits of the model, at least the tokenizer's tokens. ERR_MEMORY. */
enum status vocabulary_create(struct vocabulary **out, const struct tokenizer *tokenizer,
                              size_t n_tokens, struct error *err) MUST_CHECK;
/* Bytes of a token as they stand in the tree, in `out`; 0 when it is not in it. */
size_t vocabulary_token(const struct vocabulary *vocabulary, int32_t token,
                        uint8_t out[TRIE_DEPTH_MAX + 1]);
void vocabulary_free(struct vocabulary *vocabulary);

/* The same from plain strings, for tests and tools. An item of id < 0 ends the generation with the
 * id -1 - id. Items are sorted in place and must outlive the result. */
enum status vocabulary_from_items(struct vocabulary **out, struct trie_item *items, size_t n_items,
                                  size_t n_tokens, struct error *err) MUST_CHECK;

/* Fewest tokens that spell the bytes, their ids in tokens[n_bytes] (may be NULL); `scratch` has
 * room for 2 * (n_bytes + 1) numbers. SIZE_MAX when they cannot be spelled. */
size_t vocabulary_spell(const struct vocabulary *vocabulary, const char *bytes, size_t n_bytes,
                        uint32_t *scratch, int32_t *tokens);

#endif
