/* Sizes of the pools of the KV groups; see kv_size.h.
 *
 * What a sequence holds of a windowed group follows from sequence.c: behind a step it keeps what
 * the next token sees and KV_WINDOW_SLACK_TOKENS before that, and the next step adds its tokens.
 * Both ends are rounded to blocks, and while the block under the fill level is copied for its
 * owner the sequence holds one more. Pure; no state. */
#include "engine/cache/kv_size.h"

#include "engine/base/mem.h"
#include "engine/cache/blocks.h"

size_t kv_group_blocks_max(const struct kv_group *group, size_t step_tokens)
{
    size_t n_tokens;
    if (group->window == 0 ||
        !size_add(group->window + KV_WINDOW_SLACK_TOKENS, step_tokens, &n_tokens))
        return SIZE_MAX;
    return n_tokens / KV_TOKENS_PER_BLOCK + 3;
}

size_t kv_pool_blocks(const struct kv_layout *layout, const struct kv_demand *demand,
                      size_t n_blocks, size_t out[KV_GROUPS_MAX])
{
    size_t bytes = 0;
    for (size_t g = 0; g < layout->n_groups; g++) {
        const struct kv_group *group = &layout->groups[g];
        size_t most = kv_group_blocks_max(group, demand->step_tokens), group_bytes;
        if (!size_mul(most, KV_WINDOW_SHARES * demand->sequences_max, &most))
            most = SIZE_MAX;
        out[g] = n_blocks < most ? n_blocks : most;
        if (!size_mul(out[g], kv_group_block_bytes(group), &group_bytes) ||
            !size_add(bytes, group_bytes, &bytes))
            bytes = SIZE_MAX;
    }
    return bytes;
}

size_t kv_pool_fit(const struct kv_layout *layout, const struct kv_demand *demand, size_t bytes,
                   size_t n_max)
{
    size_t n_blocks[KV_GROUPS_MAX], fits = 0, over = n_max;
    if (kv_pool_blocks(layout, demand, n_max, n_blocks) <= bytes)
        return n_max;
    while (over - fits > 1) {
        size_t middle = fits + (over - fits) / 2;
        if (kv_pool_blocks(layout, demand, middle, n_blocks) <= bytes)
            fits = middle;
        else
            over = middle;
    }
    return fits;
}

size_t kv_sequence_bytes(const struct kv_layout *layout, size_t n_tokens, size_t step_tokens)
{
    size_t bytes = 0, n_whole = (n_tokens + KV_TOKENS_PER_BLOCK - 1) / KV_TOKENS_PER_BLOCK;
    for (size_t g = 0; g < layout->n_groups; g++) {
        size_t most = kv_group_blocks_max(&layout->groups[g], step_tokens);
        bytes += (n_whole < most ? n_whole : most) * kv_group_block_bytes(&layout->groups[g]);
    }
    return bytes;
}

size_t kv_layout_widest(const struct kv_layout *layout)
{
    for (size_t g = 0; g < layout->n_groups; g++)
        if (layout->groups[g].window == 0)
            return g;
    return 0;
}
