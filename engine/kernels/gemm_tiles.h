/* How the vector levels cut a quantised product: groups of rows, slices of K, tiles (private).
 *
 * A group of activation rows and a slice of K are taken at a time over all panels. What the rows of
 * each tile contribute to each block besides their quants is prepared once for all panels, in the
 * order in which the inner loop reads it. */
#ifndef WICARA_KERNELS_GEMM_TILES_H
#define WICARA_KERNELS_GEMM_TILES_H

#include "engine/kernels/panel_layout.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum {
    TILE_ROWS_MAX = 8,
    TILE_BLOCKS = 96,  // tiles x blocks prepared at a time: 9 KiB
};

/* The rows of one tile in one block. */
struct tile_block {
    float da[TILE_ROWS_MAX];
    union {
        float dsum[TILE_ROWS_MAX];     // types with a minimum: da * sum
        int32_t start[TILE_ROWS_MAX];  // others: -bias * sum; Q6_K: of the first half
    };
    int32_t start_high[TILE_ROWS_MAX];  // Q6_K: of the second half
};

struct slice {
    const struct q8_rows *x;
    size_t n_blocks;                        // of the whole row
    size_t b_first, b_last;                 // the slice of K
    size_t first_row, n_rows;               // the group
    size_t n_tiles, tile_rows;              // how it is cut; the last tile may be lower
    struct tile_block blocks[TILE_BLOCKS];  // [n_tiles][b_last - b_first]
};

/* Tile t holds rows [slice_tile_row(t), slice_tile_row(t + 1)) of the group. */
static inline size_t slice_tile_row(const struct slice *s, size_t t)
{
    size_t row = t * s->tile_rows;
    return row < s->n_rows ? row : s->n_rows;
}

/* Tiles of about equal height, for kernels whose cost has a step at each tile: 9 rows are 5 + 4. */
static inline size_t slice_even_rows(size_t n_rows, size_t rows_max)
{
    size_t n_tiles = (n_rows + rows_max - 1) / rows_max;
    return (n_rows + n_tiles - 1) / n_tiles;
}

static ALWAYS_INLINE void slice_prepare(struct slice *s, enum dtype dtype, size_t tile_rows)
{
    struct panel_layout layout = panel_layout(dtype);
    struct tile_block *out = s->blocks;
    s->tile_rows = tile_rows;
    s->n_tiles = (s->n_rows + tile_rows - 1) / tile_rows;
    for (size_t t = 0; t < s->n_tiles; t++) {
        size_t row = s->first_row + slice_tile_row(s, t);
        size_t n_rows = s->first_row + slice_tile_row(s, t + 1) - row;
        for (size_t b = s->b_first; b < s->b_last; b++, out++) {
            for (size_t r = 0; r < n_rows; r++) {
                size_t at = (row + r) * s->n_blocks + b;
                int32_t low = (int16_t)s->x->sum[at], high = s->x->sum[at] >> 16;
                out->da[r] = s->x->d[at];
                out->start_high[r] = high * -layout.bias;
                if (layout.has_min)
                    out->dsum[r] = s->x->d[at] * (float)(low + high);
                else if (dtype == DTYPE_Q6_K)
                    out->start[r] = low * -layout.bias;
                else
                    out->start[r] = (low + high) * -layout.bias;
            }
        }
    }
}

/* The 6-bit codes of a super-block are taken apart once for its 8 blocks. */
struct super_codes {
    _Alignas(64) uint8_t scales[SUPER_BLOCKS * PANEL_ROWS];
    _Alignas(64) uint8_t mins[SUPER_BLOCKS * PANEL_ROWS];
};

#endif
