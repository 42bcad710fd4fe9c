/* Products and the quantiser: every level against the scalar specification, bit for bit, for all
 * row counts around a tile, any number of panels, any first row, and every kind of value, with
 * unreadable pages behind the buffers; the specification itself against float64 and against the
 * weights as dequantize_row() reads them.
 *
 * The specification runs once a (type, columns, fill) for the largest batch. Each level then
 * repeats it in other shapes: its row r of n must be the reference's row r, which also says that a
 * row's bits do not depend on the batch. `--bench` prints GB/s of weights and GOP/s. */
#include "tests/kernels/weights.h"

enum { ROWS_MAX = 64, FIRST_MAX = 3, PANELS_MAX = 36, COLS_MAX = 4352, Y_EXTRA = 5 };

static const size_t row_counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 64};
static const size_t panel_counts[] = {0, 1, 2, 3, 5, PANELS_MAX};

static struct guarded panels_buffer, q_buffer, d_buffer, sum_buffer, f_buffer, y_buffer;
static float reference[ROWS_MAX + FIRST_MAX][PANELS_MAX * PANEL_ROWS];

static uint64_t random_bits(uint32_t stream, size_t i)
{
    return rng_bits(13, stream, (uint32_t)i, 0);
}

/* Activations as a quantiser could have made them; extremes are runs of +-127. */
static struct q8_rows make_q8(size_t n_rows, size_t n_cols, enum fill fill)
{
    struct q8_rows x = {.n_cols = n_cols};
    size_t n_blocks = n_rows * n_cols / ACT_BLOCK;
    x.q = guarded_place(&q_buffer, n_rows * n_cols);
    x.d = guarded_place(&d_buffer, n_blocks * sizeof(float));
    x.sum = guarded_place(&sum_buffer, n_blocks * sizeof(int32_t));
    for (size_t b = 0; b < n_blocks; b++) {
        int sums[2] = {0, 0};
        for (size_t i = 0; i < ACT_BLOCK; i++) {
            uint64_t bits = random_bits(1, b * ACT_BLOCK + i);
            int q = fill == FILL_ZEROS ? 0 : (int)(bits % 255) - 127;
            if (fill == FILL_EXTREMES)
                q = random_bits(2, b) % 3 == 0 ? (bits % 2 ? 127 : -127)
                                               : (random_bits(2, b) % 3 == 1 ? 127 : -127);
            x.q[b * ACT_BLOCK + i] = (int8_t)q;
            sums[i / 16] += q;
        }
        x.sum[b] = (int32_t)((uint32_t)sums[1] << 16 | ((uint32_t)sums[0] & 0xffffu));
        x.d[b] = fill == FILL_DENORMALS ? 1e-35f : fill_value(FILL_RANDOM, 5, b) * 0.01f;
        if (fill == FILL_SPECIALS && b % 7 == 3)
            x.d[b] = b % 2 ? INFINITY : NAN;
    }
    return x;
}

static void run(const struct kernels *k, enum dtype dtype, const uint8_t *panels, size_t n_panels,
                const struct q8_rows *x, const float *xf, size_t n_cols, size_t first_row,
                size_t n_rows, float *y, size_t y_stride)
{
    if (is_quantised(dtype))
        k->gemm_q8[dtype](panels, n_panels, x, first_row, n_rows, y, y_stride);
    else
        k->gemm_float[dtype](panels, n_panels, xf + first_row * n_cols, n_cols, n_rows, y,
                             y_stride);
}

/* y of one shape against the reference; what lies between the rows must stay as it was. */
static void check_shape(const struct kernels *k, enum dtype dtype, const struct q8_rows *x,
                        const float *xf, size_t n_cols, size_t first_row, size_t n_rows,
                        size_t n_panels)
{
    size_t width = n_panels * PANEL_ROWS, stride = width + Y_EXTRA;
    size_t n = n_rows ? (n_rows - 1) * stride + width : 0;
    float *y = guarded_place(&y_buffer, n * sizeof(float));
    run(k, dtype, panels_buffer.data, n_panels, x, xf, n_cols, first_row, n_rows, y, stride);
    for (size_t row = 0; row < n_rows; row++) {
        const float *at = y + row * stride;
        check_floats(reference[first_row + row], at, width, "y");
        static const uint8_t untouched[Y_EXTRA * sizeof(float)] = {[0 ... 19] = 0x5a};
        if (row + 1 < n_rows && memcmp(at + width, untouched, sizeof untouched) != 0)
            check_fail("wrote past the last panel of row %zu", row);
    }
    guarded_check(&y_buffer, "y");
}

/* |error| of one element against float64: each of the fmas and products of a block errs by half a
 * unit of the running sum, so the number of blocks times the sum of magnitudes bounds it. */
static void check_float64(enum dtype dtype, const struct q8_rows *x, const float *xf, size_t n_cols,
                          enum fill fill, uint32_t first_stream)
{
    static uint8_t stored[COLS_MAX * 4];
    static float row_values[COLS_MAX];
    for (size_t i = 0; i < 2 * PANEL_ROWS; i++) {
        make_row(dtype, n_cols, fill, first_stream + (uint32_t)i, stored);
        dequantize_row(dtype, stored, n_cols, row_values);
        for (size_t row = 0; row < 3; row++) {
            double sum = 0, magnitude = 0;
            for (size_t col = 0; col < n_cols; col++) {
                size_t at = row * n_cols + col;
                double value = row_values[col];
                value *= is_quantised(dtype) ? (double)x->q[at] * x->d[at / ACT_BLOCK] : xf[at];
                sum += value;
                magnitude += fabs(value);
            }
            double steps =
                is_quantised(dtype) ? 3.0 * (double)n_cols / ACT_BLOCK + 3 : (double)n_cols / 2 + 2;
            /* With minimums the two terms of a block may cancel: their magnitudes are up to 32
             * times what is left of them. */
            double bound = steps * 0x1p-24 * magnitude * (is_quantised(dtype) ? 32 : 1) + 1e-44;
            if (!(fabs(reference[row][i] - sum) <= bound))
                check_fail("row %zu output %zu is %g, float64 says %g (bound %g)", row, i,
                           (double)reference[row][i], sum, bound);
        }
    }
}

static void check_type(const struct kernels *const tables[CPU_LEVELS], enum dtype dtype,
                       size_t n_cols, enum fill fill)
{
    const char *type = dtype_info(dtype)->name;
    size_t rows_all = ROWS_MAX + FIRST_MAX,
           panels_all = fill == FILL_RANDOM && n_cols <= 1536 ? PANELS_MAX : 5;
    uint32_t first_stream = (uint32_t)(dtype * 7919 + fill * 101);
    struct q8_rows x = make_q8(rows_all, is_quantised(dtype) ? n_cols : ACT_BLOCK, fill);
    float *xf = guarded_place(&f_buffer, rows_all * n_cols * sizeof(float));
    fill_floats(xf, rows_all * n_cols, fill == FILL_EXTREMES ? FILL_RANDOM : fill, 9);
    uint8_t *panels = guarded_place(&panels_buffer, panels_all * pack_panel_bytes(dtype, n_cols));
    make_panels(dtype, n_cols, panels_all, fill, first_stream, panels);
    check_begin("gemm %s scalar cols %zu fill %s", type, n_cols, fill_names[fill]);
    run(tables[CPU_SCALAR], dtype, panels, panels_all, &x, xf, n_cols, 0, rows_all, reference[0],
        PANELS_MAX * PANEL_ROWS);
    if (fill == FILL_RANDOM || fill == FILL_ZEROS)
        check_float64(dtype, &x, xf, n_cols, fill, first_stream);
    for (int level = 0; level < CPU_LEVELS; level++) {
        for (EACH(r, row_counts)) {
            for (EACH(p, panel_counts)) {
                size_t n_rows = row_counts[r], n_panels = panel_counts[p];
                size_t first_row = (r + p) % (FIRST_MAX + 1);
                /* The scalar level repeats itself only where that is cheap. */
                if (!tables[level] || n_panels > panels_all ||
                    (level == CPU_SCALAR && n_rows * n_panels > 30))
                    continue;
                check_begin("gemm %s %s rows %zu (from %zu) panels %zu cols %zu fill %s", type,
                            tables[level]->name, n_rows, first_row, n_panels, n_cols,
                            fill_names[fill]);
                check_shape(tables[level], dtype, &x, xf, n_cols, first_row, n_rows, n_panels);
            }
        }
    }
}

/* A quantised row against the scalar one, and the scalar one against its definition. */
static void check_quantize(const struct kernels *spec, const struct kernels *k, size_t n,
                           enum fill fill, float scale)
{
    check_begin("quantize_q8 %s n %zu fill %s scale %g", k->name, n, fill_names[fill],
                (double)scale);
    float *x = guarded_place(&f_buffer, n * sizeof(float));
    fill_floats(x, n, fill, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        x[i] = i % 96 < 64 ? x[i] * scale : rintf(x[i] * 40) + 0.5f;  // ties in every third block
    static int8_t q[COLS_MAX];
    static float d[COLS_MAX / ACT_BLOCK];
    static int32_t sum[COLS_MAX / ACT_BLOCK];
    spec->quantize_q8(x, n, q, d, sum);
    int8_t *q_out = guarded_place(&q_buffer, n);
    float *d_out = guarded_place(&d_buffer, n / ACT_BLOCK * sizeof(float));
    int32_t *sum_out = guarded_place(&sum_buffer, n / ACT_BLOCK * sizeof(int32_t));
    k->quantize_q8(x, n, q_out, d_out, sum_out);
    check_floats(d, d_out, n / ACT_BLOCK, "d");
    if (memcmp(q, q_out, n) != 0)
        check_fail("q differs");
    if (memcmp(sum, sum_out, n / ACT_BLOCK * sizeof(int32_t)) != 0)
        check_fail("sum differs");
    for (size_t b = 0; b < n / ACT_BLOCK; b++) {
        int sums[2] = {0, 0};
        for (size_t i = 0; i < ACT_BLOCK; i++) {
            sums[i / 16] += q[b * ACT_BLOCK + i];
            double value = x[b * ACT_BLOCK + i];
            double error = fabs(value - q[b * ACT_BLOCK + i] * (double)d[b]);
            if (isfinite(d[b]) && error > 0.5001 * d[b] + 1e-30)
                check_fail("[%zu] %g became %d * %g", b * ACT_BLOCK + i, value,
                           q[b * ACT_BLOCK + i], (double)d[b]);
            if (q[b * ACT_BLOCK + i] == -128 || (!isfinite(value) && isfinite(d[b])))
                check_fail("[%zu] q is -128, or an infinity or NaN was lost", b * ACT_BLOCK + i);
        }
        if ((int16_t)sum[b] != sums[0] || sum[b] >> 16 != sums[1])
            check_fail("sums of block %zu are wrong", b);
    }
    guarded_check(&q_buffer, "q");
    guarded_check(&d_buffer, "d");
    guarded_check(&sum_buffer, "sum");
}

/* ---- Speed. ---- */

enum { HUGE_BYTES = 2 << 20 };

/* Of the thread alone: what neighbours on a busy machine take does not count. */
static double thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* GB/s of weights and GOP/s for one shape: the least of some passes over n_panels panels. */
static void bench_one(const struct kernels *k, enum dtype dtype, size_t n_cols, size_t n_panels,
                      size_t n_rows, int repeats)
{
    size_t bytes = n_panels * pack_panel_bytes(dtype, n_cols);
    /* On huge pages where there are some, as a model's weights are. */
    size_t huge = (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    uint8_t *panels = aligned_alloc(HUGE_BYTES, huge);
    float *y = malloc(n_rows * n_panels * PANEL_ROWS * sizeof(float));
    float *xf = malloc(n_rows * n_cols * sizeof(float));
    struct q8_rows x = {malloc(n_rows * n_cols), malloc(n_rows * n_cols / 8),
                        malloc(n_rows * n_cols / 8), n_cols};
    if (!panels || !y || !xf || !x.q || !x.d || !x.sum)
        exit(1);
    madvise(panels, huge, MADV_HUGEPAGE);
    make_panels(dtype, n_cols, 1, FILL_RANDOM, 1, panels);
    for (size_t p = 1; p < n_panels; p++)
        memcpy(panels + p * (bytes / n_panels), panels, bytes / n_panels);
    fill_floats(xf, n_rows * n_cols, FILL_RANDOM, 2);
    for (size_t row = 0; row < n_rows; row++)
        k->quantize_q8(xf + row * n_cols, n_cols, x.q + row * n_cols,
                       x.d + row * n_cols / ACT_BLOCK, x.sum + row * n_cols / ACT_BLOCK);
    double best = INFINITY;
    for (int i = 0; i < repeats; i++) {
        double start = thread_ns();
        run(k, dtype, panels, n_panels, &x, xf, n_cols, 0, n_rows, y, n_panels * PANEL_ROWS);
        double ns = thread_ns() - start;
        best = ns < best ? ns : best;
    }
    printf("%-7s %-7s cols %5zu rows %4zu out %6zu: %8.2f GB/s of weights %9.1f GOP/s\n",
           dtype_info(dtype)->name, k->name, n_cols, n_rows, n_panels * PANEL_ROWS,
           (double)bytes / best, 2.0 * (double)(n_rows * n_cols * n_panels * PANEL_ROWS) / best);
    free(panels), free(y), free(xf), free(x.q), free(x.d), free(x.sum);
}

/* --bench [TYPE]: weights that stay in L2, of about 16 MB and, for few rows, of 256 MB, which no
 * cache holds (tests/bench/probe.c has the rates of plain reads). */
static int bench(const struct kernels *const tables[CPU_LEVELS], const char *only)
{
    static const size_t rows[] = {1, 2, 4, 8, 16, 64, 512};
    for (EACH(t, product_types)) {
        const struct dtype_info *info = dtype_info(product_types[t]);
        if (only && strcmp(only, info->name) != 0)
            continue;
        size_t n_cols = info->block_elements == 256 ? 1536 : 576;
        for (EACH(r, rows)) {
            for (int level = 0; level < CPU_LEVELS; level++) {
                if (!tables[level] || (level == CPU_SCALAR && rows[r] > 4))
                    continue;
                bench_one(tables[level], product_types[t], n_cols, 36, rows[r],
                          level == CPU_SCALAR ? 3 : 60);
                size_t panel_bytes = pack_panel_bytes(product_types[t], n_cols);
                if (rows[r] <= 16 && level != CPU_SCALAR)
                    bench_one(tables[level], product_types[t], n_cols, (16 << 20) / panel_bytes,
                              rows[r], 8);
                if (rows[r] <= 4 && level != CPU_SCALAR)
                    bench_one(tables[level], product_types[t], n_cols, (256 << 20) / panel_bytes,
                              rows[r], 3);
            }
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct kernels *tables[CPU_LEVELS];
    check_levels(tables);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(tables, argc > 2 ? argv[2] : NULL);
    guarded_open(&panels_buffer, PANELS_MAX * PANEL_ROWS * COLS_MAX * sizeof(float));
    guarded_open(&q_buffer, (ROWS_MAX + FIRST_MAX) * COLS_MAX);
    guarded_open(&d_buffer, (ROWS_MAX + FIRST_MAX) * COLS_MAX / 8);
    guarded_open(&sum_buffer, (ROWS_MAX + FIRST_MAX) * COLS_MAX / 8);
    guarded_open(&f_buffer, (ROWS_MAX + FIRST_MAX) * COLS_MAX * sizeof(float));
    guarded_open(&y_buffer, ROWS_MAX * (PANELS_MAX * PANEL_ROWS + Y_EXTRA) * sizeof(float));
    static const size_t cols_32[] = {32, 96, 576, COLS_MAX},
                        cols_256[] = {256, 768, 1536, COLS_MAX};
    static const size_t cols_64[] = {64, 192, 576, COLS_MAX};
    static const size_t cols_float[] = {1, 2, 7, 576};
    for (EACH(t, product_types)) {
        enum dtype dtype = product_types[t];
        const size_t *cols = !is_quantised(dtype)                       ? cols_float
                             : dtype_info(dtype)->block_elements == 256 ? cols_256
                             : dtype_info(dtype)->block_elements == 64  ? cols_64
                                                                        : cols_32;
        for (int fill = 0; fill < FILLS; fill++) {
            for (size_t i = 0; i < 4; i++) {
                if (i != 3 || fill == FILL_RANDOM)  // the largest shape once
                    check_type(tables, dtype, cols[i], (enum fill)fill);
            }
        }
    }
    static const size_t lengths[] = {0, 32, 64, 96, 576, 1536};
    static const float scales[] = {1.0f, 1e-20f, 1e-32f, 1e-38f, 1e20f};
    for (int level = 0; level < CPU_LEVELS; level++) {
        for (int fill = 0; tables[level] && fill < FILLS; fill++) {
            for (EACH(i, lengths)) {
                for (EACH(s, scales))
                    check_quantize(tables[CPU_SCALAR], tables[level], lengths[i], (enum fill)fill,
                                   scales[s]);
            }
        }
    }
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (tables[level])
            printf("checked: %s\n", tables[level]->name);
    }
    return check_end("gemm_check");
}
