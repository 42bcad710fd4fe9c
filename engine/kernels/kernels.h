/* The table of compute kernels and the choice of its level at run time.
 *
 * A model holds one `const struct kernels *`; nothing about it is global, so two levels can be
 * compared in one process. Every slot has a scalar specification (the SCALAR table, *_scalar.c) and
 * every level equals it bit for bit, for any number of rows: work is split over output rows and
 * heads, never over K. Files of one instruction set are compiled with its flags, all others for
 * the x86-64 baseline; -ffp-contract=off everywhere, fused multiply-adds are explicit.
 *
 * Weights are kept in panels of 16 output rows (kernels/pack.h). Activations of quantised products
 * are quantised once by their producer, per block of 32 (struct q8_row). */
#ifndef WICARA_KERNELS_KERNELS_H
#define WICARA_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"

/* AVX512 = F BW VL DQ VNNI; AMX = AVX512 with TILE and INT8. */
enum cpu_level { CPU_SCALAR, CPU_AVX2, CPU_AVX512, CPU_AMX, CPU_LEVELS };

enum { PANEL_ROWS = 16, ACT_BLOCK = 32, KV_BLOCK_TOKENS = 32, ATTENTION_SPLIT_TOKENS = 256 };

/* Activations of a quantised product, structure of arrays, for all rows of a step:
 *   q     [rows, n_cols]           int8, in [-127, 127]
 *   d     [rows, n_cols / 32]      f32 scale of each block: max|x| / 127
 *   sum   [rows, n_cols / 32]      sums of the q of the block's halves, two int16 in one int32:
 *                                  first 16 in the low half, last 16 in the high half
 * n_cols is a multiple of 32 (rows are padded with zeros by the producer when they are not). Filled
 * by quantize_q8, read by the products; sum is in halves because Q6_K scales 16 columns. One
 * allocation each, rows at a stride of n_cols bytes and n_cols / 32 elements. Kernels know single
 * rows; with has_rest (numerics class precise, see matmul.h) each row of a step is two of them. */
struct q8_rows {
    int8_t *q;
    float *d;
    int32_t *sum;
    size_t n_cols;
    bool has_rest;
};

/* y[row * y_stride + 16 * panel + lane], row < n_rows, for panels [0, n_panels) at `panels`.
 * Quantised weights take `x`, float weights take `xf` ([rows, n_cols] f32). */
typedef void gemm_q8_fn(const void *panels, size_t n_panels, const struct q8_rows *x,
                        size_t first_row, size_t n_rows, float *y, size_t y_stride);
typedef void gemm_float_fn(const void *panels, size_t n_panels, const float *x, size_t n_cols,
                           size_t n_rows, float *y, size_t y_stride);

/* One (kv head, KV block) tile of attention for a group of query rows; see attention.h. */
struct attention_tile;

struct kernels {
    enum cpu_level level;
    const char *name;  // "scalar" "avx2" "avx512" "amx"

    /* Products, by enum dtype of the weights; NULL where it is not a product type of that kind. */
    gemm_q8_fn *gemm_q8[DTYPE_SLOTS];
    gemm_float_fn *gemm_float[DTYPE_SLOTS];

    /* Quantises one row: n a multiple of 32, rounding to nearest even; see struct q8_rows. A NaN or
     * an infinity in a block makes its d NaN or infinite. */
    void (*quantize_q8)(const float *x, size_t n, int8_t *q, float *d, int32_t *sum);

    /* Element-wise and reductions (vector_*.c). Sums run in 16 fixed lanes and a fixed tree. */
    /* out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; weight NULL = 1. out may be x. */
    void (*rms_norm)(const float *x, const float *weight, size_t n, float eps, float *out);
    void (*add)(float *x, const float *y, size_t n);  // x += y
    /* out[i] = silu(gate[i]) * up[i], with the table's own exp. */
    void (*silu_mul)(const float *gate, const float *up, size_t n, float *out);
    /* As silu_mul with g = min(gate, 7), u = up clamped to [-7, 7]:
     * out[i] = (u + 1) * (g / (1 + exp(-(1.702 g)))) (gpt-oss). out may be gate. */
    void (*swiglu_clamped)(const float *gate, const float *up, size_t n, float *out);
    void (*add_scaled)(float *x, const float *y, float scale, size_t n);  // x = fma(scale, y, x)
    /* Rotates n_rot leading elements of one head. cos_sin holds n_rot / 2 pairs (cos, sin).
     * neox: pairs (i, i + n_rot / 2), else (2i, 2i + 1). */
    void (*rope)(float *head, const float *cos_sin, size_t n_rot, bool neox);
    void (*f32_to_f16)(const float *x, size_t n, uint16_t *out);  // nearest even
    /* Attention over one tile; see attention.h. */
    void (*attention_tile)(const struct attention_tile *tile);
};

/* Best level that this CPU has. */
enum cpu_level kernels_best_level(void);
bool kernels_level_available(enum cpu_level level);
/* The table of a level; ERR_UNSUPPORTED naming what this CPU lacks. */
enum status kernels_get(enum cpu_level level, const struct kernels **out,
                        struct error *err) MUST_CHECK;
bool kernels_level_parse(const char *name, enum cpu_level *out);
const char *kernels_level_name(enum cpu_level level);

#endif
