/* The families beside dense llama: against the logits of transformers, and against themselves (the
 * same bits for any chunking, company, number of threads, level and prefix-cache hit); and every
 * number of a file's metadata matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/engine/model/invariance.h"
#include "tests/engine/model/tiny_families.h"

#define EACH_FAMILY(tiny)                                                                          \
    const struct tiny_model *tiny = TINY_FAMILIES;                                                 \
    tiny < TINY_FAMILIES + TINY_FAMILIES_COUNT;                                                    \
    tiny++

static void logits_equal_transformers(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny))
        check_golden(tiny);
}

/* The numerics class precise: nearly as close to transformers as with float weights, and the same
 * bits for other chunks, threads and levels. A class has a digest of its own. */
static void precise_logits_equal_transformers(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny)) {
        if (!is_quantised(tiny))
            continue;
        int32_t tokens[PROMPT];
        make_prompt(tokens, 7, tiny->n_vocab);
        uint8_t digests[2][SHA256_BYTES];
        struct runner r = open_runner(tiny, kernels_best_level(), 1);
        model_digest(r.model, digests[0]);
        runner_close(&r);
        for (int run = 0; run < 3; run++) {
            enum cpu_level level = run == 2 ? CPU_SCALAR : kernels_best_level();
            size_t n_tokens = run == 2 ? 24 : PROMPT;
            assert_int_equal(runner_open_class(&r, tiny, level, 2, true, NULL), OK);
            model_digest(r.model, digests[1]);
            assert_memory_not_equal(digests[0], digests[1], SHA256_BYTES);
            struct sequence *s = runner_sequence(&r);
            assert_int_equal(runner_prefill(&r, s, tokens, n_tokens, run ? 7 : (size_t)PROMPT,
                                            run ? other : whole),
                             OK);
            if (run)
                assert_same_bits("chunks and levels, precise", tiny, 0, n_tokens);
            else
                compare_golden(tiny, true, whole);
            sequence_free(s);
            runner_close(&r);
        }
    }
}

static void chunks_change_no_bit(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny))
        check_chunks(tiny);
}

static void threads_and_levels_change_no_bit(void **state)
{
    (void)state;
    static const size_t n_threads[] = {1, 3};
    for (EACH_FAMILY(tiny))
        check_threads_and_levels(tiny, 100, n_threads, 2);
}

static void neighbours_change_no_bit(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny))
        check_neighbours(tiny, 120);
}

static void a_cached_prefix_changes_no_bit(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny)) {
        int32_t tokens[PROMPT];
        make_prompt(tokens, 7, tiny->n_vocab);
        struct runner r = open_runner(tiny, kernels_best_level(), 2);
        struct sequence *a = runner_sequence(&r), *b = runner_sequence(&r);
        assert_int_equal(runner_prefill(&r, a, tokens, PROMPT, 90, whole), OK);
        sequence_free(a);
        assert_int_equal(sequence_match_prefix(b, tokens, 200), 192);
        assert_int_equal(runner_prefill(&r, b, tokens, PROMPT, 17, other), OK);
        assert_same_bits("prefix hit", tiny, 192, PROMPT);
        assert_true(kv_cache_is_sane(r.cache));
        sequence_free(b);
        runner_close(&r);
    }
}

/* ---- every number matters ---- */

/* What may change without a change of logits, and why. */
static bool is_exempt(const struct tiny_model *tiny, const char *suffix)
{
    bool all_experts = tiny->n_ff_exp > 0 && tiny->n_dense == 0;
    if (all_experts && strcmp(suffix, "feed_forward_length") == 0)  // of dense layers
        return true;
    bool short_rope = tiny->long_rope >= TINY_CTX;  // more than the context is as good
    if (short_rope && strcmp(suffix, "rope.scaling.original_context_length") == 0)
        return true;
    static const char *const names[] = {
        "vocab_size",            // the embedding decides; a larger claim is refused
        "context_length",        // an upper limit of ours
        "nextn_predict_layers",  // changes the number of layers, which is refused
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], suffix) == 0)
            return true;
    return false;
}

/* Logits of 100 tokens under another value; false when the file is refused, as most other counts
 * and widths are, because no tensor fits them. */
static bool logits_under(const struct tiny_model *tiny, float *logits)
{
    struct runner r;
    struct error err = {0};
    enum status status = runner_open(&r, tiny, kernels_best_level(), 1, &err);
    if (status == OK) {
        int32_t tokens[PROMPT];
        make_prompt(tokens, 7, tiny->n_vocab);
        struct sequence *s = runner_sequence(&r);
        assert_int_equal(runner_prefill(&r, s, tokens, 100, 100, logits), OK);
        sequence_free(s);
    } else if (status != ERR_FORMAT && status != ERR_UNSUPPORTED) {
        fail_msg("%s, '%s' changed: %s %s", tiny->name, tiny->override, status_name(status),
                 err.text);
    }
    runner_close(&r);
    return status == OK;
}

static void every_number_changes_the_logits(void **state)
{
    (void)state;
    for (EACH_FAMILY(tiny)) {
        char path[64];
        struct model_file *file;
        assert_true(tiny_model_write(tiny, path));
        assert_int_equal(model_file_open(&file, path, NULL), OK);
        unlink(path);
        assert_true(logits_under(tiny, whole));
        size_t n_prefix = strlen(tiny->arch) + 1, n_walked = 0;
        for (size_t i = 0; i < model_file_keys(file); i++) {
            uint32_t kind;
            const char *key = model_file_key_at(file, i, &kind);
            uint64_t number = 0;
            bool truth = false;
            if (kind == TINY_STRING || strncmp(key, tiny->arch, n_prefix - 1) != 0 ||
                is_exempt(tiny, key + n_prefix))
                continue;
            struct tiny_model changed = *tiny;
            changed.override = key + n_prefix;
            changed.override_factor = 1.5f;
            if (model_file_bool(file, key, &truth))
                changed.override_value = !truth;
            else if (model_file_u64(file, key, &number))
                changed.override_value = number > 32  ? 4 * number
                                         : number % 2 ? number + 1
                                         : number     ? number - 1
                                                      : 1;
            n_walked++;
            if (logits_under(&changed, other) &&
                memcmp(whole, other, 100 * tiny->n_vocab * sizeof(float)) == 0)
                fail_msg("%s: '%s' changes nothing", tiny->name, key);
        }
        assert_true(n_walked >= 10);
        model_file_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_transformers),
        cmocka_unit_test(precise_logits_equal_transformers),
        cmocka_unit_test(chunks_change_no_bit),
        cmocka_unit_test(threads_and_levels_change_no_bit),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(a_cached_prefix_changes_no_bit),
        cmocka_unit_test(every_number_changes_the_logits),
    };
    return cmocka_run_group_tests_name("model/families", tests, NULL, NULL);
}
