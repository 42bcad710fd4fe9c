/* SentencePiece's BPE: merges by score over the characters of a whole text. */
#ifndef WICARA_TOKENIZER_SPM_H
#define WICARA_TOKENIZER_SPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct token_list;
struct vocab;

struct spm {
    const struct vocab *vocab;  // borrowed
    int32_t byte_ids[256];      // <0xXX>, or the unknown token
    size_t token_bytes_max;     // longest text that a merge can make
    bool words_apart;           // no token has U+2581 behind another character
};

/* unknown: id of the unknown token or -1. ERR_FORMAT when a byte has no token and there is none. */
enum status spm_init(struct spm *spm, const struct vocab *vocab, int32_t unknown,
                     struct error *err) MUST_CHECK;

/* Appends the ids of the text; with_prefix puts a space in front of it. */
enum status spm_encode(const struct spm *spm, const char *text, size_t n_bytes, bool with_prefix,
                       struct token_list *out, struct error *err) MUST_CHECK;

#endif
