/* Quantising at load: Q8_0 as gguf-py does it (tests/golden/quantize), Q4_K by its error, and what
 * the view shows of a model whose matrices are quantised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/model_file.h"
#include "engine/formats/quantize.h"
#include "engine/kernels/pack.h"
#include "tests/engine/model/tiny_model.h"

enum { BLOCKS = 64 };

static void q8_0_is_the_reference(void **state)
{
    (void)state;
    static float values[BLOCKS * 32];
    static uint8_t wanted[BLOCKS * 34], out[BLOCKS * 34];
    FILE *file = fopen("tests/golden/quantize/q8_0.bin", "rb");
    assert_non_null(file);
    assert_int_equal(fread(values, sizeof values, 1, file), 1);
    assert_int_equal(fread(wanted, sizeof wanted, 1, file), 1);
    fclose(file);
    quantize_row(DTYPE_Q8_0, values, BLOCKS * 32, out);
    for (size_t b = 0; b < BLOCKS; b++) {
        if (memcmp(out + 34 * b, wanted + 34 * b, 34))
            print_message("block %zu\n", b);
        assert_memory_equal(out + 34 * b, wanted + 34 * b, 34);
    }
}

/* Root of the mean squared error over the values' own. */
static double relative_error(enum dtype dtype, const float *values, size_t n)
{
    static uint8_t packed[1 << 16];
    static float back[1 << 14];
    double error = 0, total = 0;
    quantize_row(dtype, values, n, packed);
    dequantize_row(dtype, packed, n, back);
    for (size_t i = 0; i < n; i++) {
        double miss = (double)back[i] - (double)values[i];
        error += miss * miss;
        total += (double)values[i] * (double)values[i];
    }
    return sqrt(error / total);
}

/* A sum of uniform numbers is near enough to a normal distribution. */
static void fill(float *values, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        values[i] = 0;
        for (uint64_t j = 0; j < 6; j++)
            values[i] += tiny_float(seed, 6 * i + j, 0, 0.1);
    }
}

static void q4_k_keeps_its_bound(void **state)
{
    (void)state;
    static float values[1 << 14];
    fill(values, 1 << 14, 5);
    double normal = relative_error(DTYPE_Q4_K, values, 1 << 14);
    for (size_t i = 0; i < 1 << 14; i++)
        values[i] = fabsf(values[i]);
    double positive = relative_error(DTYPE_Q4_K, values, 1 << 14);
    for (size_t i = 0; i < 1 << 14; i++)
        values[i] = -1 - values[i];
    double shifted = relative_error(DTYPE_Q4_K, values, 1 << 14);
    print_message("q4_k: normal %.4f, positive %.4f, shifted %.4f\n", normal, positive, shifted);
    assert_true(normal < 0.075);
    assert_true(positive < 0.06);
    assert_true(shifted < 0.03);
    /* Exactly representable: levels 0..15 of one scale. */
    for (size_t i = 0; i < 256; i++)
        values[i] = (float)(i % 16) * 63;
    assert_true(relative_error(DTYPE_Q4_K, values, 256) < 1e-6);
}

static void odd_values_are_survived(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 1e-45f, 0};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        float values[256];
        uint8_t out[300];
        for (size_t j = 0; j < 256; j++)
            values[j] = j % 3 ? odd[i] : (float)j;
        quantize_row(DTYPE_Q8_0, values, 256, out);
        quantize_row(DTYPE_Q4_K, values, 256, out);
    }
}

static void the_view_shows_quantised_matrices(void **state)
{
    (void)state;
    struct tiny_model tiny = {.name = "q", .arch = "llama", TINY_WIDE, .dtype = DTYPE_BF16};
    static const struct {
        enum dtype wanted;
        const char *name;
        enum dtype dtype;
    } cases[] = {
        {DTYPE_Q8_0, "blk.0.attn_q.weight", DTYPE_Q8_0},
        {DTYPE_Q8_0, "token_embd.weight", DTYPE_Q8_0},
        {DTYPE_Q8_0, "blk.0.attn_norm.weight", DTYPE_F32},
        {DTYPE_Q4_K, "blk.1.ffn_down.weight", DTYPE_Q4_K},
        {DTYPE_Q4_K, "output.weight", DTYPE_Q8_0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[64];
        struct model_file *plain, *file;
        assert_true(tiny_model_write(&tiny, path));
        assert_int_equal(model_file_open(&plain, path, NULL), OK);
        assert_int_equal(model_file_open(&file, path, NULL), OK);
        unlink(path);
        assert_int_equal(model_file_quantize(file, cases[i].wanted, NULL), OK);
        const struct tensor_info *from = model_file_tensor(plain, cases[i].name);
        const struct tensor_info *to = model_file_tensor(file, cases[i].name);
        assert_int_equal(to->dtype, cases[i].dtype);
        assert_int_equal(to->dims[0], from->dims[0]);
        const struct dtype_info *info = dtype_info(to->dtype);
        size_t n = (size_t)(to->dims[0] * to->dims[1]);
        assert_int_equal(to->bytes, n / info->block_elements * info->block_bytes);
        static uint8_t stored[1 << 19], wanted[1 << 18], got[1 << 18];
        static float floats[1 << 17];
        assert_int_equal(model_file_read(plain, from, 0, (size_t)from->bytes, stored, NULL), OK);
        dequantize_row(from->dtype, stored, n, floats);
        quantize_row(to->dtype, floats, n, wanted);
        assert_int_equal(model_file_read(file, to, 0, (size_t)to->bytes, got, NULL), OK);
        assert_memory_equal(got, wanted, (size_t)to->bytes);
        model_file_close(plain);
        model_file_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q8_0_is_the_reference),
        cmocka_unit_test(q4_k_keeps_its_bound),
        cmocka_unit_test(odd_values_are_survived),
        cmocka_unit_test(the_view_shows_quantised_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
