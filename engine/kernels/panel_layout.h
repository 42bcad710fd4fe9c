/* Bytes of a panel of 16 weight rows, one layout for all levels (private to engine/kernels).
 *
 * A quantised panel is a row of blocks of 32 columns (ACT_BLOCK, the block of the activations).
 * A column group of 4, a "quad", is one 64-byte line [16 rows][4 columns], so lane r of a vector of
 * dwords belongs to output row r and no product ever needs a sum across lanes. Of one block:
 *   low    4 lines; byte (v, row, j) holds column 4v + j in its low and column 16 + 4v + j in its
 *          high nibble: one `and`, or one shift and `and`, makes a line that is ready to multiply.
 *          8-bit types have 8 lines instead, one a quad, stored as q + 128 (unsigned).
 *   high   fifth bits: 1 line; bit g of byte (row, j) belongs to column 4g + j.
 *          fifth and sixth bits: 2 lines; bits 2(g % 4) of byte (row, j) of line g / 4.
 * Quants are unsigned everywhere; `bias` says what to subtract (0 where the type has minimums).
 * Scales of the 16 rows lie together: [16] f16, and [16] f16 minimums behind them.
 *   Q4_1 Q5_1         block: quants, d, m                 (multiples of 64: one stream)
 *   Q4_0 Q5_0 Q8_0    quants of all blocks, then d of all blocks   (keeps the quants aligned)
 *   Q4_K Q5_K         super-block of 8 blocks: quants, scales [12][16] (byte i of the format's 12
 *                     packed bytes of all rows together: the 6-bit code stays as compact as in the
 *                     file and unpacks 64 values at a time), d, dmin
 *   Q6_K              super-block: quants, scales [16][16] i8; d of all super-blocks at the end
 *   F32 F16 BF16      [column][16 rows]
 * Panels are padded to 64 bytes. */
#ifndef WICARA_KERNELS_PANEL_LAYOUT_H
#define WICARA_KERNELS_PANEL_LAYOUT_H

#include "engine/kernels/kernels.h"

enum { SUPER_COLS = 256, SUPER_BLOCKS = SUPER_COLS / ACT_BLOCK, LINE_BYTES = 64 };

/* A block of activations whose max|x| is below this counts as zero: 127 / max must not overflow. */
#define QUANTIZE_MIN 1e-30f

struct panel_layout {
    size_t quant_bytes;   // of one block of 32 columns: low lines and high lines
    size_t group_blocks;  // blocks that lie together: 1, or 8 in a super-block
    size_t group_bytes;   // from one group to the next
    size_t scale_start;   // of d: in the group, or behind all groups when it is d_apart
    bool d_apart;         // d of all groups lies behind the last group, 32 bytes each
    bool has_min;
    int bias;
};

/* A constant for a constant type, so that the kernels' inner loops see numbers. */
static inline __attribute__((always_inline)) struct panel_layout panel_layout(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q4_0:
        return (struct panel_layout){256, 1, 256, 0, true, false, 8};
    case DTYPE_Q4_1:
        return (struct panel_layout){256, 1, 320, 256, false, true, 0};
    case DTYPE_Q5_0:
        return (struct panel_layout){320, 1, 320, 0, true, false, 16};
    case DTYPE_Q5_1:
        return (struct panel_layout){320, 1, 384, 320, false, true, 0};
    case DTYPE_Q8_0:
        return (struct panel_layout){512, 1, 512, 0, true, false, 128};
    case DTYPE_Q4_K:
        return (struct panel_layout){256, 8, 2304, 2240, false, true, 0};
    case DTYPE_Q5_K:
        return (struct panel_layout){320, 8, 2816, 2752, false, true, 0};
    case DTYPE_Q6_K:
        return (struct panel_layout){384, 8, 3328, 0, true, false, 32};
    default:
        return (struct panel_layout){0};
    }
}

/* Offset of the quants of block b. */
static inline __attribute__((always_inline)) size_t panel_quants(enum dtype dtype, size_t b)
{
    struct panel_layout layout = panel_layout(dtype);
    return b / layout.group_blocks * layout.group_bytes +
           b % layout.group_blocks * layout.quant_bytes;
}

/* Offset of the [16] f16 scales d of block b's group, in a panel of n_blocks; the minimums, where
 * the type has them, lie 32 bytes behind. */
static inline __attribute__((always_inline)) size_t panel_scales(enum dtype dtype, size_t b,
                                                                 size_t n_blocks)
{
    struct panel_layout layout = panel_layout(dtype);
    size_t group = b / layout.group_blocks;
    if (layout.d_apart)
        return n_blocks / layout.group_blocks * layout.group_bytes + group * 32;
    return group * layout.group_bytes + layout.scale_start;
}

/* Offset of a super-block's sub-scales. */
static inline __attribute__((always_inline)) size_t panel_subscales(enum dtype dtype, size_t b)
{
    struct panel_layout layout = panel_layout(dtype);
    return b / SUPER_BLOCKS * layout.group_bytes + SUPER_BLOCKS * layout.quant_bytes;
}

/* One block of 32 columns taken apart, portable code: what scalar products and unpack_row read.
 *   q     [32][16]  signed quants, bias subtracted
 *   d, m  [16]      Q4_K, Q5_K: d * sc and -(dmin * mn), both exact; m 0 without minimums
 *   sub   [2][16]   Q6_K: scales of the two halves; 1 for all others */
struct panel_block {
    int16_t q[ACT_BLOCK][PANEL_ROWS];
    float d[PANEL_ROWS], m[PANEL_ROWS];
    int32_t sub[2][PANEL_ROWS];
};
void panel_block_read(enum dtype dtype, const uint8_t *panel, size_t b, size_t n_blocks,
                      struct panel_block *out);

#endif
