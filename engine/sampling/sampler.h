/* Logits to one token: penalties, bias, temperature, top-k, top-p, min-p, the seeded draw, and
 * log-probabilities. A pure function of (logits, parameters, history, seed, choice, position).
 *
 * Order: logit_bias, then repetition/presence/frequency penalties, then (temperature 0: the highest
 * logit, ties to the lowest id), temperature, top_k, top_p, min_p, draw by the inverse of the
 * cumulated probabilities in descending order of probability (ties: lowest id first).
 * Log-probabilities are of the raw distribution (log-softmax of the model's logits before bias,
 * penalties and temperature), as vLLM and OpenAI report them. */
#ifndef WICARA_SAMPLING_SAMPLER_H
#define WICARA_SAMPLING_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { TOP_LOGPROBS_MAX = 20, LOGIT_BIAS_MAX = 1024 };

struct logit_bias {
    int32_t token;
    float bias;  // -100..100; -100 bans
};

struct sampling_params {
    float temperature;         // 0..2, 0 = greedy
    float top_p;               // (0, 1], 1 = off
    int32_t top_k;             // 0 = off
    float min_p;               // 0..1, 0 = off
    float presence_penalty;    // -2..2
    float frequency_penalty;   // -2..2
    float repetition_penalty;  // > 0, 1 = off
    uint64_t seed;
    const struct logit_bias *logit_bias;
    size_t n_logit_bias;
    int32_t top_logprobs;  // -1 = no log-probabilities, else 0..TOP_LOGPROBS_MAX alternatives
};

struct token_logprob {
    int32_t token;
    float logprob;
};

struct sample {
    int32_t token;
    float logprob;                               // of `token`, when asked
    struct token_logprob top[TOP_LOGPROBS_MAX];  // descending, ties: lowest id first
    size_t n_top;
};

struct sampler;

/* Copies params. prompt tokens count for repetition_penalty (as in vLLM), generated tokens for all
 * three penalties. tokens_max: most tokens it will be told of. */
enum status sampler_create(struct sampler **out, size_t n_vocab,
                           const struct sampling_params *params, uint32_t choice,
                           struct error *err) MUST_CHECK;
void sampler_free(struct sampler *sampler);

void sampler_accept_prompt(struct sampler *sampler, const int32_t *tokens, size_t n_tokens);
/* position = number of tokens before the one that is drawn. `logits` [n_vocab] is scratch after the
 * call. ERR_INTERNAL when the logits hold a NaN or nothing but -inf. Thread-safe across
 * samplers. */
enum status sampler_draw(struct sampler *sampler, float *logits, uint32_t position,
                         struct sample *out, struct error *err) MUST_CHECK;
void sampler_accept(struct sampler *sampler, int32_t token);

#endif
