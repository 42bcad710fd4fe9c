/* Inside attention: the tile routine of each level, and the three operations from which the vector
 * levels build it (attention_tile_run in attention.c does the walking and the masking).
 *
 * A tile is two small products with a softmax between them. Scores are q [rows, head_dim] times
 * K [head_dim, 32]; the output is p [rows, 32] times V [32, value_dim]. Both have the same form,
 * one fma chain for each element in ascending k, so one blocked kernel serves both. */
#ifndef WICARA_KERNELS_ATTENTION_OPS_H
#define WICARA_KERNELS_ATTENTION_OPS_H

#include "engine/kernels/attention.h"
#include "engine/kernels/kernels.h"

/* For each row < n_rows and column < n_columns, k ascending:
 *   c[row][c_first + column] = fma(a[row][a_first + k], b[k * b_stride + column], ...)
 * from 0 when scale is NULL, else from c[row][...] * scale[row].
 * b is f16 or f32, by the function. n_columns is a multiple of 16. The f16 product, which reads
 * stored blocks, also prefetches n_k * n_columns * 2 bytes at `ahead` on its way: a tile is 8 KB or
 * more, read once, and asking for the next part in time takes 20 to 30 % off decoding whenever K
 * and V come from the third cache or from memory. */
struct attention_product {
    const float *const *a;  // [n_rows]
    size_t a_first;
    const void *b;  // [n_k, b_stride]
    size_t b_stride;
    size_t n_k;
    float *const *c;  // [n_rows]
    size_t c_first;
    size_t n_columns;
    const float *scale;     // [n_rows] or NULL
    const uint16_t *ahead;  // what is read next; any address, never NULL in the f16 product
};

/* Rows of one softmax call: scores become weights in place. */
struct attention_softmax {
    float *const *s;           // [n_rows] pointers to [32]
    const int32_t *n_first;    // [n_rows]
    const int32_t *n_visible;  // [n_rows], >= 1
    float *m;                  // [n_rows] updated
    float *l;                  // [n_rows] updated
    float *c;                  // [n_rows] out: exp(m_old - m_new)
};

struct attention_ops {
    size_t rows_max;  // rows of one product call
    void (*product_f16)(const struct attention_product *product, size_t n_rows);
    void (*product_f32)(const struct attention_product *product, size_t n_rows);
    void (*softmax)(const struct attention_softmax *softmax, size_t n_rows);
    /* Widens n_rows rows of n (a multiple of 16) f16 exactly. */
    void (*widen)(const uint16_t *in, size_t in_stride, size_t n_rows, size_t n, float *out,
                  size_t out_stride);
    /* Widens n dimensions (a multiple of 16) of K, [n, 32], turned: out[token * out_stride + d]. */
    void (*widen_turned)(const uint16_t *in, size_t n, float *out, size_t out_stride);
};

void attention_tile_run(const struct attention_ops *ops, const struct attention_tile *tile);

void attention_tile_scalar(const struct attention_tile *tile);
void attention_tile_avx2(const struct attention_tile *tile);
void attention_tile_avx512(const struct attention_tile *tile);

#endif
