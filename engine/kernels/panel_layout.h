/* Bytes of a panel of 16 weight rows, one layout for all levels (private to engine/kernels).
 *
 * A quantised panel is a row of blocks of 32 columns (ACT_BLOCK, the block of the activations).
 * A column group of 4, a "quad", is one 64-byte line [16 rows][4 columns], so lane r of a vector of
 * dwords belongs to output row r and no product ever needs a sum across lanes. What is stored is an
 * unsigned code of 2 to 8 bits; of a block:
 *   8 bits    8 lines, one a quad
 *   4, 5, 6   4 lines; byte (v, row, j) holds column 4v + j in its low and column 16 + 4v + j in
 *             its high nibble: one `and`, or one shift and `and`, makes a line ready to multiply
 *   2, 3      2 lines of bit pairs: bits 2(g % 4) of byte (row, j) of line g / 4 belong to column
 *             4g + j
 *   3, 5      1 line of upper bits behind them: bit g of byte (row, j) belongs to column 4g + j
 *   6         2 lines of upper bit pairs, as the pairs of 2 bits
 * A code is the unsigned quant itself, or an index of the type's table of 16 unsigned quants;
 * `bias` says what to subtract from the quant (0 where the type has minimums).
 *
 * Scales of the 16 rows lie together. A group is a block, or a super-block of 8 blocks (NVFP4: 2);
 * behind its quants lie its sub-scales, then d and the minimum's [16] f16 where the type has
 * minimums; without minimums the d of all groups lie behind the last group, which keeps the quants
 * aligned. By enum scale_form:
 *   BLOCK     Q4_0 Q5_0 Q8_0 IQ4_NL, with m: Q4_1 Q5_1; TQ1_0 TQ2_0: one d a super-block
 *   E8M0      MXFP4: d is 2^(e - 128), stored as [16] e
 *   SIX_BITS  Q4_K Q5_K: sub-scales [12][16], byte i of the format's 12 packed bytes of all rows
 *             together: the 6-bit code stays as compact as in the file and unpacks 64 values at a
 *             time; d, dmin
 *   BLOCKS    IQ4_XS IQ3_S IQ3_XXS IQ2_XXS IQ1_S: sub-scales [8][16] i8, one a block; d
 *   HALVES    Q6_K Q3_K IQ2_XS IQ2_S IQ1_M: sub-scales [16][16] i8, one for 16 columns; d
 *   HALF_MINS Q2_K: sub-scales [16][16] u8 for 16 columns, scale in the low nibble, minimum in the
 *             high; d, dmin
 *   E4M3      NVFP4: sub-scales [4][16] unsigned e4m3 for 16 columns, not a number being 0; no d
 * `unit` is a power of two that the format puts on d.
 *
 * Types whose files hold numbers of vectors in a codebook (IQ1, IQ2, IQ3) or base-3 digits (TQ1_0)
 * are written out: 256 to 2,048 entries cannot be looked up at the speed of a product. All their
 * values are among 8 or 16 integers, so that 3 or 4 bits a weight hold them exactly. With their
 * scales IQ3 takes 4.3 bits a weight (3.1 and 3.4 in the file), IQ2 and IQ1 3.3 or 3.6 (1.6 to
 * 2.6), TQ1_0 2.1 (1.7).
 *
 * Float weights: [column][16 rows]. Panels are padded to 64 bytes. */
#ifndef WICARA_KERNELS_PANEL_LAYOUT_H
#define WICARA_KERNELS_PANEL_LAYOUT_H

#include "engine/kernels/kernels.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { SUPER_COLS = 256, SUPER_BLOCKS = SUPER_COLS / ACT_BLOCK, LINE_BYTES = 64 };

/* A block of activations whose max|x| is below this counts as zero: 127 / max must not overflow. */
#define QUANTIZE_MIN 1e-30f

enum scale_form {
    SCALE_BLOCK,
    SCALE_E8M0,
    SCALE_SIX_BITS,
    SCALE_BLOCKS,
    SCALE_HALVES,
    SCALE_HALF_MINS,
    SCALE_E4M3,
};

/* Tables of quants by code, bias added; those of 3 bits have 8 entries. */
enum quant_table {
    TABLE_NONE,
    TABLE_E2M1,
    TABLE_IQ4,
    TABLE_IQ3_XXS,
    TABLE_IQ3_S,
    TABLE_IQ2,
    TABLE_IQ1,
    TABLES
};
extern const uint8_t quant_tables[TABLES][16];

struct panel_layout {
    size_t bits;  // of a code; 0 = no such type
    enum quant_table table;
    int bias, quant_max;  // quant_max: of an unsigned quant
    enum scale_form scales;
    bool has_min;
    size_t group_blocks;
    float unit;
};

/* A constant for a constant type, so that the kernels' inner loops see numbers. */
static ALWAYS_INLINE struct panel_layout panel_layout(enum dtype dtype)
{
#define LAYOUT(...)                                                                                \
    return (struct panel_layout)                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
    switch (dtype) {
    case DTYPE_Q4_0:
        LAYOUT(4, TABLE_NONE, 8, 15, SCALE_BLOCK, false, 1, 1.0f);
    case DTYPE_Q4_1:
        LAYOUT(4, TABLE_NONE, 0, 15, SCALE_BLOCK, true, 1, 1.0f);
    case DTYPE_Q5_0:
        LAYOUT(5, TABLE_NONE, 16, 31, SCALE_BLOCK, false, 1, 1.0f);
    case DTYPE_Q5_1:
        LAYOUT(5, TABLE_NONE, 0, 31, SCALE_BLOCK, true, 1, 1.0f);
    case DTYPE_Q8_0:
        LAYOUT(8, TABLE_NONE, 128, 255, SCALE_BLOCK, false, 1, 1.0f);
    case DTYPE_Q2_K:
        LAYOUT(2, TABLE_NONE, 0, 3, SCALE_HALF_MINS, true, 8, 1.0f);
    case DTYPE_Q3_K:
        LAYOUT(3, TABLE_NONE, 4, 7, SCALE_HALVES, false, 8, 1.0f);
    case DTYPE_Q4_K:
        LAYOUT(4, TABLE_NONE, 0, 15, SCALE_SIX_BITS, true, 8, 1.0f);
    case DTYPE_Q5_K:
        LAYOUT(5, TABLE_NONE, 0, 31, SCALE_SIX_BITS, true, 8, 1.0f);
    case DTYPE_Q6_K:
        LAYOUT(6, TABLE_NONE, 32, 63, SCALE_HALVES, false, 8, 1.0f);
    case DTYPE_IQ4_NL:
        LAYOUT(4, TABLE_IQ4, 128, 241, SCALE_BLOCK, false, 1, 1.0f);
    case DTYPE_IQ4_XS:
        LAYOUT(4, TABLE_IQ4, 128, 241, SCALE_BLOCKS, false, 8, 1.0f);
    case DTYPE_MXFP4:
        LAYOUT(4, TABLE_E2M1, 12, 24, SCALE_E8M0, false, 1, 1.0f);
    case DTYPE_NVFP4:
        LAYOUT(4, TABLE_E2M1, 12, 24, SCALE_E4M3, false, 2, 1.0f);
    case DTYPE_IQ3_XXS:
        LAYOUT(4, TABLE_IQ3_XXS, 62, 124, SCALE_BLOCKS, false, 8, 0.25f);
    case DTYPE_IQ3_S:
        LAYOUT(4, TABLE_IQ3_S, 15, 30, SCALE_BLOCKS, false, 8, 1.0f);
    case DTYPE_IQ2_XXS:
        LAYOUT(3, TABLE_IQ2, 43, 86, SCALE_BLOCKS, false, 8, 0.125f);
    case DTYPE_IQ2_XS:
    case DTYPE_IQ2_S:
        LAYOUT(3, TABLE_IQ2, 43, 86, SCALE_HALVES, false, 8, 0.125f);
    case DTYPE_IQ1_S:
        LAYOUT(3, TABLE_IQ1, 9, 18, SCALE_BLOCKS, false, 8, 0.125f);
    case DTYPE_IQ1_M:
        LAYOUT(3, TABLE_IQ1, 9, 18, SCALE_HALVES, false, 8, 0.125f);
    case DTYPE_TQ1_0:
    case DTYPE_TQ2_0:
        LAYOUT(2, TABLE_NONE, 1, 3, SCALE_BLOCK, false, 8, 1.0f);
    default:
        LAYOUT(0);
    }
#undef LAYOUT
}

/* Quantised types that have kernels; and those that use the kernels of a type laid out alike. */
#define GEMM_Q8_TYPES(X)                                                                           \
    X(q4_0, Q4_0)                                                                                  \
    X(q4_1, Q4_1)                                                                                  \
    X(q5_0, Q5_0)                                                                                  \
    X(q5_1, Q5_1)                                                                                  \
    X(q8_0, Q8_0)                                                                                  \
    X(q2_k, Q2_K)                                                                                  \
    X(q3_k, Q3_K)                                                                                  \
    X(q4_k, Q4_K)                                                                                  \
    X(q5_k, Q5_K)                                                                                  \
    X(q6_k, Q6_K)                                                                                  \
    X(iq4_nl, IQ4_NL)                                                                              \
    X(iq4_xs, IQ4_XS)                                                                              \
    X(mxfp4, MXFP4)                                                                                \
    X(nvfp4, NVFP4)                                                                                \
    X(iq3_xxs, IQ3_XXS)                                                                            \
    X(iq3_s, IQ3_S)                                                                                \
    X(iq2_xxs, IQ2_XXS)                                                                            \
    X(iq2_xs, IQ2_XS)                                                                              \
    X(iq1_s, IQ1_S)                                                                                \
    X(iq1_m, IQ1_M)                                                                                \
    X(tq2_0, TQ2_0)
#define GEMM_Q8_ALIASES(X)                                                                         \
    X(iq2_xs, IQ2_S)                                                                               \
    X(tq2_0, TQ1_0)

static ALWAYS_INLINE bool scales_are_halves(enum scale_form scales)
{
    return scales == SCALE_HALVES || scales == SCALE_HALF_MINS || scales == SCALE_E4M3;
}

/* Bytes of the quants of one block. */
static ALWAYS_INLINE size_t panel_quant_bytes(enum dtype dtype)
{
    return panel_layout(dtype).bits * LINE_BYTES;
}

/* Bytes of a group's sub-scales, of its d, and from one group to the next. */
static ALWAYS_INLINE size_t panel_subscale_bytes(enum dtype dtype)
{
    struct panel_layout layout = panel_layout(dtype);
    switch (layout.scales) {
    case SCALE_SIX_BITS:
        return 12 * PANEL_ROWS;
    case SCALE_BLOCKS:
        return layout.group_blocks * PANEL_ROWS;
    case SCALE_HALVES:
    case SCALE_HALF_MINS:
    case SCALE_E4M3:
        return layout.group_blocks * 2 * PANEL_ROWS;
    default:
        return 0;
    }
}
static ALWAYS_INLINE size_t panel_scale_bytes(enum dtype dtype)
{
    struct panel_layout layout = panel_layout(dtype);
    if (layout.scales == SCALE_E4M3)
        return 0;
    return layout.scales == SCALE_E8M0 ? PANEL_ROWS : PANEL_ROWS * 2;
}
static ALWAYS_INLINE size_t panel_group_bytes(enum dtype dtype)
{
    struct panel_layout layout = panel_layout(dtype);
    size_t bytes = layout.group_blocks * panel_quant_bytes(dtype) + panel_subscale_bytes(dtype);
    return layout.has_min ? bytes + 4 * PANEL_ROWS : bytes;
}

/* Offset of the quants of block b. */
static ALWAYS_INLINE size_t panel_quants(enum dtype dtype, size_t b)
{
    size_t group_blocks = panel_layout(dtype).group_blocks;
    return b / group_blocks * panel_group_bytes(dtype) +
           b % group_blocks * panel_quant_bytes(dtype);
}

/* Offset of a group's sub-scales. */
static ALWAYS_INLINE size_t panel_subscales(enum dtype dtype, size_t b)
{
    size_t group_blocks = panel_layout(dtype).group_blocks;
    return b / group_blocks * panel_group_bytes(dtype) + group_blocks * panel_quant_bytes(dtype);
}

/* Offset of the scales d of block b's group, in a panel of n_blocks; the minimums, where the type
 * has them, lie 32 bytes behind. */
static ALWAYS_INLINE size_t panel_scales(enum dtype dtype, size_t b, size_t n_blocks)
{
    struct panel_layout layout = panel_layout(dtype);
    size_t group = b / layout.group_blocks;
    if (layout.has_min)
        return panel_subscales(dtype, b) + panel_subscale_bytes(dtype);
    return n_blocks / layout.group_blocks * panel_group_bytes(dtype) +
           group * panel_scale_bytes(dtype);
}

/* One block of 32 columns taken apart, portable code: what scalar products and unpack_row read.
 *   q    [32][16]  signed quants, bias subtracted
 *   d    [16]      of the block; BLOCKS, SIX_BITS: times the sub-scale, exact
 *   sub  [2][16]   HALVES, HALF_MINS, E4M3: scales of the two halves; 1 for all others
 *   m    [16]      minimum; SIX_BITS: -(dmin * mn), exact; HALF_MINS: -dmin; 0 without minimums
 *   mins [2][16]   HALF_MINS: what m is multiplied with in the two halves; 1 for all others */
struct panel_block {
    int16_t q[ACT_BLOCK][PANEL_ROWS];
    float d[PANEL_ROWS], sub[2][PANEL_ROWS], m[PANEL_ROWS];
    int32_t mins[2][PANEL_ROWS];
};
void panel_block_read(enum dtype dtype, const uint8_t *panel, size_t b, size_t n_blocks,
                      struct panel_block *out);

#endif
