/* Products of weights and activations over all rows of a step; the only user of OpenBLAS.
 *
 *   y [n_rows, y_stride] f32, columns [0, weight->n_rows) overwritten; best with rows 64-byte
 *     aligned, or two threads share a line of each row at the edge of their panels
 *
 * Work is dealt out over panels. Bits do not depend on n_rows, on the row's place in the batch or
 * on the threads.
 *
 * Numerics class. fast: a quantised product reads its activations once rounded, to 8 bits. precise:
 * each row x is carried as two rows, 2r and 2r + 1 of struct q8_rows, about 15 bits together:
 *   (q1, d1) = quantize_q8(x)
 *   rest[i]  = x[i] - d1 * q1[i]     two roundings in f32, to nearest even
 *   (q2, d2) = quantize_q8(rest)
 *   y        = gemm(q1, d1) + gemm(q2, d2), each as the kernels specify it, one addition
 * F32 weights run through OpenBLAS (gemm_f32_blas) on hosts whose best level is
 * scalar and through gemm_f32 on all others; a lower --cpu level uses no OpenBLAS. */
#ifndef WICARA_KERNELS_MATMUL_H
#define WICARA_KERNELS_MATMUL_H

#include "engine/base/pool.h"
#include "engine/kernels/kernels.h"

struct weight {
    enum dtype dtype;
    size_t n_rows;    // output features
    size_t n_cols;    // input features
    size_t n_panels;  // ceil(n_rows / 16)
    size_t panel_bytes;
    void *panels;  // [n_panels, panel_bytes], 64-byte aligned
};

/* Activations in both forms; a producer fills the ones that its consumers' types need. */
struct activations {
    const float *f32;   // [n_rows, n_cols] or NULL
    struct q8_rows q8;  // q NULL when no consumer is quantised; 2 * n_rows rows with has_rest
    size_t n_rows;
    size_t n_cols;
};
/* Fills x->q8 of one row from x->f32, when it has a quantised form. */
void activations_quantize(const struct kernels *kernels, const struct activations *x, size_t row);

bool weight_needs_q8(const struct weight *weight);
void matmul(const struct kernels *kernels, struct pool *pool, const struct weight *weight,
            const struct activations *x, float *y, size_t y_stride);
/* Several weights in one pass over the pool: over the same activations (QKV, gate|up), or each over
 * rows of its own (experts, heads). */
struct matmul_part {
    const struct weight *weight;
    float *y;  // of the part's first row
    size_t y_stride;
    const struct activations *x;  // NULL = the call's
    size_t first_row, n_rows;     // of x; n_rows 0 = all
};
/* x may be NULL when every part has its own. */
void matmul_many(const struct kernels *kernels, struct pool *pool, const struct matmul_part *parts,
                 size_t n_parts, const struct activations *x);

/* gemm_f32 by OpenBLAS, with its own bits: one row by one panel at a time, on one thread, so that
 * no row can tell what is beside it. Exported for its check. */
gemm_float_fn gemm_f32_blas;

#endif
