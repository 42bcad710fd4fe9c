/* Element-wise kernels with AVX2, FMA and F16C; equal to vector_scalar.c bit for bit.
 *
 * Vectors of 8 for the body; the last few elements go one by one through the functions of
 * kernel_math.h, whose fmaf is an instruction here. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math_avx2.h"
#include "engine/kernels/kernels_fill.h"

enum { LANES = 8 };

static void rms_norm_avx2(const float *x, const float *weight, size_t n, float eps, float *out)
{
    __m256 low = _mm256_setzero_ps(), high = low;
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + LANES);
        low = _mm256_fmadd_ps(a, a, low);
        high = _mm256_fmadd_ps(b, b, high);
    }
    float lanes[SUM_LANES];
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + LANES, high);
    for (size_t lane = 0; i + lane < n; lane++)
        lanes[lane] = fmaf(x[i + lane], x[i + lane], lanes[lane]);
    float mean = math_sum_lanes(lanes) / (float)n;
    float scale = 1.0f / sqrtf(mean + eps);
    for (i = 0; i + LANES <= n; i += LANES) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale));
        if (weight)
            v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
        _mm256_storeu_ps(out + i, v);
    }
    for (; i < n; i++) {
        float scaled = x[i] * scale;
        out[i] = weight ? scaled * weight[i] : scaled;
    }
}

static void add_avx2(float *x, const float *y, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

static void silu_mul_avx2(const float *gate, const float *up, size_t n, float *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 v = math_silu_avx2(_mm256_loadu_ps(gate + i));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++)
        out[i] = math_silu(gate[i]) * up[i];
}

static void swiglu_clamped_avx2(const float *gate, const float *up, size_t n, float *out)
{
    const __m256 limit = _mm256_set1_ps(SWIGLU_LIMIT), lowest = _mm256_set1_ps(-SWIGLU_LIMIT);
    const __m256 one = _mm256_set1_ps(1.0f);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 g = _mm256_min_ps(limit, _mm256_loadu_ps(gate + i));
        __m256 u = _mm256_max_ps(lowest, _mm256_min_ps(limit, _mm256_loadu_ps(up + i)));
        __m256 scaled = _mm256_mul_ps(_mm256_set1_ps(SWIGLU_ALPHA), g);
        __m256 negated = _mm256_xor_ps(scaled, _mm256_set1_ps(-0.0f));
        g = _mm256_div_ps(g, _mm256_add_ps(one, math_exp_avx2(negated)));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_add_ps(u, one), g));
    }
    for (; i < n; i++)
        out[i] = math_swiglu_clamped(gate[i], up[i]);
}

static void add_scaled_avx2(float *x, const float *y, float scale, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m256 v =
            _mm256_fmadd_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i));
        _mm256_storeu_ps(x + i, v);
    }
    for (; i < n; i++)
        x[i] = fmaf(scale, y[i], x[i]);
}

static void rope_neox_avx2(float *head, const float *cos_sin, size_t half)
{
    size_t i = 0;
    for (; i + LANES <= half; i += LANES) {
        __m256 a = _mm256_loadu_ps(cos_sin + 2 * i);          // c0 s0 c1 s1 | c2 s2 c3 s3
        __m256 b = _mm256_loadu_ps(cos_sin + 2 * i + LANES);  // c4 s4 c5 s5 | c6 s6 c7 s7
        __m256 low = _mm256_permute2f128_ps(a, b, 0x20);
        __m256 high = _mm256_permute2f128_ps(a, b, 0x31);
        __m256 cosine = _mm256_shuffle_ps(low, high, 0x88);
        __m256 sine = _mm256_shuffle_ps(low, high, 0xdd);
        __m256 x = _mm256_loadu_ps(head + i), y = _mm256_loadu_ps(head + half + i);
        _mm256_storeu_ps(head + i, _mm256_fmsub_ps(x, cosine, _mm256_mul_ps(y, sine)));
        _mm256_storeu_ps(head + half + i, _mm256_fmadd_ps(y, cosine, _mm256_mul_ps(x, sine)));
    }
    for (; i < half; i++)
        math_rotate(head + i, head + half + i, cos_sin[2 * i], cos_sin[2 * i + 1]);
}

static void rope_pairs_avx2(float *head, const float *cos_sin, size_t n_rot)
{
    size_t i = 0;
    for (; i + LANES <= n_rot; i += LANES) {
        __m256 angles = _mm256_loadu_ps(cos_sin + i), x = _mm256_loadu_ps(head + i);
        __m256 product = _mm256_mul_ps(_mm256_permute_ps(x, 0xb1), _mm256_movehdup_ps(angles));
        x = _mm256_fmaddsub_ps(x, _mm256_moveldup_ps(angles), product);
        _mm256_storeu_ps(head + i, x);
    }
    for (; i < n_rot; i += 2)
        math_rotate(head + i, head + i + 1, cos_sin[i], cos_sin[i + 1]);
}

static void rope_avx2(float *head, const float *cos_sin, size_t n_rot, bool neox)
{
    if (neox)
        rope_neox_avx2(head, cos_sin, n_rot / 2);
    else
        rope_pairs_avx2(head, cos_sin, n_rot / 2 * 2);
}

static void f32_to_f16_avx2(const float *x, size_t n, uint16_t *out)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((void *)(out + i), half);
    }
    for (; i < n; i++)
        out[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

void kernels_fill_vector_avx2(struct kernels *kernels)
{
    kernels->rms_norm = rms_norm_avx2;
    kernels->add = add_avx2;
    kernels->silu_mul = silu_mul_avx2;
    kernels->swiglu_clamped = swiglu_clamped_avx2;
    kernels->add_scaled = add_scaled_avx2;
    kernels->rope = rope_avx2;
    kernels->f32_to_f16 = f32_to_f16_avx2;
    kernels->attention_tile = attention_tile_avx2;
}
