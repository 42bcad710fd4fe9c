/* Attention over one tile: one KV block of one kv head, for a stack of query rows.
 *
 * KV blocks hold 32 tokens. Of one (layer, block, kv head):
 *   K  [head_dim, 32]  f16, transposed: the 32 tokens of one dimension lie together
 *   V  [32, value_dim]  f16
 * With latent attention V is the leading value_dim dimensions of K and not stored again; the
 * arithmetic is the same. K and V are read only as stored, also for rows of the same step.
 *
 * The arithmetic of one query row (the specification, attention_scalar.c):
 *   scores: s[t] = fma over d ascending of q[d] * K[d][t], from 0; q is already scaled
 *   online softmax per tile of 32 tokens, tiles in ascending order: m' = max(m, max_t s[t]) over
 *   unmasked t; c = exp(m - m'); p[t] = exp(s[t] - m'), 0 where masked;
 *   l = fma(l, c, sum_t p[t]) (16 fixed lanes, fixed tree);
 *   o[d] = o[d] * c, always multiplied, then fma over unmasked t ascending of p[t] * V[t][d].
 * A masked token is never multiplied into a result: whatever its K and V hold (blocks are not
 * cleared before they are written), m, l and o do not change. A row that sees no token of the tile
 * keeps its state. The maximum and the sum follow kernel_math.h.
 *
 * The state (m, l, o) starts anew at every split of 256 tokens (absolute positions) and the splits
 * are merged in ascending order by attention_merge(). So one row's bits depend on its own query and
 * the stored K and V, never on the other rows of the tile, the chunk or the threads. */
#ifndef WICARA_KERNELS_ATTENTION_H
#define WICARA_KERNELS_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

struct attention_tile {
    const uint16_t *k;         // [head_dim, 32] f16
    const uint16_t *v;         // [32, value_dim] f16, or NULL: the leading dimensions of k
    const uint16_t *next_k;    // K of the tile this caller asks for next, or NULL: a prefetch hint
    size_t head_dim;           // of q and k, a multiple of 16, any size
    size_t value_dim;          // of v and o, likewise; at most head_dim when v is NULL
    size_t n_rows;             // query rows stacked (positions x query heads of the kv head)
    const float *const *q;     // [n_rows] pointers to [head_dim]
    const int32_t *n_visible;  // [n_rows] how many of the 32 tokens each row sees, from n_first
    const int32_t *n_first;    // [n_rows] first visible token in the tile (windows), usually 0
    float *m;                  // [n_rows] running maximum, -INFINITY at the start of a split
    float *l;                  // [n_rows] running sum, 0 at the start of a split
    float *const *o;           // [n_rows] pointers to [value_dim] accumulators, 0 at the start
};

/* Merges split state b into a (both of one row), in ascending order of splits; portable code:
 *   m = max(m_a, m_b); ca = exp(m_a - m); cb = exp(m_b - m); l = l_a * ca + l_b * cb; o likewise,
 * products rounded before the sum. A split that saw nothing (l_b = 0) changes nothing.
 * An attention sink is a last split with m = its logit, l = 1 and o = 0. */
void attention_merge(float *m_a, float *l_a, float *o_a, float m_b, float l_b, const float *o_b,
                     size_t value_dim);
/* out[d] = o[d] / l; zeros when the row saw nothing (l = 0). out may be o. */
void attention_finish(const float *o, float l, float *out, size_t value_dim);
/* The exp of all kernels: own polynomial, equal bits at every level; see kernel_math.h. Below 1 ulp
 * of error; 0 below -87.33, +infinity above 88.72, 1 at 0. */
float kernel_exp(float x);

#endif
