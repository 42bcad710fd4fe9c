/* The way between the pool's memory and the directory of KV blocks: one thread that writes what the
 * prefix cache gives up and reads what a sequence continues with, and a bounded number of slots,
 * each of one block, in which contents pass from thread to thread.
 *
 * Offering and asking never wait: without a free slot a block is not stored, and a question is put
 * again later. Everything but the thread itself is called by the scheduler thread. */
#ifndef WICARA_CACHE_KV_SPILL_H
#define WICARA_CACHE_KV_SPILL_H

#include "engine/cache/kv_store.h"

struct kv_spill;

/* Memory of the slots for blocks of at most block_bytes. */
size_t kv_spill_bytes(size_t block_bytes);
/* `store` belongs to the spill from now on, also on an error. on_ready is called by the thread,
 * without a lock, when a read has ended. Errors: ERR_MEMORY, ERR_BUSY (no thread). */
enum status kv_spill_open_take(struct kv_spill **out, struct kv_store *store, size_t block_bytes,
                               void (*on_ready)(void *user), void *user,
                               struct error *err) MUST_CHECK;
/* Ends the thread; reads and writes that wait are dropped. Afterwards only kv_spill_flush(),
 * kv_spill_stats() and kv_spill_close(). */
void kv_spill_stop(struct kv_spill *spill);
void kv_spill_close(struct kv_spill *spill);  // NULL is fine

bool kv_spill_has(struct kv_spill *spill, const uint8_t hash[SHA256_BYTES], uint32_t group);
/* Copies a block that is about to be given up, or does not. */
void kv_spill_offer(struct kv_spill *spill, const struct kv_store_key *key, const void *contents,
                    size_t n_bytes);
/* Writes a block at once, in the caller's thread; after kv_spill_stop(). used_ns: see kv_store.h.
 */
void kv_spill_flush(struct kv_spill *spill, const struct kv_store_key *key, const void *contents,
                    size_t n_bytes, int64_t used_ns);

/* Asks for a block; false = no slot is free for now. `ticket` comes back with it. */
bool kv_spill_ask(struct kv_spill *spill, const struct kv_store_key *key, size_t n_bytes,
                  uint64_t ticket) MUST_CHECK;

struct kv_spill_answer {
    size_t slot;
    uint64_t ticket;
    struct kv_store_key key;
    enum status status;    // of kv_store_read()
    const void *contents;  // until kv_spill_done()
};
/* The next read that has ended, in the order of asking; false = none. */
bool kv_spill_answer(struct kv_spill *spill, struct kv_spill_answer *out);
void kv_spill_done(struct kv_spill *spill, const struct kv_spill_answer *answer);

void kv_spill_stats(struct kv_spill *spill, struct kv_store_stats *out, uint64_t *n_dropped);

#endif
