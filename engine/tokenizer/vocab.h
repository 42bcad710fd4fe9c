/* The token table of a model: texts, kinds, scores, and the index from text to id. Private to
 * engine/tokenizer. Immutable after vocab_load. */
#ifndef WICARA_TOKENIZER_VOCAB_H
#define WICARA_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct model_file;

/* Numbers of tokenizer.ggml.token_type. */
enum token_kind {
    TOKEN_KIND_UNDEFINED,
    TOKEN_KIND_NORMAL,
    TOKEN_KIND_UNKNOWN,
    TOKEN_KIND_CONTROL,
    TOKEN_KIND_USER_DEFINED,
    TOKEN_KIND_UNUSED,
    TOKEN_KIND_BYTE,
    TOKEN_KINDS,
};

enum {
    VOCAB_TOKENS_MAX = 1 << 22,
    VOCAB_TOKEN_BYTES_MAX = 64 << 10,
    VOCAB_BYTES_MAX = 1 << 30,  // of all texts, so that offsets fit into 32 bits
};

/* From bytes to the id of a token. Open addressing, at most half full, keyed with a random seed so
 * that no file can be made to collide. */
struct vocab_index {
    int32_t *ids;  // [mask + 1], -1 = free
    size_t mask;
    uint64_t seed;
};

struct vocab {
    size_t n_tokens;
    char *texts;             // all texts, one behind the other
    uint32_t *text_starts;   // [n_tokens + 1]
    char *pieces;            // what the tokens stand for, likewise
    uint32_t *piece_starts;  // [n_tokens + 1]
    uint8_t *kinds;          // [n_tokens] enum token_kind
    float *scores;           // [n_tokens], or NULL when the file has none
    struct vocab_index by_text;
    struct vocab_index by_piece;  // byte-level BPE: the normal tokens by their bytes; else empty
    size_t piece_bytes_max;       // longest in by_piece
};

/* How texts become pieces. */
enum vocab_style {
    VOCAB_BYTE_LEVEL,  // gpt-2's map of bytes to characters
    VOCAB_SPACE_MARK,  // U+2581 for a space, <0xXX> for a byte
};

/* Reads tokens, kinds and (when with_scores) scores. *vocab must be zeroed; vocab_release takes it
 * in any state. Errors: ERR_FORMAT naming the key and index, ERR_LIMIT, ERR_MEMORY. */
enum status vocab_load(struct vocab *vocab, const struct model_file *file, bool with_scores,
                       struct error *err) MUST_CHECK;
/* Fills pieces and by_piece; the kinds must be final. */
enum status vocab_make_pieces(struct vocab *vocab, enum vocab_style style,
                              struct error *err) MUST_CHECK;
void vocab_release(struct vocab *vocab);

static inline const char *vocab_text(const struct vocab *vocab, size_t id, size_t *n_bytes)
{
    *n_bytes = vocab->text_starts[id + 1] - vocab->text_starts[id];
    return vocab->texts + vocab->text_starts[id];
}
static inline const char *vocab_piece(const struct vocab *vocab, size_t id, size_t *n_bytes)
{
    *n_bytes = vocab->piece_starts[id + 1] - vocab->piece_starts[id];
    return vocab->pieces + vocab->piece_starts[id];
}

/* Id by text or by piece, -1 when there is none. Empty texts are never found. */
int32_t vocab_find_text(const struct vocab *vocab, const char *text, size_t n_bytes);
int32_t vocab_find_piece(const struct vocab *vocab, const char *piece, size_t n_bytes);

/* Copies text with U+2581 for every space; `out` has room for 3 bytes a space more. Returns the
 * number of bytes written. */
size_t vocab_mark_spaces(const char *text, size_t n_bytes, char *out);
size_t vocab_count_spaces(const char *text, size_t n_bytes);

/* The text that byte-level vocabularies write for a byte: 1 or 2 bytes of UTF-8. */
size_t vocab_byte_text(unsigned char byte, char out[4]);
/* The value of "<0xXX>", -1 for anything else. */
int vocab_parse_byte(const char *text, size_t n_bytes);

/* Mixes two words; the base of the hash functions here. */
static inline uint64_t vocab_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product =
        (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xd6e8feb86659fd93u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#endif
