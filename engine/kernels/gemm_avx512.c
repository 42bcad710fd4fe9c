/* Products for AVX-512 with VNNI; bits as gemm_scalar.c specifies.
 *
 * One vector of dwords is a quad of 4 columns of the panel's 16 rows, one vpdpbusd multiplies it
 * with 4 activations broadcast to all lanes: no sum across lanes, ever. vpdpbusd wants unsigned
 * weights, so quants stay unsigned and each sum starts at -bias * (sum of the activations).
 *
 * A tile is up to 8 activation rows by one panel: its int and float sums stay in registers and each
 * line of weights is taken apart once for all of its rows. (Taking a panel apart once for more
 * rows, through a scratch in L1, was measured and gains nothing: the stores cost what the masks
 * cost.)
 *
 * The functions that take `dtype` or `n_rows` as constants are inlined into one instance each. */
#include <string.h>

#include "engine/kernels/gemm_avx512.h"
#include "engine/kernels/kernels_fill.h"
#include "engine/kernels/pack.h"

enum {
    ROWS_MAX = 8,   // 8 int and 8 float sums leave room for weights and scales
    FOLD_ROWS = 5,  // from here on the halves' scales of Q2_K go into the quants
    PREFETCH_BYTES = 1536,
    FAR_BYTES = 5120,  // into L2, which waits for memory with more lines at once than L1
};

/* ---- Tiles. ---- */

static ALWAYS_INLINE __m512i broadcast_quad(const int8_t *q)
{
    int32_t quad;
    memcpy(&quad, q, sizeof quad);
    return _mm512_set1_epi32(quad);
}

/* Scales of the halves of a block of Q2_K as factors of its quants, in pairs: 3 * 15 fits a byte,
 * so nothing crosses to the neighbour. The sums are the same integers as with the scales behind. */
static ALWAYS_INLINE void read_factors(enum dtype dtype, const uint8_t *panel, size_t b,
                                       __m512i factors[2])
{
    const uint8_t *sub = panel + panel_subscales(dtype, b) + b % SUPER_BLOCKS * 2 * PANEL_ROWS;
    for (size_t half = 0; half < 2; half++) {
        __m128i codes = _mm_load_si128((const __m128i *)(sub + half * PANEL_ROWS));
        codes = _mm_and_si128(codes, _mm_set1_epi8(15));
        __m512i wide = _mm512_cvtepu8_epi32(codes);
        factors[half] = _mm512_or_si512(wide, _mm512_slli_epi32(wide, 16));
    }
}

/* One row of Q4_K leaves the fetching to the CPU: its blocks lie in one stream, and whole models
 * decode 8 to 15 % faster (Zen 4); one row of the other types loses up to a quarter. */
static ALWAYS_INLINE bool streams_by_itself(enum dtype dtype)
{
    return dtype == DTYPE_Q4_K;
}

/* n_rows activation rows, from row `row` of the group, by one panel. */
static ALWAYS_INLINE void tile(enum dtype dtype, const int n_rows, const struct slice *s,
                               size_t row, const uint8_t *panel, float *y, size_t y_stride)
{
    const struct panel_layout layout = panel_layout(dtype);
    const bool folds = layout.scales == SCALE_HALF_MINS && n_rows >= FOLD_ROWS;
    const bool halves = scales_are_halves(layout.scales) && !folds;
    size_t n = s->b_last - s->b_first, n_cols = s->x->n_cols;
    const int8_t *q = s->x->q + (s->first_row + row) * n_cols + s->b_first * ACT_BLOCK;
    struct super_codes codes;
    __m512 acc[ROWS_MAX];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        acc[r] = s->b_first == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(y + (size_t)r * y_stride);
    for (size_t i = 0; i < n; i++, q += ACT_BLOCK) {
        const uint8_t *quants = panel + panel_quants(dtype, s->b_first + i);
        __m512i sum[ROWS_MAX], high_sum[ROWS_MAX];
        if (n_rows > 1 || !streams_by_itself(dtype))
            slice_prefetch(s, dtype, panel, i, PREFETCH_BYTES, FAR_BYTES);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            sum[r] = high_sum[r] = _mm512_setzero_si512();
            if (!layout.has_min)
                sum[r] = _mm512_set1_epi32(s->start[row + (size_t)r][i]);
            if (halves && !layout.has_min)
                high_sum[r] = _mm512_set1_epi32(s->start_high[row + (size_t)r][i]);
        }
        __m512i factors[2];
        if (folds)
            read_factors(dtype, panel, s->b_first + i, factors);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i low, high;
            quad_pair(dtype, quants, v, &low, &high);
            if (folds) {
                low = _mm512_mullo_epi16(low, factors[0]);
                high = _mm512_mullo_epi16(high, factors[1]);
            }
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
        struct block_scales scales;
        read_scales(dtype, panel, s->b_first + i, s->n_blocks, &codes, &scales);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            __m512 value = _mm512_cvtepi32_ps(sum[r]);
            if (halves)
                value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(high_sum[r]), scales.sub[1],
                                        _mm512_mul_ps(value, scales.sub[0]));
            const size_t at = row + (size_t)r;
            acc[r] = add_block(dtype, &scales, value, s->da[at][i], s->dsum[at][i], s->sums[at][i],
                               acc[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        _mm512_storeu_ps(y + (size_t)r * y_stride, acc[r]);
}

static ALWAYS_INLINE void run_slice(enum dtype dtype, const struct slice *s, const uint8_t *panels,
                                    size_t n_panels, float *y, size_t y_stride)
{
    for (size_t p = 0; p < n_panels; p++, panels += s->panel_bytes, y += PANEL_ROWS) {
        for (size_t row = 0; row < s->n_rows; row += s->tile_rows) {
            size_t left = s->n_rows - row;
            float *to = y + row * y_stride;
            switch (left < s->tile_rows ? left : s->tile_rows) {
            case 1:
                tile(dtype, 1, s, row, panels, to, y_stride);
                break;
            case 2:
                tile(dtype, 2, s, row, panels, to, y_stride);
                break;
            case 3:
                tile(dtype, 3, s, row, panels, to, y_stride);
                break;
            case 4:
                tile(dtype, 4, s, row, panels, to, y_stride);
                break;
            case 5:
                tile(dtype, 5, s, row, panels, to, y_stride);
                break;
            case 6:
                tile(dtype, 6, s, row, panels, to, y_stride);
                break;
            case 7:
                tile(dtype, 7, s, row, panels, to, y_stride);
                break;
            default:
                tile(dtype, 8, s, row, panels, to, y_stride);
                break;
            }
        }
    }
}

#define QUANTISED(name, type)                                                                      \
    static void slice_##name(const struct slice *s, const uint8_t *panels, size_t n_panels,        \
                             float *y, size_t y_stride)                                            \
    {                                                                                              \
        run_slice(DTYPE_##type, s, panels, n_panels, y, y_stride);                                 \
    }                                                                                              \
    void gemm_##name##_avx512(const void *panels, size_t n_panels, const struct q8_rows *x,        \
                              size_t first_row, size_t n_rows, float *y, size_t y_stride)          \
    {                                                                                              \
        each_slice(DTYPE_##type, ROWS_MAX, slice_##name, panels, n_panels, x, first_row, n_rows,   \
                   y, y_stride);                                                                   \
    }
GEMM_Q8_TYPES(QUANTISED)

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
        float max =
            f32_from_bits((uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(bits[0], bits[1])));
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
            case 1:
                float_tile(dtype, 1, panels, from, n_cols, to, y_stride);
                break;
            case 2:
                float_tile(dtype, 2, panels, from, n_cols, to, y_stride);
                break;
            case 3:
                float_tile(dtype, 3, panels, from, n_cols, to, y_stride);
                break;
            case 4:
                float_tile(dtype, 4, panels, from, n_cols, to, y_stride);
                break;
            case 5:
                float_tile(dtype, 5, panels, from, n_cols, to, y_stride);
                break;
            case 6:
                float_tile(dtype, 6, panels, from, n_cols, to, y_stride);
                break;
            case 7:
                float_tile(dtype, 7, panels, from, n_cols, to, y_stride);
                break;
            default:
                float_tile(dtype, 8, panels, from, n_cols, to, y_stride);
                break;
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
#define FILL(name, type) kernels->gemm_q8[DTYPE_##type] = gemm_##name##_avx512;
    GEMM_Q8_TYPES(FILL)
    GEMM_Q8_ALIASES(FILL)
#undef FILL
    kernels->gemm_float[DTYPE_F16] = gemm_f16_avx512;
    kernels->gemm_float[DTYPE_BF16] = gemm_bf16_avx512;
    kernels->gemm_float[DTYPE_F32] = gemm_f32_avx512;
    kernels->quantize_q8 = quantize_q8_avx512;
}
