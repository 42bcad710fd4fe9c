/* One choice's sampler: penalties and bias, temperature, filters, the seeded draw; see sampler.h.
 *
 * The draw needs the tokens in descending order only as far as the random number reaches. So the
 * best few hundred are taken from the row first (scan_top); when the filters or the number reach
 * beyond them, which happens with flat distributions, all tokens are ordered. Which way is taken
 * depends on the row and the request alone, so the draw stays a pure function of both.
 *
 * Bias and penalties are written into the row through an undo list, so that log-probabilities can
 * be taken from the raw row afterwards without a copy of it (sampling/logprobs.c).
 *
 * A temperature below 1e-5 is greedy (as in vLLM): its reciprocal would leave the range of f32.
 * Used by one thread at a time; different samplers share nothing. */
#include "engine/sampling/sampler.h"

#include <assert.h>
#include <float.h>
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/sampling/logprobs.h"
#include "engine/sampling/scan.h"

static const float GREEDY_BELOW = 1e-5f;
static const float BIAS_BANS = -100.0f;

enum { CANDIDATES = 256, TOP_K_HEAP_MAX = 2048 };

struct undo {
    int32_t token;
    float logit;
};

struct sampler {
    struct sampling_params params;
    uint32_t choice;
    size_t n_vocab;
    struct logit_bias *bias;   // copy of params.logit_bias, ids checked
    bool penalises;            // any penalty is on; else the four arrays below are NULL
    uint32_t *n_generated;     // [n_vocab] how often each token was generated
    uint8_t *is_seen;          // [n_vocab] in the prompt or generated
    int32_t *seen;             // [n_vocab] distinct tokens seen, in order; n_seen are in use
    size_t n_seen;
    struct undo *undo;         // [n_bias + n_vocab when penalises]
    size_t n_undo;
    rank_key *keys;            // [n_keys_max] candidates, best first
    size_t n_keys_max;
    rank_key *all_keys;        // [2 * n_vocab] for a full ordering, made when first needed
};

static enum status check_bias(const struct sampling_params *params, size_t n_vocab,
                              struct error *err)
{
    if (params->n_logit_bias > LOGIT_BIAS_MAX)
        return error_set_param(err, ERR_INVALID, "logit_bias", "more than %d entries",
                               LOGIT_BIAS_MAX);
    for (size_t i = 0; i < params->n_logit_bias; i++) {
        int32_t token = params->logit_bias[i].token;
        if (token < 0 || (size_t)token >= n_vocab)
            return error_set_param(err, ERR_INVALID, "logit_bias",
                                   "token %d is not in the vocabulary of %zu tokens", (int)token,
                                   n_vocab);
    }
    return OK;
}

static size_t keys_wanted(const struct sampling_params *params, size_t n_vocab)
{
    size_t wanted = CANDIDATES;
    if (params->top_k > 0 && params->top_k <= TOP_K_HEAP_MAX)
        wanted = (size_t)params->top_k;
    if (wanted < TOP_LOGPROBS_MAX)
        wanted = TOP_LOGPROBS_MAX;
    return wanted < n_vocab ? wanted : n_vocab;
}

static bool allocate(struct sampler *s)
{
    size_t n_undo = s->params.n_logit_bias + (s->penalises ? s->n_vocab : 0);
    s->keys = mem_alloc_array(s->n_keys_max, sizeof *s->keys);
    s->bias = mem_alloc_array(s->params.n_logit_bias + 1, sizeof *s->bias);
    s->undo = mem_alloc_array(n_undo + 1, sizeof *s->undo);
    if (s->keys == NULL || s->bias == NULL || s->undo == NULL)
        return false;
    if (!s->penalises)
        return true;
    s->n_generated = mem_calloc(s->n_vocab, sizeof *s->n_generated);
    s->is_seen = mem_calloc(s->n_vocab, sizeof *s->is_seen);
    s->seen = mem_alloc_array(s->n_vocab, sizeof *s->seen);
    return s->n_generated != NULL && s->is_seen != NULL && s->seen != NULL;
}

enum status sampler_create(struct sampler **out, size_t n_vocab, const struct sampling_params *params,
                           uint32_t choice, struct error *err)
{
    assert(n_vocab > 0);
    *out = NULL;
    enum status status = check_bias(params, n_vocab, err);
    if (status != OK)
        return status;
    struct sampler *s = mem_calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a sampler");
    s->params = *params;
    s->choice = choice;
    s->n_vocab = n_vocab;
    s->penalises = params->presence_penalty != 0 || params->frequency_penalty != 0 ||
                   params->repetition_penalty != 1;
    s->n_keys_max = keys_wanted(params, n_vocab);
    if (!allocate(s)) {
        sampler_free(s);
        return error_set(err, ERR_MEMORY, "no memory for a sampler of %zu tokens", n_vocab);
    }
    if (params->n_logit_bias > 0)
        memcpy(s->bias, params->logit_bias, params->n_logit_bias * sizeof *s->bias);
    s->params.logit_bias = s->bias;
    *out = s;
    return OK;
}

void sampler_free(struct sampler *sampler)
{
    if (sampler == NULL)
        return;
    mem_free(sampler->bias);
    mem_free(sampler->n_generated);
    mem_free(sampler->is_seen);
    mem_free(sampler->seen);
    mem_free(sampler->undo);
    mem_free(sampler->keys);
    mem_free(sampler->all_keys);
    mem_free(sampler);
}

static void mark_seen(struct sampler *s, int32_t token)
{
    assert(token >= 0 && (size_t)token < s->n_vocab);
    if (s->is_seen[token])
        return;
    s->is_seen[token] = 1;
    s->seen[s->n_seen++] = token;
}

void sampler_accept_prompt(struct sampler *sampler, const int32_t *tokens, size_t n_tokens)
{
    if (!sampler->penalises)
        return;
    for (size_t i = 0; i < n_tokens; i++)
        mark_seen(sampler, tokens[i]);
}

void sampler_accept(struct sampler *sampler, int32_t token)
{
    if (!sampler->penalises)
        return;
    mark_seen(sampler, token);
    sampler->n_generated[token]++;
}

static void replace(struct sampler *s, float *logits, int32_t token, float logit)
{
    s->undo[s->n_undo++] = (struct undo){token, logits[token]};
    logits[token] = logit > FLT_MAX ? FLT_MAX : logit;
}

static void apply_bias(struct sampler *s, float *logits)
{
    for (size_t i = 0; i < s->params.n_logit_bias; i++) {
        struct logit_bias b = s->bias[i];
        replace(s, logits, b.token, b.bias <= BIAS_BANS ? -INFINITY : logits[b.token] + b.bias);
    }
}

static void apply_penalties(struct sampler *s, float *logits)
{
    const struct sampling_params *p = &s->params;
    for (size_t i = 0; i < s->n_seen; i++) {
        int32_t token = s->seen[i];
        float logit = logits[token];
        logit = logit > 0 ? logit / p->repetition_penalty : logit * p->repetition_penalty;
        if (s->n_generated[token] > 0) {
            logit -= p->frequency_penalty * (float)s->n_generated[token];
            logit -= p->presence_penalty;
        }
        replace(s, logits, token, logit);
    }
}

static void restore(struct sampler *s, float *logits)
{
    while (s->n_undo > 0) {
        struct undo last = s->undo[--s->n_undo];
        logits[last.token] = last.logit;
    }
}

/* The distribution that is drawn from: exp((logit - max) * scale) over `total`. */
struct weights {
    const float *logits;
    float max, scale;
    double total;
};

static double weight_of(const struct weights *w, rank_key key)
{
    return (double)scan_exp((w->logits[rank_token(key)] - w->max) * w->scale);
}

/* Draws among keys[0..n), best first. `complete`: no token beyond them has any weight. False when
 * the answer lies, or may lie, beyond them. */
static bool draw_among(const struct weights *w, const rank_key *keys, size_t n, bool complete,
                       const struct sampling_params *params, double u, int32_t *token)
{
    double limit = params->top_p < 1 ? (double)params->top_p * w->total : INFINITY;
    double kept = 0;
    size_t n_kept = 0;
    bool closed = false;
    for (; n_kept < n && !closed; n_kept++) {
        double weight = weight_of(w, keys[n_kept]);
        if (n_kept > 0 && (kept >= limit || weight < (double)params->min_p || weight == 0)) {
            closed = true;
            break;
        }
        kept += weight;
    }
    bool filters = params->top_p < 1 || params->min_p > 0;
    if (!closed && !complete && (filters && kept < limit))
        return false;
    // Without filters all of `total` is kept, though only its head was looked at.
    double target = u * (filters || complete ? kept : w->total);
    double sum = 0;
    for (size_t i = 0; i < n_kept; i++) {
        sum += weight_of(w, keys[i]);
        *token = rank_token(keys[i]);
        if (sum > target)
            return true;
    }
    return closed || complete || filters;  // rounding: the last kept token
}

static enum status order_all(struct sampler *s, const float *logits, rank_key **keys, size_t *n,
                             struct error *err)
{
    if (s->all_keys == NULL)
        s->all_keys = mem_alloc_array(2 * s->n_vocab, sizeof *s->all_keys);
    if (s->all_keys == NULL)
        return error_set(err, ERR_MEMORY, "no memory to order %zu tokens", s->n_vocab);
    *keys = s->all_keys;
    *n = scan_sort(logits, s->n_vocab, s->all_keys, s->all_keys + s->n_vocab);
    return OK;
}

static enum status draw_random(struct sampler *s, struct weights *w, uint32_t position,
                               int32_t *token, struct error *err)
{
    const struct sampling_params *p = &s->params;
    double u = rng_uniform(p->seed, s->choice, position, 0);
    bool top_k = p->top_k > 0 && (size_t)p->top_k < s->n_vocab;
    rank_key *keys = s->keys;
    size_t n = 0;
    if (!top_k) {
        n = scan_top(w->logits, s->n_vocab, s->n_keys_max, keys);
        bool complete = n < s->n_keys_max || n == s->n_vocab;
        if (draw_among(w, keys, n, complete, p, u, token))
            return OK;
    }
    if (top_k && (size_t)p->top_k <= s->n_keys_max) {
        n = scan_top(w->logits, s->n_vocab, (size_t)p->top_k, keys);
    } else {
        enum status status = order_all(s, w->logits, &keys, &n, err);
        if (status != OK)
            return status;
    }
    if (top_k) {
        if (n > (size_t)p->top_k)
            n = (size_t)p->top_k;
        w->total = 0;
        for (size_t i = 0; i < n; i++)
            w->total += weight_of(w, keys[i]);
    }
    bool drawn = draw_among(w, keys, n, true, p, u, token);
    assert(drawn);
    (void)drawn;
    return OK;
}

static enum status bad_row(const struct sampler *s, const float *raw, struct error *err)
{
    float max;
    if (!scan_max(raw, s->n_vocab, &max))
        return error_set(err, ERR_INTERNAL, "the model's logits are not numbers");
    if (max == -INFINITY)
        return error_set(err, ERR_INTERNAL, "the model gives no token any probability");
    return error_set_param(err, ERR_INVALID, "logit_bias", "logit_bias bans every token");
}

enum status sampler_draw(struct sampler *sampler, float *logits, uint32_t position,
                         struct sample *out, struct error *err)
{
    struct sampler *s = sampler;
    apply_bias(s, logits);
    if (s->penalises)
        apply_penalties(s, logits);
    bool adjusted = s->n_undo > 0;
    float max;
    if (!scan_max(logits, s->n_vocab, &max) || max == -INFINITY) {
        restore(s, logits);
        return bad_row(s, logits, err);
    }
    struct weights w = {.logits = logits, .max = max};
    if (s->params.temperature < GREEDY_BELOW) {
        out->token = (int32_t)scan_find(logits, s->n_vocab, max);
    } else {
        w.scale = 1.0f / s->params.temperature;
        if (!(s->params.top_k > 0 && (size_t)s->params.top_k < s->n_vocab))
            w.total = scan_exp_sum(logits, s->n_vocab, max, w.scale);
        enum status status = draw_random(s, &w, position, &out->token, err);
        if (status != OK) {
            restore(s, logits);
            return status;
        }
    }
    restore(s, logits);
    out->n_top = 0;
    out->logprob = 0;
    if (s->params.top_logprobs < 0)
        return OK;
    if (adjusted && !scan_max(logits, s->n_vocab, &max))
        return bad_row(s, logits, err);
    logprobs_of(logits, s->n_vocab, max, (size_t)s->params.top_logprobs, s->keys, out);
    return OK;
}
