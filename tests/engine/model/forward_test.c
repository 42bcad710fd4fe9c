/* Forward against the logits of transformers, and against itself: the same bits for any chunking,
 * batch, number of threads, level, prefix-cache hit and fork. Run from the repository's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "tests/engine/model/invariance.h"

static const struct tiny_model *tiny_by_name(const char *name)
{
    for (size_t i = 0; i < TINY_MODELS_COUNT; i++)
        if (strcmp(TINY_MODELS[i].name, name) == 0)
            return &TINY_MODELS[i];
    fail_msg("no tiny model %s", name);
    return NULL;
}

/* ---- against transformers ---- */

static void logits_equal_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < TINY_MODELS_COUNT; i++)
        check_golden(&TINY_MODELS[i]);
}

/* ---- against itself ---- */

static const char *const INVARIANT[] = {"llama_f16",  "llama_q4_1", "llama_wide_heads",
                                        "llama_q6_k", "llama_f32",  "llama_bf16",
                                        "llama_q8_0", "llama_bias", "llama_q2_k"};
/* Level by level and beside neighbours, two float and two quantised ones tell enough. */
enum { INVARIANTS = sizeof INVARIANT / sizeof INVARIANT[0], INVARIANTS_SLOW = 4 };

static void chunks_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < INVARIANTS; i++)
        check_chunks(tiny_by_name(INVARIANT[i]));
}

static void threads_and_levels_change_no_bit(void **state)
{
    (void)state;
    static const size_t n_threads[] = {1, 2, 3};
    for (size_t i = 0; i < INVARIANTS_SLOW; i++)
        check_threads_and_levels(tiny_by_name(INVARIANT[i]), PROMPT, n_threads, 3);
}

static void neighbours_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < INVARIANTS_SLOW; i++)
        check_neighbours(tiny_by_name(INVARIANT[i]), 290);
}

static void cached_prefix_and_forks_change_no_bit(void **state)
{
    (void)state;
    const struct tiny_model *tiny = tiny_by_name("llama_q4_1");
    int32_t tokens[PROMPT];
    make_prompt(tokens, 7, tiny->n_vocab);
    struct runner r = open_runner(tiny, kernels_best_level(), 2);
    struct sequence *a = runner_sequence(&r), *b = runner_sequence(&r), *c = runner_sequence(&r);
    assert_int_equal(runner_prefill(&r, a, tokens, PROMPT, PROMPT, whole), OK);
    assert_int_equal(sequence_match_prefix(b, tokens, 200), 192);
    assert_int_equal(runner_prefill(&r, b, tokens, PROMPT, 17, other), OK);
    assert_same_bits("prefix hit", tiny, 192, PROMPT);
    assert_int_equal(sequence_fork(c, a, 105, NULL), OK);
    memset(other, 0, sizeof other);
    assert_int_equal(runner_prefill(&r, c, tokens, PROMPT, 60, other), OK);
    assert_same_bits("fork", tiny, 105, PROMPT);
    /* Rolled back into a published block, other tokens, and back again. */
    int32_t detour[PROMPT];
    make_prompt(detour, 8, tiny->n_vocab);
    memcpy(detour, tokens, 45 * sizeof *tokens);
    sequence_truncate(c, 45);
    assert_int_equal(runner_prefill(&r, c, detour, 90, 90, other), OK);
    sequence_truncate(c, 45);
    assert_int_equal(runner_prefill(&r, c, tokens, PROMPT, 33, other), OK);
    assert_same_bits("roll back", tiny, 45, PROMPT);
    assert_true(kv_cache_is_sane(r.cache));
    sequence_free(a);
    sequence_free(b);
    sequence_free(c);
    runner_close(&r);
}

static void only_asked_rows_have_logits(void **state)
{
    (void)state;
    const struct tiny_model *tiny = tiny_by_name("llama_q8_0");
    int32_t tokens[PROMPT];
    make_prompt(tokens, 7, tiny->n_vocab);
    struct runner r = open_runner(tiny, kernels_best_level(), 2);
    struct sequence *s = runner_sequence(&r);
    assert_int_equal(runner_prefill(&r, s, tokens, 64, 64, whole), OK);
    sequence_truncate(s, 0);
    assert_int_equal(sequence_reserve(s, 64, NULL), OK);
    static struct step_row rows[64];
    for (int32_t i = 0; i < 64; i++)
        rows[i] = (struct step_row){0, i, tokens[i], i == 5 || i == 63 ? ROW_LOGITS : ROW_NONE};
    float logits[3 * 96];
    memset(logits, 0x55, sizeof logits);
    struct step step = {.rows = rows,
                        .n_rows = 64,
                        .sequences = (const void *)&s,
                        .n_sequences = 1,
                        .logits = logits};
    assert_int_equal(model_forward(r.model, r.pool, r.cache, &step), OK);
    assert_memory_equal(logits, whole + 5 * 96, 96 * sizeof(float));
    assert_memory_equal(logits + 96, whole + 63 * 96, 96 * sizeof(float));
    for (size_t i = 2 * 96; i < 3 * 96; i++)
        assert_int_equal(f32_bits(logits[i]), 0x55555555);
    sequence_free(s);
    runner_close(&r);
}

static bool abandon_at_once(void *context)
{
    ++*(int *)context;
    return true;
}

static void abandoned_step_stops_at_the_first_layer(void **state)
{
    (void)state;
    const struct tiny_model *tiny = tiny_by_name("llama_f16");
    struct runner r = open_runner(tiny, kernels_best_level(), 1);
    struct sequence *s = runner_sequence(&r);
    assert_int_equal(sequence_reserve(s, 1, NULL), OK);
    struct step_row row = {0, 0, 1, ROW_LOGITS};
    int n_asked = 0;
    struct step step = {.rows = &row,
                        .n_rows = 1,
                        .sequences = (const void *)&s,
                        .n_sequences = 1,
                        .logits = whole,
                        .abandoned = abandon_at_once,
                        .context = &n_asked};
    assert_int_equal(model_forward(r.model, r.pool, r.cache, &step), ERR_CANCELLED);
    assert_int_equal(n_asked, 1);
    sequence_free(s);
    runner_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_equal_transformers),
        cmocka_unit_test(chunks_change_no_bit),
        cmocka_unit_test(threads_and_levels_change_no_bit),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(cached_prefix_and_forks_change_no_bit),
        cmocka_unit_test(only_asked_rows_have_logits),
        cmocka_unit_test(abandoned_step_stops_at_the_first_layer),
    };
    return cmocka_run_group_tests_name("model/forward", tests, NULL, NULL);
}
