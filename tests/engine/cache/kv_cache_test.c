/* The pool: sizes, addresses, refusals, and every allocation failure of create. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/mem.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"

static const uint8_t ROOT[SHA256_BYTES] = {1};
static const uint8_t TENANT[32] = {2};

static struct kv_layout two_groups(void)
{
    return (struct kv_layout){
        .groups = {{.n_layers = 3, .n_kv_heads = 2, .head_dim = 16},
                   {.n_layers = 1, .n_kv_heads = 1, .head_dim = 32, .window = 48}},
        .n_groups = 2};
}

static void sizes_and_addresses(void **state)
{
    (void)state;
    struct kv_layout layout = two_groups();
    assert_int_equal(kv_group_block_bytes(&layout.groups[0]), 3 * 2 * 16 * 32 * 2 * 2);
    assert_int_equal(kv_layout_token_bytes(&layout), 3 * 2 * 16 * 4 + 32 * 4);
    size_t n_blocks[KV_GROUPS_MAX] = {4, 2};
    struct kv_cache *cache;
    assert_int_equal(kv_cache_create(&cache, &layout, n_blocks, ROOT, true, NULL), OK);
    assert_int_equal(kv_cache_blocks(cache, 0), 4);
    assert_int_equal(kv_cache_blocks_free(cache, 1), 2);
    assert_int_equal(kv_cache_blocks_cached(cache, 0), 0);
    uint16_t *first = kv_cache_k(cache, 0, 0, 0, 0);
    assert_ptr_equal(kv_cache_v(cache, 0, 0, 0, 0), first + 16 * 32);
    assert_ptr_equal(kv_cache_k(cache, 0, 0, 0, 1), first + 2 * 16 * 32);
    assert_ptr_equal(kv_cache_k(cache, 0, 0, 1, 0), first + 4 * 16 * 32);
    assert_ptr_equal(kv_cache_k(cache, 0, 3, 2, 1), first + (3 * 6 + 5) * 2 * 16 * 32);
    assert_true((uintptr_t)first % 64 == 0);
    assert_true(kv_cache_is_sane(cache));
    kv_cache_free(cache);
}

static void widths_of_k_and_v_may_differ(void **state)
{
    (void)state;
    struct kv_layout layout = {
        .groups =
            {{.n_layers = 2, .n_kv_heads = 2, .head_dim = 48, .value_dim = 16},
             {.n_layers = 2, .n_kv_heads = 1, .head_dim = 48, .value_dim = 32, .latent = true}},
        .n_groups = 2};
    assert_int_equal(kv_group_block_bytes(&layout.groups[0]), 2 * 2 * (48 + 16) * 32 * 2);
    assert_int_equal(kv_group_block_bytes(&layout.groups[1]), 2 * 48 * 32 * 2);
    size_t n_blocks[KV_GROUPS_MAX] = {2, 2};
    struct kv_cache *cache;
    assert_int_equal(kv_cache_create(&cache, &layout, n_blocks, ROOT, true, NULL), OK);
    uint16_t *first = kv_cache_k(cache, 0, 0, 0, 0);
    assert_ptr_equal(kv_cache_v(cache, 0, 0, 0, 0), first + 48 * 32);
    assert_ptr_equal(kv_cache_k(cache, 0, 0, 0, 1), first + (48 + 16) * 32);
    first = kv_cache_k(cache, 1, 0, 0, 0);
    assert_null(kv_cache_v(cache, 1, 0, 0, 0));
    assert_ptr_equal(kv_cache_k(cache, 1, 1, 1, 0), first + 3 * 48 * 32);
    kv_cache_free(cache);
}

static void bad_layouts_are_refused(void **state)
{
    (void)state;
    const struct {
        struct kv_group shape;
        size_t n_groups, n_blocks;
    } cases[] = {
        {{1, 1, 16, 0, 0, false}, 0, 1},
        {{1, 1, 16, 0, 0, false}, KV_GROUPS_MAX + 1, 1},
        {{1, 1, 16, 0, 0, false}, 1, 0},
        {{0, 1, 16, 0, 0, false}, 1, 1},
        {{1, 0, 16, 0, 0, false}, 1, 1},
        {{1, 1, 0, 0, 0, false}, 1, 1},
        {{1, 1, 16, 0, 0, false}, 1, (size_t)1 << 40},
        {{1, 1, 16, 0, SIZE_MAX - 8, false}, 1, 1},
        {{1, 1, 16, 0, 32, true}, 1, 1},
        {{(size_t)1 << 40, (size_t)1 << 40, 16, 0, 0, false}, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kv_layout layout = {.groups = {cases[i].shape}, .n_groups = cases[i].n_groups};
        size_t n_blocks[KV_GROUPS_MAX] = {cases[i].n_blocks};
        struct kv_cache *cache;
        struct error err = {0};
        assert_int_equal(kv_cache_create(&cache, &layout, n_blocks, ROOT, true, &err), ERR_INVALID);
        assert_null(cache);
        assert_true(err.text[0] != '\0');
    }
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct kv_layout layout = two_groups();
    size_t n_blocks[KV_GROUPS_MAX] = {4, 2};
    bool failed = true;
    uint64_t n = 1;
    for (; failed; n++) {
        struct kv_cache *cache = NULL;
        struct sequence *sequence = NULL;
        mem_fault_set(n, false);
        enum status status = kv_cache_create(&cache, &layout, n_blocks, ROOT, true, NULL);
        if (status == OK)
            status = sequence_create(&sequence, cache, 100, TENANT, NULL);
        failed = status != OK;
        if (failed)
            assert_int_equal(status, ERR_MEMORY);
        mem_fault_set(0, false);
        if (cache)
            assert_true(kv_cache_is_sane(cache));
        sequence_free(sequence);
        kv_cache_free(cache);
    }
    assert_true(n > 12);  // cache 1 + 4 a group, sequence 2 + 2 a group
}

static void nothing_is_allocated_after_create(void **state)
{
    (void)state;
    struct kv_layout layout = two_groups();
    size_t n_blocks[KV_GROUPS_MAX] = {4, 4};
    struct kv_cache *cache;
    struct sequence *a, *b, *c;
    assert_int_equal(kv_cache_create(&cache, &layout, n_blocks, ROOT, true, NULL), OK);
    assert_int_equal(sequence_create(&a, cache, 100, TENANT, NULL), OK);
    assert_int_equal(sequence_create(&b, cache, 100, TENANT, NULL), OK);
    assert_int_equal(sequence_create(&c, cache, 100, TENANT, NULL), OK);
    int32_t tokens[100] = {0};
    mem_guard_enter();  // asserts on an allocation
    assert_int_equal(sequence_reserve(a, 70, NULL), OK);
    sequence_commit(a, tokens, 70);
    assert_int_equal(sequence_fork(b, a, 70, NULL), OK);
    assert_int_equal(sequence_match_prefix(c, tokens, 70), 64);
    sequence_truncate(c, 40);
    sequence_truncate(a, 10);
    mem_guard_leave();
    sequence_free(a);
    sequence_free(b);
    sequence_free(c);
    kv_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_addresses),
        cmocka_unit_test(widths_of_k_and_v_may_differ),
        cmocka_unit_test(bad_layouts_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(nothing_is_allocated_after_create),
    };
    return cmocka_run_group_tests_name("cache/kv_cache", tests, NULL, NULL);
}
