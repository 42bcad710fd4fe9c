/* The heap seam, large mappings and arenas; see mem.h.
 *
 * The only file of the product that calls malloc and its kin. The fault counter is process-wide and
 * atomic, because the torture tests fail allocations in whichever thread makes them. */
#include "engine/base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <sys/mman.h>

static _Atomic uint64_t fault_at;     // 0 = off, else the count at which to fail
static _Atomic uint64_t fault_calls;  // allocations since mem_fault_set
static _Atomic bool fault_stays;
static _Thread_local unsigned guard_depth;

void mem_fault_set(uint64_t nth, bool from_then_on)
{
    atomic_store(&fault_calls, 0);
    atomic_store(&fault_stays, from_then_on);
    atomic_store(&fault_at, nth);
}

uint64_t mem_fault_count(void)
{
    return atomic_load(&fault_calls);
}

/* Counts one allocation; true when it must fail. The counter is exact only while a test has armed
 * it, so that the ordinary path costs one load. */
static bool fault_due(void)
{
    assert(guard_depth == 0 && "allocation inside a loop that must not allocate");
    uint64_t at = atomic_load_explicit(&fault_at, memory_order_relaxed);
    if (at == 0)
        return false;
    uint64_t call = atomic_fetch_add(&fault_calls, 1) + 1;
    return call == at || (call > at && atomic_load(&fault_stays));
}

void mem_guard_enter(void)
{
    guard_depth++;
}

void mem_guard_leave(void)
{
    assert(guard_depth > 0);
    guard_depth--;
}

void *mem_alloc(size_t bytes)
{
    return fault_due() ? NULL : malloc(bytes ? bytes : 1);
}

void *mem_calloc(size_t count, size_t bytes)
{
    size_t total;
    if (!size_mul(count, bytes, &total) || fault_due())
        return NULL;
    return calloc(count ? count : 1, bytes ? bytes : 1);
}

void *mem_alloc_array(size_t count, size_t bytes)
{
    size_t total;
    return size_mul(count, bytes, &total) ? mem_alloc(total) : NULL;
}

void *mem_alloc_aligned(size_t bytes)
{
    void *memory = NULL;
    if (fault_due() || posix_memalign(&memory, 64, bytes ? bytes : 1) != 0)
        return NULL;
    memset(memory, 0, bytes);
    return memory;
}

void *mem_realloc_array(void *old, size_t count, size_t bytes)
{
    size_t total;
    if (!size_mul(count, bytes, &total) || fault_due())
        return NULL;
    return realloc(old, total ? total : 1);
}

void mem_free(void *memory)
{
    free(memory);
}

char *mem_strdup(const char *text)
{
    return mem_memdup0(text, strlen(text));
}

char *mem_memdup0(const void *bytes, size_t n_bytes)
{
    size_t total;
    if (!size_add(n_bytes, 1, &total))
        return NULL;
    char *copy = mem_alloc(total);
    if (!copy)
        return NULL;
    if (n_bytes)
        memcpy(copy, bytes, n_bytes);
    copy[n_bytes] = '\0';
    return copy;
}

void *mem_map(size_t bytes)
{
    if (fault_due() || bytes == 0)
        return NULL;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    madvise(memory, bytes, MADV_HUGEPAGE);  // a refusal only costs speed
    return memory;
}

void mem_unmap(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

/* ---- arena ---- */

enum { ARENA_CHUNK_BYTES = 16384, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t capacity;
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

void arena_init(struct arena *arena, size_t bytes_max)
{
    *arena = (struct arena){.bytes_max = bytes_max};
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    size_t rounded;
    if (!size_add(bytes, ARENA_ALIGN - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ARENA_ALIGN - 1);
    if (rounded > arena->bytes_max - arena->bytes)
        return NULL;
    struct arena_chunk *chunk = arena->chunks;
    if (!chunk || chunk->capacity - chunk->used < rounded) {
        size_t capacity = rounded > ARENA_CHUNK_BYTES ? rounded : ARENA_CHUNK_BYTES;
        size_t total;
        if (!size_add(capacity, sizeof *chunk, &total))
            return NULL;
        chunk = mem_calloc(1, total);
        if (!chunk)
            return NULL;
        chunk->capacity = capacity;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += rounded;
    arena->bytes += rounded;
    return memory;
}

char *arena_memdup0(struct arena *arena, const void *bytes, size_t n_bytes)
{
    size_t total;
    if (!size_add(n_bytes, 1, &total))
        return NULL;
    char *copy = arena_alloc(arena, total);
    if (copy && n_bytes)
        memcpy(copy, bytes, n_bytes);
    return copy;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk && chunk->next) {  // the oldest stays: it is of the common size
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
    if (chunk) {
        memset(chunk->bytes, 0, chunk->used);
        chunk->used = 0;
    }
    arena->chunks = chunk;
    arena->bytes = 0;
}

void arena_release(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunks;
    while (chunk) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
    *arena = (struct arena){0};
}
