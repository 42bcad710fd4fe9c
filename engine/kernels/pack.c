/* Packing of stored rows into panels and reading them back; the layout is in panel_layout.h.
 *
 * Packing runs once a load (or never, with a packed cache), but a user waits for it: it moves and
 * masks dwords, four columns at a time, and never looks at single elements. What is particular to a
 * stored format is in pack_codes.h. panel_block_read() is the opposite: element by element, plain
 * enough to be read as the definition of the layout. Nothing here checks the weights: every bit
 * pattern is a legal block. */
#include "engine/kernels/pack.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/kernels/pack_codes.h"
#include "engine/kernels/panel_layout.h"

#define EACH_BYTE 0x01010101u

/* In the order of the codes; unused ones mean 0. Half the values of OCP's E2M1: sign, 2 bits of
 * exponent, 1 of mantissa. IQ3: sign, 3 bits of index. IQ2: sign, 2 bits of index into 8, 25, 43.
 * IQ1: 8 times (-1, 0, 1), plus 1 or less 1. */
#define TABLE(bias, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)                                \
    {                                                                                              \
        (bias) + (a), (bias) + (b), (bias) + (c), (bias) + (d), (bias) + (e), (bias) + (f),        \
            (bias) + (g), (bias) + (h), (bias) + (i), (bias) + (j), (bias) + (k), (bias) + (l),    \
            (bias) + (m), (bias) + (n), (bias) + (o), (bias) + (p)                                 \
    }
const uint8_t quant_tables[TABLES][16] = {
    [TABLE_E2M1] = TABLE(12, 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12),
    [TABLE_IQ4] =
        TABLE(128, -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
    [TABLE_IQ3_XXS] =
        TABLE(62, 4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62),
    [TABLE_IQ3_S] = TABLE(15, 1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15),
    [TABLE_IQ2] = TABLE(43, 8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    [TABLE_IQ1] = TABLE(9, -7, 1, 9, 0, -9, -1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0),
};
#undef TABLE

static bool is_float(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

bool pack_supports(enum dtype dtype)
{
    return is_float(dtype) || panel_layout(dtype).bits > 0;
}

size_t pack_panel_bytes(enum dtype dtype, size_t n_cols)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t bytes;
    if (!info || !pack_supports(dtype) || n_cols == 0 || n_cols % info->block_elements != 0)
        return 0;
    size_t group_bytes = PANEL_ROWS * info->block_bytes;
    if (!is_float(dtype)) {
        group_bytes = panel_group_bytes(dtype);
        group_bytes += panel_layout(dtype).has_min ? 0 : panel_scale_bytes(dtype);
    }
    if (!size_mul(n_cols / info->block_elements, group_bytes, &bytes) ||
        !size_add(bytes, LINE_BYTES - 1, &bytes))
        return 0;
    return bytes / LINE_BYTES * LINE_BYTES;
}

/* ---- Packing: one stored block of one row into its place in the panel. ---- */

/* Dword `line` of a row in a run of lines. */
static ALWAYS_INLINE void store_line(uint8_t *lines, size_t line, size_t row, uint32_t value)
{
    memcpy(lines + line * LINE_BYTES + row * 4, &value, sizeof value);
}

/* Bit pairs of four quads, from bit `from` of each code, in one dword. */
static ALWAYS_INLINE uint32_t gather_pairs(const uint32_t quads[4], unsigned from)
{
    uint32_t out = 0;
    for (size_t i = 0; i < 4; i++)
        out |= ((quads[i] >> from) & (3 * EACH_BYTE)) << (2 * i);
    return out;
}

static ALWAYS_INLINE uint32_t gather_bits(const uint32_t quads[8], unsigned from)
{
    uint32_t out = 0;
    for (size_t i = 0; i < 8; i++)
        out |= ((quads[i] >> from) & EACH_BYTE) << i;
    return out;
}

/* Codes of 32 columns of a row into the lines of its block. */
static ALWAYS_INLINE void store_codes(size_t bits, const uint32_t quads[8], uint8_t *quants,
                                      size_t row)
{
    if (bits == 8) {
        for (size_t quad = 0; quad < 8; quad++)
            store_line(quants, quad, row, quads[quad]);
        return;
    }
    if (bits < 4) {
        for (size_t line = 0; line < 2; line++)
            store_line(quants, line, row, gather_pairs(quads + 4 * line, 0));
        if (bits == 3)
            store_line(quants, 2, row, gather_bits(quads, 2));
        return;
    }
    for (size_t v = 0; v < 4; v++)
        store_line(quants, v, row,
                   (quads[v] & (15 * EACH_BYTE)) | (quads[v + 4] & (15 * EACH_BYTE)) << 4);
    if (bits == 5)
        store_line(quants, 4, row, gather_bits(quads, 4));
    for (size_t line = 0; bits == 6 && line < 2; line++)
        store_line(quants, 4 + line, row, gather_pairs(quads + 4 * line, 4));
}

static ALWAYS_INLINE void pack_row(enum dtype dtype, size_t n_cols, const uint8_t *source,
                                   uint8_t *panel, size_t row)
{
    const struct dtype_info *info = dtype_info(dtype);
    struct panel_layout layout = panel_layout(dtype);
    size_t n_blocks = n_cols / ACT_BLOCK;
    for (size_t b = 0; b < n_blocks; b += layout.group_blocks, source += info->block_bytes) {
        stored_scales(dtype, source, row, panel + panel_subscales(dtype, b),
                      panel + panel_scales(dtype, b, n_blocks));
        for (size_t i = 0; i < layout.group_blocks; i++) {
            uint32_t quads[8];
            stored_codes(dtype, source, i, quads);
            store_codes(layout.bits, quads, panel + panel_quants(dtype, b + i), row);
        }
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
        if (!rows[row])
            continue;
        switch (dtype) {
#define PACK(name, type)                                                                           \
    case DTYPE_##type:                                                                             \
        pack_row(DTYPE_##type, n_cols, rows[row], panel, row);                                     \
        break;
            GEMM_Q8_TYPES(PACK)
            GEMM_Q8_ALIASES(PACK)
#undef PACK
        default:
            break;
        }
    }
}

/* ---- Reading: the layout, element by element. ---- */

static unsigned code_at(size_t bits, const uint8_t *quants, size_t col, size_t row)
{
    size_t quad = col / 4, j = col % 4, byte = 4 * row + j;
    if (bits == 8)
        return quants[quad * LINE_BYTES + byte];
    const uint8_t *upper = quants + (bits < 4 ? 2 : 4) * LINE_BYTES;
    unsigned low = bits < 4 ? quants[quad / 4 * LINE_BYTES + byte] >> (2 * (quad % 4)) & 3
                            : quants[quad % 4 * LINE_BYTES + byte] >> (quad < 4 ? 0 : 4) & 15;
    if (bits == 3 || bits == 5)
        return low | (upper[byte] >> quad & 1u) << (bits - 1);
    if (bits == 6)
        return low | (upper[quad / 4 * LINE_BYTES + byte] >> (2 * (quad % 4)) & 3u) << 4;
    return low;
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

static float load_f16(const uint8_t *from)
{
    uint16_t half;
    memcpy(&half, from, 2);
    return f32_from_f16(half);
}

/* d, sub-scales and minimum of one row; `i` is the block's place in its group. */
static void read_scales(enum dtype dtype, const uint8_t *subscales, const uint8_t *scales, size_t i,
                        size_t row, struct panel_block *out)
{
    struct panel_layout layout = panel_layout(dtype);
    float d = layout.scales == SCALE_E8M0   ? f32_from_e8m0_half(scales[row])
              : layout.scales == SCALE_E4M3 ? 1.0f
                                            : load_f16(scales + 2 * row) * layout.unit;
    float m = layout.has_min ? load_f16(scales + 32 + 2 * row) : 0.0f;
    for (size_t half = 0; half < 2; half++) {
        out->sub[half][row] = 1.0f;
        out->mins[half][row] = 1;
        if (!scales_are_halves(layout.scales))
            continue;
        uint8_t code = subscales[(2 * i + half) * PANEL_ROWS + row];
        if (layout.scales == SCALE_HALVES) {
            out->sub[half][row] = (float)(int8_t)code;
        } else if (layout.scales == SCALE_E4M3) {
            out->sub[half][row] = f32_from_e4m3_half(code);
        } else {
            out->sub[half][row] = (float)(code & 15);
            out->mins[half][row] = code >> 4;
        }
    }
    if (layout.scales == SCALE_BLOCKS)
        d *= (float)(int8_t)subscales[i * PANEL_ROWS + row];
    if (layout.scales == SCALE_SIX_BITS) {
        unsigned scale, min;
        subscale_6bit(subscales + row, i, &scale, &min);
        d *= (float)scale;
        m = -(m * (float)min);
    }
    out->d[row] = d;
    out->m[row] = layout.scales == SCALE_HALF_MINS ? -m : m;
}

void panel_block_read(enum dtype dtype, const uint8_t *panel, size_t b, size_t n_blocks,
                      struct panel_block *out)
{
    struct panel_layout layout = panel_layout(dtype);
    const uint8_t *quants = panel + panel_quants(dtype, b);
    for (size_t col = 0; col < ACT_BLOCK; col++) {
        for (size_t row = 0; row < PANEL_ROWS; row++) {
            unsigned quant = code_at(layout.bits, quants, col, row);
            if (layout.table != TABLE_NONE)
                quant = quant_tables[layout.table][quant];
            out->q[col][row] = (int16_t)((int)quant - layout.bias);
        }
    }
    for (size_t row = 0; row < PANEL_ROWS; row++)
        read_scales(dtype, panel + panel_subscales(dtype, b),
                    panel + panel_scales(dtype, b, n_blocks), b % layout.group_blocks, row, out);
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
            size_t half = col / 16;
            float value = block.d[lane] * block.sub[half][lane] * (float)block.q[col][lane];
            float min = block.m[lane] * (float)block.mins[half][lane];
            out[b * ACT_BLOCK + col] = has_min ? value + min : value;
        }
    }
}
