/* Guesses at the next tokens of one sequence, from the sequence itself: where its last tokens have
 * stood before, what followed then may follow now. Edited code, quoted passages and agents' turns
 * repeat themselves; free text does not, and then nothing is guessed.
 *
 * A guess is never trusted: the step computes the model's own logits behind every guessed token,
 * the sampler draws from them with the random number of that position, and only as long as the
 * drawn token is the guessed one does the next draw count. So the answer is that of plain decoding,
 * bit for bit, greedy or seeded.
 *
 * Owned by the scheduler thread. No dependence on the model: plain tokens in, plain tokens out. */
#ifndef WICARA_SCHEDULER_SPECULATE_H
#define WICARA_SCHEDULER_SPECULATE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { SPECULATE_TOKENS_MAX = 16 };  // most tokens guessed at once

struct speculator;

/* tokens_max: most tokens that the sequence will have. */
enum status speculator_create(struct speculator **out, size_t tokens_max,
                              struct error *err) MUST_CHECK;
void speculator_free(struct speculator *speculator);  // NULL is fine

/* Guesses what follows tokens[0, n_tokens), of which a call may only append to what the call before
 * saw. A token is guessed while the chance that it and all before it are right is above
 * `chance_min` (0..1), as the hits so far tell. Returns how many of `out` are set, at most
 * n_max. */
size_t speculator_guess(struct speculator *speculator, const int32_t *tokens, size_t n_tokens,
                        double chance_min, size_t n_max, int32_t out[SPECULATE_TOKENS_MAX]);

/* The fate of the last guess: n_tried of its tokens were computed, the first n_right were drawn. */
void speculator_learn(struct speculator *speculator, size_t n_tried, size_t n_right);

#endif
