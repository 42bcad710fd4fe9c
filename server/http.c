/* libmicrohttpd's only user: exchanges on its callbacks; see http.h.
 *
 * The life of an exchange: on_uri (request line seen: exchange made) > on_access, first call (head
 * complete: header gate, on_head) > on_access per body part > on_access, last call (on_request) >
 * suspended while it waits, on_access again after each wake-up > reply queued > on_read per piece
 * of a stream > on_completed. Replies go out from on_access only, because libmicrohttpd takes none
 * in the middle of an upload; a body that will be refused anyway is read to its end first, up to a
 * cap.
 *
 * Suspend and wake: on_access and on_read look at `woken` under the watcher's mutex before they
 * suspend, and the watcher resumes under it, so no wake-up is lost and nothing is resumed that is
 * not suspended. A suspended stream is written to by the watcher, past libmicrohttpd
 * (http_stream.h), and resumed for its end. An exchange is counted: one hold is the connection's,
 * one the watcher's while it cancels; the work is released with the last. Traps: reference
 * ecosystem.md section 1.2. */
#include "server/http.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "server/http_exchange.h"
#include "server/http_stream.h"

enum {
    REQUESTS_PER_CONNECTION = 1000,
    CONNECTION_MEMORY_BYTES = 40 << 10,
    REPLY_MS = 60000,
};
static const int64_t ns_per_ms = 1000000;

struct http_server {
    struct http_settings settings;
    struct http_handlers handlers;
    struct http_watch watch;
    struct MHD_Daemon *daemon;
    _Atomic size_t body_bytes;  // of all requests in flight
    _Atomic uint64_t replies[6];
};

static void resume_connection(struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
}

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void set_phase(struct http_conn *conn, enum conn_phase phase, int64_t deadline_ms)
{
    pthread_mutex_lock(&conn->watch->mutex);
    conn->phase = phase;
    conn->deadline_ns = deadline_ms > 0 ? clock_ns() + deadline_ms * ns_per_ms : 0;
    pthread_mutex_unlock(&conn->watch->mutex);
}

/* ---- replies ---- */

static ssize_t on_read(void *context, uint64_t position, char *out, size_t bytes_max);

static struct MHD_Response *make_response(struct http_exchange *exchange)
{
    if (exchange->streaming) {
        http_stream_begin(exchange);
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, on_read,
                                                 exchange, NULL);
    }
    if (exchange->static_bytes) {
        return MHD_create_response_from_buffer(exchange->static_n_bytes,
                                               (void *)(uintptr_t)exchange->static_bytes,
                                               MHD_RESPMEM_PERSISTENT);
    }
    size_t n_bytes = exchange->reply.n_bytes;
    char *bytes = buf_detach(&exchange->reply);
    if (!bytes)
        return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    return MHD_create_response_from_buffer_with_free_callback(n_bytes, bytes, mem_free);
}

static enum MHD_Result queue_reply(struct http_exchange *exchange)
{
    struct http_conn *conn = exchange->conn;
    size_t n_bytes = exchange->static_n_bytes + exchange->reply.n_bytes;
    struct MHD_Response *response = make_response(exchange);
    if (!response)
        return MHD_NO;
    if (exchange->content_type)
        MHD_add_response_header(response, "Content-Type", exchange->content_type);
    for (size_t i = 0; i < exchange->n_headers; i++) {
        MHD_add_response_header(response, exchange->header_names[i], exchange->header_values[i]);
    }
    pthread_mutex_lock(&conn->watch->mutex);
    conn->n_requests++;
    bool close = exchange->close_after || conn->n_requests >= REQUESTS_PER_CONNECTION;
    conn->phase = exchange->streaming ? CONN_STREAM : CONN_REPLY;
    conn->progress_ns = clock_ns();
    conn->deadline_ns =
        exchange->streaming
            ? 0
            : conn->progress_ns + (REPLY_MS + (int64_t)(n_bytes >> 16) * 1000) * ns_per_ms;
    pthread_mutex_unlock(&conn->watch->mutex);
    if (close)
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result =
        MHD_queue_response(exchange->mhd, (unsigned)exchange->http_status, response);
    MHD_destroy_response(response);
    exchange->queued = result == MHD_YES;
    return result;
}

/* Nothing to do until somebody wakes us. False when a wake-up came first; then *events is set. */
static bool suspend(struct http_exchange *exchange, unsigned *events, bool *gone)
{
    struct http_conn *conn = exchange->conn;
    struct http_watch *watch = conn->watch;
    pthread_mutex_lock(&watch->mutex);
    *gone = conn->gone;
    bool sleep = !conn->woken && !conn->gone;
    *events = (conn->ping_due ? HTTP_PING : 0) | (watch->interrupted ? HTTP_STOPPING : 0);
    if (sleep) {
        conn->suspended = true;
        conn->direct = exchange->streaming && http_stream_is_chunked(exchange);
        MHD_suspend_connection(exchange->mhd);  // inside the lock: a resume cannot come before it
    } else {
        conn->woken = false;
        if (conn->ping_due) {
            conn->ping_due = false;
            conn->ping_ns = clock_ns() + watch->ping_interval_ns;
        }
    }
    pthread_mutex_unlock(&watch->mutex);
    return sleep;
}

/* The client took bytes: pushes the slow-reader deadline and the next ping away. */
static bool note_progress(struct http_exchange *exchange)
{
    struct http_conn *conn = exchange->conn;
    pthread_mutex_lock(&conn->watch->mutex);
    conn->progress_ns = clock_ns();
    conn->ping_ns = conn->progress_ns + conn->watch->ping_interval_ns;
    bool gone = conn->gone;
    pthread_mutex_unlock(&conn->watch->mutex);
    return !gone;
}

static ssize_t take_out(struct http_exchange *exchange, char *out, size_t bytes_max)
{
    size_t left = exchange->out.n_bytes - exchange->out_sent;
    size_t n = left < bytes_max ? left : bytes_max;
    memcpy(out, exchange->out.bytes + exchange->out_sent, n);
    exchange->out_sent += n;
    return (ssize_t)n;
}

static ssize_t on_read(void *context, uint64_t position, char *out, size_t bytes_max)
{
    (void)position;
    struct http_exchange *exchange = context;
    unsigned events = 0;
    if (!note_progress(exchange))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    for (;;) {
        if (exchange->stream_broken)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (exchange->out_sent < exchange->out.n_bytes)
            return take_out(exchange, out, bytes_max);
        if (exchange->stream_ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        http_stream_fill(exchange, bytes_max, events);
        if (exchange->stream_broken || exchange->stream_ended || exchange->out.n_bytes > 0)
            continue;
        bool gone;
        if (suspend(exchange, &events, &gone))
            return 0;
        if (gone)
            return MHD_CONTENT_READER_END_WITH_ERROR;
    }
}

/* ---- libmicrohttpd's callbacks ---- */

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket_context)
            http_watch_close(&server->watch, *socket_context);
        *socket_context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *socket_context = http_watch_open(&server->watch, info->connect_fd, connection,
                                      clock_ns() + server->settings.head_ms * ns_per_ms);
}

/* The request line has arrived; the returned pointer is the exchange of all later calls. */
static void *on_uri(void *context, const char *target, struct MHD_Connection *connection)
{
    struct http_server *server = context;
    struct http_conn *conn = conn_of(connection);
    if (!conn)
        return NULL;
    struct http_exchange *exchange = exchange_create(
        conn, connection, target, server->settings.body_bytes_max, &server->body_bytes);
    if (!exchange)
        return NULL;
    exchange->server = server;
    pthread_mutex_lock(&server->watch.mutex);
    bool first = conn->n_requests == 0;
    if (!first || conn->phase == CONN_IDLE)
        conn->deadline_ns = exchange->start_ns + server->settings.head_ms * ns_per_ms;
    conn->phase = CONN_HEAD;
    pthread_mutex_unlock(&server->watch.mutex);
    return exchange;
}

struct field_list {
    struct http_field fields[HTTP_FIELDS_MAX + 1];
    size_t n_fields;
};

static enum MHD_Result on_field(void *context, enum MHD_ValueKind kind, const char *name,
                                size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    struct field_list *list = context;
    if (list->n_fields <= HTTP_FIELDS_MAX) {
        list->fields[list->n_fields++] =
            (struct http_field){name, name_bytes, value ? value : "", value ? value_bytes : 0};
    }
    return MHD_YES;
}

/* Head complete, nothing of the body taken yet: the last moment to refuse without reading it. */
static enum MHD_Result head_complete(struct http_exchange *exchange, const char *method,
                                     const char *version)
{
    struct http_server *server = exchange->server;
    struct field_list list = {.n_fields = 0};
    MHD_get_connection_values_n(exchange->mhd, MHD_HEADER_KIND, on_field, &list);
    exchange->head_seen = true;
    if (!exchange_set_head(exchange, method, version, list.fields, list.n_fields))
        return MHD_NO;
    const char *why;
    int status = http_gate_check(&exchange->head, &server->settings.policy, &exchange->gate, &why);
    const struct http_gate_result *gate = &exchange->gate;
    if (status != 0)
        exchange_refuse(exchange, status, why);
    else if (gate->content_length > server->settings.body_bytes_max)
        exchange_refuse(exchange, 413, "the request body is too large");
    else
        server->handlers.on_head(server->handlers.user, exchange);
    bool body = gate->content_length > 0 || gate->chunked;
    // A length past the cap was refused above: the clock of its phase is never needed.
    uint64_t n_bytes = body && exchange->http_status == 0 ? gate->content_length : 0;
    set_phase(exchange->conn, CONN_BODY,
              server->settings.body_ms + (int64_t)(n_bytes >> 16) * 1000);
    if (exchange->http_status == 0)
        return MHD_YES;
    if (body)
        exchange->close_after = true;  // the body will not be read
    return queue_reply(exchange);
}

static enum MHD_Result body_part(struct http_exchange *exchange, const char *bytes, size_t n_bytes)
{
    struct http_server *server = exchange->server;
    size_t bytes_max = server->settings.body_bytes_max;
    exchange->body_received += n_bytes;
    if (exchange->body_received > 2 * bytes_max)
        return MHD_NO;
    if (exchange->gate.chunked) {
        set_phase(exchange->conn, CONN_BODY,
                  server->settings.body_ms - (clock_ns() - exchange->start_ns) / ns_per_ms +
                      (int64_t)(exchange->body_received >> 16) * 1000);
    }
    if (exchange->refuse_status != 0)
        return MHD_YES;  // drained, refused at its end
    if (exchange->body_received > bytes_max) {
        exchange->refuse_status = 413;
        exchange->refuse_why = "the request body is too large";
        return MHD_YES;
    }
    size_t before = atomic_fetch_add(&server->body_bytes, n_bytes);
    if (before + n_bytes > server->settings.bodies_bytes_max ||
        !buf_append(&exchange->body, bytes, n_bytes)) {
        atomic_fetch_sub(&server->body_bytes, n_bytes);
        exchange->refuse_status = 503;
        exchange->refuse_why = "the server has no room for more request bodies";
    }
    return MHD_YES;
}

/* The request is complete, or its work was woken: replies, streams, or suspends. */
static enum MHD_Result advance(struct http_exchange *exchange)
{
    struct http_server *server = exchange->server;
    unsigned events = 0;
    bool gone = false;
    if (!exchange->request_seen) {
        exchange->request_seen = true;
        set_phase(exchange->conn, CONN_REPLY, REPLY_MS);
        if (exchange->refuse_status != 0)
            exchange_refuse(exchange, exchange->refuse_status, exchange->refuse_why);
        else
            server->handlers.on_request(server->handlers.user, exchange);
        exchange_forget_body(exchange);
    }
    for (;;) {
        if (exchange->http_status != 0)
            return queue_reply(exchange);
        if (!exchange->work)
            return MHD_NO;  // a handler that neither replied nor waits: cut the connection
        if (suspend(exchange, &events, &gone))
            return MHD_YES;
        if (gone)
            return MHD_NO;
        exchange->work->wake(exchange->state, exchange, events);
    }
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_bytes, void **request)
{
    (void)context;
    (void)connection;
    (void)url;
    struct http_exchange *exchange = *request;
    if (!exchange)
        return MHD_NO;
    if (!exchange->head_seen)
        return head_complete(exchange, method, version);
    if (*upload_bytes > 0) {
        enum MHD_Result result = body_part(exchange, upload, *upload_bytes);
        *upload_bytes = 0;
        return result;
    }
    if (exchange->queued)
        return MHD_YES;
    return advance(exchange);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    struct http_server *server = context;
    struct http_exchange *exchange = *request;
    if (!exchange)
        return;
    *request = NULL;
    struct http_conn *conn = exchange->conn;
    pthread_mutex_lock(&server->watch.mutex);
    bool cancel = exchange->work && !conn->gone && code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (cancel)
        server->watch.clients_gone++;
    conn->exchange = NULL;
    conn->phase = CONN_IDLE;
    conn->gone = conn->woken = conn->wants_ping = conn->ping_due = false;
    conn->deadline_ns =
        clock_ns() + (server->settings.idle_ms + server->settings.head_ms) * ns_per_ms;
    pthread_mutex_unlock(&server->watch.mutex);
    if (cancel)
        exchange->work->cancel(exchange->state);
    int status = code == MHD_REQUEST_TERMINATED_COMPLETED_OK ? exchange->http_status : 0;
    atomic_fetch_add(&server->replies[status / 100 < 6 ? status / 100 : 0], 1);
    if (exchange->head_seen && server->handlers.on_done) {
        server->handlers.on_done(server->handlers.user, exchange, status,
                                 (double)(clock_ns() - exchange->start_ns) / 1e9);
    }
    exchange_drop(exchange);
}

/* The path that counts is decoded by the gate, from the raw target; libmicrohttpd's is not used. */
static size_t on_unescape(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static void on_log(void *context, const char *format, va_list args)
{
    (void)context;
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http: %s", text);
}

/* ---- start and stop ---- */

enum status http_start(struct http_server **out, const struct http_settings *settings,
                       const struct http_handlers *handlers, struct error *err)
{
    struct http_server *server = mem_calloc(1, sizeof *server);
    if (!server)
        return error_set(err, ERR_MEMORY, "no memory for the HTTP server");
    server->settings = *settings;
    server->handlers = *handlers;
    // Some more than libmicrohttpd's limit: a closed connection is returned a little late.
    enum status status = http_watch_init(&server->watch, settings->connections_max + 64, err);
    if (status != OK)
        goto fail;
    server->watch.slow_reader_ns = settings->slow_reader_ms * ns_per_ms;
    server->watch.ping_interval_ns = settings->ping_ms * ns_per_ms;
    server->watch.resume = resume_connection;
    server->watch.hold = exchange_hold;
    server->watch.cancel_and_drop = exchange_cancel_and_drop;
    server->watch.drive = http_stream_drive;
    status = http_watch_start(&server->watch, err);
    if (status != OK)
        goto fail;
    *out = server;  // before a handler can run: handlers read it without a lock
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        settings->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)settings->threads,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)settings->connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(settings->idle_ms / 1000),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
        server, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, server, MHD_OPTION_END);
    if (!server->daemon) {
        status = error_set(err, ERR_IO, "the HTTP daemon does not start");
        goto fail;
    }
    return OK;
fail:
    *out = NULL;
    http_watch_stop(&server->watch);
    http_watch_release(&server->watch);
    mem_free(server);
    return status;
}

void http_interrupt(struct http_server *server)
{
    http_watch_wake_all(&server->watch, true);
}

void http_stop(struct http_server *server)
{
    MHD_socket listener = MHD_quiesce_daemon(server->daemon);
    http_watch_stop(&server->watch);
    http_watch_wake_all(&server->watch, false);  // none may be suspended when the daemon stops
    MHD_stop_daemon(server->daemon);
    if (listener >= 0)
        close(listener);
}

void http_free(struct http_server *server)
{
    if (!server)
        return;
    http_watch_release(&server->watch);
    mem_free(server);
}

void http_stats(struct http_server *server, struct http_stats *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&server->watch.mutex);
    out->connections = server->watch.n_open;
    out->clients_gone = server->watch.clients_gone;
    for (struct http_conn *conn = server->watch.open_list; conn; conn = conn->next_open) {
        out->exchanges_waiting += conn->phase == CONN_WAIT || conn->phase == CONN_STREAM;
        out->replies_pending += conn->phase == CONN_REPLY;
    }
    pthread_mutex_unlock(&server->watch.mutex);
    out->body_bytes = atomic_load(&server->body_bytes);
    for (size_t i = 0; i < 6; i++)
        out->replies[i] = atomic_load(&server->replies[i]);
}
