/* KV memory: one mapping a group, cut into blocks, and the account of who holds each block.
 *
 * Idea: a block is a number. Sequences hold numbers with a reference count; the free ones lie on a
 * stack (the last freed is the warmest in the caches); published ones that nobody holds wait on the
 * eviction lists of prefix.c and count as available. Everything is sized at create, so that a step
 * never allocates.
 *
 * Each block carries a generation that steps when its contents are given up. A sequence remembers
 * the generation it took and asserts it at use: a block that was stolen stops the process instead
 * of answering with somebody else's conversation. Builds with WICARA_DEBUG also fill a block that
 * becomes free with NaN. Owned by the scheduler thread. */
#include "engine/cache/kv_cache.h"

#include <assert.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"
#include "engine/cache/blocks.h"
#include "engine/cache/kv_spill.h"
#include "engine/cache/prefix.h"

/* Halves that one token takes in one kv head of one layer. */
static size_t token_halves(const struct kv_group *group)
{
    return group->head_dim + (group->latent ? 0 : kv_group_value_dim(group));
}

size_t kv_group_block_bytes(const struct kv_group *group)
{
    return group->n_layers * group->n_kv_heads * token_halves(group) * KV_TOKENS_PER_BLOCK *
           sizeof(uint16_t);
}

size_t kv_layout_token_bytes(const struct kv_layout *layout)
{
    size_t bytes = 0;
    for (size_t g = 0; g < layout->n_groups; g++)
        bytes += kv_group_block_bytes(&layout->groups[g]) / KV_TOKENS_PER_BLOCK;
    return bytes;
}

static enum status layout_check(const struct kv_layout *layout,
                                const size_t n_blocks[KV_GROUPS_MAX], struct error *err)
{
    if (layout->n_groups < 1 || layout->n_groups > KV_GROUPS_MAX)
        return error_set(err, ERR_INVALID, "KV layout with %zu groups, allowed 1..%d",
                         layout->n_groups, KV_GROUPS_MAX);
    for (size_t g = 0; g < layout->n_groups; g++) {
        const struct kv_group *shape = &layout->groups[g];
        size_t bytes = sizeof(uint16_t) * KV_TOKENS_PER_BLOCK, halves;
        bool fits = size_add(shape->head_dim, kv_group_value_dim(shape), &halves) &&
                    size_mul(bytes, shape->n_layers, &bytes) &&
                    size_mul(bytes, shape->n_kv_heads, &bytes) && size_mul(bytes, halves, &bytes) &&
                    size_mul(bytes, n_blocks[g], &bytes);
        bool sane = !shape->latent || kv_group_value_dim(shape) <= shape->head_dim;
        if (!fits || !sane || bytes == 0 || n_blocks[g] > KV_BLOCKS_MAX)
            return error_set(err, ERR_INVALID,
                             "KV group %zu: %zu blocks of %zu layers x %zu heads x %zu", g,
                             n_blocks[g], shape->n_layers, shape->n_kv_heads, shape->head_dim);
    }
    return OK;
}

static bool pool_init(struct kv_pool *pool, const struct kv_group *shape, size_t n_blocks)
{
    pool->shape = *shape;
    pool->block_bytes = kv_group_block_bytes(shape);
    pool->head_halves = token_halves(shape) * KV_TOKENS_PER_BLOCK;
    pool->n_blocks = n_blocks;
    pool->bytes = n_blocks * pool->block_bytes;
    pool->n_buckets = 1;
    while (pool->n_buckets < 2 * n_blocks)
        pool->n_buckets *= 2;
    pool->memory = mem_map(pool->bytes);
    pool->blocks = mem_calloc(n_blocks, sizeof *pool->blocks);
    pool->free_stack = mem_alloc_array(n_blocks, sizeof *pool->free_stack);
    pool->buckets = mem_alloc_array(pool->n_buckets, sizeof *pool->buckets);
    if (!pool->memory || !pool->blocks || !pool->free_stack || !pool->buckets)
        return false;
    for (size_t i = 0; i < n_blocks; i++)
        pool->free_stack[i] = (int32_t)(n_blocks - 1 - i);
    pool->n_free = n_blocks;
    for (size_t i = 0; i < pool->n_buckets; i++)
        pool->buckets[i] = BLOCK_NONE;
    for (size_t i = 0; i < KV_TENANTS_MAX; i++)
        pool->evict[i] = (struct eviction_list){BLOCK_NONE, BLOCK_NONE, 0};
    return true;
}

static void pool_release(struct kv_pool *pool)
{
    mem_unmap(pool->memory, pool->bytes);
    mem_free(pool->blocks);
    mem_free(pool->free_stack);
    mem_free(pool->buckets);
}

enum status kv_cache_create(struct kv_cache **out, const struct kv_layout *layout,
                            const size_t n_blocks[KV_GROUPS_MAX], const uint8_t root[SHA256_BYTES],
                            bool prefix_cache, struct error *err)
{
    *out = NULL;
    enum status status = layout_check(layout, n_blocks, err);
    if (status != OK)
        return status;
    struct kv_cache *cache = mem_calloc(1, sizeof *cache);
    if (!cache)
        return error_set(err, ERR_MEMORY, "no memory for the KV cache");
    cache->layout = *layout;
    cache->prefix_cache = prefix_cache;
    memcpy(cache->root, root, SHA256_BYTES);
    for (size_t g = 0; g < layout->n_groups; g++) {
        if (!pool_init(&cache->pools[g], &layout->groups[g], n_blocks[g])) {
            kv_cache_free(cache);
            return error_set(err, ERR_MEMORY, "no memory for %zu KV blocks of group %zu",
                             n_blocks[g], g);
        }
    }
    *out = cache;
    return OK;
}

void kv_cache_free(struct kv_cache *cache)
{
    if (!cache)
        return;
    assert(!cache->sequences && "a sequence outlives its cache");
    for (size_t g = 0; g < cache->layout.n_groups; g++)
        pool_release(&cache->pools[g]);
    mem_free(cache);
}

const struct kv_layout *kv_cache_layout(const struct kv_cache *cache)
{
    return &cache->layout;
}

size_t kv_cache_blocks(const struct kv_cache *cache, size_t group)
{
    return cache->pools[group].n_blocks;
}

size_t kv_cache_blocks_free(const struct kv_cache *cache, size_t group)
{
    return pool_available(&cache->pools[group]);
}

size_t kv_cache_blocks_cached(const struct kv_cache *cache, size_t group)
{
    return cache->pools[group].n_cached;
}

uint16_t *kv_cache_k(const struct kv_cache *cache, size_t group, int32_t block, size_t layer,
                     size_t kv_head)
{
    const struct kv_pool *pool = &cache->pools[group];
    assert(block >= 0 && (size_t)block < pool->n_blocks && layer < pool->shape.n_layers &&
           kv_head < pool->shape.n_kv_heads);
    uint16_t *contents = (uint16_t *)(void *)(pool->memory + (size_t)block * pool->block_bytes);
    return contents + (layer * pool->shape.n_kv_heads + kv_head) * pool->head_halves;
}

uint16_t *kv_cache_v(const struct kv_cache *cache, size_t group, int32_t block, size_t layer,
                     size_t kv_head)
{
    const struct kv_group *shape = &cache->pools[group].shape;
    uint16_t *k = kv_cache_k(cache, group, block, layer, kv_head);
    return shape->latent ? NULL : k + shape->head_dim * KV_TOKENS_PER_BLOCK;
}

/* ---- who holds a block ---- */

/* The contents are given up: tables that still name them are wrong from now on. */
static void block_retire(struct kv_pool *pool, int32_t block)
{
    pool->blocks[block].generation++;
#ifdef WICARA_DEBUG
    enum { HALF_NAN = 0x7e00 };
    uint16_t *contents = (uint16_t *)(void *)(pool->memory + (size_t)block * pool->block_bytes);
    for (size_t i = 0; i < pool->block_bytes / sizeof *contents; i++)
        contents[i] = HALF_NAN;
#endif
}

static struct kv_store_key store_key(const struct kv_pool *pool, size_t group, int32_t block)
{
    struct kv_store_key key = {.group = (uint32_t)group};
    memcpy(key.hash, pool->blocks[block].hash, sizeof key.hash);
    memcpy(key.tokens, pool->blocks[block].tokens, sizeof key.tokens);
    return key;
}

static void block_spill(const struct kv_cache *cache, size_t group, int32_t block)
{
    const struct kv_pool *pool = &cache->pools[group];
    struct kv_store_key key = store_key(pool, group, block);
    kv_spill_offer(cache->spill, &key, pool->memory + (size_t)block * pool->block_bytes,
                   pool->block_bytes);
}

int32_t block_take(struct kv_cache *cache, size_t group)
{
    struct kv_pool *pool = &cache->pools[group];
    assert(pool_available(pool) > 0);
    int32_t block;
    if (pool->n_free > 0) {
        block = pool->free_stack[--pool->n_free];
    } else {
        block = prefix_victim(cache, group);
        if (cache->spill != NULL)
            block_spill(cache, group, block);
        prefix_list_remove(cache, group, block);
        prefix_unpublish(cache, group, block);
        block_retire(pool, block);
    }
    assert(pool->blocks[block].refs == 0 && !pool->blocks[block].published);
    pool->blocks[block].refs = 1;
    return block;
}

void block_pin(struct kv_cache *cache, size_t group, int32_t block)
{
    struct kv_block *held = &cache->pools[group].blocks[block];
    assert(held->refs > 0 || held->published);
    if (held->refs == 0)
        prefix_list_remove(cache, group, block);
    held->refs++;
}

void block_unpin(struct kv_cache *cache, size_t group, int32_t block)
{
    struct kv_pool *pool = &cache->pools[group];
    struct kv_block *held = &pool->blocks[block];
    assert(held->refs > 0);
    if (--held->refs > 0)
        return;
    if (held->published) {
        prefix_list_push(cache, group, block);
        return;
    }
    block_retire(pool, block);
    assert(pool->n_free < pool->n_blocks);
    pool->free_stack[pool->n_free++] = block;
}

void block_copy(struct kv_cache *cache, size_t group, int32_t to, int32_t from)
{
    struct kv_pool *pool = &cache->pools[group];
    assert(pool->blocks[to].refs == 1 && !pool->blocks[to].published);
    memcpy(pool->memory + (size_t)to * pool->block_bytes,
           pool->memory + (size_t)from * pool->block_bytes, pool->block_bytes);
}

/* ---- spilling ---- */

void kv_cache_set_spill(struct kv_cache *cache, struct kv_spill *spill)
{
    cache->spill = spill;
}

/* The later in the list, the later of use: parents behind their leaves. */
static bool flush_list(struct kv_cache *cache, size_t group, size_t tenant, int64_t *used_ns,
                       int64_t deadline_ns)
{
    const struct kv_pool *pool = &cache->pools[group];
    int32_t block = pool->evict[tenant].newest;
    for (; block != BLOCK_NONE; block = pool->blocks[block].older) {
        if (clock_ns() >= deadline_ns)
            return false;
        struct kv_store_key key = store_key(pool, group, block);
        *used_ns -= 1000;
        kv_spill_flush(cache->spill, &key, pool->memory + (size_t)block * pool->block_bytes,
                       pool->block_bytes, *used_ns);
    }
    return true;
}

void kv_cache_flush(struct kv_cache *cache, int64_t deadline_ns)
{
    if (cache->spill == NULL)
        return;
    kv_spill_stop(cache->spill);
    int64_t used_ns = kv_store_now_ns();
    bool goes_on = true;
    for (size_t t = 0; t < KV_TENANTS_MAX && goes_on; t++)
        for (size_t g = 0; g < cache->layout.n_groups && goes_on; g++)
            goes_on = flush_list(cache, g, t, &used_ns, deadline_ns);
}

bool block_restore(struct kv_cache *cache, size_t group, size_t tenant,
                   const uint8_t hash[SHA256_BYTES], const int32_t tokens[KV_TOKENS_PER_BLOCK],
                   const void *contents)
{
    struct kv_pool *pool = &cache->pools[group];
    if (pool_available(pool) == 0 || prefix_has(cache, group, hash))
        return false;
    int32_t block = block_take(cache, group);
    memcpy(pool->memory + (size_t)block * pool->block_bytes, contents, pool->block_bytes);
    prefix_publish(cache, group, block, tenant, hash, tokens);
    block_unpin(cache, group, block);
    return true;
}

/* ---- recount ---- */

/* References from the tables of all sequences equal `refs`, and generations match. Block by block,
 * so that the check needs no memory: quadratic, meant for tests and for hunting a fault. */
static bool block_refs_match(const struct kv_cache *cache, size_t group, int32_t block)
{
    const struct kv_block *held = &cache->pools[group].blocks[block];
    int32_t n_refs = 0;
    for (const struct sequence *s = cache->sequences; s; s = s->next) {
        const struct sequence_group *table = &s->groups[group];
        for (size_t i = table->first_block; i < table->n_blocks; i++) {
            if (table->blocks[i] != block)
                continue;
            if (table->generations[i] != held->generation)
                return false;
            n_refs++;
        }
    }
    return n_refs == held->refs;
}

static bool eviction_lists_match(const struct kv_pool *pool)
{
    size_t n_cached = 0;
    for (size_t t = 0; t < KV_TENANTS_MAX; t++) {
        const struct eviction_list *list = &pool->evict[t];
        size_t n_listed = 0;
        int32_t older = BLOCK_NONE;
        for (int32_t b = list->oldest; b != BLOCK_NONE; b = pool->blocks[b].newer) {
            const struct kv_block *block = &pool->blocks[b];
            if (block->refs != 0 || !block->published || block->older != older ||
                block->tenant != t || ++n_listed > pool->n_blocks)
                return false;
            older = b;
        }
        if (older != list->newest || n_listed != list->n_blocks)
            return false;
        n_cached += n_listed;
    }
    return n_cached == pool->n_cached;
}

static bool pool_is_sane(const struct kv_cache *cache, size_t group)
{
    const struct kv_pool *pool = &cache->pools[group];
    size_t n_free = 0, n_cached = 0;
    for (size_t b = 0; b < pool->n_blocks; b++) {
        const struct kv_block *block = &pool->blocks[b];
        n_free += block->refs == 0 && !block->published;
        n_cached += block->refs == 0 && block->published;
        if (!block_refs_match(cache, group, (int32_t)b))
            return false;
        if (block->published && prefix_find(cache, group, block->hash, block->tokens) != (int32_t)b)
            return false;
    }
    for (size_t i = 0; i < pool->n_free; i++) {
        const struct kv_block *block = &pool->blocks[pool->free_stack[i]];
        if (block->refs != 0 || block->published)
            return false;
        for (size_t j = 0; j < i; j++) {
            if (pool->free_stack[i] == pool->free_stack[j])
                return false;
        }
    }
    return n_free == pool->n_free && n_cached == pool->n_cached && eviction_lists_match(pool);
}

bool kv_cache_is_sane(const struct kv_cache *cache)
{
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        if (!pool_is_sane(cache, g))
            return false;
    }
    return true;
}
