/* What earlier tokens do to the next one's logits, beyond counting them: DRY and bad words. Pure
 * functions of the tokens so far. */
#ifndef WICARA_SAMPLING_LOOKBACK_H
#define WICARA_SAMPLING_LOOKBACK_H

#include "engine/sampling/sampler.h"

/* A token and what is taken from its logit. */
struct lookback_penalty {
    int32_t token;
    float penalty;
};

/* Scratch of one sampler, grown as needed. Zeroed = empty. */
struct dry_state {
    uint32_t *matches;  // [capacity] repetition that ends at each token of the window
    size_t capacity;
    uint32_t *longest;               // [n_vocab] zeros between calls
    struct lookback_penalty *found;  // [found_max]
    size_t found_max;
};
void dry_release(struct dry_state *state);

/* The penalties behind `tokens` [n_tokens], each token once, in order of first appearance from the
 * end. *n_out is their number. ERR_MEMORY. */
enum status dry_penalties(struct dry_state *state, const struct dry_params *params, size_t n_vocab,
                          const int32_t *tokens, size_t n_tokens,
                          const struct lookback_penalty **out, size_t *n_out,
                          struct error *err) MUST_CHECK;

/* True when the answer `tokens` ends with all but the last of list i of `words`. */
bool bad_word_is_due(const struct token_lists *words, size_t i, const int32_t *tokens,
                     size_t n_tokens, int32_t *token);

#endif
