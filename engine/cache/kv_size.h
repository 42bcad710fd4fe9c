/* How large the pool of each KV group is.
 *
 * Pools are sized by one number, the blocks of a group that sees all tokens. A windowed group needs
 * no more than its sequences can hold at a time: blocks behind the window are given back. Of those
 * it gets KV_WINDOW_SHARES times as many, so that the last windows of conversations that have ended
 * stay findable, and never more than a group that sees all. */
#ifndef WICARA_CACHE_KV_SIZE_H
#define WICARA_CACHE_KV_SIZE_H

#include "engine/cache/kv_cache.h"

enum { KV_WINDOW_SHARES = 2 };

struct kv_demand {
    size_t sequences_max;  // that hold blocks at a time
    size_t step_tokens;    // most tokens that one of them stores in a step
};

/* Most blocks of the group that one sequence ever holds; SIZE_MAX without a window. */
size_t kv_group_blocks_max(const struct kv_group *group, size_t step_tokens);

/* Blocks of each group where a group without window has n_blocks. Returns their bytes, SIZE_MAX
 * when they are more than that. Any plan that would fit n_blocks in every group fits these. */
size_t kv_pool_blocks(const struct kv_layout *layout, const struct kv_demand *demand,
                      size_t n_blocks, size_t out[KV_GROUPS_MAX]);

/* The largest n_blocks, at most n_max, whose pools fit into `bytes`; 0 = not even 1 fits. */
size_t kv_pool_fit(const struct kv_layout *layout, const struct kv_demand *demand, size_t bytes,
                   size_t n_max);

/* Bytes of one sequence of n_tokens. */
size_t kv_sequence_bytes(const struct kv_layout *layout, size_t n_tokens, size_t step_tokens);

/* The group whose fill tells how full the cache is: one that sees all, where there is one. */
size_t kv_layout_widest(const struct kv_layout *layout);

#endif
