/* Log-probabilities; see logprobs.h.
 *
 * logprob = logit - (max + log(sum exp(logit - max))), the log in double. A token whose logit is
 * -inf (only possible when the model itself says so) is reported as -9999, OpenAI's convention for
 * "very unlikely": -inf has no JSON spelling. */
#include "engine/sampling/logprobs.h"

#include <math.h>

static const float LOGPROB_LEAST = -9999.0f;

static float logprob_of(float logit, double normaliser)
{
    if (!(logit > -INFINITY))
        return LOGPROB_LEAST;
    return (float)((double)logit - normaliser);
}

void logprobs_of(const float *logits, size_t n_vocab, float max, size_t n_top, rank_key *keys,
                 struct sample *out)
{
    double normaliser = (double)max + log(scan_exp_sum(logits, n_vocab, max, 1.0f));
    out->logprob = logprob_of(logits[out->token], normaliser);
    if (n_top > TOP_LOGPROBS_MAX)
        n_top = TOP_LOGPROBS_MAX;
    out->n_top = scan_top(logits, n_vocab, n_top < n_vocab ? n_top : n_vocab, keys);
    for (size_t i = 0; i < out->n_top; i++) {
        int32_t token = rank_token(keys[i]);
        out->top[i] = (struct token_logprob){token, logprob_of(logits[token], normaliser)};
    }
}

bool logprobs_of_given(const float *logits, size_t n_vocab, int32_t token, size_t n_top,
                       rank_key *keys, struct sample *out)
{
    float max;
    out->token = token;
    out->rank = 0;
    if (!scan_max(logits, n_vocab, &max) || max == -INFINITY)
        return false;
    logprobs_of(logits, n_vocab, max, n_top, keys, out);
    uint32_t n_better = 0;
    float own = logits[token];
    for (size_t i = 0; i < (size_t)token; i++)
        n_better += logits[i] >= own;
    for (size_t i = (size_t)token + 1; i < n_vocab; i++)
        n_better += logits[i] > own;
    out->rank = n_better + 1;
    return true;
}
