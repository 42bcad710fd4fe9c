/* Connections as the watcher sees them, and the watcher itself. Internal to the files http*.c.
 *
 * The watcher is one thread that does what libmicrohttpd cannot: it notices a client that leaves
 * while its connection is suspended (epoll on the sockets), enforces absolute deadlines, sends due
 * pings, and carries wake-ups from engine threads to suspended connections, so that an engine
 * thread pays an atomic push and at most one eventfd write for a whole step's worth of streams.
 * What a stream has ready then is written by the watcher itself (http_stream.h). */
#ifndef WICARA_SERVER_HTTP_WATCH_H
#define WICARA_SERVER_HTTP_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct MHD_Connection;
struct http_exchange;
struct http_watch;

enum conn_phase {
    CONN_CLOSED,
    CONN_IDLE,    // between requests
    CONN_HEAD,    // the head is being read
    CONN_BODY,    // the body is being read
    CONN_WAIT,    // work is under way, no reply yet
    CONN_STREAM,  // work is under way, reply is a stream
    CONN_REPLY,   // a complete reply is being sent
};

/* One connection. The structs live in one array for the whole life of the server and are used
 * again, so that a stale pointer to one is harmless: it wakes a connection that has nothing to do.
 */
struct http_conn {
    struct http_watch *watch;
    _Atomic(struct http_conn *) wake_next;
    atomic_bool wake_queued;

    /* guarded by watch->mutex */
    struct http_conn *next_free;
    struct http_conn *prev_open, *next_open;
    uint32_t generation;  // of the use of this struct; stale epoll events carry another
    enum conn_phase phase;
    int fd;
    bool half_closed;  // the client sent FIN or RST
    bool suspended;    // the connection is suspended in libmicrohttpd
    bool direct;       // suspended stream whose text the watcher writes
    bool driven;       // it does so now: nobody else resumes the connection
    bool blocked;      // part of a chunk waits for room in the socket
    bool woken;        // something happened since the work was last asked
    bool gone;         // the exchange is to end without a reply
    bool ping_due;
    bool wants_ping;
    uint32_t n_requests;
    int64_t deadline_ns;  // of the phase; 0 = none
    int64_t ping_ns;      // when the next ping is due
    int64_t progress_ns;  // stream: when the client last took bytes
    struct MHD_Connection *mhd;
    struct http_exchange *exchange;  // the active one, NULL between requests
    struct http_conn *next_drive;    // the watcher's
};

/* What became of a stream that was written to. */
enum http_drive {
    HTTP_DRIVE_WAITS,    // all that was ready is out
    HTTP_DRIVE_BLOCKED,  // the socket is full
    HTTP_DRIVE_OVER,     // libmicrohttpd goes on: the end, or the connection broke
};

struct http_watch {
    pthread_mutex_t mutex;
    pthread_t thread;
    bool running;
    atomic_bool stop;
    int epoll_fd, event_fd;
    _Atomic(struct http_conn *) wake_list;
    atomic_bool sleeping;  // a wake-up must write the eventfd
    struct http_conn *conns;
    size_t n_conns;
    int64_t slow_reader_ns, ping_interval_ns;
    /* guarded by mutex */
    struct http_conn *free_list, *open_list;
    size_t n_open;
    bool interrupted;  // HTTP_STOPPING is set
    uint64_t clients_gone;
    /* From http.c, called with the mutex held. */
    void (*resume)(struct MHD_Connection *connection);
    /* Called without the mutex; the exchange was kept alive by `hold`, called with it. */
    void (*hold)(struct http_exchange *exchange);
    void (*cancel_and_drop)(struct http_exchange *exchange);
    /* Called without the mutex; the exchange stays, since its connection is suspended. */
    enum http_drive (*drive)(struct http_exchange *exchange, bool *sent);
};

enum status http_watch_init(struct http_watch *watch, size_t n_conns, struct error *err) MUST_CHECK;
enum status http_watch_start(struct http_watch *watch, struct error *err) MUST_CHECK;
void http_watch_stop(struct http_watch *watch);  // joins the thread
void http_watch_release(struct http_watch *watch);

struct http_conn *http_watch_open(struct http_watch *watch, int fd, struct MHD_Connection *mhd,
                                  int64_t deadline_ns);
void http_watch_close(struct http_watch *watch, struct http_conn *conn);
/* Makes the work be asked again; resumes the connection if it is suspended and the watcher is not
 * in the middle of a chunk. Mutex held. */
void http_watch_wake_locked(struct http_watch *watch, struct http_conn *conn);
void http_watch_wake_all(struct http_watch *watch, bool interrupt);
/* From any thread, without blocking. */
void http_watch_notify(struct http_conn *conn);

#endif
