/* Sequences one operation at a time: matching, reserving, publishing, rolling back, forking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/cache/kv_cache.h"
#include "engine/cache/sequence.h"

enum { TOKENS_MAX = 512 };

static const uint8_t ROOT[SHA256_BYTES] = {1};
static const uint8_t ANN[32] = {2}, BOB[32] = {3};
static int32_t ids[TOKENS_MAX];

static struct kv_cache *cache_of(size_t n_blocks, size_t window)
{
    struct kv_layout layout = {.groups = {{1, 1, 16, 0, 0, false}, {1, 1, 16, window, 0, false}},
                               .n_groups = window ? 2 : 1};
    size_t blocks[KV_GROUPS_MAX] = {n_blocks, n_blocks};
    struct kv_cache *cache;
    assert_int_equal(kv_cache_create(&cache, &layout, blocks, ROOT, true, NULL), OK);
    for (int32_t i = 0; i < TOKENS_MAX; i++)
        ids[i] = 1000 + i;
    return cache;
}

static struct sequence *new_sequence(struct kv_cache *cache, const uint8_t tenant[32])
{
    struct sequence *s;
    assert_int_equal(sequence_create(&s, cache, TOKENS_MAX, tenant, NULL), OK);
    return s;
}

static void store(struct sequence *s, size_t n_tokens)
{
    assert_int_equal(sequence_reserve(s, n_tokens, NULL), OK);
    sequence_commit(s, ids, n_tokens);
}

/* Lengths around the block border: how much a second sequence finds of the first. */
static void match_takes_whole_blocks_and_leaves_one_token(void **state)
{
    (void)state;
    static const struct {
        size_t stored, asked, found;
    } cases[] = {{31, 31, 0},  {32, 32, 0},  {32, 33, 32}, {33, 33, 32},   {64, 64, 32},
                 {64, 65, 64}, {95, 95, 64}, {96, 50, 32}, {100, 300, 96}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kv_cache *cache = cache_of(32, 0);
        struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
        store(a, cases[i].stored);
        assert_int_equal(sequence_match_prefix(b, ids, cases[i].asked), cases[i].found);
        assert_int_equal(sequence_tokens(b), cases[i].found);
        assert_true(kv_cache_is_sane(cache));
        sequence_free(a);
        sequence_free(b);
        assert_int_equal(kv_cache_blocks_free(cache, 0), 32);
        kv_cache_free(cache);
    }
}

static void tenants_do_not_share(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(32, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, BOB);
    store(a, 100);
    assert_int_equal(sequence_match_prefix(b, ids, 100), 0);
    sequence_free(a);
    sequence_free(b);
    struct sequence *again = new_sequence(cache, ANN);
    assert_int_equal(sequence_match_prefix(again, ids, 100), 96);  // survives its owner
    sequence_free(again);
    kv_cache_free(cache);
}

static void reserved_blocks_are_not_found(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(32, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
    assert_int_equal(sequence_reserve(a, 100, NULL), OK);
    assert_int_equal(sequence_match_prefix(b, ids, 100), 0);
    sequence_free(a);
    sequence_free(b);
    assert_int_equal(kv_cache_blocks_cached(cache, 0), 0);
    kv_cache_free(cache);
}

static void full_pool_takes_nothing(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(4, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
    store(a, 3 * 32);
    struct error err = {0};
    assert_int_equal(sequence_blocks_needed(b, 0, 64), 2);
    assert_int_equal(sequence_reserve(b, 64, &err), ERR_BUSY);
    assert_int_equal(kv_cache_blocks_free(cache, 0), 1);
    assert_int_equal(sequence_reserve(b, 32, NULL), OK);
    sequence_free(a);
    assert_int_equal(kv_cache_blocks_cached(cache, 0), 3);
    assert_int_equal(sequence_reserve(b, 128, NULL), OK);  // evicts all of a
    assert_int_equal(kv_cache_blocks_free(cache, 0), 0);
    assert_true(kv_cache_is_sane(cache));
    sequence_free(b);
    kv_cache_free(cache);
}

static void leaves_are_given_up_first(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(4, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, BOB);
    store(a, 4 * 32);
    sequence_free(a);
    assert_int_equal(sequence_reserve(b, 64, NULL), OK);
    struct sequence *c = new_sequence(cache, ANN);
    assert_int_equal(sequence_match_prefix(c, ids, 129), 64);
    sequence_free(b);
    sequence_free(c);
    kv_cache_free(cache);
}

/* A tenant that fills the cache over and over cannot flush another one: the victim is always taken
 * from whoever has most blocks to give (at a tie, 4 : 4 here, the oldest goes). */
static void a_flood_leaves_the_other_tenant_its_share(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(12, 0);
    struct sequence *a = new_sequence(cache, ANN);
    store(a, 4 * 32);
    sequence_free(a);
    for (int32_t round = 0; round < 20; round++) {
        struct sequence *b = new_sequence(cache, BOB);
        ids[0] = -1 - round;
        store(b, 5 * 32);
        sequence_free(b);
    }
    ids[0] = 1000;
    struct sequence *again = new_sequence(cache, ANN);
    assert_int_equal(sequence_match_prefix(again, ids, 4 * 32 + 1), 3 * 32);
    sequence_free(again);
    assert_true(kv_cache_is_sane(cache));
    kv_cache_free(cache);
}

static void shared_block_is_copied_before_it_is_written(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(8, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
    assert_int_equal(sequence_reserve(a, 64, NULL), OK);
    size_t n;
    const int32_t *blocks = sequence_blocks(a, 0, &n);
    kv_cache_k(cache, 0, blocks[1], 0, 0)[5] = 77;
    sequence_commit(a, ids, 64);
    assert_int_equal(sequence_fork(b, a, 64, NULL), OK);
    assert_int_equal(sequence_blocks(b, 0, &n)[1], blocks[1]);
    sequence_truncate(b, 40);
    assert_int_equal(sequence_blocks_needed(b, 0, 41), 1);
    assert_int_equal(sequence_reserve(b, 41, NULL), OK);
    const int32_t *copied = sequence_blocks(b, 0, &n);
    assert_int_equal(copied[0], blocks[0]);
    assert_int_not_equal(copied[1], blocks[1]);
    assert_int_equal(kv_cache_k(cache, 0, copied[1], 0, 0)[5], 77);
    assert_true(kv_cache_is_sane(cache));
    sequence_free(b);
    /* The only holder writes into its own published block: it leaves the index first. */
    sequence_truncate(a, 40);
    assert_int_equal(sequence_blocks_needed(a, 0, 41), 0);
    assert_int_equal(sequence_reserve(a, 41, NULL), OK);
    struct sequence *c = new_sequence(cache, ANN);
    assert_int_equal(sequence_match_prefix(c, ids, 65), 32);
    sequence_free(c);
    sequence_free(a);
    kv_cache_free(cache);
}

static void fork_shares_whole_blocks_and_copies_the_last(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(4, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
    struct sequence *c = new_sequence(cache, ANN);
    store(a, 70);
    assert_int_equal(sequence_fork(b, a, 70, NULL), OK);
    assert_int_equal(kv_cache_blocks_free(cache, 0), 0);
    struct error err = {0};
    assert_int_equal(sequence_fork(c, a, 70, &err), ERR_BUSY);
    assert_int_equal(sequence_tokens(c), 0);
    assert_int_equal(sequence_fork(c, a, 64, NULL), OK);
    assert_int_equal(sequence_tokens(c), 64);
    assert_true(kv_cache_is_sane(cache));
    sequence_free(a);
    sequence_free(b);
    sequence_free(c);
    kv_cache_free(cache);
}

static void equal_content_keeps_the_first(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(8, 0);
    struct sequence *a = new_sequence(cache, ANN), *b = new_sequence(cache, ANN);
    store(a, 64);
    store(b, 64);
    sequence_free(b);
    assert_int_equal(kv_cache_blocks_cached(cache, 0), 0);
    sequence_free(a);
    assert_int_equal(kv_cache_blocks_cached(cache, 0), 2);
    assert_int_equal(kv_cache_blocks_free(cache, 0), 8);
    kv_cache_free(cache);
}

static void windows_pass_and_must_hit(void **state)
{
    (void)state;
    struct kv_cache *cache = cache_of(16, 40);
    struct sequence *a = new_sequence(cache, ANN);
    for (size_t n = 32; n <= 320; n += 32)
        store(a, n);
    size_t n_blocks;
    const int32_t *passed = sequence_blocks(a, 1, &n_blocks);
    assert_int_equal(n_blocks, 10);
    /* 320 - 64 of slack - 40 of window + 1 = 217: block 6 is the first one kept. */
    assert_int_equal(passed[5], -1);
    assert_int_not_equal(passed[6], -1);
    assert_int_not_equal(sequence_blocks(a, 0, &n_blocks)[0], -1);
    sequence_truncate(a, 300);
    assert_int_equal(sequence_tokens(a), 300);
    store(a, 320);
    struct sequence *b = new_sequence(cache, ANN);
    assert_int_equal(sequence_match_prefix(b, ids, 321), 320);
    /* 320 - 40 + 1 = 281: block 8 is the first one that is needed. */
    assert_int_equal(sequence_blocks(b, 1, &n_blocks)[7], -1);
    assert_int_not_equal(sequence_blocks(b, 1, &n_blocks)[8], -1);
    sequence_truncate(b, 100);  // its window is gone: all must be computed again
    assert_int_equal(sequence_tokens(b), 0);
    assert_true(kv_cache_is_sane(cache));
    sequence_free(a);
    /* Evict from the windowed group only as far as the pool forces it; a match needs both. */
    struct sequence *c = new_sequence(cache, BOB);
    assert_int_equal(sequence_reserve(c, 16 * 32, NULL), OK);
    assert_int_equal(sequence_match_prefix(b, ids, 321), 0);
    sequence_free(b);
    sequence_free(c);
    kv_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(match_takes_whole_blocks_and_leaves_one_token),
        cmocka_unit_test(tenants_do_not_share),
        cmocka_unit_test(reserved_blocks_are_not_found),
        cmocka_unit_test(full_pool_takes_nothing),
        cmocka_unit_test(leaves_are_given_up_first),
        cmocka_unit_test(a_flood_leaves_the_other_tenant_its_share),
        cmocka_unit_test(shared_block_is_copied_before_it_is_written),
        cmocka_unit_test(fork_shares_whole_blocks_and_copies_the_last),
        cmocka_unit_test(equal_content_keeps_the_first),
        cmocka_unit_test(windows_pass_and_must_hit),
    };
    return cmocka_run_group_tests_name("cache/sequence", tests, NULL, NULL);
}
