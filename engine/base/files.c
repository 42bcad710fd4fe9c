/* Paths, folders and small files; see files.h.
 *
 * Every path is a checked snprintf into a fixed buffer: a name that a stranger chose can be long,
 * and must then be an error, never a shorter path that names something else. */
#include "engine/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"

enum status path_print(char out[FILE_PATH_BYTES], struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, FILE_PATH_BYTES, format, args);
    va_end(args);
    if (n >= 0 && n < FILE_PATH_BYTES)
        return OK;
    return error_set(err, ERR_LIMIT, "a path of %d bytes, the limit is %d: %.60s...", n,
                     FILE_PATH_BYTES - 1, out);
}

const char *path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- lists of names ---- */

enum status name_list_add(struct name_list *list, const char *name, struct error *err)
{
    if (list->n_names == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        char **names = mem_realloc_array(list->names, capacity, sizeof *names);
        if (!names)
            return error_set(err, ERR_MEMORY, "no memory for a list of names");
        list->names = names;
        list->capacity = capacity;
    }
    char *copy = mem_strdup(name);
    if (!copy)
        return error_set(err, ERR_MEMORY, "no memory for a list of names");
    list->names[list->n_names++] = copy;
    return OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void name_list_sort(struct name_list *list)
{
    if (list->n_names > 1)
        qsort(list->names, list->n_names, sizeof *list->names, compare_names);
}

void name_list_release(struct name_list *list)
{
    for (size_t i = 0; i < list->n_names; i++)
        mem_free(list->names[i]);
    mem_free(list->names);
    *list = (struct name_list){0};
}

/* ---- folders ---- */

enum status folder_read(struct name_list *out, const char *path, struct error *err)
{
    *out = (struct name_list){0};
    DIR *folder = opendir(path);
    if (!folder)
        return OK;
    enum status status = OK;
    for (const struct dirent *entry; status == OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (out->n_names == FOLDER_NAMES_MAX)
            status =
                error_set(err, ERR_LIMIT, "%s has more than %d entries", path, FOLDER_NAMES_MAX);
        else
            status = name_list_add(out, entry->d_name, err);
    }
    closedir(folder);
    name_list_sort(out);
    if (status != OK)
        name_list_release(out);
    return status;
}

enum status folder_make(const char *path, struct error *err)
{
    char part[FILE_PATH_BYTES];
    enum status status = path_print(part, err, "%s", path);
    if (status != OK)
        return status;
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return error_set(err, ERR_IO, "cannot make the folder %s: %s", part, strerror(errno));
        if (end == '\0')
            return OK;
        *at = end;
    }
}

/* ---- small files ---- */

enum status file_read(struct buf *out, const char *path, struct error *err)
{
    char chunk[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO,
                         "%s: %s", path, strerror(errno));
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && buf_append(out, chunk, (size_t)n)) {
    }
    int read_errno = errno;
    close(fd);
    if (n < 0)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(read_errno));
    return buf_status(out, path, err);
}

enum status file_write(const char *path, const char *text, struct error *err)
{
    char temporary[FILE_PATH_BYTES];
    enum status status = path_print(temporary, err, "%s.%ld.tmp", path, (long)getpid());
    if (status != OK)
        return status;
    size_t n = strlen(text);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, ERR_IO, "%s: %s", temporary, strerror(errno));
    bool written = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    int write_errno = errno;
    written = close(fd) == 0 && written;
    if (written && rename(temporary, path) == 0)
        return OK;
    write_errno = written ? errno : write_errno;
    unlink(temporary);
    return error_set(err, ERR_IO, "%s: %s", path, strerror(write_errno));
}
