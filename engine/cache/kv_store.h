/* A directory of KV blocks, one file a block, named by the block's chain hash: what the prefix
 * cache gave up, for as long as there is room, across restarts.
 *
 * Nothing here is trusted: what a file holds counts only when its head, ids and check sums fit, and
 * every failure means that the block is computed again. The directory may be shared by several
 * servers: a file is never changed, only put there whole (rename), read and removed.
 *
 * Threads: has() and stats() from any; open, write, read and rescan from one thread at a time. */
#ifndef WICARA_CACHE_KV_STORE_H
#define WICARA_CACHE_KV_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/sha256.h"
#include "engine/cache/kv_cache.h"

enum { KV_STORE_BLOCKS_MAX = 1 << 16 };

struct kv_store;

struct kv_store_key {
    uint8_t hash[SHA256_BYTES];
    uint32_t group;
    int32_t tokens[KV_TOKENS_PER_BLOCK];  // the ids behind the hash, compared when it is read
};

struct kv_store_stats {
    uint64_t blocks_written, bytes_written;
    uint64_t blocks_read, bytes_read;
    uint64_t blocks_damaged;  // files that were not what their name said; they are removed
    uint64_t bytes;           // in the directory
};

/* Makes the directory (0700) where it is missing and reads what it has; more than bytes_max loses
 * the blocks that were not used for longest. Errors: ERR_INVALID when it is no directory, another
 * user's, or writable for others; ERR_IO when it cannot be made or read; ERR_MEMORY. */
enum status kv_store_open(struct kv_store **out, const char *path, uint64_t bytes_max,
                          struct error *err) MUST_CHECK;
void kv_store_close(struct kv_store *store);  // NULL is fine

bool kv_store_has(struct kv_store *store, const uint8_t hash[SHA256_BYTES], uint32_t group);

/* used_ns: when the block was last of use (clock of the file system, UTC). After a failed write,
 * which is logged once, writing rests for a minute: ERR_BUSY. */
enum status kv_store_write(struct kv_store *store, const struct kv_store_key *key,
                           const void *contents, size_t n_bytes, int64_t used_ns,
                           struct error *err) MUST_CHECK;
/* Fills `contents`, which is undefined after an error: ERR_NOT_FOUND (it has vanished), ERR_FORMAT
 * (damaged or foreign; it is removed), ERR_IO. */
enum status kv_store_read(struct kv_store *store, const struct kv_store_key *key, void *contents,
                          size_t n_bytes, struct error *err) MUST_CHECK;
/* Looks again at what is there, when the last look is so old. */
void kv_store_rescan(struct kv_store *store, int64_t age_ns);

void kv_store_stats(struct kv_store *store, struct kv_store_stats *out);
int64_t kv_store_now_ns(void);  // the clock of used_ns

#endif
