/* Bucket bounds of the histograms; see metrics.h.
 *
 * They are vLLM's, so that its dashboards and alerts read ours; lengths and batch sizes go in steps
 * of 1-2-5 and of two. */
#include "engine/scheduler/metrics.h"

#define BOUNDS(...)                                                                                \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static const double FIRST_TOKEN_S[] =
    BOUNDS(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20,
           40, 80, 160, 640, 2560);
static const double INTER_TOKEN_S[] = BOUNDS(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4,
                                             0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80);
static const double REQUEST_S[] = BOUNDS(0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50,
                                         60, 120, 240, 480, 960, 1920, 7680);
static const double TOKENS[] = BOUNDS(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000,
                                      20000, 50000, 100000, 200000, 500000, 1000000);
static const double ROWS[] = BOUNDS(1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192);
static const double SEQUENCES[] = BOUNDS(1, 2, 4, 8, 16, 32, 64, 128, 256);

#define INIT(histogram, bounds)                                                                    \
    histogram_init(&metrics->histogram, bounds, sizeof bounds / sizeof *bounds)

void metrics_init(struct metrics *metrics)
{
    atomic_init(&metrics->jobs, 0);
    atomic_init(&metrics->jobs_waiting, 0);
    atomic_init(&metrics->jobs_decoding, 0);
    atomic_init(&metrics->kv_blocks, 0);
    atomic_init(&metrics->kv_blocks_free, 0);
    atomic_init(&metrics->kv_blocks_cached, 0);
    atomic_init(&metrics->kv_blocks_spilled, 0);
    atomic_init(&metrics->kv_bytes_spilled, 0);
    atomic_init(&metrics->kv_bytes_reloaded, 0);
    atomic_init(&metrics->kv_blocks_damaged, 0);
    atomic_init(&metrics->kv_blocks_dropped, 0);
    atomic_init(&metrics->kv_dir_bytes, 0);
#define X(name) atomic_init(&metrics->name, 0);
    METRICS_COUNTERS(X)
#undef X
    INIT(time_to_first_token_s, FIRST_TOKEN_S);
    INIT(inter_token_s, INTER_TOKEN_S);
    INIT(e2e_s, REQUEST_S);
    INIT(queue_s, REQUEST_S);
    INIT(prefill_s, REQUEST_S);
    INIT(decode_s, REQUEST_S);
    INIT(step_rows, ROWS);
    INIT(decode_batch, SEQUENCES);
    INIT(prompt_length, TOKENS);
    INIT(generation_length, TOKENS);
}
