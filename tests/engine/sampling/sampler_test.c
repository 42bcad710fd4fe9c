/* The sampler against a plain reference: sort everything, work in double, walk the list.
 *
 * The reference follows the order in sampler.h literally. The sampler's exponentials are f32 with
 * an error of about 1e-7, so a draw whose random number falls within 1e-5 of a border is not
 * compared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/sampling/sampler.h"
#include "engine/sampling/scan.h"

static const struct sampling_params DEFAULTS = {
    .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1};

static double uniform(uint64_t seed, uint32_t i)
{
    return rng_uniform(seed, 77, i, 5);
}

/* Roughly normal logits with standard deviation `spread`. */
static void fill(float *logits, size_t n, uint64_t seed, double spread)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < 6; k++)
            sum += uniform(seed, (uint32_t)i * 6 + k);
        logits[i] = (float)((sum - 3) * 1.414 * spread);
    }
}

struct entry {
    double logit;
    double weight;
    int32_t token;
};

static int by_rank(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

struct history {
    const int32_t *prompt;
    size_t n_prompt;
    const int32_t *generated;
    size_t n_generated;
};

static void reference_adjust(float *logits, const struct sampling_params *p, struct history h)
{
    for (size_t i = 0; i < p->n_logit_bias; i++)
        logits[p->logit_bias[i].token] += p->logit_bias[i].bias;
    for (size_t k = 0; k < h.n_prompt + h.n_generated; k++) {
        int32_t token = k < h.n_prompt ? h.prompt[k] : h.generated[k - h.n_prompt];
        size_t before = 0, count = 0;
        for (size_t i = 0; i < k; i++)
            before += (i < h.n_prompt ? h.prompt[i] : h.generated[i - h.n_prompt]) == token;
        for (size_t i = 0; i < h.n_generated; i++)
            count += h.generated[i] == token;
        if (before > 0)
            continue;  // done already
        float x = logits[token];
        x = x > 0 ? x / p->repetition_penalty : x * p->repetition_penalty;
        if (count > 0)
            x = x - p->frequency_penalty * (float)count - p->presence_penalty;
        logits[token] = x;
    }
}

/* Returns the token, or -1 when the random number is too close to a border to tell. */
static int32_t reference_draw(const float *logits, size_t n, const struct sampling_params *p,
                              double u)
{
    struct entry *e = mem_alloc_array(n, sizeof *e);
    assert_non_null(e);
    for (size_t i = 0; i < n; i++)
        e[i] = (struct entry){(double)logits[i], 0, (int32_t)i};
    qsort(e, n, sizeof *e, by_rank);
    int32_t token = e[0].token;
    if (p->temperature == 0)
        goto out;
    size_t kept = p->top_k > 0 && (size_t)p->top_k < n ? (size_t)p->top_k : n;
    double total = 0, sum = 0;
    for (size_t i = 0; i < kept; i++)
        total += e[i].weight = exp((e[i].logit - e[0].logit) / (double)p->temperature);
    size_t nucleus = 0;
    for (double mass = 0; nucleus < kept && (nucleus == 0 || mass < (double)p->top_p * total);
         nucleus++) {
        mass += e[nucleus].weight;
        if (p->top_p < 1 && fabs(mass / total - (double)p->top_p) < 1e-5) {
            token = -1;
            goto out;
        }
    }
    kept = p->top_p < 1 ? nucleus : kept;
    for (size_t i = 1; i < kept; i++)
        if (e[i].weight < (double)p->min_p) {
            kept = i;
            break;
        }
    total = 0;
    for (size_t i = 0; i < kept; i++)
        total += e[i].weight;
    for (size_t i = 0; i < kept; i++) {
        sum += e[i].weight / total;
        token = fabs(sum - u) < 1e-5 ? -1 : e[i].token;
        if (token < 0 || sum > u)
            break;
    }
out:
    mem_free(e);
    return token;
}

static int32_t draw(const struct sampling_params *params, const float *row, size_t n,
                    uint32_t choice, uint32_t position, struct history h, struct sample *sample)
{
    struct sampler *s;
    struct error err = {0};
    assert_int_equal(sampler_create(&s, n, params, choice, &err), OK);
    sampler_accept_prompt(s, h.prompt, h.n_prompt);
    for (size_t i = 0; i < h.n_generated; i++)
        sampler_accept(s, h.generated[i]);
    float *logits = mem_alloc_array(n, sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, row, n * sizeof *row);
    assert_int_equal(sampler_draw(s, logits, position, sample, &err), OK);
    mem_free(logits);
    sampler_free(s);
    return sample->token;
}

static void equals_reference(void **state)
{
    (void)state;
    enum { N = 3001 };
    static float row[N], adjusted[N];
    static const struct logit_bias bias[] = {{3, 4.5f}, {1700, -20}, {3000, 6}, {0, -5}};
    static const int32_t prompt[] = {5, 9, 5, 2999}, generated[] = {9, 12, 12, 12, 3000};
    struct history h = {prompt, 4, generated, 5};
    size_t compared = 0, skipped = 0;
    for (uint32_t i = 0; i < 1500; i++) {
        double spread = (double[]){0.02, 1, 3, 8}[i % 4];
        fill(row, N, 1000 + i % 40, spread);
        struct sampling_params p = DEFAULTS;
        p.seed = i;
        p.temperature = (float[]){1, 0.7f, 2, 0, 0.1f}[i % 5];
        p.top_k = (int32_t[]){0, 1, 40, 0, 700, 2900, 0}[i % 7];
        p.top_p = (float[]){1, 0.95f, 0.3f}[i % 3];
        p.min_p = (float[]){0, 0, 0.05f, 0.5f}[i / 3 % 4];
        if (i % 2 == 1) {
            p.presence_penalty = 1.25f;
            p.frequency_penalty = -0.5f;
            p.repetition_penalty = 1.3f;
            p.logit_bias = bias;
            p.n_logit_bias = 4;
        }
        memcpy(adjusted, row, sizeof row);
        reference_adjust(adjusted, &p, i % 2 == 1 ? h : (struct history){0});
        int32_t want = reference_draw(adjusted, N, &p, rng_uniform(i, i % 3, 40 + i, 0));
        struct sample sample;
        int32_t got = draw(&p, row, N, i % 3, 40 + i, h, &sample);
        if (want < 0) {
            skipped++;
            continue;
        }
        compared++;
        if (got != want)
            fail_msg("case %u: token %d, reference %d", i, (int)got, (int)want);
    }
    assert_true(compared > 1200);
    assert_true(skipped < 300);
}

static void ties_go_to_the_lowest_id(void **state)
{
    (void)state;
    enum { N = 500 };
    static float row[N];
    struct sample sample;
    for (size_t i = 0; i < N; i++)
        row[i] = i == 37 || i == 41 || i == 499 ? 2.5f : -1;
    struct sampling_params p = DEFAULTS;
    p.temperature = 0;
    p.top_logprobs = 5;
    assert_int_equal(draw(&p, row, N, 0, 1, (struct history){0}, &sample), 37);
    static const int32_t want[] = {37, 41, 499, 0, 1};
    assert_int_equal(sample.n_top, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(sample.top[i].token, want[i]);
    // -0 and +0 are the same logit.
    for (size_t i = 0; i < N; i++)
        row[i] = i == 3 ? -0.0f : i == 400 ? 0.0f : -9;
    assert_int_equal(draw(&p, row, N, 0, 1, (struct history){0}, &sample), 3);
    assert_int_equal(sample.top[0].token, 3);
    assert_int_equal(sample.top[1].token, 400);
    // top_k cuts a tie at the lowest ids.
    for (size_t i = 0; i < N; i++)
        row[i] = 1;
    p = DEFAULTS;
    p.top_k = 3;
    for (size_t n_equal = 4; n_equal <= N; n_equal += 124) {  // few, and more than are gathered
        bool drawn[N] = {false};
        for (size_t i = 0; i < N; i++)
            row[i] = i < n_equal ? 1 : -50;
        for (uint32_t position = 0; position < 200; position++)
            drawn[draw(&p, row, N, 0, position, (struct history){0}, &sample)] = true;
        for (size_t i = 0; i < N; i++)
            assert_int_equal(drawn[i], i < 3);
    }
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    enum { N = 1000, DRAWS = 40000 };
    static float row[N];
    static double want[N], got[N];
    fill(row, N, 4, 2.0);
    double total = 0;
    for (size_t i = 0; i < N; i++)
        total += want[i] = exp((double)row[i] / 1.2);
    struct sampling_params p = DEFAULTS;
    p.temperature = 1.2f;
    p.seed = 99;
    struct sampler *s;
    assert_int_equal(sampler_create(&s, N, &p, 0, NULL), OK);
    static float logits[N];
    for (uint32_t position = 0; position < DRAWS; position++) {
        struct sample sample;
        memcpy(logits, row, sizeof row);
        assert_int_equal(sampler_draw(s, logits, position, &sample, NULL), OK);
        got[sample.token] += 1;
    }
    sampler_free(s);
    double chi2 = 0, rest_want = 0, rest_got = 0;
    size_t cells = 0;
    for (size_t i = 0; i < N; i++) {
        double expected = want[i] / total * DRAWS;
        if (expected < 10) {
            rest_want += expected;
            rest_got += got[i];
            continue;
        }
        chi2 += (got[i] - expected) * (got[i] - expected) / expected;
        cells++;
    }
    chi2 += (rest_got - rest_want) * (rest_got - rest_want) / (rest_want + 1);
    double sigma = sqrt(2.0 * (double)cells);
    assert_true(cells > 300);
    assert_true(chi2 < (double)cells + 5 * sigma);
    assert_true(chi2 > (double)cells - 5 * sigma);
}

static void logprobs_are_of_the_raw_row(void **state)
{
    (void)state;
    enum { N = 777 };
    static float row[N];
    fill(row, N, 11, 4);
    row[5] = -INFINITY;
    double total = 0;
    for (size_t i = 0; i < N; i++)
        total += exp((double)row[i]);
    static const struct logit_bias bias[] = {{50, 100}, {50, 1}, {9, -100}};
    static const int32_t seen[] = {1, 2, 50, 50};
    struct sampling_params p = DEFAULTS;
    p.temperature = 0.5f;
    p.logit_bias = bias;
    p.n_logit_bias = 3;
    p.repetition_penalty = 1.5f;
    p.presence_penalty = 1;
    p.top_logprobs = 20;
    struct sample sample;
    struct history h = {seen, 4, seen, 4};
    assert_int_equal(draw(&p, row, N, 0, 3, h, &sample), 50);
    assert_true(fabs((double)sample.logprob - log(exp((double)row[50]) / total)) < 2e-6);
    assert_int_equal(sample.n_top, 20);
    for (size_t i = 0; i < 20; i++) {
        double want = (double)row[sample.top[i].token] - log(total);
        assert_true(fabs((double)sample.top[i].logprob - want) < 3e-6);
        assert_true(i == 0 || sample.top[i - 1].logprob >= sample.top[i].logprob);
    }
    // A token without any probability has a number too.
    static const struct logit_bias force[] = {{5, 100}};
    p = DEFAULTS;
    p.top_logprobs = 0;
    p.logit_bias = force;
    p.n_logit_bias = 1;
    draw(&p, row, N, 0, 3, (struct history){0}, &sample);
    assert_int_equal(sample.n_top, 0);
    assert_true(isfinite(sample.logprob));
}

static void choice_and_position_key_the_draw(void **state)
{
    (void)state;
    enum { N = 400 };
    static float row[N];
    fill(row, N, 21, 0.5);
    struct sampling_params p = DEFAULTS;
    p.seed = 5;
    struct sample sample;
    size_t same_choice = 0, same_position = 0;
    for (uint32_t position = 0; position < 60; position++) {
        int32_t first = draw(&p, row, N, 0, position, (struct history){0}, &sample);
        assert_int_equal(first, draw(&p, row, N, 0, position, (struct history){0}, &sample));
        same_choice += first == draw(&p, row, N, 1, position, (struct history){0}, &sample);
        same_position += first == draw(&p, row, N, 0, position + 1, (struct history){0}, &sample);
    }
    assert_true(same_choice < 10 && same_position < 10);
}

static void bad_rows_are_errors(void **state)
{
    (void)state;
    enum { N = 70 };
    float row[N];
    static const float values[] = {NAN, INFINITY};
    for (size_t v = 0; v < 2; v++)
        for (size_t at = 0; at < N; at += 23) {
            struct sampler *s;
            struct error err = {0};
            struct sample sample;
            assert_int_equal(sampler_create(&s, N, &DEFAULTS, 0, &err), OK);
            fill(row, N, 1, 1);
            row[at] = values[v];
            assert_int_equal(sampler_draw(s, row, 0, &sample, &err), ERR_INTERNAL);
            sampler_free(s);
        }
    struct logit_bias bans[N];
    for (int32_t i = 0; i < N; i++)
        bans[i] = (struct logit_bias){i, -100};
    struct sampling_params p = DEFAULTS;
    struct sample sample;
    struct error err = {0};
    struct sampler *s;
    for (size_t i = 0; i < N; i++)
        row[i] = -INFINITY;
    assert_int_equal(sampler_create(&s, N, &p, 0, &err), OK);
    assert_int_equal(sampler_draw(s, row, 0, &sample, &err), ERR_INTERNAL);
    sampler_free(s);
    fill(row, N, 1, 1);
    p.logit_bias = bans;
    p.n_logit_bias = N;
    err = (struct error){0};
    assert_int_equal(sampler_create(&s, N, &p, 0, &err), OK);
    assert_int_equal(sampler_draw(s, row, 0, &sample, &err), ERR_INVALID);
    sampler_free(s);
    p.n_logit_bias = N - 1;  // one token is left
    assert_int_equal(draw(&p, row, N, 0, 0, (struct history){0}, &sample), N - 1);
    bans[0].token = N;
    err = (struct error){0};
    assert_int_equal(sampler_create(&s, N, &p, 0, &err), ERR_INVALID);
    assert_string_equal(err.param, "logit_bias");
}

static void exponentials_are_accurate(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i <= 86000; i++) {
        float x = -(float)i / 1000.0f;
        worst = fmax(worst, fabs((double)scan_exp(x) / exp((double)x) - 1));
    }
    assert_true(worst < 3e-7);
    assert_true(scan_exp(0) == 1.0f);
    assert_true(scan_exp(-88) == 0 && scan_exp(-INFINITY) == 0);
    for (size_t n = 1; n < 70; n++) {
        float row[70];
        fill(row, n, n, 3);
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += exp((double)(row[i] - 9) * 0.75);
        assert_true(fabs(scan_exp_sum(row, n, 9, 0.75f) / sum - 1) < 1e-6);
    }
}

/* The order of summation, written out: 16 lanes of f32 over blocks of 1,024, then of f64. It is
 * computed here by the baseline's arithmetic, in scan.c by that of the CPU's level: equal bits. */
static void sums_have_the_specified_bits(void **state)
{
    (void)state;
    static float row[5000];
    fill(row, 5000, 12, 4);
    for (size_t n = 1; n < 5000; n += 1 + n / 3) {
        double lanes[16] = {0};
        size_t i = 0;
        while (i + 16 <= n) {
            float sums[16] = {0};
            for (size_t end = i + 1024; i < end && i + 16 <= n; i += 16)
                for (size_t lane = 0; lane < 16; lane++)
                    sums[lane] += scan_exp((row[i + lane] - 7.5f) * 1.25f);
            for (size_t lane = 0; lane < 16; lane++)
                lanes[lane] += (double)sums[lane];
        }
        for (size_t lane = 0; i < n; i++, lane++)
            lanes[lane] += (double)scan_exp((row[i] - 7.5f) * 1.25f);
        for (size_t half = 8; half > 0; half /= 2)
            for (size_t lane = 0; lane < half; lane++)
                lanes[lane] += lanes[lane + half];
        double got = scan_exp_sum(row, n, 7.5f, 1.25f);
        assert_memory_equal(&got, &lanes[0], sizeof got);
    }
}

static void orderings_agree(void **state)
{
    (void)state;
    enum { N = 1999 };
    static float row[N];
    static rank_key top[N], all[N], scratch[N];
    fill(row, N, 8, 1);
    for (size_t i = 0; i < N; i++)
        row[i] = i % 11 == 0 ? -INFINITY : roundf(row[i] * 8) / 8;  // many ties
    size_t n_all = scan_above(row, N, -INFINITY, N, all, scratch);
    assert_int_equal(n_all, N - (N + 10) / 11);
    for (size_t i = 1; i < n_all; i++) {
        float a = row[rank_token(all[i - 1])], b = row[rank_token(all[i])];
        assert_true(a > b || (a == b && rank_token(all[i - 1]) < rank_token(all[i])));
    }
    assert_int_equal(scan_above(row, N, -INFINITY, n_all - 1, top, scratch), n_all);
    for (float least = -3; least < 4; least += 0.25f) {
        size_t n = scan_above(row, N, least, N, top, scratch), want = 0;
        while (want < n_all && row[rank_token(all[want])] >= least)
            want++;
        assert_int_equal(n, want);
        assert_memory_equal(top, all, n * sizeof *top);
    }
    static const size_t ks[] = {1, 2, 15, 16, 17, 256, 1500, N};
    for (size_t k = 0; k < sizeof ks / sizeof *ks; k++) {
        size_t n = scan_top(row, N, ks[k], top);
        assert_int_equal(n, ks[k] < n_all ? ks[k] : n_all);
        assert_memory_equal(top, all, n * sizeof *top);
    }
}

/* Not a check of speed (the machine is shared): prints what a draw costs. */
static void print_cost(void **state)
{
    (void)state;
    static float row[151936], logits[151936];
    static const size_t sizes[] = {49152, 151936};
    static const struct {
        const char *name;
        float temperature, top_p;
        int32_t top_k, top;
    } cases[] = {{"greedy", 0, 1, 0, -1},
                 {"temperature 1", 1, 1, 0, -1},
                 {"top_p 0.95", 1, 0.95f, 0, -1},
                 {"top_k 40", 1, 1, 40, -1},
                 {"greedy + 20 logprobs", 0, 1, 0, 20}};
    for (size_t v = 0; v < 2; v++) {
        fill(row, sizes[v], 3, 3);
        for (size_t i = 0; i < 30; i++)  // the few likely tokens of a real step
            row[(i * 7919 + 13) % sizes[v]] = 20 - (float)i / 2;
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            struct sampling_params p = DEFAULTS;
            p.temperature = cases[c].temperature;
            p.top_p = cases[c].top_p;
            p.top_k = cases[c].top_k;
            p.top_logprobs = cases[c].top;
            struct sampler *s;
            struct sample sample;
            assert_int_equal(sampler_create(&s, sizes[v], &p, 0, NULL), OK);
            int64_t best = INT64_MAX;
            for (uint32_t i = 0; i < 15; i++) {
                memcpy(logits, row, sizes[v] * sizeof *row);
                int64_t start = clock_ns();
                assert_int_equal(sampler_draw(s, logits, i, &sample, NULL), OK);
                int64_t took = clock_ns() - start;
                best = took < best ? took : best;
            }
            print_message("  %zu tokens, %s: %.0f us\n", sizes[v], cases[c].name,
                          (double)best / 1e3);
            sampler_free(s);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_reference),
        cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(logprobs_are_of_the_raw_row),
        cmocka_unit_test(choice_and_position_key_the_draw),
        cmocka_unit_test(bad_rows_are_errors),
        cmocka_unit_test(exponentials_are_accurate),
        cmocka_unit_test(sums_have_the_specified_bits),
        cmocka_unit_test(orderings_agree),
        cmocka_unit_test(print_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
