/* Histograms: values on and beside the bounds, and no lost update among threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>

#include "engine/base/histogram.h"

static const double bounds[] = {0.5, 1, 10};

static void test_buckets(void **state)
{
    static const struct {
        double value;
        size_t bucket;
    } cases[] = {
        {-1, 0}, {0, 0},  {0.5, 0},      {0.5000001, 1}, {1, 1},
        {2, 2},  {10, 2}, {10.00001, 3}, {1e300, 3},     {INFINITY, 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct histogram histogram;
        histogram_init(&histogram, bounds, 3);
        histogram_add(&histogram, cases[i].value);
        for (size_t j = 0; j < 4; j++)
            assert_int_equal(histogram.counts[j], j == cases[i].bucket);
        assert_true(histogram.sum == cases[i].value);
    }
}

static void *add_many(void *context)
{
    for (int i = 0; i < 50000; i++)
        histogram_add(context, i % 4 * 4);  // 0, 4, 8, 12
    return NULL;
}

static void test_threads(void **state)
{
    struct histogram histogram;
    pthread_t threads[3];
    (void)state;
    histogram_init(&histogram, bounds, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &histogram), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(histogram.counts[0], 37500);
    assert_int_equal(histogram.counts[1], 0);
    assert_int_equal(histogram.counts[2], 75000);
    assert_int_equal(histogram.counts[3], 37500);
    assert_true(histogram.sum == 37500 * 24.0);
}

static void test_no_bounds(void **state)
{
    struct histogram histogram;
    (void)state;
    histogram_init(&histogram, NULL, 0);
    histogram_add(&histogram, 3);
    assert_int_equal(histogram.counts[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
