/* Products for AMX int8; bits as gemm_scalar.c specifies, because block sums are exact integers
 * whichever unit adds them up and the float formula is the same.
 *
 * One tile instruction multiplies 16 activation rows by a panel of 16 output rows over a block of
 * 32 columns; what is left is the float formula on the 256 sums. Measured on a Sapphire Rapids
 * class core: multiply and store take 5 ns each whatever the number of rows and overlap if a tile
 * is stored 3 multiplies later (9 ns a block with its loads instead of 14); the formula takes 11
 * ns, and twice as long within some 130 cycles of any tile instruction, which halve the rate of
 * 512-bit floats. So a tile is done in two phases over a slice of K: all sums into L1, then the
 * formula with 16 sums in registers: 21 ns where vpdpbusd needs 36 to 40. Interleaving the phases
 * took 34.
 *
 * Weights are expanded to signed bytes once for a group of rows, activations copied once for all
 * panels (rows 4 KiB apart would fall into one set of L1). Small batches go to gemm_avx512.c. Tile
 * instructions are written as asm: the compiler's macros do not tell it that they read memory. */
#include <string.h>

#include "engine/kernels/gemm_avx512.h"
#include "engine/kernels/kernels_fill.h"
#include "engine/kernels/pack.h"

enum {
    AMX_ROWS_MIN = 20,  // below, vpdpbusd straight from the packed nibbles is as fast
    AMX_TILE_ROWS = 16,
    AMX_GROUP_ROWS = 48,
    AMX_SLICE_BLOCKS = 12,  // of K: 12 KiB of sums, 6 of expanded quants; 20 spill out of L1
    AMX_SLICE_UNITS = 16,   // multiplications of a slice at most: 8 blocks of Q6_K
    STORE_LAG = 3,          // multiplications between that of a tile and its store
};

/* A slice of K for a group of rows: the activations, and one panel's weights. */
struct amx_slice {
    const struct q8_rows *x;
    size_t n_blocks, b_first, b_last;     // of a whole row; the slice
    size_t first_row, n_rows, tile_rows;  // the group and how it is cut
    float da[AMX_GROUP_ROWS][AMX_SLICE_UNITS];
    union {
        float dsum[AMX_GROUP_ROWS][AMX_SLICE_UNITS];    // da * sum
        int32_t sums[AMX_GROUP_ROWS][AMX_SLICE_UNITS];  // HALF_MINS: as struct q8_rows has them
    };
};
struct amx_rows {
    _Alignas(64) int8_t q[AMX_GROUP_ROWS][AMX_SLICE_UNITS * ACT_BLOCK];
};
struct expanded {
    _Alignas(64) int8_t quants[AMX_SLICE_UNITS][8][LINE_BYTES];  // signed
    _Alignas(64) float d[AMX_SLICE_UNITS][PANEL_ROWS];
    _Alignas(64) float m[AMX_SLICE_UNITS][PANEL_ROWS];
    _Alignas(64) float sub[2][AMX_SLICE_UNITS][PANEL_ROWS];
    _Alignas(64) int32_t mins[AMX_SLICE_UNITS][PANEL_ROWS];
};

/* ---- Tiles: 0..3 sums, 4 activations, 5 weights. ---- */

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "layout of LDTILECFG");

/* Types with scales for 16 columns sum 16 at a time, all others 32. */
static void tiles_configure(bool halves)
{
    struct tile_config config = {.palette = 1};
    uint8_t quads = halves ? 4 : 8;
    for (size_t i = 0; i < 6; i++) {
        config.rows[i] = i == 5 ? quads : AMX_TILE_ROWS;
        config.row_bytes[i] = i == 4 ? quads * 4 : LINE_BYTES;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

static void tiles_release(void)
{
    __asm__ volatile("tilerelease");
}

/* sums = activations at a * weights at b */
#define TILE_MULTIPLY(sums, a, b)                                                                  \
    __asm__ volatile("tilezero %%tmm" #sums "\n\t"                                                 \
                     "tileloadd (%0,%2,1), %%tmm4\n\t"                                             \
                     "tileloadd (%1,%3,1), %%tmm5\n\t"                                             \
                     "tdpbssd %%tmm5, %%tmm4, %%tmm" #sums                                         \
                     :                                                                             \
                     : "r"(a), "r"(b), "r"((size_t)AMX_SLICE_UNITS * ACT_BLOCK),                   \
                       "r"((size_t)LINE_BYTES)                                                     \
                     : "memory")
#define TILE_STORE(sums, to)                                                                       \
    __asm__ volatile("tilestored %%tmm" #sums ", (%0,%1,1)"                                        \
                     :                                                                             \
                     : "r"(to), "r"((size_t)LINE_BYTES)                                            \
                     : "memory")

struct block_sums {
    _Alignas(64) int32_t at[AMX_TILE_ROWS][PANEL_ROWS];
};

/* n sums, of consecutive `columns` (16 or 32) of 16 rows at a and of lines at b. A store waits for
 * its multiplication, so it comes STORE_LAG later. */
static ALWAYS_INLINE void tile_sums(size_t n, size_t columns, const int8_t *a, const int8_t *b,
                                    struct block_sums *sums)
{
    const size_t b_step = columns * PANEL_ROWS;
    for (size_t u = 0; u < n + STORE_LAG; u += 4) {
#define STEP(i, now, late)                                                                         \
    if (u + i >= STORE_LAG && u + i < n + STORE_LAG)                                               \
        TILE_STORE(late, &sums[u + i - STORE_LAG]);                                                \
    if (u + i < n)                                                                                 \
        TILE_MULTIPLY(now, a + (u + i) * columns, b + (u + i) * b_step);
        STEP(0, 0, 1)
        STEP(1, 1, 2)
        STEP(2, 2, 3)
        STEP(3, 3, 0)
#undef STEP
    }
}

/* n_rows activation rows, from row `row` of the group, by one expanded panel. */
static ALWAYS_INLINE void tile(enum dtype dtype, const int n_rows, const struct amx_slice *s,
                               const struct amx_rows *rows, size_t row, const struct expanded *e,
                               float *y, size_t y_stride)
{
    const struct panel_layout layout = panel_layout(dtype);
    const bool halves = scales_are_halves(layout.scales);
    const size_t units = halves ? 2 : 1;  // multiplications a block
    size_t n = s->b_last - s->b_first;
    struct block_sums sums[AMX_SLICE_UNITS];
    __m512 acc[AMX_TILE_ROWS];
    tile_sums(n * units, ACT_BLOCK / units, rows->q[row], e->quants[0][0], sums);
    __asm__ volatile("" : "=m"(sums));  // says that the tiles wrote them
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
        acc[r] = s->b_first == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(y + (size_t)r * y_stride);
    for (size_t i = 0; i < n; i++) {
        const struct block_sums *low = &sums[i * units], *high = low + units - 1;
        struct block_scales scales = {.d = _mm512_load_ps(e->d[i])};
        if (layout.has_min)
            scales.m = _mm512_load_ps(e->m[i]);
        for (size_t half = 0; halves && half < 2; half++)
            scales.sub[half] = _mm512_load_ps(e->sub[half][i]);
        if (layout.scales == SCALE_HALF_MINS)
            scales.mins = _mm512_load_si512(e->mins[i]);
#pragma GCC unroll 16
        for (int r = 0; r < n_rows; r++) {
            __m512 value = _mm512_cvtepi32_ps(_mm512_load_si512(low->at[r]));
            if (halves) {
                __m512 second = _mm512_cvtepi32_ps(_mm512_load_si512(high->at[r]));
                value = _mm512_fmadd_ps(second, scales.sub[1], _mm512_mul_ps(value, scales.sub[0]));
            }
            const size_t at = row + (size_t)r;
            acc[r] = add_block(dtype, &scales, value, s->da[at][i], s->dsum[at][i], s->sums[at][i],
                               acc[r]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < n_rows; r++)
        _mm512_storeu_ps(y + (size_t)r * y_stride, acc[r]);
}

typedef void tile_fn(const struct amx_slice *s, const struct amx_rows *rows, size_t row,
                     const struct expanded *e, float *y, size_t y_stride);

#define TILE(name, dtype, n_rows)                                                                  \
    static void tile_##name##_##n_rows(const struct amx_slice *s, const struct amx_rows *rows,     \
                                       size_t row, const struct expanded *e, float *y,             \
                                       size_t y_stride)                                            \
    {                                                                                              \
        tile(dtype, n_rows, s, rows, row, e, y, y_stride);                                         \
    }
#define EACH_HEIGHT(X, name, dtype)                                                                \
    X(name, dtype, 1)                                                                              \
    X(name, dtype, 2)                                                                              \
    X(name, dtype, 3)                                                                              \
    X(name, dtype, 4)                                                                              \
    X(name, dtype, 5)                                                                              \
    X(name, dtype, 6)                                                                              \
    X(name, dtype, 7) X(name, dtype, 8) X(name, dtype, 9) X(name, dtype, 10) X(name, dtype, 11)    \
        X(name, dtype, 12) X(name, dtype, 13) X(name, dtype, 14) X(name, dtype, 15)                \
            X(name, dtype, 16)
#define ENTRY(name, dtype, n_rows) [n_rows] = tile_##name##_##n_rows,
#define FAMILY(name, dtype)                                                                        \
    EACH_HEIGHT(TILE, name, dtype)                                                                 \
    static tile_fn *const tiles_##name[AMX_TILE_ROWS + 1] = {EACH_HEIGHT(ENTRY, name, dtype)};

/* From expanded quants only the formula is left of the type. */
FAMILY(plain, DTYPE_Q8_0)
FAMILY(min, DTYPE_Q4_1)
FAMILY(halves, DTYPE_Q6_K)
FAMILY(half_mins, DTYPE_Q2_K)

static ALWAYS_INLINE tile_fn *const *family_of(enum dtype dtype)
{
    const struct panel_layout layout = panel_layout(dtype);
    if (layout.scales == SCALE_HALF_MINS)
        return tiles_half_mins;
    if (scales_are_halves(layout.scales))
        return tiles_halves;
    return layout.has_min ? tiles_min : tiles_plain;
}

/* ---- The loops. ---- */

/* A tile is always read in full: what lies behind the last row is multiplied and not used. */
static void copy_rows(enum dtype dtype, struct amx_slice *s, struct amx_rows *rows)
{
    const bool half_mins = panel_layout(dtype).scales == SCALE_HALF_MINS;
    size_t n = s->b_last - s->b_first, n_cols = s->x->n_cols;
    for (size_t row = 0; row < s->n_rows; row++) {
        size_t at = (s->first_row + row) * s->n_blocks + s->b_first;
        const int8_t *q = s->x->q + (s->first_row + row) * n_cols + s->b_first * ACT_BLOCK;
        for (size_t i = 0; i < n; i++) {
            __m256i block = _mm256_loadu_si256((const __m256i *)(q + i * ACT_BLOCK));
            _mm256_store_si256((__m256i *)(rows->q[row] + i * ACT_BLOCK), block);
        }
        for (size_t i = 0; i < n; i += 16) {
            __mmask16 mask = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
            __m512 d = _mm512_maskz_loadu_ps(mask, s->x->d + at + i);
            __m512i both = _mm512_maskz_loadu_epi32(mask, s->x->sum + at + i);
            __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(both, 16), 16);
            __m512i sum = _mm512_add_epi32(low, _mm512_srai_epi32(both, 16));
            _mm512_mask_storeu_ps(s->da[row] + i, mask, d);
            if (half_mins)
                _mm512_mask_storeu_epi32(s->sums[row] + i, mask, both);
            else
                _mm512_mask_storeu_ps(s->dsum[row] + i, mask,
                                      _mm512_mul_ps(d, _mm512_cvtepi32_ps(sum)));
        }
    }
}

/* Blocks of the slice as signed bytes and f32 scales; meanwhile fetches what is expanded next,
 * which begins `next` bytes further on. */
static ALWAYS_INLINE void expand(enum dtype dtype, const struct amx_slice *s, const uint8_t *panel,
                                 ptrdiff_t next, struct expanded *e)
{
    const struct panel_layout layout = panel_layout(dtype);
    const __m512i bias = _mm512_set1_epi8((char)layout.bias);
    struct super_codes codes;
    for (size_t b = s->b_first, i = 0; b < s->b_last; b++, i++) {
        const uint8_t *quants = panel + panel_quants(dtype, b);
#pragma GCC unroll 8
        for (size_t line = 0; line < panel_quant_bytes(dtype); line += LINE_BYTES)
            _mm_prefetch((const char *)quants + next + line, _MM_HINT_T1);
        struct block_scales scales;
        read_scales(dtype, panel, b, s->n_blocks, &codes, &scales);
        _mm512_store_ps(e->d[i], scales.d);
        if (layout.has_min)
            _mm512_store_ps(e->m[i], scales.m);
        for (size_t half = 0; scales_are_halves(layout.scales) && half < 2; half++)
            _mm512_store_ps(e->sub[half][i], scales.sub[half]);
        if (layout.scales == SCALE_HALF_MINS)
            _mm512_store_si512(e->mins[i], scales.mins);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            __m512i low, high;
            quad_pair(dtype, quants, v, &low, &high);
            if (layout.bias != 0) {
                low = _mm512_sub_epi8(low, bias);
                high = _mm512_sub_epi8(high, bias);
            }
            _mm512_store_si512(e->quants[i][v], low);
            _mm512_store_si512(e->quants[i][v + 4], high);
        }
    }
}

/* One group and slice over all panels. */
static ALWAYS_INLINE void run_slice(enum dtype dtype, const struct amx_slice *s,
                                    const struct amx_rows *rows, const uint8_t *panels,
                                    size_t n_panels, float *y, size_t y_stride)
{
    tile_fn *const *tiles = family_of(dtype);
    struct expanded e;
    size_t panel_bytes = pack_panel_bytes(dtype, s->x->n_cols);
    /* After the last panel comes the first one's next slice. */
    ptrdiff_t next_slice =
        (ptrdiff_t)(panel_quants(dtype, s->b_last) - panel_quants(dtype, s->b_first)) -
        (ptrdiff_t)((n_panels - 1) * panel_bytes);
    for (size_t p = 0; p < n_panels; p++, panels += panel_bytes, y += PANEL_ROWS) {
        expand(dtype, s, panels, p + 1 < n_panels ? (ptrdiff_t)panel_bytes : next_slice, &e);
        for (size_t row = 0; row < s->n_rows; row += s->tile_rows) {
            size_t left = s->n_rows - row;
            tiles[left < s->tile_rows ? left : s->tile_rows](s, rows, row, &e, y + row * y_stride,
                                                             y_stride);
        }
    }
}

typedef void amx_slice_fn(const struct amx_slice *s, const struct amx_rows *rows,
                          const uint8_t *panels, size_t n_panels, float *y, size_t y_stride);

/* Slices of about equal length, whole super-blocks. */
static size_t slice_end(enum dtype dtype, size_t b_first, size_t n_blocks)
{
    size_t unit = panel_layout(dtype).group_blocks;
    bool halves = scales_are_halves(panel_layout(dtype).scales);
    size_t most = (halves ? AMX_SLICE_UNITS / 2 : AMX_SLICE_BLOCKS) / unit;
    size_t left = (n_blocks - b_first) / unit, n_slices = (left + most - 1) / most;
    return b_first + (left + n_slices - 1) / n_slices * unit;
}

/* Not inlined, so that the copied rows and the expanded weights lie in frames of their own. */
static __attribute__((noinline)) void gemm(enum dtype dtype, amx_slice_fn *run,
                                           struct amx_rows *rows, const void *panels,
                                           size_t n_panels, const struct q8_rows *x,
                                           size_t first_row, size_t n_rows, float *y,
                                           size_t y_stride)
{
    struct amx_slice s;
    s.x = x;
    s.n_blocks = x->n_cols / ACT_BLOCK;
    tiles_configure(scales_are_halves(panel_layout(dtype).scales));
    for (size_t row = 0; row < n_rows; row += AMX_GROUP_ROWS) {
        s.first_row = first_row + row;
        s.n_rows = n_rows - row < AMX_GROUP_ROWS ? n_rows - row : AMX_GROUP_ROWS;
        s.tile_rows = even_tile_rows(s.n_rows, AMX_TILE_ROWS);
        for (s.b_first = 0; s.b_first < s.n_blocks; s.b_first = s.b_last) {
            s.b_last = slice_end(dtype, s.b_first, s.n_blocks);
            copy_rows(dtype, &s, rows);
            run(&s, rows, panels, n_panels, y + row * y_stride, y_stride);
        }
    }
    tiles_release();
}

#define QUANTISED(name, type)                                                                      \
    static __attribute__((noinline)) void slice_##name(                                            \
        const struct amx_slice *s, const struct amx_rows *rows, const uint8_t *panels,             \
        size_t n_panels, float *y, size_t y_stride)                                                \
    {                                                                                              \
        run_slice(DTYPE_##type, s, rows, panels, n_panels, y, y_stride);                           \
    }                                                                                              \
    static void gemm_##name##_amx(const void *panels, size_t n_panels, const struct q8_rows *x,    \
                                  size_t first_row, size_t n_rows, float *y, size_t y_stride)      \
    {                                                                                              \
        struct amx_rows rows;                                                                      \
        if (n_rows < AMX_ROWS_MIN)                                                                 \
            gemm_##name##_avx512(panels, n_panels, x, first_row, n_rows, y, y_stride);             \
        else                                                                                       \
            gemm(DTYPE_##type, slice_##name, &rows, panels, n_panels, x, first_row, n_rows, y,     \
                 y_stride);                                                                        \
    }
GEMM_Q8_TYPES(QUANTISED)

void kernels_fill_gemm_amx(struct kernels *kernels)
{
#define FILL(name, type) kernels->gemm_q8[DTYPE_##type] = gemm_##name##_amx;
    GEMM_Q8_TYPES(FILL)
    GEMM_Q8_ALIASES(FILL)
#undef FILL
}
