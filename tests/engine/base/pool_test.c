/* The compute pool: every item exactly once, however many threads and whatever the grain; pieces
 * that shrink; thousands of tiny runs; workers' numbers; creation without memory. Run under
 * VARIANT=tsan as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/pool.h"

enum { ITEMS_MAX = 5000 };

struct task {
    _Atomic unsigned char *seen;  // [ITEMS_MAX] how often each item came
    _Atomic uint64_t sum;
    size_t n_items, n_threads, grain;
    _Atomic bool wrong;           // a slice that breaks the contract
    _Atomic unsigned char *busy;  // [n_threads] a worker runs one slice at a time
};

static void count_items(void *context, size_t first, size_t last, size_t worker)
{
    struct task *task = context;
    uint64_t sum = 0;
    if (first >= last || last > task->n_items || worker >= task->n_threads)
        task->wrong = true;
    if (first % task->grain != 0)
        task->wrong = true;
    if (worker < task->n_threads && atomic_fetch_add(&task->busy[worker], 1) != 0)
        task->wrong = true;
    for (size_t i = first; i < last && i < ITEMS_MAX; i++) {
        atomic_fetch_add_explicit(&task->seen[i], 1, memory_order_relaxed);
        sum += i;
    }
    atomic_fetch_add(&task->sum, sum);
    if (worker < task->n_threads)
        atomic_fetch_sub(&task->busy[worker], 1);
}

static void run_once(struct pool *pool, size_t n_items, size_t grain)
{
    static _Atomic unsigned char seen[ITEMS_MAX], busy[POOL_THREADS_MAX];
    struct task task = {.seen = seen,
                        .busy = busy,
                        .n_items = n_items,
                        .n_threads = pool_threads(pool),
                        .grain = grain};
    memset((void *)seen, 0, sizeof seen);
    pool_run(pool, n_items, grain, count_items, &task);
    assert_false(task.wrong);
    assert_true(task.sum == (uint64_t)n_items * (n_items ? n_items - 1 : 0) / 2);
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(seen[i], i < n_items);
}

static void test_ranges(void **state)
{
    static const size_t threads[] = {1, 2, 3, 7};
    static const size_t items[] = {0, 1, 2, 3, 6, 7, 8, 63, 64, 65, 1000, 4999};
    static const size_t grains[] = {1, 2, 7, 16, 64, 10000};
    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        struct pool *pool;
        assert_int_equal(pool_create(&pool, threads[t], NULL), OK);
        assert_int_equal(pool_threads(pool), threads[t]);
        for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
                run_once(pool, items[i], grains[g]);
        }
        pool_free(pool);
    }
}

/* The last piece of a share is the one that all others wait for: it is one grain. */
static void largest_end(void *context, size_t first, size_t last, size_t worker)
{
    _Atomic size_t *largest = context;
    (void)worker;
    for (size_t most; last % 512 == 0 && last - first > (most = *largest);) {
        if (atomic_compare_exchange_weak(largest, &most, last - first))
            break;
    }
}

static void test_pieces_shrink(void **state)
{
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_create(&pool, 2, NULL), OK);
    for (size_t grain = 1; grain <= 4; grain *= 2) {
        _Atomic size_t largest = 0;
        pool_run(pool, 1024, grain, largest_end, (void *)&largest);
        assert_int_equal(largest, grain);
    }
    pool_free(pool);
}

static void add_range(void *context, size_t first, size_t last, size_t worker)
{
    (void)worker;
    uint64_t sum = 0;
    for (size_t i = first; i < last; i++)
        sum += i + 1;
    atomic_fetch_add_explicit((_Atomic uint64_t *)context, sum, memory_order_relaxed);
}

/* Tasks follow each other at once, as the layers of a step do; now and then the workers sleep. */
static void test_many_tiny_runs(void **state)
{
    enum { RUNS = 20000 };
    (void)state;
    for (size_t n_threads = 1; n_threads <= 4; n_threads++) {
        struct pool *pool;
        assert_int_equal(pool_create(&pool, n_threads, NULL), OK);
        for (size_t run = 0; run < RUNS / n_threads; run++) {
            _Atomic uint64_t sum = 0;
            size_t n_items = run % 17;
            pool_run(pool, n_items, 1, add_range, &sum);
            assert_int_equal(sum, n_items * (n_items + 1) / 2);
            if (run % 2000 == 1999)
                usleep(1000);
        }
        pool_free(pool);
    }
}

/* What a worker wrote in one run is seen by all in the next, without any atomic in the task. */
static void sum_neighbours(void *context, size_t first, size_t last, size_t worker)
{
    uint32_t(*rows)[ITEMS_MAX] = context;
    (void)worker;
    for (size_t i = first; i < last; i++)
        rows[1][i] = rows[0][i] + rows[0][(i + 1) % ITEMS_MAX] + rows[0][ITEMS_MAX - 1 - i];
}

static void copy_back(void *context, size_t first, size_t last, size_t worker)
{
    uint32_t(*rows)[ITEMS_MAX] = context;
    (void)worker;
    memcpy(rows[0] + first, rows[1] + first, (last - first) * sizeof rows[0][0]);
}

static void test_runs_see_each_other(void **state)
{
    static uint32_t rows[2][ITEMS_MAX], wanted[2][ITEMS_MAX];
    (void)state;
    for (size_t n_threads = 1; n_threads <= 7; n_threads += 3) {
        struct pool *pool;
        assert_int_equal(pool_create(&pool, n_threads, NULL), OK);
        for (size_t i = 0; i < ITEMS_MAX; i++)
            rows[0][i] = wanted[0][i] = (uint32_t)i;
        for (int run = 0; run < 200; run++) {
            pool_run(pool, ITEMS_MAX, 16, sum_neighbours, rows);
            pool_run(pool, ITEMS_MAX, 16, copy_back, rows);
            sum_neighbours(wanted, 0, ITEMS_MAX, 0);
            copy_back(wanted, 0, ITEMS_MAX, 0);
        }
        assert_memory_equal(rows[0], wanted[0], sizeof rows[0]);
        pool_free(pool);
    }
}

static void test_create(void **state)
{
    struct error err = {0};
    struct pool *pool = NULL;
    (void)state;
    assert_int_equal(pool_create(&pool, 0, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "0"));
    assert_int_equal(pool_create(&pool, POOL_THREADS_MAX + 1, NULL), ERR_INVALID);
    assert_null(pool);
    pool_free(NULL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pool_create(&pool, 3, NULL), OK);
        pool_free(pool);
    }
    size_t cores = pool_cores_available();
    assert_true(cores >= 1 && cores <= (size_t)sysconf(_SC_NPROCESSORS_CONF));
}

static void test_no_memory(void **state)
{
    bool reached = true;
    (void)state;
    for (uint64_t nth = 1; reached; nth++) {
        struct pool *pool = NULL;
        mem_fault_set(nth, false);
        enum status status = pool_create(&pool, 3, NULL);
        reached = mem_fault_count() >= nth;
        mem_fault_set(0, false);
        assert_int_equal(status, reached ? ERR_MEMORY : OK);
        assert_int_equal(pool == NULL, reached);
        pool_free(pool);
        assert_true(nth < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),         cmocka_unit_test(test_pieces_shrink),
        cmocka_unit_test(test_many_tiny_runs), cmocka_unit_test(test_runs_see_each_other),
        cmocka_unit_test(test_create),         cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
