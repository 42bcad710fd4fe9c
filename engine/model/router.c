/* Which experts a token goes through, and with which weights.
 *
 * scores = softmax or sigmoid of the logits; the best of score + bias are chosen, first the groups
 * (by their best score after a softmax, by the sum of their best two after a sigmoid), then the
 * experts of those; weights are the scores of the chosen without bias, divided by their sum where
 * the family says so, times a constant. All sums run in ascending order.
 * Source: DeepSeek-AI 2024 (V2, V3: aux-loss-free balancing), Jiang et al. 2024 (Mixtral). */
#include "engine/model/router.h"

#include <math.h>

#include "engine/kernels/attention.h"

/* exp(x - largest) / sum, in place. */
static void softmax(float *x, size_t n)
{
    float largest = x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (size_t i = 0; i < n; i++) {
        x[i] = kernel_exp(x[i] - largest);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++)
        x[i] /= sum;
}

/* Best open item, the lowest of equals; -1 when none is open. */
static int32_t best_of(const float *rank, const bool *closed, size_t n)
{
    int32_t best = -1;
    for (size_t i = 0; i < n; i++) {
        if (!closed[i] && (best < 0 || rank[i] > rank[best]))
            best = (int32_t)i;
    }
    return best;
}

static float group_rank(const struct moe_config *moe, const float *rank, size_t n)
{
    float first = -INFINITY, second = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (rank[i] > first) {
            second = first;
            first = rank[i];
        } else if (rank[i] > second) {
            second = rank[i];
        }
    }
    return moe->score == SCORE_SIGMOID ? first + second : first;
}

/* Closes the experts of all groups but the best n_groups_used. */
static void close_groups(const struct moe_config *moe, const float *rank, bool *closed)
{
    float ranks[EXPERTS_MAX];
    bool taken[EXPERTS_MAX] = {false};
    size_t n = moe->n_experts / moe->n_groups;
    for (size_t g = 0; g < moe->n_groups; g++)
        ranks[g] = group_rank(moe, rank + g * n, n);
    for (size_t i = 0; i < moe->n_groups_used; i++)
        taken[best_of(ranks, taken, moe->n_groups)] = true;
    for (size_t i = 0; i < moe->n_experts; i++)
        closed[i] = !taken[i / n];
}

void router_choose(const struct moe_config *moe, const float *logits, const float *choice_bias,
                   int32_t *expert, float *weight)
{
    float scores[EXPERTS_MAX], rank[EXPERTS_MAX];
    bool closed[EXPERTS_MAX] = {false};
    for (size_t i = 0; i < moe->n_experts; i++)
        scores[i] =
            moe->score == SCORE_SIGMOID ? 1.0f / (1.0f + kernel_exp(-logits[i])) : logits[i];
    if (moe->score == SCORE_SOFTMAX)
        softmax(scores, moe->n_experts);
    for (size_t i = 0; i < moe->n_experts; i++)
        rank[i] = choice_bias ? scores[i] + choice_bias[i] : scores[i];
    if (moe->n_groups > 1)
        close_groups(moe, rank, closed);
    for (size_t slot = 0; slot < moe->n_used; slot++) {
        expert[slot] = best_of(rank, closed, moe->n_experts);
        closed[expert[slot]] = true;
        weight[slot] = scores[expert[slot]];
    }
    if (moe->score == SCORE_SOFTMAX_CHOSEN)
        softmax(weight, moe->n_used);
    float sum = 0;
    for (size_t slot = 0; slot < moe->n_used; slot++)
        sum += weight[slot];
    for (size_t slot = 0; slot < moe->n_used; slot++) {
        if (moe->weights_norm)
            weight[slot] /= sum + 1e-20f;
        weight[slot] *= moe->weights_scale;
    }
}
