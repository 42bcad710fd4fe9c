/* What is particular to each stored format, for pack.c: its codes as bytes and its scales.
 *
 * Codes come four to a dword, so that a block of 32 columns is eight dwords whatever the format;
 * what a code means is in panel_layout.h. dequantize.c reads the same bytes element by element and
 * independently, and the tests hold both against each other. Source: the GGUF specification's block
 * structures and gguf-py's quants.py. */
#include <assert.h>
#include <string.h>

#include "engine/kernels/panel_layout.h"

#define EACH_BYTE   0x01010101u
#define LOW_NIBBLES (15 * EACH_BYTE)

static uint32_t load_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Bit i of the low four into bit 0 of byte i. */
static uint32_t spread_bits(uint32_t bits)
{
    return (bits & 15) * 0x00204081u & EACH_BYTE;
}

/* 16 bytes of nibbles: byte i holds elements i and i + 16. */
static void nibble_codes(const uint8_t *nibbles, uint32_t quads[8])
{
    for (size_t v = 0; v < 4; v++) {
        uint32_t both = load_u32(nibbles + 4 * v);
        quads[v] = both & LOW_NIBBLES;
        quads[v + 4] = both >> 4 & LOW_NIBBLES;
    }
}

/* Some bits of each of 32 bytes: super-blocks keep 32 columns at the same bits of 32 bytes. */
static void field_codes(const uint8_t *bytes, unsigned shift, uint32_t mask, uint32_t quads[8])
{
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] = load_u32(bytes + 4 * quad) >> shift & mask * EACH_BYTE;
}

static void add_field(const uint8_t *bytes, unsigned shift, uint32_t mask, unsigned to,
                      uint32_t quads[8])
{
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] |= (load_u32(bytes + 4 * quad) >> shift & mask * EACH_BYTE) << to;
}

/* Q5_0, Q5_1: bit i of qh belongs to element i. */
static void add_fifth_bits(const uint8_t *qh, uint32_t quads[8])
{
    uint32_t bits = load_u32(qh);
    for (size_t quad = 0; quad < 8; quad++)
        quads[quad] |= spread_bits(bits >> (4 * quad)) << 4;
}

void stored_codes(enum dtype dtype, const uint8_t *stored, size_t b, uint32_t quads[8])
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
    default:
        assert(!"no product type");
        break;
    }
}

/* Where the f16 d of a stored block is; the minimum's follows it. */
static size_t scale_offset(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q2_K:
        return 80;
    case DTYPE_Q3_K:
        return 108;
    case DTYPE_Q6_K:
        return 208;
    default:
        return 0;
    }
}

/* Q3_K: 16 scales of 6 bits, less 32, in 12 bytes: low nibbles in 8, upper pairs in 4. */
static uint8_t subscale_q3_k(const uint8_t packed[12], size_t i)
{
    unsigned low = packed[i % 8] >> (i / 8 * 4) & 15u, high = packed[8 + i % 4] >> (i / 4 * 2) & 3u;
    return (uint8_t)((low | high << 4) - 32u);
}

/* IQ4_XS: 8 scales of 6 bits, less 32: upper pairs in the u16 at 2, low nibbles from 4 on. */
static uint8_t subscale_iq4_xs(const uint8_t *stored, size_t i)
{
    unsigned low = stored[4 + i / 2] >> (i % 2 * 4) & 15u;
    unsigned high = stored[2 + i / 4] >> (i % 4 * 2) & 3u;
    return (uint8_t)((low | high << 4) - 32u);
}

void stored_scales(enum dtype dtype, const uint8_t *stored, size_t row, uint8_t *subscales,
                   uint8_t *scales)
{
    struct panel_layout layout = panel_layout(dtype);
    size_t n_subscales = panel_subscale_bytes(dtype) / PANEL_ROWS;
    if (layout.scales == SCALE_E8M0)
        scales[row] = stored[0];
    else
        memcpy(scales + 2 * row, stored + scale_offset(dtype), 2);
    if (layout.has_min)
        memcpy(scales + 32 + 2 * row, stored + scale_offset(dtype) + 2, 2);
    for (size_t i = 0; i < n_subscales; i++) {
        uint8_t *to = subscales + PANEL_ROWS * i + row;
        switch (dtype) {
        case DTYPE_Q2_K:
            *to = stored[i];
            break;
        case DTYPE_Q3_K:
            *to = subscale_q3_k(stored + 96, i);
            break;
        case DTYPE_IQ4_XS:
            *to = subscale_iq4_xs(stored, i);
            break;
        case DTYPE_Q6_K:
            *to = stored[192 + i];
            break;
        default:  // Q4_K, Q5_K: packed as they are
            *to = stored[4 + i];
            break;
        }
    }
}
