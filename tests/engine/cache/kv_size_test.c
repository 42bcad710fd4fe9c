/* Sizes of the pools: what windows save, limits in bytes, and that the sizes are enough for any
 * steps of as many sequences as they are made for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/cache/kv_size.h"
#include "engine/cache/sequence.h"

enum { WINDOW = 128, STEP = 96, SEQUENCES = 3, TOKENS_MAX = 2000 };

static const struct kv_demand demand = {SEQUENCES, STEP};
static const uint8_t ROOT[SHA256_BYTES] = {1}, TENANT[32] = {2};

static struct kv_layout layout_of(size_t n_groups, size_t first_window)
{
    return (struct kv_layout){
        .groups = {{.n_layers = 1, .n_kv_heads = 1, .head_dim = 16, .window = first_window},
                   {.n_layers = 1, .n_kv_heads = 1, .head_dim = 16, .window = WINDOW}},
        .n_groups = n_groups};
}

static void a_windowed_group_needs_few_blocks(void **state)
{
    (void)state;
    struct kv_layout layout = layout_of(2, 0);
    size_t block = kv_group_block_bytes(&layout.groups[0]), n_blocks[KV_GROUPS_MAX];
    /* 128 of window, 64 of slack, 96 of a step; the ends and a copy. */
    size_t most = kv_group_blocks_max(&layout.groups[1], STEP);
    assert_int_equal(most, 9 + 3);
    assert_true(kv_group_blocks_max(&layout.groups[0], STEP) == SIZE_MAX);
    assert_int_equal(kv_pool_blocks(&layout, &demand, 1000, n_blocks), (1000 + 72) * block);
    assert_int_equal(n_blocks[0], 1000);
    assert_int_equal(n_blocks[1], KV_WINDOW_SHARES * SEQUENCES * most);
    /* Never more than a group that sees all. */
    assert_int_equal(kv_pool_blocks(&layout, &demand, 10, n_blocks), 20 * block);
    assert_int_equal(n_blocks[1], 10);
    assert_int_equal(kv_sequence_bytes(&layout, 32 * 100, STEP), 112 * block);
    assert_int_equal(kv_sequence_bytes(&layout, 33, STEP), 4 * block);
    assert_int_equal(kv_layout_widest(&layout), 0);
    layout.groups[0].window = 8;
    layout.groups[1].window = 0;
    assert_int_equal(kv_layout_widest(&layout), 1);
    layout.n_groups = 1;
    assert_int_equal(kv_layout_widest(&layout), 0);
}

static void what_fits_into_bytes(void **state)
{
    (void)state;
    struct kv_layout layout = layout_of(2, 0);
    size_t block = kv_group_block_bytes(&layout.groups[0]);
    assert_int_equal(kv_pool_fit(&layout, &demand, SIZE_MAX, 5000), 5000);
    assert_int_equal(kv_pool_fit(&layout, &demand, 272 * block, 5000), 200);
    assert_int_equal(kv_pool_fit(&layout, &demand, 272 * block - 1, 5000), 199);
    assert_int_equal(kv_pool_fit(&layout, &demand, 20 * block, 5000), 10);
    assert_int_equal(kv_pool_fit(&layout, &demand, 2 * block, 5000), 1);
    assert_int_equal(kv_pool_fit(&layout, &demand, 2 * block - 1, 5000), 0);
    assert_int_equal(kv_pool_fit(&layout, &demand, 0, 0), 0);
    /* All layers windowed: any length fits once the windows do. */
    struct kv_layout windowed = layout_of(1, WINDOW);
    assert_int_equal(kv_pool_fit(&windowed, &demand, 72 * block, 5000), 5000);
    assert_int_equal(kv_pool_fit(&windowed, &demand, 71 * block, 5000), 71);
}

/* Each sequence alone stays below its most; all together never find their pools full. The pools
 * have no second share here, and prefixes are shared, rolled back and started anew. */
static void pools_are_never_too_small(void **state)
{
    (void)state;
    static int32_t tokens[TOKENS_MAX];
    struct kv_layout layout = layout_of(2, 0);
    size_t most = kv_group_blocks_max(&layout.groups[1], STEP), largest = 0;
    size_t n_blocks[KV_GROUPS_MAX] = {SEQUENCES * (TOKENS_MAX / KV_TOKENS_PER_BLOCK + 2),
                                      SEQUENCES * most};
    struct kv_cache *cache;
    assert_int_equal(kv_cache_create(&cache, &layout, n_blocks, ROOT, true, NULL), OK);
    struct sequence *all[SEQUENCES];
    for (size_t i = 0; i < SEQUENCES; i++)
        assert_int_equal(sequence_create(&all[i], cache, TOKENS_MAX, TENANT, NULL), OK);
    for (uint32_t round = 0; round < 4000; round++) {
        struct sequence *s = all[rng_bits(1, 0, round, 0) % SEQUENCES];
        size_t n = sequence_tokens(s), step = 1 + rng_bits(1, 0, round, 1) % STEP;
        if (n == 0)
            n = sequence_match_prefix(s, tokens, rng_bits(1, 0, round, 2) % TOKENS_MAX);
        if (n + step > TOKENS_MAX) {
            sequence_truncate(s, 0);
            continue;
        }
        assert_int_equal(sequence_reserve(s, n + step, NULL), OK);
        size_t n_entries, n_held = 0;
        const int32_t *entries = sequence_blocks(s, 1, &n_entries);
        for (size_t i = 0; i < n_entries; i++)
            n_held += entries[i] >= 0;
        largest = n_held > largest ? n_held : largest;
        assert_true(n_held <= most);
        sequence_commit(s, tokens, n + step);
        if (round % 3 == 0)
            sequence_truncate(s, n + step - 1);  // a guess that was wrong
    }
    assert_true(largest + 2 >= most);
    assert_true(kv_cache_is_sane(cache));
    for (size_t i = 0; i < SEQUENCES; i++)
        sequence_free(all[i]);
    kv_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_windowed_group_needs_few_blocks),
        cmocka_unit_test(what_fits_into_bytes),
        cmocka_unit_test(pools_are_never_too_small),
    };
    return cmocka_run_group_tests_name("cache/kv_size", tests, NULL, NULL);
}
