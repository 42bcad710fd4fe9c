/* Logits to one token: penalties, bias, temperature, top-k, top-p, min-p, the seeded draw, and
 * log-probabilities. A pure function of (logits, parameters, history, seed, choice, position).
 *
 * Order: logit_bias, repetition/presence/frequency penalties, DRY, then the bans (bad words, tokens
 * before min_tokens, all but the allowed ones), then (temperature 0: the highest logit, ties to the
 * lowest id), top_n_sigma, temperature, top_k, typical_p, top_p, min_p, XTC, draw by the inverse of
 * the cumulated probabilities in descending order of probability (ties: lowest id first).
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

/* Lists of token ids: list i is ids[ends[i - 1] .. ends[i]). */
struct token_lists {
    const int32_t *ids;
    const uint32_t *ends;
    size_t n;
};

/* "Don't repeat yourself": a token that would make the text repeat what it said before, word for
 * word and more than allowed_length tokens long, loses multiplier * base^(length - allowed_length).
 * Source: p-e-w, text-generation-webui #5677, as in llama.cpp. */
struct dry_params {
    float multiplier;         // 0 = off
    float base;               // >= 1
    int32_t allowed_length;   // repetitions shorter than this are free
    int32_t window;           // last tokens that count, prompt and answer; 0 = all
    const uint8_t *breakers;  // [n_vocab / 8 + 1] bits: no repetition reaches over such a token
};

/* Zero turns every field from `penalty_window` on off. Pointers there are borrowed for the
 * sampler's life. */
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

    int32_t penalty_window;  // last tokens that the three penalties look at; 0 = all
    float top_n_sigma;       // keep logits of at least max - n standard deviations
    float typical_p;         // locally typical sampling (Meister et al. 2022), 1 = off too
    float xtc_probability;   // how often all but the least of the tokens above the threshold go
    float xtc_threshold;
    struct dry_params dry;
    struct token_lists bad_words;  // the last token of each is banned behind the others
    const int32_t *allowed;        // only these tokens
    size_t n_allowed;
    const int32_t *late;  // banned in the first min_tokens tokens of the answer
    size_t n_late, min_tokens;
    /* [position] at each draw: the tokens so far, the prompt's first. For what looks back. */
    const int32_t *history;
    size_t n_prompt;  // of them
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
    uint32_t rank;  // of a given token (logprobs.h): 1 = the most probable, ties to the lowest id
};

struct sampler;

/* Copies params. prompt tokens count for repetition_penalty (as in vLLM), generated tokens for all
 * three penalties. tokens_max: most tokens it will be told of. */
enum status sampler_create(struct sampler **out, size_t n_vocab,
                           const struct sampling_params *params, uint32_t choice,
                           struct error *err) MUST_CHECK;
void sampler_free(struct sampler *sampler);

void sampler_accept_prompt(struct sampler *sampler, const int32_t *tokens, size_t n_tokens);
/* The next draw takes one of these tokens: bits [n_vocab / 64 rounded up], borrowed until then. A
 * grammar's mask. Log-probabilities stay those of the raw distribution. */
void sampler_allow(struct sampler *sampler, const uint64_t *allowed);
/* position = number of tokens before the one that is drawn. `logits` [n_vocab] is scratch after the
 * call. ERR_INTERNAL when the logits hold a NaN or nothing but -inf. Thread-safe across
 * samplers. */
enum status sampler_draw(struct sampler *sampler, float *logits, uint32_t position,
                         struct sample *out, struct error *err) MUST_CHECK;
void sampler_accept(struct sampler *sampler, int32_t token);

#endif
