/* Element-wise kernels, the specification: what every level must equal bit for bit.
 *
 * Written for reading, in the order in which the numbers are defined; fmaf is the C library's.
 * Sums follow kernel_math.h: 16 lanes, then a tree. Reentrant, no state. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math.h"
#include "engine/kernels/kernels_fill.h"

static void rms_norm_scalar(const float *x, const float *weight, size_t n, float eps, float *out)
{
    float lanes[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % SUM_LANES] = fmaf(x[i], x[i], lanes[i % SUM_LANES]);
    float mean = math_sum_lanes(lanes) / (float)n;
    float scale = 1.0f / sqrtf(mean + eps);
    for (size_t i = 0; i < n; i++) {
        float scaled = x[i] * scale;
        out[i] = weight ? scaled * weight[i] : scaled;
    }
}

static void add_scalar(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

static void silu_mul_scalar(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = math_silu(gate[i]) * up[i];
}

static void swiglu_clamped_scalar(const float *gate, const float *up, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = math_swiglu_clamped(gate[i], up[i]);
}

static void add_scaled_scalar(float *x, const float *y, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = fmaf(scale, y[i], x[i]);
}

static void rope_scalar(float *head, const float *cos_sin, size_t n_rot, bool neox)
{
    size_t half = n_rot / 2;
    for (size_t i = 0; i < half; i++) {
        float *a = neox ? head + i : head + 2 * i;
        float *b = neox ? head + i + half : head + 2 * i + 1;
        math_rotate(a, b, cos_sin[2 * i], cos_sin[2 * i + 1]);
    }
}

static void f32_to_f16_scalar(const float *x, size_t n, uint16_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = f16_from_f32(x[i]);
}

void kernels_fill_vector_scalar(struct kernels *kernels)
{
    kernels->rms_norm = rms_norm_scalar;
    kernels->add = add_scalar;
    kernels->silu_mul = silu_mul_scalar;
    kernels->swiglu_clamped = swiglu_clamped_scalar;
    kernels->add_scaled = add_scaled_scalar;
    kernels->rope = rope_scalar;
    kernels->f32_to_f16 = f32_to_f16_scalar;
    kernels->attention_tile = attention_tile_scalar;
}
