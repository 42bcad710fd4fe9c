/* Guesses: what is found, how far, and that a sequence without repetition is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "engine/base/rng.h"
#include "engine/scheduler/speculate.h"

enum { TOKENS = 4000 };
static int32_t tokens[TOKENS];
static int32_t guess[SPECULATE_TOKENS_MAX];

static struct speculator *create(void)
{
    struct speculator *s;
    assert_int_equal(speculator_create(&s, TOKENS, NULL), OK);
    return s;
}

/* Plays the sequence from n_known on, as the scheduler would; returns the steps it took. */
static size_t play(struct speculator *s, size_t n_known, size_t n_all, double chance_min,
                   size_t *n_tried)
{
    size_t n_steps = 0;
    *n_tried = 0;
    for (size_t n = n_known; n < n_all; n_steps++) {
        size_t n_guessed = speculator_guess(s, tokens, n, chance_min, n_all - n - 1, guess);
        assert_true(n + n_guessed < n_all);
        size_t n_right = 0;
        while (n_right < n_guessed && guess[n_right] == tokens[n + n_right])
            n_right++;
        if (n_guessed > 0)
            speculator_learn(s, n_guessed, n_right);
        *n_tried += n_guessed;
        n += n_right + 1;
    }
    return n_steps;
}

static void what_followed_before_is_guessed(void **state)
{
    (void)state;
    static const int32_t text[] = {5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 5, 6, 7, 8};
    struct speculator *s = create();
    size_t n = speculator_guess(s, text, 14, 0.01, 16, guess);
    assert_true(n >= 3);
    for (size_t i = 0; i < n && i < 6; i++)
        assert_int_equal(guess[i], text[4 + i]);
    assert_int_equal(speculator_guess(s, text, 14, 0.01, 2, guess),
                     2);  // never more than asked for
    assert_int_equal(speculator_guess(s, text, 14, 0.01, 0, guess), 0);
    assert_int_equal(speculator_guess(s, text, 14, 1.1, 16, guess), 0);  // too dear
    speculator_free(s);
    s = create();
    for (size_t k = 1; k <= 12; k++)  // nothing stands where the end stands
        assert_int_equal(speculator_guess(s, text, k, 0.01, 16, guess), 0);
    speculator_free(s);
}

/* The longest common past wins over the latest place. */
static void the_longest_past_wins(void **state)
{
    (void)state;
    static const int32_t text[] = {40, 41, 42, 1,  2,  3,  77, 50, 51, 1,
                                   2,  3,  88, 40, 41, 42, 1,  2,  3};
    struct speculator *s = create();
    assert_true(speculator_guess(s, text, 19, 0.01, 16, guess) >= 1);
    assert_int_equal(guess[0], 77);
    speculator_free(s);
}

/* A loop is followed past the end of what is known. */
static void loops_are_followed(void **state)
{
    (void)state;
    for (size_t period = 1; period <= 5; period++) {
        struct speculator *s = create();
        for (size_t i = 0; i < 400; i++)
            tokens[i] = (int32_t)(i % period + 100);
        size_t n_tried, n_steps = play(s, 20, 400, 0.2, &n_tried);
        assert_true(n_steps < 400 / 6);
        speculator_free(s);
    }
}

/* Text that repeats itself is guessed in long strides, with a mistake here and there. */
static void repeated_text_pays(void **state)
{
    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        tokens[i] = (int32_t)(rng_bits(1, 0, (uint32_t)i, 0) % 30000);
        bool is_edited = rng_bits(2, 0, (uint32_t)i, 0) % 40 == 0;
        tokens[1000 + i] = is_edited ? 30000 : tokens[i];
    }
    struct speculator *s = create();
    size_t n_tried, n_steps = play(s, 1010, 2000, 0.2, &n_tried);
    assert_true(n_steps < 400);
    speculator_free(s);
}

/* Text without repetition costs next to nothing, even when it has the same three tokens often. */
static void other_text_is_left_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < TOKENS; i++)
        tokens[i] = (int32_t)(i % 6 < 3 ? i % 6 : 10 + rng_bits(3, 0, (uint32_t)i, 0) % 30000);
    struct speculator *s = create();
    size_t n_tried;
    (void)play(s, 10, TOKENS, 0.35, &n_tried);
    assert_true(n_tried > 0 && n_tried < TOKENS / 100);
    // And it comes back when the text begins to repeat itself.
    for (size_t i = 2000; i < TOKENS; i++)
        tokens[i] = tokens[i - 1500];
    speculator_free(s);
    s = create();
    size_t n_steps = play(s, 10, 2000, 0.35, &n_tried);
    assert_true(n_steps > 1950);
    n_steps = play(s, 2000, TOKENS, 0.35, &n_tried);
    assert_true(n_steps < 800);
    speculator_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before_is_guessed),
        cmocka_unit_test(the_longest_past_wins),
        cmocka_unit_test(loops_are_followed),
        cmocka_unit_test(repeated_text_pays),
        cmocka_unit_test(other_text_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
