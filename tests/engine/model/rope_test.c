/* Angles against the C library in double, and the scalings against their formulas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "engine/base/rng.h"
#include "engine/model/rope.h"

static void sin_and_cos_are_exact_enough(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 200000; i++) {
        /* From 2^-20 to 2^27, both signs. */
        double x = ldexp(rng_uniform(1, 0, i, 0) - 0.5, (int)(i % 47) - 19);
        double s, c;
        rope_sin_cos(x, &s, &c);
        double allowed = fabs(x) < 1e6 ? 4e-16 : 2e-8;
        if (fabs(s - sin(x)) > allowed || fabs(c - cos(x)) > allowed)
            fail_msg("x = %.17g: %g %g", x, s - sin(x), c - cos(x));
    }
    double s, c;
    rope_sin_cos(0, &s, &c);
    assert_true(s == 0 && c == 1);
}

static void plain_and_linear_angles(void **state)
{
    (void)state;
    struct rope_config config = {.n_rot = 64, .base = 100000, .factor = 1, .scaling = ROPE_PLAIN};
    float frequencies[32], angles[64];
    struct rope rope;
    for (int linear = 0; linear < 2; linear++) {
        config.scaling = linear ? ROPE_LINEAR : ROPE_PLAIN;
        config.factor = linear ? 4 : 1;
        rope_init(&rope, &config, NULL, frequencies);
        for (int32_t position = 0; position < 8192; position += 117) {
            rope_angles(&rope, position, angles);
            for (size_t i = 0; i < 32; i++) {
                double f = (double)(float)(pow(100000, -2.0 * (double)i / 64) / config.factor);
                assert_true(fabs((double)angles[2 * i] - cos(position * f)) < 7e-8);
                assert_true(fabs((double)angles[2 * i + 1] - sin(position * f)) < 7e-8);
            }
        }
    }
}

static void divisors_divide(void **state)
{
    (void)state;
    struct rope_config config = {.n_rot = 8, .base = 10000, .factor = 1};
    float plain[4], divided[4], divisors[4] = {1, 2, 8, 1e30f};
    struct rope rope;
    rope_init(&rope, &config, NULL, plain);
    rope_init(&rope, &config, divisors, divided);
    for (size_t i = 0; i < 4; i++)
        assert_true(fabsf(divided[i] * divisors[i] - plain[i]) <= 1e-7f * plain[i]);
}

/* Yarn leaves fast pairs alone, divides slow ones by the factor, and scales cos and sin. */
static void yarn_ramps_from_fast_to_slow(void **state)
{
    (void)state;
    struct rope_config config = {.n_rot = 64,
                                 .base = 10000,
                                 .scaling = ROPE_YARN,
                                 .factor = 4,
                                 .original_ctx = 2048,
                                 .attention_factor = 1,
                                 .beta_fast = 32,
                                 .beta_slow = 1};
    float plain[32], yarn[32];
    struct rope rope;
    rope_init(&rope, &config, NULL, yarn);
    assert_true(fabs(rope.amplitude - (1 + 0.1 * log(4))) < 1e-12);
    config.scaling = ROPE_PLAIN;
    config.factor = 1;
    rope_init(&rope, &config, NULL, plain);
    assert_true(yarn[0] == plain[0] && fabsf(yarn[31] - plain[31] / 4) < 1e-9f);
    double before = 1;
    for (size_t i = 0; i < 32; i++) {
        double share = (double)yarn[i] / (double)plain[i];
        assert_true(share <= before + 1e-6 && share >= 0.25 - 1e-6);
        before = share;
    }
    /* low = floor(64 ln(2048 / 64 pi) / 2 ln 10000) = 8, high = ceil(... 2 pi) = 21 */
    assert_true(yarn[8] == plain[8] && yarn[9] < plain[9]);
    assert_true(fabsf(yarn[21] / plain[21] - 0.25f) < 1e-6f && yarn[20] > plain[20] / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sin_and_cos_are_exact_enough),
        cmocka_unit_test(plain_and_linear_angles),
        cmocka_unit_test(divisors_divide),
        cmocka_unit_test(yarn_ramps_from_fast_to_slow),
    };
    return cmocka_run_group_tests_name("model/rope", tests, NULL, NULL);
}
