/* Goldens of a tiny model: the logits of transformers at some positions of one prompt. Run from the
 * repository's root. */
#ifndef WICARA_TESTS_GOLDEN_H
#define WICARA_TESTS_GOLDEN_H

#include <math.h>

#include "tests/engine/model/runner.h"

enum { PROMPT = 300, GOLDEN_ROWS = 10 };

static const size_t GOLDEN_POSITIONS[GOLDEN_ROWS] = {0, 1, 31, 32, 33, 100, 255, 256, 257, 299};

static inline void make_prompt(int32_t tokens[PROMPT], uint64_t story, size_t n_vocab)
{
    for (size_t i = 0; i < PROMPT; i++)
        tokens[i] = tiny_token(story, i, (uint32_t)n_vocab);
}

static inline double kl_divergence(const float *p_logits, const float *q_logits, size_t n)
{
    double p_max = -INFINITY, q_max = -INFINITY, p_sum = 0, q_sum = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        p_max = fmax(p_max, (double)p_logits[i]);
        q_max = fmax(q_max, (double)q_logits[i]);
    }
    for (size_t i = 0; i < n; i++) {
        p_sum += exp((double)p_logits[i] - p_max);
        q_sum += exp((double)q_logits[i] - q_max);
    }
    for (size_t i = 0; i < n; i++) {
        double p = (double)p_logits[i] - p_max - log(p_sum);
        double q = (double)q_logits[i] - q_max - log(q_sum);
        kl += exp(p) * (p - q);
    }
    return kl;
}

static inline size_t golden_best(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static inline bool is_quantised(const struct tiny_model *tiny)
{
    return dtype_info(tiny->dtype)->block_elements > 1 ||
           dtype_info(tiny->experts_dtype)->block_elements > 1;
}

static inline void golden_path(char *path, size_t n_bytes, const struct tiny_model *tiny,
                               bool precise)
{
    snprintf(path, n_bytes, "tests/golden/model/%s%s.f32", tiny->name,
             is_quantised(tiny) && precise ? "_precise" : "");
}

/* Float weights, and quantised ones in the class precise: close in every logit. Quantised ones in
 * the class fast, where a last bit may tip an activation to the next of its 255 steps: close as a
 * distribution. */
static inline void compare_golden(const struct tiny_model *tiny, bool precise, const float *logits)
{
    char path[96];
    static float golden[GOLDEN_ROWS * 96];
    size_t n_vocab = tiny->n_vocab, n = GOLDEN_ROWS * n_vocab;
    bool quantised = is_quantised(tiny) && !precise;
    golden_path(path, sizeof path, tiny, precise);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is missing", path);
    assert_int_equal(fread(golden, sizeof(float), n, file), n);
    fclose(file);
    size_t other_best = GOLDEN_ROWS;  // a row whose best token is another
    double largest = 0, difference = 0, kl = 0, kl_sum = 0;
    for (size_t i = 0; i < GOLDEN_ROWS; i++) {
        const float *theirs = golden + i * n_vocab;
        const float *ours = logits + GOLDEN_POSITIONS[i] * n_vocab;
        double row_kl = kl_divergence(theirs, ours, n_vocab);
        kl = fmax(kl, row_kl);
        kl_sum += row_kl;
        if (golden_best(theirs, n_vocab) != golden_best(ours, n_vocab) &&
            (!quantised || row_kl > 1e-3))
            other_best = i;
        for (size_t v = 0; v < n_vocab; v++) {
            largest = fmax(largest, fabs((double)theirs[v]));
            difference = fmax(difference, fabs((double)ours[v] - (double)theirs[v]));
        }
    }
    if (getenv("WICARA_TEST_VERBOSE"))
        print_message("%-18s difference %.2e of the largest logit, KL mean %.2e largest %.2e\n",
                      tiny->name, difference / largest, kl_sum / GOLDEN_ROWS, kl);
    if (other_best < GOLDEN_ROWS)
        fail_msg("%s: another best token at position %zu", tiny->name,
                 GOLDEN_POSITIONS[other_best]);
    /* Of the rests' own roundings some tip over too: an eighth of what those of fast do. */
    double close = is_quantised(tiny) ? 4e-3 : 5e-4, kl_mean = quantised ? 1e-3 : 1e-5;
    if (kl_sum > kl_mean * GOLDEN_ROWS || kl > 5e-3 || (!quantised && difference > close * largest))
        fail_msg("%s: difference %g of %g, KL %g", tiny->name, difference, largest, kl);
}

#endif
