/* Products over all rows of a step, dealt out to the pool by panels.
 *
 * All parts of one call share one pool task whose items are the panels of all parts in order, so
 * that QKV or gate|up cost one fork and join. A worker takes a run of panels at a time, small
 * enough to stay in its L2 while the kernel passes over them once for each group of rows. The
 * kernels' bits depend neither on the rows beside a row nor on how panels are grouped, so neither
 * does the result. The last panel of a weight whose rows are no multiple of 16 goes through a small
 * tile, because columns past n_rows belong to somebody else. In the precise class a row and its
 * rest are neighbours of one product into a tile, whose pairs are then added: the weights are
 * unpacked once for both.
 *
 * OpenBLAS multiplies F32 weights only where the host has no vector level of our own
 * (gemm_f32_blas): in tiles whose bits cannot depend on the batch our kernels are faster than each
 * of its cores (README.md has the figures). */
#include "engine/kernels/matmul.h"

#include <assert.h>
#include <cblas.h>
#include <pthread.h>
#include <string.h>

#include "engine/kernels/pack.h"

enum {
    RUN_BYTES = 256 * 1024,   // of a run of panels that several groups of rows pass over
    ROWS_BYTES = 768 * 1024,  // of quantised activations that stay in L2 beside the run
    ITEM_BYTES = 32 * 1024,   // weights worth a grab from the pool: about 2 us of streaming
    EDGE_ROWS = 64,           // of the tile for a partial last panel
    MANY_ROWS = 20,           // rows from which only a whole run pays for preparing all of them
    PAIR_ROWS = 24,           // of the tile for rows with a rest: enough for every level's many
    PAIR_FLOATS = 6144,       // of that tile: 24 KB of the worker's stack
    REST_COLS = 256,          // of a row's rest at a time
};

struct matmul_task {
    const struct kernels *kernels;
    const struct matmul_part *parts;
    size_t n_parts;
    const struct activations *x;
};

bool weight_needs_q8(const struct weight *weight)
{
    return weight->dtype != DTYPE_F32 && weight->dtype != DTYPE_F16 && weight->dtype != DTYPE_BF16;
}

void activations_quantize(const struct kernels *kernels, const struct activations *x, size_t row)
{
    const struct q8_rows *q8 = &x->q8;
    if (!q8->q)
        return;
    const float *from = x->f32 + row * x->n_cols;
    size_t n_blocks = x->n_cols / ACT_BLOCK, at = row * (1 + q8->has_rest);
    int8_t *q = q8->q + at * x->n_cols;
    float *d = q8->d + at * n_blocks;
    int32_t *sum = q8->sum + at * n_blocks;
    kernels->quantize_q8(from, x->n_cols, q, d, sum);
    for (size_t first = 0, n; q8->has_rest && first < x->n_cols; first += n) {
        float rest[REST_COLS];
        n = x->n_cols - first < REST_COLS ? x->n_cols - first : REST_COLS;
        for (size_t i = 0; i < n; i++)
            rest[i] = from[first + i] - d[(first + i) / ACT_BLOCK] * (float)q[first + i];
        size_t block = n_blocks + first / ACT_BLOCK;
        kernels->quantize_q8(rest, n, q + x->n_cols + first, d + block, sum + block);
    }
}

static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

static void blas_start(void)
{
    openblas_set_num_threads(1);  // our workers are the threads
    assert(openblas_get_num_threads() == 1);
}

void gemm_f32_blas(const void *panels, size_t n_panels, const float *x, size_t n_cols,
                   size_t n_rows, float *y, size_t y_stride)
{
    pthread_once(&blas_once, blas_start);
    blasint k = (blasint)n_cols;
    const float *panel = panels;
    for (size_t p = 0; p < n_panels; p++, panel += PANEL_ROWS * n_cols) {
        for (size_t row = 0; row < n_rows; row++)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 1, PANEL_ROWS, k, 1.0f,
                        x + row * n_cols, k, panel, PANEL_ROWS, 0.0f,
                        y + row * y_stride + p * PANEL_ROWS, PANEL_ROWS);
    }
}

static gemm_float_fn *gemm_float_of(const struct kernels *kernels, enum dtype dtype)
{
    bool use_blas = dtype == DTYPE_F32 && kernels_best_level() == CPU_SCALAR;
    return use_blas ? gemm_f32_blas : kernels->gemm_float[dtype];
}

/* A part with its activations and rows filled in. */
struct rows {
    const struct activations *x;
    size_t first;
    size_t n;
};

static struct rows rows_of(const struct matmul_task *task, const struct matmul_part *part)
{
    const struct activations *x = part->x ? part->x : task->x;
    return (struct rows){x, part->n_rows ? part->first_row : 0,
                         part->n_rows ? part->n_rows : x->n_rows};
}

/* The same for rows with a rest: both by one product into a tile, then added. */
static void multiply_pairs(gemm_q8_fn *gemm, const uint8_t *panels, size_t panel_bytes,
                           size_t n_panels, const struct q8_rows *x, size_t row, size_t n_rows,
                           float *y, size_t y_stride)
{
    float tile[PAIR_FLOATS] __attribute__((aligned(64)));
    size_t rows_most = n_rows < PAIR_ROWS ? n_rows : PAIR_ROWS;
    size_t panels_most = PAIR_FLOATS / (2 * rows_most * PANEL_ROWS);
    for (size_t panel = 0, n; panel < n_panels; panel += n) {
        n = n_panels - panel < panels_most ? n_panels - panel : panels_most;
        size_t width = n * PANEL_ROWS;
        for (size_t first = 0; first < n_rows; first += rows_most) {
            size_t rows = n_rows - first < rows_most ? n_rows - first : rows_most;
            gemm(panels + panel * panel_bytes, n, x, 2 * (row + first), 2 * rows, tile, width);
            for (size_t r = 0; r < rows; r++) {
                const float *pair = tile + 2 * r * width;
                float *to = y + (first + r) * y_stride + panel * PANEL_ROWS;
                for (size_t i = 0; i < width; i++)
                    to[i] = pair[i] + pair[width + i];
            }
        }
    }
}

/* n_panels panels of one weight from `panels` on, rows [row, row + n_rows) of x. */
static void multiply(const struct matmul_task *task, const struct activations *x,
                     const struct weight *weight, const uint8_t *panels, size_t n_panels,
                     size_t row, size_t n_rows, float *y, size_t y_stride)
{
    if (weight_needs_q8(weight)) {
        gemm_q8_fn *gemm = task->kernels->gemm_q8[weight->dtype];
        if (x->q8.has_rest)
            multiply_pairs(gemm, panels, weight->panel_bytes, n_panels, &x->q8, row, n_rows, y,
                           y_stride);
        else
            gemm(panels, n_panels, &x->q8, row, n_rows, y, y_stride);
        return;
    }
    gemm_float_fn *gemm = gemm_float_of(task->kernels, weight->dtype);
    gemm(panels, n_panels, x->f32 + row * x->n_cols, x->n_cols, n_rows, y, y_stride);
}

static void multiply_edge(const struct matmul_task *task, const struct matmul_part *part,
                          const struct rows *rows)
{
    const struct weight *weight = part->weight;
    size_t panel = weight->n_panels - 1, n_used = weight->n_rows - panel * PANEL_ROWS;
    const uint8_t *panels = (const uint8_t *)weight->panels + panel * weight->panel_bytes;
    float tile[EDGE_ROWS * PANEL_ROWS];
    for (size_t row = 0; row < rows->n; row += EDGE_ROWS) {
        size_t left = rows->n - row, n_rows = left < EDGE_ROWS ? left : EDGE_ROWS;
        multiply(task, rows->x, weight, panels, 1, rows->first + row, n_rows, tile, PANEL_ROWS);
        for (size_t r = 0; r < n_rows; r++)
            memcpy(part->y + (row + r) * part->y_stride + panel * PANEL_ROWS, tile + r * PANEL_ROWS,
                   n_used * sizeof *tile);
    }
}

static void multiply_part(const struct matmul_task *task, const struct matmul_part *part,
                          size_t first, size_t last)
{
    const struct weight *weight = part->weight;
    const struct rows rows = rows_of(task, part);
    bool has_edge = last == weight->n_panels && weight->n_rows % PANEL_ROWS != 0;
    size_t run = RUN_BYTES / weight->panel_bytes, block = ROWS_BYTES / rows.x->n_cols;
    run = run > 0 ? run : 1;
    block = block > EDGE_ROWS ? block : EDGE_ROWS;
    last -= has_edge;
    for (size_t row = 0; row < rows.n; row += block) {
        size_t n_rows = rows.n - row < block ? rows.n - row : block;
        for (size_t panel = first; panel < last; panel += run) {
            const uint8_t *panels = (const uint8_t *)weight->panels + panel * weight->panel_bytes;
            multiply(task, rows.x, weight, panels, last - panel < run ? last - panel : run,
                     rows.first + row, n_rows, part->y + row * part->y_stride + panel * PANEL_ROWS,
                     part->y_stride);
        }
    }
    if (has_edge)
        multiply_edge(task, part, &rows);
}

static void matmul_worker(void *context, size_t first, size_t last, size_t worker)
{
    const struct matmul_task *task = context;
    (void)worker;
    size_t start = 0;  // first item of the part
    for (size_t i = 0; i < task->n_parts && start < last; i++) {
        const struct matmul_part *part = &task->parts[i];
        size_t end = start + part->weight->n_panels;
        if (first < end) {
            size_t to = last < end ? last : end;
            multiply_part(task, part, (first > start ? first : start) - start, to - start);
        }
        start = end;
    }
}

void matmul_many(const struct kernels *kernels, struct pool *pool, const struct matmul_part *parts,
                 size_t n_parts, const struct activations *x)
{
    struct matmul_task task = {kernels, parts, n_parts, x};
    size_t n_panels = 0, bytes = 0, row_panels = 0;
    for (size_t i = 0; i < n_parts; i++) {
        const struct weight *weight = parts[i].weight;
        const struct rows rows = rows_of(&task, &parts[i]);
        assert(weight->n_cols == rows.x->n_cols && weight->n_panels > 0);
        assert(rows.first + rows.n <= rows.x->n_rows);
        assert(weight_needs_q8(weight) ? rows.x->q8.q && rows.x->q8.n_cols == rows.x->n_cols
                                       : rows.x->f32 != NULL);
        n_panels += weight->n_panels;
        bytes += weight->n_panels * weight->panel_bytes;
        row_panels += rows.n * weight->n_panels;
    }
    if (row_panels == 0)
        return;
    /* Rows cost arithmetic where bytes cost bandwidth: from about 4 rows on it dominates. */
    size_t n_rows = row_panels / n_panels;
    size_t panel_cost = bytes / n_panels * (1 + n_rows / 4);
    size_t grain = ITEM_BYTES / (panel_cost ? panel_cost : 1);
    size_t run = RUN_BYTES * n_panels / bytes, share = n_panels / (3 * pool_threads(pool));
    if (n_rows >= MANY_ROWS && grain < run)
        grain = run < share ? run : share;
    pool_run(pool, n_panels, grain > 0 ? grain : 1, matmul_worker, &task);
}

void matmul(const struct kernels *kernels, struct pool *pool, const struct weight *weight,
            const struct activations *x, float *y, size_t y_stride)
{
    struct matmul_part part = {.weight = weight, .y = y, .y_stride = y_stride};
    matmul_many(kernels, pool, &part, 1, x);
}
