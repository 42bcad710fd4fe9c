/* A tokenizer.model file of SentencePiece, as far as tokenizers of the type BPE need it. Private to
 * engine/formats.
 *
 * The file is one protocol buffer (sentencepiece_model.proto): pieces with score and type, then the
 * trainer's and the normaliser's settings. Types have the numbers of tokenizer.ggml.token_type. */
#ifndef WICARA_FORMATS_SENTENCEPIECE_H
#define WICARA_FORMATS_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { SENTENCEPIECE_PIECES_MAX = 1 << 22 };

struct sentencepiece {
    char *bytes;     // texts of the pieces, one behind the other
    size_t *starts;  // [n_pieces + 1]
    float *scores;   // [n_pieces]
    uint8_t *kinds;  // [n_pieces] 1..6
    size_t n_pieces;
    int32_t unknown, bos, eos;  // -1 = none
    bool adds_prefix;           // a space in front of a text
};

/* Errors: ERR_FORMAT (no such protocol buffer, no pieces), ERR_UNSUPPORTED naming what is not done
 * (another type than BPE, a normaliser that changes the text), ERR_LIMIT, ERR_MEMORY. */
enum status sentencepiece_parse(struct sentencepiece *out, const void *bytes, size_t n_bytes,
                                struct error *err) MUST_CHECK;
void sentencepiece_release(struct sentencepiece *model);

#endif
