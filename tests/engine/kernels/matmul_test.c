/* matmul: dealing out panels, partial last panels, several parts, and what it must not depend on;
 * the table of levels; the product through OpenBLAS. The kernels themselves are checked by
 * tests/kernels/. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/kernels/matmul.h"
#include "engine/kernels/pack.h"

enum { COLS = 256, ROWS_MAX = 150 };

static float random_float(uint32_t stream, size_t i)
{
    return (float)(rng_bits(3, stream, (uint32_t)i, 0) >> 40) * 0x1p-23f - 1.0f;
}

/* A weight of random blocks with scales of about 2^-6. */
static struct weight weight_create(enum dtype dtype, size_t n_rows, uint32_t stream)
{
    const struct dtype_info *info = dtype_info(dtype);
    struct weight weight = {.dtype = dtype, .n_rows = n_rows, .n_cols = COLS};
    size_t row_bytes = COLS / info->block_elements * info->block_bytes;
    weight.n_panels = (n_rows + PANEL_ROWS - 1) / PANEL_ROWS;
    weight.panel_bytes = pack_panel_bytes(dtype, COLS);
    weight.panels = mem_alloc_aligned(weight.n_panels * weight.panel_bytes);
    uint8_t *stored = mem_alloc(PANEL_ROWS * row_bytes);
    assert_non_null(weight.panels);
    assert_non_null(stored);
    for (size_t panel = 0; panel < weight.n_panels; panel++) {
        const void *rows[PANEL_ROWS] = {NULL};
        for (size_t i = 0; i < PANEL_ROWS && panel * PANEL_ROWS + i < n_rows; i++) {
            uint8_t *row = stored + i * row_bytes;
            uint32_t at = stream + (uint32_t)(panel * PANEL_ROWS + i);
            for (size_t byte = 0; byte < row_bytes; byte++)
                row[byte] = (uint8_t)rng_bits(5, at, (uint32_t)byte, 0);
            if (dtype == DTYPE_F32) {
                for (size_t col = 0; col < COLS; col++) {
                    float value = random_float(at, col);
                    memcpy(row + 4 * col, &value, 4);
                }
            }
            uint16_t scale = 0x2400;  // 2^-6
            for (size_t block = 0; info->block_elements > 1 && block < row_bytes;
                 block += info->block_bytes) {
                memcpy(row + block + (dtype == DTYPE_Q6_K ? 208 : 0), &scale, 2);
                if (dtype == DTYPE_Q4_1 || dtype == DTYPE_Q4_K)
                    memcpy(row + block + 2, &scale, 2);
            }
            rows[i] = row;
        }
        pack_panel(dtype, COLS, rows, (uint8_t *)weight.panels + panel * weight.panel_bytes);
    }
    mem_free(stored);
    return weight;
}

static struct activations activations_of_class(const struct kernels *kernels, size_t n_rows,
                                               bool precise)
{
    float *f32 = mem_alloc_array(n_rows * COLS, sizeof(float));
    struct activations x = {.f32 = f32, .n_rows = n_rows, .n_cols = COLS};
    size_t n = n_rows * COLS * (1 + precise);
    x.q8 = (struct q8_rows){mem_alloc(n), mem_alloc(n / 8), mem_alloc(n / 8), COLS, precise};
    assert_true(f32 && x.q8.q && x.q8.d && x.q8.sum);
    for (size_t i = 0; i < n_rows * COLS; i++)
        f32[i] = random_float(99, i);
    for (size_t row = 0; row < n_rows; row++)
        activations_quantize(kernels, &x, row);
    return x;
}

static struct activations activations_create(const struct kernels *kernels, size_t n_rows)
{
    return activations_of_class(kernels, n_rows, false);
}

static void activations_free(struct activations *x)
{
    mem_free((void *)(uintptr_t)x->f32);
    mem_free(x->q8.q);
    mem_free(x->q8.d);
    mem_free(x->q8.sum);
}

static const struct kernels *table(enum cpu_level level)
{
    const struct kernels *kernels;
    assert_int_equal(kernels_get(level, &kernels, NULL), OK);
    return kernels;
}

struct parts {
    struct weight weights[4];
    struct matmul_part part[4];
    float *y[4];
    size_t stride[4];
};

/* Q, K, V and a float weight side by side, two of them with a partial last panel. */
static void parts_create(struct parts *p, size_t n_rows)
{
    static const enum dtype types[4] = {DTYPE_Q4_1, DTYPE_Q6_K, DTYPE_Q8_0, DTYPE_F32};
    static const size_t sizes[4] = {160, 49, 16, 7};
    for (size_t i = 0; i < 4; i++) {
        p->weights[i] = weight_create(types[i], sizes[i], (uint32_t)i * 1000);
        p->stride[i] = sizes[i] + (i % 2) * 3;
        p->y[i] = mem_alloc_array(n_rows * p->stride[i] + 1, sizeof(float));
        assert_non_null(p->y[i]);
        for (size_t at = 0; at < n_rows * p->stride[i] + 1; at++)
            p->y[i][at] = -777.0f;
        p->part[i] =
            (struct matmul_part){.weight = &p->weights[i], .y = p->y[i], .y_stride = p->stride[i]};
    }
}

static void parts_free(struct parts *p)
{
    for (size_t i = 0; i < 4; i++) {
        mem_free(p->weights[i].panels);
        mem_free(p->y[i]);
    }
}

/* All parts at once with some threads, against each row and part alone with one. */
static void check_batch(enum cpu_level level, size_t n_threads, size_t n_rows)
{
    const struct kernels *kernels = table(level);
    struct pool *pool, *alone;
    struct activations x = activations_create(kernels, n_rows);
    struct parts all, one;
    assert_int_equal(pool_create(&pool, n_threads, NULL), OK);
    assert_int_equal(pool_create(&alone, 1, NULL), OK);
    parts_create(&all, n_rows);
    parts_create(&one, 1);
    matmul_many(kernels, pool, all.part, 4, &x);
    for (size_t row = 0; row < n_rows; row++) {
        struct activations single = x;
        single.n_rows = 1;
        single.f32 += row * COLS;
        single.q8.q += row * COLS;
        single.q8.d += row * COLS / ACT_BLOCK;
        single.q8.sum += row * COLS / ACT_BLOCK;
        for (size_t i = 0; i < 4; i++) {
            size_t n = all.weights[i].n_rows;
            const float *at = all.y[i] + row * all.stride[i];
            matmul(kernels, alone, &one.weights[i], &single, one.y[i], one.stride[i]);
            assert_memory_equal(at, one.y[i], n * sizeof(float));
            for (size_t col = n; col < all.stride[i]; col++)
                assert_true(at[col] == -777.0f);
        }
    }
    for (size_t i = 0; i < 4; i++)
        assert_true(all.y[i][n_rows * all.stride[i]] == -777.0f);
    parts_free(&all);
    parts_free(&one);
    activations_free(&x);
    pool_free(pool);
    pool_free(alone);
}

static void batch_equals_rows_alone(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 2, 9, 65, ROWS_MAX};
    for (int level = 0; level <= (int)kernels_best_level(); level++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if (level != CPU_SCALAR || rows[i] < 10)
                check_batch((enum cpu_level)level, 1 + i % 3, rows[i]);
        }
    }
}

/* Parts over rows of their own: as the same rows of a product over all. */
static void parts_may_have_rows_of_their_own(void **state)
{
    (void)state;
    static const size_t first[4] = {0, 3, 40, 7}, n_rows[4] = {0, 1, 25, 58};  // 0: all
    enum { ROWS = 65 };
    struct pool *pool;
    struct parts all, own;
    const struct kernels *kernels = table(kernels_best_level());
    struct activations x = activations_create(kernels, ROWS);
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    parts_create(&all, ROWS);
    parts_create(&own, ROWS);
    matmul_many(kernels, pool, all.part, 4, &x);
    for (size_t i = 0; i < 4; i++) {
        own.part[i].x = i % 2 ? &x : NULL;
        own.part[i].first_row = first[i];
        own.part[i].n_rows = n_rows[i];
    }
    matmul_many(kernels, pool, own.part, 4, &x);
    for (size_t i = 0; i < 4; i++) {
        size_t n = n_rows[i] ? n_rows[i] : ROWS;
        for (size_t row = 0; row < n; row++)
            assert_memory_equal(own.y[i] + row * own.stride[i],
                                all.y[i] + (first[i] + row) * all.stride[i],
                                all.weights[i].n_rows * sizeof(float));
        assert_true(own.y[i][n * own.stride[i]] == -777.0f);
    }
    parts_free(&all);
    parts_free(&own);
    activations_free(&x);
    pool_free(pool);
}

/* y of one row in the class precise, by its definition in matmul.h and the scalar kernels. */
static void precise_row(const struct weight *weight, const float *x, float *y)
{
    const struct kernels *scalar = table(CPU_SCALAR);
    enum { BLOCKS = COLS / ACT_BLOCK, OUT_MAX = 160 };
    int8_t q[COLS];
    float d[BLOCKS], rest[COLS], first[OUT_MAX], second[OUT_MAX];
    int32_t sum[BLOCKS];
    struct q8_rows row = {q, d, sum, COLS, false};
    gemm_q8_fn *gemm = scalar->gemm_q8[weight->dtype];
    scalar->quantize_q8(x, COLS, q, d, sum);
    gemm(weight->panels, weight->n_panels, &row, 0, 1, first, OUT_MAX);
    for (size_t i = 0; i < COLS; i++)
        rest[i] = x[i] - d[i / ACT_BLOCK] * (float)q[i];
    scalar->quantize_q8(rest, COLS, q, d, sum);
    gemm(weight->panels, weight->n_panels, &row, 0, 1, second, OUT_MAX);
    for (size_t i = 0; i < weight->n_rows; i++)
        y[i] = first[i] + second[i];
}

/* Rows with a rest: the definition's bits at every level, in any batch and on any threads; float
 * weights take no notice. */
static void rests_are_added(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 9, 24, 25, 65, ROWS_MAX};
    for (int level = 0; level <= (int)kernels_best_level(); level++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            const struct kernels *kernels = table((enum cpu_level)level);
            if (level == CPU_SCALAR && counts[c] > 9)
                continue;
            struct activations x = activations_of_class(kernels, counts[c], true);
            struct activations fast = activations_create(kernels, counts[c]);
            struct parts all, plain;
            struct pool *pool;
            assert_int_equal(pool_create(&pool, 1 + c % 3, NULL), OK);
            parts_create(&all, counts[c]);
            parts_create(&plain, counts[c]);
            matmul_many(kernels, pool, all.part, 4, &x);
            matmul_many(kernels, pool, plain.part, 4, &fast);
            for (size_t row = 0; row < counts[c]; row++) {
                for (size_t i = 0; i < 4; i++) {
                    size_t n = all.weights[i].n_rows;
                    const float *at = all.y[i] + row * all.stride[i];
                    float wanted[160];
                    if (weight_needs_q8(&all.weights[i]))
                        precise_row(&all.weights[i], x.f32 + row * COLS, wanted);
                    else
                        memcpy(wanted, plain.y[i] + row * plain.stride[i], n * sizeof(float));
                    assert_memory_equal(at, wanted, n * sizeof(float));
                    for (size_t col = n; col < all.stride[i]; col++)
                        assert_true(at[col] == -777.0f);
                }
            }
            parts_free(&all);
            parts_free(&plain);
            activations_free(&x);
            activations_free(&fast);
            pool_free(pool);
        }
    }
}

/* What two rows hold of x: 1 / 127 / 254 of a block's largest value at most, twice half a step. */
static void two_rows_hold_15_bits(void **state)
{
    (void)state;
    struct activations x = activations_of_class(table(kernels_best_level()), 3, true);
    for (size_t i = 0; i < 3 * (size_t)COLS; i++) {
        size_t at = i / COLS * 2 * COLS + i % COLS;
        const float *d = x.q8.d;
        float held = d[at / ACT_BLOCK] * (float)x.q8.q[at] +
                     d[(at + COLS) / ACT_BLOCK] * (float)x.q8.q[at + COLS];
        assert_true(fabsf(held - x.f32[i]) <= 1.01f / 127 / 254 / 2);
    }
    activations_free(&x);
}

static void no_rows_is_nothing(void **state)
{
    (void)state;
    struct pool *pool;
    struct activations x = activations_create(table(CPU_SCALAR), 1);
    struct parts parts;
    assert_int_equal(pool_create(&pool, 1, NULL), OK);
    parts_create(&parts, 1);
    x.n_rows = 0;
    matmul_many(table(CPU_SCALAR), pool, parts.part, 4, &x);
    for (size_t i = 0; i < 4; i++)
        assert_true(parts.y[i][0] == -777.0f);
    parts_free(&parts);
    activations_free(&x);
    pool_free(pool);
}

/* OpenBLAS: near gemm_f32, and one row's bits alone, in a batch and at any address. */
static void blas_rows_do_not_see_each_other(void **state)
{
    (void)state;
    enum { N = 9, OUT = 48 };
    struct weight weight = weight_create(DTYPE_F32, OUT, 5);
    static float x[(N + 1) * COLS], y[N * OUT], alone[OUT], own[N * OUT];
    for (size_t i = 0; i < (N + 1) * COLS; i++)
        x[i] = random_float(1, i % ((size_t)N * COLS));
    gemm_f32_blas(weight.panels, OUT / PANEL_ROWS, x, COLS, N, y, OUT);
    table(CPU_SCALAR)->gemm_float[DTYPE_F32](weight.panels, OUT / PANEL_ROWS, x, COLS, N, own, OUT);
    for (size_t row = 0; row < N; row++) {
        for (size_t offset = 0; offset < 3; offset++) {  // other alignments of the same row
            static float moved[COLS + 3];
            memcpy(moved + offset, x + row * COLS, COLS * sizeof(float));
            gemm_f32_blas(weight.panels, OUT / PANEL_ROWS, moved + offset, COLS, 1, alone, OUT);
            assert_memory_equal(alone, y + row * OUT, sizeof alone);
        }
        for (size_t i = 0; i < OUT; i++)
            assert_true(fabsf(y[row * OUT + i] - own[row * OUT + i]) < 1e-4f);
    }
    mem_free(weight.panels);
}

static void levels(void **state)
{
    (void)state;
    enum cpu_level level;
    struct error err = {0};
    const struct kernels *kernels;
    assert_true(kernels_level_parse("avx512", &level) && level == CPU_AVX512);
    assert_true(kernels_level_parse("amx", &level) && level == CPU_AMX);
    assert_false(kernels_level_parse("AVX2", &level));
    assert_false(kernels_level_parse("", &level));
    assert_true(kernels_level_available(CPU_SCALAR));
    for (int i = 0; i < CPU_LEVELS; i++) {
        const char *name = kernels_level_name((enum cpu_level)i);
        assert_true(kernels_level_parse(name, &level) && (int)level == i);
        err = (struct error){0};
        if (kernels_level_available(level)) {
            assert_int_equal(kernels_get(level, &kernels, &err), OK);
            assert_true(kernels->level == level && strcmp(kernels->name, name) == 0);
            assert_true(kernels->gemm_q8[DTYPE_Q4_1] && kernels->quantize_q8 &&
                        kernels->attention_tile);
        } else {
            assert_int_equal(kernels_get(level, &kernels, &err), ERR_UNSUPPORTED);
            assert_non_null(strstr(err.text, name));
        }
    }
    assert_int_equal(kernels_get((enum cpu_level)99, &kernels, &err), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_equals_rows_alone),
        cmocka_unit_test(parts_may_have_rows_of_their_own),
        cmocka_unit_test(rests_are_added),
        cmocka_unit_test(two_rows_hold_15_bits),
        cmocka_unit_test(no_rows_is_nothing),
        cmocka_unit_test(blas_rows_do_not_see_each_other),
        cmocka_unit_test(levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
