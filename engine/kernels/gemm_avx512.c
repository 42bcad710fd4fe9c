/* Products for AVX-512 with VNNI; bits as gemm_scalar.c specifies.
 *
 * One vector of dwords is a quad of 4 columns of the panel's 16 rows, one vpdpbusd multiplies it
 * with 4 activations broadcast to all lanes: no sum across lanes, ever. vpdpbusd wants unsigned
 * weights, so quants stay unsigned and each sum starts at -bias * (sum of the activations).
 *
 * A tile is up to ROWS_MAX activation rows by one panel: its int and float sums stay in registers
 * and each line of weights is taken apart once for all of its rows. From EXPAND_ROWS rows on, a
 * slice of the panel is first expanded to bytes in a scratch that stays in L1 and serves all tiles.
 * What depends on activations alone (starting values, d * sum) is prepared once for all panels.
 *
 * The functions that take `dtype` and `n_rows` as constants are inlined into one instance each. */
#include <string.h>

#include "engine/kernels/gemm_avx512.h"
#include "engine/kernels/kernels_fill.h"
#include "engine/kernels/pack.h"

enum {
    ROWS_MAX = 8,         // of a tile: 8 int and 8 float sums leave room for weights and scales
    EXPAND_ROWS = 16,     // rows from which taking quants apart once for all tiles pays
    SLICE_BLOCKS = 32,    // blocks of an expanded slice of K: 16 KiB of quants
    PREFETCH_BYTES = 1536,
};

struct expanded {
    _Alignas(64) uint8_t quants[SLICE_BLOCKS][8][LINE_BYTES];
    _Alignas(64) float d[SLICE_BLOCKS][PANEL_ROWS];
    _Alignas(64) float m[2][SLICE_BLOCKS][PANEL_ROWS];  // minimums, or the sub-scales of Q6_K
};

/* ---- Tiles. ---- */

static ALWAYS_INLINE __m512i broadcast_quad(const int8_t *q)
{
    int32_t quad;
    memcpy(&quad, q, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* Tile t of the group, n_rows activation rows, by one panel. `e` NULL: straight from the panel;
 * otherwise scales come from e, and `panel` is quants as bytes, 512 a block. */
static ALWAYS_INLINE void tile(enum dtype dtype, bool is_expanded, const int n_rows,
                               const struct slice *s, size_t t, const uint8_t *panel,
                               const struct expanded *e, float *y, size_t y_stride)
{
    const bool has_min = panel_layout(dtype).has_min, halves = dtype == DTYPE_Q6_K;
    const enum dtype stored = is_expanded ? DTYPE_Q8_0 : dtype;
    size_t n = s->b_last - s->b_first, n_cols = s->x->n_cols;
    const int8_t *q = s->x->q + (s->first_row + slice_tile_row(s, t)) * n_cols + s->b_first * ACT_BLOCK;
    const struct tile_block *act = s->blocks + t * n;
    struct super_codes codes;
    __m512 acc[ROWS_MAX];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        acc[r] = s->b_first == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(y + (size_t)r * y_stride);
    for (size_t i = 0; i < n; i++, q += ACT_BLOCK, act++) {
        size_t b = s->b_first + i;
        const uint8_t *quants = is_expanded ? panel + i * 8 * LINE_BYTES
                                            : panel + panel_quants(dtype, b);
        __m512i sum[ROWS_MAX], high_sum[ROWS_MAX];
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            sum[r] = has_min ? _mm512_setzero_si512() : _mm512_set1_epi32(act->start[r]);
            high_sum[r] = halves ? _mm512_set1_epi32(act->start_high[r]) : _mm512_setzero_si512();
        }
        if (!is_expanded) {
#pragma GCC unroll 8
            for (size_t line = 0; line < panel_layout(dtype).quant_bytes; line += LINE_BYTES)
                _mm_prefetch((const char *)quants + PREFETCH_BYTES + line, _MM_HINT_T0);
        }
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i low, high;
            quad_pair(stored, quants, v, &low, &high);
#pragma GCC unroll 8
            for (int r = 0; r < n_rows; r++) {
                const int8_t *quad = q + (size_t)r * n_cols + 4 * v;
                sum[r] = _mm512_dpbusd_epi32(sum[r], low, broadcast_quad(quad));
                if (halves)
                    high_sum[r] = _mm512_dpbusd_epi32(high_sum[r], high, broadcast_quad(quad + 16));
                else
                    sum[r] = _mm512_dpbusd_epi32(sum[r], high, broadcast_quad(quad + 16));
            }
        }
        __m512 d, m[2];
        if (is_expanded) {
            d = _mm512_load_ps(e->d[i]);
            m[0] = _mm512_load_ps(e->m[0][i]);
            m[1] = _mm512_load_ps(e->m[1][i]);
        } else {
            block_scales(dtype, panel, b, s->n_blocks, &codes, &d, m);
        }
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(act->da[r]));
            __m512 value = _mm512_cvtepi32_ps(sum[r]);
            if (halves)
                value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high_sum[r]), m[1],
                                        _mm512_mul_ps(value, m[0]));
            acc[r] = _mm512_fmadd_ps(value, scale, acc[r]);
            if (has_min)
                acc[r] = _mm512_fmadd_ps(m[0], _mm512_set1_ps(act->dsum[r]), acc[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        _mm512_storeu_ps(y + (size_t)r * y_stride, acc[r]);
}

typedef void tile_fn(const struct slice *s, size_t t, const uint8_t *panel,
                     const struct expanded *e, float *y, size_t y_stride);

#define TILE(name, dtype, is_expanded, n_rows)                                                     \
    static void tile_##name##_##n_rows(const struct slice *s, size_t t, const uint8_t *panel,      \
                                       const struct expanded *e, float *y, size_t y_stride)        \
    {                                                                                              \
        tile(dtype, is_expanded, n_rows, s, t, panel, e, y, y_stride);                             \
    }
#define TILES(name, dtype, is_expanded)                                                            \
    TILE(name, dtype, is_expanded, 1)                                                              \
    TILE(name, dtype, is_expanded, 2)                                                              \
    TILE(name, dtype, is_expanded, 3)                                                              \
    TILE(name, dtype, is_expanded, 4)                                                              \
    TILE(name, dtype, is_expanded, 5)                                                              \
    TILE(name, dtype, is_expanded, 6)                                                              \
    TILE(name, dtype, is_expanded, 7)                                                              \
    TILE(name, dtype, is_expanded, 8)                                                              \
    static tile_fn *const tiles_##name[ROWS_MAX + 1] = {                                           \
        NULL,            tile_##name##_1, tile_##name##_2, tile_##name##_3, tile_##name##_4,       \
        tile_##name##_5, tile_##name##_6, tile_##name##_7, tile_##name##_8};

TILES(q4_0, DTYPE_Q4_0, false)
TILES(q4_1, DTYPE_Q4_1, false)
TILES(q5_0, DTYPE_Q5_0, false)
TILES(q5_1, DTYPE_Q5_1, false)
TILES(q8_0, DTYPE_Q8_0, false)
TILES(q4_k, DTYPE_Q4_K, false)
TILES(q5_k, DTYPE_Q5_K, false)
TILES(q6_k, DTYPE_Q6_K, false)
/* From expanded quants only the formula is left of the type. */
TILES(bytes, DTYPE_Q8_0, true)
TILES(bytes_min, DTYPE_Q4_1, true)
TILES(bytes_halves, DTYPE_Q6_K, true)

/* ---- The loops. ---- */

static ALWAYS_INLINE void expand(enum dtype dtype, const struct slice *s, const uint8_t *panel,
                                 struct expanded *e)
{
    struct super_codes codes;
    for (size_t b = s->b_first, i = 0; b < s->b_last; b++, i++) {
        __m512 d, m[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
        block_scales(dtype, panel, b, s->n_blocks, &codes, &d, m);
        _mm512_store_ps(e->d[i], d);
        _mm512_store_ps(e->m[0][i], m[0]);
        _mm512_store_ps(e->m[1][i], m[1]);
        if (dtype == DTYPE_Q8_0)
            continue;
        const uint8_t *quants = panel + panel_quants(dtype, b);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i low, high;
            quad_pair(dtype, quants, v, &low, &high);
            _mm512_store_si512(e->quants[i][v], low);
            _mm512_store_si512(e->quants[i][v + 4], high);
        }
    }
}

static void run_tiles(tile_fn *const tiles[], const struct slice *s, const uint8_t *panel,
                      const struct expanded *e, float *y, size_t y_stride)
{
    for (size_t t = 0; t < s->n_tiles; t++) {
        size_t row = slice_tile_row(s, t), n_rows = slice_tile_row(s, t + 1) - row;
        tiles[n_rows](s, t, panel, e, y + row * y_stride, y_stride);
    }
}

/* One group of rows and slice of K over all panels. */
static ALWAYS_INLINE void run_slice(enum dtype dtype, tile_fn *const tiles[],
                                    tile_fn *const tiles_expanded[], struct slice *s,
                                    const uint8_t *panels, size_t n_panels, float *y,
                                    size_t y_stride)
{
    struct expanded e;
    size_t panel_bytes = pack_panel_bytes(dtype, s->x->n_cols);
    slice_prepare(s, dtype, slice_even_rows(s->n_rows, ROWS_MAX));
    for (size_t p = 0; p < n_panels; p++, panels += panel_bytes, y += PANEL_ROWS) {
        if (s->n_rows < EXPAND_ROWS) {
            run_tiles(tiles, s, panels, NULL, y, y_stride);
            continue;
        }
        expand(dtype, s, panels, &e);
        const uint8_t *bytes = dtype == DTYPE_Q8_0 ? panels + panel_quants(dtype, s->b_first)
                                                   : e.quants[0][0];
        run_tiles(tiles_expanded, s, bytes, &e, y, y_stride);
    }
}

static ALWAYS_INLINE void gemm(enum dtype dtype, tile_fn *const tiles[],
                               tile_fn *const tiles_expanded[], const void *panels,
                               size_t n_panels, const struct q8_rows *x, size_t first_row,
                               size_t n_rows, float *y, size_t y_stride)
{
    struct slice s;
    s.x = x;
    s.n_blocks = x->n_cols / ACT_BLOCK;
    size_t group_rows = n_rows <= ROWS_MAX     ? ROWS_MAX
                        : n_rows < EXPAND_ROWS ? 2 * ROWS_MAX
                                               : TILE_BLOCKS / SLICE_BLOCKS * ROWS_MAX;
    size_t slice_blocks = TILE_BLOCKS * ROWS_MAX / group_rows / SUPER_BLOCKS * SUPER_BLOCKS;
    for (size_t row = 0; row < n_rows; row += group_rows) {
        s.first_row = first_row + row;
        s.n_rows = n_rows - row < group_rows ? n_rows - row : group_rows;
        for (s.b_first = 0; s.b_first < s.n_blocks; s.b_first = s.b_last) {
            s.b_last = s.n_blocks - s.b_first < slice_blocks ? s.n_blocks
                                                             : s.b_first + slice_blocks;
            run_slice(dtype, tiles, tiles_expanded, &s, panels, n_panels, y + row * y_stride,
                      y_stride);
        }
    }
}

#define QUANTISED(name, dtype, family)                                                             \
    void gemm_##name##_avx512(const void *panels, size_t n_panels, const struct q8_rows *x,        \
                              size_t first_row, size_t n_rows, float *y, size_t y_stride)          \
    {                                                                                              \
        gemm(dtype, tiles_##name, tiles_##family, panels, n_panels, x, first_row, n_rows, y,       \
             y_stride);                                                                            \
    }
QUANTISED(q4_0, DTYPE_Q4_0, bytes)
QUANTISED(q4_1, DTYPE_Q4_1, bytes_min)
QUANTISED(q5_0, DTYPE_Q5_0, bytes)
QUANTISED(q5_1, DTYPE_Q5_1, bytes_min)
QUANTISED(q8_0, DTYPE_Q8_0, bytes)
QUANTISED(q4_k, DTYPE_Q4_K, bytes_min)
QUANTISED(q5_k, DTYPE_Q5_K, bytes_min)
QUANTISED(q6_k, DTYPE_Q6_K, bytes_halves)

/* Half a block a vector; the specification is quantize_q8_scalar(). */
static void quantize_q8_avx512(const float *x, size_t n, int8_t *q, float *d, int32_t *sum)
{
    const __m512i abs_bits = _mm512_set1_epi32(0x7fffffff);
    const __m512 limit = _mm512_set1_ps(127.0f), negative = _mm512_set1_ps(-127.0f);
    for (size_t b = 0; b < n / ACT_BLOCK; b++, x += ACT_BLOCK, q += ACT_BLOCK) {
        __m512 half[2] = {_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)};
        __m512i bits[2];
        for (int i = 0; i < 2; i++)
            bits[i] = _mm512_and_si512(_mm512_castps_si512(half[i]), abs_bits);
        float max = f32_from_bits((uint32_t)_mm512_reduce_max_epi32(
            _mm512_max_epi32(bits[0], bits[1])));
        float inverse = 127.0f / max;
        if (max < QUANTIZE_MIN) {
            max = 0.0f;
            inverse = 0.0f;
        }
        uint32_t sums[2];
        for (int i = 0; i < 2; i++) {
            __m512 scaled = _mm512_mul_ps(half[i], _mm512_set1_ps(inverse));
            scaled = _mm512_max_ps(_mm512_min_ps(scaled, limit), negative);
            __m512i rounded = _mm512_cvtps_epi32(scaled);
            _mm_storeu_si128((__m128i *)(q + 16 * i), _mm512_cvtepi32_epi8(rounded));
            sums[i] = (uint32_t)_mm512_reduce_add_epi32(rounded);
        }
        d[b] = max / 127.0f;
        sum[b] = (int32_t)(sums[1] << 16 | (sums[0] & 0xffffu));
    }
}

/* ---- Float weights: even and odd columns in two chains. ---- */

static ALWAYS_INLINE __m512 float_line(enum dtype dtype, const uint8_t *panel, size_t col)
{
    if (dtype == DTYPE_F32)
        return _mm512_load_ps(panel + col * 64);
    __m256i halves = _mm256_load_si256((const __m256i *)(panel + col * 32));
    if (dtype == DTYPE_F16)
        return _mm512_cvtph_ps(halves);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

static ALWAYS_INLINE void float_tile(enum dtype dtype, const int n_rows, const uint8_t *panel,
                                     const float *x, size_t n_cols, float *y, size_t y_stride)
{
    __m512 even[ROWS_MAX], odd[ROWS_MAX];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        even[r] = odd[r] = _mm512_setzero_ps();
    size_t col = 0, line_bytes = dtype == DTYPE_F32 ? 64 : 32;
    for (; col + 2 <= n_cols; col += 2) {
        __m512 w0 = float_line(dtype, panel, col), w1 = float_line(dtype, panel, col + 1);
        _mm_prefetch((const char *)panel + col * line_bytes + PREFETCH_BYTES, _MM_HINT_T0);
        if (dtype == DTYPE_F32)
            _mm_prefetch((const char *)panel + col * 64 + 64 + PREFETCH_BYTES, _MM_HINT_T0);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            const float *at = x + (size_t)r * n_cols + col;
            even[r] = _mm512_fmadd_ps(w0, _mm512_set1_ps(at[0]), even[r]);
            odd[r] = _mm512_fmadd_ps(w1, _mm512_set1_ps(at[1]), odd[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++) {
        if (col < n_cols)
            even[r] = _mm512_fmadd_ps(float_line(dtype, panel, col),
                                      _mm512_set1_ps(x[(size_t)r * n_cols + col]), even[r]);
        _mm512_storeu_ps(y + (size_t)r * y_stride, _mm512_add_ps(even[r], odd[r]));
    }
}

static ALWAYS_INLINE void gemm_float(enum dtype dtype, const uint8_t *panels, size_t n_panels,
                                     const float *x, size_t n_cols, size_t n_rows, float *y,
                                     size_t y_stride)
{
    size_t panel_bytes = pack_panel_bytes(dtype, n_cols);
    for (size_t p = 0; p < n_panels; p++, panels += panel_bytes, y += PANEL_ROWS) {
        size_t n_tiles = (n_rows + ROWS_MAX - 1) / ROWS_MAX;
        for (size_t row = 0, left = n_tiles; left > 0; left--) {
            size_t rows = (n_rows - row + left - 1) / left;
            const float *from = x + row * n_cols;
            float *to = y + row * y_stride;
            switch (rows) {
            case 1: float_tile(dtype, 1, panels, from, n_cols, to, y_stride); break;
            case 2: float_tile(dtype, 2, panels, from, n_cols, to, y_stride); break;
            case 3: float_tile(dtype, 3, panels, from, n_cols, to, y_stride); break;
            case 4: float_tile(dtype, 4, panels, from, n_cols, to, y_stride); break;
            case 5: float_tile(dtype, 5, panels, from, n_cols, to, y_stride); break;
            case 6: float_tile(dtype, 6, panels, from, n_cols, to, y_stride); break;
            case 7: float_tile(dtype, 7, panels, from, n_cols, to, y_stride); break;
            default: float_tile(dtype, 8, panels, from, n_cols, to, y_stride); break;
            }
            row += rows;
        }
    }
}

#define FLOATING(name, dtype)                                                                      \
    static void gemm_##name##_avx512(const void *panels, size_t n_panels, const float *x,          \
                                     size_t n_cols, size_t n_rows, float *y, size_t y_stride)      \
    {                                                                                              \
        gemm_float(dtype, panels, n_panels, x, n_cols, n_rows, y, y_stride);                       \
    }
FLOATING(f16, DTYPE_F16)
FLOATING(bf16, DTYPE_BF16)
FLOATING(f32, DTYPE_F32)

void kernels_fill_gemm_avx512(struct kernels *kernels)
{
    kernels->gemm_q4_0 = gemm_q4_0_avx512;
    kernels->gemm_q4_1 = gemm_q4_1_avx512;
    kernels->gemm_q5_0 = gemm_q5_0_avx512;
    kernels->gemm_q5_1 = gemm_q5_1_avx512;
    kernels->gemm_q8_0 = gemm_q8_0_avx512;
    kernels->gemm_q4_k = gemm_q4_k_avx512;
    kernels->gemm_q5_k = gemm_q5_k_avx512;
    kernels->gemm_q6_k = gemm_q6_k_avx512;
    kernels->gemm_f16 = gemm_f16_avx512;
    kernels->gemm_bf16 = gemm_bf16_avx512;
    kernels->gemm_f32 = gemm_f32_avx512;
    kernels->quantize_q8 = quantize_q8_avx512;
}
