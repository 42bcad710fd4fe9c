/* Attention over one tile, the specification: one row after the other, one token after the other.
 *
 * The vector levels must equal it bit for bit; see attention.h for the arithmetic in words. It is
 * written to be read, not to be fast. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math.h"

/* p [32] from the scores of the visible tokens, 0 elsewhere; updates m and l, returns c. */
static float softmax_row(const float *s, size_t first, size_t end, float *m, float *l, float *p)
{
    float lanes[SUM_LANES], weights[SUM_LANES];
    for (size_t i = 0; i < SUM_LANES; i++) {
        float low = i >= first && i < end ? s[i] : -INFINITY;
        float high = i + 16 >= first && i + 16 < end ? s[i + 16] : -INFINITY;
        lanes[i] = math_max(low, high);
    }
    float m_new = math_max(math_max_lanes(lanes), *m);
    float c = math_exp(*m - m_new);
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t++)
        p[t] = t >= first && t < end ? math_exp(s[t] - m_new) : 0.0f;
    for (size_t i = 0; i < SUM_LANES; i++)
        weights[i] = p[i] + p[i + 16];
    *l = fmaf(*l, c, math_sum_lanes(weights));
    *m = m_new;
    return c;
}

static void tile_row(const struct attention_tile *tile, size_t row)
{
    size_t first = (size_t)tile->n_first[row], end = first + (size_t)tile->n_visible[row];
    const float *q = tile->q[row];
    float s[KV_BLOCK_TOKENS] = {0}, p[KV_BLOCK_TOKENS];
    for (size_t t = first; t < end; t++) {
        for (size_t d = 0; d < tile->head_dim; d++)
            s[t] = fmaf(q[d], f32_from_f16(tile->k[d * KV_BLOCK_TOKENS + t]), s[t]);
    }
    float c = softmax_row(s, first, end, &tile->m[row], &tile->l[row], p);
    for (size_t d = 0; d < tile->value_dim; d++) {
        float o = tile->o[row][d] * c;
        for (size_t t = first; t < end; t++) {
            uint16_t v =
                tile->v ? tile->v[t * tile->value_dim + d] : tile->k[d * KV_BLOCK_TOKENS + t];
            o = fmaf(p[t], f32_from_f16(v), o);
        }
        tile->o[row][d] = o;
    }
}

void attention_tile_scalar(const struct attention_tile *tile)
{
    for (size_t row = 0; row < tile->n_rows; row++) {
        if (tile->n_visible[row] > 0)
            tile_row(tile, row);
    }
}
