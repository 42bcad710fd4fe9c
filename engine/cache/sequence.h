/* What one sequence carries between steps: per KV group a block table, and how far it is filled.
 *
 * States of a token's KV: reserved (a block is there), stored (a complete step has written it),
 * published (its whole block can be found by other sequences). All calls come from the scheduler
 * thread. Families with recurrent state add a part here; callers see the same interface. */
#ifndef WICARA_CACHE_SEQUENCE_H
#define WICARA_CACHE_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct kv_cache;
struct kv_spill_answer;
struct sequence;

/* tokens_max: most tokens it will ever hold (sizes its tables; nothing grows later).
 * `tenant` (32 bytes) separates the prefix cache of API keys and salts. */
enum status sequence_create(struct sequence **out, struct kv_cache *cache, size_t tokens_max,
                            const uint8_t tenant[32], struct error *err) MUST_CHECK;
/* Before anything is stored: it shares blocks with sequences of the same tenant and salt only. */
void sequence_set_salt(struct sequence *sequence, const uint8_t salt[32]);
void sequence_free(struct sequence *sequence);  // releases its blocks; NULL is fine

size_t sequence_tokens(const struct sequence *sequence);  // stored tokens

/* Looks up the longest published prefix of `tokens`, whole blocks only and at most n_tokens - 1
 * tokens (one token must run to give logits), in every group; pins and takes the blocks. The
 * sequence must be empty. Returns the number of tokens now stored. */
size_t sequence_match_prefix(struct sequence *sequence, const int32_t *tokens, size_t n_tokens);

/* A block that the sequence could go on with, were it read back from where blocks spill to. */
struct stored_block {
    size_t group;
    size_t i;  // holds tokens 32i .. 32i+31
};
/* Lists the blocks which, all read back, would make sequence_match_prefix() find more: those that
 * depend on others first, at most n_max. Returns their number. The sequence must be empty,
 * and what is matched afterwards begins with the same tokens. */
size_t sequence_list_stored(struct sequence *sequence, const int32_t *tokens, size_t n_tokens,
                            struct stored_block *out, size_t n_max);
/* True when there are any. */
bool sequence_has_stored(struct sequence *sequence, const int32_t *tokens, size_t n_tokens);
size_t sequence_stored_max(const struct sequence *sequence);  // most that there can be
/* Asks for such a block; false = not now. The answer is kv_spill_answer()'s, with `ticket`. */
bool sequence_ask_stored(struct sequence *sequence, const int32_t *tokens,
                         const struct stored_block *block, uint64_t ticket) MUST_CHECK;
/* A block that was read back becomes cached; false when there was no room for it. */
bool sequence_restore(struct sequence *sequence, const struct kv_spill_answer *answer);

/* Before every step: makes sure that tokens [0, n_tokens) have writable blocks, evicting cached
 * ones as needed; a shared block that will be written is copied first. ERR_BUSY when the pool has
 * no block left (nothing is taken then). */
enum status sequence_reserve(struct sequence *sequence, size_t n_tokens,
                             struct error *err) MUST_CHECK;
/* How many blocks of the group sequence_reserve() would take for n_tokens. */
size_t sequence_blocks_needed(const struct sequence *sequence, size_t group, size_t n_tokens);

/* After a complete step: tokens [0, n_tokens) are stored; blocks that became full are published
 * under the hash chain of `tokens` (all tokens from position 0). */
void sequence_commit(struct sequence *sequence, const int32_t *tokens, size_t n_tokens);

/* Rolls back to n_tokens stored tokens (preemption: 0), releasing what lies behind. Where a window
 * has passed that point already, rolls back to 0; sequence_tokens() tells. */
void sequence_truncate(struct sequence *sequence, size_t n_tokens);

/* dst (empty, same cache) becomes a copy of src's first n_tokens: whole blocks are shared, the last
 * partial one is copied. ERR_BUSY when no block is left for the copy, ERR_INVALID when a window has
 * passed n_tokens. */
enum status sequence_fork(struct sequence *dst, const struct sequence *src, size_t n_tokens,
                          struct error *err) MUST_CHECK;

/* Block table of a group: entry i holds tokens 32i .. 32i+31; -1 where a window has passed. */
const int32_t *sequence_blocks(const struct sequence *sequence, size_t group, size_t *n_blocks);

#endif
