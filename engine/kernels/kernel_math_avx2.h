/* kernel_math.h on vectors of 8 floats; for *_avx2.c only. 16 lanes are a pair of vectors. */
#ifndef WICARA_KERNELS_KERNEL_MATH_AVX2_H
#define WICARA_KERNELS_KERNEL_MATH_AVX2_H

#include <immintrin.h>

#include "engine/kernels/kernel_math.h"

static inline __m256 math_exp_avx2(__m256 x)
{
    __m256 round = _mm256_set1_ps(EXP_ROUND);
    __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), round);
    __m256 n = _mm256_sub_ps(shifted, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_A), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_B), r);
    __m256 c = _mm256_fmadd_ps(_mm256_set1_ps(EXP_C6), r, _mm256_set1_ps(EXP_C5));
    c = _mm256_fmadd_ps(c, r, _mm256_set1_ps(EXP_C4));
    c = _mm256_fmadd_ps(c, r, _mm256_set1_ps(EXP_C3));
    c = _mm256_fmadd_ps(c, r, _mm256_set1_ps(EXP_C2));
    __m256 p = _mm256_fmadd_ps(c, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
    __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(EXP_MIN), _CMP_LT_OQ);
    __m256 high = _mm256_cmp_ps(x, _mm256_set1_ps(EXP_MAX), _CMP_NLE_UQ);
    scaled = _mm256_andnot_ps(low, scaled);
    /* x * infinity: infinity for what is above EXP_MAX, NaN for NaN. */
    return _mm256_blendv_ps(scaled, _mm256_mul_ps(x, _mm256_set1_ps(INFINITY)), high);
}

static inline __m256 math_silu_avx2(__m256 x)
{
    __m256 negated = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
    __m256 divisor = _mm256_add_ps(_mm256_set1_ps(1.0f), math_exp_avx2(negated));
    return _mm256_div_ps(x, divisor);
}

/* Lanes 0-7 and 8-15. */
static inline float math_sum_lanes_avx2(__m256 low, __m256 high)
{
    __m256 a = _mm256_add_ps(low, high);
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static inline float math_max_lanes_avx2(__m256 low, __m256 high)
{
    __m256 a = _mm256_max_ps(low, high);
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

#endif
