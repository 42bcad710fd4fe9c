/* The choice of kernels at run time: what the CPU has, and one constant table a level.
 *
 * CPUID alone is not enough: an instruction set may be used only when the operating system saves
 * its registers, which XCR0 tells (XMM and YMM for AVX2; opmask and both halves of ZMM for
 * AVX-512). A table starts with the scalar slots and each level overwrites what it does better, as
 * in dav1d. Tables are built once, on first use, and never change; nothing else here is global. */
#include "engine/kernels/kernels.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "engine/kernels/kernels_fill.h"

static const char *const LEVEL_NAMES[CPU_LEVELS] = {"scalar", "avx2", "avx512", "amx"};
static const char *const LEVEL_NEEDS[CPU_LEVELS] = {
    "nothing", "AVX2, FMA and F16C", "AVX2, FMA, F16C and AVX-512 F, BW, VL, DQ and VNNI",
    "AVX-512 as level avx512, AMX TILE and INT8, and a kernel (Linux 5.16) that grants tiles"};

static pthread_once_t tables_once = PTHREAD_ONCE_INIT;
static struct kernels tables[CPU_LEVELS];
static enum cpu_level best_level;

#if defined(__x86_64__)

enum { XCR0_YMM = 0x6, XCR0_ZMM = 0xe6, XCR0_TILES = 0x60000 };
enum { LEAF7_AMX = 1 << 24 | 1 << 25 };  // EDX: TILE, INT8
enum { PRCTL_REQUEST_FEATURE = 0x1023, FEATURE_TILE_DATA = 18 };

static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has_bits(uint64_t value, uint64_t bits)
{
    return (value & bits) == bits;
}

static enum cpu_level detect_level(void)
{
    const uint32_t leaf1 = bit_FMA | bit_OSXSAVE | bit_AVX | bit_F16C;
    const uint32_t leaf7_avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, leaf1))
        return CPU_SCALAR;
    uint64_t saved = saved_registers();
    if (!has_bits(saved, XCR0_YMM) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !has_bits(b, bit_AVX2))
        return CPU_SCALAR;
    if (!has_bits(saved, XCR0_ZMM) || !has_bits(b, leaf7_avx512) || !has_bits(c, bit_AVX512VNNI))
        return CPU_AVX2;
    /* Tile registers are 8 KiB a thread; the kernel saves them for processes that asked. */
    if (!has_bits(saved, XCR0_TILES) || !has_bits(d, LEAF7_AMX) ||
        syscall(SYS_arch_prctl, PRCTL_REQUEST_FEATURE, FEATURE_TILE_DATA) != 0)
        return CPU_AVX512;
    return CPU_AMX;
}

#else

static enum cpu_level detect_level(void)
{
    return CPU_SCALAR;
}

#endif

static void build_tables(void)
{
    best_level = detect_level();
    for (int level = CPU_SCALAR; level <= (int)best_level; level++) {
        struct kernels *table = &tables[level];
        table->level = (enum cpu_level)level;
        table->name = LEVEL_NAMES[level];
        kernels_fill_gemm_scalar(table);
        kernels_fill_vector_scalar(table);
#if defined(__x86_64__)
        if (level >= CPU_AVX2) {
            kernels_fill_gemm_avx2(table);
            kernels_fill_vector_avx2(table);
        }
        if (level >= CPU_AVX512) {
            kernels_fill_gemm_avx512(table);
            kernels_fill_vector_avx512(table);
        }
        if (level >= CPU_AMX)
            kernels_fill_gemm_amx(table);
#endif
    }
}

enum cpu_level kernels_best_level(void)
{
    pthread_once(&tables_once, build_tables);
    return best_level;
}

bool kernels_level_available(enum cpu_level level)
{
    return level <= kernels_best_level();
}

enum status kernels_get(enum cpu_level level, const struct kernels **out, struct error *err)
{
    *out = NULL;
    if ((unsigned)level >= CPU_LEVELS)
        return error_set(err, ERR_INVALID, "CPU level %d does not exist", (int)level);
    if (!kernels_level_available(level))
        return error_set(err, ERR_UNSUPPORTED,
                         "CPU level %s needs %s; this CPU offers no more than %s",
                         LEVEL_NAMES[level], LEVEL_NEEDS[level], LEVEL_NAMES[kernels_best_level()]);
    *out = &tables[level];
    return OK;
}

bool kernels_level_parse(const char *name, enum cpu_level *out)
{
    for (size_t level = 0; level < CPU_LEVELS; level++) {
        if (strcmp(name, LEVEL_NAMES[level]) == 0) {
            *out = (enum cpu_level)level;
            return true;
        }
    }
    return false;
}

const char *kernels_level_name(enum cpu_level level)
{
    return (unsigned)level < CPU_LEVELS ? LEVEL_NAMES[level] : "unknown";
}
