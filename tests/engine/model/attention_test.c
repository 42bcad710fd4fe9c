/* Attention of a step against the textbook formula in double, with and without a window; and that
 * no way of cutting the work (threads, units, splits as items of their own) changes a bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "engine/base/dtype.h"
#include "engine/base/rng.h"
#include "engine/cache/sequence.h"
#include "engine/model/attention.h"

enum {
    HEADS = 6,
    KV_HEADS = 2,
    HEAD_DIM = 32,
    TOKENS = 1100,
    ROWS_MAX = 128,
    STRIDE = HEADS * HEAD_DIM + 16
};

struct scene {
    struct kv_cache *cache;
    struct sequence *sequence;
    float q[TOKENS][STRIDE];
    float out[TOKENS][STRIDE];
};

static float random_float(uint32_t what, size_t i)
{
    return (float)(rng_uniform(3, what, (uint32_t)i, 0) * 4 - 2);
}

static float k_of(size_t position, size_t head, size_t d)
{
    return f32_from_f16(f16_from_f32(random_float(1, (position * KV_HEADS + head) * HEAD_DIM + d)));
}

static float v_of(size_t position, size_t head, size_t d)
{
    return f32_from_f16(f16_from_f32(random_float(2, (position * KV_HEADS + head) * HEAD_DIM + d)));
}

/* A stored sequence of TOKENS tokens, NaN where nothing is stored. */
static void scene_init(struct scene *scene, size_t window)
{
    static const uint8_t ROOT[SHA256_BYTES] = {1}, TENANT[32] = {1};
    struct kv_layout layout = {.groups = {{1, KV_HEADS, HEAD_DIM, window}}, .n_groups = 1};
    size_t n_blocks[KV_GROUPS_MAX] = {TOKENS / 32 + 1};
    assert_int_equal(kv_cache_create(&scene->cache, &layout, n_blocks, ROOT, false, NULL), OK);
    assert_int_equal(sequence_create(&scene->sequence, scene->cache, TOKENS, TENANT, NULL), OK);
    assert_int_equal(sequence_reserve(scene->sequence, TOKENS, NULL), OK);
    size_t n;
    const int32_t *blocks = sequence_blocks(scene->sequence, 0, &n);
    for (size_t p = 0; p < n * 32; p++) {
        for (size_t head = 0; head < KV_HEADS; head++) {
            uint16_t *k = kv_cache_k(scene->cache, 0, blocks[p / 32], 0, head) + p % 32;
            uint16_t *v = kv_cache_v(scene->cache, 0, blocks[p / 32], 0, head);
            for (size_t d = 0; d < HEAD_DIM; d++) {
                k[d * 32] = p < TOKENS ? f16_from_f32(k_of(p, head, d)) : 0x7e00;
                v[p % 32 * HEAD_DIM + d] = p < TOKENS ? f16_from_f32(v_of(p, head, d)) : 0x7e00;
            }
        }
    }
    for (size_t p = 0; p < TOKENS; p++)
        for (size_t i = 0; i < HEADS * HEAD_DIM; i++)
            scene->q[p][i] = random_float(3, p * HEADS * HEAD_DIM + i) / 3;
}

static void scene_release(struct scene *scene)
{
    sequence_free(scene->sequence);
    kv_cache_free(scene->cache);
}

/* Rows [first, first + n_rows), cut into runs of `run` rows as if they were several sequences. */
static void attend(struct scene *scene, struct attention *attention, struct pool *pool,
                   size_t first, size_t n_rows, size_t run)
{
    const struct kernels *kernels;
    size_t n_blocks;
    assert_int_equal(kernels_get(kernels_best_level(), &kernels, NULL), OK);
    const int32_t *blocks = sequence_blocks(scene->sequence, 0, &n_blocks);
    attention_plan_begin(attention);
    for (size_t row = 0; row < n_rows; row += run)
        attention_plan_run(attention, blocks, row, n_rows - row < run ? n_rows - row : run,
                           (int32_t)(first + row));
    attention_plan_end(attention, pool_threads(pool));
    struct attention_call call = {.kernels = kernels,
                                  .cache = scene->cache,
                                  .q = scene->q[first],
                                  .q_stride = STRIDE,
                                  .out = scene->out[first],
                                  .out_stride = STRIDE};
    attention_run(attention, pool, &call);
}

static double reference(const struct scene *scene, size_t p, size_t head, size_t d, size_t window)
{
    size_t first = window && p >= window ? p + 1 - window : 0, kv_head = head / (HEADS / KV_HEADS);
    static double scores[TOKENS];
    double sum = 0, value = 0, largest = -INFINITY;
    for (size_t t = first; t <= p; t++) {
        scores[t] = 0;
        for (size_t i = 0; i < HEAD_DIM; i++)
            scores[t] += (double)scene->q[p][head * HEAD_DIM + i] * (double)k_of(t, kv_head, i);
        largest = fmax(largest, scores[t]);
    }
    for (size_t t = first; t <= p; t++) {
        sum += exp(scores[t] - largest);
        value += exp(scores[t] - largest) * (double)v_of(t, kv_head, d);
    }
    return value / sum;
}

static void equals_the_formula(void **state)
{
    (void)state;
    static const size_t windows[] = {0, 1, 40, 256, 300};
    static const size_t positions[] = {0, 1, 31, 32, 39, 40, 255, 256, 257, 511, 512, 800, 1099};
    static struct scene scene;
    struct pool *pool;
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
        struct attention_shape shape = {HEADS, KV_HEADS, HEAD_DIM, windows[w]};
        struct attention attention;
        scene_init(&scene, windows[w]);
        assert_true(attention_init(&attention, &shape, ROWS_MAX, TOKENS, 2));
        for (size_t first = 0; first < TOKENS; first += ROWS_MAX)
            attend(&scene, &attention, pool, first,
                   TOKENS - first < ROWS_MAX ? TOKENS - first : ROWS_MAX, ROWS_MAX);
        for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++)
            for (size_t head = 0; head < HEADS; head++) {
                double expected = reference(&scene, positions[i], head, 7, windows[w]);
                double got = (double)scene.out[positions[i]][head * HEAD_DIM + 7];
                if (!(fabs(got - expected) < 2e-6))
                    fail_msg("window %zu, position %zu, head %zu: %g, expected %g", windows[w],
                             positions[i], head, got, expected);
            }
        attention_release(&attention);
        scene_release(&scene);
    }
    pool_free(pool);
}

static void cutting_changes_no_bit(void **state)
{
    (void)state;
    static const size_t windows[] = {0, 300};
    static const size_t runs[] = {1, 3, 20, 21, 22, ROWS_MAX};
    static struct scene scene;
    static float expected[ROWS_MAX][STRIDE];
    for (size_t w = 0; w < 2; w++) {
        struct attention_shape shape = {HEADS, KV_HEADS, HEAD_DIM, windows[w]};
        struct attention attention;
        size_t n_separate = 0;
        scene_init(&scene, windows[w]);
        for (size_t n_threads = 1; n_threads <= 4; n_threads++) {
            struct pool *pool;
            assert_int_equal(pool_create(&pool, n_threads, NULL), OK);
            assert_true(attention_init(&attention, &shape, ROWS_MAX, TOKENS, n_threads));
            for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
                const size_t first = 950;
                attend(&scene, &attention, pool, first, ROWS_MAX, runs[r]);
                if (n_threads == 1 && r == 0)
                    memcpy(expected, scene.out[first], sizeof expected);
                assert_memory_equal(expected, scene.out[first], sizeof expected);
            }
            for (size_t row = 0; row < ROWS_MAX; row++) {  // decode: one row, many splits
                attend(&scene, &attention, pool, 950 + row, 1, 1);
                n_separate += attention.n_states > 0;
                assert_memory_equal(expected[row], scene.out[950 + row], HEADS * HEAD_DIM * 4);
            }
            attention_release(&attention);
            pool_free(pool);
        }
        assert_true(n_separate > 0);
        scene_release(&scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_formula),
        cmocka_unit_test(cutting_changes_no_bit),
    };
    return cmocka_run_group_tests_name("model/attention", tests, NULL, NULL);
}
