/* The watcher thread; see http_watch.h.
 *
 * Wake-ups: notify pushes the connection on a lock-free stack (each at most once) and writes the
 * eventfd only when the stack was empty and the watcher sleeps; the eventfd is edge-triggered and
 * never read. The watcher takes the whole stack at once, so there is no ABA. A stream in its middle
 * is written to at once (drive), anything else is resumed in libmicrohttpd. Client's leave: each
 * socket sits in the watcher's epoll set, edge-triggered, for RDHUP only, and for EPOLLOUT once it
 * was full; half-close counts as leaving, as with nginx. Deadlines: a scan of the open connections
 * every 250 ms while there are any; no timer, no wake-up when the server is idle.
 *
 * Locks: `mutex` guards every field of the connections. libmicrohttpd's own locks are taken inside
 * it (resume), never the other way round: its callbacks run without them. Work is cancelled without
 * the mutex, on an exchange that was held before. Source: reference reliability.md F3-F5. */
#include "server/http_watch.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

enum { SCAN_MS = 250, EVENTS_MAX = 64, CANCELS_MAX = 64 };

static const uint64_t event_fd_tag = UINT64_MAX;

enum status http_watch_init(struct http_watch *watch, size_t n_conns, struct error *err)
{
    memset(watch, 0, sizeof *watch);
    watch->epoll_fd = -1;
    watch->event_fd = -1;
    pthread_mutex_init(&watch->mutex, NULL);
    watch->conns = mem_calloc(n_conns, sizeof *watch->conns);
    if (!watch->conns)
        return error_set(err, ERR_MEMORY, "no memory for %zu connections", n_conns);
    watch->n_conns = n_conns;
    for (size_t i = n_conns; i-- > 0;) {
        watch->conns[i].watch = watch;
        watch->conns[i].fd = -1;
        watch->conns[i].next_free = watch->free_list;
        watch->free_list = &watch->conns[i];
    }
    watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = event_fd_tag};
    if (watch->epoll_fd < 0 || watch->event_fd < 0 ||
        epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, watch->event_fd, &event) != 0)
        return error_set(err, ERR_IO, "epoll: %s", strerror(errno));
    return OK;
}

void http_watch_release(struct http_watch *watch)
{
    if (watch->epoll_fd >= 0)
        close(watch->epoll_fd);
    if (watch->event_fd >= 0)
        close(watch->event_fd);
    mem_free(watch->conns);
    pthread_mutex_destroy(&watch->mutex);
}

static void poke(struct http_watch *watch)
{
    uint64_t one = 1;
    ssize_t n = write(watch->event_fd, &one, sizeof one);
    (void)n;  // its counter has room for 2^64 of them
}

/* Has the socket watched for RDHUP, and with `for_room` for room to write. */
static int watch_socket(struct http_watch *watch, const struct http_conn *conn, int operation,
                        bool for_room)
{
    uint32_t events = EPOLLRDHUP | EPOLLET | (for_room ? (uint32_t)EPOLLOUT : 0);
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)conn->generation << 32 |
                                            (uint64_t)(conn - watch->conns)};
    return epoll_ctl(watch->epoll_fd, operation, conn->fd, &event);
}

struct http_conn *http_watch_open(struct http_watch *watch, int fd, struct MHD_Connection *mhd,
                                  int64_t deadline_ns)
{
    pthread_mutex_lock(&watch->mutex);
    struct http_conn *conn = watch->free_list;
    if (conn) {
        watch->free_list = conn->next_free;
        conn->generation++;
        conn->phase = CONN_HEAD;
        conn->fd = fd;
        conn->mhd = mhd;
        conn->half_closed = conn->suspended = conn->woken = conn->gone = false;
        conn->ping_due = conn->wants_ping = false;
        conn->direct = conn->driven = conn->blocked = false;
        conn->n_requests = 0;
        conn->deadline_ns = deadline_ns;
        conn->exchange = NULL;
        conn->prev_open = NULL;
        conn->next_open = watch->open_list;
        if (conn->next_open)
            conn->next_open->prev_open = conn;
        watch->open_list = conn;
        if (watch_socket(watch, conn, EPOLL_CTL_ADD, false) != 0)
            log_warn("cannot watch connection: %s", strerror(errno));
    }
    bool first = conn && watch->n_open++ == 0;
    pthread_mutex_unlock(&watch->mutex);
    if (first)
        poke(watch);  // the watcher sleeps without a timeout while there is nothing to watch
    return conn;
}

void http_watch_close(struct http_watch *watch, struct http_conn *conn)
{
    pthread_mutex_lock(&watch->mutex);
    epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    if (conn->prev_open)
        conn->prev_open->next_open = conn->next_open;
    else
        watch->open_list = conn->next_open;
    if (conn->next_open)
        conn->next_open->prev_open = conn->prev_open;
    conn->phase = CONN_CLOSED;
    conn->fd = -1;
    conn->mhd = NULL;
    conn->exchange = NULL;
    conn->next_free = watch->free_list;
    watch->free_list = conn;
    watch->n_open--;
    pthread_mutex_unlock(&watch->mutex);
}

void http_watch_wake_locked(struct http_watch *watch, struct http_conn *conn)
{
    conn->woken = true;
    if (conn->suspended && !conn->driven && (!conn->blocked || conn->gone)) {
        conn->suspended = conn->direct = conn->blocked = false;
        watch->resume(conn->mhd);
    }
}

void http_watch_wake_all(struct http_watch *watch, bool interrupt)
{
    pthread_mutex_lock(&watch->mutex);
    watch->interrupted = watch->interrupted || interrupt;
    for (struct http_conn *conn = watch->open_list; conn; conn = conn->next_open) {
        if (!interrupt)
            conn->gone = true;
        http_watch_wake_locked(watch, conn);
    }
    pthread_mutex_unlock(&watch->mutex);
}

void http_watch_notify(struct http_conn *conn)
{
    if (atomic_exchange(&conn->wake_queued, true))
        return;  // on the stack already
    struct http_watch *watch = conn->watch;
    struct http_conn *head = atomic_load(&watch->wake_list);
    do {
        atomic_store(&conn->wake_next, head);
    } while (!atomic_compare_exchange_weak(&watch->wake_list, &head, conn));
    if (!head && atomic_exchange(&watch->sleeping, false))
        poke(watch);
}

/* Writes what a suspended stream has ready. Its connection is resumed only when libmicrohttpd must
 * go on, or when somebody wanted that meanwhile. */
static void drive(struct http_watch *watch, struct http_conn *conn)
{
    bool sent = false;
    enum http_drive state = watch->drive(conn->exchange, &sent);
    pthread_mutex_lock(&watch->mutex);
    conn->driven = false;
    if (sent) {
        conn->progress_ns = clock_ns();
        conn->ping_ns = conn->progress_ns + watch->ping_interval_ns;
    }
    conn->blocked = state == HTTP_DRIVE_BLOCKED;
    if (conn->blocked && watch_socket(watch, conn, EPOLL_CTL_MOD, true) != 0)
        conn->gone = true;  // nobody would tell when there is room
    if (state == HTTP_DRIVE_OVER || conn->gone || watch->interrupted)
        http_watch_wake_locked(watch, conn);
    pthread_mutex_unlock(&watch->mutex);
}

static void take_wakes(struct http_watch *watch)
{
    struct http_conn *conn = atomic_exchange(&watch->wake_list, NULL), *drives = NULL;
    if (!conn)
        return;
    pthread_mutex_lock(&watch->mutex);
    while (conn) {
        struct http_conn *next = atomic_load(&conn->wake_next);
        atomic_store(&conn->wake_queued, false);
        bool is_free = conn->suspended && !conn->blocked && !conn->gone && !conn->ping_due;
        if (conn->direct && is_free && !watch->interrupted) {
            conn->driven = true;
            conn->next_drive = drives;  // the stack's order turned round: first come, first served
            drives = conn;
        } else if (conn->phase != CONN_CLOSED) {
            http_watch_wake_locked(watch, conn);
        }
        conn = next;
    }
    pthread_mutex_unlock(&watch->mutex);
    for (; drives; drives = drives->next_drive)
        drive(watch, drives);
}

/* The exchange's work is to be cancelled: holds it and returns it, NULL when it was done before. */
static struct http_exchange *give_up_locked(struct http_watch *watch, struct http_conn *conn)
{
    if (conn->gone || !conn->exchange)
        return NULL;
    conn->gone = true;
    watch->clients_gone++;
    watch->hold(conn->exchange);
    http_watch_wake_locked(watch, conn);
    return conn->exchange;
}

static void on_socket_event(struct http_watch *watch, uint64_t tag, uint32_t events)
{
    size_t i = (size_t)(tag & UINT32_MAX);
    if (i >= watch->n_conns)
        return;
    struct http_exchange *left = NULL;
    struct http_conn *conn = &watch->conns[i];
    pthread_mutex_lock(&watch->mutex);
    bool is_known = conn->phase != CONN_CLOSED && conn->generation == (uint32_t)(tag >> 32);
    if (is_known && (events & ~(uint32_t)EPOLLOUT)) {
        conn->half_closed = true;
        if (conn->phase == CONN_WAIT || conn->phase == CONN_STREAM)
            left = give_up_locked(watch, conn);
    }
    bool has_room = is_known && conn->blocked && (events & EPOLLOUT);
    if (has_room)
        conn->driven = true;
    pthread_mutex_unlock(&watch->mutex);
    if (has_room)
        drive(watch, conn);
    if (left)
        watch->cancel_and_drop(left);
}

static bool sent_nothing(int fd)
{
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    memset(&info, 0, sizeof info);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 &&
           info.tcpi_bytes_received == 0;
}

/* The phase took too long. While a request is being read nothing was written to the socket yet, so
 * a complete 408 can be sent past libmicrohttpd; then the shutdown makes it drop the connection. */
static void expire_locked(struct http_conn *conn)
{
    static const char body[] = "{\"error\":{\"message\":\"the request did not arrive in time\","
                               "\"type\":\"invalid_request_error\",\"param\":null,"
                               "\"code\":\"request_timeout\"}}";
    char reply[512];
    int n_bytes = snprintf(reply, sizeof reply,
                           "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
                           "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                           sizeof body - 1, body);
    bool reading = conn->phase == CONN_HEAD || conn->phase == CONN_BODY;
    if (reading && !sent_nothing(conn->fd)) {
        ssize_t n = send(conn->fd, reply, (size_t)n_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;  // a courtesy
    }
    shutdown(conn->fd, SHUT_RDWR);
    conn->deadline_ns = 0;
}

/* One connection's deadlines; returns an exchange to cancel (held), or NULL. */
static struct http_exchange *check_locked(struct http_watch *watch, struct http_conn *conn,
                                          int64_t now)
{
    if (conn->deadline_ns && now >= conn->deadline_ns)
        expire_locked(conn);
    if (conn->phase != CONN_WAIT && conn->phase != CONN_STREAM)
        return NULL;
    if (conn->phase == CONN_STREAM && (!conn->suspended || conn->blocked) && !conn->gone &&
        now - conn->progress_ns > watch->slow_reader_ns) {
        shutdown(conn->fd, SHUT_RDWR);
        return give_up_locked(watch, conn);
    }
    if (conn->wants_ping && conn->suspended && !conn->blocked && now >= conn->ping_ns) {
        conn->ping_due = true;
        http_watch_wake_locked(watch, conn);
    }
    return NULL;
}

static void scan(struct http_watch *watch)
{
    struct http_exchange *cancels[CANCELS_MAX];
    size_t n_cancels = 0;
    int64_t now = clock_ns();
    pthread_mutex_lock(&watch->mutex);
    for (struct http_conn *conn = watch->open_list; conn && n_cancels < CANCELS_MAX;
         conn = conn->next_open) {
        struct http_exchange *left = check_locked(watch, conn, now);
        if (left)
            cancels[n_cancels++] = left;
    }
    pthread_mutex_unlock(&watch->mutex);
    for (size_t i = 0; i < n_cancels; i++)
        watch->cancel_and_drop(cancels[i]);
}

static void *watch_main(void *argument)
{
    struct http_watch *watch = argument;
    int64_t scan_ns = 0;
    struct epoll_event events[EVENTS_MAX];
    while (!atomic_load(&watch->stop)) {
        pthread_mutex_lock(&watch->mutex);
        int timeout_ms = watch->n_open > 0 ? SCAN_MS : -1;
        pthread_mutex_unlock(&watch->mutex);
        atomic_store(&watch->sleeping, true);
        if (atomic_load(&watch->wake_list))
            timeout_ms = 0;  // came while the watcher was awake: nobody will write the eventfd
        int n = epoll_wait(watch->epoll_fd, events, EVENTS_MAX, timeout_ms);
        atomic_store(&watch->sleeping, false);
        for (int i = 0; i < n; i++)
            if (events[i].data.u64 != event_fd_tag)
                on_socket_event(watch, events[i].data.u64, events[i].events);
        take_wakes(watch);
        int64_t now = clock_ns();
        if (now >= scan_ns) {
            scan(watch);
            scan_ns = now + (int64_t)SCAN_MS * 1000000;
        }
    }
    return NULL;
}

enum status http_watch_start(struct http_watch *watch, struct error *err)
{
    int fault = pthread_create(&watch->thread, NULL, watch_main, watch);
    if (fault != 0)
        return error_set(err, ERR_BUSY, "cannot start the watcher: %s", strerror(fault));
    watch->running = true;
    return OK;
}

void http_watch_stop(struct http_watch *watch)
{
    if (!watch->running)
        return;
    atomic_store(&watch->stop, true);
    poke(watch);
    pthread_join(watch->thread, NULL);
    watch->running = false;
}
