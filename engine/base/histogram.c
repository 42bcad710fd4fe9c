/* Histograms; see histogram.h.
 *
 * A bucket is found by a linear walk: there are at most two dozen, and the callers run a few
 * hundred times a second. */
#include "engine/base/histogram.h"

#include <assert.h>

void histogram_init(struct histogram *histogram, const double *bounds, size_t n_bounds)
{
    assert(n_bounds <= HISTOGRAM_BUCKETS_MAX);
    histogram->bounds = bounds;
    histogram->n_bounds = n_bounds;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS_MAX; i++)
        atomic_init(&histogram->counts[i], 0);
    atomic_init(&histogram->sum, 0.0);
}

void histogram_add(struct histogram *histogram, double value)
{
    size_t bucket = 0;
    while (bucket < histogram->n_bounds && value > histogram->bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&histogram->counts[bucket], 1, memory_order_relaxed);
    double sum = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&histogram->sum, &sum, sum + value,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}
