/* DRY and bad words against a comparison of every place with the end, token by token. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/sampling/lookback.h"

enum { VOCAB = 12, TOKENS = 60 };

static uint32_t pick(uint64_t seed, uint32_t i, uint32_t n)
{
    return (uint32_t)(rng_uniform(seed, 3, i, 1) * n);
}

/* What the definition says about `token`; 0 = nothing. */
static double reference(const struct dry_params *p, const int32_t *tokens, size_t n, int32_t token)
{
    size_t first = p->window > 0 && n > (size_t)p->window ? n - (size_t)p->window : 0, longest = 0;
    for (size_t i = first; i + 1 < n; i++) {
        size_t length = 0;
        while (length <= i - first && tokens[i - length] == tokens[n - 1 - length] &&
               !(p->breakers[tokens[i - length] / 8] >> tokens[i - length] % 8 & 1))
            length++;
        if (tokens[i + 1] == token && length > longest)
            longest = length;
    }
    if (longest == 0 || longest < (size_t)p->allowed_length)
        return 0;
    return (double)p->multiplier *
           pow((double)p->base, (double)(longest - (size_t)p->allowed_length));
}

static void dry_equals_its_definition(void **state)
{
    (void)state;
    struct dry_state scratch = {0};
    size_t n_penalised = 0;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        int32_t tokens[TOKENS];
        uint8_t breakers[VOCAB / 8 + 1] = {0};
        size_t n = pick(seed, 100, TOKENS);
        uint32_t alphabet = 2 + pick(seed, 101, VOCAB - 2);
        for (uint32_t i = 0; i < n; i++)
            tokens[i] = (int32_t)pick(seed, i, alphabet);
        if (seed % 3 == 0)
            breakers[0] = 1;
        struct dry_params p = {.multiplier = 0.8f,
                               .base = 1.75f,
                               .allowed_length = (int32_t)pick(seed, 102, 4),
                               .window = seed % 4 == 0 ? (int32_t)pick(seed, 103, TOKENS) : 0,
                               .breakers = breakers};
        const struct lookback_penalty *found = NULL;
        size_t n_found;
        assert_int_equal(dry_penalties(&scratch, &p, VOCAB, tokens, n, &found, &n_found, NULL), OK);
        double penalties[VOCAB] = {0};
        for (size_t i = 0; i < n_found; i++) {
            assert_true(penalties[found[i].token] == 0);  // each token once
            penalties[found[i].token] = (double)found[i].penalty;
            n_penalised++;
        }
        for (int32_t token = 0; token < VOCAB; token++) {
            double wanted = reference(&p, tokens, n, token);
            assert_true(fabs(penalties[token] - (wanted < 1e30 ? wanted : 1e30)) <=
                        1e-5 * (wanted < 1e30 ? wanted : 1e30));
        }
    }
    assert_true(n_penalised > 4000);
    dry_release(&scratch);
}

static void bad_words(void **state)
{
    (void)state;
    static const int32_t ids[] = {5, 1, 2, 3, 1, 2};
    static const uint32_t ends[] = {1, 4, 6};
    struct token_lists words = {ids, ends, 3};
    static const int32_t answer[] = {9, 1, 2};
    int32_t token = -1;
    assert_true(bad_word_is_due(&words, 0, answer, 0, &token));
    assert_int_equal(token, 5);
    assert_true(bad_word_is_due(&words, 1, answer, 3, &token));
    assert_int_equal(token, 3);
    assert_false(bad_word_is_due(&words, 1, answer, 2, &token));
    assert_false(bad_word_is_due(&words, 1, answer + 2, 1, &token));
    assert_true(bad_word_is_due(&words, 2, answer, 2, &token));
    assert_false(bad_word_is_due(&words, 2, answer, 3, &token));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(dry_equals_its_definition),
                                       cmocka_unit_test(bad_words)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
