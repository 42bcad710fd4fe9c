/* Passes over one row of logits: maximum, sum of exponentials, the best k tokens, a full ordering.
 * Every result is a pure function of the row: sums run in 16 fixed lanes, ties go to the lowest
 * id. */
#ifndef WICARA_SAMPLING_SCAN_H
#define WICARA_SAMPLING_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rank of a token: ascending order is descending logit, ties by ascending id. */
typedef uint64_t rank_key;

static inline int32_t rank_token(rank_key key)
{
    return (int32_t)(uint32_t)key;
}

/* Highest logit, or false when there is a NaN or +inf in the row. *out may be -inf. */
bool scan_max(const float *logits, size_t n, float *out);
/* Lowest id whose logit equals `value`; n when there is none. */
size_t scan_find(const float *logits, size_t n, float value);
/* exp(x) for x <= 0, the same bits as inside scan_exp_sum; exactly 0 below -87. */
float scan_exp(float x);
/* Sum over all tokens of exp((logit - max) * scale). */
double scan_exp_sum(const float *logits, size_t n, float max, float scale);

/* The k best tokens with a logit above -inf, best first, in keys[0..k). Returns their number. For
 * small k. */
size_t scan_top(const float *logits, size_t n, size_t k, rank_key *keys);
/* All tokens with a logit of at least `least` (and above -inf), best first. Returns their number,
 * or n_max + 1 when there are more than n_max; keys and scratch have room for n_max. */
size_t scan_above(const float *logits, size_t n, float least, size_t n_max, rank_key *keys,
                  rank_key *scratch);

#endif
