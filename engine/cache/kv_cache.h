/* Paged KV memory: blocks of 32 tokens from one pool per KV group, reference counted, with the
 * automatic prefix cache on top (cache/prefix.h) and one block table a sequence (cache/sequence.h).
 *
 * A group is a set of layers of equal shape and window. One block of a group holds 32 tokens of all
 * its layers: per (layer, kv head) K transposed [head_dim, 32] f16, then V [32, value_dim] f16 (see
 * kernels/attention.h). Owned by the scheduler thread; compute workers only read and write the
 * block contents of the running step. */
#ifndef WICARA_CACHE_KV_CACHE_H
#define WICARA_CACHE_KV_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/sha256.h"

enum { KV_GROUPS_MAX = 4, KV_TOKENS_PER_BLOCK = 32 };

struct kv_group {
    size_t n_layers;  // layers of this group
    size_t n_kv_heads;
    size_t head_dim;   // of K
    size_t window;     // visible tokens, 0 = all
    size_t value_dim;  // of V, 0 = head_dim
    bool latent;       // V is the leading value_dim dimensions of K and not stored again
};

static inline size_t kv_group_value_dim(const struct kv_group *group)
{
    return group->value_dim ? group->value_dim : group->head_dim;
}

struct kv_layout {
    struct kv_group groups[KV_GROUPS_MAX];
    size_t n_groups;
};

struct kv_cache;
struct kv_spill;

/* Bytes of one block of the group (all its layers, K and V). */
size_t kv_group_block_bytes(const struct kv_group *group);
/* Bytes that one more token costs at most, over all groups. */
size_t kv_layout_token_bytes(const struct kv_layout *layout);

/* n_blocks[g] blocks in group g. `root` seeds the prefix hashes: weights, KV type and layout,
 * numerics class and kernel level, rope settings. Errors: ERR_MEMORY, ERR_INVALID. */
enum status kv_cache_create(struct kv_cache **out, const struct kv_layout *layout,
                            const size_t n_blocks[KV_GROUPS_MAX], const uint8_t root[SHA256_BYTES],
                            bool prefix_cache, struct error *err) MUST_CHECK;
void kv_cache_free(struct kv_cache *cache);

/* From now on, published blocks that are given up are offered to `spill` (borrowed; NULL = not). */
void kv_cache_set_spill(struct kv_cache *cache, struct kv_spill *spill);
/* Writes the cached blocks to it, those of most recent use first, until clock_ns() is deadline_ns.
 * Ends the spill's thread; nothing may be computed any more. */
void kv_cache_flush(struct kv_cache *cache, int64_t deadline_ns);

const struct kv_layout *kv_cache_layout(const struct kv_cache *cache);
/* Blocks in all; those that can be taken (unused or evictable); the evictable among them. */
size_t kv_cache_blocks(const struct kv_cache *cache, size_t group);
size_t kv_cache_blocks_free(const struct kv_cache *cache, size_t group);
size_t kv_cache_blocks_cached(const struct kv_cache *cache, size_t group);

/* K and V of one (group, block, layer of the group, kv head). V of a latent group is NULL. */
uint16_t *kv_cache_k(const struct kv_cache *cache, size_t group, int32_t block, size_t layer,
                     size_t kv_head);
uint16_t *kv_cache_v(const struct kv_cache *cache, size_t group, int32_t block, size_t layer,
                     size_t kv_head);

/* Recounts references and lists; for asserts and tests. */
bool kv_cache_is_sane(const struct kv_cache *cache);

#endif
