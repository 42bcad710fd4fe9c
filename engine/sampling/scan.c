/* Passes over one row of logits; see scan.h.
 *
 * A row has 32k to 260k entries and is read once a token, so the loops here are the price of
 * sampling. They work on 16 lanes, written as two 8-lane vectors, and it is these lanes (not the
 * hardware's) that fix the order of the sums. No fused multiply-add is used. So the same source,
 * compiled once for the baseline and once for AVX2 (chosen at run time), gives the same bits.
 *
 * A few best (log-probabilities) are kept in a heap of ranks while the row streams past. A heap of
 * hundreds costs a mispredicted branch a level and entry, so candidates for a draw are instead all
 * tokens above a bound, gathered in order of ids and then sorted.
 *
 * Source of the exponential: argument reduction by ln 2 in two parts (Cody and Waite), then the
 * Taylor polynomial of degree 7 on [-ln2/2, ln2/2]; error below 2e-7, tested against libm. */
#include "engine/sampling/scan.h"

#include <float.h>
#include <math.h>

#include "engine/base/dtype.h"

// Vectors wider than the baseline's are passed between inlined functions only.
#pragma GCC diagnostic ignored "-Wpsabi"

typedef float f32x8 __attribute__((vector_size(32)));
typedef int32_t i32x8 __attribute__((vector_size(32)));
typedef int64_t i64x4 __attribute__((vector_size(32)));

enum { LANES = 16, WIDTH = 8, SUM_BLOCK = 64 * LANES, GATHER_BLOCK = 64, SORT_FEW = 48 };

#define INLINE static inline __attribute__((always_inline))

#ifdef __x86_64__
#define AVX2     __attribute__((target("avx2")))
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#else
#define AVX2
#define HAS_AVX2 false
#endif

INLINE f32x8 load8(const float *at)
{
    f32x8 v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE f32x8 splat(float x)
{
    return x - (f32x8){0};  // an operation of scalar and vector: one broadcast, hoisted
}

INLINE bool any(const i32x8 *mask)
{
    i64x4 quarters = (i64x4)*mask;
    return (quarters[0] | quarters[1] | quarters[2] | quarters[3]) != 0;
}

/* *at = max(*at, *x), element by element; a NaN in x leaves *at. */
INLINE void raise(f32x8 *at, const f32x8 *x)
{
    i32x8 is_more = *x > *at;
    *at = (f32x8)((is_more & (i32x8)*x) | (~is_more & (i32x8)*at));
}

INLINE f32x8 exp8(const f32x8 *power)
{
    const f32x8 shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const f32x8 low = splat(-87.0f);
    i32x8 alive = *power >= low;
    f32x8 x = low;
    raise(&x, power);
    f32x8 rounded = x * splat(1.44269504088896341f) + shift;
    f32x8 n = rounded - shift;
    f32x8 r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
    f32x8 p = splat(1.0f / 5040.0f);
    p = p * r + splat(1.0f / 720.0f);
    p = p * r + splat(1.0f / 120.0f);
    p = p * r + splat(1.0f / 24.0f);
    p = p * r + splat(1.0f / 6.0f);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    i32x8 exponent = ((i32x8)rounded - (i32x8)shift + 127) << 23;  // n sits in the low bits
    return (f32x8)((i32x8)(p * (f32x8)exponent) & alive);
}

float scan_exp(float x)
{
    f32x8 all = splat(x);
    return exp8(&all)[0];
}

/* ---- maximum ---- */

INLINE bool max_body(const float *logits, size_t n, float *out)
{
    f32x8 best = splat(-INFINITY), other = best;
    i32x8 bad = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        f32x8 x = load8(logits + i), y = load8(logits + i + WIDTH);
        bad |= (x != x) | (y != y);
        raise(&best, &x);
        raise(&other, &y);
    }
    raise(&best, &other);
    float max = -INFINITY;
    for (size_t lane = 0; lane < WIDTH; lane++)
        if (best[lane] > max)
            max = best[lane];
    bool nan = any(&bad);
    for (; i < n; i++) {
        nan |= isnan(logits[i]);
        if (logits[i] > max)
            max = logits[i];
    }
    *out = max;
    return !nan && max < INFINITY;
}

AVX2 static bool max_avx2(const float *logits, size_t n, float *out)
{
    return max_body(logits, n, out);
}

bool scan_max(const float *logits, size_t n, float *out)
{
    return HAS_AVX2 ? max_avx2(logits, n, out) : max_body(logits, n, out);
}

size_t scan_find(const float *logits, size_t n, float value)
{
    f32x8 wanted = splat(value);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        i32x8 hit = (load8(logits + i) == wanted) | (load8(logits + i + WIDTH) == wanted);
        if (any(&hit))
            break;
    }
    while (i < n && logits[i] != value)
        i++;
    return i;
}

/* ---- sum ---- */

INLINE double exp_sum_body(const float *logits, size_t n, float max, float scale)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    while (i + LANES <= n) {
        size_t end = i + SUM_BLOCK <= n ? i + SUM_BLOCK : n - (n - i) % LANES;
        f32x8 low = {0}, high = {0};
        for (; i < end; i += LANES) {
            f32x8 x = (load8(logits + i) - max) * scale;
            f32x8 y = (load8(logits + i + WIDTH) - max) * scale;
            low += exp8(&x);
            high += exp8(&y);
        }
        for (size_t lane = 0; lane < WIDTH; lane++) {
            lanes[lane] += (double)low[lane];
            lanes[lane + WIDTH] += (double)high[lane];
        }
    }
    for (size_t lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)scan_exp((logits[i] - max) * scale);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}

AVX2 static double exp_sum_avx2(const float *logits, size_t n, float max, float scale)
{
    return exp_sum_body(logits, n, max, scale);
}

double scan_exp_sum(const float *logits, size_t n, float max, float scale)
{
    return HAS_AVX2 ? exp_sum_avx2(logits, n, max, scale) : exp_sum_body(logits, n, max, scale);
}

/* Monotone map of floats to integers; adding zero makes -0 equal to +0. */
static uint32_t ordered_bits(float logit)
{
    uint32_t bits = f32_bits(logit + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static rank_key rank_of(float logit, size_t token)
{
    return (rank_key)(uint32_t)~ordered_bits(logit) << 32 | (uint32_t)token;
}

/* ---- few best ---- */

/* Max-heap of ranks: the worst of the kept tokens is at the root. */
static void heap_sift_down(rank_key *heap, size_t n, size_t i)
{
    rank_key key = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= key)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = key;
}

static void heap_push(rank_key *heap, size_t n, rank_key key)
{
    size_t i = n;
    while (i > 0 && heap[(i - 1) / 2] < key) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = key;
}

static void heap_sort(rank_key *heap, size_t n)
{
    for (size_t last = n; last > 1; last--) {
        rank_key worst = heap[0];
        heap[0] = heap[last - 1];
        heap_sift_down(heap, last - 1, 0);
        heap[last - 1] = worst;
    }
}

/* Ids ascend during the scan, so a token equal to the worst kept one always loses the tie. */
static size_t offer(const float *logits, size_t first, size_t last, size_t k, rank_key *heap,
                    size_t n_heap, float *threshold)
{
    for (size_t i = first; i < last; i++) {
        if (!(logits[i] > *threshold))
            continue;
        if (n_heap < k) {
            heap_push(heap, n_heap++, rank_of(logits[i], i));
        } else {
            heap[0] = rank_of(logits[i], i);
            heap_sift_down(heap, n_heap, 0);
        }
        if (n_heap == k)
            *threshold = logits[rank_token(heap[0])];
    }
    return n_heap;
}

INLINE size_t top_body(const float *logits, size_t n, size_t k, rank_key *keys)
{
    float threshold = -INFINITY;
    size_t n_keys = 0, i = 0;
    for (; i + LANES <= n; i += LANES) {
        i32x8 hit = (load8(logits + i) > threshold) | (load8(logits + i + WIDTH) > threshold);
        if (any(&hit))
            n_keys = offer(logits, i, i + LANES, k, keys, n_keys, &threshold);
    }
    return offer(logits, i, n, k, keys, n_keys, &threshold);
}

AVX2 static size_t top_avx2(const float *logits, size_t n, size_t k, rank_key *keys)
{
    return top_body(logits, n, k, keys);
}

size_t scan_top(const float *logits, size_t n, size_t k, rank_key *keys)
{
    if (k == 0)
        return 0;
    size_t n_keys = HAS_AVX2 ? top_avx2(logits, n, k, keys) : top_body(logits, n, k, keys);
    heap_sort(keys, n_keys);
    return n_keys;
}

/* ---- order ---- */

static void sort_few(rank_key *keys, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        rank_key key = keys[i];
        size_t at = i;
        for (; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* Least significant digit first over the logit's 32 bits: stable, and the ids ascend already. */
static void sort_many(rank_key *keys, size_t n, rank_key *scratch)
{
    for (unsigned shift = 32; shift < 64; shift += 8) {
        size_t starts[256] = {0}, at = 0;
        for (size_t i = 0; i < n; i++)
            starts[keys[i] >> shift & 255]++;
        for (size_t digit = 0; digit < 256; digit++) {
            size_t count = starts[digit];
            starts[digit] = at;
            at += count;
        }
        for (size_t i = 0; i < n; i++)
            scratch[starts[keys[i] >> shift & 255]++] = keys[i];
        rank_key *swap = keys;
        keys = scratch;
        scratch = swap;
    }  // four passes: the result is back in the caller's `keys`
}

INLINE size_t gather_body(const float *logits, size_t n, float least, size_t n_max, rank_key *keys)
{
    size_t n_keys = 0, i = 0;
    while (i < n) {
        size_t end = n;
        if (i + GATHER_BLOCK <= n) {
            end = i + GATHER_BLOCK;
            i32x8 hit = {0};
            for (size_t k = i; k < end; k += WIDTH)
                hit |= load8(logits + k) >= least;
            if (!any(&hit)) {
                i = end;
                continue;
            }
        }
        for (; i < end; i++)
            if (logits[i] >= least) {
                if (n_keys == n_max)
                    return n_max + 1;
                keys[n_keys++] = rank_of(logits[i], i);
            }
    }
    return n_keys;
}

AVX2 static size_t gather_avx2(const float *logits, size_t n, float least, size_t n_max,
                               rank_key *keys)
{
    return gather_body(logits, n, least, n_max, keys);
}

size_t scan_above(const float *logits, size_t n, float least, size_t n_max, rank_key *keys,
                  rank_key *scratch)
{
    if (least < -FLT_MAX)
        least = -FLT_MAX;
    size_t n_keys = HAS_AVX2 ? gather_avx2(logits, n, least, n_max, keys)
                             : gather_body(logits, n, least, n_max, keys);
    if (n_keys > n_max)
        return n_keys;
    if (n_keys <= SORT_FEW)
        sort_few(keys, n_keys);
    else
        sort_many(keys, n_keys, scratch);
    return n_keys;
}
