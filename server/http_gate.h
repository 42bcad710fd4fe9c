/* The header gate: what libmicrohttpd 0.9.75 lets through and must not get further.
 *
 * Pure functions over a parsed head, so that every vector is a unit test. Refused: anything whose
 * framing two readers could see differently (two Content-Length, Content-Length with
 * Transfer-Encoding, blanks in names, bare CR, any coding but one "chunked"), a Host that is
 * missing, doubled or not a host, a path with %00 or control characters, and on loopback binds a
 * Host or Origin that points to DNS rebinding or another site's page.
 *
 * Residuals that the parsed head does not show: bare-LF line ends, LF-only chunk lines, folded
 * values, a NUL inside a value (reference reliability.md F2). Source: RFC 9110, RFC 9112;
 * reliability.md sections 0 and 2.1. */
#ifndef WICARA_SERVER_HTTP_GATE_H
#define WICARA_SERVER_HTTP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_FIELDS_MAX = 100,
    HTTP_FIELDS_BYTES_MAX = 32 << 10,  // names and values together
    HTTP_PATH_BYTES = 2048,
    HTTP_HOST_BYTES = 256,
};

struct http_field {
    const char *name;
    size_t name_bytes;
    const char *value;
    size_t value_bytes;
};

struct http_head {
    const char *method, *version;
    const char *target;  // as on the request line, undecoded
    const struct http_field *fields;
    size_t n_fields;
};

struct http_policy {
    bool loopback;             // bound to a loopback address: check Host and Origin
    const char *const *hosts;  // further host names that are ours
    size_t n_hosts;
    const char *const *origins;  // CORS: origins of other pages that may call us, "*" = any
    size_t n_origins;
};

struct http_gate_result {
    char path[HTTP_PATH_BYTES];  // percent-decoded, the only path that routing looks at
    char host[HTTP_HOST_BYTES];  // with port
    bool has_length, chunked;
    uint64_t content_length;
    const char *cors_origin;  // value for Access-Control-Allow-Origin, borrowed, or NULL
};

/* 0 = pass; else the HTTP status to refuse with, and why. A refused connection must be closed. */
int http_gate_check(const struct http_head *head, const struct http_policy *policy,
                    struct http_gate_result *out, const char **why);

/* First field of that name (case aside), NULL when there is none. */
const struct http_field *http_head_find(const struct http_head *head, const char *name);

/* Host syntax: name, IPv4 or [IPv6], optional port. */
bool http_host_is_valid(const char *host);
/* IP literal, localhost or one of `hosts`; `host` may carry a port. */
bool http_host_is_ours(const char *host, const struct http_policy *policy);

#endif
