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

/* A set of characters, roughly: ASCII each, the others as one. CHARS_ODD stands for what is not
 * whole characters: part of one, invalid UTF-8, and the bytes 0 and 1 that the two bits are. */
struct char_bits {
    uint64_t words[2];
};

enum { CHARS_ODD = 0, CHARS_BEYOND_ASCII = 1 };

static inline void char_bits_add(struct char_bits *set, unsigned bit)
{
    set->words[bit >> 6] |= UINT64_C(1) << (bit & 63);
}

static inline bool char_bits_within(const struct char_bits *set, const struct char_bits *all)
{
    return ((set->words[0] & ~all->words[0]) | (set->words[1] & ~all->words[1])) == 0;
}

/* Bytes that follow a first byte in UTF-8, and the range of the first of them; -1: not a first
 * byte of more than one. */
static inline int utf8_follow(unsigned lead, unsigned *low, unsigned *high)
{
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return lead < 0xC2 || lead > 0xF4 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
}

struct vocabulary {
    size_t n_tokens;  // width of masks: logits of the model
    size_t n_words;   // 64-bit words of a mask
    struct trie all;
    uint32_t *parents;        // [all.n_nodes] of each node, NODE_OF_NO_TOKEN at the top
    uint32_t *token_nodes;    // [n_tokens] a token's node of `all`, or NODE_OF_NO_TOKEN
    struct char_bits *chars;  // [all.n_nodes] characters of all that a node and those below it hold
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
