/* The counter-based generator: the known answers of its paper, and how evenly it spreads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/base/rng.h"

/* Philox 4x32-10 once more, over all four counter words, which the product does not offer; it is
 * held against the published answers and then stands for them. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint64_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (uint32_t round = 0; round < 10; round++) {
        uint64_t first = c0 * 0xD2511F53u, second = c2 * 0xCD9E8D57u;
        c0 = (second >> 32) ^ c1 ^ (uint32_t)(key[0] + round * 0x9E3779B9u);
        c1 = (uint32_t)second;
        c2 = (first >> 32) ^ c3 ^ (uint32_t)(key[1] + round * 0xBB67AE85u);
        c3 = (uint32_t)first;
    }
    out[0] = (uint32_t)c0;
    out[1] = (uint32_t)c1;
    out[2] = (uint32_t)c2;
    out[3] = (uint32_t)c3;
}

static void test_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } answers[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
         {UINT32_MAX, UINT32_MAX},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    uint32_t out[4], random = 3;
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        philox(answers[i].counter, answers[i].key, out);
        assert_memory_equal(out, answers[i].out, sizeof out);
    }
    assert_true(rng_bits(0, 0, 0, 0) == 0xe169c58d6627e8d5);
    for (int i = 0; i < 10000; i++) {
        uint32_t words[5];
        for (size_t j = 0; j < 5; j++)
            words[j] = random = random * 1664525 + 1013904223;
        const uint32_t counter[4] = {words[4], words[3], words[2], 0};
        philox(counter, words, out);
        uint64_t bits = rng_bits((uint64_t)words[1] << 32 | words[0], words[2], words[3], words[4]);
        assert_true(bits == ((uint64_t)out[1] << 32 | out[0]));
    }
}

/* Sixteen equal bins over each of the inputs that is counted up; chi-squared with 15 degrees of
 * freedom passes 44 once in ten thousand, and the inputs are fixed. */
static void test_uniform(void **state)
{
    enum { DRAWS = 100000, BINS = 16 };
    (void)state;
    for (int which = 0; which < 4; which++) {
        size_t bins[BINS] = {0};
        double sum = 0, chi_squared = 0;
        for (uint32_t i = 0; i < DRAWS; i++) {
            double value = rng_uniform(which == 0 ? i : 42, which == 1 ? i : 0, which == 2 ? i : 0,
                                       which == 3 ? i : 0);
            assert_true(value >= 0 && value < 1);
            assert_true(value * 0x1p53 == floor(value * 0x1p53));
            bins[(size_t)(value * BINS)]++;
            sum += value;
        }
        for (size_t i = 0; i < BINS; i++) {
            double off = (double)bins[i] - (double)DRAWS / BINS;
            chi_squared += off * off / ((double)DRAWS / BINS);
        }
        assert_true(chi_squared < 44);
        assert_true(fabs(sum / DRAWS - 0.5) < 0.004);
    }
}

static void test_uniform_is_the_top_bits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(rng_uniform(1, 2, i, 3) ==
                    (double)(rng_bits(1, 2, i, 3) / 2048) / 9007199254740992.0);
}

static void test_seed(void **state)
{
    uint64_t before = rng_seed_from_system(), all = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        uint64_t seed = rng_seed_from_system();
        assert_true((int64_t)seed >= 0);
        assert_true(seed != before);
        all |= seed;
        before = seed;
    }
    assert_true(all == ((uint64_t)1 << 53) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_uniform_is_the_top_bits),
        cmocka_unit_test(test_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
