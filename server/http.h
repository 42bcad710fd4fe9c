/* The HTTP daemon under the routes: connections, exchanges, streams, deadlines.
 *
 * libmicrohttpd (only http.c knows it) runs a pool of threads that never block. An exchange is one
 * request and its reply. The layer above decides twice: on the head (refuse before a byte of the
 * body is read) and on the whole request. It replies at once, or leaves the exchange waiting for
 * work that ends elsewhere: the connection is then suspended, http_notify() wakes it from any
 * thread, and the watcher (http_watch.c) cancels the work when the client leaves or time is over.
 */
#ifndef WICARA_SERVER_HTTP_H
#define WICARA_SERVER_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "server/http_gate.h"

struct http_server;
struct http_exchange;

struct http_settings {
    int listen_fd;   // bound and listening; owned by the server from here on
    size_t threads;  // of the HTTP pool
    size_t connections_max;
    struct http_policy policy;
    int64_t head_ms, body_ms;  // absolute: head complete, body complete (plus 1 s per 64 KiB)
    int64_t idle_ms;           // between two requests of a connection
    int64_t ping_ms;           // silence after which a stream gets a comment
    int64_t slow_reader_ms;    // a stream whose client takes nothing for so long is cut
    size_t body_bytes_max;     // of one request
    size_t bodies_bytes_max;   // of all requests in flight
};

/* Called by the server, on HTTP threads. on_head: reply (mostly to refuse) or leave it, then the
 * body is read. on_request: the body is complete: reply or http_wait(). on_done: the exchange is
 * over (for the access log); http_status 0 = no reply was made. */
struct http_handlers {
    void *user;
    void (*on_head)(void *user, struct http_exchange *exchange);
    void (*on_request)(void *user, struct http_exchange *exchange);
    void (*on_done)(void *user, struct http_exchange *exchange, int http_status, double seconds);
};

enum status http_start(struct http_server **out, const struct http_settings *settings,
                       const struct http_handlers *handlers, struct error *err) MUST_CHECK;
/* From now on waiting work is told HTTP_STOPPING and is to end its exchange. */
void http_interrupt(struct http_server *server);
/* Ends all connections, joins all threads. http_notify() stays legal until http_free(). */
void http_stop(struct http_server *server);
void http_free(struct http_server *server);

struct http_stats {
    size_t connections, body_bytes;
    size_t exchanges_waiting;  // their work is under way
    size_t replies_pending;    // complete replies that are still being sent
    uint64_t replies[6];       // by class: replies[2] = 2xx; [0] = none (client left)
    uint64_t clients_gone;     // left before their reply was complete
};
void http_stats(struct http_server *server, struct http_stats *out);

/* ---- the request ---- */

const char *http_method(const struct http_exchange *exchange);
const char *http_path(const struct http_exchange *exchange);
const struct http_gate_result *http_gate_facts(const struct http_exchange *exchange);
/* NULL when there is none. Valid while the exchange is. */
const char *http_request_header(const struct http_exchange *exchange, const char *name);
/* Valid during on_request() only; NUL-terminated. */
const char *http_body(const struct http_exchange *exchange, size_t *n_bytes);
void *http_exchange_user(const struct http_exchange *exchange);
void http_exchange_set_user(struct http_exchange *exchange, void *user);

/* ---- the reply ---- */

/* Adds a header to the reply to come; name and value are copied. Control characters are refused. */
void http_add_header(struct http_exchange *exchange, const char *name, const char *value);
void http_close_after(struct http_exchange *exchange);  // "Connection: close"
/* The body is taken from `body`, which is left empty; an append that failed becomes a 500. */
void http_reply_take(struct http_exchange *exchange, int http_status, const char *content_type,
                     struct buf *body);
/* The bytes must outlive the server. */
void http_reply_static(struct http_exchange *exchange, int http_status, const char *content_type,
                       const void *bytes, size_t n_bytes);
bool http_is_answered(const struct http_exchange *exchange);

enum { HTTP_PING = 1, HTTP_STOPPING = 2 };

enum http_fill { HTTP_FILL_MORE, HTTP_FILL_END, HTTP_FILL_BROKEN };

/* Work that an exchange waits for. wake, fill and release run on HTTP threads, one at a time;
 * cancel runs on the watcher at any time before release, also beside the others, and at most once.
 * events: set of HTTP_PING, HTTP_STOPPING. */
struct http_work {
    /* Something may have happened: reply, start the stream, or do nothing and wait on. */
    void (*wake)(void *state, struct http_exchange *exchange, unsigned events);
    /* After http_stream(): append what is there, stop at about bytes_max. Nothing appended and
     * HTTP_FILL_MORE = wait on. BROKEN cuts the connection without an end of the body. */
    enum http_fill (*fill)(void *state, struct buf *out, size_t bytes_max, unsigned events);
    void (*cancel)(void *state);
    void (*release)(void *state);
};

/* Leaves the exchange waiting; ownership of `state` goes to it (release). */
void http_wait(struct http_exchange *exchange, const struct http_work *work, void *state);
/* The reply's head goes out now, its body comes from fill. */
void http_stream(struct http_exchange *exchange, int http_status, const char *content_type);

/* The handle for http_notify(); valid until http_free(), also when the exchange is long over (it
 * then wakes nobody, or somebody who finds nothing to do). */
void *http_wake_handle(const struct http_exchange *exchange);
/* From any thread, without blocking: wakes the exchange behind the handle. */
void http_notify(void *wake_handle);

#endif
