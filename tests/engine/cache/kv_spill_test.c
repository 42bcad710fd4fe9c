/* From the pool to the directory and back: what is given up comes back with the same bytes, in
 * every group, for the same tenant and salt only, also after a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/cache/blocks.h"
#include "engine/cache/kv_spill.h"

enum { TOKENS_MAX = 512, WINDOW = 64 };

static const uint8_t ROOT[SHA256_BYTES] = {1}, ANN[32] = {2}, BOB[32] = {3}, SALT[32] = {4};
static int32_t ids[TOKENS_MAX], others[TOKENS_MAX];
static char folder[64];

struct world {
    struct kv_cache *cache;
    struct kv_spill *spill;
    _Atomic size_t n_ready;
};

static void on_ready(void *user)
{
    struct world *w = user;
    atomic_fetch_add(&w->n_ready, 1);
}

static void open_world(struct world *w, size_t n_blocks, size_t window)
{
    memset(w, 0, sizeof *w);
    struct kv_layout layout = {.groups = {{1, 1, 16, 0, 0, false}, {2, 1, 16, window, 0, false}},
                               .n_groups = window ? 2 : 1};
    size_t blocks[KV_GROUPS_MAX] = {n_blocks, n_blocks};
    struct kv_store *store;
    assert_int_equal(kv_cache_create(&w->cache, &layout, blocks, ROOT, true, NULL), OK);
    assert_int_equal(kv_store_open(&store, folder, 1 << 24, NULL), OK);
    assert_int_equal(kv_spill_open_take(&w->spill, store,
                                        kv_group_block_bytes(&layout.groups[0]) * 2, on_ready, w,
                                        NULL),
                     OK);
    kv_cache_set_spill(w->cache, w->spill);
}

static void close_world(struct world *w)
{
    assert_true(kv_cache_is_sane(w->cache));
    kv_cache_free(w->cache);
    kv_spill_close(w->spill);
}

static int make_folder(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    for (int32_t i = 0; i < TOKENS_MAX; i++) {
        ids[i] = 1000 + i;
        others[i] = 5000 + i;
    }
    snprintf(folder, sizeof folder, "/tmp/wicara-kv-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    for (const struct dirent *entry; (entry = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
    return rmdir(folder);
}

static struct sequence *new_sequence(struct world *w, const uint8_t tenant[32])
{
    struct sequence *s;
    assert_int_equal(sequence_create(&s, w->cache, TOKENS_MAX, tenant, NULL), OK);
    return s;
}

/* Fills a block with bytes that tell its tokens and group. */
static void stamp(struct world *w, struct sequence *s, const int32_t *tokens, size_t group,
                  size_t i, bool is_check)
{
    size_t n_blocks;
    int32_t block = sequence_blocks(s, group, &n_blocks)[i];
    if (block == BLOCK_NONE)
        return;
    size_t n = w->cache->pools[group].block_bytes / sizeof(uint16_t);
    uint16_t *k = kv_cache_k(w->cache, group, block, 0, 0);
    for (size_t j = 0; j < n; j++) {
        uint16_t want = (uint16_t)((size_t)tokens[32 * i] * 7 + group * 1000 + j);
        if (!is_check)
            k[j] = want;
        else
            assert_int_equal(k[j], want);
    }
}

static void stamp_all(struct world *w, struct sequence *s, const int32_t *tokens, size_t first,
                      size_t last, bool is_check)
{
    for (size_t g = 0; g < kv_cache_layout(w->cache)->n_groups; g++)
        for (size_t i = first; i < last; i++)
            stamp(w, s, tokens, g, i, is_check);
}

static void store(struct world *w, struct sequence *s, const int32_t *tokens, size_t n_tokens)
{
    for (size_t n = 0; n < n_tokens; n += 32) {
        assert_int_equal(sequence_reserve(s, n + 32, NULL), OK);
        stamp_all(w, s, tokens, n / 32, n / 32 + 1, false);
        sequence_commit(s, tokens, n + 32);
    }
}

static void wait_written(struct world *w, uint64_t n)
{
    struct kv_store_stats stats;
    uint64_t n_dropped;
    for (int i = 0; i < 20000; i++) {
        kv_spill_stats(w->spill, &stats, &n_dropped);
        if (stats.blocks_written + n_dropped >= n)
            break;
        usleep(500);
    }
    assert_int_equal(stats.blocks_written, n);
}

/* Reads back all that would help; returns how many tokens are found then. */
static size_t reload(struct world *w, struct sequence *s, const int32_t *tokens, size_t n_tokens)
{
    struct stored_block blocks[2 * TOKENS_MAX / 32];
    assert_int_equal(sequence_stored_max(s), TOKENS_MAX / 32 * kv_cache_layout(w->cache)->n_groups);
    bool has_any = sequence_has_stored(s, tokens, n_tokens);
    size_t n = sequence_list_stored(s, tokens, n_tokens, blocks, 2 * TOKENS_MAX / 32);
    assert_int_equal(has_any, n > 0);
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || blocks[i].i <= blocks[i - 1].i);  // leaves first
        assert_true(sequence_ask_stored(s, tokens, &blocks[i], 10 + i));
    }
    for (size_t i = 0; i < n; i++) {
        struct kv_spill_answer answer;
        int64_t deadline = clock_ns() + (int64_t)20 * 1000000000;
        while (!kv_spill_answer(w->spill, &answer)) {
            assert_true(clock_ns() < deadline);
            usleep(100);
        }
        assert_int_equal(answer.ticket, 10 + i);
        if (answer.status == OK)
            assert_true(sequence_restore(s, &answer));
        kv_spill_done(w->spill, &answer);
    }
    return sequence_match_prefix(s, tokens, n_tokens);
}

static void what_is_given_up_comes_back(void **state)
{
    (void)state;
    for (size_t window = 0; window <= WINDOW; window += WINDOW) {
        struct world w;
        open_world(&w, 8, window);
        struct sequence *a = new_sequence(&w, ANN), *b = new_sequence(&w, ANN);
        store(&w, a, ids, 256);
        sequence_free(a);
        store(&w, b, others, 256);  // takes all blocks
        sequence_free(b);
        wait_written(&w, window ? 16 : 8);
        a = new_sequence(&w, ANN);
        assert_int_equal(sequence_match_prefix(a, ids, 257), 0);
        assert_int_equal(reload(&w, a, ids, 257), 256);
        stamp_all(&w, a, ids, 0, 8, true);
        assert_true(kv_cache_is_sane(w.cache));
        assert_int_equal(atomic_load(&w.n_ready), window ? 8 + WINDOW / 32 : 8);
        sequence_free(a);
        close_world(&w);
        remove_folder(state);
        make_folder(state);
    }
}

static void only_its_owner_finds_it(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 8, 0);
    struct sequence *a = new_sequence(&w, ANN);
    store(&w, a, ids, 128);
    sequence_free(a);
    kv_cache_flush(w.cache, INT64_MAX);
    close_world(&w);
    open_world(&w, 8, 0);
    struct sequence *b = new_sequence(&w, BOB), *salted = new_sequence(&w, ANN);
    sequence_set_salt(salted, SALT);
    a = new_sequence(&w, ANN);
    assert_int_equal(reload(&w, b, ids, 200), 0);
    assert_int_equal(reload(&w, salted, ids, 200), 0);
    assert_int_equal(reload(&w, a, others, 200), 0);
    sequence_truncate(a, 0);
    assert_int_equal(reload(&w, a, ids, 97), 96);  // whole blocks, and one token is left
    stamp_all(&w, a, ids, 0, 3, true);
    sequence_free(a);
    sequence_free(b);
    sequence_free(salted);
    close_world(&w);
}

/* The part in memory is joined with the one that is not; a lost block ends the chain before it. */
static void parts_are_joined(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 16, WINDOW);
    struct sequence *a = new_sequence(&w, ANN);
    store(&w, a, ids, 320);
    sequence_free(a);
    kv_cache_flush(w.cache, INT64_MAX);
    close_world(&w);
    open_world(&w, 16, WINDOW);
    a = new_sequence(&w, ANN);
    store(&w, a, ids, 96);
    sequence_free(a);
    a = new_sequence(&w, ANN);
    assert_int_equal(reload(&w, a, ids, 321), 320);
    stamp_all(&w, a, ids, 0, 10, true);
    uint8_t lost[SHA256_BYTES];
    memcpy(lost, a->hashes[6], sizeof lost);
    sequence_free(a);
    close_world(&w);

    char path[256];
    int n = snprintf(path, sizeof path, "%s/", folder);
    for (size_t i = 0; i < sizeof lost; i++)
        n += snprintf(path + n, sizeof path - (size_t)n, "%02x", lost[i]);
    snprintf(path + n, sizeof path - (size_t)n, "-0.kv");
    assert_int_equal(truncate(path, 100), 0);
    open_world(&w, 16, WINDOW);
    a = new_sequence(&w, ANN);
    size_t n_found = reload(&w, a, ids, 321);
    // Its window is not in memory at that length: it was read for the whole chain.
    assert_int_equal(n_found, 0);
    sequence_truncate(a, 0);
    assert_int_equal(reload(&w, a, ids, 321), 192);  // now the list ends there
    stamp_all(&w, a, ids, 0, 6, true);
    sequence_free(a);
    close_world(&w);
}

/* More than the slots hold at once: what is not written is counted, nothing waits. */
static void offers_never_wait(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 8, 0);
    uint64_t n_offered = 0, n_dropped;
    struct kv_store_stats stats;
    uint8_t contents[16 * 2 * 2 * 32] = {0};
    for (uint8_t i = 0; i < 250; i++) {
        struct kv_store_key key = {.hash = {i, 9}};
        kv_spill_offer(w.spill, &key, contents, sizeof contents);
        n_offered++;
    }
    do {
        usleep(1000);
        kv_spill_stats(w.spill, &stats, &n_dropped);
    } while (stats.blocks_written + n_dropped < n_offered);
    assert_int_equal(stats.blocks_written + n_dropped, n_offered);
    size_t n_asked = 0;
    for (uint8_t i = 0; i < 250; i++) {
        struct kv_store_key key = {.hash = {i, 9}};
        n_asked += kv_spill_ask(w.spill, &key, sizeof contents, i);
    }
    assert_true(n_asked > 0 && n_asked < 250);  // nobody took an answer
    close_world(&w);                            // with reads under way
}

static void flushing_ends_in_time(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 8, 0);
    struct sequence *a = new_sequence(&w, ANN);
    store(&w, a, ids, 256);
    sequence_free(a);
    kv_cache_flush(w.cache, clock_ns());
    struct kv_store_stats stats;
    uint64_t n_dropped;
    kv_spill_stats(w.spill, &stats, &n_dropped);
    assert_int_equal(stats.blocks_written, 0);
    kv_cache_flush(w.cache, INT64_MAX);
    kv_spill_stats(w.spill, &stats, &n_dropped);
    assert_int_equal(stats.blocks_written, 8);
    close_world(&w);
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(what_is_given_up_comes_back),
        WITH_FOLDER(only_its_owner_finds_it),
        WITH_FOLDER(parts_are_joined),
        WITH_FOLDER(offers_never_wait),
        WITH_FOLDER(flushing_ends_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
