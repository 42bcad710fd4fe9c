/* Serves the page; see static_files.h.
 *
 * Files are found by an exact match in the table, so no path of a client ever reaches the file
 * system; with --web-dir, openat2() keeps it beneath the directory, without links. Every file comes
 * with a strict Content-Security-Policy (reference ecosystem.md section 2.2): the page shows model
 * output, so nothing but its own scripts may run. */
#include "server/static_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "server/route.h"

enum { WEB_FILE_BYTES_MAX = 32 << 20 };

static const char csp[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types dompurify";

const char *static_files_type(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".json", "application/json"},
        {".webmanifest", "application/manifest+json"},
        {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"},
        {".map", "application/json"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}

bool static_files_takes_gzip(const char *accept_encoding)
{
    for (const char *at = accept_encoding; at && *at;) {
        at += strspn(at, " \t,");
        size_t n = strcspn(at, ",");
        if (n >= 4 && strncasecmp(at, "gzip", 4) == 0 && (n == 4 || strchr(" \t;", at[4]))) {
            const char *q = memchr(at, '=', n);
            return !q || strtod(q + 1, NULL) > 0;
        }
        at += n;
    }
    return false;
}

int static_files_open_dir(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        enum status status = error_set(err, ERR_INVALID, "--web-dir %s: %s", path, strerror(errno));
        (void)status;
    }
    return fd;
}

static void add_page_headers(struct request *request, struct http_exchange *exchange,
                             bool immutable, const char *etag)
{
    route_add_headers(request, exchange);
    http_add_header(exchange, "Content-Security-Policy", csp);
    http_add_header(exchange, "Referrer-Policy", "no-referrer");
    http_add_header(exchange, "Cross-Origin-Opener-Policy", "same-origin");
    http_add_header(exchange, "Vary", "Accept-Encoding");
    http_add_header(exchange, "Cache-Control",
                    immutable ? "public, max-age=31536000, immutable" : "no-cache");
    if (etag)
        http_add_header(exchange, "ETag", etag);
}

static void not_found(struct request *request, struct http_exchange *exchange)
{
    struct api_error error = api_error_http(404, "there is nothing at this path");
    reply_error(request, exchange, &error);
}

static void from_directory(struct request *request, struct http_exchange *exchange,
                           const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd = (int)syscall(SYS_openat2, request->app->web_dir_fd, path + 1, &how, sizeof how);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        info.st_size > WEB_FILE_BYTES_MAX) {
        if (fd >= 0)
            close(fd);
        not_found(request, exchange);
        return;
    }
    struct buf body;
    struct error err = {OK, "", ""};
    buf_init(&body, WEB_FILE_BYTES_MAX);
    char piece[16384];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        buf_append(&body, piece, (size_t)n);
    close(fd);
    enum status status =
        n < 0 ? error_set(&err, ERR_IO, "%s cannot be read", path) : buf_status(&body, path, &err);
    if (status != OK) {
        buf_release(&body);
        reply_failure(request, exchange, &err);
        return;
    }
    add_page_headers(request, exchange, false, NULL);
    http_reply_take(exchange, 200, static_files_type(path), &body);
}

static const struct web_asset *find(const char *path)
{
    for (size_t i = 0; i < web_assets_count; i++) {
        if (strcmp(web_assets[i].path, path) == 0)
            return &web_assets[i];
    }
    return NULL;
}

/* If-None-Match: a list of tags or "*"; weak tags compare like strong ones here (RFC 9110). */
static bool tag_matches(const char *list, const char *etag)
{
    return list && (strcmp(list, "*") == 0 || strstr(list, etag));
}

void static_file(struct request *request, struct http_exchange *exchange)
{
    const char *path = http_path(exchange);
    if (strcmp(path, "/") == 0)
        path = "/index.html";
    if (request->app->web_dir_fd >= 0) {
        from_directory(request, exchange, path);
        return;
    }
    const struct web_asset *asset = find(path);
    if (!asset) {
        not_found(request, exchange);
        return;
    }
    add_page_headers(request, exchange, asset->immutable, asset->etag);
    if (tag_matches(http_request_header(exchange, "If-None-Match"), asset->etag)) {
        http_reply_static(exchange, 304, NULL, "", 0);
    } else if (asset->gzip &&
               static_files_takes_gzip(http_request_header(exchange, "Accept-Encoding"))) {
        http_add_header(exchange, "Content-Encoding", "gzip");
        http_reply_static(exchange, 200, asset->content_type, asset->gzip, asset->gzip_bytes);
    } else {
        http_reply_static(exchange, 200, asset->content_type, asset->bytes, asset->n_bytes);
    }
}
