/* Thousands of random operations over several sequences and a tiny pool, against an oracle.
 *
 * Each stored token has a fake K value: a hash of (the value stored before it, token, position),
 * read back from the cache itself, with the tenant under position 0. So one stale, foreign or
 * missing cell changes every later value of the sequence and is found at the next check, exactly.
 * The seed is printed on failure; WICARA_TEST_SEED and WICARA_TEST_ROUNDS override. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/rng.h"
#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"

enum { SEQUENCES = 5, TENANTS = 2, LENGTH_MAX = 300, VALUE_HALVES = 4, WINDOW = 40 };

struct actor {
    struct sequence *sequence;
    uint32_t tenant;
    int32_t tokens[LENGTH_MAX];
    uint64_t expected[LENGTH_MAX];  // value of each stored token
};

struct world {
    struct kv_cache *cache;
    size_t n_groups;
    struct actor actors[SEQUENCES];
    uint64_t seed;
    uint32_t draws;
    size_t n_hits, n_busy, n_evictions, n_forks, n_aborted, n_rollbacks;  // coverage
};

static uint32_t draw(struct world *w, uint32_t below)
{
    return (uint32_t)(rng_bits(w->seed, 0, 0, w->draws++) % below);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 29);
}

/* The value of one token lies in K, dimensions 0..3 of its column, in every group. */
static uint16_t *cell(const struct world *w, const struct actor *a, size_t group, size_t position)
{
    size_t n_blocks;
    const int32_t *blocks = sequence_blocks(a->sequence, group, &n_blocks);
    assert_true(position / 32 < n_blocks);
    if (blocks[position / 32] < 0)
        return NULL;
    return kv_cache_k(w->cache, group, blocks[position / 32], 0, 0) + position % 32;
}

static uint64_t cell_read(const uint16_t *k)
{
    uint64_t value = 0;
    for (size_t i = 0; i < VALUE_HALVES; i++)
        value = value << 16 | k[i * 32];
    return value;
}

static void cell_write(uint16_t *k, uint64_t value)
{
    for (size_t i = VALUE_HALVES; i-- > 0; value >>= 16)
        k[i * 32] = (uint16_t)value;
}

static uint64_t oracle(const struct actor *a, uint64_t before, size_t position)
{
    return mix(mix(position ? before : 1000 + a->tenant, (uint64_t)a->tokens[position]), position);
}

/* I3: every cell that the sequence can still see holds what its own history says. */
static void check_contents(const struct world *w, const struct actor *a)
{
    for (size_t g = 0; g < w->n_groups; g++) {
        size_t n = sequence_tokens(a->sequence);
        for (size_t p = 0; p < n; p++) {
            const uint16_t *k = cell(w, a, g, p);
            if (k)
                assert_true(cell_read(k) == a->expected[p]);
            else
                assert_true(g == 1 && p + WINDOW < n + 1);  // only what the window has passed
        }
    }
}

static void check_all(const struct world *w)
{
    assert_true(kv_cache_is_sane(w->cache));  // I1
    for (size_t i = 0; i < SEQUENCES; i++)
        check_contents(w, &w->actors[i]);
}

/* Prompts share beginnings: position p continues one of two stories a bend, few bends. */
static void new_prompt(struct world *w, struct actor *a)
{
    uint32_t story = 0;
    for (size_t p = 0; p < LENGTH_MAX; p++) {
        if (p % 24 == 0 && draw(w, 4) == 0)
            story = story * 2 + draw(w, 2);
        a->tokens[p] = (int32_t)(story * 1000 + p % 7);
    }
    uint64_t value = 0;
    for (size_t p = 0; p < LENGTH_MAX; p++)
        a->expected[p] = value = oracle(a, value, p);
}

static void op_restart(struct world *w, struct actor *a)
{
    sequence_truncate(a->sequence, 0);
    new_prompt(w, a);
    size_t n_tokens = draw(w, LENGTH_MAX);
    size_t found = sequence_match_prefix(a->sequence, a->tokens, n_tokens);
    assert_true(found == 0 || found < n_tokens);
    w->n_hits += found > 0;
}

/* One step: reserve, write every new cell in position order; then commit, or abandon the step. */
static void op_step(struct world *w, struct actor *a)
{
    size_t first = sequence_tokens(a->sequence);
    size_t last = first + 1 + draw(w, 70);
    if (last > LENGTH_MAX)
        return;
    size_t n_cached = kv_cache_blocks_cached(w->cache, 0);
    if (sequence_reserve(a->sequence, last, NULL) != OK) {
        w->n_busy++;
        return;
    }
    w->n_evictions += kv_cache_blocks_cached(w->cache, 0) < n_cached;
    bool abandoned = draw(w, 5) == 0;
    for (size_t g = 0; g < w->n_groups; g++) {
        for (size_t p = first; p < last; p++) {
            uint64_t before = p ? cell_read(cell(w, a, g, p - 1)) : 0;
            cell_write(cell(w, a, g, p), abandoned ? 0xbad : oracle(a, before, p));
        }
    }
    if (abandoned)
        w->n_aborted++;
    else
        sequence_commit(a->sequence, a->tokens, last);
}

/* Rolls back and lets the story go on differently. */
static void op_truncate(struct world *w, struct actor *a)
{
    size_t n = sequence_tokens(a->sequence);
    sequence_truncate(a->sequence, n - draw(w, (uint32_t)(n < 90 ? n : 90) + 1));
    n = sequence_tokens(a->sequence);
    w->n_rollbacks++;
    if (draw(w, 2))
        return;
    uint64_t value = n ? a->expected[n - 1] : 0;
    for (size_t p = n; p < LENGTH_MAX; p++) {
        a->tokens[p] = (int32_t)(500000 + draw(w, 3));
        a->expected[p] = value = oracle(a, value, p);
    }
}

static void op_fork(struct world *w, struct actor *dst)
{
    struct actor *src = &w->actors[draw(w, SEQUENCES)];
    if (src == dst || src->tenant != dst->tenant)
        return;
    sequence_truncate(dst->sequence, 0);
    size_t stored = sequence_tokens(src->sequence);
    size_t n = stored - draw(w, stored > 20 ? 20 : (uint32_t)stored + 1);
    memcpy(dst->tokens, src->tokens, sizeof dst->tokens);
    memcpy(dst->expected, src->expected, sizeof dst->expected);
    if (sequence_fork(dst->sequence, src->sequence, n, NULL) == OK) {
        assert_int_equal(sequence_tokens(dst->sequence), n);
        w->n_forks++;
    }
}

static void op_recreate(struct world *w, struct actor *a)
{
    sequence_free(a->sequence);
    a->tenant = draw(w, TENANTS);
    uint8_t id[32] = {(uint8_t)(a->tenant + 1)};
    assert_int_equal(sequence_create(&a->sequence, w->cache, LENGTH_MAX, id, NULL), OK);
    op_restart(w, a);
}

static void run_world(size_t n_groups, size_t n_blocks, uint64_t seed, size_t rounds)
{
    static const uint8_t ROOT[SHA256_BYTES] = {5};
    struct kv_layout layout = {.groups = {{1, 1, 16, 0, 0, false}, {2, 1, 16, WINDOW, 0, false}},
                               .n_groups = n_groups};
    size_t blocks[KV_GROUPS_MAX] = {n_blocks, n_blocks - 4};
    struct world w = {.n_groups = n_groups, .seed = seed};
    assert_int_equal(kv_cache_create(&w.cache, &layout, blocks, ROOT, true, NULL), OK);
    for (size_t i = 0; i < SEQUENCES; i++)
        op_recreate(&w, &w.actors[i]);
    for (size_t round = 0; round < rounds; round++) {
        struct actor *a = &w.actors[draw(&w, SEQUENCES)];
        uint32_t op = draw(&w, 16);
        if (op < 10)
            op_step(&w, a);
        else if (op < 12)
            op_restart(&w, a);
        else if (op < 14)
            op_truncate(&w, a);
        else if (op < 15)
            op_fork(&w, a);
        else
            op_recreate(&w, a);
        check_all(&w);
    }
    /* The run must have gone where the faults would be. */
    assert_true(w.n_hits > rounds / 100 && w.n_busy > 0 && w.n_evictions > rounds / 100);
    assert_true(w.n_forks > rounds / 100 && w.n_aborted > rounds / 100);
    assert_true(w.n_rollbacks > rounds / 100);
    for (size_t i = 0; i < SEQUENCES; i++)
        sequence_free(w.actors[i].sequence);
    for (size_t g = 0; g < n_groups; g++)
        assert_int_equal(kv_cache_blocks_free(w.cache, g), blocks[g]);
    assert_true(kv_cache_is_sane(w.cache));
    kv_cache_free(w.cache);
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void random_operations_keep_every_sequence_whole(void **state)
{
    (void)state;
    uint64_t seed = environment("WICARA_TEST_SEED", 1);
    size_t rounds = environment("WICARA_TEST_ROUNDS", 1500);
    static const struct {
        size_t n_groups, n_blocks;
    } worlds[] = {{1, 12}, {1, 26}, {2, 18}, {2, 30}};
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++)
        run_world(worlds[i].n_groups, worlds[i].n_blocks, seed + i, rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_keep_every_sequence_whole),
    };
    return cmocka_run_group_tests_name("cache/sequence_random", tests, NULL, NULL);
}
