/* The directory of KV blocks under injected faults: whatever becomes of its files, a read gives the
 * block that was written or an error, and the store goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/cache/kv_store.h"

enum { HEAD = 192, BYTES = 3000, FILE_BYTES = HEAD + BYTES };

static char folder[64];
static uint8_t contents[BYTES], got[BYTES];

static int make_folder(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    snprintf(folder, sizeof folder, "/tmp/wicara-kv-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static void each_file(void (*fn)(const char *path))
{
    DIR *d = opendir(folder);
    for (const struct dirent *entry; d != NULL && (entry = readdir(d)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            fn(path);
    }
    if (d != NULL)
        closedir(d);
}

static void remove_path(const char *path)
{
    (void)remove(path);
}

static int remove_folder(void **state)
{
    (void)state;
    each_file(remove_path);
    return rmdir(folder);
}

static size_t n_files;
static void count_file(const char *path)
{
    (void)path;
    n_files++;
}

static size_t count_files(void)
{
    n_files = 0;
    each_file(count_file);
    return n_files;
}

static struct kv_store *open_store(uint64_t bytes_max)
{
    struct kv_store *store;
    struct error err = {0};
    if (kv_store_open(&store, folder, bytes_max, &err) != OK)
        fail_msg("%s", err.text);
    return store;
}

static struct kv_store_key key_of(uint8_t i)
{
    struct kv_store_key key = {.hash = {i, 7, 0xab}, .group = i % 2};
    for (int32_t t = 0; t < KV_TOKENS_PER_BLOCK; t++)
        key.tokens[t] = 100 * i + t;
    return key;
}

static void fill(uint8_t i)
{
    for (size_t k = 0; k < BYTES; k++)
        contents[k] = (uint8_t)(i + k * 31 + k / 256);
}

static enum status write_block(struct kv_store *store, uint8_t i, int64_t used_ns)
{
    struct kv_store_key key = key_of(i);
    fill(i);
    return kv_store_write(store, &key, contents, BYTES, used_ns, NULL);
}

static enum status read_block(struct kv_store *store, uint8_t i)
{
    struct kv_store_key key = key_of(i);
    memset(got, 0, sizeof got);
    enum status status = kv_store_read(store, &key, got, BYTES, NULL);
    fill(i);
    if (status == OK)
        assert_memory_equal(got, contents, BYTES);
    return status;
}

static bool has(struct kv_store *store, uint8_t i)
{
    struct kv_store_key key = key_of(i);
    return kv_store_has(store, key.hash, key.group);
}

static void path_of(char path[256], uint8_t i)
{
    struct kv_store_key key = key_of(i);
    int n = snprintf(path, 256, "%s/", folder);
    for (size_t k = 0; k < SHA256_BYTES; k++)
        n += snprintf(path + n, 256 - (size_t)n, "%02x", key.hash[k]);
    snprintf(path + n, 256 - (size_t)n, "-%u.kv", key.group);
}

static void mode_is_private(const char *path)
{
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0600);
    assert_int_equal(facts.st_size, FILE_BYTES);
}

static void blocks_survive_a_restart(void **state)
{
    (void)state;
    assert_int_equal(rmdir(folder), 0);  // it makes its folder
    struct kv_store *store = open_store(1 << 20);
    struct stat facts;
    assert_int_equal(stat(folder, &facts), 0);
    assert_int_equal(facts.st_mode & 07777, 0700);
    for (uint8_t i = 0; i < 5; i++) {
        assert_false(has(store, i));
        assert_int_equal(read_block(store, i), ERR_NOT_FOUND);
        assert_int_equal(write_block(store, i, kv_store_now_ns()), OK);
        assert_true(has(store, i));
        assert_int_equal(read_block(store, i), OK);
    }
    assert_int_equal(write_block(store, 0, kv_store_now_ns()), OK);  // once is enough
    struct kv_store_stats stats;
    kv_store_stats(store, &stats);
    assert_int_equal(stats.blocks_written, 5);
    assert_int_equal(stats.bytes, 5 * FILE_BYTES);
    each_file(mode_is_private);
    kv_store_close(store);
    store = open_store(1 << 20);
    for (uint8_t i = 0; i < 5; i++)
        assert_int_equal(read_block(store, i), OK);
    kv_store_stats(store, &stats);
    assert_int_equal(stats.blocks_read, 5);
    kv_store_close(store);
}

/* ---- damage ---- */

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    int c = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(c ^ 1 << at % 8, file);
    fclose(file);
}

/* Damaged files are errors, are counted, go, and may be written anew. */
static void check_damaged(struct kv_store *store, uint8_t i, uint64_t n_damaged)
{
    struct kv_store_stats stats;
    assert_true(has(store, i));
    assert_int_equal(read_block(store, i), ERR_FORMAT);
    assert_false(has(store, i));
    assert_int_equal(read_block(store, i), ERR_NOT_FOUND);
    kv_store_stats(store, &stats);
    assert_int_equal(stats.blocks_damaged, n_damaged);
    assert_int_equal(count_files(), 0);
    assert_int_equal(write_block(store, i, kv_store_now_ns()), OK);
    assert_int_equal(read_block(store, i), OK);
}

static void flipped_bits_are_noticed(void **state)
{
    (void)state;
    struct kv_store *store = open_store(1 << 20);
    char path[256];
    uint64_t n = 0;
    path_of(path, 1);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    for (long at = 0; at < FILE_BYTES; at += at < HEAD + 16 ? 1 : 97) {
        flip(path, at);
        check_damaged(store, 1, ++n);
    }
    flip(path, FILE_BYTES - 1);
    check_damaged(store, 1, ++n);
    kv_store_close(store);
}

static void other_lengths_are_noticed(void **state)
{
    (void)state;
    static const long lengths[] = {
        0, 1, HEAD - 1, HEAD, HEAD + 1, FILE_BYTES - 1, FILE_BYTES + 1, 1 << 20};
    struct kv_store *store = open_store(8 << 20);
    char path[256];
    path_of(path, 2);
    assert_int_equal(write_block(store, 2, kv_store_now_ns()), OK);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        assert_int_equal(truncate(path, lengths[k]), 0);
        check_damaged(store, 2, k + 1);
    }
    kv_store_close(store);
}

/* Another block's file under this name; a link; a folder. */
static void foreign_files_are_noticed(void **state)
{
    (void)state;
    struct kv_store *store = open_store(1 << 20);
    char one[256], two[256];
    path_of(one, 1);
    path_of(two, 3);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    assert_int_equal(write_block(store, 3, kv_store_now_ns()), OK);
    assert_int_equal(rename(two, one), 0);
    check_damaged(store, 1, 1);
    assert_int_equal(read_block(store, 3), ERR_NOT_FOUND);  // it has vanished
    assert_false(has(store, 3));
    assert_int_equal(rename(one, two), 0);
    assert_int_equal(symlink(two, one), 0);
    assert_int_equal(read_block(store, 1), ERR_IO);
    assert_int_equal(unlink(one), 0);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    assert_int_equal(unlink(one), 0);
    assert_int_equal(mkdir(one, 0700), 0);
    assert_int_equal(read_block(store, 1), ERR_FORMAT);
    assert_int_equal(rmdir(one), 0);
    kv_store_close(store);
}

/* Right contents under the right name, but the question names other ids. */
static void a_collision_never_serves_other_tokens(void **state)
{
    (void)state;
    struct kv_store *store = open_store(1 << 20);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    struct kv_store_key key = key_of(1);
    key.tokens[KV_TOKENS_PER_BLOCK - 1]++;
    assert_int_equal(kv_store_read(store, &key, got, BYTES, NULL), ERR_FORMAT);
    kv_store_close(store);
}

static void strangers_are_left_alone(void **state)
{
    (void)state;
    char path[256], old[320], young[320];
    snprintf(path, sizeof path, "%s/notes.txt", folder);
    fclose(fopen(path, "w"));
    path_of(path, 1);
    snprintf(old, sizeof old, "%s.12.tmp", path);
    snprintf(young, sizeof young, "%s.13.tmp", path);
    fclose(fopen(old, "w"));
    fclose(fopen(young, "w"));
    struct timespec times[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    struct kv_store *store = open_store(1);
    struct kv_store_stats stats;
    kv_store_stats(store, &stats);
    assert_int_equal(stats.bytes, 0);
    assert_int_equal(access(old, F_OK), -1);  // its writer has died
    assert_int_equal(access(young, F_OK), 0);
    assert_int_equal(count_files(), 2);
    kv_store_close(store);
}

/* ---- the bound ---- */

static void the_least_recently_used_goes(void **state)
{
    (void)state;
    struct kv_store *store = open_store(3 * FILE_BYTES);
    int64_t now = kv_store_now_ns();
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(write_block(store, i, now - 1000000 * (10 - i)), OK);
    assert_true(has(store, 0) && has(store, 1) && has(store, 2));  // just fits
    assert_int_equal(read_block(store, 0), OK);                    // of use again
    assert_int_equal(write_block(store, 3, now), OK);
    assert_true(has(store, 0) && !has(store, 1) && has(store, 2) && has(store, 3));
    assert_int_equal(count_files(), 3);
    kv_store_close(store);
    store = open_store(2 * FILE_BYTES + 1);  // what a restart finds is as old as it was
    assert_true(has(store, 0) && !has(store, 2) && has(store, 3));
    assert_int_equal(count_files(), 2);
    kv_store_close(store);
    store = open_store(FILE_BYTES - 1);
    assert_int_equal(count_files(), 0);
    assert_int_equal(write_block(store, 4, now), ERR_LIMIT);
    kv_store_close(store);
}

static void servers_share_a_folder(void **state)
{
    (void)state;
    struct kv_store *a = open_store(1 << 20), *b = open_store(1 << 20);
    assert_int_equal(write_block(a, 1, kv_store_now_ns()), OK);
    assert_int_equal(write_block(b, 1, kv_store_now_ns()), OK);  // the same block
    assert_int_equal(write_block(b, 2, kv_store_now_ns()), OK);
    assert_false(has(a, 2));
    kv_store_rescan(a, (int64_t)3600 * 1000000000);
    assert_false(has(a, 2));
    kv_store_rescan(a, 0);
    assert_int_equal(read_block(a, 2), OK);
    kv_store_close(b);
    b = open_store(1);  // removes all
    assert_int_equal(read_block(a, 1), ERR_NOT_FOUND);
    kv_store_rescan(a, 0);
    assert_false(has(a, 2));
    kv_store_close(a);
    kv_store_close(b);
}

/* ---- disks and folders that fail ---- */

static void a_full_disk_stops_writing_only(void **state)
{
    (void)state;
    struct kv_store *store = open_store(1 << 20);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){HEAD + 100, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(write_block(store, 2, kv_store_now_ns()), ERR_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(count_files(), 1);                                    // no half is left
    assert_int_equal(write_block(store, 2, kv_store_now_ns()), ERR_BUSY);  // it rests
    assert_false(has(store, 2));
    assert_int_equal(read_block(store, 1), OK);
    kv_store_close(store);
}

static void a_folder_that_vanishes_is_an_error(void **state)
{
    (void)state;
    struct kv_store *store = open_store(1 << 20);
    assert_int_equal(write_block(store, 1, kv_store_now_ns()), OK);
    each_file(remove_path);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(write_block(store, 2, kv_store_now_ns()), ERR_IO);
    assert_int_equal(read_block(store, 1), ERR_NOT_FOUND);
    kv_store_rescan(store, 0);
    kv_store_close(store);
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void folders_are_checked(void **state)
{
    (void)state;
    struct kv_store *store;
    struct error err = {0};
    char path[256];
    assert_int_equal(chmod(folder, 0770), 0);
    assert_int_equal(kv_store_open(&store, folder, 1, &err), ERR_INVALID);
    assert_string_equal(err.param, "kv_dir");
    assert_int_equal(chmod(folder, 0702), 0);
    assert_int_equal(kv_store_open(&store, folder, 1, NULL), ERR_INVALID);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(kv_store_open(&store, folder, 1, NULL), OK);
    kv_store_close(store);
    snprintf(path, sizeof path, "%s/a/b", folder);
    assert_int_equal(kv_store_open(&store, path, 1, NULL), ERR_IO);
    snprintf(path, sizeof path, "%s/file", folder);
    fclose(fopen(path, "w"));
    assert_int_equal(kv_store_open(&store, path, 1, NULL), ERR_INVALID);
    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 12345, 0), 0);
        assert_int_equal(kv_store_open(&store, folder, 1, NULL), ERR_INVALID);
        assert_int_equal(chown(folder, 0, 0), 0);
    } else {
        assert_int_equal(chmod(folder, 0300), 0);
        assert_int_equal(kv_store_open(&store, folder, 1, NULL), ERR_IO);
        assert_int_equal(chmod(folder, 0700), 0);
    }
    assert_null(store);
}

int main(void)
{
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(blocks_survive_a_restart),
        WITH_FOLDER(flipped_bits_are_noticed),
        WITH_FOLDER(other_lengths_are_noticed),
        WITH_FOLDER(foreign_files_are_noticed),
        WITH_FOLDER(a_collision_never_serves_other_tokens),
        WITH_FOLDER(strangers_are_left_alone),
        WITH_FOLDER(the_least_recently_used_goes),
        WITH_FOLDER(servers_share_a_folder),
        WITH_FOLDER(a_full_disk_stops_writing_only),
        WITH_FOLDER(a_folder_that_vanishes_is_an_error),
        WITH_FOLDER(folders_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
