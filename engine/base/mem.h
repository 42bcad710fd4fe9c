/* Heap memory: checked sizes, a fault seam for tests, a guard for loops that must not allocate,
 * and the arena that carries one job's memory.
 *
 * All of the project's heap memory comes from here, so that a test can fail the n-th allocation
 * and so that forward can assert that it allocates nothing. mem_free() accepts NULL. */
#ifndef WICARA_BASE_MEM_H
#define WICARA_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* NULL when memory is out (or a test asked for it). Contents undefined / zero. */
void *mem_alloc(size_t bytes) MUST_CHECK;
void *mem_calloc(size_t count, size_t bytes) MUST_CHECK;       // checked product
void *mem_alloc_array(size_t count, size_t bytes) MUST_CHECK;  // checked product
void *mem_alloc_aligned(size_t bytes) MUST_CHECK;              // 64-byte aligned, zeroed; mem_free
void *mem_realloc_array(void *old, size_t count, size_t bytes) MUST_CHECK;
void mem_free(void *memory);
char *mem_strdup(const char *text) MUST_CHECK;
char *mem_memdup0(const void *bytes, size_t n_bytes) MUST_CHECK;  // copy with a NUL behind it

/* Large buffers: 64-byte aligned, transparent huge pages where the kernel grants them, zeroed.
 * `bytes` must be the same in both calls. */
void *mem_map(size_t bytes) MUST_CHECK;
void mem_unmap(void *memory, size_t bytes);

/* Checked arithmetic: true when the result fits. */
static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* While the guard is on in a thread, an allocation in that thread is a bug and asserts. */
void mem_guard_enter(void);
void mem_guard_leave(void);

/* Test seam: the n-th allocation from now (1 = the next) fails, once or from then on; 0 = off.
 * mem_fault_count() tells how many allocations were made since. */
void mem_fault_set(uint64_t nth, bool from_then_on);
uint64_t mem_fault_count(void);

/* Arena: memory that is freed at once, at the end of a job. Not thread-safe. */
struct arena {
    struct arena_chunk *chunks;  // newest first
    size_t bytes;                // handed out so far
    size_t bytes_max;            // cap; an allocation past it fails
};
void arena_init(struct arena *arena, size_t bytes_max);
void *arena_alloc(struct arena *arena, size_t bytes) MUST_CHECK;  // 16-byte aligned, zeroed
char *arena_memdup0(struct arena *arena, const void *bytes, size_t n_bytes) MUST_CHECK;
void arena_reset(struct arena *arena);  // all of it is free again, one chunk of memory is kept
void arena_release(struct arena *arena);

#endif
