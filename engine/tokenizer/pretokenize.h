/* Splits text into the pieces that BPE then works on, one by one.
 *
 * What a model's tokenizer states as a list of regular expressions is here a shape: a list of
 * stages, each a hand-written matcher. A stage splits every piece of the stage before it into its
 * matches and the gaps between them; look-ahead never sees past the piece. */
#ifndef WICARA_TOKENIZER_PRETOKENIZE_H
#define WICARA_TOKENIZER_PRETOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* End of the next part of units[at, end), a match or a gap; at < result <= end. (The matchers in
 * pretokenize.c have the same type; they return `at` where nothing matches.) */
typedef size_t pretokenize_cut(const uint32_t *units, size_t at, size_t end);

enum { PRETOKENIZE_STAGES_MAX = 6 };

/* One name that tokenizer.ggml.pre can have. */
struct pretokenizer {
    const char *name;
    pretokenize_cut *const *stages;  // ends with NULL, at most PRETOKENIZE_STAGES_MAX
    bool ignore_merges;              // a piece that is a token is that token
    bool adds_bos;                   // when the file does not say
    bool raw;  // BPE works on characters with U+2581 for a space, not on gpt-2's map of bytes
    bool nfc;  // the text is normalised first
};

/* The row of that name; NULL when it is unknown. */
const struct pretokenizer *pretokenizer_find(const char *name, size_t n_bytes);
/* ERR_UNSUPPORTED with the name and what there is. */
enum status pretokenizer_unknown(const char *name, size_t n_bytes, struct error *err) MUST_CHECK;

/* Walks over the pieces of units[0, n_units). */
struct piece_walk {
    const uint32_t *units;
    pretokenize_cut *const *stages;
    size_t n_stages;
    size_t at[PRETOKENIZE_STAGES_MAX + 1];   // where each stage goes on
    size_t end[PRETOKENIZE_STAGES_MAX + 1];  // of the piece that it splits
    size_t stage;                            // the deepest one with something left
};
void piece_walk_init(struct piece_walk *walk, const struct pretokenizer *pretokenizer,
                     const uint32_t *units, size_t n_units);
/* The next piece as units [*first, *last), never empty; false at the end. */
bool piece_walk_next(struct piece_walk *walk, size_t *first, size_t *last);

#endif
