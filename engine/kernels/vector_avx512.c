/* Element-wise kernels with AVX-512; equal to vector_scalar.c bit for bit.
 *
 * Tails use masked loads and stores, so that one loop serves every length and nothing outside the
 * buffers is touched. out may be x in rms_norm: each vector is read before it is written. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math_avx512.h"
#include "engine/kernels/kernels_fill.h"

/* Lanes of the vector at element i of n. */
static inline __mmask16 mask_at(size_t i, size_t n)
{
    return n - i >= 16 ? 0xffff : mask_first_avx512(n - i);
}

static void rms_norm_avx512(const float *x, const float *weight, size_t n, float eps, float *out)
{
    __m512 lanes = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        lanes = _mm512_mask3_fmadd_ps(v, v, lanes, mask);
    }
    float mean = math_sum_lanes_avx512(lanes) / (float)n;
    __m512 scale = _mm512_set1_ps(1.0f / sqrtf(mean + eps));
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scale);
        if (weight)
            v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i));
        _mm512_mask_storeu_ps(out + i, mask, v);
    }
}

static void add_avx512(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(x + i, mask, v);
    }
}

static void silu_mul_avx512(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = math_silu_avx512(_mm512_maskz_loadu_ps(mask, gate + i));
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, up + i));
        _mm512_mask_storeu_ps(out + i, mask, v);
    }
}

static void swiglu_clamped_avx512(const float *gate, const float *up, size_t n, float *out)
{
    const __m512 limit = _mm512_set1_ps(SWIGLU_LIMIT), lowest = _mm512_set1_ps(-SWIGLU_LIMIT);
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 g = _mm512_min_ps(limit, _mm512_maskz_loadu_ps(mask, gate + i));
        __m512 u = _mm512_min_ps(limit, _mm512_maskz_loadu_ps(mask, up + i));
        u = _mm512_max_ps(lowest, u);
        __m512 scaled = _mm512_mul_ps(_mm512_set1_ps(SWIGLU_ALPHA), g);
        __m512 negated = _mm512_xor_ps(scaled, _mm512_set1_ps(-0.0f));
        g = _mm512_div_ps(g, _mm512_add_ps(one, math_exp_avx512(negated)));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(_mm512_add_ps(u, one), g));
    }
}

static void add_scaled_avx512(float *x, const float *y, float scale, size_t n)
{
    __m512 factor = _mm512_set1_ps(scale);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        v = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(mask, y + i), v);
        _mm512_mask_storeu_ps(x + i, mask, v);
    }
}

/* Pairs (i, i + half): cosines and sines are taken apart, 16 pairs at a time. */
static void rope_neox_avx512(float *head, const float *cos_sin, size_t half)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (size_t i = 0; i < half; i += 16) {
        __mmask16 mask = mask_at(i, half);
        __m512 low = _mm512_maskz_loadu_ps(mask_at(2 * i, 2 * half), cos_sin + 2 * i);
        __m512 high = _mm512_setzero_ps();
        if (2 * i + 16 < 2 * half)
            high = _mm512_maskz_loadu_ps(mask_at(2 * i + 16, 2 * half), cos_sin + 2 * i + 16);
        __m512 cosine = _mm512_permutex2var_ps(low, even, high);
        __m512 sine = _mm512_permutex2var_ps(low, odd, high);
        __m512 x = _mm512_maskz_loadu_ps(mask, head + i);
        __m512 y = _mm512_maskz_loadu_ps(mask, head + half + i);
        __m512 a = _mm512_fmsub_ps(x, cosine, _mm512_mul_ps(y, sine));
        __m512 b = _mm512_fmadd_ps(y, cosine, _mm512_mul_ps(x, sine));
        _mm512_mask_storeu_ps(head + i, mask, a);
        _mm512_mask_storeu_ps(head + half + i, mask, b);
    }
}

/* Pairs (2i, 2i + 1): even lanes x cos - y sin, odd lanes y cos + x sin. */
static void rope_pairs_avx512(float *head, const float *cos_sin, size_t n_rot)
{
    for (size_t i = 0; i < n_rot; i += 16) {
        __mmask16 mask = mask_at(i, n_rot);
        __m512 angles = _mm512_maskz_loadu_ps(mask, cos_sin + i);
        __m512 x = _mm512_maskz_loadu_ps(mask, head + i);
        __m512 swapped = _mm512_permute_ps(x, 0xb1);
        __m512 product = _mm512_mul_ps(swapped, _mm512_movehdup_ps(angles));
        x = _mm512_fmaddsub_ps(x, _mm512_moveldup_ps(angles), product);
        _mm512_mask_storeu_ps(head + i, mask, x);
    }
}

static void rope_avx512(float *head, const float *cos_sin, size_t n_rot, bool neox)
{
    if (neox)
        rope_neox_avx512(head, cos_sin, n_rot / 2);
    else
        rope_pairs_avx512(head, cos_sin, n_rot / 2 * 2);
}

static void f32_to_f16_avx512(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 mask = mask_at(i, n);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        __m256i half = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(out + i, mask, half);
    }
}

void kernels_fill_vector_avx512(struct kernels *kernels)
{
    kernels->rms_norm = rms_norm_avx512;
    kernels->add = add_avx512;
    kernels->silu_mul = silu_mul_avx512;
    kernels->swiglu_clamped = swiglu_clamped_avx512;
    kernels->add_scaled = add_scaled_avx512;
    kernels->rope = rope_avx512;
    kernels->f32_to_f16 = f32_to_f16_avx512;
    kernels->attention_tile = attention_tile_avx512;
}
