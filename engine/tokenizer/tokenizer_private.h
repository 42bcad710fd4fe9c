/* What the files of engine/tokenizer share of struct tokenizer beyond tokenizer.h. */
#ifndef WICARA_TOKENIZER_TOKENIZER_PRIVATE_H
#define WICARA_TOKENIZER_TOKENIZER_PRIVATE_H

#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/pipeline.h"
#include "engine/tokenizer/special.h"
#include "engine/tokenizer/spm.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocab.h"

struct pretokenizer;

enum tokenizer_model { TOKENIZER_BPE, TOKENIZER_SPM };

/* Bits of tokenizer.flags. */
enum {
    TOKEN_ENDS = 1,          // ends a generation
    TOKEN_STRIPS_RIGHT = 2,  // white space behind it belongs to it
    TOKEN_STRIPS_LEFT = 4,   // and in front of it
    TOKEN_NORMALIZED = 8,    // is looked for in the normalised text
};

struct tokenizer {
    enum tokenizer_model model;
    struct vocab vocab;
    struct special special;                   // tokens that are looked for in the text as it is
    struct special normalized_special;        // and in what lies between them, normalised
    struct bpe bpe;                           // TOKENIZER_BPE
    const struct pretokenizer *pretokenizer;  // TOKENIZER_BPE
    struct spm spm;                           // TOKENIZER_SPM
    uint8_t *flags;                           // [n_tokens] TOKEN_*
    int32_t bos, eos, eot, eom, unknown;      // or TOKEN_NONE
    struct fim_tokens fim;                    // or TOKEN_NONE
    bool adds_bos, adds_eos;
    bool adds_space_prefix;    // TOKENIZER_SPM: a text starts with a space
    bool prefix_at_start;      // ... not what comes behind a special token
    bool strips_space;         // decoding a text drops the first space
    struct pipeline pipeline;  // of a tokenizer.json; else all zero
};

/* Finds the markers for filling in the middle that the file does not name, by their usual texts. */
void token_flags_find_fim(struct tokenizer *tokenizer);

/* Marks the tokens that end a generation and those that strip white space; makes the end markers
 * control tokens, whatever kind the file gives them. Before the kinds are used. */
void token_flags_set(struct tokenizer *tokenizer, const struct model_file *file);

/* The flags that a tokenizer.json gives its added tokens. ERR_UNSUPPORTED naming the token. */
enum status token_flags_added(struct tokenizer *tokenizer, const struct model_file *file,
                              struct error *err) MUST_CHECK;

#endif
