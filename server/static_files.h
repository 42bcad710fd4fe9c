/* The page: a table of files in the binary, made at build time, or a directory while it is
 * developed.
 *
 * The build generates `web_assets` (paths like "/index.html" and "/app-3f9a1c.js", ascending by
 * path) with the bytes by .incbin. Without it the one of static_files_plain.c says so. */
#ifndef WICARA_SERVER_STATIC_FILES_H
#define WICARA_SERVER_STATIC_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

struct web_asset {
    const char *path;          // "/index.html"
    const char *content_type;  // "text/html; charset=utf-8"
    const char *etag;          // with its quotes
    const unsigned char *bytes;
    size_t n_bytes;
    const unsigned char *gzip;  // NULL = not worth it
    size_t gzip_bytes;
    bool immutable;  // the name carries a hash of the contents
};
extern const struct web_asset web_assets[];
extern const size_t web_assets_count;

/* -1 with an error when the directory cannot be opened. */
int static_files_open_dir(const char *path, struct error *err);

/* The media type by the file's suffix. */
const char *static_files_type(const char *path);
/* True when the header value of Accept-Encoding takes gzip. */
bool static_files_takes_gzip(const char *accept_encoding);

#endif
