/* kernel_math.h on vectors of 16 floats; for *_avx512.c only. */
#ifndef WICARA_KERNELS_KERNEL_MATH_AVX512_H
#define WICARA_KERNELS_KERNEL_MATH_AVX512_H

#include <immintrin.h>

#include "engine/kernels/kernel_math.h"

/* e^r for |r| <= ln 2 / 2. */
static inline __m512 math_exp_reduced_avx512(__m512 r)
{
    __m512 c = _mm512_fmadd_ps(_mm512_set1_ps(EXP_C6), r, _mm512_set1_ps(EXP_C5));
    c = _mm512_fmadd_ps(c, r, _mm512_set1_ps(EXP_C4));
    c = _mm512_fmadd_ps(c, r, _mm512_set1_ps(EXP_C3));
    c = _mm512_fmadd_ps(c, r, _mm512_set1_ps(EXP_C2));
    c = _mm512_fmadd_ps(c, _mm512_mul_ps(r, r), r);
    return _mm512_add_ps(c, _mm512_set1_ps(1.0f));
}

static inline __m512 math_exp_avx512(__m512 x)
{
    __m512 round = _mm512_set1_ps(EXP_ROUND);
    __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(EXP_LOG2E), round);
    __m512 n = _mm512_sub_ps(shifted, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_A), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_B), r);
    __m512 p = math_exp_reduced_avx512(r);
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    __m512 scaled = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent));
    /* In range keeps `scaled`; below EXP_MIN becomes 0; above EXP_MAX and NaN are rare lanes. */
    __mmask16 low = _mm512_cmp_ps_mask(x, _mm512_set1_ps(EXP_MIN), _CMP_LT_OQ);
    __mmask16 high = _mm512_cmp_ps_mask(x, _mm512_set1_ps(EXP_MAX), _CMP_NLE_UQ);
    scaled = _mm512_mask_mov_ps(scaled, low, _mm512_setzero_ps());
    /* x * infinity: infinity for what is above EXP_MAX, NaN for NaN. */
    return _mm512_mask_mul_ps(scaled, high, x, _mm512_set1_ps(INFINITY));
}

/* The same for lanes of a softmax, where x <= 0 (or NaN), and 0 in the lanes outside `seen`. The
 * exponent is added by the scaling instruction, which is exact here and passes NaN on. */
static inline __m512 math_exp_softmax_avx512(__m512 x, __mmask16 seen)
{
    __m512 round = _mm512_set1_ps(EXP_ROUND);
    __m512 n = _mm512_fmadd_ps(x, _mm512_set1_ps(EXP_LOG2E), round);
    n = _mm512_sub_ps(n, round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_A), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_B), r);
    __m512 p = math_exp_reduced_avx512(r);
    __mmask16 keep = _mm512_mask_cmp_ps_mask(seen, x, _mm512_set1_ps(EXP_MIN), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(keep, p, n);
}

static inline __m512 math_silu_avx512(__m512 x)
{
    __m512 negated = _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
    __m512 divisor = _mm512_add_ps(_mm512_set1_ps(1.0f), math_exp_avx512(negated));
    return _mm512_div_ps(x, divisor);
}

static inline float math_sum_lanes_avx512(__m512 v)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static inline float math_max_lanes_avx512(__m512 v)
{
    __m256 a = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* The low `n` lanes, n <= 16. */
static inline __mmask16 mask_first_avx512(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

#endif
