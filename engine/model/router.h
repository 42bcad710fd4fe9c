/* The router of a mixture of experts: from one token's logits to its experts and their weights. */
#ifndef WICARA_MODEL_ROUTER_H
#define WICARA_MODEL_ROUTER_H

#include <stdint.h>

#include "engine/model/config.h"

/* logits [n_experts]; choice_bias [n_experts] or NULL is added to the scores for the choice alone.
 * Out: expert [n_used], best first, all different whatever the logits hold, ties to the lowest id;
 * weight [n_used]. */
void router_choose(const struct moe_config *moe, const float *logits, const float *choice_bias,
                   int32_t *expert, float *weight);

#endif
