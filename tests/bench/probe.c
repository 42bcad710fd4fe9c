/* What this machine can do right now, run beside every benchmark: read bandwidth, and the peaks of
 * f32 fma, int8 vpdpbusd (VNNI) and int8 AMX tiles, with 1 and with all threads.
 *
 *   probe [threads] [json]
 *
 * Bandwidth: each thread sums its own 256 MB (beyond any cache) on huge pages; the best pass of
 * five. Peaks: independent accumulators of one instruction for 0.1 s of wall time. Units: GB/s,
 * GFLOP/s and GOP/s (a multiplication and an addition count as two). */
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"

enum { THREADS_MAX = 256, PASSES = 5 };
static const size_t SLICE_BYTES = (size_t)256 << 20;
static const int64_t PEAK_NS = 100000000;

typedef double probe_fn(void *memory);  // work done, in operations or bytes

struct worker {
    pthread_t thread;
    probe_fn *fn;
    void *memory;
    pthread_barrier_t *barrier;
    double work;
    int64_t start_ns, end_ns;
};

__attribute__((target("avx2"))) static double read_memory(void *memory)
{
    const __m256i *at = memory, *end = (const __m256i *)((const char *)memory + SLICE_BYTES);
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                      _mm256_setzero_si256()};
    for (; at < end; at += 8) {
        _mm_prefetch((const char *)at + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)at + 2112, _MM_HINT_T0);
        _mm_prefetch((const char *)at + 2176, _MM_HINT_T0);
        _mm_prefetch((const char *)at + 2240, _MM_HINT_T0);
        for (int i = 0; i < 8; i++)
            sum[i % 4] = _mm256_xor_si256(sum[i % 4], _mm256_load_si256(at + i));
    }
    volatile __m256i sink = sum[0];
    sink = _mm256_xor_si256(sink, _mm256_xor_si256(sum[1], _mm256_xor_si256(sum[2], sum[3])));
    (void)sink;
    return (double)SLICE_BYTES;
}

/* 12 chains of one instruction, one line of asm, so that no compiler merges or spills them. */
#define PEAK(name, isa, type, zero, instruction, operations)                                       \
    __attribute__((target(isa))) static double name(void *memory)                                  \
    {                                                                                              \
        (void)memory;                                                                              \
        type a = zero, b = zero, c0 = zero, c1 = zero, c2 = zero, c3 = zero, c4 = zero, c5 = zero; \
        type c6 = zero, c7 = zero, c8 = zero, c9 = zero, c10 = zero, c11 = zero;                   \
        double done = 0;                                                                           \
        for (int64_t start = clock_ns(); clock_ns() - start < PEAK_NS; done += 1000)               \
            for (int turn = 0; turn < 1000; turn++)                                                \
                __asm__ volatile(instruction(0) instruction(1) instruction(2) instruction(3)       \
                                     instruction(4) instruction(5) instruction(6) instruction(7)   \
                                         instruction(8) instruction(9) instruction(10)             \
                                             instruction(11)                                       \
                                 : "+v"(c0), "+v"(c1), "+v"(c2), "+v"(c3), "+v"(c4), "+v"(c5),     \
                                   "+v"(c6), "+v"(c7), "+v"(c8), "+v"(c9), "+v"(c10), "+v"(c11)    \
                                 : "v"(a), "v"(b));                                                \
        return done * 12 * (operations);                                                           \
    }
#define FMA(i)  "vfmadd231ps %12, %13, %" #i "\n\t"
#define VNNI(i) "vpdpbusd %12, %13, %" #i "\n\t"
PEAK(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), FMA, 16)
PEAK(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), FMA, 32)
PEAK(vnni_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), VNNI, 128)

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_a_row[16];
    uint8_t rows[16];
};

__attribute__((target("amx-tile,amx-int8"))) static double amx_int8(void *memory)
{
    (void)memory;
    enum { PERMISSION = 0x1023, TILE_DATA = 18 };  // arch_prctl(ARCH_REQ_XCOMP_PERM)
    if (syscall(SYS_arch_prctl, PERMISSION, TILE_DATA) != 0)
        return 0;
    struct tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.bytes_a_row[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
    double done = 0;
    for (int64_t start = clock_ns(); clock_ns() - start < PEAK_NS; done += 1000)
        for (int turn = 0; turn < 1000; turn++) {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    _tile_release();
    return done * 4 * 16 * 16 * 64 * 2;
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    pthread_barrier_wait(w->barrier);
    w->start_ns = clock_ns();
    w->work = w->fn(w->memory);
    w->end_ns = clock_ns();
    return NULL;
}

/* Work a nanosecond of all threads together. */
static double run(probe_fn *fn, void *const *memory, size_t n_threads)
{
    static struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)n_threads);
    for (size_t i = 0; i < n_threads; i++) {
        workers[i] = (struct worker){.fn = fn, .memory = memory[i], .barrier = &barrier};
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            exit(1);
    }
    double work = 0;
    int64_t first = INT64_MAX, last = 0;
    for (size_t i = 0; i < n_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        work += workers[i].work;
        first = workers[i].start_ns < first ? workers[i].start_ns : first;
        last = workers[i].end_ns > last ? workers[i].end_ns : last;
    }
    pthread_barrier_destroy(&barrier);
    return work / (double)(last - first);
}

static double best_of(probe_fn *fn, void *const *memory, size_t n_threads)
{
    double best = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        double rate = run(fn, memory, n_threads);
        best = rate > best ? rate : best;
    }
    return best;
}

static size_t cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (size_t)CPU_COUNT(&set);
}

static bool has_flag(const char *flag)
{
    char line[8192], *found = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, "flags", 5) == 0 ? strstr(line, flag) : NULL;
    if (file)
        fclose(file);
    return found != NULL;
}

int main(int argc, char **argv)
{
    size_t n_threads = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    bool json = argc > 2 && strcmp(argv[2], "json") == 0;
    n_threads = n_threads ? n_threads : cores();
    n_threads = n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    void *memory[THREADS_MAX] = {NULL};
    for (size_t i = 0; i < n_threads; i++) {
        memory[i] =
            mmap(NULL, SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory[i] == MAP_FAILED)
            return 1;
        madvise(memory[i], SLICE_BYTES, MADV_HUGEPAGE);
        memset(memory[i], 1, SLICE_BYTES);
    }
    const struct {
        const char *name, *flag;
        probe_fn *fn;
    } probes[] = {{"read", "avx2", read_memory},
                  {"fma_avx2", "fma", fma_avx2},
                  {"fma_avx512", "avx512f", fma_avx512},
                  {"vnni_avx512", "avx512_vnni", vnni_avx512},
                  {"amx_int8", "amx_int8", amx_int8}};
    const char *separator = json ? "{" : "";
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        if (!has_flag(probes[i].flag))
            continue;
        double one = best_of(probes[i].fn, memory, 1);
        double all = n_threads > 1 ? best_of(probes[i].fn, memory, n_threads) : one;
        if (json)
            printf("%s\"%s\": [%.1f, %.1f]", separator, probes[i].name, one, all);
        else
            printf("%-12s 1 thread %8.1f, %zu threads %8.1f %s\n", probes[i].name, one, n_threads,
                   all, i == 0 ? "GB/s" : "G operations/s");
        separator = ", ";
    }
    if (json)
        printf("}\n");
    return 0;
}
