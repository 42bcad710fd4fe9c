/* Opening: what is refused and how the message names it, limits, failing memory, the digest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/engine/model/runner.h"

#define BASE .name = "t", .arch = "llama", TINY_SHAPE, .dtype = DTYPE_F16

#define MIXTURE BASE, .n_experts = 4, .n_used = 2

static const float ZERO_DIVISOR[8] = {1, 1, 1, 0, 1, 1, 1, 1};

/* Opens with room for one byte of weights, so that what passes all checks ends as ERR_LIMIT and
 * what is refused is known to be refused before the weights are allocated. */
static enum status open_checked(const struct tiny_model *tiny, size_t limit, struct error *err)
{
    char path[64];
    struct model_file *file = NULL;
    struct model *model = NULL;
    struct pool *pool = NULL;
    struct account account;
    const struct kernels *kernels;
    account_init(&account, limit);
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    assert_true(tiny_model_write(tiny, path));
    enum status status = model_file_open(&file, path, err);
    unlink(path);
    if (status == OK)
        status = pool_create(&pool, 1, err);
    struct model_options options = {
        .kernels = kernels, .rows_max = 8, .outputs_max = 8, .account = &account};
    if (status == OK)
        status = model_open(&model, file, &options, pool, err);
    model_close(model);
    pool_free(pool);
    model_file_close(file);
    assert_int_equal(account.used_bytes, 0);
    return status;
}

static void refusals_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        struct tiny_model tiny;
        enum status status;
        const char *text;
    } cases[] = {
        {{BASE}, ERR_LIMIT, "weights"},  // nothing wrong with it
        {{.name = "t", .arch = "mamba", TINY_SHAPE}, ERR_UNSUPPORTED, "qwen2"},
        {{BASE, .omit = "general.architecture"}, ERR_FORMAT, "general.architecture"},
        {{BASE, .omit = "llama.block_count"}, ERR_FORMAT, "llama.block_count"},
        {{BASE, .omit = "llama.context_length"}, ERR_FORMAT, "llama.context_length"},
        {{BASE, .omit = "llama.embedding_length"}, ERR_FORMAT, "embedding_length"},
        {{BASE, .omit = "llama.feed_forward_length"}, ERR_FORMAT, "feed_forward_length"},
        {{BASE, .omit = "llama.attention.head_count"}, ERR_FORMAT, "head_count"},
        {{BASE, .omit = "llama.attention.layer_norm_rms_epsilon"}, ERR_FORMAT, "rms_epsilon"},
        {{BASE, .override = "block_count"}, ERR_FORMAT, "block_count"},
        {{BASE, .override = "block_count", .override_value = 3}, ERR_FORMAT, "blk.2."},
        {{BASE, .override = "block_count", .override_value = 1}, ERR_UNSUPPORTED, "blk.1."},
        {{BASE, .override = "block_count", .override_value = 4000000000}, ERR_FORMAT, "block_"},
        {{BASE, .override = "embedding_length"}, ERR_FORMAT, "embedding_length"},
        {{BASE, .override = "attention.head_count"}, ERR_FORMAT, "head_count"},
        {{BASE, .override = "attention.head_count_kv"}, ERR_FORMAT, "head_count_kv"},
        {{BASE, .override = "attention.head_count_kv", .override_value = 3}, ERR_FORMAT, "3 kv"},
        {{BASE, .override = "attention.key_length", .override_value = 24}, ERR_UNSUPPORTED, "24"},
        {{BASE, .override = "attention.value_length", .override_value = 32}, ERR_FORMAT, "attn_v"},
        {{BASE, .override = "attention.value_length", .override_value = 8}, ERR_UNSUPPORTED, "8"},
        {{BASE, .override = "rope.dimension_count"}, ERR_FORMAT, "rope.dimension_count"},
        {{BASE, .override = "rope.dimension_count", .override_value = 7}, ERR_FORMAT, "not even"},
        {{BASE, .override = "rope.dimension_count", .override_value = 18}, ERR_FORMAT, "rope."},
        {{BASE, .override = "expert_count", .override_value = 8}, ERR_FORMAT, "expert_used_count"},
        {{BASE, .override = "expert_count", .override_value = 1025}, ERR_FORMAT, "expert_count"},
        {{MIXTURE, .override = "expert_used_count", .override_value = 5}, ERR_FORMAT, "used_count"},
        {{MIXTURE, .override = "expert_count", .override_value = 1}, ERR_FORMAT, "used_count"},
        {{MIXTURE, .override = "expert_count", .override_value = 5}, ERR_FORMAT, "expected 64 x 5"},
        {{MIXTURE, .n_groups = 3}, ERR_FORMAT, "groups"},
        {{MIXTURE, .n_groups = 4}, ERR_FORMAT, "groups"},
        {{MIXTURE, .n_groups = 2, .n_groups_used = 3}, ERR_FORMAT, "group_used"},
        {{MIXTURE, .gating = 4}, ERR_FORMAT, "gating"},
        {{MIXTURE, .bad_shape = "blk.1.ffn_up_exps.weight"}, ERR_FORMAT, "65 x 96 x 4"},
        {{MIXTURE, .omit = "blk.1.ffn_up_exps.weight"}, ERR_FORMAT, "blk.1.ffn_up_exps"},
        {{MIXTURE, .experts_apart = true, .omit = "blk.0.ffn_up.3.weight"}, ERR_FORMAT, "up.3"},
        {{.name = "t", .arch = "qwen3", TINY_SHAPE, .n_experts = 4, .n_used = 2},
         ERR_UNSUPPORTED,
         "expert_count"},
        {{.name = "t", .arch = "qwen3moe", TINY_SHAPE}, ERR_FORMAT, "expert_count"},
        {{BASE, .override = "vocab_size", .override_value = 97}, ERR_FORMAT, "vocab_size"},
        {{BASE, .override = "context_length"}, ERR_FORMAT, "context_length"},
        {{BASE, .scaling = "longrope", .factor = 2}, ERR_UNSUPPORTED, "longrope"},
        {{BASE, .scaling = "linear", .factor = 0.5f}, ERR_FORMAT, "factor"},
        {{BASE, .scaling = "yarn", .factor = __builtin_nanf("")}, ERR_FORMAT, "factor"},
        {{BASE, .omit = "token_embd.weight"}, ERR_FORMAT, "token_embd"},
        {{BASE, .omit = "output_norm.weight"}, ERR_FORMAT, "output_norm"},
        {{BASE, .omit = "blk.1.ffn_down.weight"}, ERR_FORMAT, "blk.1.ffn_down"},
        {{BASE, .bad_shape = "blk.0.attn_k.weight"}, ERR_FORMAT, "65 x 32 x 1 x 1, expected 64"},
        {{BASE, .bad_shape = "blk.0.attn_norm.weight"}, ERR_FORMAT, "expected 64"},
        {{BASE, .bad_shape = "token_embd.weight"}, ERR_FORMAT, "token_embd"},
        {{BASE, .bad_type = "blk.1.attn_q.weight"}, ERR_UNSUPPORTED, "I8 (supported: F32 F16"},
        {{BASE, .bad_type = "blk.1.ffn_norm.weight"}, ERR_UNSUPPORTED, "I8"},
        {{BASE, .extra = "blk.0.attn_gate.weight"}, ERR_UNSUPPORTED, "attn_gate"},
        {{.name = "t", .arch = "qwen2", TINY_SHAPE, .dtype = DTYPE_F16}, ERR_FORMAT, "attn_q.bias"},
        {{.name = "t", .arch = "qwen3", TINY_SHAPE, .dtype = DTYPE_F16, .biases = true},
         ERR_UNSUPPORTED,
         "attn_q.bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        enum status status = open_checked(&cases[i].tiny, 1, &err);
        if (status != cases[i].status || !strstr(err.text, cases[i].text))
            fail_msg("case %zu: %s '%s', expected %s with '%s'", i, status_name(status), err.text,
                     status_name(cases[i].status), cases[i].text);
    }
}

/* A value, not a shape: found once the tensor is read. */
static void bad_divisors_are_refused(void **state)
{
    (void)state;
    struct tiny_model tiny = {BASE, .divisors = ZERO_DIVISOR};
    struct error err = {0};
    assert_int_equal(open_checked(&tiny, 0, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "rope_freqs"));
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct model *model;
    struct pool *pool;
    assert_int_equal(pool_create(&pool, 1, NULL), OK);
    static const struct model_options cases[] = {
        {.rows_max = 0, .outputs_max = 1},
        {.rows_max = 1, .outputs_max = 2},
        {.rows_max = 1, .outputs_max = 0},
        {.rows_max = (size_t)1 << 40, .outputs_max = 1},
        {.rows_max = 1, .outputs_max = 1, .ctx_size = (size_t)1 << 40},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(model_open(&model, NULL, &cases[i], pool, NULL), ERR_INVALID);
    pool_free(pool);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    static const struct tiny_model tiny = {BASE};
    char path[64];
    struct model_file *file;
    struct pool *pool;
    const struct kernels *kernels;
    assert_true(tiny_model_write(&tiny, path));
    assert_int_equal(model_file_open(&file, path, NULL), OK);
    unlink(path);
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    struct account account;
    account_init(&account, 0);
    struct model_options options = {
        .kernels = kernels, .rows_max = 8, .outputs_max = 8, .account = &account};
    struct model *model = NULL;
    enum status status = ERR_MEMORY;
    uint64_t n = 1;
    for (; status == ERR_MEMORY; n++) {
        struct error err = {0};
        mem_fault_set(n, false);
        status = model_open(&model, file, &options, pool, &err);
        mem_fault_set(0, false);
        if (status != OK) {
            assert_int_equal(account.used_bytes, 0);
            assert_null(model);
            assert_true(err.text[0] != '\0');
        }
    }
    assert_int_equal(status, OK);
    assert_true(n > 10);
    assert_true(account.used_bytes >=
                model_info(model)->weight_bytes + model_info(model)->scratch_bytes);
    model_close(model);
    assert_int_equal(account.used_bytes, 0);
    pool_free(pool);
    model_file_close(file);
}

static void a_file_that_shrinks_is_an_error(void **state)
{
    (void)state;
    static const struct tiny_model tiny = {BASE};
    char path[64];
    struct model_file *file;
    struct pool *pool;
    struct model *model;
    const struct kernels *kernels;
    struct error err = {0};
    assert_true(tiny_model_write(&tiny, path));
    assert_int_equal(model_file_open(&file, path, NULL), OK);
    assert_int_equal(truncate(path, (off_t)(model_file_bytes(file) - 3)), 0);
    unlink(path);
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    struct model_options options = {.kernels = kernels, .rows_max = 8, .outputs_max = 8};
    assert_int_equal(model_open(&model, file, &options, pool, &err), ERR_IO);
    assert_non_null(strstr(err.text, "blk.1.ffn_down"));
    pool_free(pool);
    model_file_close(file);
}

static void digest_of(const struct tiny_model *tiny, size_t n_threads, long flip_from_end,
                      uint8_t out[SHA256_BYTES])
{
    char path[64];
    struct model_file *file;
    struct pool *pool;
    struct model *model;
    const struct kernels *kernels;
    assert_true(tiny_model_write(tiny, path));
    if (flip_from_end) {
        FILE *raw = fopen(path, "r+b");
        assert_non_null(raw);
        assert_int_equal(fseek(raw, -flip_from_end, SEEK_END), 0);
        int byte = fgetc(raw);
        assert_int_equal(fseek(raw, -flip_from_end, SEEK_END), 0);
        fputc(byte ^ 1, raw);
        fclose(raw);
    }
    assert_int_equal(model_file_open(&file, path, NULL), OK);
    unlink(path);
    assert_int_equal(pool_create(&pool, n_threads, NULL), OK);
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    struct model_options options = {.kernels = kernels, .rows_max = 8, .outputs_max = 8};
    assert_int_equal(model_open(&model, file, &options, pool, NULL), OK);
    model_digest(model, out);
    model_close(model);
    pool_free(pool);
    model_file_close(file);
}

static void digest_tells_models_apart(void **state)
{
    (void)state;
    static const struct tiny_model same = {BASE};
    static const struct tiny_model others[] = {
        {BASE, .scaling = "linear", .factor = 2},
        {BASE, .n_rot = 8},
        {BASE, .tied = true},
        {.name = "t", .arch = "llama", TINY_SHAPE, .dtype = DTYPE_BF16},
    };
    uint8_t first[SHA256_BYTES], digest[SHA256_BYTES];
    digest_of(&same, 1, 0, first);
    digest_of(&same, 3, 0, digest);
    assert_memory_equal(first, digest, SHA256_BYTES);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        digest_of(&others[i], 1, 0, digest);
        assert_memory_not_equal(first, digest, SHA256_BYTES);
    }
    for (long at = 1; at < 100000; at = at * 5 + 1) {
        digest_of(&same, 2, at, digest);
        assert_memory_not_equal(first, digest, SHA256_BYTES);
    }
}

static void info_says_what_the_file_says(void **state)
{
    (void)state;
    const struct tiny_model *tiny = &TINY_MODELS[6];  // head_dim is not n_embd / n_heads
    struct runner r;
    assert_int_equal(runner_open(&r, tiny, kernels_best_level(), 1, NULL), OK);
    const struct model_info *info = model_info(r.model);
    assert_string_equal(info->architecture, "llama");
    assert_string_equal(info->name, tiny->name);
    assert_int_equal(info->n_layers, 3);
    assert_int_equal(info->n_embd, 48);
    assert_int_equal(info->head_dim, 48);
    assert_int_equal(info->n_vocab, 90);
    assert_int_equal(info->ctx_size, TINY_CTX);
    /* tied: embedding, norm; a layer: 2 norms, q o (48 x 144), k v (48 x 48), 3 of 48 x 72 */
    assert_int_equal(info->n_parameters,
                     90 * 48 + 48 + 3 * (2 * 48 + 2 * 48 * 144 + 2 * 48 * 48 + 3 * 48 * 72));
    const struct kv_layout *layout = model_kv_layout(r.model);
    assert_int_equal(layout->n_groups, 1);
    assert_int_equal(kv_layout_token_bytes(layout), 3 * 48 * 2 * 2);
    runner_close(&r);
}

/* What is said before loading is what loading takes, for every part and size of step. */
static void measured_is_what_opening_takes(void **state)
{
    (void)state;
    static const struct tiny_model tiny = {BASE};
    static const struct {
        size_t rows_max, ctx_size, n_threads;
    } cases[] = {{8, 0, 1}, {70, 64, 2}, {300, 32, 3}};
    char path[64];
    struct model_file *file = NULL;
    const struct kernels *kernels;
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    assert_true(tiny_model_write(&tiny, path));
    assert_int_equal(model_file_open(&file, path, NULL), OK);
    unlink(path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pool *pool = NULL;
        struct model *model = NULL;
        struct model_needs needs;
        struct model_options options = {.kernels = kernels,
                                        .rows_max = cases[i].rows_max,
                                        .outputs_max = 4,
                                        .ctx_size = cases[i].ctx_size};
        assert_int_equal(pool_create(&pool, cases[i].n_threads, NULL), OK);
        assert_int_equal(model_open(&model, file, &options, pool, NULL), OK);
        assert_int_equal(model_measure(&needs, file, &options, cases[i].n_threads, NULL), OK);
        const struct model_info *info = model_info(model);
        assert_int_equal(needs.ctx_size, info->ctx_size);
        assert_int_equal(needs.weight_bytes, info->weight_bytes);
        assert_int_equal(needs.scratch_bytes, info->scratch_bytes);
        assert_memory_equal(&needs.kv_layout, model_kv_layout(model), sizeof needs.kv_layout);
        model_close(model);
        pool_free(pool);
    }
    model_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_what_is_wrong),
        cmocka_unit_test(bad_divisors_are_refused),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(a_file_that_shrinks_is_an_error),
        cmocka_unit_test(digest_tells_models_apart),
        cmocka_unit_test(info_says_what_the_file_says),
        cmocka_unit_test(measured_is_what_opening_takes),
    };
    return cmocka_run_group_tests_name("model/model", tests, NULL, NULL);
}
