/* KV blocks as files; see kv_store.h.
 *
 * A file is HASH-GROUP.kv: a head of 192 bytes and the block as it lies in memory. It is written
 * under another name and renamed, so that nobody reads a half; there is no fsync, since what a
 * crash tears fails its check sum (CRC-32: 3 GB/s here, SHA-256 1.3) and costs a computation. The
 * name covers all that the contents depend on (prefix.c), the head repeats it beside the ids.
 *
 * An index in memory answers has() without a system call. It is rebuilt from the directory now and
 * then, by which a server learns of blocks that others wrote or removed. The time of change of a
 * file says when it was last of use: the least of them goes first, also over a restart.
 *
 * One thread works on the directory; the mutex guards the index against has() alone, so it is never
 * held over a system call or a walk. */
#include "engine/cache/kv_store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "engine/base/clock.h"
#include "engine/base/files.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

enum {
    NAME_HEX = 2 * SHA256_BYTES,
    NAME_BYTES = NAME_HEX + 8,  // "-0.kv" and the NUL
    TEMPORARY_BYTES = NAME_BYTES + 32,
    N_BUCKETS = 2 * KV_STORE_BLOCKS_MAX,
    NONE = -1,
    VERSION = 1,
};
static const int64_t WRITE_REST_NS = 60 * (int64_t)1000000000;
static const int64_t TEMPORARY_AGE_NS = 600 * (int64_t)1000000000;  // a writer that died

struct file_head {
    char magic[8];
    uint32_t version;
    uint32_t group;
    uint64_t n_bytes;  // of the contents
    uint8_t hash[SHA256_BYTES];
    int32_t tokens[KV_TOKENS_PER_BLOCK];
    uint32_t contents_crc;
    uint32_t head_crc;  // of all before it
};
static_assert(sizeof(struct file_head) == 192, "file layout");
static const char MAGIC[8] = {'W', 'i', 'c', 'a', 'r', 'a', 'K', 'V'};

struct entry {
    uint8_t hash[SHA256_BYTES];
    uint32_t group;
    int32_t next;  // in its bucket
    uint64_t bytes;
    int64_t used_ns;
};

struct index {
    size_t n_entries;
    uint64_t bytes;
    int32_t buckets[N_BUCKETS];
    struct entry entries[KV_STORE_BLOCKS_MAX];
};

struct kv_store {
    char *path;
    int folder;
    uint64_t bytes_max;
    int64_t scanned_ns;     // clock_ns()
    int64_t write_rest_ns;  // no write before; 0 = the last one went well
    bool has_warned;
    pthread_mutex_t mu;
    struct index
        *index; /* changed under mu by the one thread that works, which may read it freely */
    _Atomic uint64_t blocks_written, bytes_written, blocks_read, bytes_read, blocks_damaged, bytes;
};

int64_t kv_store_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- index ---- */

static size_t bucket_of(const uint8_t hash[SHA256_BYTES])
{
    uint32_t start;
    memcpy(&start, hash, sizeof start);
    return start & (N_BUCKETS - 1);
}

static struct index *index_create(void)
{
    struct index *index = mem_map(sizeof *index);
    if (index != NULL)
        memset(index->buckets, 0xff, sizeof index->buckets);
    return index;
}

static void index_free(struct index *index)
{
    if (index != NULL)
        mem_unmap(index, sizeof *index);
}

static int32_t index_find(const struct index *index, const uint8_t hash[SHA256_BYTES],
                          uint32_t group)
{
    int32_t i = index->buckets[bucket_of(hash)];
    while (i != NONE && (index->entries[i].group != group ||
                         memcmp(index->entries[i].hash, hash, SHA256_BYTES) != 0))
        i = index->entries[i].next;
    return i;
}

static int32_t *link_to(struct index *index, int32_t i)
{
    int32_t *link = &index->buckets[bucket_of(index->entries[i].hash)];
    while (*link != i)
        link = &index->entries[*link].next;
    return link;
}

/* The last entry takes the place of the one that goes. */
static void index_remove(struct index *index, int32_t i)
{
    int32_t last = (int32_t)index->n_entries - 1;
    index->bytes -= index->entries[i].bytes;
    *link_to(index, i) = index->entries[i].next;
    if (i != last) {
        *link_to(index, last) = i;
        index->entries[i] = index->entries[last];
    }
    index->n_entries--;
}

static bool index_add(struct index *index, const uint8_t hash[SHA256_BYTES], uint32_t group,
                      uint64_t bytes, int64_t used_ns)
{
    if (index->n_entries == KV_STORE_BLOCKS_MAX)
        return false;
    int32_t i = (int32_t)index->n_entries++, *bucket = &index->buckets[bucket_of(hash)];
    struct entry *entry = &index->entries[i];
    memcpy(entry->hash, hash, SHA256_BYTES);
    entry->group = group;
    entry->bytes = bytes;
    entry->used_ns = used_ns;
    entry->next = *bucket;
    *bucket = i;
    index->bytes += bytes;
    return true;
}

static int32_t index_oldest(const struct index *index)
{
    int32_t oldest = NONE;
    for (size_t i = 0; i < index->n_entries; i++)
        if (oldest == NONE || index->entries[i].used_ns < index->entries[oldest].used_ns)
            oldest = (int32_t)i;
    return oldest;
}

/* ---- names ---- */

static void name_of(char name[NAME_BYTES], const uint8_t hash[SHA256_BYTES], uint32_t group)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        name[2 * i] = digits[hash[i] >> 4];
        name[2 * i + 1] = digits[hash[i] & 15];
    }
    snprintf(name + NAME_HEX, NAME_BYTES - NAME_HEX, "-%u.kv", (unsigned)(group % 10));
}

/* Names are written in lower case: others are not ours. */
static int lower_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The digest at the start of a name; false when it is none of ours. */
static bool parse_hash(const char *name, uint8_t hash[SHA256_BYTES])
{
    for (size_t i = 0; i < NAME_HEX; i += 2) {
        int high = lower_digit(name[i]), low = high < 0 ? -1 : lower_digit(name[i + 1]);
        if (low < 0)
            return false;
        hash[i / 2] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static bool parse_name(const char *name, uint8_t hash[SHA256_BYTES], uint32_t *group)
{
    if (!parse_hash(name, hash))
        return false;
    const char *end = name + NAME_HEX;
    if (end[0] != '-' || end[1] < '0' || end[1] >= '0' + KV_GROUPS_MAX ||
        strcmp(end + 2, ".kv") != 0)
        return false;
    *group = (uint32_t)(end[1] - '0');
    return true;
}

static bool is_temporary(const char *name)
{
    uint8_t hash[SHA256_BYTES];
    size_t n = strlen(name);
    return n > NAME_HEX + 4 && strcmp(name + n - 4, ".tmp") == 0 && parse_hash(name, hash);
}

/* ---- the directory ---- */

static void remove_entry(struct kv_store *store, int32_t i)
{
    char name[NAME_BYTES];
    name_of(name, store->index->entries[i].hash, store->index->entries[i].group);
    unlinkat(store->folder, name, 0);
    pthread_mutex_lock(&store->mu);
    index_remove(store->index, i);
    pthread_mutex_unlock(&store->mu);
    atomic_store(&store->bytes, store->index->bytes);
}

/* Removes what was not used for longest until there is room for one more file. */
static void make_room(struct kv_store *store, uint64_t bytes)
{
    while (store->index->n_entries > 0 &&
           (store->index->bytes + bytes > store->bytes_max ||
            store->index->n_entries + (bytes > 0) > KV_STORE_BLOCKS_MAX))
        remove_entry(store, index_oldest(store->index));
}

static void scan_entry(struct kv_store *store, struct index *index, const char *name)
{
    uint8_t hash[SHA256_BYTES];
    uint32_t group;
    bool is_block = parse_name(name, hash, &group);
    struct stat facts;
    if ((!is_block && !is_temporary(name)) ||
        fstatat(store->folder, name, &facts, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(facts.st_mode))
        return;
    int64_t used_ns = (int64_t)facts.st_mtim.tv_sec * 1000000000 + facts.st_mtim.tv_nsec;
    if (is_block) {
        if (!index_add(index, hash, group, (uint64_t)facts.st_size, used_ns))
            unlinkat(store->folder, name, 0);
    } else if (kv_store_now_ns() - used_ns > TEMPORARY_AGE_NS) {
        unlinkat(store->folder, name, 0);
    }
}

static enum status scan(struct kv_store *store, struct error *err)
{
    struct index *index = index_create(), *old = store->index;
    if (index == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the index of %s", store->path);
    int fd = openat(store->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        int open_errno = errno;
        if (fd >= 0)
            close(fd);
        index_free(index);
        return error_set(err, ERR_IO, "cannot read %s: %s", store->path, strerror(open_errno));
    }
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        scan_entry(store, index, entry->d_name);
    closedir(folder);
    pthread_mutex_lock(&store->mu);
    store->index = index;
    pthread_mutex_unlock(&store->mu);
    index_free(old);
    store->scanned_ns = clock_ns();
    atomic_store(&store->bytes, index->bytes);
    make_room(store, 0);
    return OK;
}

void kv_store_rescan(struct kv_store *store, int64_t age_ns)
{
    if (clock_ns() - store->scanned_ns < age_ns)
        return;
    store->scanned_ns = clock_ns();
    (void)!scan(store, NULL);  // else the old index serves on
}

static enum status open_folder(struct kv_store *store, struct error *err)
{
    if (mkdir(store->path, 0700) != 0 && errno != EEXIST)
        return error_set(err, ERR_IO, "cannot make %s: %s", store->path, strerror(errno));
    store->folder = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->folder < 0 && errno == ENOTDIR)
        return error_set_param(err, ERR_INVALID, "kv_dir", "kv_dir %s is not a directory",
                               store->path);
    struct stat facts;
    if (store->folder < 0 || fstat(store->folder, &facts) != 0)
        return error_set(err, ERR_IO, "cannot open %s: %s", store->path, strerror(errno));
    if (facts.st_uid != geteuid() && facts.st_uid != 0)
        return error_set_param(err, ERR_INVALID, "kv_dir", "kv_dir %s belongs to another user",
                               store->path);
    if ((facts.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return error_set_param(err, ERR_INVALID, "kv_dir",
                               "kv_dir %s may be written by others (mode %o; chmod go-w it)",
                               store->path, (unsigned)(facts.st_mode & 07777));
    return OK;
}

enum status kv_store_open(struct kv_store **out, const char *path, uint64_t bytes_max,
                          struct error *err)
{
    *out = NULL;
    struct kv_store *store = mem_calloc(1, sizeof *store);
    if (store == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the directory of KV blocks");
    store->folder = -1;
    store->bytes_max = bytes_max;
    pthread_mutex_init(&store->mu, NULL);
    store->path = mem_strdup(path);
    enum status status = store->path != NULL
                             ? open_folder(store, err)
                             : error_set(err, ERR_MEMORY, "no memory for the path of KV blocks");
    if (status == OK)
        status = scan(store, err);
    if (status != OK) {
        kv_store_close(store);
        return status;
    }
    *out = store;
    return OK;
}

void kv_store_close(struct kv_store *store)
{
    if (store == NULL)
        return;
    if (store->folder >= 0)
        close(store->folder);
    index_free(store->index);
    pthread_mutex_destroy(&store->mu);
    mem_free(store->path);
    mem_free(store);
}

bool kv_store_has(struct kv_store *store, const uint8_t hash[SHA256_BYTES], uint32_t group)
{
    pthread_mutex_lock(&store->mu);
    bool has = index_find(store->index, hash, group) != NONE;
    pthread_mutex_unlock(&store->mu);
    return has;
}

void kv_store_stats(struct kv_store *store, struct kv_store_stats *out)
{
    *out = (struct kv_store_stats){
        .blocks_written = atomic_load(&store->blocks_written),
        .bytes_written = atomic_load(&store->bytes_written),
        .blocks_read = atomic_load(&store->blocks_read),
        .bytes_read = atomic_load(&store->bytes_read),
        .blocks_damaged = atomic_load(&store->blocks_damaged),
        .bytes = atomic_load(&store->bytes),
    };
}

/* ---- blocks ---- */

static void fill_head(struct file_head *head, const struct kv_store_key *key, size_t n_bytes)
{
    *head = (struct file_head){
        .version = VERSION,
        .group = key->group,
        .n_bytes = n_bytes,
    };
    memcpy(head->magic, MAGIC, sizeof MAGIC);
    memcpy(head->hash, key->hash, sizeof head->hash);
    memcpy(head->tokens, key->tokens, sizeof head->tokens);
}

static void sign_head(struct file_head *head, const void *contents, size_t n_bytes)
{
    head->contents_crc = (uint32_t)crc32_z(0, contents, n_bytes);
    head->head_crc = (uint32_t)crc32_z(0, (const void *)head, offsetof(struct file_head, head_crc));
}

/* Head and contents; a signal or a quota may cut a call short. */
static bool write_parts(int fd, const struct file_head *head, const void *contents, size_t n_bytes)
{
    size_t n_all = sizeof *head + n_bytes;
    for (size_t at = 0; at < n_all;) {
        bool in_head = at < sizeof *head;
        const uint8_t *from =
            in_head ? (const uint8_t *)head + at : (const uint8_t *)contents + (at - sizeof *head);
        ssize_t n = write(fd, from, in_head ? sizeof *head - at : n_all - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static bool write_file(const struct kv_store *store, const char *name, const struct file_head *head,
                       const void *contents, int64_t used_ns)
{
    char temporary[TEMPORARY_BYTES];
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", name, (long)getpid());
    int fd = openat(store->folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    if (fd < 0)
        return false;
    struct timespec times[2];
    times[0] = times[1] = (struct timespec){used_ns / 1000000000, used_ns % 1000000000};
    bool is_written = write_parts(fd, head, contents, head->n_bytes) && futimens(fd, times) == 0;
    int write_errno = errno;
    if (close(fd) != 0 && is_written) {
        is_written = false;
        write_errno = errno;
    }
    if (is_written && renameat(store->folder, temporary, store->folder, name) == 0)
        return true;
    if (is_written)
        write_errno = errno;
    unlinkat(store->folder, temporary, 0);
    errno = write_errno;
    return false;
}

static enum status write_failed(struct kv_store *store, struct error *err)
{
    int write_errno = errno;
    store->write_rest_ns = clock_ns() + WRITE_REST_NS;
    if (!store->has_warned)
        log_warn("no KV blocks are written to %s: %s", store->path, strerror(write_errno));
    store->has_warned = true;
    return error_set(err, ERR_IO, "cannot write to %s: %s", store->path, strerror(write_errno));
}

enum status kv_store_write(struct kv_store *store, const struct kv_store_key *key,
                           const void *contents, size_t n_bytes, int64_t used_ns, struct error *err)
{
    assert(key->group < KV_GROUPS_MAX);
    uint64_t bytes = sizeof(struct file_head) + n_bytes;
    if (index_find(store->index, key->hash, key->group) != NONE)
        return OK;
    if (bytes > store->bytes_max)
        return error_set(err, ERR_LIMIT, "a block of %zu bytes, the directory may have %ju",
                         n_bytes, (uintmax_t)store->bytes_max);
    if (store->write_rest_ns != 0 && clock_ns() < store->write_rest_ns)
        return error_set(err, ERR_BUSY, "writing to %s rests", store->path);
    make_room(store, bytes);
    struct file_head head;
    fill_head(&head, key, n_bytes);
    sign_head(&head, contents, n_bytes);
    char name[NAME_BYTES];
    name_of(name, key->hash, key->group);
    if (!write_file(store, name, &head, contents, used_ns))
        return write_failed(store, err);
    store->write_rest_ns = 0;
    store->has_warned = false;
    pthread_mutex_lock(&store->mu);
    index_add(store->index, key->hash, key->group, bytes, used_ns);
    pthread_mutex_unlock(&store->mu);
    atomic_fetch_add(&store->blocks_written, 1);
    atomic_fetch_add(&store->bytes_written, bytes);
    atomic_store(&store->bytes, store->index->bytes);
    return OK;
}

/* All of the file, which must be exactly as long. */
static enum status read_parts(int fd, struct file_head *head, void *contents, size_t n_bytes,
                              struct error *err)
{
    size_t n_all = sizeof *head + n_bytes;
    struct stat facts;
    if (fstat(fd, &facts) != 0)
        return error_set(err, ERR_IO, "a KV block cannot be read: %s", strerror(errno));
    if (!S_ISREG(facts.st_mode) || (uint64_t)facts.st_size != n_all)
        return error_set(err, ERR_FORMAT, "a KV block of %jd bytes instead of %zu",
                         (intmax_t)facts.st_size, n_all);
    for (size_t at = 0; at < n_all;) {
        bool in_head = at < sizeof *head;
        uint8_t *to = in_head ? (uint8_t *)head + at : (uint8_t *)contents + (at - sizeof *head);
        ssize_t n = read(fd, to, in_head ? sizeof *head - at : n_all - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERR_IO, "a KV block cannot be read: %s", strerror(errno));
        if (n == 0)
            return error_set(err, ERR_FORMAT, "a KV block that became shorter");
        at += (size_t)n;
    }
    return OK;
}

static enum status read_file(const struct kv_store *store, const char *name,
                             const struct kv_store_key *key, void *contents, size_t n_bytes,
                             struct error *err)
{
    int fd = openat(store->folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s/%.16s...: %s",
                         store->path, name, strerror(errno));
    struct file_head head, wanted;
    enum status status = read_parts(fd, &head, contents, n_bytes, err);
    if (status == OK) {
        fill_head(&wanted, key, n_bytes);
        sign_head(&wanted, contents, n_bytes);
        if (memcmp(&head, &wanted, sizeof head) != 0)
            status = error_set(err, ERR_FORMAT, "a KV block is not what its name says");
    }
    if (status == OK)
        (void)!futimens(fd, NULL);  // of use now; where that fails it only ages sooner
    close(fd);
    return status;
}

enum status kv_store_read(struct kv_store *store, const struct kv_store_key *key, void *contents,
                          size_t n_bytes, struct error *err)
{
    int32_t i = index_find(store->index, key->hash, key->group);
    if (i == NONE)
        return error_set(err, ERR_NOT_FOUND, "no such KV block in %s", store->path);
    char name[NAME_BYTES];
    name_of(name, key->hash, key->group);
    enum status status = read_file(store, name, key, contents, n_bytes, err);
    if (status == ERR_FORMAT) {
        if (atomic_fetch_add(&store->blocks_damaged, 1) == 0)
            log_warn("%s: damaged KV block %.16s... is removed and computed again", store->path,
                     name);
        remove_entry(store, i);
    } else if (status != OK) {
        pthread_mutex_lock(&store->mu);
        index_remove(store->index, i);
        pthread_mutex_unlock(&store->mu);
        atomic_store(&store->bytes, store->index->bytes);
    } else {
        store->index->entries[i].used_ns = kv_store_now_ns();
        atomic_fetch_add(&store->blocks_read, 1);
        atomic_fetch_add(&store->bytes_read, sizeof(struct file_head) + n_bytes);
    }
    return status;
}
