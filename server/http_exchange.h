/* The exchange: one request and its reply, as http.c and http_exchange.c share it. Internal to
 * them.
 *
 * Its fields belong to the HTTP thread that serves the connection; the watcher only holds it and
 * cancels its work, which was set before under the watcher's mutex. */
#ifndef WICARA_SERVER_HTTP_EXCHANGE_H
#define WICARA_SERVER_HTTP_EXCHANGE_H

#include <stdatomic.h>

#include "engine/base/mem.h"
#include "server/http.h"
#include "server/http_watch.h"

enum { REPLY_HEADERS_MAX = 16, EXCHANGE_ARENA_BYTES = 256 << 10 };

struct http_exchange {
    struct http_server *server;
    _Atomic size_t *bodies_bytes;  // of all requests in flight; this one's share is in it
    struct http_conn *conn;
    struct MHD_Connection *mhd;
    atomic_uint holds;
    struct arena arena;     // copies of the head, reply headers
    struct http_head head;  // strings of the connection's memory
    struct http_gate_result gate;
    bool head_seen, request_seen;
    void *user;
    int64_t start_ns;

    struct buf body;
    size_t body_received;  // also of a body that is only drained
    int refuse_status;     // body too large or no memory: decided while it is read
    const char *refuse_why;

    int http_status;  // of the reply, 0 = none yet
    const char *content_type;
    const char *header_names[REPLY_HEADERS_MAX], *header_values[REPLY_HEADERS_MAX];
    size_t n_headers;
    bool close_after;
    struct buf reply;
    const void *static_bytes;
    size_t static_n_bytes;
    bool queued;  // the reply was given to libmicrohttpd

    const struct http_work *work;
    void *state;
    bool streaming;
    bool stream_ended, stream_broken;
    struct buf out;  // stream: bytes not yet taken, or a chunk not yet sent (http_stream.h)
    size_t out_sent;
};

/* One hold, the connection's. NULL without memory. */
struct http_exchange *exchange_create(struct http_conn *conn, struct MHD_Connection *mhd,
                                      const char *target, size_t body_bytes_max,
                                      _Atomic size_t *bodies_bytes);
void exchange_hold(struct http_exchange *exchange);
void exchange_drop(struct http_exchange *exchange);  // with the last hold goes the exchange
void exchange_cancel_and_drop(struct http_exchange *exchange);

/* The body is needed for on_request() only, an answer may take minutes. */
void exchange_forget_body(struct http_exchange *exchange);
/* Copies method, version and fields. False without memory. */
bool exchange_set_head(struct http_exchange *exchange, const char *method, const char *version,
                       const struct http_field *fields, size_t n_fields);
/* An error of the HTTP layer itself, in the API's shape; the connection closes after it. */
void exchange_refuse(struct http_exchange *exchange, int http_status, const char *why);

#endif
