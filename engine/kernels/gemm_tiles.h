/* How gemm_avx2.c and gemm_avx512.c cut a quantised product (private to engine/kernels).
 *
 * A group of activation rows and a slice of K are taken at a time over all panels; the group is cut
 * into tiles of about equal height. What the rows contribute to a block besides their quants is
 * prepared once for all panels, with fixed strides, so that a tile reaches all of it from one
 * pointer. Between slices the float sums wait in y, which changes no bit. */
#ifndef WICARA_KERNELS_GEMM_TILES_H
#define WICARA_KERNELS_GEMM_TILES_H

#include "engine/kernels/panel_layout.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum { GROUP_ROWS = 16, SLICE_BLOCKS = 48 };

struct slice {
    const struct q8_rows *x;
    size_t n_blocks;           // of a whole row
    size_t b_first, b_last;    // the slice of K, at most SLICE_BLOCKS
    size_t first_row, n_rows;  // the group, at most GROUP_ROWS
    size_t tile_rows;          // of each tile but the last, which may be lower
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
    for (size_t row = 0; row < n_rows; row += GROUP_ROWS) {
        s.first_row = first_row + row;
        s.n_rows = n_rows - row < GROUP_ROWS ? n_rows - row : GROUP_ROWS;
        s.tile_rows = even_tile_rows(s.n_rows, tile_rows_max);
        for (s.b_first = 0; s.b_first < s.n_blocks; s.b_first = s.b_last) {
            s.b_last =
                s.n_blocks - s.b_first < SLICE_BLOCKS ? s.n_blocks : s.b_first + SLICE_BLOCKS;
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
