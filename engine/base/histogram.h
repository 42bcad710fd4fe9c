/* Prometheus-style histogram with fixed bounds; written by one or many threads with relaxed
 * atomics, read at any time. */
#ifndef WICARA_BASE_HISTOGRAM_H
#define WICARA_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS_MAX = 24 };

struct histogram {
    const double *bounds;  // ascending upper bounds, borrowed; +Inf is implied
    size_t n_bounds;       // <= HISTOGRAM_BUCKETS_MAX
    _Atomic uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];  // per bucket, not cumulative
    _Atomic double sum;
};

void histogram_init(struct histogram *histogram, const double *bounds, size_t n_bounds);
void histogram_add(struct histogram *histogram, double value);

#endif
