/* The table of element types, and the half-width floats against definitions written down here:
 * every half, every midpoint between two halves with its neighbours, and random floats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/base/dtype.h"

static void test_table(void **state)
{
    size_t n_known = 0;
    (void)state;
    for (uint32_t id = 0; id < 1000; id++) {
        const struct dtype_info *info = dtype_info(id);
        n_known += info != NULL;
        if (info)
            assert_true(info->name[0] && info->block_elements && info->block_bytes);
    }
    assert_int_equal(n_known, 31);
    assert_null(dtype_info(4));
    assert_null(dtype_info(15));
    assert_null(dtype_info(UINT32_MAX));
    assert_string_equal(dtype_info(DTYPE_Q4_K)->name, "Q4_K");
    assert_int_equal(dtype_info(DTYPE_Q4_K)->block_elements, 256);
    assert_int_equal(dtype_info(DTYPE_Q4_K)->block_bytes, 144);
    assert_int_equal(dtype_info(DTYPE_BF16)->block_bytes, 2);
}

/* The value of a half by its definition; not for NaN. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double magnitude = exponent == 31  ? INFINITY
                       : exponent == 0 ? ldexp(mantissa, -24)
                                       : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -magnitude : magnitude;
}

static bool half_is_nan(uint16_t half)
{
    return (half & 0x7fff) > 0x7c00;
}

static void test_f16_to_f32(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = f32_from_f16((uint16_t)half);
        if (half_is_nan((uint16_t)half)) {
            uint32_t quiet = 0x7fc00000 | (half & 1023) << 13 | (half & 0x8000) << 16;
            assert_int_equal(f32_bits(value), quiet);
            continue;
        }
        assert_true((double)value == half_value((uint16_t)half));
        assert_int_equal(f32_bits(value) >> 31, half >> 15);
    }
}

/* Nearest half by definition: of the two halves around the value, the nearer, or the even one;
 * past the largest half the next step of the grid stands for infinity. */
static uint16_t half_nearest(float value)
{
    uint16_t sign = (uint16_t)(f32_bits(value) >> 16 & 0x8000);
    double magnitude = fabs((double)value);
    uint16_t below = 0;
    for (uint16_t step = 0x4000; step; step /= 2) {
        if (below + step <= 0x7bff && half_value((uint16_t)(below + step)) <= magnitude)
            below = (uint16_t)(below + step);
    }
    double next = below == 0x7bff ? 65536.0 : half_value((uint16_t)(below + 1));
    double down = magnitude - half_value(below), up = next - magnitude;
    bool takes_next = up < down || (up == down && (below & 1));
    return (uint16_t)(sign | (below + takes_next));
}

static void check_narrow(float value)
{
    if (f16_from_f32(value) != half_nearest(value))
        fail_msg("%a: got 0x%04x, wanted 0x%04x", (double)value, f16_from_f32(value),
                 half_nearest(value));
}

static void test_f32_to_f16(void **state)
{
    uint32_t random = 7;
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        if (half_is_nan((uint16_t)half))
            continue;
        float value = f32_from_f16((uint16_t)half);
        assert_int_equal(f16_from_f32(value), half);
        if (isinf(value))
            continue;
        double next = (half & 0x7fff) == 0x7bff ? 65536.0 : fabs(half_value((uint16_t)(half + 1)));
        float middle = copysignf((float)((fabs((double)value) + next) / 2), value);
        for (int32_t ulp = -2; ulp <= 2; ulp++) {
            check_narrow(f32_from_bits(f32_bits(middle) + (uint32_t)ulp));
            if ((f32_bits(value) & 0x7fffffff) > 2)
                check_narrow(f32_from_bits(f32_bits(value) + (uint32_t)ulp));
        }
    }
    for (int i = 0; i < 1000000; i++) {
        random = random * 1664525 + 1013904223;
        if ((random & 0x7fffffff) <= 0x7f800000 && !isinf(f32_from_bits(random)))
            check_narrow(f32_from_bits(random));
    }
    assert_int_equal(f16_from_f32(INFINITY), 0x7c00);
    assert_int_equal(f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(f16_from_f32(3e38f), 0x7c00);
    assert_int_equal(f16_from_f32(f32_from_bits(0x7f800001)), 0x7e00);
    assert_int_equal(f16_from_f32(f32_from_bits(0xffffffff)), 0xffff);
}

static void test_bf16(void **state)
{
    uint32_t random = 9;
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float value = f32_from_bf16((uint16_t)half);
        assert_int_equal(f32_bits(value), half << 16);
        assert_int_equal(bf16_from_f32(value), isnan(value) ? half | 0x40 : half);
    }
    for (int i = 0; i < 2000000; i++) {
        random = random * 1664525 + 1013904223;
        uint32_t bits = i % 2 ? random : (random & 0xffff0000) | 0x8000;
        if ((bits & 0x7fffffff) >= 0x7f7f0000)
            continue;
        uint32_t low = bits >> 16, rest = bits & 0xffff;
        uint32_t wanted = low + (rest > 0x8000 || (rest == 0x8000 && (low & 1)));
        assert_int_equal(bf16_from_f32(f32_from_bits(bits)), wanted);
    }
    assert_int_equal(bf16_from_f32(f32_from_bits(0x7f7fffff)), 0x7f80);
    assert_int_equal(bf16_from_f32(f32_from_bits(0x7f800001)), 0x7fc0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_f16_to_f32),
        cmocka_unit_test(test_f32_to_f16),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
