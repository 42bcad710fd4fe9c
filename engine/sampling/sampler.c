/* One choice's sampler: penalties, bias and bans, temperature, filters, the seeded draw; see
 * sampler.h.
 *
 * The draw needs the tokens in descending order only as far as the random number reaches. So first
 * the tokens with at least e^-4 of the best one's probability are ordered, then e^-8, e^-16, and
 * only then all: most draws end with a few dozen tokens, and a full ordering is left to flat
 * distributions. How far it goes depends on the row and the request alone, so the draw stays a pure
 * function of both.
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
#include "engine/sampling/filters.h"
#include "engine/sampling/logprobs.h"
#include "engine/sampling/lookback.h"
#include "engine/sampling/scan.h"

static const float GREEDY_BELOW = 1e-5f;
static const float BIAS_BANS = -100.0f;

enum { CANDIDATES = 1024, TOP_K_HEAP_MAX = 256 };  // most tokens of the partial orderings

struct undo {
    int32_t token;
    float logit;
};

struct sampler {
    struct sampling_params params;
    uint32_t choice;
    size_t n_vocab;
    struct logit_bias *bias;  // copy of params.logit_bias, ids checked
    bool penalises;           // any penalty is on; else the three arrays below are NULL
    bool is_windowed;         // ... and they hold the window's tokens only during a draw
    uint32_t *n_generated;    // [n_vocab] how often each token was generated
    uint8_t *is_seen;         // [n_vocab] in the prompt or generated
    int32_t *seen;            // [n_vocab] distinct tokens seen, in order; n_seen are in use
    size_t n_seen;
    struct undo *undo;  // [n_undo_max]
    size_t n_undo, n_undo_max;
    float *allowed_logits;  // [n_allowed] scratch
    float *raw;             // [n_vocab] the row as it came, when it is not restored from `undo`
    bool has_raw;           // ... and it was kept for this draw
    const uint64_t *mask;   // of the next draw, or NULL
    struct dry_state dry;
    struct filter_state filters;
    rank_key *keys;      // [2 * CANDIDATES] candidates, best first, and scratch
    rank_key *all_keys;  // [2 * n_vocab] for a full ordering, made when first needed
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

static bool allocate(struct sampler *s)
{
    const struct sampling_params *p = &s->params;
    bool repeats = p->dry.multiplier > 0;
    s->n_undo_max = p->n_logit_bias + p->n_late + p->bad_words.n + (s->penalises ? s->n_vocab : 0) +
                    (repeats ? s->n_vocab : 0);
    size_t n_undo = s->n_undo_max;
    if (p->n_allowed > 0) {
        s->allowed_logits = mem_alloc_array(p->n_allowed, sizeof *s->allowed_logits);
        s->raw = mem_alloc_array(s->n_vocab, sizeof *s->raw);
        if (s->allowed_logits == NULL || s->raw == NULL)
            return false;
    }
    s->keys = mem_alloc_array(2 * CANDIDATES, sizeof *s->keys);
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

enum status sampler_create(struct sampler **out, size_t n_vocab,
                           const struct sampling_params *params, uint32_t choice, struct error *err)
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
    s->is_windowed = s->penalises && params->penalty_window > 0;
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
    mem_free(sampler->allowed_logits);
    mem_free(sampler->raw);
    dry_release(&sampler->dry);
    filter_release(&sampler->filters);
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
    if (!sampler->penalises || sampler->is_windowed)
        return;
    for (size_t i = 0; i < n_tokens; i++)
        mark_seen(sampler, tokens[i]);
}

void sampler_accept(struct sampler *sampler, int32_t token)
{
    if (!sampler->penalises || sampler->is_windowed)
        return;
    mark_seen(sampler, token);
    sampler->n_generated[token]++;
}

static void replace(struct sampler *s, float *logits, int32_t token, float logit)
{
    assert(s->n_undo < s->n_undo_max);
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

/* The window's tokens are counted for this draw alone. */
static void apply_windowed_penalties(struct sampler *s, float *logits, size_t position)
{
    const struct sampling_params *p = &s->params;
    size_t n = (size_t)p->penalty_window < position ? (size_t)p->penalty_window : position;
    for (size_t i = position - n; i < position; i++) {
        mark_seen(s, p->history[i]);
        if (i >= p->n_prompt)
            s->n_generated[p->history[i]]++;
    }
    apply_penalties(s, logits);
    for (size_t i = 0; i < s->n_seen; i++) {
        s->is_seen[s->seen[i]] = 0;
        s->n_generated[s->seen[i]] = 0;
    }
    s->n_seen = 0;
}

static enum status apply_dry(struct sampler *s, float *logits, size_t position, struct error *err)
{
    const struct lookback_penalty *found;
    size_t n;
    enum status status = dry_penalties(&s->dry, &s->params.dry, s->n_vocab, s->params.history,
                                       position, &found, &n, err);
    for (size_t i = 0; status == OK && i < n; i++)
        replace(s, logits, found[i].token, logits[found[i].token] - found[i].penalty);
    return status;
}

static void apply_bans(struct sampler *s, float *logits, size_t position)
{
    const struct sampling_params *p = &s->params;
    size_t n_answer = position - p->n_prompt;
    for (size_t i = 0; i < p->bad_words.n; i++) {
        int32_t token;
        if (bad_word_is_due(&p->bad_words, i, p->history + p->n_prompt, n_answer, &token))
            replace(s, logits, token, -INFINITY);
    }
    for (size_t i = 0; i < p->n_late && n_answer < p->min_tokens; i++)
        replace(s, logits, p->late[i], -INFINITY);
}

static void keep_allowed(struct sampler *s, float *logits)
{
    const struct sampling_params *p = &s->params;
    for (size_t i = 0; i < p->n_allowed; i++)
        s->allowed_logits[i] = logits[p->allowed[i]];
    for (size_t i = 0; i < s->n_vocab; i++)
        logits[i] = -INFINITY;
    for (size_t i = 0; i < p->n_allowed; i++)
        logits[p->allowed[i]] = s->allowed_logits[i];
}

void sampler_allow(struct sampler *sampler, const uint64_t *allowed)
{
    sampler->mask = allowed;
}

static void apply_mask(const struct sampler *s, float *logits)
{
    for (size_t first = 0; first < s->n_vocab; first += 64) {
        uint64_t word = s->mask[first / 64];
        size_t n = s->n_vocab - first < 64 ? s->n_vocab - first : 64;
        if (word == UINT64_MAX)
            continue;
        for (size_t i = 0; i < n; i++)
            if (!(word >> i & 1))
                logits[first + i] = -INFINITY;
    }
}

/* Lists of allowed tokens and masks change the whole row: what is wanted of it later is kept. */
static enum status keep_raw(struct sampler *s, const float *logits, struct error *err)
{
    s->has_raw = s->params.n_allowed > 0 || (s->mask != NULL && s->params.top_logprobs >= 0);
    if (!s->has_raw)
        return OK;
    if (s->raw == NULL)
        s->raw = mem_alloc_array(s->n_vocab, sizeof *s->raw);
    if (s->raw == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a row of %zu tokens", s->n_vocab);
    memcpy(s->raw, logits, s->n_vocab * sizeof *logits);
    return OK;
}

/* Everything that changes the row before the draw. *adjusted: it did. */
static enum status adjust(struct sampler *s, float *logits, size_t position, bool *adjusted,
                          struct error *err)
{
    const struct sampling_params *p = &s->params;
    enum status status = keep_raw(s, logits, err);
    if (status != OK)
        return status;
    apply_bias(s, logits);
    if (s->is_windowed)
        apply_windowed_penalties(s, logits, position);
    else if (s->penalises)
        apply_penalties(s, logits);
    if (p->dry.multiplier > 0)
        status = apply_dry(s, logits, position, err);
    if (p->bad_words.n > 0 || p->n_late > 0)
        apply_bans(s, logits, position);
    if (p->n_allowed > 0)
        keep_allowed(s, logits);
    if (s->mask != NULL)
        apply_mask(s, logits);
    *adjusted = s->n_undo > 0 || p->n_allowed > 0 || s->mask != NULL;
    return status;
}

static void restore(struct sampler *s, float *logits)
{
    if (s->has_raw) {
        memcpy(logits, s->raw, s->n_vocab * sizeof *logits);
        s->n_undo = 0;
    }
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

/* Candidates in order. No token beyond them weighs more than `beyond`; 0 = they are all. */
struct candidates {
    const rank_key *keys;
    size_t n;
    double beyond;
};

/* Draws among the candidates. False when the answer lies, or may lie, beyond them. */
static bool draw_among(const struct weights *w, struct candidates c,
                       const struct sampling_params *params, double u, int32_t *token)
{
    double limit = params->top_p < 1 ? (double)params->top_p * w->total : INFINITY;
    double least = (double)params->min_p, kept = 0;
    size_t n_kept = 0;
    for (; n_kept < c.n; n_kept++) {
        double weight = weight_of(w, c.keys[n_kept]);
        if (n_kept > 0 && (kept >= limit || weight < least || weight == 0))
            break;
        kept += weight;
    }
    bool closed = n_kept < c.n || c.beyond == 0 || kept >= limit || c.beyond < least;
    bool filters = params->top_p < 1 || params->min_p > 0;
    if (filters && !closed)
        return false;
    // Without filters all of `total` is kept, though only its head was looked at.
    double target = u * (closed ? kept : w->total);
    double sum = 0;
    for (size_t i = 0; i < n_kept; i++) {
        sum += weight_of(w, c.keys[i]);
        *token = rank_token(c.keys[i]);
        if (sum > target)
            return true;
    }
    return closed;  // only rounding kept the sum below: the last kept token
}

static enum status order_all(struct sampler *s, const float *logits, struct candidates *out,
                             struct error *err)
{
    if (s->all_keys == NULL)
        s->all_keys = mem_alloc_array(2 * s->n_vocab, sizeof *s->all_keys);
    if (s->all_keys == NULL)
        return error_set(err, ERR_MEMORY, "no memory to order %zu tokens", s->n_vocab);
    out->keys = s->all_keys;
    out->n = scan_above(logits, s->n_vocab, -INFINITY, s->n_vocab, s->all_keys,
                        s->all_keys + s->n_vocab);
    out->beyond = 0;
    return OK;
}

/* Cuts the candidates at top_k, if they reach that far. */
static bool cut_top_k(struct weights *w, struct candidates *c, int32_t top_k)
{
    if (c->n < (size_t)top_k && c->beyond > 0)
        return false;
    if (c->n > (size_t)top_k)
        c->n = (size_t)top_k;
    c->beyond = 0;
    w->total = 0;
    for (size_t i = 0; i < c->n; i++)
        w->total += weight_of(w, c->keys[i]);
    return true;
}

static enum status draw_random(struct sampler *s, struct weights *w, uint32_t position,
                               int32_t *token, struct error *err)
{
    static const float distances[] = {4, 8, 16};
    const struct sampling_params *p = &s->params;
    double u = rng_uniform(p->seed, s->choice, position, 0);
    if (filters_are_wanted(p)) {
        struct candidates all;
        enum status status = order_all(s, w->logits, &all, err);
        if (status != OK)
            return status;
        return filters_draw(&s->filters, p, w->logits, s->n_vocab, w->max, s->all_keys, all.n, u,
                            rng_uniform(p->seed, s->choice, position, 1), token, err);
    }
    int32_t top_k = p->top_k > 0 && (size_t)p->top_k < s->n_vocab ? p->top_k : 0;
    struct candidates c;
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        c.keys = s->keys;
        c.n = scan_above(w->logits, s->n_vocab, w->max - distances[i] / w->scale, CANDIDATES,
                         s->keys, s->keys + CANDIDATES);
        if (c.n > CANDIDATES)
            break;
        // Rounded up, since the bound on the logits was rounded too.
        c.beyond = c.n == s->n_vocab ? 0 : (double)scan_exp(-distances[i]) * 1.0001;
        if ((top_k == 0 || cut_top_k(w, &c, top_k)) && draw_among(w, c, p, u, token))
            return OK;
    }
    enum status status = OK;
    if (top_k > 0 && top_k <= TOP_K_HEAP_MAX)
        c = (struct candidates){s->keys, scan_top(w->logits, s->n_vocab, (size_t)top_k, s->keys),
                                0};
    else
        status = order_all(s, w->logits, &c, err);
    if (status != OK)
        return status;
    if (top_k > 0)
        (void)cut_top_k(w, &c, top_k);
    bool drawn = draw_among(w, c, p, u, token);
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
    return error_set_param(err, ERR_INVALID, "logit_bias",
                           "the request's bans leave no token to choose");
}

enum status sampler_draw(struct sampler *sampler, float *logits, uint32_t position,
                         struct sample *out, struct error *err)
{
    struct sampler *s = sampler;
    bool adjusted;
    enum status status = adjust(s, logits, position, &adjusted, err);
    if (status != OK) {
        restore(s, logits);
        return status;
    }
    float max;
    if (!scan_max(logits, s->n_vocab, &max) || max == -INFINITY) {
        bool is_masked = s->mask != NULL;
        restore(s, logits);
        if (is_masked)
            return error_set(err, ERR_INVALID,
                             "the request's bans leave none of the tokens that its format allows");
        return bad_row(s, logits, err);
    }
    struct weights w = {.logits = logits, .max = max};
    if (s->params.temperature < GREEDY_BELOW) {
        out->token = (int32_t)scan_find(logits, s->n_vocab, max);
    } else {
        w.scale = 1.0f / s->params.temperature;
        if (!(s->params.top_k > 0 && (size_t)s->params.top_k < s->n_vocab))
            w.total = scan_exp_sum(logits, s->n_vocab, max, w.scale);
        status = draw_random(s, &w, position, &out->token, err);
        if (status != OK) {
            restore(s, logits);
            return status;
        }
    }
    restore(s, logits);
    out->n_top = 0;
    out->rank = 0;
    out->logprob = 0;
    if (s->params.top_logprobs < 0)
        return OK;
    if (adjusted && !scan_max(logits, s->n_vocab, &max))
        return bad_row(s, logits, err);
    logprobs_of(logits, s->n_vocab, max, (size_t)s->params.top_logprobs, s->keys, out);
    return OK;
}
