/* What the fuzz targets share: a check that ends the run, a count of the bytes on the heap, and a
 * small generator for mutators. Header only, so that a target is one source file. */
#ifndef WICARA_TESTS_FUZZ_H
#define WICARA_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* libFuzzer's own mutator; absent when the corpus is replayed by standalone.c. */
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size)
{
    return LLVMFuzzerMutate ? LLVMFuzzerMutate(data, size, max_size) : size;
}

/* 0 .. n - 1. */
static inline uint32_t fuzz_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* ---- bytes on the heap, through the address sanitizer's hooks ---- */

__attribute__((weak)) int
__sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                          void (*on_free)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *memory);

static int64_t fuzz_bytes_now, fuzz_bytes_peak;

static void fuzz_on_malloc(const volatile void *memory, size_t bytes)
{
    (void)memory;
    fuzz_bytes_now += (int64_t)bytes;
    if (fuzz_bytes_now > fuzz_bytes_peak)
        fuzz_bytes_peak = fuzz_bytes_now;
}

static void fuzz_on_free(const volatile void *memory)
{
    if (memory)
        fuzz_bytes_now -= (int64_t)__sanitizer_get_allocated_size(memory);
}

/* Counts from here; without the sanitizer nothing is counted. */
static inline void fuzz_allocation_start(void)
{
    static int installed;
    if (!installed && __sanitizer_install_malloc_and_free_hooks)
        __sanitizer_install_malloc_and_free_hooks(fuzz_on_malloc, fuzz_on_free);
    installed = 1;
    fuzz_bytes_now = fuzz_bytes_peak = 0;
}

/* Most bytes that were allocated at once since the start. */
static inline uint64_t fuzz_allocation_peak(void)
{
    return (uint64_t)fuzz_bytes_peak;
}

#endif
