/* Attention over one tile with AVX2, FMA and F16C; equal to attention_scalar.c bit for bit.
 *
 * As attention_avx512.c with half the register width: blocks of 3 rows x 32 columns or
 * 6 rows x 16, which is what 16 registers hold beside the operands. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS_MAX = 6, LANES = 8, CACHE_LINE = 32 /* f16 */ };

INLINE __m256 load_b(const void *b, size_t at, bool is_f16)
{
    if (is_f16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)((const uint16_t *)b + at)));
    return _mm256_loadu_ps((const float *)b + at);
}

/* Columns [column, column + 8 * n_vectors) of all n_rows rows. */
INLINE void product_block(const struct attention_product *p, size_t column, int n_rows,
                          int n_vectors, bool is_f16)
{
    const float *a[ROWS_MAX];
    __m256 sum[ROWS_MAX][4];
    for (int i = 0; i < n_rows; i++) {
        const float *c = p->c[i] + p->c_first + column;
        a[i] = p->a[i] + p->a_first;
        for (int j = 0; j < n_vectors; j++) {
            sum[i][j] = _mm256_setzero_ps();
            if (p->scale)
                sum[i][j] =
                    _mm256_mul_ps(_mm256_loadu_ps(c + j * LANES), _mm256_set1_ps(p->scale[i]));
        }
    }
    size_t at = column, n_block = (size_t)n_vectors * LANES;
    const uint16_t *ahead = is_f16 ? p->ahead + column * p->n_k : NULL;
    for (size_t k = 0; k < p->n_k; k++, at += p->b_stride) {
        if (is_f16) {
            _mm_prefetch(ahead, _MM_HINT_T0);
            if (n_block == 2 * CACHE_LINE)
                _mm_prefetch(ahead + CACHE_LINE, _MM_HINT_T0);
            ahead += n_block;
        }
        if (n_vectors > 2) {  // few rows: their factors stay, one vector of b at a time
            __m256 factor[ROWS_MAX];
            for (int i = 0; i < n_rows; i++)
                factor[i] = _mm256_broadcast_ss(a[i] + k);
            for (int j = 0; j < n_vectors; j++) {
                __m256 b = load_b(p->b, at + (size_t)j * LANES, is_f16);
                for (int i = 0; i < n_rows; i++)
                    sum[i][j] = _mm256_fmadd_ps(factor[i], b, sum[i][j]);
            }
        } else {
            __m256 b[2];
            for (int j = 0; j < n_vectors; j++)
                b[j] = load_b(p->b, at + (size_t)j * LANES, is_f16);
            for (int i = 0; i < n_rows; i++) {
                __m256 factor = _mm256_broadcast_ss(a[i] + k);
                for (int j = 0; j < n_vectors; j++)
                    sum[i][j] = _mm256_fmadd_ps(factor, b[j], sum[i][j]);
            }
        }
    }
    for (int i = 0; i < n_rows; i++) {
        float *c = p->c[i] + p->c_first + column;
        for (int j = 0; j < n_vectors; j++)
            _mm256_storeu_ps(c + j * LANES, sum[i][j]);
    }
}

/* All columns (a multiple of 16), in the widest blocks that the registers hold. */
INLINE void product_rows(const struct attention_product *p, int n_rows, bool is_f16)
{
    size_t column = 0;
    if (n_rows <= 3) {
        for (; column + 4 * LANES <= p->n_columns; column += 4 * LANES)
            product_block(p, column, n_rows, 4, is_f16);
    }
    for (; column < p->n_columns; column += 2 * LANES)
        product_block(p, column, n_rows, 2, is_f16);
}

/* One function for each number of rows, so that the block's bounds are constants. */
#define INSTANCE(n)                                                                                \
    static void rows_##n##_f16(const struct attention_product *p)                                  \
    {                                                                                              \
        product_rows(p, n, true);                                                                  \
    }                                                                                              \
    static void rows_##n##_f32(const struct attention_product *p)                                  \
    {                                                                                              \
        product_rows(p, n, false);                                                                 \
    }
INSTANCE(1)
INSTANCE(2)
INSTANCE(3)
INSTANCE(4)
INSTANCE(5)
INSTANCE(6)

static void product_f16_avx2(const struct attention_product *p, size_t n_rows)
{
    static void (*const rows[ROWS_MAX])(const struct attention_product *) = {
        rows_1_f16, rows_2_f16, rows_3_f16, rows_4_f16, rows_5_f16, rows_6_f16,
    };
    rows[n_rows - 1](p);
}

static void product_f32_avx2(const struct attention_product *p, size_t n_rows)
{
    static void (*const rows[ROWS_MAX])(const struct attention_product *) = {
        rows_1_f32, rows_2_f32, rows_3_f32, rows_4_f32, rows_5_f32, rows_6_f32,
    };
    rows[n_rows - 1](p);
}

/* The four masks of a row's 32 tokens: all ones where first <= t < first + visible. */
INLINE void masks(const struct attention_softmax *x, size_t row, __m256 mask[4])
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i first = _mm256_set1_epi32(x->n_first[row]);
    __m256i end = _mm256_set1_epi32(x->n_first[row] + x->n_visible[row]);
    for (int j = 0; j < 4; j++) {
        __m256i token = _mm256_add_epi32(lane, _mm256_set1_epi32(j * LANES));
        __m256i before = _mm256_cmpgt_epi32(first, token);
        mask[j] = _mm256_castsi256_ps(_mm256_andnot_si256(before, _mm256_cmpgt_epi32(end, token)));
    }
}

INLINE float row_maximum(const float *s, const __m256 mask[4])
{
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 v[4];
    for (int j = 0; j < 4; j++)
        v[j] = _mm256_blendv_ps(lowest, _mm256_loadu_ps(s + j * LANES), mask[j]);
    return math_max_lanes_avx2(_mm256_max_ps(v[0], v[2]), _mm256_max_ps(v[1], v[3]));
}

INLINE float row_weights(float *s, const __m256 mask[4], float m)
{
    __m256 v[4];
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_sub_ps(_mm256_loadu_ps(s + j * LANES), _mm256_set1_ps(m));
        v[j] = _mm256_and_ps(math_exp_avx2(v[j]), mask[j]);
        _mm256_storeu_ps(s + j * LANES, v[j]);
    }
    return math_sum_lanes_avx2(_mm256_add_ps(v[0], v[2]), _mm256_add_ps(v[1], v[3]));
}

static void softmax_avx2(const struct attention_softmax *x, size_t n_rows)
{
    __m256 mask[4];
    for (size_t row = 0; row < n_rows; row++) {
        masks(x, row, mask);
        float m = math_max(row_maximum(x->s[row], mask), x->m[row]);
        x->c[row] = x->m[row] - m;
        x->m[row] = m;
    }
    size_t i = 0;
    for (; i + LANES <= n_rows; i += LANES)
        _mm256_storeu_ps(x->c + i, math_exp_avx2(_mm256_loadu_ps(x->c + i)));
    for (; i < n_rows; i++)
        x->c[i] = math_exp(x->c[i]);
    for (size_t row = 0; row < n_rows; row++) {
        masks(x, row, mask);
        float sum = row_weights(x->s[row], mask, x->m[row]);
        x->l[row] = fmaf(x->l[row], x->c[row], sum);
    }
}

static void widen_avx2(const uint16_t *in, size_t in_stride, size_t n_rows, size_t n, float *out,
                       size_t out_stride)
{
    for (size_t row = 0; row < n_rows; row++, in += in_stride, out += out_stride) {
        for (size_t i = 0; i < n; i += LANES)
            _mm256_storeu_ps(out + i, load_b(in, i, true));
    }
}

/* 8 x 8 floats turned: out[j] lane i = in[i] lane j. */
INLINE void turn_8(__m256 v[LANES])
{
    __m256 pair[LANES], quad[LANES];
    for (int i = 0; i < LANES; i += 2) {
        pair[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {
        quad[i] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0x44);
        quad[i + 1] = _mm256_shuffle_ps(pair[i], pair[i + 2], 0xee);
        quad[i + 2] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0x44);
        quad[i + 3] = _mm256_shuffle_ps(pair[i + 1], pair[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(quad[i], quad[4 + i], 0x20);
        v[4 + i] = _mm256_permute2f128_ps(quad[i], quad[4 + i], 0x31);
    }
}

static void widen_turned_avx2(const uint16_t *in, size_t n, float *out, size_t out_stride)
{
    for (size_t d = 0; d < n; d += LANES) {
        for (size_t t = 0; t < KV_BLOCK_TOKENS; t += LANES) {
            __m256 v[LANES];
            for (size_t i = 0; i < LANES; i++)
                v[i] = load_b(in, (d + i) * KV_BLOCK_TOKENS + t, true);
            turn_8(v);
            for (size_t i = 0; i < LANES; i++)
                _mm256_storeu_ps(out + (t + i) * out_stride + d, v[i]);
        }
    }
}

void attention_tile_avx2(const struct attention_tile *tile)
{
    static const struct attention_ops ops = {
        .rows_max = ROWS_MAX,
        .product_f16 = product_f16_avx2,
        .product_f32 = product_f32_avx2,
        .softmax = softmax_avx2,
        .widen = widen_avx2,
        .widen_turned = widen_turned_avx2,
    };
    attention_tile_run(&ops, tile);
}
