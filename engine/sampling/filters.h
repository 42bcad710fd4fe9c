/* The draw through every filter, over a full ordering of the row: for requests with top_n_sigma,
 * typical_p or XTC, whose result is no head of the ordering. The usual filters alone take the
 * shorter way of sampler.c; both give the same token where both apply. */
#ifndef WICARA_SAMPLING_FILTERS_H
#define WICARA_SAMPLING_FILTERS_H

#include "engine/sampling/sampler.h"
#include "engine/sampling/scan.h"

/* Scratch, made when first needed. Zeroed = empty. */
struct filter_state {
    double *weights;    // [n_vocab] of the candidates, best first
    double *surprises;  // [n_vocab] typical_p: distance from the expected surprise
    uint32_t *order;    // [2 * n_vocab]
};
void filter_release(struct filter_state *state);

bool filters_are_wanted(const struct sampling_params *params);

/* logits [n_vocab] with the highest one `max`; keys [n]: all tokens above -inf, best first (they
 * are changed). u and u_xtc: uniform in [0, 1). ERR_MEMORY. */
enum status filters_draw(struct filter_state *state, const struct sampling_params *params,
                         const float *logits, size_t n_vocab, float max, rank_key *keys, size_t n,
                         double u, double u_xtc, int32_t *token, struct error *err) MUST_CHECK;

#endif
