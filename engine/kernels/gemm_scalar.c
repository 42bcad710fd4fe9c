/* Products of weight panels and activations: the specification of every gemm slot, in plain C.
 *
 * Quantised weights, one output element, blocks of 32 columns in ascending order, from acc = 0:
 *   low, high  exact int32 sums of weight quant * activation quant over the block's first and last
 *              16 columns (bias of the type subtracted)
 *   value = low + high                       exact; types with one scale a block
 *   value = fma(high, sub1, low * sub0)      types with a scale for 16 columns; exact and below
 *                                            2^24 but for NVFP4, where both steps round
 *   acc = fma(value, d * da, acc)            d of the weights' block, da of the activations'
 *   acc = fma(m, da * sum, acc)              types with a minimum; sum = exact sum of activations
 * Q2_K has a minimum for 16 columns, sum = mn0 * (sum of the first 16) + mn1 * (last 16), and puts
 * both terms together first, which saves it a product: acc = fma(fma(value, d, m * sum), da, acc).
 * d is d * sc of the sub-block where it has one and m is -(dmin * mn), both exact in f32; Q2_K: m
 * is -dmin. Conversions of integers are exact; each product is rounded once, to nearest even, and
 * so is each fma.
 *
 * Float weights, widened to f32, one output element: two fma chains from 0, over even and over odd
 * columns in ascending order; the result is even + odd. Two chains because one would leave a single
 * row waiting for the adder.
 *
 * No element depends on another row or panel, so other levels may tile as they like. */
#include <math.h>
#include <string.h>

#include "engine/kernels/kernels_fill.h"
#include "engine/kernels/pack.h"
#include "engine/kernels/panel_layout.h"

/* d = max|x| / 127; q = x * (127 / max|x|) rounded to nearest even. The maximum is taken over the
 * bits, so that a NaN comes out as d = NaN whatever the order. */
static void quantize_q8_scalar(const float *x, size_t n, int8_t *q, float *d, int32_t *sum)
{
    for (size_t b = 0; b < n / ACT_BLOCK; b++, x += ACT_BLOCK, q += ACT_BLOCK) {
        uint32_t bits_max = 0;
        for (size_t i = 0; i < ACT_BLOCK; i++) {
            uint32_t bits = f32_bits(x[i]) & 0x7fffffffu;
            bits_max = bits > bits_max ? bits : bits_max;
        }
        float max = f32_from_bits(bits_max);
        float inverse = 127.0f / max;
        int32_t half[2] = {0, 0};
        if (max < QUANTIZE_MIN) {
            max = 0.0f;
            inverse = 0.0f;
        }
        for (size_t i = 0; i < ACT_BLOCK; i++) {
            float scaled = x[i] * inverse;
            scaled = scaled < 127.0f ? scaled : 127.0f;
            scaled = scaled > -127.0f ? scaled : -127.0f;
            q[i] = (int8_t)(int)rintf(scaled);
            half[i / 16] += q[i];
        }
        d[b] = max / 127.0f;
        sum[b] = (int32_t)((uint32_t)half[1] << 16 | ((uint32_t)half[0] & 0xffffu));
    }
}

/* Scaled sums of 16 output rows for one block of one activation row. */
static void block_values(const struct panel_block *block, const int8_t *q, float value[PANEL_ROWS])
{
    int32_t half[2][PANEL_ROWS] = {{0}};
    for (size_t col = 0; col < ACT_BLOCK; col++) {
        for (size_t lane = 0; lane < PANEL_ROWS; lane++)
            half[col / 16][lane] += block->q[col][lane] * q[col];
    }
    for (size_t lane = 0; lane < PANEL_ROWS; lane++)
        value[lane] = fmaf((float)half[1][lane], block->sub[1][lane],
                           (float)half[0][lane] * block->sub[0][lane]);
}

static void gemm_q8_scalar(enum dtype dtype, const uint8_t *panels, size_t n_panels,
                           const struct q8_rows *x, size_t first_row, size_t n_rows, float *y,
                           size_t y_stride)
{
    size_t n_blocks = x->n_cols / ACT_BLOCK, panel_bytes = pack_panel_bytes(dtype, x->n_cols);
    const struct panel_layout layout = panel_layout(dtype);
    for (size_t panel = 0; panel < n_panels; panel++, panels += panel_bytes, y += PANEL_ROWS) {
        for (size_t row = 0; row < n_rows; row++)
            memset(y + row * y_stride, 0, PANEL_ROWS * sizeof *y);
        for (size_t b = 0; b < n_blocks; b++) {
            struct panel_block block;
            panel_block_read(dtype, panels, b, n_blocks, &block);
            for (size_t row = 0; row < n_rows; row++) {
                size_t at = (first_row + row) * n_blocks + b;
                int low = (int16_t)x->sum[at], high = x->sum[at] >> 16;
                float *acc = y + row * y_stride, da = x->d[at], value[PANEL_ROWS];
                block_values(&block, x->q + at * ACT_BLOCK, value);
                for (size_t lane = 0; lane < PANEL_ROWS; lane++) {
                    if (layout.scales == SCALE_HALF_MINS) {
                        int sum = block.mins[0][lane] * low + block.mins[1][lane] * high;
                        float both = fmaf(value[lane], block.d[lane], block.m[lane] * (float)sum);
                        acc[lane] = fmaf(both, da, acc[lane]);
                        continue;
                    }
                    acc[lane] = fmaf(value[lane], block.d[lane] * da, acc[lane]);
                    if (layout.has_min)
                        acc[lane] = fmaf(block.m[lane], da * (float)(low + high), acc[lane]);
                }
            }
        }
    }
}

static void gemm_float_scalar(enum dtype dtype, const uint8_t *panels, size_t n_panels,
                              const float *x, size_t n_cols, size_t n_rows, float *y,
                              size_t y_stride)
{
    size_t panel_bytes = pack_panel_bytes(dtype, n_cols), width = dtype == DTYPE_F32 ? 4 : 2;
    for (size_t panel = 0; panel < n_panels; panel++, panels += panel_bytes, y += PANEL_ROWS) {
        for (size_t row = 0; row < n_rows; row++) {
            float acc[2][PANEL_ROWS] = {{0}};
            for (size_t col = 0; col < n_cols; col++) {
                for (size_t lane = 0; lane < PANEL_ROWS; lane++) {
                    const uint8_t *at = panels + (col * PANEL_ROWS + lane) * width;
                    uint32_t bits = 0;
                    memcpy(&bits, at, width);
                    float w = dtype == DTYPE_F32   ? f32_from_bits(bits)
                              : dtype == DTYPE_F16 ? f32_from_f16((uint16_t)bits)
                                                   : f32_from_bf16((uint16_t)bits);
                    acc[col % 2][lane] = fmaf(w, x[row * n_cols + col], acc[col % 2][lane]);
                }
            }
            for (size_t lane = 0; lane < PANEL_ROWS; lane++)
                y[row * y_stride + lane] = acc[0][lane] + acc[1][lane];
        }
    }
}

#define QUANTISED(name, type)                                                                      \
    static void gemm_##name##_scalar(const void *panels, size_t n_panels, const struct q8_rows *x, \
                                     size_t first_row, size_t n_rows, float *y, size_t y_stride)   \
    {                                                                                              \
        gemm_q8_scalar(DTYPE_##type, panels, n_panels, x, first_row, n_rows, y, y_stride);         \
    }
GEMM_Q8_TYPES(QUANTISED)

#define FLOATING(name, dtype)                                                                      \
    static void gemm_##name##_scalar(const void *panels, size_t n_panels, const float *x,          \
                                     size_t n_cols, size_t n_rows, float *y, size_t y_stride)      \
    {                                                                                              \
        gemm_float_scalar(dtype, panels, n_panels, x, n_cols, n_rows, y, y_stride);                \
    }
FLOATING(f16, DTYPE_F16)
FLOATING(bf16, DTYPE_BF16)
FLOATING(f32, DTYPE_F32)

void kernels_fill_gemm_scalar(struct kernels *kernels)
{
#define FILL(name, type) kernels->gemm_q8[DTYPE_##type] = gemm_##name##_scalar;
    GEMM_Q8_TYPES(FILL)
    GEMM_Q8_ALIASES(FILL)
#undef FILL
    kernels->gemm_float[DTYPE_F16] = gemm_f16_scalar;
    kernels->gemm_float[DTYPE_BF16] = gemm_bf16_scalar;
    kernels->gemm_float[DTYPE_F32] = gemm_f32_scalar;
    kernels->quantize_q8 = quantize_q8_scalar;
}
