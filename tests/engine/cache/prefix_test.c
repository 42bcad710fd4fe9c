/* The index itself: what a forged hash or a full table of tenants can and cannot do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/cache/prefix.h"

static const uint8_t ROOT[SHA256_BYTES] = {1};

static struct kv_cache *cache_of(size_t n_blocks)
{
    struct kv_layout layout = {.groups = {{1, 1, 16, 0, 0, false}}, .n_groups = 1};
    size_t blocks[KV_GROUPS_MAX] = {n_blocks};
    struct kv_cache *cache;
    assert_int_equal(kv_cache_create(&cache, &layout, blocks, ROOT, true, NULL), OK);
    return cache;
}

/* Two contents under one hash: the second neither replaces the first nor is found. */
static void a_collision_never_serves_other_tokens(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(4);
    static const uint8_t ID[32] = {9}, HASH[SHA256_BYTES] = {42};
    int32_t mine[KV_TOKENS_PER_BLOCK] = {1}, other[KV_TOKENS_PER_BLOCK] = {2};
    size_t tenant = tenant_acquire(cache, ID);
    int32_t a = block_take(cache, 0), b = block_take(cache, 0);
    prefix_publish(cache, 0, a, tenant, HASH, mine);
    assert_int_equal(prefix_find(cache, 0, HASH, other), BLOCK_NONE);
    prefix_publish(cache, 0, b, tenant, HASH, other);
    assert_int_equal(prefix_find(cache, 0, HASH, other), BLOCK_NONE);
    assert_int_equal(prefix_find(cache, 0, HASH, mine), a);
    prefix_unpublish(cache, 0, a);
    assert_int_equal(prefix_find(cache, 0, HASH, mine), BLOCK_NONE);
    block_unpin(cache, 0, a);
    block_unpin(cache, 0, b);
    tenant_release(cache, tenant);
    assert_int_equal(kv_cache_blocks_free(cache, 0), 4);
    kv_cache_free(cache);
}

static void the_chain_depends_on_every_input(void **state)
{
    (void)state;
    uint8_t parent[SHA256_BYTES] = {0}, a[SHA256_BYTES], b[SHA256_BYTES];
    int32_t tokens[KV_TOKENS_PER_BLOCK] = {0};
    prefix_hash(a, parent, tokens);
    for (size_t i = 0; i < KV_TOKENS_PER_BLOCK; i++) {
        tokens[i] = 1;
        prefix_hash(b, parent, tokens);
        assert_memory_not_equal(a, b, SHA256_BYTES);
        tokens[i] = 0;
    }
    parent[31] = 1;
    prefix_hash(b, parent, tokens);
    assert_memory_not_equal(a, b, SHA256_BYTES);
}

static void more_tenants_than_slots_share_lists_not_names(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(4);
    struct sequence *sequences[KV_TENANTS_MAX + 8];
    int32_t tokens[40] = {0};
    for (size_t i = 0; i < KV_TENANTS_MAX + 8; i++) {
        uint8_t id[32] = {(uint8_t)i, 7};
        assert_int_equal(sequence_create(&sequences[i], cache, 64, id, NULL), OK);
        assert_int_equal(sequence_match_prefix(sequences[i], tokens, 40), 0);
        assert_int_equal(sequence_reserve(sequences[i], 32, NULL), OK);
        sequence_commit(sequences[i], tokens, 32);
        sequence_truncate(sequences[i], 0);
        assert_true(kv_cache_is_sane(cache));
    }
    for (size_t i = 0; i < KV_TENANTS_MAX + 8; i++)
        sequence_free(sequences[i]);
    for (size_t i = 0; i < 4; i++)
        block_take(cache, 0);  // evicts all that is cached
    for (size_t i = 0; i < KV_TENANTS_MAX; i++)
        assert_int_equal(cache->tenants[i].n_uses, 0);
    for (int32_t i = 0; i < 4; i++)
        block_unpin(cache, 0, i);
    kv_cache_free(cache);
}

/* Giving contents up steps the generation: when a block is freed, and when it is evicted. */
static void given_up_blocks_change_their_generation(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(1);
    static const uint8_t ID[32] = {9}, HASH[SHA256_BYTES] = {42};
    int32_t tokens[KV_TOKENS_PER_BLOCK] = {1};
    const struct kv_block *block = &cache->pools[0].blocks[0];
    size_t tenant = tenant_acquire(cache, ID);
    block_take(cache, 0);
    uint32_t first = block->generation;
    kv_cache_k(cache, 0, 0, 0, 0)[3] = 5;
    block_unpin(cache, 0, 0);
    assert_int_not_equal(block->generation, first);
#ifdef WICARA_DEBUG
    assert_int_equal(kv_cache_k(cache, 0, 0, 0, 0)[3], 0x7e00);
#endif
    block_take(cache, 0);
    prefix_publish(cache, 0, 0, tenant, HASH, tokens);
    uint32_t second = block->generation;
    block_unpin(cache, 0, 0);
    assert_int_equal(block->generation, second);  // cached: the contents live on
    block_take(cache, 0);
    assert_int_not_equal(block->generation, second);
    block_unpin(cache, 0, 0);
    tenant_release(cache, tenant);
    kv_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_collision_never_serves_other_tokens),
        cmocka_unit_test(the_chain_depends_on_every_input),
        cmocka_unit_test(more_tenants_than_slots_share_lists_not_names),
        cmocka_unit_test(given_up_blocks_change_their_generation),
    };
    return cmocka_run_group_tests_name("cache/prefix", tests, NULL, NULL);
}
