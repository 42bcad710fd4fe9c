/* Attention over one tile with AVX-512; equal to attention_scalar.c bit for bit.
 *
 * The product keeps a block of rows x columns in registers: 8 rows x 32 columns, or 4 rows x 64,
 * so that each vector of K or V is loaded (and widened) once for all rows of the block, and 16
 * chains of fma hide each other's latency. The shapes are one inline function with constant bounds,
 * instantiated for each number of rows. */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math_avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS_MAX = 8, LANES = 16, CACHE_LINE = 32 /* f16 */ };

INLINE __m512 load_b(const void *b, size_t at, bool is_f16)
{
    if (is_f16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)b + at)));
    return _mm512_loadu_ps((const float *)b + at);
}

/* Columns [column, column + 16 * n_vectors) of n_rows rows from first_row on. */
INLINE void product_block(const struct attention_product *p, int first_row, int n_rows,
                          size_t column, int n_vectors, bool is_f16)
{
    const float *a[ROWS_MAX];
    __m512 sum[ROWS_MAX][4];
    for (int i = 0; i < n_rows; i++) {
        const float *c = p->c[first_row + i] + p->c_first + column;
        a[i] = p->a[first_row + i] + p->a_first;
        for (int j = 0; j < n_vectors; j++) {
            sum[i][j] = _mm512_setzero_ps();
            if (p->scale)
                sum[i][j] = _mm512_mul_ps(_mm512_loadu_ps(c + j * LANES),
                                          _mm512_set1_ps(p->scale[first_row + i]));
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
        __m512 b[4];
        for (int j = 0; j < n_vectors; j++)
            b[j] = load_b(p->b, at + (size_t)j * LANES, is_f16);
        for (int i = 0; i < n_rows; i++) {
            __m512 factor = _mm512_set1_ps(a[i][k]);
            for (int j = 0; j < n_vectors; j++)
                sum[i][j] = _mm512_fmadd_ps(factor, b[j], sum[i][j]);
        }
    }
    for (int i = 0; i < n_rows; i++) {
        float *c = p->c[first_row + i] + p->c_first + column;
        for (int j = 0; j < n_vectors; j++)
            _mm512_storeu_ps(c + j * LANES, sum[i][j]);
    }
}

/* All columns, in the widest blocks that the registers hold. Of 7 or 8 rows over many columns (the
 * values) each half goes alone, 4 x 64 instead of 8 x 32, unless b would be widened twice. */
INLINE void product_rows(const struct attention_product *p, int n_rows, bool is_f16)
{
    int half = n_rows <= 6 ? n_rows : (n_rows + 1) / 2;
    size_t column = 0;
    for (; (!is_f16 || half == n_rows) && column + 4 * LANES <= p->n_columns; column += 4 * LANES) {
        product_block(p, 0, half, column, 4, is_f16);
        if (half < n_rows)
            product_block(p, half, n_rows - half, column, 4, is_f16);
    }
    for (; column + 2 * LANES <= p->n_columns; column += 2 * LANES)
        product_block(p, 0, n_rows, column, 2, is_f16);
    for (; column < p->n_columns; column += LANES)
        product_block(p, 0, n_rows, column, 1, is_f16);
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
INSTANCE(7)
INSTANCE(8)

static void product_f16_avx512(const struct attention_product *p, size_t n_rows)
{
    static void (*const rows[ROWS_MAX])(const struct attention_product *) = {
        rows_1_f16, rows_2_f16, rows_3_f16, rows_4_f16,
        rows_5_f16, rows_6_f16, rows_7_f16, rows_8_f16,
    };
    rows[n_rows - 1](p);
}

static void product_f32_avx512(const struct attention_product *p, size_t n_rows)
{
    static void (*const rows[ROWS_MAX])(const struct attention_product *) = {
        rows_1_f32, rows_2_f32, rows_3_f32, rows_4_f32,
        rows_5_f32, rows_6_f32, rows_7_f32, rows_8_f32,
    };
    rows[n_rows - 1](p);
}

INLINE __m512 fold(__m512 low, __m512 high, bool maximum)
{
    return maximum ? _mm512_max_ps(low, high) : _mm512_add_ps(low, high);
}

/* Lane i = the tree of kernel_math.h over v[i], for 16 vectors at once: each step folds the halves
 * of two vectors into one, so that 15 folds do the work of 64. */
INLINE __m512 fold_16(const __m512 v[LANES], bool maximum)
{
    __m512 quad[4];
    for (int i = 0; i < 4; i++) {  // rows i, i + 4, i + 8, i + 12
        __m512 half[2];
        for (int j = 0; j < 2; j++) {
            __m512 a = v[i + 8 * j], b = v[i + 8 * j + 4];
            half[j] =
                fold(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee), maximum);
        }
        quad[i] = fold(_mm512_shuffle_f32x4(half[0], half[1], 0x88),
                       _mm512_shuffle_f32x4(half[0], half[1], 0xdd), maximum);
    }
    __m512 pair[2];
    for (int i = 0; i < 2; i++) {
        __m512d a = _mm512_castps_pd(quad[2 * i]), b = _mm512_castps_pd(quad[2 * i + 1]);
        pair[i] = fold(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                       _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)), maximum);
    }
    return fold(_mm512_shuffle_ps(pair[0], pair[1], 0x88),
                _mm512_shuffle_ps(pair[0], pair[1], 0xdd), maximum);
}

/* The tokens that a row sees, a bit each. */
INLINE uint32_t seen_bits(const struct attention_softmax *x, size_t row)
{
    return (uint32_t)(((1ull << x->n_visible[row]) - 1) << x->n_first[row]);
}

/* Both halves of a row of scores folded, -infinity where masked. */
INLINE __m512 row_maxima(const struct attention_softmax *x, size_t row)
{
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    uint32_t seen = seen_bits(x, row);
    return _mm512_max_ps(_mm512_mask_loadu_ps(lowest, (__mmask16)seen, x->s[row]),
                         _mm512_mask_loadu_ps(lowest, (__mmask16)(seen >> 16), x->s[row] + LANES));
}

/* Scores become weights; both halves folded. */
INLINE __m512 row_weights(const struct attention_softmax *x, size_t row, float m)
{
    uint32_t seen = seen_bits(x, row);
    float *s = x->s[row];
    __m512 shift = _mm512_set1_ps(m);
    __m512 low = _mm512_sub_ps(_mm512_loadu_ps(s), shift);
    __m512 high = _mm512_sub_ps(_mm512_loadu_ps(s + LANES), shift);
    low = math_exp_softmax_avx512(low, (__mmask16)seen);
    high = math_exp_softmax_avx512(high, (__mmask16)(seen >> 16));
    _mm512_storeu_ps(s, low);
    _mm512_storeu_ps(s + LANES, high);
    return _mm512_add_ps(low, high);
}

/* Up to 16 rows; their m, l and c are one vector each. */
INLINE void softmax_block(const struct attention_softmax *x, size_t row, size_t n_rows)
{
    __m512 folded[LANES];
    _Alignas(64) float lanes[LANES] = {0}, m_new[LANES];
    __mmask16 rows = mask_first_avx512(n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        folded[i] = row_maxima(x, row + i);
        if (n_rows < LANES)
            lanes[i] = math_max_lanes_avx512(folded[i]);
    }
    __m512 m_old = _mm512_maskz_loadu_ps(rows, x->m + row);
    __m512 m = n_rows < LANES ? _mm512_load_ps(lanes) : fold_16(folded, true);
    m = _mm512_max_ps(m, m_old);
    __m512 c = math_exp_softmax_avx512(_mm512_sub_ps(m_old, m), rows);
    _mm512_store_ps(m_new, m);
    _mm512_mask_storeu_ps(x->m + row, rows, m);
    _mm512_mask_storeu_ps(x->c + row, rows, c);
    for (size_t i = 0; i < n_rows; i++) {
        folded[i] = row_weights(x, row + i, m_new[i]);
        if (n_rows < LANES)
            lanes[i] = math_sum_lanes_avx512(folded[i]);
    }
    __m512 sum = n_rows < LANES ? _mm512_load_ps(lanes) : fold_16(folded, false);
    __m512 l = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rows, x->l + row), c, sum);
    _mm512_mask_storeu_ps(x->l + row, rows, l);
}

static void softmax_avx512(const struct attention_softmax *x, size_t n_rows)
{
    size_t row = 0;
    for (; row + LANES <= n_rows; row += LANES)
        softmax_block(x, row, LANES);
    if (row < n_rows)
        softmax_block(x, row, n_rows - row);
}

static void widen_avx512(const uint16_t *in, size_t in_stride, size_t n_rows, size_t n, float *out,
                         size_t out_stride)
{
    for (size_t row = 0; row < n_rows; row++, in += in_stride, out += out_stride) {
        for (size_t i = 0; i < n; i += LANES)
            _mm512_storeu_ps(out + i, load_b(in, i, true));
    }
}

/* 16 x 16 floats turned: out[j] lane i = in[i] lane j. */
INLINE void turn_16(__m512 v[LANES])
{
    __m512 pair[LANES], quad[LANES];
    for (int i = 0; i < LANES; i += 2) {
        pair[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        pair[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < LANES; i += 4) {
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(pair[i + j]), b = _mm512_castps_pd(pair[i + j + 2]);
            quad[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            quad[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    /* quad[4g + c] holds of rows 4g..4g+3 the columns c, 4 + c, 8 + c, 12 + c, four lanes each. */
    for (int c = 0; c < 4; c++) {
        __m512 low = _mm512_shuffle_f32x4(quad[c], quad[4 + c], 0x88);
        __m512 high = _mm512_shuffle_f32x4(quad[8 + c], quad[12 + c], 0x88);
        v[c] = _mm512_shuffle_f32x4(low, high, 0x88);
        v[8 + c] = _mm512_shuffle_f32x4(low, high, 0xdd);
        low = _mm512_shuffle_f32x4(quad[c], quad[4 + c], 0xdd);
        high = _mm512_shuffle_f32x4(quad[8 + c], quad[12 + c], 0xdd);
        v[4 + c] = _mm512_shuffle_f32x4(low, high, 0x88);
        v[12 + c] = _mm512_shuffle_f32x4(low, high, 0xdd);
    }
}

static void widen_turned_avx512(const uint16_t *in, size_t n, float *out, size_t out_stride)
{
    for (size_t d = 0; d < n; d += LANES) {
        for (size_t t = 0; t < KV_BLOCK_TOKENS; t += LANES) {
            __m512 v[LANES];
            for (size_t i = 0; i < LANES; i++)
                v[i] = load_b(in, (d + i) * KV_BLOCK_TOKENS + t, true);
            turn_16(v);
            for (size_t i = 0; i < LANES; i++)
                _mm512_storeu_ps(out + (t + i) * out_stride + d, v[i]);
        }
    }
}

void attention_tile_avx512(const struct attention_tile *tile)
{
    static const struct attention_ops ops = {
        .rows_max = ROWS_MAX,
        .product_f16 = product_f16_avx512,
        .product_f32 = product_f32_avx512,
        .softmax = softmax_avx512,
        .widen = widen_avx512,
        .widen_turned = widen_turned_avx512,
    };
    attention_tile_run(&ops, tile);
}
