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
    VALUE_DIM_MAX = 48,
    STRIDE = HEADS * VALUE_DIM_MAX + 16
};

struct scene {
    struct attention_shape shape;
    const float *sinks;  // [HEADS] or NULL
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
    size_t i = (position * KV_HEADS + head) * VALUE_DIM_MAX + d;
    return f32_from_f16(f16_from_f32(random_float(2, i)));
}

/* A stored sequence of TOKENS tokens, NaN where nothing is stored. */
static void scene_init(struct scene *scene, const struct attention_shape *shape)
{
    static const uint8_t ROOT[SHA256_BYTES] = {1}, TENANT[32] = {1};
    bool latent = shape->kv_share > 1;
    size_t n_stored = shape->n_kv_heads / shape->kv_share;
    struct kv_group group = {1, n_stored, HEAD_DIM, shape->window, shape->value_dim, latent};
    struct kv_layout layout = {.groups = {group}, .n_groups = 1};
    scene->shape = *shape;
    scene->sinks = NULL;
    size_t n_blocks[KV_GROUPS_MAX] = {TOKENS / 32 + 1};
    assert_int_equal(kv_cache_create(&scene->cache, &layout, n_blocks, ROOT, false, NULL), OK);
    assert_int_equal(sequence_create(&scene->sequence, scene->cache, TOKENS, TENANT, NULL), OK);
    assert_int_equal(sequence_reserve(scene->sequence, TOKENS, NULL), OK);
    size_t n;
    const int32_t *blocks = sequence_blocks(scene->sequence, 0, &n);
    for (size_t p = 0; p < n * 32; p++) {
        for (size_t head = 0; head < n_stored; head++) {
            uint16_t *k = kv_cache_k(scene->cache, 0, blocks[p / 32], 0, head) + p % 32;
            uint16_t *v = kv_cache_v(scene->cache, 0, blocks[p / 32], 0, head);
            for (size_t d = 0; d < HEAD_DIM; d++)
                k[d * 32] = p < TOKENS ? f16_from_f32(k_of(p, head, d)) : 0x7e00;
            for (size_t d = 0; d < shape->value_dim && !latent; d++)
                v[p % 32 * shape->value_dim + d] =
                    p < TOKENS ? f16_from_f32(v_of(p, head, d)) : 0x7e00;
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
                                  .out_stride = STRIDE,
                                  .out_head_stride = scene->shape.value_dim,
                                  .sinks = scene->sinks};
    attention_run(attention, pool, &call);
}

static double reference(const struct scene *scene, size_t p, size_t head, size_t d)
{
    const struct attention_shape *shape = &scene->shape;
    size_t window = shape->window, first = window && p >= window ? p + 1 - window : 0;
    bool latent = shape->kv_share > 1;
    size_t kv_head = head / (HEADS / shape->n_kv_heads) / shape->kv_share;
    static double scores[TOKENS];
    double sum = 0, value = 0, largest = scene->sinks ? (double)scene->sinks[head] : -INFINITY;
    for (size_t t = first; t <= p; t++) {
        scores[t] = 0;
        for (size_t i = 0; i < HEAD_DIM; i++)
            scores[t] += (double)scene->q[p][head * HEAD_DIM + i] * (double)k_of(t, kv_head, i);
        largest = fmax(largest, scores[t]);
    }
    if (scene->sinks)
        sum = exp((double)scene->sinks[head] - largest);
    for (size_t t = first; t <= p; t++) {
        double v = (double)(latent ? k_of(t, kv_head, d) : v_of(t, kv_head, d));
        sum += exp(scores[t] - largest);
        value += exp(scores[t] - largest) * v;
    }
    return value / sum;
}

static void equals_the_formula(void **state)
{
    (void)state;
    static const float SINKS[HEADS] = {-3, 0, 1, 4, 8, 30};
    static const struct {
        struct attention_shape shape;
        const float *sinks;
    } cases[] = {
        {{HEADS, KV_HEADS, HEAD_DIM, 0, HEAD_DIM, 1}, NULL},
        {{HEADS, KV_HEADS, HEAD_DIM, 1, HEAD_DIM, 1}, NULL},
        {{HEADS, KV_HEADS, HEAD_DIM, 40, HEAD_DIM, 1}, SINKS},
        {{HEADS, KV_HEADS, HEAD_DIM, 256, 16, 1}, NULL},
        {{HEADS, KV_HEADS, HEAD_DIM, 300, 48, 1}, SINKS},
        {{HEADS, 2, HEAD_DIM, 0, 16, 2}, NULL},  // latent, two stacks over one head
        {{HEADS, 3, HEAD_DIM, 0, 32, 3}, SINKS},
    };
    static const size_t positions[] = {0, 1, 31, 32, 39, 40, 255, 256, 257, 511, 512, 800, 1099};
    static struct scene scene;
    struct pool *pool;
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct attention attention;
        scene_init(&scene, &cases[c].shape);
        scene.sinks = cases[c].sinks;
        assert_true(attention_init(&attention, &cases[c].shape, ROWS_MAX, TOKENS, 2));
        for (size_t first = 0; first < TOKENS; first += ROWS_MAX)
            attend(&scene, &attention, pool, first,
                   TOKENS - first < ROWS_MAX ? TOKENS - first : ROWS_MAX, ROWS_MAX);
        for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++)
            for (size_t head = 0; head < HEADS; head++) {
                double expected = reference(&scene, positions[i], head, 7);
                double got = (double)scene.out[positions[i]][head * cases[c].shape.value_dim + 7];
                if (!(fabs(got - expected) < 2e-6))
                    fail_msg("case %zu, position %zu, head %zu: %g, expected %g", c, positions[i],
                             head, got, expected);
            }
        attention_release(&attention);
        scene_release(&scene);
    }
    pool_free(pool);
}

static void cutting_changes_no_bit(void **state)
{
    (void)state;
    static const float SINKS[HEADS] = {-3, 0, 1, 4, 8, 30};
    static const struct attention_shape shapes[] = {
        {HEADS, KV_HEADS, HEAD_DIM, 0, HEAD_DIM, 1},
        {HEADS, KV_HEADS, HEAD_DIM, 300, 48, 1},
        {HEADS, 2, HEAD_DIM, 0, 16, 2},
    };
    static const size_t runs[] = {1, 3, 20, 21, 22, ROWS_MAX};
    static struct scene scene;
    static float expected[ROWS_MAX][STRIDE];
    for (size_t w = 0; w < sizeof shapes / sizeof shapes[0]; w++) {
        const struct attention_shape shape = shapes[w];
        struct attention attention;
        size_t n_separate = 0;
        scene_init(&scene, &shape);
        scene.sinks = w ? SINKS : NULL;
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
                assert_memory_equal(expected[row], scene.out[950 + row],
                                    HEADS * shape.value_dim * sizeof(float));
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
