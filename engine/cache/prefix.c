/* Prefix cache: which published block holds the KV of a given beginning of a conversation.
 *
 * A whole block is named by a SHA-256 chain: hash[i] = SHA-256(hash[i-1] || 32 token ids), and the
 * chain starts from a root that covers weights, KV layout, numerics and the tenant. So a name says
 * everything that the contents depend on, two tenants never share a name, and looking up costs one
 * hash a block. On a hit the ids are compared as well: a collision cannot serve foreign KV.
 *
 * Giving up: a block that its last holder leaves goes to the new end of its tenant's list. Holders
 * leave from their last block to their first, so within a list leaves are older than their parents
 * and a chain is eaten from its end. The victim is the oldest block of the tenant with most cached
 * blocks: with one tenant this is plain LRU, with several no tenant can flush another one below an
 * equal share. Past KV_TENANTS_MAX tenants share lists (never names).
 *
 * Source: vLLM's block hashing for the chain; checked by tests/engine/cache. */
#include "engine/cache/prefix.h"

#include <assert.h>

void prefix_hash(uint8_t out[SHA256_BYTES], const uint8_t parent[SHA256_BYTES],
                 const int32_t tokens[KV_TOKENS_PER_BLOCK])
{
    sha256(out, parent, SHA256_BYTES, tokens, KV_TOKENS_PER_BLOCK * sizeof *tokens, NULL, 0);
}

static int32_t *bucket_of(const struct kv_pool *pool, const uint8_t hash[SHA256_BYTES])
{
    uint64_t start;
    memcpy(&start, hash, sizeof start);
    return &pool->buckets[start & (pool->n_buckets - 1)];
}

int32_t prefix_find(const struct kv_cache *cache, size_t group, const uint8_t hash[SHA256_BYTES],
                    const int32_t tokens[KV_TOKENS_PER_BLOCK])
{
    const struct kv_pool *pool = &cache->pools[group];
    for (int32_t b = *bucket_of(pool, hash); b != BLOCK_NONE; b = pool->blocks[b].bucket_next) {
        const struct kv_block *block = &pool->blocks[b];
        if (memcmp(block->hash, hash, SHA256_BYTES) == 0)
            return memcmp(block->tokens, tokens, sizeof block->tokens) == 0 ? b : BLOCK_NONE;
    }
    return BLOCK_NONE;
}

bool prefix_has(const struct kv_cache *cache, size_t group, const uint8_t hash[SHA256_BYTES])
{
    const struct kv_pool *pool = &cache->pools[group];
    for (int32_t b = *bucket_of(pool, hash); b != BLOCK_NONE; b = pool->blocks[b].bucket_next) {
        if (memcmp(pool->blocks[b].hash, hash, SHA256_BYTES) == 0)
            return true;
    }
    return false;
}

void prefix_publish(struct kv_cache *cache, size_t group, int32_t block, size_t tenant,
                    const uint8_t hash[SHA256_BYTES], const int32_t tokens[KV_TOKENS_PER_BLOCK])
{
    struct kv_pool *pool = &cache->pools[group];
    struct kv_block *entry = &pool->blocks[block];
    assert(entry->refs > 0 && !entry->published);
    if (prefix_has(cache, group, hash))
        return;
    memcpy(entry->hash, hash, SHA256_BYTES);
    memcpy(entry->tokens, tokens, sizeof entry->tokens);
    int32_t *bucket = bucket_of(pool, hash);
    entry->bucket_next = *bucket;
    *bucket = block;
    entry->published = true;
    entry->tenant = (uint16_t)tenant;
    cache->tenants[tenant].n_uses++;
}

void prefix_unpublish(struct kv_cache *cache, size_t group, int32_t block)
{
    struct kv_pool *pool = &cache->pools[group];
    struct kv_block *entry = &pool->blocks[block];
    assert(entry->published);
    int32_t *link = bucket_of(pool, entry->hash);
    while (*link != block) {
        assert(*link != BLOCK_NONE);
        link = &pool->blocks[*link].bucket_next;
    }
    *link = entry->bucket_next;
    entry->published = false;
    tenant_release(cache, entry->tenant);
}

/* ---- what to give up ---- */

void prefix_list_push(struct kv_cache *cache, size_t group, int32_t block)
{
    struct kv_pool *pool = &cache->pools[group];
    struct kv_block *entry = &pool->blocks[block];
    struct eviction_list *list = &pool->evict[entry->tenant];
    entry->cached_at = ++cache->clock;
    entry->newer = BLOCK_NONE;
    entry->older = list->newest;
    if (list->newest == BLOCK_NONE)
        list->oldest = block;
    else
        pool->blocks[list->newest].newer = block;
    list->newest = block;
    list->n_blocks++;
    pool->n_cached++;
}

void prefix_list_remove(struct kv_cache *cache, size_t group, int32_t block)
{
    struct kv_pool *pool = &cache->pools[group];
    struct kv_block *entry = &pool->blocks[block];
    struct eviction_list *list = &pool->evict[entry->tenant];
    assert(list->n_blocks > 0);
    if (entry->older == BLOCK_NONE)
        list->oldest = entry->newer;
    else
        pool->blocks[entry->older].newer = entry->newer;
    if (entry->newer == BLOCK_NONE)
        list->newest = entry->older;
    else
        pool->blocks[entry->newer].older = entry->older;
    list->n_blocks--;
    pool->n_cached--;
}

int32_t prefix_victim(const struct kv_cache *cache, size_t group)
{
    const struct kv_pool *pool = &cache->pools[group];
    const struct eviction_list *worst = NULL;
    for (size_t t = 0; t < KV_TENANTS_MAX; t++) {
        const struct eviction_list *list = &pool->evict[t];
        if (list->n_blocks == 0 || (worst && list->n_blocks < worst->n_blocks))
            continue;
        if (!worst || list->n_blocks > worst->n_blocks ||
            pool->blocks[list->oldest].cached_at < pool->blocks[worst->oldest].cached_at)
            worst = list;
    }
    assert(worst);
    return worst->oldest;
}

size_t tenant_acquire(struct kv_cache *cache, const uint8_t id[32])
{
    size_t vacant = KV_TENANTS_MAX;
    for (size_t t = 0; t < KV_TENANTS_MAX; t++) {
        if (cache->tenants[t].n_uses == 0) {
            if (vacant == KV_TENANTS_MAX)
                vacant = t;
        } else if (memcmp(cache->tenants[t].id, id, sizeof cache->tenants[t].id) == 0) {
            cache->tenants[t].n_uses++;
            return t;
        }
    }
    if (vacant == KV_TENANTS_MAX) {
        vacant = id[0] % KV_TENANTS_MAX;
    } else {
        memcpy(cache->tenants[vacant].id, id, sizeof cache->tenants[vacant].id);
    }
    cache->tenants[vacant].n_uses++;
    return vacant;
}

void tenant_release(struct kv_cache *cache, size_t slot)
{
    assert(cache->tenants[slot].n_uses > 0);
    cache->tenants[slot].n_uses--;
}
