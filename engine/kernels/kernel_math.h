/* The arithmetic that all levels share: exp, silu and the order in which lanes are summed.
 *
 * This header is the specification; kernel_math_avx2.h and kernel_math_avx512.h do the same
 * operations on vectors. All are explicit multiply, add, divide and fmaf, correctly rounded by
 * IEEE 754, so equal operations give equal bits at every level and with every compiler.
 *
 * exp(x): n = round(x / ln 2), r = x - n ln 2 in two fused steps (the first is exact), then
 * e^r = 1 + (r + r^2 (c2 + r (c3 + r (c4 + r (c5 + r c6))))) and n added to the exponent field.
 * The coefficients are our own minimax fit on |r| <= ln 2 / 2 (relative error 3.2e-9, refitted
 * after the rounding of each coefficient); error below 1 ulp on [-87.33, 88.72]. exp(0) = 1
 * exactly; below EXP_MIN the result is 0 (no denormals), above EXP_MAX +infinity, NaN stays NaN.
 *
 * NaN: which payload survives is not specified, that a NaN comes out is. */
#ifndef WICARA_KERNELS_KERNEL_MATH_H
#define WICARA_KERNELS_KERNEL_MATH_H

#include <math.h>
#include <stddef.h>

#include "engine/base/dtype.h"

enum { SUM_LANES = 16 };

#define EXP_MIN   -0x1.5d589ep+6f  // -87.33654: just above ln(2^-126), the least normal number
#define EXP_MAX   0x1.62e42ep+6f   // 88.72283: just below ln(FLT_MAX)
#define EXP_LOG2E 0x1.715476p+0f   // 1 / ln 2
#define EXP_ROUND 0x1.8p+23f       // adding it rounds to an integer in the low mantissa bits
#define EXP_LN2_A 0x1.62e43p-1f    // ln 2 = A + B
#define EXP_LN2_B -0x1.05c61p-29f
#define EXP_C2    0x1.fffffcp-2f
#define EXP_C3    0x1.555492p-3f
#define EXP_C4    0x1.5558b0p-5f
#define EXP_C5    0x1.123988p-7f
#define EXP_C6    0x1.6a4ce4p-10f

static inline float math_exp(float x)
{
    float shifted = fmaf(x, EXP_LOG2E, EXP_ROUND);
    float n = shifted - EXP_ROUND;
    float r = fmaf(n, -EXP_LN2_A, x);
    r = fmaf(n, -EXP_LN2_B, r);
    float c = fmaf(EXP_C6, r, EXP_C5);
    c = fmaf(c, r, EXP_C4);
    c = fmaf(c, r, EXP_C3);
    c = fmaf(c, r, EXP_C2);
    float p = fmaf(c, r * r, r) + 1.0f;
    float scaled = f32_from_bits(f32_bits(p) + (f32_bits(shifted) << 23));
    if (x < EXP_MIN)
        return 0.0f;
    if (x > EXP_MAX)
        return INFINITY;
    return x == x ? scaled : x;
}

/* silu(x) = x / (1 + exp(-x)). Large negative x: x / +infinity = -0; -infinity gives NaN. */
static inline float math_silu(float x)
{
    return x / (1.0f + math_exp(-x));
}

/* gpt-oss's gated activation; a NaN stays one. */
#define SWIGLU_LIMIT 7.0f
#define SWIGLU_ALPHA 1.702f

static inline float math_swiglu_clamped(float gate, float up)
{
    float g = SWIGLU_LIMIT < gate ? SWIGLU_LIMIT : gate;
    float u = SWIGLU_LIMIT < up ? SWIGLU_LIMIT : up;
    u = -SWIGLU_LIMIT > u ? -SWIGLU_LIMIT : u;
    return (u + 1.0f) * (g / (1.0f + math_exp(-(SWIGLU_ALPHA * g))));
}

/* The tree of every sum and of every maximum: 16 lanes fold to 8, 4, 2, 1, lane i with i + half.
 * A sum over n elements first adds element i to lane i % 16, in ascending i. */
static inline float math_sum_lanes(const float lanes[SUM_LANES])
{
    float t[SUM_LANES / 2];
    for (size_t i = 0; i < 8; i++)
        t[i] = lanes[i] + lanes[i + 8];
    for (size_t half = 4; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++)
            t[i] = t[i] + t[i + half];
    }
    return t[0];
}

/* The vector instruction's maximum: b when they are equal or when either is NaN. */
static inline float math_max(float a, float b)
{
    return a > b ? a : b;
}

static inline float math_max_lanes(const float lanes[SUM_LANES])
{
    float t[SUM_LANES / 2];
    for (size_t i = 0; i < 8; i++)
        t[i] = math_max(lanes[i], lanes[i + 8]);
    for (size_t half = 4; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++)
            t[i] = math_max(t[i], t[i + half]);
    }
    return t[0];
}

/* One pair of a rotation: (a, b) by the angle whose cosine and sine are given. */
static inline void math_rotate(float *a, float *b, float cosine, float sine)
{
    float x = *a, y = *b;
    *a = fmaf(x, cosine, -(y * sine));
    *b = fmaf(y, cosine, x * sine);
}

#endif
