/* Products for AVX2 with FMA and F16C; bits as gemm_scalar.c specifies.
 *
 * A line of weights is two vectors, output rows 0..7 and 8..15. maddubs multiplies unsigned weights
 * with signed activations and adds pairs in int16, which saturates: pairs_max() says how many of
 * them fit (the nibbles of a whole block: 8 * 2 * 15 * 127 = 30,480). Quants above 128 (Q8_0 and
 * the table of IQ4) are made signed and move their sign to the activations first (2 * 128 * 127 =
 * 32,512; 128 is |-128| as an unsigned byte).
 *
 * With 16 registers a tile is 1 or 2 activation rows by a whole panel, or 3 or 4 by each half of it
 * in turn. Each `dtype` and row count is inlined into an instance of its own. */
#include <immintrin.h>
#include <string.h>

#include "engine/kernels/gemm_tiles.h"
#include "engine/kernels/kernels_fill.h"
#include "engine/kernels/pack.h"

enum { ROWS_MAX = 4, HALF_LINE = 32, PREFETCH_BYTES = 1024 };

/* ---- Taking weights apart. `quants` points at the wanted half of the block's first line. ---- */

static ALWAYS_INLINE __m256i load_half(const uint8_t *quants, int line)
{
    return _mm256_load_si256((const __m256i *)(quants + line * LINE_BYTES));
}

/* Bytes shifted within words: what crosses from byte to byte must be masked off. */
static ALWAYS_INLINE __m256i shift_line(__m256i line, int left)
{
    return left >= 0 ? _mm256_slli_epi16(line, left) : _mm256_srli_epi16(line, -left);
}

/* Quads v and v + 4 of 8 output rows, unsigned. */
static ALWAYS_INLINE void quad_pair(enum dtype dtype, const uint8_t *quants, int v, __m256i *low,
                                    __m256i *high)
{
    const struct panel_layout layout = panel_layout(dtype);
    const __m256i nibble = _mm256_set1_epi8(15), pair = _mm256_set1_epi8(3);
    if (layout.bits == 8) {
        *low = load_half(quants, v);
        *high = load_half(quants, v + 4);
        return;
    }
    if (layout.bits < 4) {
        *low = _mm256_and_si256(shift_line(load_half(quants, 0), -2 * v), pair);
        *high = _mm256_and_si256(shift_line(load_half(quants, 1), -2 * v), pair);
    } else {
        __m256i packed = load_half(quants, v);
        *low = _mm256_and_si256(packed, nibble);
        *high = _mm256_and_si256(_mm256_srli_epi16(packed, 4), nibble);
    }
    const int upper = layout.bits < 4 ? 2 : 4;
    if (layout.bits == 3 || layout.bits == 5) {
        const int to = (int)layout.bits - 1;
        const __m256i bit = _mm256_set1_epi8((char)(1 << to));
        __m256i bits = load_half(quants, upper);
        *low = _mm256_or_si256(*low, _mm256_and_si256(shift_line(bits, to - v), bit));
        *high = _mm256_or_si256(*high, _mm256_and_si256(shift_line(bits, to - v - 4), bit));
    }
    if (layout.bits == 6) {
        const __m256i upper_pair = _mm256_set1_epi8(48);
        __m256i first = shift_line(load_half(quants, upper), 4 - 2 * v);
        __m256i second = shift_line(load_half(quants, upper + 1), 4 - 2 * v);
        *low = _mm256_or_si256(*low, _mm256_and_si256(first, upper_pair));
        *high = _mm256_or_si256(*high, _mm256_and_si256(second, upper_pair));
    }
    if (layout.table != TABLE_NONE) {
        const void *entries = quant_tables[layout.table];
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)entries));
        *low = _mm256_shuffle_epi8(table, *low);
        *high = _mm256_shuffle_epi8(table, *high);
    }
}

static ALWAYS_INLINE __m256 widen_f16(const uint8_t *halves)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves));
}

static ALWAYS_INLINE __m256 widen_bytes(const uint8_t *bytes, bool is_signed)
{
    __m128i packed = _mm_loadl_epi64((const __m128i *)bytes);
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(packed)
                                        : _mm256_cvtepu8_epi32(packed));
}

/* As a half-float the seven bits mean 2^-8 times the e4m3; half of that is wanted. */
static ALWAYS_INLINE __m256 widen_e4m3(const uint8_t *bytes)
{
    __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)bytes));
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(wide, 7)), _mm256_set1_ps(128.0f));
}

static ALWAYS_INLINE void unpack_6bit(const uint8_t *packed, struct super_codes *out)
{
    const __m256i six = _mm256_set1_epi8(63), four = _mm256_set1_epi8(15);
    const __m256i two = _mm256_set1_epi8(48);
    for (int i = 0; i < 2; i++) {
        const __m256i *from = (const __m256i *)(packed + i * 32);
        __m256i a = _mm256_load_si256(from), b = _mm256_load_si256(from + 2);
        __m256i c = _mm256_load_si256(from + 4);
        __m256i a_high = _mm256_and_si256(_mm256_srli_epi16(a, 2), two);
        __m256i b_high = _mm256_and_si256(_mm256_srli_epi16(b, 2), two);
        __m256i c_high = _mm256_and_si256(_mm256_srli_epi16(c, 4), four);
        __m256i *scales = (__m256i *)(out->scales + i * 32);
        __m256i *mins = (__m256i *)(out->mins + i * 32);
        _mm256_store_si256(scales, _mm256_and_si256(a, six));
        _mm256_store_si256(scales + 2, _mm256_or_si256(_mm256_and_si256(c, four), a_high));
        _mm256_store_si256(mins, _mm256_and_si256(b, six));
        _mm256_store_si256(mins + 2, _mm256_or_si256(c_high, b_high));
    }
}

/* Scales of one block for 8 output rows; of sub, m and mins what the type has (see struct
 * panel_block), mins as pairs of int16. */
struct block_scales {
    __m256 d, m, sub[2];
    __m256i mins;
};

/* d for 8 output rows from `half` * 8. */
static ALWAYS_INLINE __m256 read_d(enum dtype dtype, const uint8_t *scales, size_t half)
{
    const struct panel_layout layout = panel_layout(dtype);
    if (layout.scales != SCALE_E8M0) {
        __m256 d = widen_f16(scales + half * 16);
        return layout.unit == 1.0f ? d : _mm256_mul_ps(d, _mm256_set1_ps(layout.unit));
    }
    /* 2^(e - 128): the exponent of a float, less one; below, a denormal. */
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(scales + half * 8)));
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i denormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __m256i is_denormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, denormal, is_denormal));
}

/* Scales of block b for 8 output rows from `half` * 8. */
static ALWAYS_INLINE void read_scales(enum dtype dtype, const uint8_t *panel, size_t b,
                                      size_t n_blocks, size_t half, const struct super_codes *codes,
                                      struct block_scales *out)
{
    const struct panel_layout layout = panel_layout(dtype);
    const uint8_t *scales = panel + panel_scales(dtype, b, n_blocks);
    const uint8_t *sub = panel + panel_subscales(dtype, b) + half * 8;
    const size_t i = b % layout.group_blocks, at = i * PANEL_ROWS + half * 8;
    out->d = layout.scales == SCALE_E4M3 ? _mm256_set1_ps(1.0f) : read_d(dtype, scales, half);
    if (layout.has_min)
        out->m = widen_f16(scales + 32 + half * 16);
    if (layout.scales == SCALE_SIX_BITS) {
        out->d = _mm256_mul_ps(out->d, widen_bytes(codes->scales + at, false));
        out->m = _mm256_xor_ps(out->m, _mm256_set1_ps(-0.0f));
        out->m = _mm256_mul_ps(out->m, widen_bytes(codes->mins + at, false));
    } else if (layout.scales == SCALE_BLOCKS) {
        out->d = _mm256_mul_ps(out->d, widen_bytes(sub + i * PANEL_ROWS, true));
    } else if (layout.scales == SCALE_HALVES) {
        sub += 2 * i * PANEL_ROWS;
        out->sub[0] = widen_bytes(sub, true);
        out->sub[1] = widen_bytes(sub + PANEL_ROWS, true);
    } else if (layout.scales == SCALE_E4M3) {
        sub += 2 * i * PANEL_ROWS;
        out->sub[0] = widen_e4m3(sub);
        out->sub[1] = widen_e4m3(sub + PANEL_ROWS);
    } else if (layout.scales == SCALE_HALF_MINS) {
        const __m256i nibble = _mm256_set1_epi32(15);
        __m256i code[2];
        for (size_t part = 0; part < 2; part++) {
            const uint8_t *from = sub + (2 * i + part) * PANEL_ROWS;
            code[part] = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
            out->sub[part] = _mm256_cvtepi32_ps(_mm256_and_si256(code[part], nibble));
        }
        out->mins = _mm256_or_si256(_mm256_srli_epi32(code[0], 4),
                                    _mm256_slli_epi32(_mm256_srli_epi32(code[1], 4), 16));
        out->m = _mm256_xor_ps(out->m, _mm256_set1_ps(-0.0f));
    }
}

/* One block added to the sums of one row: `value` the scaled sum of products, `dsum` da times the
 * sum of activations or, for HALF_MINS, `sums` both sums as struct q8_rows has them. */
static ALWAYS_INLINE __m256 add_block(enum dtype dtype, const struct block_scales *scales,
                                      __m256 value, float da, float dsum, int32_t sums, __m256 acc)
{
    const struct panel_layout layout = panel_layout(dtype);
    if (layout.scales == SCALE_HALF_MINS) {
        __m256i sum = _mm256_madd_epi16(scales->mins, _mm256_set1_epi32(sums));
        __m256 min = _mm256_mul_ps(scales->m, _mm256_cvtepi32_ps(sum));
        value = _mm256_fmadd_ps(value, scales->d, min);
        return _mm256_fmadd_ps(value, _mm256_set1_ps(da), acc);
    }
    acc = _mm256_fmadd_ps(value, _mm256_mul_ps(scales->d, _mm256_set1_ps(da)), acc);
    return layout.has_min ? _mm256_fmadd_ps(scales->m, _mm256_set1_ps(dsum), acc) : acc;
}

/* ---- Sums of one block: 8 output rows by one activation row. ---- */

static ALWAYS_INLINE __m256i broadcast_quad(const int8_t *q)
{
    int32_t quad;
    memcpy(&quad, q, sizeof quad);
    return _mm256_set1_epi32(quad);
}

/* Quants too large for an unsigned factor are multiplied signed. */
static ALWAYS_INLINE bool multiplies_signed(enum dtype dtype)
{
    return panel_layout(dtype).quant_max > 128;
}

/* How many pairs of products fit one int16. */
static ALWAYS_INLINE int pairs_max(enum dtype dtype)
{
    return multiplies_signed(dtype) ? 1 : INT16_MAX / (2 * 127 * panel_layout(dtype).quant_max);
}

static ALWAYS_INLINE __m256i pair_products(enum dtype dtype, __m256i weights, __m256i activations)
{
    if (multiplies_signed(dtype)) {
        __m256i is_signed = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));  // bias 128
        weights = _mm256_abs_epi8(is_signed);
        activations = _mm256_sign_epi8(activations, is_signed);
    }
    return _mm256_maddubs_epi16(weights, activations);
}

static ALWAYS_INLINE __m256i widen_pairs(__m256i pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* Adds the products of quads v and v + 4 to the sums: in int16, which begin at v = 0, while the
 * type allows it. sum_high is the second half of the block, of types that scale halves. */
static ALWAYS_INLINE void add_quads(enum dtype dtype, int v, __m256i low, __m256i high,
                                    const int8_t *q, __m256i sum16[2], __m256i *sum,
                                    __m256i *sum_high)
{
    const bool halves = scales_are_halves(panel_layout(dtype).scales);
    const int fits = pairs_max(dtype), run = fits >= 4 ? 4 : fits >= 2 ? 2 : 1;
    const bool begins = v % run == 0, ends = v % run == run - 1;
    __m256i a = pair_products(dtype, low, broadcast_quad(q + 4 * v));
    __m256i b = pair_products(dtype, high, broadcast_quad(q + 16 + 4 * v));
    if (fits >= 8 && !halves) {
        a = _mm256_add_epi16(a, b);
        sum16[0] = begins ? a : _mm256_add_epi16(sum16[0], a);
        if (ends)
            *sum = _mm256_add_epi32(*sum, widen_pairs(sum16[0]));
        return;
    }
    sum16[0] = begins ? a : _mm256_add_epi16(sum16[0], a);
    sum16[1] = begins ? b : _mm256_add_epi16(sum16[1], b);
    if (!ends)
        return;
    if (halves) {
        *sum = _mm256_add_epi32(*sum, widen_pairs(sum16[0]));
        *sum_high = _mm256_add_epi32(*sum_high, widen_pairs(sum16[1]));
        return;
    }
    __m256i both = _mm256_add_epi32(widen_pairs(sum16[0]), widen_pairs(sum16[1]));
    *sum = _mm256_add_epi32(*sum, both);
}

/* ---- Tiles. ---- */

/* n_rows activation rows, from row `row` of the group, by output rows 8 * half and on of the panel,
 * 8 or 16 of them. */
static ALWAYS_INLINE void tile(enum dtype dtype, const int n_rows, const int n_halves,
                               const struct slice *s, size_t row, size_t half, const uint8_t *panel,
                               float *y, size_t y_stride)
{
    const struct panel_layout layout = panel_layout(dtype);
    const bool halves = scales_are_halves(layout.scales);
    const bool has_start = !layout.has_min && !multiplies_signed(dtype);
    size_t n = s->b_last - s->b_first, n_cols = s->x->n_cols;
    const int8_t *q = s->x->q + (s->first_row + row) * n_cols + s->b_first * ACT_BLOCK;
    struct super_codes codes;
    __m256 acc[ROWS_MAX][2];
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++) {
#pragma GCC unroll 2
        for (int h = 0; h < n_halves; h++)
            acc[r][h] = s->b_first == 0 ? _mm256_setzero_ps()
                                        : _mm256_loadu_ps(y + (size_t)r * y_stride + h * 8);
    }
    for (size_t i = 0; i < n; i++, q += ACT_BLOCK) {
        size_t b = s->b_first + i;
        const uint8_t *quants = panel + panel_quants(dtype, b) + half * HALF_LINE;
        if (layout.scales == SCALE_SIX_BITS && b % SUPER_BLOCKS == 0)
            unpack_6bit(panel + panel_subscales(dtype, b), &codes);
        if (half == 0)
            slice_prefetch(s, dtype, panel, i, PREFETCH_BYTES, 0);
#pragma GCC unroll 2
        for (int h = 0; h < n_halves; h++) {
            __m256i sum[ROWS_MAX], sum_high[ROWS_MAX], sum16[ROWS_MAX][2];
#pragma GCC unroll 4
            for (int r = 0; r < n_rows; r++) {
                sum[r] = sum_high[r] = _mm256_setzero_si256();
                if (has_start)
                    sum[r] = _mm256_set1_epi32(s->start[row + (size_t)r][i]);
                if (has_start && halves)
                    sum_high[r] = _mm256_set1_epi32(s->start_high[row + (size_t)r][i]);
            }
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++) {
                __m256i low, high;
                quad_pair(dtype, quants + h * HALF_LINE, v, &low, &high);
#pragma GCC unroll 4
                for (int r = 0; r < n_rows; r++)
                    add_quads(dtype, v, low, high, q + (size_t)r * n_cols, sum16[r], &sum[r],
                              &sum_high[r]);
            }
            struct block_scales scales;
            read_scales(dtype, panel, b, s->n_blocks, half + (size_t)h, &codes, &scales);
#pragma GCC unroll 4
            for (int r = 0; r < n_rows; r++) {
                __m256 value = _mm256_cvtepi32_ps(sum[r]);
                if (halves)
                    value = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum_high[r]), scales.sub[1],
                                            _mm256_mul_ps(value, scales.sub[0]));
                const size_t at = row + (size_t)r;
                acc[r][h] = add_block(dtype, &scales, value, s->da[at][i], s->dsum[at][i],
                                      s->sums[at][i], acc[r][h]);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++) {
#pragma GCC unroll 2
        for (int h = 0; h < n_halves; h++)
            _mm256_storeu_ps(y + (size_t)r * y_stride + h * 8, acc[r][h]);
    }
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
                tile(dtype, 1, 2, s, row, 0, panels, to, y_stride);
                break;
            case 2:
                tile(dtype, 2, 2, s, row, 0, panels, to, y_stride);
                break;
            case 3:
                for (size_t half = 0; half < 2; half++)
                    tile(dtype, 3, 1, s, row, half, panels, to + half * 8, y_stride);
                break;
            default:
                for (size_t half = 0; half < 2; half++)
                    tile(dtype, 4, 1, s, row, half, panels, to + half * 8, y_stride);
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
    static void gemm_##name##_avx2(const void *panels, size_t n_panels, const struct q8_rows *x,   \
                                   size_t first_row, size_t n_rows, float *y, size_t y_stride)     \
    {                                                                                              \
        each_slice(DTYPE_##type, ROWS_MAX, slice_##name, panels, n_panels, x, first_row, n_rows,   \
                   y, y_stride);                                                                   \
    }
GEMM_Q8_TYPES(QUANTISED)

/* Eight elements a vector; the specification is quantize_q8_scalar(). */
static void quantize_q8_avx2(const float *x, size_t n, int8_t *q, float *d, int32_t *sum)
{
    const __m256i abs_bits = _mm256_set1_epi32(0x7fffffff), ones8 = _mm256_set1_epi8(1);
    const __m256 limit = _mm256_set1_ps(127.0f), negative = _mm256_set1_ps(-127.0f);
    const __m256i lanes = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undoes the packs
    for (size_t b = 0; b < n / ACT_BLOCK; b++, x += ACT_BLOCK, q += ACT_BLOCK) {
        __m256 v[4];
        __m256i bits = _mm256_setzero_si256(), rounded[4];
        for (int i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + 8 * i);
            __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(v[i]), abs_bits);
            bits = _mm256_max_epi32(bits, magnitude);
        }
        __m128i most =
            _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
        most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
        most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
        float max = f32_from_bits((uint32_t)_mm_cvtsi128_si32(most)), inverse = 127.0f / max;
        if (max < QUANTIZE_MIN) {
            max = 0.0f;
            inverse = 0.0f;
        }
        for (int i = 0; i < 4; i++) {
            __m256 scaled = _mm256_mul_ps(v[i], _mm256_set1_ps(inverse));
            scaled = _mm256_max_ps(_mm256_min_ps(scaled, limit), negative);
            rounded[i] = _mm256_cvtps_epi32(scaled);
        }
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]),
                                           _mm256_packs_epi32(rounded[2], rounded[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, lanes);
        _mm256_storeu_si256((__m256i *)q, bytes);
        /* 128-bit half i holds elements 16i..16i+15: the halves' sums fall out side by side. */
        __m256i fours = widen_pairs(_mm256_maddubs_epi16(ones8, bytes));
        fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0x4e));
        fours = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0xb1));
        uint32_t low = (uint32_t)_mm256_extract_epi32(fours, 0);
        uint32_t high = (uint32_t)_mm256_extract_epi32(fours, 4);
        d[b] = max / 127.0f;
        sum[b] = (int32_t)(high << 16 | (low & 0xffffu));
    }
}

/* ---- Float weights: even and odd columns in two chains. ---- */

static ALWAYS_INLINE __m256 float_line(enum dtype dtype, const uint8_t *panel, size_t col,
                                       size_t half)
{
    size_t at = col * PANEL_ROWS + half * 8;
    if (dtype == DTYPE_F32)
        return _mm256_load_ps((const float *)(const void *)(panel + 4 * at));
    __m128i halves = _mm_load_si128((const __m128i *)(panel + 2 * at));
    if (dtype == DTYPE_F16)
        return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

static ALWAYS_INLINE void float_tile(enum dtype dtype, const int n_rows, const int n_halves,
                                     const uint8_t *panel, size_t half, const float *x,
                                     size_t n_cols, float *y, size_t y_stride)
{
    __m256 chain[2][ROWS_MAX][2];
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++) {
        for (int h = 0; h < 2; h++)
            chain[0][r][h] = chain[1][r][h] = _mm256_setzero_ps();
    }
    for (size_t col = 0; col + 2 <= n_cols; col += 2) {
#pragma GCC unroll 2
        for (int odd = 0; odd < 2; odd++) {
#pragma GCC unroll 2
            for (int h = 0; h < n_halves; h++) {
                __m256 w = float_line(dtype, panel, col + (size_t)odd, half + (size_t)h);
#pragma GCC unroll 4
                for (int r = 0; r < n_rows; r++) {
                    __m256 at = _mm256_set1_ps(x[(size_t)r * n_cols + col + (size_t)odd]);
                    chain[odd][r][h] = _mm256_fmadd_ps(w, at, chain[odd][r][h]);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < n_rows; r++) {
#pragma GCC unroll 2
        for (int h = 0; h < n_halves; h++) {
            if (n_cols % 2 != 0)
                chain[0][r][h] = _mm256_fmadd_ps(
                    float_line(dtype, panel, n_cols - 1, half + (size_t)h),
                    _mm256_set1_ps(x[(size_t)r * n_cols + n_cols - 1]), chain[0][r][h]);
            _mm256_storeu_ps(y + (size_t)r * y_stride + (half + (size_t)h) * 8,
                             _mm256_add_ps(chain[0][r][h], chain[1][r][h]));
        }
    }
}

static ALWAYS_INLINE void gemm_float(enum dtype dtype, const uint8_t *panels, size_t n_panels,
                                     const float *x, size_t n_cols, size_t n_rows, float *y,
                                     size_t y_stride)
{
    size_t panel_bytes = pack_panel_bytes(dtype, n_cols);
    for (size_t p = 0; p < n_panels; p++, panels += panel_bytes, y += PANEL_ROWS) {
        for (size_t row = 0; row < n_rows;) {
            const float *from = x + row * n_cols;
            float *to = y + row * y_stride;
            size_t left = n_rows - row;
            if (left >= ROWS_MAX) {
                float_tile(dtype, 4, 1, panels, 0, from, n_cols, to, y_stride);
                float_tile(dtype, 4, 1, panels, 1, from, n_cols, to, y_stride);
                row += 4;
            } else if (left >= 2) {
                float_tile(dtype, 2, 2, panels, 0, from, n_cols, to, y_stride);
                row += 2;
            } else {
                float_tile(dtype, 1, 2, panels, 0, from, n_cols, to, y_stride);
                row += 1;
            }
        }
    }
}

#define FLOATING(name, dtype)                                                                      \
    static void gemm_##name##_avx2(const void *panels, size_t n_panels, const float *x,            \
                                   size_t n_cols, size_t n_rows, float *y, size_t y_stride)        \
    {                                                                                              \
        gemm_float(dtype, panels, n_panels, x, n_cols, n_rows, y, y_stride);                       \
    }
FLOATING(f16, DTYPE_F16)
FLOATING(bf16, DTYPE_BF16)
FLOATING(f32, DTYPE_F32)

void kernels_fill_gemm_avx2(struct kernels *kernels)
{
#define FILL(name, type) kernels->gemm_q8[DTYPE_##type] = gemm_##name##_avx2;
    GEMM_Q8_TYPES(FILL)
    GEMM_Q8_ALIASES(FILL)
#undef FILL
    kernels->gemm_float[DTYPE_F16] = gemm_f16_avx2;
    kernels->gemm_float[DTYPE_BF16] = gemm_bf16_avx2;
    kernels->gemm_float[DTYPE_F32] = gemm_f32_avx2;
    kernels->quantize_q8 = quantize_q8_avx2;
}
