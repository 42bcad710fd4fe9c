/* Passes over one row of logits; see scan.h.
 *
 * A row has 32k to 260k entries and is read once a token, so the loops here are the price of
 * sampling. They work on 16 lanes written as four 4-lane vectors: that is what every x86-64 and
 * every aarch64 CPU has, and the lanes (not the hardware) fix the order of the sums. No fused
 * multiply-add is used, so the bits are the same on all of them.
 *
 * The best k are kept in a heap of ranks while the row streams past; after the first few hundred
 * tokens almost every group of 16 fails the comparison with the worst of them and costs nothing
 * more. Only distributions that are too flat for that are sorted in full, by a radix sort.
 *
 * Source of the exponential: argument reduction by ln 2 in two parts (Cody and Waite), then the
 * Taylor polynomial of degree 7 on [-ln2/2, ln2/2]; error below 2e-7, tested against libm. */
#include "engine/sampling/scan.h"

#include <math.h>

#include "engine/base/dtype.h"

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef int64_t i64x2 __attribute__((vector_size(16)));

enum { LANES = 16, VECTORS = LANES / 4, SUM_BLOCK = 64 * LANES };

#define INLINE static inline __attribute__((always_inline))

INLINE f32x4 load4(const float *at)
{
    f32x4 v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE f32x4 splat(float x)
{
    return (f32x4){x, x, x, x};
}

INLINE bool any(i32x4 mask)
{
    i64x2 halves = (i64x2)mask;
    return (halves[0] | halves[1]) != 0;
}

INLINE f32x4 select4(i32x4 mask, f32x4 yes, f32x4 no)
{
    return (f32x4)((mask & (i32x4)yes) | (~mask & (i32x4)no));
}

INLINE f32x4 exp4(f32x4 x)
{
    const f32x4 shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const f32x4 low = splat(-87.0f);
    i32x4 alive = x >= low;
    x = select4(alive, x, low);
    f32x4 n = (x * splat(1.44269504088896341f) + shift) - shift;
    f32x4 r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
    f32x4 p = splat(1.0f / 5040.0f);
    p = p * r + splat(1.0f / 720.0f);
    p = p * r + splat(1.0f / 120.0f);
    p = p * r + splat(1.0f / 24.0f);
    p = p * r + splat(1.0f / 6.0f);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    i32x4 exponent = (__builtin_convertvector(n, i32x4) + 127) << 23;
    return (f32x4)((i32x4)(p * (f32x4)exponent) & alive);
}

float scan_exp(float x)
{
    return exp4(splat(x))[0];
}

bool scan_max(const float *logits, size_t n, float *out)
{
    f32x4 best[VECTORS];
    i32x4 bad = {0, 0, 0, 0};
    for (size_t v = 0; v < VECTORS; v++)
        best[v] = splat(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t v = 0; v < VECTORS; v++) {
            f32x4 x = load4(logits + i + 4 * v);
            bad |= x != x;
            best[v] = select4(x > best[v], x, best[v]);
        }
    float max = -INFINITY;
    for (size_t lane = 0; lane < LANES; lane++)
        if (best[lane / 4][lane % 4] > max)
            max = best[lane / 4][lane % 4];
    bool nan = any(bad);
    for (; i < n; i++) {
        nan |= isnan(logits[i]);
        if (logits[i] > max)
            max = logits[i];
    }
    *out = max;
    return !nan && max < INFINITY;
}

size_t scan_find(const float *logits, size_t n, float value)
{
    f32x4 wanted = splat(value);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        i32x4 hit = load4(logits + i) == wanted;
        for (size_t v = 1; v < VECTORS; v++)
            hit |= load4(logits + i + 4 * v) == wanted;
        if (any(hit))
            break;
    }
    while (i < n && logits[i] != value)
        i++;
    return i;
}

double scan_exp_sum(const float *logits, size_t n, float max, float scale)
{
    double lanes[LANES] = {0};
    size_t i = 0;
    while (i + LANES <= n) {
        size_t end = i + SUM_BLOCK <= n ? i + SUM_BLOCK : n - (n - i) % LANES;
        f32x4 sums[VECTORS] = {splat(0), splat(0), splat(0), splat(0)};
        for (; i < end; i += LANES)
            for (size_t v = 0; v < VECTORS; v++)
                sums[v] += exp4((load4(logits + i + 4 * v) - splat(max)) * splat(scale));
        for (size_t lane = 0; lane < LANES; lane++)
            lanes[lane] += (double)sums[lane / 4][lane % 4];
    }
    for (size_t lane = 0; i < n; i++, lane++)
        lanes[lane] += (double)scan_exp((logits[i] - max) * scale);
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
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

size_t scan_top(const float *logits, size_t n, size_t k, rank_key *keys)
{
    if (k == 0)
        return 0;
    float threshold = -INFINITY;
    size_t n_keys = 0, i = 0;
    for (; i + LANES <= n; i += LANES) {
        f32x4 bound = splat(threshold);
        i32x4 hit = load4(logits + i) > bound;
        for (size_t v = 1; v < VECTORS; v++)
            hit |= load4(logits + i + 4 * v) > bound;
        if (any(hit))
            n_keys = offer(logits, i, i + LANES, k, keys, n_keys, &threshold);
    }
    n_keys = offer(logits, i, n, k, keys, n_keys, &threshold);
    heap_sort(keys, n_keys);
    return n_keys;
}

size_t scan_sort(const float *logits, size_t n, rank_key *keys, rank_key *scratch)
{
    size_t n_keys = 0;
    for (size_t i = 0; i < n; i++)
        if (logits[i] > -INFINITY)
            keys[n_keys++] = rank_of(logits[i], i);
    // Least significant digit first over the logit's 32 bits: stable, and ids ascend already.
    for (unsigned shift = 32; shift < 64; shift += 8) {
        size_t starts[256] = {0}, at = 0;
        for (size_t i = 0; i < n_keys; i++)
            starts[keys[i] >> shift & 255]++;
        for (size_t digit = 0; digit < 256; digit++) {
            size_t count = starts[digit];
            starts[digit] = at;
            at += count;
        }
        for (size_t i = 0; i < n_keys; i++)
            scratch[starts[keys[i] >> shift & 255]++] = keys[i];
        rank_key *swap = keys;
        keys = scratch;
        scratch = swap;
    }
    return n_keys;  // four passes: the result is back in the caller's `keys`
}
