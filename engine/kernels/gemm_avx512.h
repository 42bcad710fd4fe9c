/* Taking weights apart with AVX-512, for gemm_avx512.c and gemm_amx_avx512.c (private). */
#ifndef WICARA_KERNELS_GEMM_AVX512_H
#define WICARA_KERNELS_GEMM_AVX512_H

#include <immintrin.h>

#include "engine/kernels/gemm_tiles.h"

#define DECLARE(name, type) gemm_q8_fn gemm_##name##_avx512;
GEMM_Q8_TYPES(DECLARE)
#undef DECLARE

/* Bytes shifted within words: what crosses from byte to byte must be masked off. */
static ALWAYS_INLINE __m512i shift_line(__m512i line, int left)
{
    return left >= 0 ? _mm512_slli_epi16(line, (unsigned)left)
                     : _mm512_srli_epi16(line, (unsigned)-left);
}

/* Quads v and v + 4 of a block as unsigned quants. */
static ALWAYS_INLINE void quad_pair(enum dtype dtype, const uint8_t *quants, int v, __m512i *low,
                                    __m512i *high)
{
    enum { OR_AND = 0xf8 };  // a | (b & c)
    const struct panel_layout layout = panel_layout(dtype);
    const __m512i nibble = _mm512_set1_epi8(15), pair = _mm512_set1_epi8(3);
    if (layout.bits == 8) {
        *low = _mm512_load_si512(quants + v * LINE_BYTES);
        *high = _mm512_load_si512(quants + (v + 4) * LINE_BYTES);
        return;
    }
    if (layout.bits < 4) {
        __m512i first = _mm512_load_si512(quants), second = _mm512_load_si512(quants + LINE_BYTES);
        *low = _mm512_and_si512(shift_line(first, -2 * v), pair);
        *high = _mm512_and_si512(shift_line(second, -2 * v), pair);
    } else {
        __m512i packed = _mm512_load_si512(quants + v * LINE_BYTES);
        *low = _mm512_and_si512(packed, nibble);
        *high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
    }
    const uint8_t *upper = quants + (layout.bits < 4 ? 2 : 4) * LINE_BYTES;
    if (layout.bits == 3 || layout.bits == 5) {
        const int to = (int)layout.bits - 1;
        const __m512i bit = _mm512_set1_epi8((char)(1 << to));
        __m512i bits = _mm512_load_si512(upper);
        *low = _mm512_ternarylogic_epi32(*low, shift_line(bits, to - v), bit, OR_AND);
        *high = _mm512_ternarylogic_epi32(*high, shift_line(bits, to - v - 4), bit, OR_AND);
    }
    if (layout.bits == 6) {
        const __m512i upper_pair = _mm512_set1_epi8(48);
        __m512i first = _mm512_load_si512(upper), second = _mm512_load_si512(upper + LINE_BYTES);
        *low = _mm512_ternarylogic_epi32(*low, shift_line(first, 4 - 2 * v), upper_pair, OR_AND);
        *high = _mm512_ternarylogic_epi32(*high, shift_line(second, 4 - 2 * v), upper_pair, OR_AND);
    }
    if (layout.table != TABLE_NONE) {
        const void *entries = quant_tables[layout.table];
        __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)entries));
        *low = _mm512_shuffle_epi8(table, *low);
        *high = _mm512_shuffle_epi8(table, *high);
    }
}

static ALWAYS_INLINE __m512 widen_f16(const uint8_t *halves)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)halves));
}

static ALWAYS_INLINE __m512 widen_bytes(const uint8_t *bytes, bool is_signed)
{
    __m128i packed = _mm_load_si128((const __m128i *)bytes);
    __m512i wide = is_signed ? _mm512_cvtepi8_epi32(packed) : _mm512_cvtepu8_epi32(packed);
    return _mm512_cvtepi32_ps(wide);
}

/* As a half-float the seven bits mean 2^-8 times the e4m3; half of that is wanted. */
static ALWAYS_INLINE __m512 widen_e4m3(const uint8_t *bytes)
{
    __m256i wide = _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i *)bytes));
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_slli_epi16(wide, 7)), _mm512_set1_ps(128.0f));
}

/* The 6-bit codes of a super-block as bytes, [8][16 rows] each. */
static ALWAYS_INLINE void unpack_6bit(const uint8_t *packed, struct super_codes *out)
{
    const __m512i six = _mm512_set1_epi8(63), four = _mm512_set1_epi8(15);
    const __m512i two = _mm512_set1_epi8(48);
    __m512i a = _mm512_load_si512(packed), b = _mm512_load_si512(packed + 64);
    __m512i c = _mm512_load_si512(packed + 128);
    __m512i a_high = _mm512_and_si512(_mm512_srli_epi16(a, 2), two);
    __m512i b_high = _mm512_and_si512(_mm512_srli_epi16(b, 2), two);
    __m512i c_high = _mm512_and_si512(_mm512_srli_epi16(c, 4), four);
    _mm512_store_si512(out->scales, _mm512_and_si512(a, six));
    _mm512_store_si512(out->scales + 64, _mm512_or_si512(_mm512_and_si512(c, four), a_high));
    _mm512_store_si512(out->mins, _mm512_and_si512(b, six));
    _mm512_store_si512(out->mins + 64, _mm512_or_si512(c_high, b_high));
}

/* Scales of one block for 16 output rows; of sub, m and mins what the type has (see struct
 * panel_block), mins as pairs of int16. */
struct block_scales {
    __m512 d, m, sub[2];
    __m512i mins;
};

static ALWAYS_INLINE __m512 read_d(enum dtype dtype, const uint8_t *scales)
{
    const struct panel_layout layout = panel_layout(dtype);
    if (layout.scales != SCALE_E8M0) {
        __m512 d = widen_f16(scales);
        return layout.unit == 1.0f ? d : _mm512_mul_ps(d, _mm512_set1_ps(layout.unit));
    }
    /* 2^(e - 128): the exponent of a float, less one; below, a denormal. */
    __m512i e = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)scales));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __m512i denormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    __mmask16 is_denormal = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_denormal, denormal));
}

static ALWAYS_INLINE void read_scales(enum dtype dtype, const uint8_t *panel, size_t b,
                                      size_t n_blocks, struct super_codes *codes,
                                      struct block_scales *out)
{
    const struct panel_layout layout = panel_layout(dtype);
    const uint8_t *scales = panel + panel_scales(dtype, b, n_blocks);
    const uint8_t *sub = panel + panel_subscales(dtype, b);
    const size_t i = b % layout.group_blocks;
    out->d = layout.scales == SCALE_E4M3 ? _mm512_set1_ps(1.0f) : read_d(dtype, scales);
    if (layout.has_min)
        out->m = widen_f16(scales + 32);
    if (layout.scales == SCALE_SIX_BITS) {
        if (i == 0)
            unpack_6bit(sub, codes);
        out->d = _mm512_mul_ps(out->d, widen_bytes(codes->scales + i * PANEL_ROWS, false));
        out->m = _mm512_xor_ps(out->m, _mm512_set1_ps(-0.0f));
        out->m = _mm512_mul_ps(out->m, widen_bytes(codes->mins + i * PANEL_ROWS, false));
    } else if (layout.scales == SCALE_BLOCKS) {
        out->d = _mm512_mul_ps(out->d, widen_bytes(sub + i * PANEL_ROWS, true));
    } else if (layout.scales == SCALE_HALVES) {
        sub += 2 * i * PANEL_ROWS;
        out->sub[0] = widen_bytes(sub, true);
        out->sub[1] = widen_bytes(sub + PANEL_ROWS, true);
    } else if (layout.scales == SCALE_E4M3) {
        sub += 2 * i * PANEL_ROWS;
        out->sub[0] = widen_e4m3(sub);
        out->sub[1] = widen_e4m3(sub + PANEL_ROWS);
    } else if (layout.scales == SCALE_HALF_MINS) {
        const __m512i nibble = _mm512_set1_epi32(15);
        __m512i code[2];
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *at = sub + (2 * i + half) * PANEL_ROWS;
            code[half] = _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)at));
            out->sub[half] = _mm512_cvtepi32_ps(_mm512_and_si512(code[half], nibble));
        }
        out->mins = _mm512_or_si512(_mm512_srli_epi32(code[0], 4),
                                    _mm512_slli_epi32(_mm512_srli_epi32(code[1], 4), 16));
        out->m = _mm512_xor_ps(out->m, _mm512_set1_ps(-0.0f));
    }
}

/* One block added to the sums of one row: `value` the scaled sum of products, `dsum` da times the
 * sum of activations or, for HALF_MINS, `sums` both sums as struct q8_rows has them. */
static ALWAYS_INLINE __m512 add_block(enum dtype dtype, const struct block_scales *scales,
                                      __m512 value, float da, float dsum, int32_t sums, __m512 acc)
{
    const struct panel_layout layout = panel_layout(dtype);
    if (layout.scales == SCALE_HALF_MINS) {
        __m512i sum = _mm512_madd_epi16(scales->mins, _mm512_set1_epi32(sums));
        __m512 min = _mm512_mul_ps(scales->m, _mm512_cvtepi32_ps(sum));
        value = _mm512_fmadd_ps(value, scales->d, min);
        return _mm512_fmadd_ps(value, _mm512_set1_ps(da), acc);
    }
    acc = _mm512_fmadd_ps(value, _mm512_mul_ps(scales->d, _mm512_set1_ps(da)), acc);
    return layout.has_min ? _mm512_fmadd_ps(scales->m, _mm512_set1_ps(dsum), acc) : acc;
}

#endif
