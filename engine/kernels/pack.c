/* Packing of stored rows into panels and reading them back; the layout is in panel_layout.h.
 *
 * Packing runs once a load (or never, with a packed cache), but a user waits for it: it moves and
 * masks dwords, four columns at a time, and never looks at single elements. panel_block_read() is
 * the opposite: element by element, plain enough to be read as the definition of the layout.
 * Nothing here checks the weights: every bit pattern is a legal block. */
#include "engine/kernels/pack.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels/panel_layout.h"

#define LOW_NIBBLES 0x0f0f0f0fu
#define EACH_BYTE   0x01010101u

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

bool pack_supports(enum dtype dtype)
{
    return is_float(dtype) || panel_layout(dtype).quant_bytes > 0;
}

size_t pack_panel_bytes(enum dtype dtype, size_t n_cols)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t bytes;
    if (!info || !pack_supports(dtype) || n_cols == 0 || n_cols % info->block_elements != 0)
        return 0;
    if (!size_mul(n_cols / info->block_elements, PANEL_ROWS * info->block_bytes, &bytes) ||
        !size_add(bytes, LINE_BYTES - 1, &bytes))
        return 0;
    return bytes / LINE_BYTES * LINE_BYTES;
}

/* ---- Packing: one stored block of one row into its place in the panel. ---- */

static uint32_t load_u32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Dword `line` of a row in a run of lines. */
static void store_line(uint8_t *lines, size_t line, size_t row, uint32_t value)
{
    memcpy(lines + line * LINE_BYTES + row * 4, &value, sizeof value);
}

/* Q4_0 .. Q5_1: byte i of the 16 holds elements i and i + 16, which is the panel's order. */
static void pack_nibbles(const uint8_t *nibbles, uint8_t *quants, size_t row)
{
    for (size_t v = 0; v < 4; v++)
        store_line(quants, v, row, load_u32(nibbles + 4 * v));
}

/* Q5_0, Q5_1: bit i of qh belongs to element i; gathers every fourth bit into a byte. */
static void pack_fifth_bits(const uint8_t *qh, uint8_t *line, size_t row)
{
    uint32_t bits = load_u32(qh), out = 0;
    for (unsigned j = 0; j < 4; j++) {
        uint32_t x = (bits >> j) & 0x11111111u;
        x = (x | x >> 3) & 0x03030303u;
        x = (x | x >> 6) & 0x000f000fu;
        x = (x | x >> 12) & 0xffu;
        out |= x << (8 * j);
    }
    store_line(line, 0, row, out);
}

static void pack_legacy(enum dtype dtype, const uint8_t *block, uint8_t *quants, uint8_t *scales,
                        size_t row)
{
    bool has_min = panel_layout(dtype).has_min;
    memcpy(scales + 2 * row, block, 2);
    if (has_min)
        memcpy(scales + 32 + 2 * row, block + 2, 2);
    block += has_min ? 4 : 2;
    if (dtype == DTYPE_Q5_0 || dtype == DTYPE_Q5_1) {
        pack_fifth_bits(block, quants + 4 * LINE_BYTES, row);
        block += 4;
    }
    if (dtype == DTYPE_Q8_0) {
        for (size_t quad = 0; quad < 8; quad++)
            store_line(quants, quad, row, load_u32(block + 4 * quad) ^ 0x80808080u);
        return;
    }
    pack_nibbles(block, quants, row);
}

/* Nibbles of 32 stored bytes, low or high, as one block of the panel. */
static void pack_super_nibbles(const uint8_t *bytes, unsigned shift, uint8_t *quants, size_t row)
{
    for (size_t v = 0; v < 4; v++) {
        uint32_t first = (load_u32(bytes + 4 * v) >> shift) & LOW_NIBBLES;
        uint32_t second = (load_u32(bytes + 16 + 4 * v) >> shift) & LOW_NIBBLES;
        store_line(quants, v, row, first | second << 4);
    }
}

/* Q4_K, Q5_K: f16 d, f16 dmin, 12 bytes of scales, [Q5_K: 32 bytes of fifth bits,] 128 nibbles. */
static void pack_q4k_q5k(enum dtype dtype, const uint8_t *block, uint8_t *group, size_t row)
{
    struct panel_layout layout = panel_layout(dtype);
    const uint8_t *qh = block + 16, *nibbles = dtype == DTYPE_Q5_K ? qh + 32 : qh;
    uint8_t *subscales = group + SUPER_BLOCKS * layout.quant_bytes;
    memcpy(group + layout.scale_start + 2 * row, block, 2);
    memcpy(group + layout.scale_start + 32 + 2 * row, block + 2, 2);
    for (size_t i = 0; i < 12; i++)
        subscales[PANEL_ROWS * i + row] = block[4 + i];
    for (size_t b = 0; b < SUPER_BLOCKS; b++) {
        uint8_t *quants = group + b * layout.quant_bytes;
        pack_super_nibbles(nibbles + b / 2 * 32, b % 2 * 4, quants, row);
        if (dtype != DTYPE_Q5_K)
            continue;
        uint32_t bits = 0;  // bit b of byte l of qh belongs to element l of block b
        for (size_t quad = 0; quad < 8; quad++)
            bits |= ((load_u32(qh + 4 * quad) >> b) & EACH_BYTE) << quad;
        store_line(quants, 4, row, bits);
    }
}

/* Q6_K: 128 bytes of nibbles, 64 of upper bit pairs, 16 i8 scales, f16 d. The first and third 32
 * elements of a half share the same 32 bytes of nibbles, as do the second and fourth. */
static void pack_q6k(const uint8_t *block, uint8_t *group, uint8_t *d, size_t row)
{
    size_t quant_bytes = panel_layout(DTYPE_Q6_K).quant_bytes;
    uint8_t *subscales = group + SUPER_BLOCKS * quant_bytes;
    memcpy(d + 2 * row, block + 208, 2);
    for (size_t i = 0; i < 16; i++)
        subscales[PANEL_ROWS * i + row] = block[192 + i];
    for (size_t b = 0; b < SUPER_BLOCKS; b++) {
        uint8_t *quants = group + b * quant_bytes;
        size_t half = b / 4, part = b % 4;
        const uint8_t *qh = block + 128 + 32 * half;
        pack_super_nibbles(block + 64 * half + 32 * (part & 1), part >= 2 ? 4 : 0, quants, row);
        for (size_t line = 0; line < 2; line++) {
            uint32_t bits = 0;
            for (size_t i = 0; i < 4; i++) {
                uint32_t pairs = load_u32(qh + 16 * line + 4 * i) >> (2 * part);
                bits |= (pairs & 0x03030303u) << (2 * i);
            }
            store_line(quants, 4 + line, row, bits);
        }
    }
}

static void pack_row(enum dtype dtype, size_t n_cols, const uint8_t *source, uint8_t *panel,
                     size_t row)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t n_blocks = n_cols / ACT_BLOCK, block_cols = info->block_elements;
    for (size_t col = 0; col < n_cols; col += block_cols, source += info->block_bytes) {
        size_t b = col / ACT_BLOCK;
        uint8_t *quants = panel + panel_quants(dtype, b);
        uint8_t *scales = panel + panel_scales(dtype, b, n_blocks);
        if (dtype == DTYPE_Q6_K)
            pack_q6k(source, quants, scales, row);
        else if (block_cols == SUPER_COLS)
            pack_q4k_q5k(dtype, source, quants, row);
        else
            pack_legacy(dtype, source, quants, scales, row);
    }
}

static void pack_floats(size_t n_cols, size_t width, const void *const rows[16], uint8_t *panel)
{
    for (size_t row = 0; row < PANEL_ROWS; row++) {
        const uint8_t *source = rows[row];
        if (!source)
            continue;
        uint8_t *out = panel + row * width;
        if (width == 4) {
            for (size_t col = 0; col < n_cols; col++)
                memcpy(out + col * PANEL_ROWS * 4, source + col * 4, 4);
        } else {
            for (size_t col = 0; col < n_cols; col++)
                memcpy(out + col * PANEL_ROWS * 2, source + col * 2, 2);
        }
    }
}

void pack_panel(enum dtype dtype, size_t n_cols, const void *const rows[16], void *panel)
{
    size_t panel_bytes = pack_panel_bytes(dtype, n_cols);
    assert(panel_bytes > 0);
    memset(panel, 0, panel_bytes);
    if (is_float(dtype)) {
        pack_floats(n_cols, dtype_info(dtype)->block_bytes, rows, panel);
        return;
    }
    for (size_t row = 0; row < PANEL_ROWS; row++) {
        if (rows[row])
            pack_row(dtype, n_cols, rows[row], panel, row);
    }
}

/* ---- Reading: the layout, element by element. ---- */

static unsigned quant_at(enum dtype dtype, const uint8_t *quants, size_t col, size_t row)
{
    size_t quad = col / 4, j = col % 4, byte = 4 * row + j;
    if (dtype == DTYPE_Q8_0)
        return quants[quad * LINE_BYTES + byte];
    unsigned low = quants[quad % 4 * LINE_BYTES + byte] >> (quad < 4 ? 0 : 4) & 15;
    const uint8_t *high = quants + 4 * LINE_BYTES;
    switch (dtype) {
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q5_K:
        return low | (high[byte] >> quad & 1u) << 4;
    case DTYPE_Q6_K:
        return low | (high[quad / 4 * LINE_BYTES + byte] >> (2 * (quad % 4)) & 3u) << 4;
    default:
        return low;
    }
}

/* The 6-bit scale and minimum of sub-block `sub`: entry i of the 12 packed bytes is at
 * packed[16 * i]. */
static void subscale_6bit(const uint8_t *packed, size_t sub, unsigned *scale, unsigned *min)
{
    const uint8_t *at = packed + PANEL_ROWS * sub;
    if (sub < 4) {
        *scale = at[0] & 63u;
        *min = at[4 * PANEL_ROWS] & 63u;
        return;
    }
    *scale = (at[4 * PANEL_ROWS] & 15u) | (unsigned)(packed[PANEL_ROWS * (sub - 4)] >> 6) << 4;
    *min = (unsigned)(at[4 * PANEL_ROWS] >> 4) | (unsigned)(at[0] >> 6) << 4;
}

void panel_block_read(enum dtype dtype, const uint8_t *panel, size_t b, size_t n_blocks,
                      struct panel_block *out)
{
    struct panel_layout layout = panel_layout(dtype);
    const uint8_t *quants = panel + panel_quants(dtype, b);
    const uint8_t *scales = panel + panel_scales(dtype, b, n_blocks);
    const uint8_t *subscales = panel + panel_subscales(dtype, b);
    for (size_t col = 0; col < ACT_BLOCK; col++) {
        for (size_t row = 0; row < PANEL_ROWS; row++)
            out->q[col][row] = (int16_t)((int)quant_at(dtype, quants, col, row) - layout.bias);
    }
    for (size_t row = 0; row < PANEL_ROWS; row++) {
        uint16_t half;
        memcpy(&half, scales + 2 * row, 2);
        out->d[row] = f32_from_f16(half);
        out->m[row] = 0.0f;
        out->sub[0][row] = out->sub[1][row] = 1;
        if (layout.has_min) {
            memcpy(&half, scales + 32 + 2 * row, 2);
            out->m[row] = f32_from_f16(half);
        }
        if (dtype == DTYPE_Q4_K || dtype == DTYPE_Q5_K) {
            unsigned scale, min;
            subscale_6bit(subscales + row, b % SUPER_BLOCKS, &scale, &min);
            out->d[row] *= (float)scale;
            out->m[row] = -(out->m[row] * (float)min);
        } else if (dtype == DTYPE_Q6_K) {
            const uint8_t *at = subscales + 2 * (b % SUPER_BLOCKS) * PANEL_ROWS + row;
            out->sub[0][row] = (int8_t)at[0];
            out->sub[1][row] = (int8_t)at[PANEL_ROWS];
        }
    }
}

static void unpack_float_row(enum dtype dtype, size_t n_cols, const uint8_t *panel, size_t lane,
                             float *out)
{
    for (size_t col = 0; col < n_cols; col++) {
        size_t at = col * PANEL_ROWS + lane;
        uint16_t half;
        switch (dtype) {
        case DTYPE_F32:
            memcpy(&out[col], panel + 4 * at, 4);
            break;
        default:
            memcpy(&half, panel + 2 * at, 2);
            out[col] = dtype == DTYPE_F16 ? f32_from_f16(half) : f32_from_bf16(half);
            break;
        }
    }
}

void unpack_row(enum dtype dtype, size_t n_cols, const void *panel, size_t lane, float *out)
{
    assert(pack_panel_bytes(dtype, n_cols) > 0 && lane < PANEL_ROWS);
    if (is_float(dtype)) {
        unpack_float_row(dtype, n_cols, panel, lane, out);
        return;
    }
    bool has_min = panel_layout(dtype).has_min;
    size_t n_blocks = n_cols / ACT_BLOCK;
    for (size_t b = 0; b < n_blocks; b++) {
        struct panel_block block;
        panel_block_read(dtype, panel, b, n_blocks, &block);
        for (size_t col = 0; col < ACT_BLOCK; col++) {
            float d = block.d[lane] * (float)block.sub[col / 16][lane];
            float value = d * (float)block.q[col][lane];
            out[b * ACT_BLOCK + col] = has_min ? value + block.m[lane] : value;
        }
    }
}
