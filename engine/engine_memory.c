/* Free memory; see engine_memory.h.
 *
 * The least of MemAvailable and, on the way from our cgroup up to the root, each limit minus what
 * is used there. Clean file pages count as free: the kernel drops them before it kills anyone. Both
 * cgroup versions are read. Source: Documentation/admin-guide/cgroup-v2.rst, proc(5). */
#include "engine/engine_memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 8192, PATH_BYTES_MAX = 1024 };

/* Reads a small file of the kernel's; false when it is not there. */
static bool read_text(const char *path, char text[TEXT_BYTES_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, TEXT_BYTES_MAX - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The number behind `name` at the start of a line; `name` includes its separator. */
static bool find_number(const char *text, const char *name, size_t *out)
{
    size_t n = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, n) == 0) {
            char *end;
            *out = strtoull(line + n, &end, 10);
            return end != line + n;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return false;
}

static bool read_number(const char *folder, const char *name, size_t *out)
{
    char path[PATH_BYTES_MAX], text[TEXT_BYTES_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && n < PATH_BYTES_MAX && read_text(path, text) && find_number(text, "", out);
}

/* Lowers *available to what the cgroup at `folder` leaves. */
static void apply_limit(const char *folder, const char *limit_file, const char *used_file,
                        const char *clean_name, size_t *available)
{
    size_t limit, used, clean = 0;
    if (!read_number(folder, limit_file, &limit) || !read_number(folder, used_file, &used))
        return;
    char path[PATH_BYTES_MAX], text[TEXT_BYTES_MAX];
    int n = snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (n > 0 && n < PATH_BYTES_MAX && read_text(path, text))
        (void)find_number(text, clean_name, &clean);
    used = used > clean ? used - clean : 0;
    size_t left = limit > used ? limit - used : 0;
    if (left < *available)
        *available = left;
}

/* Walks from the cgroup of one line of /proc/self/cgroup up to its root. */
static void apply_cgroup(const char *root, const char *line, size_t *available)
{
    bool is_v2 = strncmp(line, "0::", 3) == 0;
    const char *colon = strchr(line, '/');
    const char *end = strchr(line, '\n');
    if (colon == NULL || (end != NULL && colon > end))
        return;
    char folder[PATH_BYTES_MAX];
    int n = snprintf(folder, sizeof folder, "%s%s%.*s", root, is_v2 ? "" : "/memory",
                     end == NULL ? (int)strlen(colon) : (int)(end - colon), colon);
    if (n <= 0 || n >= PATH_BYTES_MAX)
        return;
    for (;;) {
        if (is_v2)
            apply_limit(folder, "memory.max", "memory.current", "inactive_file ", available);
        else
            apply_limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
                        "total_inactive_file ", available);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < strlen(root))
            return;
        *slash = '\0';
    }
}

size_t memory_available(void)
{
    char text[TEXT_BYTES_MAX];
    size_t available = SIZE_MAX, kib;
    if (read_text("/proc/meminfo", text) && find_number(text, "MemAvailable:", &kib))
        available = kib * 1024;
    if (read_text("/proc/self/cgroup", text))
        for (const char *line = text; line != NULL && *line != '\0';) {
            const char *end = strchr(line, '\n');
            const char *memory = strstr(line, ":memory:");
            if (strncmp(line, "0::", 3) == 0 || (memory != NULL && (end == NULL || memory < end)))
                apply_cgroup("/sys/fs/cgroup", line, &available);
            line = end == NULL ? NULL : end + 1;
        }
    return available == SIZE_MAX ? 0 : available;
}
