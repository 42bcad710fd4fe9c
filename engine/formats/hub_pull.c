/* From a model's name to a complete snapshot in the cache; see hub_pull.h.
 *
 * One answer of the hub gives the commit and its files; everything after that is asked for by
 * commit, so that a push in between cannot mix two versions. The facts of all missing files come
 * first (their total is held against the free disk), then one file after the other: lock, resume
 * <etag>.incomplete, check the digest, rename, link. The revision's ref is written last, so it
 * never points to a snapshot that we left half done. */
#include "engine/formats/hub_pull.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/formats/hub.h"
#include "engine/formats/hub_cache.h"
#include "engine/formats/hub_list.h"
#include "engine/formats/hub_name.h"
#include "engine/formats/hub_settings.h"

#define REVISION "main"
enum { SUBJECT_BYTES = 200, COPY_BYTES = 1 << 16, LOCK_POLL_MS = 100 };

struct pull_file {
    const char *name;
    struct hub_facts facts;
    bool is_there;  // linked in the snapshot already
};

struct pull {
    const struct hub_pull_options *options;
    struct hub_name name;
    struct hub_cache cache;
    struct hub_client *client;
    struct hub_list list;
    struct hub_choice choice;
    struct pull_file *files;  // [choice.files.n_names]
    struct hub_progress progress;
    const struct hub_sink *sink;  // of the download under way
    uint64_t bytes_before;        // of the files before it
};

static bool on_wait(void *user)
{
    struct pull *pull = user;
    struct hub_progress *progress = &pull->progress;
    if (!pull->options->on_progress)
        return true;
    progress->file_bytes = pull->sink ? pull->sink->bytes : 0;
    progress->bytes = pull->bytes_before + progress->file_bytes;
    return pull->options->on_progress(pull->options->user, progress);
}

/* ---- what there is ---- */

static enum status ask_list(struct pull *pull, struct error *err)
{
    struct buf path, text;
    buf_init(&path, 4096);
    buf_init(&text, HUB_JSON_BYTES_MAX);
    buf_append_text(&path, "/api/models/");
    hub_append_encoded(&path, pull->name.repo);
    buf_append_text(&path, "/revision/" REVISION);
    /* With something in the cache nobody waits long for a hub that does not answer. */
    bool is_cached = hub_cache_read_ref(&pull->cache, REVISION, pull->list.commit, NULL) == OK;
    enum status status = buf_status(&path, "the address", err);
    if (status == OK)
        status = hub_client_get(pull->client, path.bytes, pull->name.repo,
                                is_cached ? 2 : HUB_ATTEMPTS_MAX, &text, err);
    if (status == OK) {
        status = hub_list_parse(&pull->list, text.bytes ? text.bytes : "", text.n_bytes, err);
        if (status != OK)
            error_prefix(err, "%s", pull->name.repo);
    }
    buf_release(&path);
    buf_release(&text);
    return status;
}

static enum status read_cached_list(struct pull *pull, struct error *err)
{
    struct error none = {0};
    enum status status = hub_cache_read_ref(&pull->cache, REVISION, pull->list.commit, &none);
    if (status == ERR_NOT_FOUND)
        return error_set(err, ERR_NOT_FOUND, "%s is not in the cache (%s)", pull->name.repo,
                         pull->cache.cache);
    if (status != OK)
        return error_set(err, status, "%s", none.text);
    return hub_cache_list(&pull->cache, pull->list.commit, &pull->list.files, err);
}

/* The path that the caller gets. */
static enum status give_path(const struct pull *pull, char **out_path, struct error *err)
{
    char path[FILE_PATH_BYTES];
    const char *file = pull->choice.is_gguf ? pull->choice.files.names[0] : NULL;
    enum status status = hub_cache_snapshot_path(&pull->cache, pull->list.commit, file, path, err);
    if (status != OK)
        return status;
    *out_path = mem_strdup(path);
    return *out_path ? OK : error_set(err, ERR_MEMORY, "no memory for a path");
}

static enum status choose(struct pull *pull, struct error *err)
{
    return hub_choose(&pull->choice, &pull->list.files, &pull->name, pull->options->file, err);
}

/* ---- facts of the files ---- */

static enum status file_url(const struct pull *pull, const char *file, struct buf *url,
                            struct error *err)
{
    buf_append_char(url, '/');
    hub_append_encoded(url, pull->name.repo);
    buf_printf(url, "/resolve/%s/", pull->list.commit);
    hub_append_encoded(url, file);
    return buf_status(url, "the address", err);
}

static const char *subject_of(const struct pull *pull, const char *file, char out[SUBJECT_BYTES])
{
    snprintf(out, SUBJECT_BYTES, "%.90s: %.100s", pull->name.repo, file);
    return out;
}

static enum status ask_facts(struct pull *pull, struct pull_file *file, struct error *err)
{
    char path[FILE_PATH_BYTES], subject[SUBJECT_BYTES];
    struct stat info;
    enum status status =
        hub_cache_snapshot_path(&pull->cache, pull->list.commit, file->name, path, err);
    if (status != OK)
        return status;
    file->is_there = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    if (file->is_there)
        return OK;
    struct buf url;
    buf_init(&url, 8192);
    status = file_url(pull, file->name, &url, err);
    if (status == OK)
        status = hub_client_facts(pull->client, url.bytes, subject_of(pull, file->name, subject),
                                  &file->facts, err);
    buf_release(&url);
    return status;
}

static uint64_t bytes_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0;
}

/* Asks about every file and whether the disk holds what is missing. */
static enum status plan(struct pull *pull, struct error *err)
{
    size_t n_files = pull->choice.files.n_names;
    uint64_t missing = 0;
    pull->files = mem_calloc(n_files, sizeof *pull->files);
    if (!pull->files)
        return error_set(err, ERR_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < n_files; i++) {
        struct pull_file *file = &pull->files[i];
        char path[FILE_PATH_BYTES], part[FILE_PATH_BYTES];
        file->name = pull->choice.files.names[i];
        enum status status = ask_facts(pull, file, err);
        if (status != OK)
            return status;
        if (file->is_there)
            continue;
        status = hub_cache_blob_path(&pull->cache, file->facts.etag, "", path, err);
        if (status == OK)
            status = hub_cache_blob_path(&pull->cache, file->facts.etag, ".incomplete", part, err);
        if (status != OK)
            return status;
        uint64_t there = bytes_of(path) ? bytes_of(path) : bytes_of(part);
        missing += there < file->facts.bytes ? file->facts.bytes - there : 0;
        pull->progress.n_files++;
        pull->progress.bytes_total += file->facts.bytes;
    }
    uint64_t left = hub_cache_free_bytes(&pull->cache);
    if (missing <= left)
        return OK;
    return error_set(err, ERR_IO, "%s: %" PRIu64 " MiB are missing, %s has %" PRIu64 " MiB free",
                     pull->name.repo, missing >> 20, pull->cache.cache, left >> 20);
}

/* ---- one file ---- */

/* Adds what is in the file to the digest and leaves the cursor at its end. */
static enum status digest_part(const struct hub_sink *sink, const char *path, struct error *err)
{
    if (lseek(sink->fd, 0, SEEK_SET) != 0)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    char *chunk = mem_alloc(COPY_BYTES);
    if (!chunk)
        return error_set(err, ERR_MEMORY, "no memory to read a part of a file");
    uint64_t n_done = 0;
    ssize_t n = 0;
    while (n_done < sink->bytes && (n = read(sink->fd, chunk, COPY_BYTES)) > 0) {
        if (sink->digest)
            digest_add(sink->digest, chunk, (size_t)n);
        n_done += (uint64_t)n;
    }
    mem_free(chunk);
    return n_done == sink->bytes
               ? OK
               : error_set(err, ERR_IO, "%s: %s", path, n < 0 ? strerror(errno) : "it shrinks");
}

static enum status sink_open(struct hub_sink *sink, const char *path, const struct hub_facts *facts,
                             struct error *err)
{
    size_t n_etag = strlen(facts->etag);
    struct stat info;
    *sink = (struct hub_sink){.bytes_total = facts->bytes};
    sink->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (sink->fd < 0 || fstat(sink->fd, &info) != 0)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (n_etag == 64 || n_etag == 40) {
        sink->digest = digest_create(n_etag == 64 ? DIGEST_SHA256 : DIGEST_GIT_SHA1, facts->bytes);
        if (!sink->digest)
            return error_set(err, ERR_MEMORY, "no memory for a digest");
    } else {
        log_warn("%s: the hub's ETag is no digest, the contents cannot be checked", path);
    }
    sink->bytes = (uint64_t)info.st_size;
    if (sink->bytes > sink->bytes_total) {
        sink->bytes = 0;
        if (ftruncate(sink->fd, 0) != 0)
            return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    }
    return digest_part(sink, path, err);
}

static void sink_close(struct hub_sink *sink)
{
    digest_free(sink->digest);
    if (sink->fd >= 0)
        close(sink->fd);
}

/* Downloads into `part` until its digest is right. A wrong part of an earlier run must not spoil
 * this one, so a first mismatch starts from nothing. */
static enum status fill(struct pull *pull, const struct pull_file *file, const char *part,
                        struct error *err)
{
    char subject[SUBJECT_BYTES], hex[DIGEST_HEX_BYTES];
    struct hub_sink sink;
    struct buf url;
    buf_init(&url, 8192);
    enum status status = sink_open(&sink, part, &file->facts, err);
    if (status == OK)
        status = file_url(pull, file->name, &url, err);
    subject_of(pull, file->name, subject);
    pull->sink = &sink;
    for (bool was_wrong = false; status == OK;) {
        bool was_part = sink.bytes > 0;
        status = hub_client_download(pull->client, url.bytes, subject, &sink, err);
        if (status != OK || !sink.digest)
            break;
        digest_hex(sink.digest, hex);
        if (strcmp(hex, file->facts.etag) == 0)
            break;
        sink.bytes = 0;
        if (ftruncate(sink.fd, 0) != 0 || lseek(sink.fd, 0, SEEK_SET) != 0)
            status = error_set(err, ERR_IO, "%s: %s", part, strerror(errno));
        else if (was_wrong || !was_part)
            status = error_set(err, ERR_IO,
                               "%s: wrong contents: the digest is %.12s..., announced was "
                               "%.12s...; nothing of it was kept",
                               subject, hex, file->facts.etag);
        was_wrong = true;
    }
    if (status == OK && fsync(sink.fd) != 0)
        status = error_set(err, ERR_IO, "%s: %s", part, strerror(errno));
    pull->sink = NULL;
    sink_close(&sink);
    buf_release(&url);
    return status;
}

static enum status lock_file(struct pull *pull, const struct pull_file *file, int *fd,
                             struct error *err)
{
    for (;;) {
        enum status status = hub_cache_try_lock(&pull->cache, file->facts.etag, fd, err);
        pull->progress.is_waiting = status == OK && *fd < 0;
        if (!pull->progress.is_waiting)
            return status;
        if (!on_wait(pull))
            return error_set(err, ERR_CANCELLED, "%s: stopped", file->name);
        nanosleep(&(struct timespec){0, LOCK_POLL_MS * 1000000L}, NULL);
    }
}

static enum status fetch(struct pull *pull, const struct pull_file *file, struct error *err)
{
    char blob[FILE_PATH_BYTES], part[FILE_PATH_BYTES];
    struct stat info;
    int lock_fd = -1;
    enum status status = hub_cache_blob_path(&pull->cache, file->facts.etag, "", blob, err);
    if (status == OK)
        status = hub_cache_blob_path(&pull->cache, file->facts.etag, ".incomplete", part, err);
    if (status == OK)
        status = lock_file(pull, file, &lock_fd, err);
    if (status != OK)
        return status;
    /* A blob of another size is damaged: blobs only get their name when they are complete. */
    bool is_there = stat(blob, &info) == 0 && (uint64_t)info.st_size == file->facts.bytes;
    if (!is_there) {
        status = fill(pull, file, part, err);
        if (status == OK && rename(part, blob) != 0)
            status = error_set(err, ERR_IO, "%s: %s", blob, strerror(errno));
    }
    if (status == OK)
        status = hub_cache_link(&pull->cache, pull->list.commit, file->name, file->facts.etag, err);
    close(lock_fd);
    return status;
}

static enum status fetch_all(struct pull *pull, struct error *err)
{
    enum status status = hub_cache_make(&pull->cache, pull->list.commit, err);
    if (status == OK)
        status = plan(pull, err);
    for (size_t i = 0; status == OK && i < pull->choice.files.n_names; i++) {
        const struct pull_file *file = &pull->files[i];
        if (file->is_there)
            continue;
        pull->progress.file = file->name;
        pull->progress.file_number++;
        pull->progress.file_bytes_total = file->facts.bytes;
        status = fetch(pull, file, err);
        pull->bytes_before += file->facts.bytes;
        if (status == OK && !on_wait(pull))
            status = error_set(err, ERR_CANCELLED, "%s: stopped", pull->name.repo);
    }
    if (status == OK)
        status = hub_cache_write_ref(&pull->cache, REVISION, pull->list.commit, err);
    return status;
}

/* ---- the whole ---- */

static enum status pull_cached(struct pull *pull, struct error *err)
{
    enum status status = read_cached_list(pull, err);
    return status == OK ? choose(pull, err) : status;
}

static enum status pull_online(struct pull *pull, struct error *err)
{
    struct error online = {0};
    enum status status = hub_client_open(&pull->client, on_wait, pull, err);
    if (status != OK)
        return status;
    status = ask_list(pull, &online);
    if (status == ERR_IO) {
        struct error none = {0};
        if (pull_cached(pull, &none) == OK) {
            log_warn("%s; taking %s from the cache", online.text, pull->name.repo);
            return OK;
        }
    }
    if (status != OK) {
        if (err && err->status == OK)
            *err = online;
        return status;
    }
    status = choose(pull, err);
    return status == OK ? fetch_all(pull, err) : status;
}

enum status hub_pull(char **out_path, const char *name, const struct hub_pull_options *options,
                     struct error *err)
{
    *out_path = NULL;
    struct pull *pull = mem_calloc(1, sizeof *pull);
    if (!pull)
        return error_set(err, ERR_MEMORY, "no memory for a download");
    pull->options = options;
    enum status status = hub_name_parse(&pull->name, name, err);
    if (status == OK)
        status = hub_cache_init(&pull->cache, pull->name.repo, err);
    if (status == OK)
        status =
            options->offline || hub_is_offline() ? pull_cached(pull, err) : pull_online(pull, err);
    if (status == OK)
        status = give_path(pull, out_path, err);
    hub_client_close(pull->client);
    hub_list_release(&pull->list);
    hub_choice_release(&pull->choice);
    mem_free(pull->files);
    mem_free(pull);
    return status;
}
