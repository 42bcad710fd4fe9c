/* Inside of the cache: the blocks of each KV group and who holds them. Shared by kv_cache.c,
 * prefix.c and sequence.c; nobody else includes it.
 *
 * A block is in exactly one state:
 *   free      refs 0, not published: on the free stack
 *   owned     refs > 0 (published or not): in the tables of `refs` sequences
 *   cached    refs 0, published: on the eviction list of its tenant, findable by its hash
 * A block's contents may be written only while refs is 1 and it is not published. */
#ifndef WICARA_CACHE_BLOCKS_H
#define WICARA_CACHE_BLOCKS_H

#include "engine/base/sha256.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"

enum {
    BLOCK_NONE = -1,
    KV_TENANTS_MAX = 64,          // tenants with an eviction list of their own
    KV_BLOCKS_MAX = 1 << 24,      // of one group
    KV_WINDOW_SLACK_TOKENS = 64,  // kept behind a window so that a step can be rolled back
};

struct kv_block {
    int32_t refs;                // sequences whose table names this block
    uint32_t generation;         // counts the contents given up; a table remembers the one it took
    bool published;              // in the index of its group
    uint16_t tenant;             // slot that published it
    int32_t bucket_next;         // next block with the same bucket, while published
    int32_t older, newer;        // neighbours on the eviction list, while cached
    uint64_t cached_at;          // kv_cache.clock when it came on the eviction list
    uint8_t hash[SHA256_BYTES];  // chain hash, while published
    int32_t tokens[KV_TOKENS_PER_BLOCK];  // the ids behind the hash, while published
};

/* Cached blocks of one tenant, oldest first. A child block is always older than its parent. */
struct eviction_list {
    int32_t oldest, newest;
    size_t n_blocks;
};

struct kv_pool {
    struct kv_group shape;
    size_t block_bytes;
    size_t head_halves;  // u16 of K and V of one (layer, kv head)
    size_t n_blocks;
    size_t bytes;             // of `memory`
    uint8_t *memory;          // [n_blocks, block_bytes]
    struct kv_block *blocks;  // [n_blocks]
    int32_t *free_stack;      // [n_blocks], the last one is taken first
    size_t n_free;
    size_t n_cached;   // sum over the eviction lists
    int32_t *buckets;  // [n_buckets] heads of the hash index, n_buckets a power of two
    size_t n_buckets;
    struct eviction_list evict[KV_TENANTS_MAX];
};

struct tenant_slot {
    uint8_t id[32];
    size_t n_uses;  // sequences and published blocks; 0 = the slot is vacant
};

struct kv_cache {
    struct kv_layout layout;
    struct kv_pool pools[KV_GROUPS_MAX];
    struct tenant_slot tenants[KV_TENANTS_MAX];
    uint8_t root[SHA256_BYTES];
    bool prefix_cache;
    struct kv_spill *spill;      // what is given up goes there; NULL = nowhere
    uint64_t clock;              // steps with each block that becomes cached
    struct sequence *sequences;  // all that exist, for the recount
};

/* The tables of a sequence. Entries [0, first_block) of a group are BLOCK_NONE (its window has
 * passed them), entries [first_block, n_blocks) name blocks. */
struct sequence_group {
    int32_t *blocks;        // [blocks_max]
    uint32_t *generations;  // [blocks_max] of the blocks when they were taken
    size_t first_block;
    size_t n_blocks;
};

struct sequence {
    struct kv_cache *cache;
    struct sequence *previous, *next;  // list of the cache
    size_t tokens_max;
    size_t blocks_max;                // ceil(tokens_max / KV_TOKENS_PER_BLOCK)
    size_t n_tokens;                  // stored
    size_t n_published;               // whole blocks already offered to the index
    size_t n_hashed;                  // entries of `hashes` that are valid
    uint8_t (*hashes)[SHA256_BYTES];  // [blocks_max] chain hash behind each whole block
    uint8_t root[SHA256_BYTES];       // hash before the first block: cache root and tenant
    size_t tenant;                    // slot
    struct sequence_group groups[KV_GROUPS_MAX];
};

/* Blocks that block_take() can deliver: free ones and cached ones. */
static inline size_t pool_available(const struct kv_pool *pool)
{
    return pool->n_free + pool->n_cached;
}

/* Takes a block with refs 1, evicting a cached one when none is free. One must be available. */
int32_t block_take(struct kv_cache *cache, size_t group);
/* One more holder of a block that is owned or cached. */
void block_pin(struct kv_cache *cache, size_t group, int32_t block);
/* One holder less; the last one leaves the block cached when it is published, else free. */
void block_unpin(struct kv_cache *cache, size_t group, int32_t block);
void block_copy(struct kv_cache *cache, size_t group, int32_t to, int32_t from);
/* Contents that were read back become a cached block of that tenant; false when there is no room
 * (or need) for it. */
bool block_restore(struct kv_cache *cache, size_t group, size_t tenant,
                   const uint8_t hash[SHA256_BYTES], const int32_t tokens[KV_TOKENS_PER_BLOCK],
                   const void *contents);

#endif
