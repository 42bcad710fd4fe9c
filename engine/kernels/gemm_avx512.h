/* Taking weights apart with AVX-512, for gemm_avx512.c and gemm_amx_avx512.c (private). */
#ifndef WICARA_KERNELS_GEMM_AVX512_H
#define WICARA_KERNELS_GEMM_AVX512_H

#include <immintrin.h>

#include "engine/kernels/gemm_tiles.h"

gemm_q8_fn gemm_q4_0_avx512, gemm_q4_1_avx512, gemm_q5_0_avx512, gemm_q5_1_avx512;
gemm_q8_fn gemm_q8_0_avx512, gemm_q4_k_avx512, gemm_q5_k_avx512, gemm_q6_k_avx512;

/* Quads v and v + 4 of a block as unsigned bytes. */
static ALWAYS_INLINE void quad_pair(enum dtype dtype, const uint8_t *quants, int v, __m512i *low,
                                    __m512i *high)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    if (dtype == DTYPE_Q8_0) {
        *low = _mm512_load_si512(quants + v * LINE_BYTES);
        *high = _mm512_load_si512(quants + (v + 4) * LINE_BYTES);
        return;
    }
    __m512i packed = _mm512_load_si512(quants + v * LINE_BYTES);
    *low = _mm512_and_si512(packed, nibble);
    *high = _mm512_and_si512(_mm512_srli_epi16(packed, 4), nibble);
    enum { OR_AND = 0xf8 };  // a | (b & c)
    if (dtype == DTYPE_Q5_0 || dtype == DTYPE_Q5_1 || dtype == DTYPE_Q5_K) {
        const __m512i bit = _mm512_set1_epi8(16);
        __m512i bits = _mm512_load_si512(quants + 4 * LINE_BYTES);
        *low = _mm512_ternarylogic_epi32(*low, _mm512_slli_epi16(bits, (unsigned)(4 - v)), bit,
                                         OR_AND);
        *high = _mm512_ternarylogic_epi32(*high, _mm512_srli_epi16(bits, (unsigned)v), bit, OR_AND);
    }
    if (dtype == DTYPE_Q6_K) {
        const __m512i pair = _mm512_set1_epi8(48);
        __m512i first = _mm512_load_si512(quants + 4 * LINE_BYTES);
        __m512i second = _mm512_load_si512(quants + 5 * LINE_BYTES);
        if (v < 3) {
            first = _mm512_slli_epi16(first, (unsigned)(4 - 2 * v));
            second = _mm512_slli_epi16(second, (unsigned)(4 - 2 * v));
        } else {
            first = _mm512_srli_epi16(first, 2);
            second = _mm512_srli_epi16(second, 2);
        }
        *low = _mm512_ternarylogic_epi32(*low, first, pair, OR_AND);
        *high = _mm512_ternarylogic_epi32(*high, second, pair, OR_AND);
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

/* d and m of block b, or d and both sub-scales (Q6_K). */
static ALWAYS_INLINE void block_scales(enum dtype dtype, const uint8_t *panel, size_t b,
                                       size_t n_blocks, struct super_codes *codes, __m512 *d,
                                       __m512 m[2])
{
    const uint8_t *scales = panel + panel_scales(dtype, b, n_blocks);
    *d = widen_f16(scales);
    if (panel_layout(dtype).has_min)
        m[0] = widen_f16(scales + 32);
    if (dtype == DTYPE_Q4_K || dtype == DTYPE_Q5_K) {
        if (b % SUPER_BLOCKS == 0)
            unpack_6bit(panel + panel_subscales(dtype, b), codes);
        size_t at = b % SUPER_BLOCKS * PANEL_ROWS;
        *d = _mm512_mul_ps(*d, widen_bytes(codes->scales + at, false));
        m[0] = _mm512_xor_ps(m[0], _mm512_set1_ps(-0.0f));
        m[0] = _mm512_mul_ps(m[0], widen_bytes(codes->mins + at, false));
    } else if (dtype == DTYPE_Q6_K) {
        const uint8_t *sub = panel + panel_subscales(dtype, b);
        sub += b % SUPER_BLOCKS * 2 * PANEL_ROWS;
        m[0] = widen_bytes(sub, true);
        m[1] = widen_bytes(sub + PANEL_ROWS, true);
    }
}

#endif
