/* Checks of forward that every tiny model passes: the logits of transformers, and the same bits for
 * any chunking, company, number of threads and level. */
#ifndef WICARA_TESTS_INVARIANCE_H
#define WICARA_TESTS_INVARIANCE_H

#include "tests/engine/model/golden.h"

enum { INVARIANCE_VOCAB = 96 };
static float whole[PROMPT * INVARIANCE_VOCAB], other[PROMPT * INVARIANCE_VOCAB];

static inline struct runner open_runner(const struct tiny_model *tiny, enum cpu_level level,
                                        size_t n_threads)
{
    struct runner r;
    struct error err = {0};
    if (runner_open(&r, tiny, level, n_threads, &err) != OK)
        fail_msg("%s: %s", tiny->name, err.text);
    return r;
}

/* `other` holds the logits of `whole` at positions [first, last). */
static inline void assert_same_bits(const char *what, const struct tiny_model *tiny, size_t first,
                                    size_t last)
{
    size_t n_vocab = tiny->n_vocab;
    for (size_t p = first; p < last; p++)
        if (memcmp(whole + p * n_vocab, other + p * n_vocab, n_vocab * sizeof(float)) != 0)
            fail_msg("%s: %s: position %zu differs", tiny->name, what, p);
}

static inline void check_golden(const struct tiny_model *tiny)
{
    int32_t tokens[PROMPT];
    make_prompt(tokens, 7, tiny->n_vocab);
    struct runner r = open_runner(tiny, kernels_best_level(), 2);
    struct sequence *s = runner_sequence(&r);
    assert_int_equal(runner_prefill(&r, s, tokens, PROMPT, PROMPT, whole), OK);
    compare_golden(tiny, false, whole);
    sequence_free(s);
    runner_close(&r);
}

/* The prompt at once, one token at a time, and in chunks of several sizes. */
static inline void check_chunks(const struct tiny_model *tiny)
{
    static const size_t chunks[] = {1, 2, 7, 31, 64, 255};
    int32_t tokens[PROMPT];
    make_prompt(tokens, 7, tiny->n_vocab);
    struct runner r = open_runner(tiny, kernels_best_level(), 2);
    struct sequence *s = runner_sequence(&r);
    assert_int_equal(runner_prefill(&r, s, tokens, PROMPT, PROMPT, whole), OK);
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
        sequence_truncate(s, 0);
        assert_int_equal(runner_prefill(&r, s, tokens, PROMPT, chunks[c], other), OK);
        assert_same_bits("chunks", tiny, 0, PROMPT);
    }
    sequence_free(s);
    runner_close(&r);
}

/* Each level that this CPU has, with n_threads[0..n_runs) threads each. */
static inline void check_threads_and_levels(const struct tiny_model *tiny, size_t n_tokens,
                                            const size_t *n_threads, size_t n_runs)
{
    int32_t tokens[PROMPT];
    make_prompt(tokens, 7, tiny->n_vocab);
    for (int level = CPU_LEVELS - 1, runs = 0; level >= 0; level--) {
        if (!kernels_level_available((enum cpu_level)level))
            continue;
        for (size_t i = 0; i < n_runs; i++, runs++) {
            size_t n = level == CPU_SCALAR ? 32 : n_tokens;  // it is slow
            struct runner r = open_runner(tiny, (enum cpu_level)level, n_threads[i]);
            struct sequence *s = runner_sequence(&r);
            size_t chunk = n_threads[i] == 3 ? 50 : 299;
            assert_int_equal(runner_prefill(&r, s, tokens, n, chunk, runs ? other : whole), OK);
            if (runs)
                assert_same_bits("threads or level", tiny, 0, n);
            sequence_free(s);
            runner_close(&r);
        }
    }
}

/* Three conversations at different speeds in shared steps, each as when alone. */
static inline void check_neighbours(const struct tiny_model *tiny, size_t length)
{
    static float alone[3][PROMPT * INVARIANCE_VOCAB], shared[3][PROMPT * INVARIANCE_VOCAB];
    static const size_t speeds[3][4] = {{1, 1, 40, 3}, {64, 5, 1, 1}, {2, 100, 1, 30}};
    struct runner r = open_runner(tiny, kernels_best_level(), 2);
    int32_t tokens[3][PROMPT];
    struct sequence *s[3];
    for (size_t k = 0; k < 3; k++) {
        make_prompt(tokens[k], 100 + k, tiny->n_vocab);
        s[k] = runner_sequence(&r);
        assert_int_equal(runner_prefill(&r, s[k], tokens[k], length, length, alone[k]), OK);
        sequence_truncate(s[k], 0);
    }
    for (size_t round = 0, open = 3; open > 0; round++) {
        struct feed feeds[3];
        open = 0;
        for (size_t j = 0; j < 3; j++) {
            size_t k = (j + round) % 3, first = sequence_tokens(s[k]);
            size_t n = speeds[k][round % 4], left = length - first;
            if (left > 0)
                feeds[open++] = (struct feed){s[k], tokens[k], n < left ? n : left,
                                              shared[k] + first * tiny->n_vocab};
        }
        if (open > 0)
            assert_int_equal(runner_step(&r, feeds, open), OK);
    }
    for (size_t k = 0; k < 3; k++) {
        if (memcmp(alone[k], shared[k], length * tiny->n_vocab * sizeof(float)) != 0)
            fail_msg("%s: conversation %zu differs in company", tiny->name, k);
        sequence_free(s[k]);
    }
    runner_close(&r);
}

#endif
