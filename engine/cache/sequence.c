/* The state that one sequence carries between steps: block tables, fill level, hash chain.
 *
 * Life of a token: sequence_reserve() puts a writable block under it, forward writes its K and V,
 * sequence_commit() declares it stored and publishes the blocks that became full. Nothing is
 * published earlier, so no other sequence can read a block that a step is still writing.
 *
 * Whole blocks below the fill level are never written again and may be shared; the block in which
 * the fill level lies belongs to this sequence alone when it is written (copy on write in reserve).
 * Blocks are released from the last to the first, which keeps leaves older than their parents on
 * the eviction lists. Tables are sized at create; nothing here allocates afterwards. */
#include "engine/cache/sequence.h"

#include <assert.h>

#include "engine/base/mem.h"
#include "engine/cache/blocks.h"
#include "engine/cache/kv_spill.h"
#include "engine/cache/prefix.h"

static size_t blocks_for(size_t n_tokens)
{
    return (n_tokens + KV_TOKENS_PER_BLOCK - 1) / KV_TOKENS_PER_BLOCK;
}

/* First block that the query at position n_tokens still sees in a group of this window. */
static size_t window_first_block(size_t window, size_t n_tokens)
{
    if (window == 0 || n_tokens + 1 <= window)
        return 0;
    return (n_tokens + 1 - window) / KV_TOKENS_PER_BLOCK;
}

static void table_release(struct sequence_group *table)
{
    mem_free(table->blocks);
    mem_free(table->generations);
}

enum status sequence_create(struct sequence **out, struct kv_cache *cache, size_t tokens_max,
                            const uint8_t tenant[32], struct error *err)
{
    *out = NULL;
    assert(tokens_max > 0 && tokens_max < SIZE_MAX - KV_TOKENS_PER_BLOCK);
    struct sequence *s = mem_calloc(1, sizeof *s);
    if (!s)
        return error_set(err, ERR_MEMORY, "no memory for a sequence");
    s->tokens_max = tokens_max;
    s->blocks_max = blocks_for(tokens_max);
    s->hashes = mem_alloc_array(s->blocks_max, sizeof *s->hashes);
    bool complete = s->hashes != NULL;
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        struct sequence_group *table = &s->groups[g];
        table->blocks = mem_alloc_array(s->blocks_max, sizeof *table->blocks);
        table->generations = mem_alloc_array(s->blocks_max, sizeof *table->generations);
        complete = complete && table->blocks && table->generations;
    }
    if (!complete) {
        sequence_free(s);
        return error_set(err, ERR_MEMORY, "no memory for a sequence of %zu tokens", tokens_max);
    }
    s->cache = cache;
    s->tenant = tenant_acquire(cache, tenant);
    sha256(s->root, cache->root, SHA256_BYTES, tenant, 32, NULL, 0);
    s->next = cache->sequences;
    if (s->next)
        s->next->previous = s;
    cache->sequences = s;
    *out = s;
    return OK;
}

void sequence_set_salt(struct sequence *s, const uint8_t salt[32])
{
    assert(s->n_tokens == 0 && s->n_hashed == 0);
    uint8_t root[SHA256_BYTES];
    sha256(root, s->root, SHA256_BYTES, salt, 32, NULL, 0);
    memcpy(s->root, root, sizeof root);
}

void sequence_free(struct sequence *s)
{
    if (!s)
        return;
    if (s->cache) {  // else create failed half way
        sequence_truncate(s, 0);
        tenant_release(s->cache, s->tenant);
        if (s->previous)
            s->previous->next = s->next;
        else
            s->cache->sequences = s->next;
        if (s->next)
            s->next->previous = s->previous;
    }
    for (size_t g = 0; g < KV_GROUPS_MAX; g++)
        table_release(&s->groups[g]);
    mem_free(s->hashes);
    mem_free(s);
}

size_t sequence_tokens(const struct sequence *s)
{
    return s->n_tokens;
}

static void table_set(struct sequence *s, size_t group, size_t i, int32_t block)
{
    s->groups[group].blocks[i] = block;
    s->groups[group].generations[i] =
        block == BLOCK_NONE ? 0 : s->cache->pools[group].blocks[block].generation;
}

static void table_append(struct sequence *s, size_t group, int32_t block)
{
    assert(s->groups[group].n_blocks < s->blocks_max);
    table_set(s, group, s->groups[group].n_blocks++, block);
}

/* Releases the entries behind the first n_blocks, last one first. */
static void table_cut(struct sequence *s, size_t group, size_t n_blocks)
{
    struct sequence_group *table = &s->groups[group];
    while (table->n_blocks > n_blocks) {
        int32_t block = table->blocks[--table->n_blocks];
        if (block != BLOCK_NONE)
            block_unpin(s->cache, group, block);
    }
    if (table->first_block > n_blocks)
        table->first_block = n_blocks;
}

/* ---- prefix ---- */

/* Extends the hash chain over the first n_blocks blocks of `tokens`. */
static void hash_chain(struct sequence *s, const int32_t *tokens, size_t n_blocks)
{
    for (size_t i = s->n_hashed; i < n_blocks; i++)
        prefix_hash(s->hashes[i], i == 0 ? s->root : s->hashes[i - 1],
                    tokens + i * KV_TOKENS_PER_BLOCK);
    if (s->n_hashed < n_blocks)
        s->n_hashed = n_blocks;
}

static int32_t find_block(const struct sequence *s, size_t group, size_t i, const int32_t *tokens)
{
    return prefix_find(s->cache, group, s->hashes[i], tokens + i * KV_TOKENS_PER_BLOCK);
}

/* In memory; with `stored`, or where blocks spill to. */
static bool has_block(const struct sequence *s, size_t group, size_t i, const int32_t *tokens,
                      bool stored)
{
    return find_block(s, group, i, tokens) != BLOCK_NONE ||
           (stored && kv_spill_has(s->cache->spill, s->hashes[i], (uint32_t)group));
}

/* True when every group has what a sequence of n_blocks whole blocks needs: a group without window
 * is known to have them all, a windowed one must have those that the next token sees. */
static bool windows_hit(const struct sequence *s, size_t n_blocks, const int32_t *tokens,
                        bool stored)
{
    for (size_t g = 0; g < s->cache->layout.n_groups; g++) {
        size_t window = s->cache->layout.groups[g].window;
        if (window == 0)
            continue;
        size_t first = window_first_block(window, n_blocks * KV_TOKENS_PER_BLOCK);
        for (size_t i = n_blocks; i > first; i--) {
            if (!has_block(s, g, i - 1, tokens, stored))
                return false;
        }
    }
    return true;
}

/* Longest chain, in blocks, that the groups without window have published. */
static size_t chain_length(struct sequence *s, const int32_t *tokens, size_t n_blocks_max,
                           bool stored)
{
    size_t n = 0;
    for (; n < n_blocks_max; n++) {
        hash_chain(s, tokens, n + 1);
        for (size_t g = 0; g < s->cache->layout.n_groups; g++) {
            if (s->cache->layout.groups[g].window == 0 && !has_block(s, g, n, tokens, stored))
                return n;
        }
    }
    return n;
}

/* Whole blocks at the beginning of `tokens` that a sequence can start with. */
static size_t match_length(struct sequence *s, const int32_t *tokens, size_t n_tokens, bool stored)
{
    assert(s->n_tokens == 0);
    for (size_t g = 0; g < s->cache->layout.n_groups; g++)
        assert(s->groups[g].n_blocks == 0);
    if (!s->cache->prefix_cache || n_tokens == 0)
        return 0;
    size_t n_blocks_max = (n_tokens - 1) / KV_TOKENS_PER_BLOCK;
    if (n_blocks_max > s->tokens_max / KV_TOKENS_PER_BLOCK)
        n_blocks_max = s->tokens_max / KV_TOKENS_PER_BLOCK;
    size_t n_blocks = chain_length(s, tokens, n_blocks_max, stored);
    while (n_blocks > 0 && !windows_hit(s, n_blocks, tokens, stored))
        n_blocks--;
    return n_blocks;
}

size_t sequence_match_prefix(struct sequence *s, const int32_t *tokens, size_t n_tokens)
{
    struct kv_cache *cache = s->cache;
    size_t n_blocks = match_length(s, tokens, n_tokens, false);
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        size_t first =
            window_first_block(cache->layout.groups[g].window, n_blocks * KV_TOKENS_PER_BLOCK);
        for (size_t i = 0; i < n_blocks; i++) {
            int32_t block = i < first ? BLOCK_NONE : find_block(s, g, i, tokens);
            if (block != BLOCK_NONE)
                block_pin(cache, g, block);
            table_append(s, g, block);
        }
        s->groups[g].first_block = n_blocks == 0 ? 0 : first;
    }
    s->n_hashed = s->n_published = n_blocks;
    s->n_tokens = n_blocks * KV_TOKENS_PER_BLOCK;
    return s->n_tokens;
}

/* ---- blocks that have spilled ---- */

size_t sequence_stored_max(const struct sequence *s)
{
    return s->blocks_max * s->cache->layout.n_groups;
}

/* What is there already becomes the youngest of its tenant, or the blocks to come push it out. */
static void touch_block(struct sequence *s, size_t group, int32_t block)
{
    if (s->cache->pools[group].blocks[block].refs == 0) {
        prefix_list_remove(s->cache, group, block);
        prefix_list_push(s->cache, group, block);
    }
}

bool sequence_has_stored(struct sequence *s, const int32_t *tokens, size_t n_tokens)
{
    return s->cache->spill != NULL &&
           match_length(s, tokens, n_tokens, true) > match_length(s, tokens, n_tokens, false);
}

size_t sequence_list_stored(struct sequence *s, const int32_t *tokens, size_t n_tokens,
                            struct stored_block *out, size_t n_max)
{
    size_t n = 0;
    if (s->cache->spill == NULL)
        return 0;
    size_t n_here = match_length(s, tokens, n_tokens, false);
    size_t n_blocks = match_length(s, tokens, n_tokens, true);
    for (size_t i = n_blocks; n_blocks > n_here && i-- > 0;) {
        for (size_t g = 0; g < s->cache->layout.n_groups; g++) {
            size_t window = s->cache->layout.groups[g].window;
            if (i < window_first_block(window, n_blocks * KV_TOKENS_PER_BLOCK))
                continue;
            int32_t block = find_block(s, g, i, tokens);
            if (block != BLOCK_NONE)
                touch_block(s, g, block);
            else if (n < n_max)
                out[n++] = (struct stored_block){g, i};
        }
    }
    return n;
}

bool sequence_ask_stored(struct sequence *s, const int32_t *tokens,
                         const struct stored_block *block, uint64_t ticket)
{
    struct kv_store_key key = {.group = (uint32_t)block->group};
    hash_chain(s, tokens, block->i + 1);
    memcpy(key.hash, s->hashes[block->i], sizeof key.hash);
    memcpy(key.tokens, tokens + block->i * KV_TOKENS_PER_BLOCK, sizeof key.tokens);
    return kv_spill_ask(s->cache->spill, &key, s->cache->pools[block->group].block_bytes, ticket);
}

bool sequence_restore(struct sequence *s, const struct kv_spill_answer *answer)
{
    return block_restore(s->cache, answer->key.group, s->tenant, answer->key.hash,
                         answer->key.tokens, answer->contents);
}

/* ---- reserve and commit ---- */

/* The entry whose block holds the fill level and must become private before it is written. */
static bool fill_block_is_foreign(const struct sequence *s, size_t group)
{
    if (s->n_tokens % KV_TOKENS_PER_BLOCK == 0)
        return false;
    int32_t block = s->groups[group].blocks[s->n_tokens / KV_TOKENS_PER_BLOCK];
    return s->cache->pools[group].blocks[block].refs > 1;
}

size_t sequence_blocks_needed(const struct sequence *s, size_t group, size_t n_tokens)
{
    if (n_tokens <= s->n_tokens)
        return 0;
    size_t n_blocks = blocks_for(n_tokens);
    size_t n_held = s->groups[group].n_blocks;
    return (n_blocks > n_held ? n_blocks - n_held : 0) + fill_block_is_foreign(s, group);
}

/* Makes the block under the fill level writable: a copy when others hold it too, out of the index
 * when it is published (its ids will no longer be what the index says). */
static void own_fill_block(struct sequence *s, size_t group)
{
    if (s->n_tokens % KV_TOKENS_PER_BLOCK == 0)
        return;
    size_t i = s->n_tokens / KV_TOKENS_PER_BLOCK;
    int32_t shared = s->groups[group].blocks[i];
    struct kv_block *block = &s->cache->pools[group].blocks[shared];
    if (block->refs > 1) {
        int32_t copy = block_take(s->cache, group);
        block_copy(s->cache, group, copy, shared);
        table_set(s, group, i, copy);
        block_unpin(s->cache, group, shared);
    } else if (block->published) {
        prefix_unpublish(s->cache, group, shared);
    }
}

enum status sequence_reserve(struct sequence *s, size_t n_tokens, struct error *err)
{
    assert(n_tokens <= s->tokens_max);
    if (n_tokens <= s->n_tokens)
        return OK;
    struct kv_cache *cache = s->cache;
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        size_t n_needed = sequence_blocks_needed(s, g, n_tokens);
        if (n_needed > pool_available(&cache->pools[g]))
            return error_set(err, ERR_BUSY, "KV cache is full: %zu blocks needed, %zu of %zu left",
                             n_needed, pool_available(&cache->pools[g]), cache->pools[g].n_blocks);
    }
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        own_fill_block(s, g);
        while (s->groups[g].n_blocks < blocks_for(n_tokens))
            table_append(s, g, block_take(cache, g));
    }
    return OK;
}

/* Releases what lies behind the window of every windowed group, less the slack for roll-backs. */
static void release_passed(struct sequence *s)
{
    for (size_t g = 0; g < s->cache->layout.n_groups; g++) {
        struct sequence_group *table = &s->groups[g];
        size_t window = s->cache->layout.groups[g].window;
        if (window == 0 || s->n_tokens < KV_WINDOW_SLACK_TOKENS)
            continue;
        size_t keep = window_first_block(window, s->n_tokens - KV_WINDOW_SLACK_TOKENS);
        for (size_t i = keep; i > table->first_block; i--) {
            block_unpin(s->cache, g, table->blocks[i - 1]);
            table_set(s, g, i - 1, BLOCK_NONE);
        }
        if (keep > table->first_block)
            table->first_block = keep;
    }
}

void sequence_commit(struct sequence *s, const int32_t *tokens, size_t n_tokens)
{
    struct kv_cache *cache = s->cache;
    assert(n_tokens >= s->n_tokens && n_tokens <= s->tokens_max);
    for (size_t g = 0; g < cache->layout.n_groups; g++)
        assert(s->groups[g].n_blocks >= blocks_for(n_tokens));
    size_t n_whole = n_tokens / KV_TOKENS_PER_BLOCK;
    if (cache->prefix_cache) {
        hash_chain(s, tokens, n_whole);
        for (size_t i = s->n_published; i < n_whole; i++) {
            for (size_t g = 0; g < cache->layout.n_groups; g++)
                prefix_publish(cache, g, s->groups[g].blocks[i], s->tenant, s->hashes[i],
                               tokens + i * KV_TOKENS_PER_BLOCK);
        }
    }
    s->n_published = n_whole;
    s->n_tokens = n_tokens;
    release_passed(s);
}

/* ---- roll back and fork ---- */

/* True when n_tokens stored tokens still have every block that their next token sees. */
static bool windows_whole(const struct sequence *s, size_t n_tokens)
{
    for (size_t g = 0; g < s->cache->layout.n_groups; g++) {
        size_t window = s->cache->layout.groups[g].window;
        if (s->groups[g].first_block > window_first_block(window, n_tokens))
            return false;
    }
    return true;
}

void sequence_truncate(struct sequence *s, size_t n_tokens)
{
    assert(n_tokens <= s->n_tokens);
    if (!windows_whole(s, n_tokens))
        n_tokens = 0;
    for (size_t g = 0; g < s->cache->layout.n_groups; g++)
        table_cut(s, g, blocks_for(n_tokens));
    s->n_tokens = n_tokens;
    size_t n_whole = n_tokens / KV_TOKENS_PER_BLOCK;
    if (s->n_hashed > n_whole)
        s->n_hashed = n_whole;
    if (s->n_published > n_whole)
        s->n_published = n_whole;
}

enum status sequence_fork(struct sequence *dst, const struct sequence *src, size_t n_tokens,
                          struct error *err)
{
    struct kv_cache *cache = dst->cache;
    assert(cache == src->cache && dst->n_tokens == 0 && n_tokens <= src->n_tokens &&
           n_tokens <= dst->tokens_max);
    assert(memcmp(dst->root, src->root, SHA256_BYTES) == 0 && "a fork stays with its tenant");
    if (!windows_whole(src, n_tokens))
        return error_set(err, ERR_INVALID, "the window has passed token %zu", n_tokens);
    bool partial = n_tokens % KV_TOKENS_PER_BLOCK != 0;
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        assert(dst->groups[g].n_blocks == 0);
        if (partial && pool_available(&cache->pools[g]) == 0)
            return error_set(err, ERR_BUSY, "KV cache is full: no block left for a fork");
    }
    size_t n_whole = n_tokens / KV_TOKENS_PER_BLOCK;
    for (size_t g = 0; g < cache->layout.n_groups; g++) {
        const struct sequence_group *from = &src->groups[g];
        for (size_t i = 0; i < n_whole; i++) {
            if (from->blocks[i] != BLOCK_NONE)
                block_pin(cache, g, from->blocks[i]);
            table_append(dst, g, from->blocks[i]);
        }
        dst->groups[g].first_block = from->first_block;
        if (partial) {
            int32_t copy = block_take(cache, g);
            block_copy(cache, g, copy, from->blocks[n_whole]);
            table_append(dst, g, copy);
        }
    }
    dst->n_tokens = n_tokens;
    dst->n_published = src->n_published < n_whole ? src->n_published : n_whole;
    dst->n_hashed = src->n_hashed < n_whole ? src->n_hashed : n_whole;
    memcpy(dst->hashes, src->hashes, dst->n_hashed * sizeof *dst->hashes);
    return OK;
}

const int32_t *sequence_blocks(const struct sequence *s, size_t group, size_t *n_blocks)
{
    const struct sequence_group *table = &s->groups[group];
    const struct kv_block *blocks = s->cache->pools[group].blocks;
    for (size_t i = table->first_block; i < table->n_blocks; i++) {
        assert(blocks[table->blocks[i]].refs > 0 &&
               blocks[table->blocks[i]].generation == table->generations[i] &&
               "a sequence holds a block that was given away");
    }
    *n_blocks = table->n_blocks;
    return table->blocks;
}
