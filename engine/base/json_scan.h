/* Strict check of a JSON text (RFC 8259), run before any parser sees it.
 *
 * cJSON accepts raw control characters, duplicate keys, 1e400, invalid UTF-8, \u0000, trailing
 * bytes and more; this pass refuses them in one linear walk without recursion or allocation that
 * depends on the input's claims. */
#ifndef WICARA_BASE_JSON_SCAN_H
#define WICARA_BASE_JSON_SCAN_H

#include <stddef.h>

#include "engine/base/error.h"

struct json_limits {
    size_t depth_max;  // nesting of arrays and objects, <= JSON_SCAN_DEPTH_MAX
    size_t nodes_max;  // values of all kinds
};
enum {
    JSON_SCAN_DEPTH_MAX = 128,
    JSON_SCAN_NUMBER_BYTES_MAX = 63,  // cJSON cuts longer ones
};

/* ERR_INVALID with what is wrong and the byte offset: not UTF-8, a BOM, a control character, NUL or
 * \u0000, a lone surrogate, a bad number or one that is not finite as a double, a duplicate name,
 * a longer one, too deep, too many values, bytes behind the value. ERR_MEMORY. */
enum status json_scan(const char *text, size_t n_bytes, const struct json_limits *limits,
                      struct error *err) MUST_CHECK;

#endif
