/* Log-probabilities of one row: log-softmax of the raw logits, in a fixed order of summation. */
#ifndef WICARA_SAMPLING_LOGPROBS_H
#define WICARA_SAMPLING_LOGPROBS_H

#include "engine/sampling/sampler.h"
#include "engine/sampling/scan.h"

/* Fills out->logprob of out->token and the n_top best alternatives. `max` is the row's highest
 * logit; keys holds at least min(n_top, n_vocab) entries. -inf logits are reported as -9999. */
void logprobs_of(const float *logits, size_t n_vocab, float max, size_t n_top, rank_key *keys,
                 struct sample *out);

/* The same for a token that was not drawn but given: also fills out->rank. False when the row holds
 * a NaN or +inf. `logits` is only read; keys as above. */
bool logprobs_of_given(const float *logits, size_t n_vocab, int32_t token, size_t n_top,
                       rank_key *keys, struct sample *out);

#endif
