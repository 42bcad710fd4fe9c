/* What the kernel checks share: buffers with an unreadable page behind them, fills, comparison.
 *
 * A buffer ends exactly at a page that cannot be read or written, so that one element too many is a
 * fault that names the check, and has a band of known bytes in front. Values are compared by their
 * bits; two NaN are equal whatever their payload (kernel_math.h leaves it open). */
#ifndef WICARA_TESTS_KERNELS_CHECK_H
#define WICARA_TESTS_KERNELS_CHECK_H

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/rng.h"
#include "engine/kernels/kernels.h"

enum { GUARD_BYTES = 64, PAGE_BYTES = 4096 };

static char check_name[200];  // what runs now, for the fault handler and for failures
static size_t checks_run, checks_failed;

static inline void check_on_fault(int number)
{
    (void)number;
    static const char text[] = "FAULT (read or write outside a buffer) in: ";
    (void)!write(2, text, sizeof text - 1);
    (void)!write(2, check_name, strlen(check_name));
    (void)!write(2, "\n", 1);
    _exit(1);
}

static inline PRINTF_LIKE(1, 2) void check_begin(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check_name, sizeof check_name, format, arguments);
    va_end(arguments);
    checks_run++;
}

static inline PRINTF_LIKE(1, 2) void check_fail(const char *format, ...)
{
    if (checks_failed++ >= 20)
        return;
    printf("FAILED %s: ", check_name);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

struct guarded {
    uint8_t *map;
    size_t bytes_max;  // without the page behind
    uint8_t *data;     // the current placement, ends where the unreadable page begins
    size_t bytes;
};

static inline void guarded_open(struct guarded *buffer, size_t bytes_max)
{
    bytes_max = (bytes_max + GUARD_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    buffer->map = mmap(NULL, bytes_max + PAGE_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer->map == MAP_FAILED || mprotect(buffer->map + bytes_max, PAGE_BYTES, PROT_NONE)) {
        perror("guarded_open");
        exit(1);
    }
    buffer->bytes_max = bytes_max;
}

static inline void guarded_close(struct guarded *buffer)
{
    munmap(buffer->map, buffer->bytes_max + PAGE_BYTES);
}

/* A buffer of exactly `bytes`; its former contents are lost. */
static inline void *guarded_place(struct guarded *buffer, size_t bytes)
{
    if (bytes + GUARD_BYTES > buffer->bytes_max) {
        fprintf(stderr, "%s: %zu bytes do not fit the test's buffer\n", check_name, bytes);
        exit(1);
    }
    buffer->bytes = bytes;
    buffer->data = buffer->map + buffer->bytes_max - bytes;
    memset(buffer->data, 0x5a, bytes);
    memset(buffer->data - GUARD_BYTES, 0xa5, GUARD_BYTES);
    return buffer->data;
}

static inline void guarded_check(const struct guarded *buffer, const char *what)
{
    for (size_t i = 1; i <= GUARD_BYTES; i++) {
        if (buffer->data[-(ptrdiff_t)i] != 0xa5) {
            check_fail("%s was written %zu bytes before its start", what, i);
            return;
        }
    }
}

enum fill { FILL_RANDOM, FILL_ZEROS, FILL_EXTREMES, FILL_DENORMALS, FILL_SPECIALS, FILLS };
static const char *const fill_names[FILLS] = {"random", "zeros", "extremes", "denormals",
                                              "specials"};

/* Element i of a fill: a pure function, so that a failure can be seen again. */
static inline float fill_value(enum fill fill, uint32_t stream, size_t i)
{
    static const float extremes[] = {FLT_MAX, -FLT_MAX, 1e30f, -1e30f, 1e-30f, FLT_MIN,  -FLT_MIN,
                                     0.0f,    -0.0f,    1.0f,  88.8f,  -88.8f, 65520.0f, 65519.0f};
    static const float specials[] = {INFINITY, -INFINITY, NAN, 0.0f, -1.0f, 1e9f, -1e9f};
    uint64_t bits = rng_bits(7, stream, (uint32_t)i, (uint32_t)fill);
    float unit = (float)(bits >> 40) * 0x1p-23f - 1.0f;
    switch (fill) {
    case FILL_RANDOM:
        return unit * 4.0f;
    case FILL_EXTREMES:
        return extremes[bits % (sizeof extremes / sizeof extremes[0])];
    case FILL_DENORMALS:
        return unit * FLT_MIN;
    case FILL_SPECIALS:
        return bits % 4 ? unit : specials[bits / 4 % (sizeof specials / sizeof specials[0])];
    default:
        return 0.0f;
    }
}

static inline void fill_floats(float *out, size_t n, enum fill fill, uint32_t stream)
{
    for (size_t i = 0; i < n; i++)
        out[i] = fill_value(fill, stream, i);
}

static inline bool same_float(float a, float b)
{
    return f32_bits(a) == f32_bits(b) || (a != a && b != b);
}

static inline void check_floats(const float *expected, const float *got, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        if (!same_float(expected[i], got[i])) {
            check_fail("%s[%zu] is %a (%08x), must be %a (%08x)", what, i, (double)got[i],
                       f32_bits(got[i]), (double)expected[i], f32_bits(expected[i]));
            return;
        }
    }
}

/* The tables of the levels that this CPU can run; NULL for the others, which are named. */
static inline void check_levels(const struct kernels *tables[CPU_LEVELS])
{
    for (int level = 0; level < CPU_LEVELS; level++) {
        struct error err = {0};
        tables[level] = NULL;
        if (kernels_get((enum cpu_level)level, &tables[level], &err) != OK) {
            printf("not checked, this CPU cannot run it: %s (%s)\n",
                   kernels_level_name((enum cpu_level)level), err.text);
            tables[level] = NULL;
        }
    }
    struct sigaction action = {.sa_handler = check_on_fault};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

static inline int check_end(const char *program)
{
    printf("%s: %zu checks, %zu failed\n", program, checks_run, checks_failed);
    return checks_failed || !checks_run ? 1 : 0;
}

static inline double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#endif
