/* Slots, two queues and one thread; see kv_spill.h.
 *
 * A slot goes FREE -> WRITE -> FREE or FREE -> READ -> READY -> FREE. Its state says whose the
 * contents are: the scheduler thread's while it is FREE or READY, else the spill thread's. Reads go
 * first, somebody waits for them, and each kind may hold half of the slots at most, so that neither
 * keeps the other out.
 *
 * The scheduler thread pays a copy of one block, 0.1 ms a MB, each time that the pool evicts. */
#include "engine/cache/kv_spill.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/mem.h"

enum { SLOTS_MIN = 4, SLOTS_MAX = 128 };
static const int64_t RESCAN_NS = 30 * (int64_t)1000000000;
static const size_t SLOT_BYTES_AIM = (size_t)64 << 20;  // of all slots

enum slot_state { SLOT_FREE, SLOT_WRITE, SLOT_READ, SLOT_READY };

struct slot {
    enum slot_state state;
    uint64_t order;  // of asking or offering
    uint64_t ticket;
    struct kv_store_key key;
    size_t n_bytes;
    enum status status;
};

struct kv_spill {
    struct kv_store *store;
    size_t block_bytes, n_slots;
    uint8_t *memory;  // [n_slots, block_bytes]
    void (*on_ready)(void *user);
    void *user;
    pthread_t thread;
    bool has_thread;
    _Atomic uint64_t n_dropped;

    pthread_mutex_t mu;
    pthread_cond_t changed;
    bool is_stopping;             /* guarded by mu, like the rest */
    struct slot slots[SLOTS_MAX]; /* key, n_bytes, ticket: their owner's */
    size_t n_writes, n_reads;     /* slots in WRITE; in READ and READY */
    uint64_t order;
};

static size_t slots_for(size_t block_bytes)
{
    size_t n = SLOT_BYTES_AIM / block_bytes;
    return n < SLOTS_MIN ? SLOTS_MIN : n > SLOTS_MAX ? SLOTS_MAX : n;
}

size_t kv_spill_bytes(size_t block_bytes)
{
    return slots_for(block_bytes) * block_bytes;
}

static uint8_t *contents_of(const struct kv_spill *spill, size_t slot)
{
    return spill->memory + slot * spill->block_bytes;
}

/* The slot in this state that came first; n_slots when there is none. Under mu. */
static size_t first_slot(const struct kv_spill *spill, enum slot_state state)
{
    size_t first = spill->n_slots;
    for (size_t i = 0; i < spill->n_slots; i++)
        if (spill->slots[i].state == state &&
            (first == spill->n_slots || spill->slots[i].order < spill->slots[first].order))
            first = i;
    return first;
}

/* ---- the thread ---- */

static void read_slot(struct kv_spill *spill, size_t i)
{
    struct slot *slot = &spill->slots[i];
    slot->status =
        kv_store_read(spill->store, &slot->key, contents_of(spill, i), slot->n_bytes, NULL);
}

static void write_slot(struct kv_spill *spill, size_t i)
{
    struct slot *slot = &spill->slots[i];
    if (kv_store_write(spill->store, &slot->key, contents_of(spill, i), slot->n_bytes,
                       kv_store_now_ns(), NULL) != OK)
        atomic_fetch_add(&spill->n_dropped, 1);
}

static void *spill_main(void *context)
{
    struct kv_spill *spill = context;
    pthread_mutex_lock(&spill->mu);
    while (!spill->is_stopping) {
        size_t i = first_slot(spill, SLOT_READ);
        bool reads = i < spill->n_slots;
        if (!reads)
            i = first_slot(spill, SLOT_WRITE);
        if (i == spill->n_slots) {
            pthread_cond_wait(&spill->changed, &spill->mu);
            continue;
        }
        pthread_mutex_unlock(&spill->mu);
        if (reads)
            read_slot(spill, i);
        else
            write_slot(spill, i);
        pthread_mutex_lock(&spill->mu);
        spill->slots[i].state = reads ? SLOT_READY : SLOT_FREE;
        spill->n_writes -= !reads;
        pthread_mutex_unlock(&spill->mu);
        if (reads)
            spill->on_ready(spill->user);
        kv_store_rescan(spill->store, RESCAN_NS);
        pthread_mutex_lock(&spill->mu);
    }
    pthread_mutex_unlock(&spill->mu);
    return NULL;
}

/* ---- life ---- */

enum status kv_spill_open_take(struct kv_spill **out, struct kv_store *store, size_t block_bytes,
                               void (*on_ready)(void *user), void *user, struct error *err)
{
    *out = NULL;
    assert(block_bytes > 0);
    struct kv_spill *spill = mem_calloc(1, sizeof *spill);
    if (spill == NULL) {
        kv_store_close(store);
        return error_set(err, ERR_MEMORY, "no memory for spilled KV blocks");
    }
    spill->store = store;
    spill->block_bytes = block_bytes;
    spill->n_slots = slots_for(block_bytes);
    spill->on_ready = on_ready;
    spill->user = user;
    pthread_mutex_init(&spill->mu, NULL);
    pthread_cond_init(&spill->changed, NULL);
    enum status status = OK;
    spill->memory = mem_map(kv_spill_bytes(block_bytes));
    if (spill->memory == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for %zu spilled KV blocks of %zu bytes",
                           spill->n_slots, block_bytes);
    else if (pthread_create(&spill->thread, NULL, spill_main, spill) != 0)
        status = error_set(err, ERR_BUSY, "the system refuses a thread for spilled KV blocks");
    if (status != OK) {
        kv_spill_close(spill);
        return status;
    }
    spill->has_thread = true;
    *out = spill;
    return OK;
}

void kv_spill_stop(struct kv_spill *spill)
{
    if (!spill->has_thread)
        return;
    pthread_mutex_lock(&spill->mu);
    spill->is_stopping = true;
    pthread_cond_signal(&spill->changed);
    pthread_mutex_unlock(&spill->mu);
    pthread_join(spill->thread, NULL);
    spill->has_thread = false;
}

void kv_spill_close(struct kv_spill *spill)
{
    if (spill == NULL)
        return;
    kv_spill_stop(spill);
    kv_store_close(spill->store);
    if (spill->memory != NULL)
        mem_unmap(spill->memory, kv_spill_bytes(spill->block_bytes));
    pthread_cond_destroy(&spill->changed);
    pthread_mutex_destroy(&spill->mu);
    mem_free(spill);
}

/* ---- the scheduler thread's side ---- */

bool kv_spill_has(struct kv_spill *spill, const uint8_t hash[SHA256_BYTES], uint32_t group)
{
    return kv_store_has(spill->store, hash, group);
}

/* A free slot that this kind may have; n_slots when there is none. */
static size_t take_slot(struct kv_spill *spill, bool for_reading)
{
    size_t i = spill->n_slots;
    pthread_mutex_lock(&spill->mu);
    if ((for_reading ? spill->n_reads : spill->n_writes) < spill->n_slots / 2)
        i = first_slot(spill, SLOT_FREE);
    pthread_mutex_unlock(&spill->mu);
    return i;
}

/* The filled slot goes to the thread. Only this thread takes free slots, so it still is one. */
static void hand_over(struct kv_spill *spill, size_t i, bool for_reading)
{
    pthread_mutex_lock(&spill->mu);
    spill->slots[i].order = ++spill->order;
    spill->slots[i].state = for_reading ? SLOT_READ : SLOT_WRITE;
    spill->n_reads += for_reading;
    spill->n_writes += !for_reading;
    pthread_cond_signal(&spill->changed);
    pthread_mutex_unlock(&spill->mu);
}

void kv_spill_offer(struct kv_spill *spill, const struct kv_store_key *key, const void *contents,
                    size_t n_bytes)
{
    assert(n_bytes <= spill->block_bytes);
    if (kv_store_has(spill->store, key->hash, key->group))
        return;
    size_t i = take_slot(spill, false);
    if (i == spill->n_slots) {
        atomic_fetch_add(&spill->n_dropped, 1);
        return;
    }
    spill->slots[i].key = *key;
    spill->slots[i].n_bytes = n_bytes;
    memcpy(contents_of(spill, i), contents, n_bytes);
    hand_over(spill, i, false);
}

void kv_spill_flush(struct kv_spill *spill, const struct kv_store_key *key, const void *contents,
                    size_t n_bytes, int64_t used_ns)
{
    assert(!spill->has_thread);
    if (kv_store_write(spill->store, key, contents, n_bytes, used_ns, NULL) != OK)
        atomic_fetch_add(&spill->n_dropped, 1);
}

bool kv_spill_ask(struct kv_spill *spill, const struct kv_store_key *key, size_t n_bytes,
                  uint64_t ticket)
{
    assert(n_bytes <= spill->block_bytes);
    size_t i = take_slot(spill, true);
    if (i == spill->n_slots)
        return false;
    spill->slots[i].key = *key;
    spill->slots[i].n_bytes = n_bytes;
    spill->slots[i].ticket = ticket;
    hand_over(spill, i, true);
    return true;
}

bool kv_spill_answer(struct kv_spill *spill, struct kv_spill_answer *out)
{
    pthread_mutex_lock(&spill->mu);
    size_t i = first_slot(spill, SLOT_READY);
    pthread_mutex_unlock(&spill->mu);
    if (i == spill->n_slots)
        return false;
    const struct slot *slot = &spill->slots[i];
    *out = (struct kv_spill_answer){
        .slot = i,
        .ticket = slot->ticket,
        .key = slot->key,
        .status = slot->status,
        .contents = contents_of(spill, i),
    };
    return true;
}

void kv_spill_done(struct kv_spill *spill, const struct kv_spill_answer *answer)
{
    pthread_mutex_lock(&spill->mu);
    assert(spill->slots[answer->slot].state == SLOT_READY);
    spill->slots[answer->slot].state = SLOT_FREE;
    spill->n_reads--;
    pthread_mutex_unlock(&spill->mu);
}

void kv_spill_stats(struct kv_spill *spill, struct kv_store_stats *out, uint64_t *n_dropped)
{
    kv_store_stats(spill->store, out);
    *n_dropped = atomic_load(&spill->n_dropped);
}
