/* The prefix cache: an index from chain hashes to published blocks, and which cached block to give
 * up when memory is short. Inside of the cache; see prefix.c for the design. */
#ifndef WICARA_CACHE_PREFIX_H
#define WICARA_CACHE_PREFIX_H

#include "engine/cache/blocks.h"

/* hash[i] = SHA-256(hash[i - 1], ids of block i); the first parent is the sequence's root. */
void prefix_hash(uint8_t out[SHA256_BYTES], const uint8_t parent[SHA256_BYTES],
                 const int32_t tokens[KV_TOKENS_PER_BLOCK]);

/* The published block with this hash and these very ids, else BLOCK_NONE. Nothing is pinned. */
int32_t prefix_find(const struct kv_cache *cache, size_t group, const uint8_t hash[SHA256_BYTES],
                    const int32_t tokens[KV_TOKENS_PER_BLOCK]);

/* True when some block carries this hash, whatever its ids. */
bool prefix_has(const struct kv_cache *cache, size_t group, const uint8_t hash[SHA256_BYTES]);

/* Enters a complete block that a sequence holds. When equal content is there already, that one
 * stays and `block` remains private. */
void prefix_publish(struct kv_cache *cache, size_t group, int32_t block, size_t tenant,
                    const uint8_t hash[SHA256_BYTES], const int32_t tokens[KV_TOKENS_PER_BLOCK]);
/* Takes a block that is not on an eviction list out of the index. */
void prefix_unpublish(struct kv_cache *cache, size_t group, int32_t block);

/* Eviction lists: a published block enters when its last holder leaves, and leaves when it is
 * found again or chosen as the victim. */
void prefix_list_push(struct kv_cache *cache, size_t group, int32_t block);
void prefix_list_remove(struct kv_cache *cache, size_t group, int32_t block);
/* The block to give up next; at least one must be cached. */
int32_t prefix_victim(const struct kv_cache *cache, size_t group);

/* Slot of a tenant, counted as used until tenant_release(). */
size_t tenant_acquire(struct kv_cache *cache, const uint8_t id[32]);
void tenant_release(struct kv_cache *cache, size_t slot);

#endif
