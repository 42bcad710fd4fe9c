/* Attention over one tile with AVX-512; equal to attention_scalar.c bit for bit.
 *
 * The product keeps a block of rows x columns in registers: 8 rows x 32 columns, or 4 rows x 64,
 * so that each vector of K or V is loaded (and widened) once for all rows of the block, and 16
 * chains of fma hide each other's latency. The shapes are one inline function with constant bounds,
 * instantiated by the switch in product(). */
#include "engine/kernels/attention_ops.h"
#include "engine/kernels/kernel_math_avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS_MAX = 8, LANES = 16 };

INLINE __m512 load_b(const void *b, size_t at, bool is_f16)
{
    if (is_f16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)b + at)));
    return _mm512_loadu_ps((const float *)b + at);
}

/* Columns [column, column + 16 * n_vectors) of all n_rows rows. */
INLINE void product_block(const struct attention_product *p, size_t column, int n_rows,
                          int n_vectors, bool is_f16)
{
    const float *a[ROWS_MAX];
    __m512 sum[ROWS_MAX][4];
    for (int i = 0; i < n_rows; i++) {
        const float *c = p->c[i] + p->c_first + column;
        a[i] = p->a[i] + p->a_first;
        for (int j = 0; j < n_vectors; j++) {
            sum[i][j] = _mm512_setzero_ps();
            if (p->scale)
                sum[i][j] = _mm512_mul_ps(_mm512_loadu_ps(c + j * LANES),
                                          _mm512_set1_ps(p->scale[i]));
        }
    }
    size_t at = column;
    for (size_t k = 0; k < p->n_k; k++, at += p->b_stride) {
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
        float *c = p->c[i] + p->c_first + column;
        for (int j = 0; j < n_vectors; j++)
            _mm512_storeu_ps(c + j * LANES, sum[i][j]);
    }
}

/* All columns, in the widest blocks that the registers hold. */
INLINE void product_rows(const struct attention_product *p, int n_rows, bool is_f16)
{
    size_t column = 0;
    if (n_rows <= 6) {
        for (; column + 4 * LANES <= p->n_columns; column += 4 * LANES)
            product_block(p, column, n_rows, 4, is_f16);
    }
    for (; column + 2 * LANES <= p->n_columns; column += 2 * LANES)
        product_block(p, column, n_rows, 2, is_f16);
    for (; column < p->n_columns; column += LANES)
        product_block(p, column, n_rows, 1, is_f16);
}

INLINE void product(const struct attention_product *p, size_t n_rows, bool is_f16)
{
    switch (n_rows) {
    case 1: product_rows(p, 1, is_f16); break;
    case 2: product_rows(p, 2, is_f16); break;
    case 3: product_rows(p, 3, is_f16); break;
    case 4: product_rows(p, 4, is_f16); break;
    case 5: product_rows(p, 5, is_f16); break;
    case 6: product_rows(p, 6, is_f16); break;
    case 7: product_rows(p, 7, is_f16); break;
    case 8: product_rows(p, 8, is_f16); break;
    default: break;
    }
}

static void product_f16_avx512(const struct attention_product *p, size_t n_rows)
{
    product(p, n_rows, true);
}

static void product_f32_avx512(const struct attention_product *p, size_t n_rows)
{
    product(p, n_rows, false);
}

/* Up to 16 rows; their m, l and c are one vector each. */
static void softmax_16_rows(const struct attention_softmax *x, size_t row, size_t n_rows)
{
    float maxima[LANES], sums[LANES], m_new[LANES];
    const __m512 lowest = _mm512_set1_ps(-INFINITY);
    __mmask16 rows = mask_first_avx512(n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        const float *s = x->s[row + i];
        uint32_t seen = (uint32_t)(((1ull << x->n_visible[row + i]) - 1) << x->n_first[row + i]);
        __m512 low = _mm512_mask_loadu_ps(lowest, (__mmask16)seen, s);
        __m512 high = _mm512_mask_loadu_ps(lowest, (__mmask16)(seen >> 16), s + LANES);
        maxima[i] = math_max_lanes_avx512(_mm512_max_ps(low, high));
    }
    __m512 m_old = _mm512_maskz_loadu_ps(rows, x->m + row);
    __m512 m = _mm512_max_ps(_mm512_maskz_loadu_ps(rows, maxima), m_old);
    __m512 c = math_exp_avx512(_mm512_sub_ps(m_old, m));
    _mm512_storeu_ps(m_new, m);
    _mm512_mask_storeu_ps(x->m + row, rows, m);
    _mm512_mask_storeu_ps(x->c + row, rows, c);
    for (size_t i = 0; i < n_rows; i++) {
        float *s = x->s[row + i];
        uint32_t seen = (uint32_t)(((1ull << x->n_visible[row + i]) - 1) << x->n_first[row + i]);
        __m512 shift = _mm512_set1_ps(m_new[i]);
        __m512 low = math_exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(s), shift));
        __m512 high = math_exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(s + LANES), shift));
        low = _mm512_maskz_mov_ps((__mmask16)seen, low);
        high = _mm512_maskz_mov_ps((__mmask16)(seen >> 16), high);
        _mm512_storeu_ps(s, low);
        _mm512_storeu_ps(s + LANES, high);
        sums[i] = math_sum_lanes_avx512(_mm512_add_ps(low, high));
    }
    __m512 l = _mm512_maskz_loadu_ps(rows, x->l + row);
    l = _mm512_fmadd_ps(l, c, _mm512_maskz_loadu_ps(rows, sums));
    _mm512_mask_storeu_ps(x->l + row, rows, l);
}

static void softmax_avx512(const struct attention_softmax *x, size_t n_rows)
{
    for (size_t row = 0; row < n_rows; row += LANES)
        softmax_16_rows(x, row, n_rows - row < LANES ? n_rows - row : LANES);
}

static void widen_avx512(const uint16_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += LANES)
        _mm512_storeu_ps(out + i, load_b(in, i, true));
}

void attention_tile_avx512(const struct attention_tile *tile)
{
    static const struct attention_ops ops = {
        .rows_max = ROWS_MAX,
        .product_f16 = product_f16_avx512,
        .product_f32 = product_f32_avx512,
        .softmax = softmax_avx512,
        .widen = widen_avx512,
    };
    attention_tile_run(&ops, tile);
}
