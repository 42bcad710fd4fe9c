/* What is particular to each stored format, for pack.c: its codes as bytes and its scales.
 *
 * Codes come four to a dword, so that a block of 32 columns is eight dwords whatever the format;
 * what a code means is in panel_layout.h. dequantize.c reads the same bytes element by element and
 * independently, and the tests hold both against each other. All is inlined into one instance a
 * type: packing is what a start waits for. Source: the GGUF specification's block structures and
 * gguf-py's quants.py. */
#ifndef WICARA_KERNELS_PACK_CODES_H
#define WICARA_KERNELS_PACK_CODES_H

#include <assert.h>
#include <string.h>

#include "engine/kernels/codebooks.h"
#include "engine/kernels/panel_layout.h"

#define EACH_BYTE   0x01010101u
#define LOW_NIBBLES (15 * EACH_BYTE)

static ALWAYS_INLINE uint32_t load_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Bit i of the low four into bit 0 of byte i. */
static ALWAYS_INLINE uint32_t spread_bits(uint32_t bits)
{
    return (bits & 15) * 0x00204081u & EACH_BYTE;
}

/* 16 bytes of nibbles: byte i holds elements i and i + 16. */
static ALWAYS_INLINE void nibble_codes(const uint8_t *nibbles, uint32_t quads[8])
{
    for (size_t v = 0; v < 4; v++) {
        uint32_t both = load_u32(nibbles + 4 * v);
        quads[v] = both & LOW_NIBBLES;
        quads[v + 4] = both >> 4 & LOW_NIBBLES;
    }
}

/* Some bits of each of 32 bytes: super-blocks keep 32 columns at the same bits of 32 bytes. */
static ALWAYS_INLINE void field_codes(const uint8_t *bytes, unsigned shift, uint32_t mask,
                                      uint32_t quads[8])
{
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] = load_u32(bytes + 4 * quad) >> shift & mask * EACH_BYTE;
}

static ALWAYS_INLINE void add_field(const uint8_t *bytes, unsigned shift, uint32_t mask,
                                    unsigned to, uint32_t quads[8])
{
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] |= (load_u32(bytes + 4 * quad) >> shift & mask * EACH_BYTE) << to;
}

/* Q5_0, Q5_1: bit i of qh belongs to element i. */
static ALWAYS_INLINE void add_fifth_bits(const uint8_t *qh, uint32_t quads[8])
{
    uint32_t bits = load_u32(qh);
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] |= spread_bits(bits >> (4 * quad)) << 4;
}

/* NVFP4: 8 bytes of nibbles hold elements i and i + 8 of 16. */
static ALWAYS_INLINE void half_nibble_codes(const uint8_t *nibbles, uint32_t quads[8])
{
    for (size_t half = 0; half < 2; half++) {
        for (size_t v = 0; v < 2; v++) {
            uint32_t both = load_u32(nibbles + 8 * half + 4 * v);
            quads[4 * half + v] = both & LOW_NIBBLES;
            quads[4 * half + v + 2] = both >> 4 & LOW_NIBBLES;
        }
    }
}

static ALWAYS_INLINE unsigned load_u16(const uint8_t *from)
{
    return from[0] | (unsigned)from[1] << 8;
}

/* Eight indices of 2 bits, and above them their signs, or one bit for all. */
static ALWAYS_INLINE void eight_codes(uint16_t entry, unsigned signs, uint32_t quads[2])
{
    for (size_t i = 0; i < 2; i++) {
        uint32_t x = entry >> (8 * i) & 0xffu;
        x = (x | x << 12) & 0x000f000fu;
        quads[i] = ((x | x << 6) & 3 * EACH_BYTE) | spread_bits(signs >> (4 * i)) << 2;
    }
}

/* Four indices of 3 bits and their signs. */
static ALWAYS_INLINE uint32_t four_codes(uint16_t entry, unsigned signs)
{
    uint32_t x = (entry & 7u) | (entry & 0x38u) << 5 | (entry & 0x1c0u) << 10;
    return x | (entry & 0xe00u) << 15 | spread_bits(signs) << 3;
}

/* Group k of 8 in block b of the types with codebooks of eight. */
static ALWAYS_INLINE void group_codes(enum dtype dtype, const uint8_t *stored, size_t b, size_t k,
                                      uint32_t quads[2])
{
    size_t group = 4 * b + k;
    unsigned both, high;
    uint32_t signs;
    switch (dtype) {
    case DTYPE_IQ2_XXS:
        signs = load_u32(stored + 2 + 8 * b + 4) >> (7 * k) & 127;
        eight_codes(codebook_iq2_xxs[stored[2 + 8 * b + k]], codebook_signs(signs), quads);
        break;
    case DTYPE_IQ2_XS:
        both = load_u16(stored + 2 + 2 * group);
        eight_codes(codebook_iq2_xs[both & 511], codebook_signs(both >> 9), quads);
        break;
    case DTYPE_IQ2_S:
        high = stored[66 + b] >> (2 * k) & 3u;
        eight_codes(codebook_iq2_s[stored[2 + group] | high << 8], stored[34 + group], quads);
        break;
    case DTYPE_IQ1_S:
        both = load_u16(stored + 34 + 2 * b);
        high = both >> (3 * k) & 7;
        eight_codes(codebook_iq1[stored[2 + group] | high << 8], both & 0x8000 ? 0xff : 0, quads);
        break;
    default:  // IQ1_M
        high = stored[32 + group / 2] >> (group % 2 * 4) & 15u;
        eight_codes(codebook_iq1[stored[group] | (high & 7) << 8], high & 8 ? 0xff : 0, quads);
        break;
    }
}

/* Quad `quad` of block b of the types with codebooks of four. */
static ALWAYS_INLINE uint32_t quad_codes(enum dtype dtype, const uint8_t *stored, size_t b,
                                         size_t quad)
{
    unsigned entry = stored[2 + 8 * b + quad], signs;
    if (dtype == DTYPE_IQ3_XXS) {
        signs = codebook_signs(load_u32(stored + 66 + 4 * b) >> (quad / 2 * 7) & 127);
        return four_codes(codebook_iq3_xxs[entry], signs >> (quad % 2 * 4));
    }
    entry |= (stored[66 + b] >> quad & 1u) << 8;
    signs = stored[74 + 4 * b + quad / 2];
    return four_codes(codebook_iq3_s[entry], signs >> (quad % 2 * 4));
}

/* TQ1_0: byte j of a row of 32, of 16 or of 4 bytes holds elements j, j + 32 .. as base-3 digits of
 * a fraction of 256, the highest first. */
static ALWAYS_INLINE uint32_t ternary_codes(const uint8_t *stored, size_t b, size_t quad)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    size_t at = 32 * b + 4 * quad, digit, from;
    if (at < 160)
        digit = at / 32, from = at % 32;
    else if (at < 240)
        digit = (at - 160) / 16, from = 32 + (at - 160) % 16;
    else
        digit = (at - 240) / 4, from = 48;
    uint32_t out = 0;
    for (size_t j = 0; j < 4; j++) {
        uint8_t rest = (uint8_t)(stored[from + j] * powers[digit]);
        out |= (uint32_t)(rest * 3u >> 8) << (8 * j);
    }
    return out;
}

/* Codes of block b (of 32 columns) of a stored block, one a byte. */
static ALWAYS_INLINE void stored_codes(enum dtype dtype, const uint8_t *stored, size_t b,
                                       uint32_t quads[8])
{
    size_t half = b / 4, part = b % 4;  // of a super-block in two halves
    switch (dtype) {
    case DTYPE_Q4_0:
    case DTYPE_IQ4_NL:
        nibble_codes(stored + 2, quads);
        break;
    case DTYPE_Q4_1:
        nibble_codes(stored + 4, quads);
        break;
    case DTYPE_Q5_0:
        nibble_codes(stored + 6, quads);
        add_fifth_bits(stored + 2, quads);
        break;
    case DTYPE_Q5_1:
        nibble_codes(stored + 8, quads);
        add_fifth_bits(stored + 4, quads);
        break;
    case DTYPE_Q8_0:
        for (size_t quad = 0; quad < 8; quad++)
            quads[quad] = load_u32(stored + 2 + 4 * quad) ^ 0x80808080u;
        break;
    case DTYPE_Q2_K:
        field_codes(stored + 16 + 32 * half, (unsigned)(2 * part), 3, quads);
        break;
    case DTYPE_Q3_K:
        field_codes(stored + 32 + 32 * half, (unsigned)(2 * part), 3, quads);
        add_field(stored, (unsigned)b, 1, 2, quads);
        break;
    case DTYPE_Q4_K:
        field_codes(stored + 16 + b / 2 * 32, b % 2 * 4, 15, quads);
        break;
    case DTYPE_Q5_K:
        field_codes(stored + 48 + b / 2 * 32, b % 2 * 4, 15, quads);
        add_field(stored + 16, (unsigned)b, 1, 4, quads);
        break;
    case DTYPE_Q6_K:
        field_codes(stored + 64 * half + part % 2 * 32, part / 2 * 4, 15, quads);
        add_field(stored + 128 + 32 * half, (unsigned)(2 * part), 3, 4, quads);
        break;
    case DTYPE_IQ4_XS:
        nibble_codes(stored + 8 + 16 * b, quads);
        break;
    case DTYPE_MXFP4:
        nibble_codes(stored + 1, quads);
        break;
    case DTYPE_NVFP4:
        half_nibble_codes(stored + 4 + 16 * b, quads);
        break;
    case DTYPE_IQ3_XXS:
    case DTYPE_IQ3_S:
        for (size_t quad = 0; quad < 8; quad++)
            quads[quad] = quad_codes(dtype, stored, b, quad);
        break;
    case DTYPE_IQ2_XXS:
    case DTYPE_IQ2_XS:
    case DTYPE_IQ2_S:
    case DTYPE_IQ1_S:
    case DTYPE_IQ1_M:
        for (size_t k = 0; k < 4; k++)
            group_codes(dtype, stored, b, k, quads + 2 * k);
        break;
    case DTYPE_TQ1_0:
        for (size_t quad = 0; quad < 8; quad++)
            quads[quad] = ternary_codes(stored, b, quad);
        break;
    case DTYPE_TQ2_0:
        field_codes(stored + 32 * half, (unsigned)(2 * part), 3, quads);
        break;
    default:
        assert(!"no product type");
        break;
    }
}

/* Where the f16 d of a stored block is; the minimum's follows it. */
static ALWAYS_INLINE size_t scale_offset(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q2_K:
        return 80;
    case DTYPE_Q3_K:
        return 108;
    case DTYPE_Q6_K:
        return 208;
    case DTYPE_TQ1_0:
        return 52;
    case DTYPE_TQ2_0:
        return 64;
    default:
        return 0;
    }
}

/* Q3_K: 16 scales of 6 bits, less 32, in 12 bytes: low nibbles in 8, upper pairs in 4. */
static ALWAYS_INLINE uint8_t subscale_q3_k(const uint8_t packed[12], size_t i)
{
    unsigned low = packed[i % 8] >> (i / 8 * 4) & 15u, high = packed[8 + i % 4] >> (i / 4 * 2) & 3u;
    return (uint8_t)((low | high << 4) - 32u);
}

/* IQ4_XS: 8 scales of 6 bits, less 32: upper pairs in the u16 at 2, low nibbles from 4 on. */
static ALWAYS_INLINE uint8_t subscale_iq4_xs(const uint8_t *stored, size_t i)
{
    unsigned low = stored[4 + i / 2] >> (i % 2 * 4) & 15u;
    unsigned high = stored[2 + i / 4] >> (i % 4 * 2) & 3u;
    return (uint8_t)((low | high << 4) - 32u);
}

/* NVFP4: no sign; the one code that is not a number means 0 in GGUF. */
static ALWAYS_INLINE uint8_t subscale_nvfp4(uint8_t code)
{
    return code == 0x7f ? 0 : code & 0x7f;
}

/* IQ1_M keeps four bits of d in each of its four u16 of scales. */
static ALWAYS_INLINE uint16_t scale_iq1_m(const uint8_t *stored)
{
    unsigned half = 0;
    for (size_t i = 0; i < 4; i++)
        half |= load_u16(stored + 48 + 2 * i) >> 12 << (4 * i);
    return (uint16_t)half;
}

/* Sub-scale i of a stored block, as panels hold it. */
static ALWAYS_INLINE uint8_t subscale(enum dtype dtype, const uint8_t *stored, size_t i)
{
    switch (dtype) {
    case DTYPE_Q2_K:
        return stored[i];
    case DTYPE_Q3_K:
        return subscale_q3_k(stored + 96, i);
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return stored[4 + i];
    case DTYPE_Q6_K:
        return stored[192 + i];
    case DTYPE_IQ4_XS:
        return subscale_iq4_xs(stored, i);
    case DTYPE_NVFP4:
        return subscale_nvfp4(stored[i]);
    /* The others have odd scales: 2 s + 1. */
    case DTYPE_IQ3_XXS:
        return (uint8_t)(2 * (stored[66 + 4 * i + 3] >> 4) + 1);
    case DTYPE_IQ3_S:
        return (uint8_t)(2 * (stored[106 + i / 2] >> (i % 2 * 4) & 15) + 1);
    case DTYPE_IQ2_XXS:
        return (uint8_t)(2 * (stored[2 + 8 * i + 7] >> 4) + 1);
    case DTYPE_IQ2_XS:
        return (uint8_t)(2 * (stored[66 + i / 2] >> (i % 2 * 4) & 15) + 1);
    case DTYPE_IQ2_S:
        return (uint8_t)(2 * (stored[74 + i / 2] >> (i % 2 * 4) & 15) + 1);
    case DTYPE_IQ1_S:
        return (uint8_t)(2 * (load_u16(stored + 34 + 2 * i) >> 12 & 7) + 1);
    default:  // IQ1_M
        return (uint8_t)(2 * (load_u16(stored + 48 + i / 4 * 2) >> (i % 4 * 3) & 7) + 1);
    }
}

/* Scales of one stored block into row `row` of the group at `subscales` and of d at `scales`. */
static ALWAYS_INLINE void stored_scales(enum dtype dtype, const uint8_t *stored, size_t row,
                                        uint8_t *subscales, uint8_t *scales)
{
    struct panel_layout layout = panel_layout(dtype);
    size_t n_subscales = panel_subscale_bytes(dtype) / PANEL_ROWS;
    for (size_t i = 0; i < n_subscales; i++)
        subscales[PANEL_ROWS * i + row] = subscale(dtype, stored, i);
    uint16_t d;
    memcpy(&d, stored + scale_offset(dtype), 2);
    if (dtype == DTYPE_IQ1_M)
        d = scale_iq1_m(stored);
    if (layout.scales == SCALE_E8M0)
        scales[row] = stored[0];
    else if (layout.scales != SCALE_E4M3)
        memcpy(scales + 2 * row, &d, 2);
    if (layout.has_min)
        memcpy(scales + 32 + 2 * row, stored + scale_offset(dtype) + 2, 2);
}

#endif
