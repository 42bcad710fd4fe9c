/* The download cache on disk; see hub_cache.h.
 *
 * The layout is huggingface_hub's (its documentation, "Understand caching"), down to the lock files
 * and the kind of lock, so that both may write at the same time. Every name that becomes part of a
 * path was checked by hub_name.c or hub_list.c. */
#include "engine/formats/hub_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/formats/hub_name.h"

enum { FOLDER_DEPTH_MAX = 8 };

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

enum status hub_home_folder(char out[FILE_PATH_BYTES], struct error *err)
{
    const char *hf_home = variable("HF_HOME"), *xdg = variable("XDG_CACHE_HOME");
    const char *home = variable("HOME");
    if (hf_home)
        return path_print(out, err, "%s", hf_home);
    if (xdg)
        return path_print(out, err, "%s/huggingface", xdg);
    return path_print(out, err, "%s/.cache/huggingface", home ? home : "");
}

enum status hub_cache_folder(char out[FILE_PATH_BYTES], struct error *err)
{
    const char *cache = variable("HF_HUB_CACHE");
    char home[FILE_PATH_BYTES];
    if (cache)
        return path_print(out, err, "%s", cache);
    if (geteuid() == 0 && !variable("HF_HOME") && !variable("XDG_CACHE_HOME"))
        return path_print(out, err, "/var/cache/wicara/hub");
    enum status status = hub_home_folder(home, err);
    return status == OK ? path_print(out, err, "%s/hub", home) : status;
}

enum status hub_cache_init(struct hub_cache *out, const char *repo, struct error *err)
{
    char folder[FILE_PATH_BYTES];
    enum status status = hub_cache_folder(folder, err);
    if (status != OK)
        return status;
    int n = snprintf(out->cache, sizeof out->cache, "%s", folder);
    if (n < 0 || (size_t)n >= sizeof out->cache)
        return error_set(err, ERR_LIMIT, "the cache folder's path has %d bytes, the limit is %zu",
                         n, sizeof out->cache - 1);
    const char *slash = strchr(repo, '/');
    n = snprintf(out->folder, sizeof out->folder, "models--%.*s--%s", (int)(slash - repo), repo,
                 slash + 1);
    if (n < 0 || (size_t)n >= sizeof out->folder)
        return error_set(err, ERR_LIMIT, "the repository's name is too long");
    return OK;
}

enum status hub_cache_blob_path(const struct hub_cache *cache, const char *etag, const char *suffix,
                                char out[FILE_PATH_BYTES], struct error *err)
{
    return path_print(out, err, "%s/%s/blobs/%s%s", cache->cache, cache->folder, etag, suffix);
}

enum status hub_cache_snapshot_path(const struct hub_cache *cache, const char *commit,
                                    const char *file, char out[FILE_PATH_BYTES], struct error *err)
{
    return path_print(out, err, "%s/%s/snapshots/%s%s%s", cache->cache, cache->folder, commit,
                      file ? "/" : "", file ? file : "");
}

static enum status make_parent(char *path, struct error *err)
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    enum status status = folder_make(path, err);
    *slash = '/';
    return status;
}

enum status hub_cache_make(const struct hub_cache *cache, const char *commit, struct error *err)
{
    char path[FILE_PATH_BYTES];
    enum status status = hub_cache_snapshot_path(cache, commit, NULL, path, err);
    if (status == OK)
        status = folder_make(path, err);
    if (status == OK)
        status = path_print(path, err, "%s/%s/blobs", cache->cache, cache->folder);
    if (status == OK)
        status = folder_make(path, err);
    if (status == OK)
        status = path_print(path, err, "%s/.locks/%s", cache->cache, cache->folder);
    return status == OK ? folder_make(path, err) : status;
}

enum status hub_cache_link(const struct hub_cache *cache, const char *commit, const char *file,
                           const char *etag, struct error *err)
{
    char path[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES], target[FILE_PATH_BYTES];
    enum status status = hub_cache_snapshot_path(cache, commit, file, path, err);
    if (status == OK)
        status = path_print(temporary, err, "%s.%ld.tmp", path, (long)getpid());
    if (status == OK)
        status = make_parent(path, err);
    if (status != OK)
        return status;
    size_t n = 0;  // one "../" for each folder of the file, two for snapshots/<commit>
    for (const char *at = file; *at && n < sizeof target - 256; at++) {
        if (*at == '/')
            n += (size_t)snprintf(target + n, sizeof target - n, "../");
    }
    snprintf(target + n, sizeof target - n, "../../blobs/%s", etag);
    unlink(temporary);
    if (symlink(target, temporary) == 0 && rename(temporary, path) == 0)
        return OK;
    status = error_set(err, ERR_IO, "cannot link %s: %s", path, strerror(errno));
    unlink(temporary);
    return status;
}

uint64_t hub_cache_free_bytes(const struct hub_cache *cache)
{
    struct statvfs info;
    if (statvfs(cache->cache, &info) != 0)
        return UINT64_MAX;
    return (uint64_t)info.f_bavail * info.f_frsize;
}

enum status hub_cache_try_lock(const struct hub_cache *cache, const char *etag, int *out_fd,
                               struct error *err)
{
    char path[FILE_PATH_BYTES];
    *out_fd = -1;
    enum status status =
        path_print(path, err, "%s/.locks/%s/%s.lock", cache->cache, cache->folder, etag);
    if (status != OK)
        return status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, ERR_IO, "cannot open the lock %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *out_fd = fd;
        return OK;
    }
    int lock_errno = errno;
    close(fd);
    if (lock_errno == EWOULDBLOCK)
        return OK;
    return error_set(err, ERR_IO, "cannot lock %s: %s", path, strerror(lock_errno));
}

/* ---- revisions and contents ---- */

enum status hub_cache_write_ref(const struct hub_cache *cache, const char *revision,
                                const char *commit, struct error *err)
{
    char path[FILE_PATH_BYTES], known[HUB_COMMIT_BYTES];
    if (hub_cache_read_ref(cache, revision, known, NULL) == OK && strcmp(known, commit) == 0)
        return OK;  // also in a cache that may only be read
    enum status status =
        path_print(path, err, "%s/%s/refs/%s", cache->cache, cache->folder, revision);
    if (status == OK)
        status = make_parent(path, err);
    return status == OK ? file_write(path, commit, err) : status;
}

enum status hub_cache_read_ref(const struct hub_cache *cache, const char *revision,
                               char commit[HUB_COMMIT_BYTES], struct error *err)
{
    char path[FILE_PATH_BYTES];
    struct buf text;
    buf_init(&text, 4096);
    enum status status =
        path_print(path, err, "%s/%s/refs/%s", cache->cache, cache->folder, revision);
    if (status == OK)
        status = file_read(&text, path, err);
    if (status == OK) {
        while (text.n_bytes && strchr(" \r\n", text.bytes[text.n_bytes - 1]))
            buf_truncate(&text, text.n_bytes - 1);
        if (!text.bytes || !hub_commit_is_valid(text.bytes))
            status = error_set(err, ERR_FORMAT, "%s holds no commit", path);
        else
            snprintf(commit, HUB_COMMIT_BYTES, "%s", text.bytes);
    }
    buf_release(&text);
    return status;
}

/* Adds the files below root/inner; `inner` is "" or ends in a slash. */
static enum status list_folder(const char *root, const char *inner, size_t depth,
                               struct name_list *out, struct error *err)
{
    struct name_list names;
    char path[FILE_PATH_BYTES];
    enum status status = path_print(path, err, "%s/%s", root, inner);
    if (status == OK)
        status = folder_read(&names, path, err);
    if (status != OK)
        return status;
    for (size_t i = 0; status == OK && i < names.n_names; i++) {
        struct stat info;
        char name[HUB_FILE_BYTES_MAX + 1];
        int n = snprintf(name, sizeof name, "%s%s", inner, names.names[i]);
        if (n < 0 || (size_t)n >= sizeof name - 1)
            continue;
        status = path_print(path, err, "%s/%s", root, name);
        if (status != OK || stat(path, &info) != 0)
            continue;  // a link whose blob is gone
        if (S_ISREG(info.st_mode))
            status = name_list_add(out, name, err);
        if (!S_ISDIR(info.st_mode) || depth == FOLDER_DEPTH_MAX)
            continue;
        memcpy(name + n, "/", 2);
        status = list_folder(root, name, depth + 1, out, err);
    }
    name_list_release(&names);
    return status;
}

enum status hub_cache_list(const struct hub_cache *cache, const char *commit, struct name_list *out,
                           struct error *err)
{
    char root[FILE_PATH_BYTES];
    *out = (struct name_list){0};
    enum status status = hub_cache_snapshot_path(cache, commit, NULL, root, err);
    if (status == OK)
        status = list_folder(root, "", 0, out, err);
    name_list_sort(out);
    if (status != OK)
        name_list_release(out);
    return status;
}
