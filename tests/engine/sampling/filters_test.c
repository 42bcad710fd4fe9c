/* top_n_sigma, typical_p and XTC against their definitions over a plain list in double; that the
 * long way draws what the short one draws; windows and bans of the sampler. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/sampling/filters.h"
#include "engine/sampling/logprobs.h"

enum { N = 40 };

static const struct sampling_params DEFAULTS = {
    .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1};

static double uniform(uint64_t seed, uint32_t i)
{
    return rng_uniform(seed, 9, i, 2);
}

static void fill(float *logits, uint64_t seed)
{
    for (uint32_t i = 0; i < N; i++)
        logits[i] = (float)(8 * uniform(seed, i));
}

struct entry {
    double logit, p, surprise;
    int32_t token;
    bool kept;
};

static int by_logit(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->logit != y->logit ? (x->logit > y->logit ? -1 : 1) : x->token - y->token;
}

static int by_surprise(const void *a, const void *b)
{
    const struct entry *const *x = a, *const *y = b;
    if ((*x)->surprise != (*y)->surprise)
        return (*x)->surprise < (*y)->surprise ? -1 : 1;
    return *x < *y ? -1 : 1;
}

static void normalise(struct entry *e)
{
    double total = 0;
    for (size_t i = 0; i < N; i++)
        total += e[i].kept ? e[i].p : 0;
    for (size_t i = 0; i < N; i++)
        e[i].p = e[i].kept ? e[i].p / total : 0;
}

static void typical(struct entry *e, double share)
{
    struct entry *order[N];
    double entropy = 0, mass = 0;
    size_t n = 0;
    for (size_t i = 0; i < N; i++)
        entropy -= e[i].kept ? e[i].p * log(e[i].p) : 0;
    for (size_t i = 0; i < N; i++) {
        if (!e[i].kept)
            continue;
        e[i].surprise = fabs(-log(e[i].p) - entropy);
        e[i].kept = false;
        order[n++] = &e[i];
    }
    qsort(order, n, sizeof *order, by_surprise);
    for (size_t i = 0; i < n && (i == 0 || mass < share); i++) {
        mass += order[i]->p;
        order[i]->kept = true;
    }
    normalise(e);
}

static void xtc(struct entry *e, double threshold)
{
    size_t n = 0, seen = 0;
    for (size_t i = 0; i < N; i++)
        n += e[i].kept && e[i].p >= threshold;
    for (size_t i = 0; n > 1 && i < N; i++)
        if (e[i].kept && e[i].p >= threshold && ++seen < n)
            e[i].kept = false;
    normalise(e);
}

/* -1 when u is too near to a border to tell. */
static int32_t reference(const float *logits, const struct sampling_params *p, double u,
                         double u_xtc)
{
    struct entry e[N];
    double mean = 0, variance = 0, sum = 0;
    for (size_t i = 0; i < N; i++) {
        e[i] = (struct entry){.logit = (double)logits[i], .token = (int32_t)i, .kept = true};
        mean += e[i].logit / N;
    }
    for (size_t i = 0; i < N; i++)
        variance += (e[i].logit - mean) * (e[i].logit - mean) / N;
    qsort(e, N, sizeof *e, by_logit);
    for (size_t i = 0; i < N; i++) {
        e[i].p = exp((e[i].logit - e[0].logit) / (double)p->temperature);
        e[i].kept = (p->top_n_sigma <= 0 ||
                     e[i].logit >= e[0].logit - (double)p->top_n_sigma * sqrt(variance)) &&
                    (p->top_k == 0 || i < (size_t)p->top_k);
    }
    normalise(e);
    if (p->typical_p > 0 && p->typical_p < 1)
        typical(e, (double)p->typical_p);
    double mass = 0, best = 0;
    for (size_t i = 0; i < N; i++) {
        best = best == 0 ? e[i].p : best;
        if (e[i].kept &&
            (mass > 0 && (mass >= (double)p->top_p || e[i].p < (double)p->min_p * best)))
            e[i].kept = false;
        mass += e[i].kept ? e[i].p : 0;
    }
    normalise(e);
    if (u_xtc < (double)p->xtc_probability)
        xtc(e, (double)p->xtc_threshold);
    for (size_t i = 0; i < N; i++) {
        sum += e[i].p;
        if (e[i].kept && fabs(sum - u) < 1e-4)
            return -1;
        if (e[i].kept && sum > u)
            return e[i].token;
    }
    return -1;
}

static int32_t draw(const float *row, const struct sampling_params *params, uint32_t position)
{
    float logits[N];
    memcpy(logits, row, sizeof logits);
    struct sampler *sampler;
    struct sample sample;
    struct error err = {0};
    assert_int_equal(sampler_create(&sampler, N, params, 0, &err), OK);
    assert_int_equal(sampler_draw(sampler, logits, position, &sample, &err), OK);
    assert_memory_equal(logits, row, sizeof logits);  // the row is left as it came
    sampler_free(sampler);
    return sample.token;
}

static void filters_equal_their_definitions(void **state)
{
    (void)state;
    size_t n_compared = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        float logits[N];
        fill(logits, seed);
        struct sampling_params p = DEFAULTS;
        p.seed = seed;
        p.temperature = seed % 2 ? 1.0f : 0.7f;
        p.top_k = seed % 5 == 0 ? 9 : 0;
        p.top_p = seed % 7 == 0 ? 0.8f : 1;
        p.min_p = seed % 11 == 0 ? 0.1f : 0;
        if (seed % 3 == 0)
            p.top_n_sigma = 1.0f;
        if (seed % 3 != 1)
            p.typical_p = 0.6f;
        if (seed % 3 == 1 || seed % 4 == 0) {
            p.xtc_probability = 0.5f;
            p.xtc_threshold = 0.1f;
        }
        assert_true(filters_are_wanted(&p));
        int32_t wanted =
            reference(logits, &p, rng_uniform(seed, 0, 4, 0), rng_uniform(seed, 0, 4, 1));
        if (wanted < 0)
            continue;
        assert_int_equal(draw(logits, &p, 4), wanted);
        n_compared++;
    }
    assert_true(n_compared > 2500);
}

/* A filter that keeps everything takes the long way to the token of the short one. */
static void both_ways_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        float logits[N];
        fill(logits, seed);
        struct sampling_params p = DEFAULTS;
        p.seed = seed;
        p.min_p = 0.02f;
        p.top_p = seed % 2 ? 0.9f : 1;
        int32_t token = draw(logits, &p, 1);
        p.top_n_sigma = 100;
        assert_int_equal(draw(logits, &p, 1), token);
    }
}

static void bans(void **state)
{
    (void)state;
    float logits[N];
    fill(logits, 1);
    logits[7] = 20;
    logits[8] = 19;
    logits[9] = 18;
    struct sampling_params p = DEFAULTS;
    p.temperature = 0;
    static const int32_t history[] = {3, 7, 8, 7}, late[] = {7}, allowed[] = {9, 11};
    p.history = history;
    p.n_prompt = 2;
    assert_int_equal(draw(logits, &p, 4), 7);
    p.late = late;
    p.n_late = 1;
    p.min_tokens = 3;
    assert_int_equal(draw(logits, &p, 4), 8);
    p.min_tokens = 2;
    assert_int_equal(draw(logits, &p, 4), 7);
    p.allowed = allowed;
    p.n_allowed = 2;
    assert_int_equal(draw(logits, &p, 4), 9);
    p.n_allowed = p.n_late = 0;
    static const int32_t words[] = {8, 7, 7};
    static const uint32_t ends[] = {3};
    p.bad_words = (struct token_lists){words, ends, 1};
    assert_int_equal(draw(logits, &p, 4), 8);  // the answer is 8 7
    p.n_prompt = 3;
    assert_int_equal(draw(logits, &p, 4), 7);  // the answer is 7: the 8 was the prompt's
}

static void windowed_penalties(void **state)
{
    (void)state;
    float logits[N];
    fill(logits, 1);
    logits[7] = 20;
    logits[8] = 19;
    struct sampling_params p = DEFAULTS;
    p.temperature = 0;
    p.presence_penalty = 2;
    static const int32_t history[] = {3, 7, 5, 6};
    p.history = history;
    p.n_prompt = 1;
    p.penalty_window = 3;
    assert_int_equal(draw(logits, &p, 4), 8);
    p.penalty_window = 2;  // 7 is out of sight
    assert_int_equal(draw(logits, &p, 4), 7);
    p.presence_penalty = 0;
    p.repetition_penalty = 2;
    p.n_prompt = 4;  // counts the prompt too
    assert_int_equal(draw(logits, &p, 4), 7);
    p.penalty_window = 4;
    assert_int_equal(draw(logits, &p, 4), 8);
}

static void dry(void **state)
{
    (void)state;
    float logits[N];
    fill(logits, 1);
    logits[7] = 20;
    logits[8] = 19;
    struct sampling_params p = DEFAULTS;
    p.temperature = 0;
    static const int32_t history[] = {1, 2, 7, 1, 2};
    p.history = history;
    p.n_prompt = 5;
    p.dry = (struct dry_params){.multiplier = 2, .base = 1.75f, .allowed_length = 2};
    assert_int_equal(draw(logits, &p, 5), 8);
    p.dry.allowed_length = 3;
    assert_int_equal(draw(logits, &p, 5), 7);
}

static void ranks(void **state)
{
    (void)state;
    const float logits[] = {1, 3, 3, 2, -INFINITY};
    rank_key keys[8];
    struct sample sample;
    static const uint32_t wanted[] = {4, 1, 2, 3, 5};
    for (int32_t token = 0; token < 5; token++) {
        assert_true(logprobs_of_given(logits, 5, token, 2, keys, &sample));
        assert_int_equal(sample.rank, wanted[token]);
        assert_int_equal(sample.n_top, 2);
        assert_int_equal(sample.top[0].token, 1);
    }
    const float bad[] = {1, NAN};
    assert_false(logprobs_of_given(bad, 2, 0, 1, keys, &sample));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filters_equal_their_definitions),
        cmocka_unit_test(both_ways_agree),
        cmocka_unit_test(bans),
        cmocka_unit_test(windowed_penalties),
        cmocka_unit_test(dry),
        cmocka_unit_test(ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
