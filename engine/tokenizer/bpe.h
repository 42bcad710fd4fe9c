/* Byte-pair encoding of one pre-tokenized piece, of bytes or of characters, exact against the
 * `tokenizers` library. */
#ifndef WICARA_TOKENIZER_BPE_H
#define WICARA_TOKENIZER_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct model_file;
struct token_list;
struct vocab;

/* One merge rule; rank is its line in the file. */
struct bpe_merge {
    uint64_t pair;   // left id << 32 | right id
    uint32_t rank;   // BPE_NO_RANK in a free slot
    int32_t merged;  // id of the result
};

struct bpe {
    const struct vocab *vocab;  // borrowed
    int32_t byte_ids[256];      // -1: the vocabulary has no token for the byte
    bool raw;                   // characters are the first symbols; bytes only stand in for them
    struct bpe_merge *merges;   // [mask + 1] open addressing, at most half full
    size_t mask;
    uint64_t seed;
    bool ignore_merges;  // a piece that is a token is that token
    int32_t unknown;     // stands for a character without a token; -1 = it is left out
    bool fuse_unknown;   // one for several in a row
    /* [n_tokens] what is known of the token's own bytes: enum in bpe.c. Filled while encoding with
     * relaxed atomics: two threads at most find the same out twice. */
    _Atomic unsigned char *whole;
};

/* Memory that encoding reuses from piece to piece; one a call. */
struct bpe_scratch {
    int32_t *ids;
    struct bpe_node *nodes;
    struct bpe_candidate *heap;
    size_t capacity;  // pieces' bytes that the two have room for
};

enum status bpe_init(struct bpe *bpe, const struct vocab *vocab, const struct model_file *file,
                     bool ignore_merges, bool raw, struct error *err) MUST_CHECK;
void bpe_release(struct bpe *bpe);
void bpe_scratch_release(struct bpe_scratch *scratch);

/* Appends the ids of the piece (in raw mode with U+2581 for its spaces). Bytes without a token are
 * left out, as in the reference, unless there is an unknown token for them. */
enum status bpe_encode(const struct bpe *bpe, const char *piece, size_t n_bytes,
                       struct bpe_scratch *scratch, struct token_list *out,
                       struct error *err) MUST_CHECK;

#endif
