/* How gemm_avx2.c and gemm_avx512.c cut a quantised product (private to engine/kernels).
 *
 * A group of activation rows and a slice of K are taken at a time over all panels; the group is cut
 * into tiles of about equal height. What the rows contribute to a block besides their quants is
 * prepared once for all panels, with fixed strides, so that a tile reaches all of it from one
 * pointer. Between slices the float sums wait in y, which changes no bit. */
#ifndef WICARA_KERNELS_GEMM_TILES_H
#define WICARA_KERNELS_GEMM_TILES_H

#include "engine/kernels/pack.h"
#include "engine/kernels/panel_layout.h"

/* Many rows take short slices, whose activations stay in L1. Few rows wait for the weights alone,
 * and those come faster in one piece (README.md). */
enum { GROUP_ROWS = 16, FEW_ROWS = 4, SLICE_BLOCKS = 128, SLICE_BLOCKS_MANY = 48 };

struct slice {
    const struct q8_rows *x;
    size_t n_blocks;           // of a whole row
    size_t b_first, b_last;    // the slice of K, at most SLICE_BLOCKS
    size_t first_row, n_rows;  // the group, at most GROUP_ROWS
    size_t tile_rows;          // of each tile but the last, which may be lower
    size_t panel_bytes;
    size_t jump;  // from the end of the slice in one panel to its beginning in the next
    float da[GROUP_ROWS][SLICE_BLOCKS];
    union {
        float dsum[GROUP_ROWS][SLICE_BLOCKS];    // types with a minimum: da * sum
        int32_t sums[GROUP_ROWS][SLICE_BLOCKS];  // HALF_MINS: both sums, as struct q8_rows has them
        int32_t start[GROUP_ROWS][SLICE_BLOCKS];  // others: -bias * sum; halves: of the first half
    };
    int32_t start_high[GROUP_ROWS][SLICE_BLOCKS];  // halves: of the second half
};

/* Height of tiles of about equal height: 9 rows are 5 + 4, not 8 + 1. */
static inline size_t even_tile_rows(size_t n_rows, size_t rows_max)
{
    size_t n_tiles = (n_rows + rows_max - 1) / rows_max;
    return (n_rows + n_tiles - 1) / n_tiles;
}

/* What is `bytes` ahead of block i of the slice: past the slice's end it is in the next panel. */
static ALWAYS_INLINE const uint8_t *slice_ahead(const struct slice *s, enum dtype dtype,
                                                const uint8_t *panel, size_t i, size_t bytes)
{
    const size_t block_bytes = panel_group_bytes(dtype) / panel_layout(dtype).group_blocks;
    const size_t n = s->b_last - s->b_first;
    const uint8_t *at = panel + panel_quants(dtype, s->b_first + i) + bytes;
    return i + bytes / block_bytes < n ? at : at + s->jump;
}

/* Weights come from memory once a step, so what is read next is fetched ahead: the lines of later
 * blocks, some way ahead into L1 and, with far_bytes, further ahead into L2; and, where they lie
 * apart, the scales of the next panel. Where slices and panels end and without the scales, each
 * panel would begin by waiting for memory. */
static ALWAYS_INLINE void slice_prefetch(const struct slice *s, enum dtype dtype,
                                         const uint8_t *panel, size_t i, size_t near_bytes,
                                         size_t far_bytes)
{
    const struct panel_layout layout = panel_layout(dtype);
    const size_t block_bytes = panel_group_bytes(dtype) / layout.group_blocks;
    const uint8_t *near = slice_ahead(s, dtype, panel, i, near_bytes);
    const uint8_t *far = slice_ahead(s, dtype, panel, i, far_bytes);
#pragma GCC unroll 9
    for (size_t line = 0; line < block_bytes; line += LINE_BYTES) {
        __builtin_prefetch(near + line, 0, 3);
        if (far_bytes > 0)
            __builtin_prefetch(far + line, 0, 2);
    }
    if (!layout.has_min && layout.scales != SCALE_E4M3)
        __builtin_prefetch(
            panel + panel_scales(dtype, s->b_first + i, s->n_blocks) + s->panel_bytes, 0, 3);
}

static ALWAYS_INLINE void slice_prepare(struct slice *s, enum dtype dtype)
{
    const struct panel_layout layout = panel_layout(dtype);
    const bool halves = scales_are_halves(layout.scales);
    size_t n = s->b_last - s->b_first;
    for (size_t row = 0; row < s->n_rows; row++) {
        size_t at = (s->first_row + row) * s->n_blocks + s->b_first;
        const float *d = s->x->d + at;
        const int32_t *sum = s->x->sum + at;
        for (size_t i = 0; i < n; i++) {
            int32_t low = (int16_t)sum[i], high = sum[i] >> 16;
            s->da[row][i] = d[i];
            if (layout.scales == SCALE_HALF_MINS)
                s->sums[row][i] = sum[i];
            else if (layout.has_min)
                s->dsum[row][i] = d[i] * (float)(low + high);
            else if (halves)
                s->start[row][i] = low * -layout.bias;
            else
                s->start[row][i] = (low + high) * -layout.bias;
            if (halves)
                s->start_high[row][i] = high * -layout.bias;
        }
    }
}

/* Groups and slices in order; `run` multiplies one of them by all panels into y of its first row.
 * */
typedef void slice_fn(const struct slice *s, const uint8_t *panels, size_t n_panels, float *y,
                      size_t y_stride);

static ALWAYS_INLINE void each_slice(enum dtype dtype, size_t tile_rows_max, slice_fn *run,
                                     const uint8_t *panels, size_t n_panels,
                                     const struct q8_rows *x, size_t first_row, size_t n_rows,
                                     float *y, size_t y_stride)
{
    struct slice s;
    s.x = x;
    s.n_blocks = x->n_cols / ACT_BLOCK;
    s.panel_bytes = pack_panel_bytes(dtype, x->n_cols);
    for (size_t row = 0; row < n_rows; row += GROUP_ROWS) {
        s.first_row = first_row + row;
        s.n_rows = n_rows - row < GROUP_ROWS ? n_rows - row : GROUP_ROWS;
        s.tile_rows = even_tile_rows(s.n_rows, tile_rows_max);
        for (s.b_first = 0; s.b_first < s.n_blocks; s.b_first = s.b_last) {
            size_t most = s.n_rows <= FEW_ROWS ? SLICE_BLOCKS : SLICE_BLOCKS_MANY;
            s.b_last = s.n_blocks - s.b_first < most ? s.n_blocks : s.b_first + most;
            s.jump = s.panel_bytes + panel_quants(dtype, s.b_first) - panel_quants(dtype, s.b_last);
            slice_prepare(&s, dtype);
            run(&s, panels, n_panels, y + row * y_stride, y_stride);
        }
    }
}

/* The 6-bit codes of a super-block are taken apart once for its 8 blocks. */
struct super_codes {
    _Alignas(64) uint8_t scales[SUPER_BLOCKS * PANEL_ROWS];
    _Alignas(64) uint8_t mins[SUPER_BLOCKS * PANEL_ROWS];
};

#endif
