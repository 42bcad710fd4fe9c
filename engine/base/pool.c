/* The compute pool; see pool.h.
 *
 * One 64-bit word, the gate, says which task is on: its number, whether it is closed, and how many
 * workers are inside. A worker enters by raising the count of an open gate; the caller works too,
 * closes the gate when no items are left, and returns when nobody is inside. A worker that wakes up
 * late finds the gate closed and touches nothing, so one slow core never holds up a task that the
 * others have finished.
 *
 * Items: each thread owns a slice and a cursor in it; who is done with his own slice steals from
 * the others. Each takes a quarter of what is left of a slice, so that pieces are large at first
 * and small at the end, where the last one keeps all others waiting. Waiting: workers spin for
 * SPIN_NS after a task, because the next one usually follows at once, then sleep. With more threads
 * than cores nobody spins. */
#include "engine/base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"

enum { SPIN_NS = 200000, PAUSES_PER_CLOCK = 64 };

#define GATE_INSIDE 0xffffull  // workers inside
#define GATE_CLOSED 0x10000ull
#define GATE_STOP   0x20000ull  // the pool is going away
#define GATE_TASK   0x40000ull  // task number, counts up in steps of this

struct slice {
    _Alignas(64) _Atomic size_t next;  // first item not handed out
    size_t last;
};

struct pool {
    size_t n_threads;  // including the caller
    bool may_spin;
    _Alignas(64) _Atomic uint64_t gate;
    pool_fn *fn;  // task: written while the gate is closed and empty
    void *context;
    size_t grain;
    struct slice *slices;  // [n_threads]
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic size_t n_sleeping;
    pthread_t *threads;  // [n_threads - 1]
    size_t n_started;
};

struct worker_start {
    struct pool *pool;
    size_t worker;
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Takes items of a slice; false when there are none left. */
static bool slice_take(struct slice *slice, size_t grain, size_t *first, size_t *last)
{
    size_t from = atomic_load_explicit(&slice->next, memory_order_relaxed), to;
    do {
        if (from >= slice->last)
            return false;
        size_t left = slice->last - from, n = left / (4 * grain) * grain;
        n = n > grain ? n : grain;
        to = from + (n < left ? n : left);
    } while (!atomic_compare_exchange_weak_explicit(&slice->next, &from, to, memory_order_relaxed,
                                                    memory_order_relaxed));
    *first = from;
    *last = to;
    return true;
}

/* Works through the slices, its own first. */
static void pool_work(struct pool *pool, size_t worker)
{
    for (size_t i = 0; i < pool->n_threads; i++) {
        struct slice *slice = &pool->slices[(worker + i) % pool->n_threads];
        size_t first, last;
        while (slice_take(slice, pool->grain, &first, &last))
            pool->fn(pool->context, first, last, worker);
    }
}

/* Waits until the gate shows a task other than `seen`; returns the gate. */
static uint64_t pool_await(struct pool *pool, uint64_t seen)
{
    if (pool->may_spin) {
        int64_t until = clock_ns() + SPIN_NS;
        do {
            for (int i = 0; i < PAUSES_PER_CLOCK; i++) {
                uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
                if (gate / GATE_TASK != seen || (gate & GATE_STOP))
                    return gate;
                cpu_relax();
            }
        } while (clock_ns() < until);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    uint64_t gate;
    while ((gate = atomic_load(&pool->gate)) / GATE_TASK == seen && !(gate & GATE_STOP))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return gate;
}

static void *worker_main(void *argument)
{
    struct worker_start start = *(struct worker_start *)argument;
    mem_free(argument);
    struct pool *pool = start.pool;
    uint64_t seen = 0;
    for (;;) {
        uint64_t gate = pool_await(pool, seen);
        if (gate & GATE_STOP)
            return NULL;
        seen = gate / GATE_TASK;
        bool inside = false;
        while (!(gate & GATE_CLOSED) && gate / GATE_TASK == seen && !inside)
            inside = atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1);
        if (inside) {
            pool_work(pool, start.worker);
            atomic_fetch_sub(&pool->gate, 1);
        }
    }
}

static void pool_wake_all(struct pool *pool)
{
    if (atomic_load(&pool->n_sleeping) == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

/* Cuts [0, n_items) into one slice a thread, at multiples of grain. */
static void pool_slice(struct pool *pool, size_t n_items, size_t grain)
{
    size_t n_grains = (n_items + grain - 1) / grain;
    pool->grain = grain;
    for (size_t i = 0; i < pool->n_threads; i++) {
        size_t first = n_grains * i / pool->n_threads * grain;
        size_t last = n_grains * (i + 1) / pool->n_threads * grain;
        atomic_store_explicit(&pool->slices[i].next, first, memory_order_relaxed);
        pool->slices[i].last = last < n_items ? last : n_items;
    }
}

void pool_run(struct pool *pool, size_t n_items, size_t grain, pool_fn *fn, void *context)
{
    assert(grain > 0);
    if (n_items == 0)
        return;
    if (pool->n_threads == 1 || n_items <= grain) {
        fn(context, 0, n_items, 0);
        return;
    }
    uint64_t gate = atomic_load(&pool->gate);
    assert((gate & GATE_CLOSED) && (gate & GATE_INSIDE) == 0);
    pool->fn = fn;
    pool->context = context;
    pool_slice(pool, n_items, grain);
    atomic_store(&pool->gate, (gate / GATE_TASK + 1) * GATE_TASK);
    pool_wake_all(pool);
    pool_work(pool, 0);
    gate = atomic_fetch_or(&pool->gate, GATE_CLOSED);
    for (unsigned spins = 0; gate & GATE_INSIDE; spins++) {
        if (pool->may_spin && spins < 4096)
            cpu_relax();
        else
            sched_yield();
        gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
    }
}

static enum status pool_start_worker(struct pool *pool, size_t worker)
{
    struct worker_start *start = mem_alloc(sizeof *start);
    if (!start)
        return ERR_MEMORY;
    *start = (struct worker_start){pool, worker};
    if (pthread_create(&pool->threads[worker - 1], NULL, worker_main, start) != 0) {
        mem_free(start);
        return ERR_BUSY;
    }
    pool->n_started++;
    return OK;
}

enum status pool_create(struct pool **out, size_t n_threads, struct error *err)
{
    if (n_threads < 1 || n_threads > POOL_THREADS_MAX)
        return error_set(err, ERR_INVALID, "threads is %zu, must be 1 to %d", n_threads,
                         POOL_THREADS_MAX);
    struct pool *pool = mem_alloc_aligned(sizeof *pool);
    if (!pool)
        return error_set(err, ERR_MEMORY, "no memory for the compute pool");
    *pool = (struct pool){.n_threads = n_threads, .may_spin = n_threads <= pool_cores_available()};
    atomic_init(&pool->gate, GATE_CLOSED);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = mem_calloc(n_threads, sizeof *pool->threads);
    pool->slices = mem_alloc_aligned(n_threads * sizeof *pool->slices);
    enum status status = pool->threads && pool->slices ? OK : ERR_MEMORY;
    for (size_t i = 1; !status && i < n_threads; i++)
        status = pool_start_worker(pool, i);
    if (status) {
        pool_free(pool);
        return error_set(err, status, "cannot start %zu compute threads: %s", n_threads,
                         status == ERR_MEMORY ? "no memory" : "the system refuses a thread");
    }
    *out = pool;
    return OK;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_or(&pool->gate, GATE_STOP);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool->threads);
    mem_free(pool->slices);
    mem_free(pool);
}

size_t pool_threads(const struct pool *pool)
{
    return pool->n_threads;
}

/* Whole cores of a quota over a period, 0 when there is no quota. */
static size_t quota_cores(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    size_t cores = (size_t)(quota / period);
    return cores ? cores : 1;
}

/* Reads up to two numbers of a small file; the ones that are not there stay 0. */
static void read_numbers(const char *path, long long numbers[2])
{
    numbers[0] = numbers[1] = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (fscanf(file, "%lld %lld", &numbers[0], &numbers[1]) < 1)
        numbers[0] = 0;  // "max"
    fclose(file);
}

/* Cores of the control group that this process sees as its root (a container's own), 0 = no
 * quota. */
static size_t cgroup_cores(void)
{
    long long v2[2], quota[2], period[2];
    read_numbers("/sys/fs/cgroup/cpu.max", v2);
    if (v2[0] > 0)
        return quota_cores(v2[0], v2[1]);
    read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota);
    read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period);
    return quota_cores(quota[0], period[0]);
}

size_t pool_cores_available(void)
{
    cpu_set_t set;
    size_t cores = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        cores = (size_t)CPU_COUNT(&set);
    size_t quota = cgroup_cores();
    if (quota && quota < cores)
        cores = quota;
    return cores < POOL_THREADS_MAX ? cores : POOL_THREADS_MAX;
}
