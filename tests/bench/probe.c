/* What this machine does at most: the roof that README figures are measured against.
 *
 *     build/release/tests/bench/probe [THREADS]
 *
 * Per instruction set that the CPU has: int8 products (maddubs + madd + add, vpdpbusd, AMX tiles)
 * and f32 fused multiply-adds, from registers, with enough independent sums to fill the pipes; and
 * plain reads of memory in the second cache, of 16 MB a thread (the third cache, where there is
 * one that large), and of 512 MB a thread. One thread and all of them. The best of several short
 * runs, because a shared machine only ever makes them slower; compute time is the thread's own, so
 * that neighbours count less. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "engine/kernels/kernels.h"

enum { RUNS = 7, THREADS_MAX = 256, LOOPS = 4000000 };
static const size_t READ_BYTES[] = {512 << 10, 16 << 20, (size_t)512 << 20};

#define TWELVE(X)                                                                                  \
    X("0") X("1") X("2") X("3") X("4") X("5") X("6") X("7") X("8") X("9") X("10") X("11")
#define CLOBBERS                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory"

/* Twelve sums from zero, each step a dependent instruction of each. */
#define LOOP(name, body)                                                                           \
    static void name(void)                                                                         \
    {                                                                                              \
        uint64_t n = LOOPS;                                                                        \
        __asm__ volatile("vzeroall\n1:\n\t" TWELVE(body) "dec %0\n\tjnz 1b\n\tvzeroupper"          \
                         : "+r"(n)                                                                 \
                         :                                                                         \
                         : CLOBBERS);                                                              \
    }
#define VNNI512(r) "vpdpbusd %%zmm12, %%zmm13, %%zmm" r "\n\t"
#define VNNI256(r) "vpdpbusd %%ymm12, %%ymm13, %%ymm" r "\n\t"
#define FMA512(r)  "vfmadd231ps %%zmm12, %%zmm13, %%zmm" r "\n\t"
#define FMA256(r)  "vfmadd231ps %%ymm12, %%ymm13, %%ymm" r "\n\t"
#define MADDUBS(r)                                                                                 \
    "vpmaddubsw %%ymm12, %%ymm13, %%ymm14\n\tvpmaddwd %%ymm14, %%ymm13, %%ymm15\n\t"               \
    "vpaddd %%ymm15, %%ymm" r ", %%ymm" r "\n\t"
LOOP(vnni512, VNNI512)
LOOP(vnni256, VNNI256)
LOOP(fma512, FMA512)
LOOP(fma256, FMA256)
LOOP(maddubs, MADDUBS)

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static void amx(void)
{
    struct tile_config config = {.palette = 1};
    for (size_t i = 0; i < 8; i++)
        config.rows[i] = 16, config.row_bytes[i] = 64;
    uint64_t n = LOOPS / 8;
    __asm__ volatile("ldtilecfg %1\n\ttilezero %%tmm4\n\ttilezero %%tmm5\n1:\n\t"
                     "tdpbssd %%tmm5, %%tmm4, %%tmm0\n\ttdpbssd %%tmm5, %%tmm4, %%tmm1\n\t"
                     "tdpbssd %%tmm5, %%tmm4, %%tmm2\n\ttdpbssd %%tmm5, %%tmm4, %%tmm3\n\t"
                     "dec %0\n\tjnz 1b\n\ttilerelease"
                     : "+r"(n)
                     : "m"(config)
                     : "cc", "memory");
}

static const struct {
    const char *name, *unit;
    enum cpu_level level;
    void (*run)(void);
    double operations;  // of a call; a multiply-add is two
} COMPUTE[] = {
    {"int8, AVX2 maddubs", "TOPS", CPU_AVX2, maddubs, 12.0 * LOOPS * 64},
    {"int8, vpdpbusd 256", "TOPS", CPU_AVX512, vnni256, 12.0 * LOOPS * 64},
    {"int8, vpdpbusd 512", "TOPS", CPU_AVX512, vnni512, 12.0 * LOOPS * 128},
    {"int8, AMX", "TOPS", CPU_AMX, amx, 4.0 * (LOOPS / 8) * 32768},
    {"f32, FMA 256", "TFLOPS", CPU_AVX2, fma256, 12.0 * LOOPS * 16},
    {"f32, FMA 512", "TFLOPS", CPU_AVX512, fma512, 12.0 * LOOPS * 32},
};

struct worker {
    pthread_t thread;
    pthread_barrier_t *barrier;
    void (*run)(void);  // or, when NULL, reads
    uint8_t *memory;
    size_t bytes;
    double seconds[RUNS];
};

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Loads every byte once; 1 KB ahead is fetched. */
static void read_all(const uint8_t *memory, size_t bytes)
{
    const uint8_t *at = memory;
    size_t n = bytes / 128;
    __asm__ volatile("1:\n\tprefetcht0 1024(%0)\n\tprefetcht0 1088(%0)\n\t"
                     "vmovdqa (%0), %%ymm0\n\tvmovdqa 32(%0), %%ymm1\n\t"
                     "vmovdqa 64(%0), %%ymm2\n\tvmovdqa 96(%0), %%ymm3\n\t"
                     "sub $-128, %0\n\tdec %1\n\tjnz 1b\n\tvzeroupper"
                     : "+r"(at), "+r"(n)
                     :
                     : CLOBBERS);
}

static void *work(void *context)
{
    struct worker *w = context;
    for (size_t i = 0; i < RUNS; i++) {
        clockid_t id = w->run ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
        pthread_barrier_wait(w->barrier);
        double start = clock_s(id);
        if (w->run)
            w->run();
        /* At least 32 MB a run: small areas several times over. */
        for (size_t done = 0; !w->run && (done == 0 || done < (32 << 20)); done += w->bytes)
            read_all(w->memory, w->bytes);
        w->seconds[i] = clock_s(id) - start;
    }
    return NULL;
}

/* Seconds of the best run of n_threads at once; a run takes as long as its slowest thread. */
static double measure(size_t n_threads, void (*run)(void), size_t bytes)
{
    static struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)n_threads);
    for (size_t i = 0; i < n_threads; i++) {
        workers[i] = (struct worker){.barrier = &barrier, .run = run, .bytes = bytes};
        if (!run) {
            workers[i].memory = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (workers[i].memory == MAP_FAILED) {
                perror("mmap");
                exit(1);
            }
            madvise(workers[i].memory, bytes, MADV_HUGEPAGE);
            memset(workers[i].memory, (int)i + 1, bytes);
        }
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (size_t i = 0; i < n_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        if (!run)
            munmap(workers[i].memory, bytes + 4096);
    }
    double best = 0;
    for (size_t r = 0; r < RUNS; r++) {
        double slowest = 0;
        for (size_t i = 0; i < n_threads; i++)
            slowest = workers[i].seconds[r] > slowest ? workers[i].seconds[r] : slowest;
        best = r == 0 || slowest < best ? slowest : best;
    }
    pthread_barrier_destroy(&barrier);
    return best;
}

int main(int argc, char **argv)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    size_t all = argc > 1 ? strtoul(argv[1], NULL, 10) : (size_t)(online > 0 ? online : 1);
    all = all < 1 ? 1 : all > THREADS_MAX ? THREADS_MAX : all;
    printf("%-26s %12s %12zu threads\n", "", "1 thread", all);
    for (size_t i = 0; i < sizeof COMPUTE / sizeof COMPUTE[0]; i++) {
        if (!kernels_level_available(COMPUTE[i].level)) {
            printf("%-26s not on this CPU\n", COMPUTE[i].name);
            continue;
        }
        double one = COMPUTE[i].operations / measure(1, COMPUTE[i].run, 0) * 1e-12;
        double many = (double)all * COMPUTE[i].operations / measure(all, COMPUTE[i].run, 0) * 1e-12;
        printf("%-26s %12.3f %12.3f %s\n", COMPUTE[i].name, one, many, COMPUTE[i].unit);
    }
    for (size_t i = 0; kernels_best_level() >= CPU_AVX2 && i < 3; i++) {
        size_t bytes = READ_BYTES[i];
        double passes = bytes < (32 << 20) ? (double)((32 << 20) / bytes) : 1;
        double one = passes * (double)bytes / measure(1, NULL, bytes) * 1e-9;
        double many = passes * (double)(all * bytes) / measure(all, NULL, bytes) * 1e-9;
        printf("read, %6zu KB a thread    %12.1f %12.1f GB/s\n", bytes >> 10, one, many);
    }
    return 0;
}
