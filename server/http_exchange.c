/* Exchanges without libmicrohttpd: their life, what a request says, what a reply will say; see
 * http_exchange.h and http.h. Strings of the head are copied into the exchange's arena, so a
 * handler may use them for as long as it has the exchange. */
#include "server/http_exchange.h"

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "server/api_error.h"

/* ---- life ---- */

struct http_exchange *exchange_create(struct http_conn *conn, struct MHD_Connection *mhd,
                                      const char *target, size_t body_bytes_max,
                                      _Atomic size_t *bodies_bytes)
{
    struct http_exchange *exchange = mem_calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->conn = conn;
    exchange->mhd = mhd;
    exchange->bodies_bytes = bodies_bytes;
    exchange->start_ns = clock_ns();
    atomic_init(&exchange->holds, 1);
    arena_init(&exchange->arena, EXCHANGE_ARENA_BYTES);
    buf_init(&exchange->body, body_bytes_max);
    exchange->head.target = arena_memdup0(&exchange->arena, target, strlen(target));
    if (exchange->head.target)
        return exchange;
    exchange_drop(exchange);
    return NULL;
}

void exchange_forget_body(struct http_exchange *exchange)
{
    atomic_fetch_sub(exchange->bodies_bytes, exchange->body.n_bytes);
    buf_release(&exchange->body);
}

void exchange_drop(struct http_exchange *exchange)
{
    if (!exchange || atomic_fetch_sub(&exchange->holds, 1) != 1)
        return;
    if (exchange->work)
        exchange->work->release(exchange->state);
    exchange_forget_body(exchange);
    buf_release(&exchange->reply);
    buf_release(&exchange->out);
    arena_release(&exchange->arena);
    mem_free(exchange);
}

void exchange_hold(struct http_exchange *exchange)
{
    atomic_fetch_add(&exchange->holds, 1);
}

void exchange_cancel_and_drop(struct http_exchange *exchange)
{
    exchange->work->cancel(exchange->state);
    exchange_drop(exchange);
}

/* ---- the request ---- */

bool exchange_set_head(struct http_exchange *exchange, const char *method, const char *version,
                       const struct http_field *fields, size_t n_fields)
{
    struct arena *arena = &exchange->arena;
    struct http_field *copies = arena_alloc(arena, (n_fields + 1) * sizeof *copies);
    exchange->head.method = arena_memdup0(arena, method, strlen(method));
    exchange->head.version = arena_memdup0(arena, version, strlen(version));
    if (!copies || !exchange->head.method || !exchange->head.version)
        return false;
    for (size_t i = 0; i < n_fields; i++) {
        copies[i] = fields[i];
        copies[i].name = arena_memdup0(arena, fields[i].name, fields[i].name_bytes);
        copies[i].value = arena_memdup0(arena, fields[i].value, fields[i].value_bytes);
        if (!copies[i].name || !copies[i].value)
            return false;
    }
    exchange->head.fields = copies;
    exchange->head.n_fields = n_fields;
    return true;
}

void exchange_refuse(struct http_exchange *exchange, int http_status, const char *why)
{
    struct buf body;
    buf_init(&body, 4096);
    struct api_error error = api_error_http(http_status, why);
    api_error_write(&body, &error);
    exchange->close_after = true;
    if (error.retry_after_s > 0)
        http_add_header(exchange, "Retry-After", "1");
    http_reply_take(exchange, http_status, "application/json", &body);
}

/* ---- what the layer above calls ---- */

const char *http_method(const struct http_exchange *exchange)
{
    return exchange->head.method;
}
const char *http_path(const struct http_exchange *exchange)
{
    return exchange->gate.path;
}
const struct http_gate_result *http_gate_facts(const struct http_exchange *exchange)
{
    return &exchange->gate;
}
const char *http_request_header(const struct http_exchange *exchange, const char *name)
{
    const struct http_field *field = http_head_find(&exchange->head, name);
    return field ? field->value : NULL;
}
const char *http_body(const struct http_exchange *exchange, size_t *n_bytes)
{
    *n_bytes = exchange->body.n_bytes;
    return exchange->body.bytes ? exchange->body.bytes : "";
}
void *http_exchange_user(const struct http_exchange *exchange)
{
    return exchange->user;
}
void http_exchange_set_user(struct http_exchange *exchange, void *user)
{
    exchange->user = user;
}
bool http_is_answered(const struct http_exchange *exchange)
{
    return exchange->http_status != 0;
}
void http_close_after(struct http_exchange *exchange)
{
    exchange->close_after = true;
}

void http_add_header(struct http_exchange *exchange, const char *name, const char *value)
{
    for (const char *at = value; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return;
    }
    char *name_copy = arena_memdup0(&exchange->arena, name, strlen(name));
    char *value_copy = arena_memdup0(&exchange->arena, value, strlen(value));
    if (!name_copy || !value_copy || exchange->n_headers == REPLY_HEADERS_MAX) {
        log_warn("reply header %s was dropped", name);
        return;
    }
    exchange->header_names[exchange->n_headers] = name_copy;
    exchange->header_values[exchange->n_headers++] = value_copy;
}

void http_reply_static(struct http_exchange *exchange, int http_status, const char *content_type,
                       const void *bytes, size_t n_bytes)
{
    if (exchange->http_status != 0)
        return;
    exchange->http_status = http_status;
    exchange->content_type = content_type;
    exchange->static_bytes = bytes;
    exchange->static_n_bytes = n_bytes;
}

void http_reply_take(struct http_exchange *exchange, int http_status, const char *content_type,
                     struct buf *body)
{
    static const char no_memory[] = "{\"error\":{\"message\":\"the reply did not fit into memory\","
                                    "\"type\":\"server_error\",\"param\":null,\"code\":null}}";
    if (exchange->http_status == 0 && body->failed) {
        http_reply_static(exchange, 500, "application/json", no_memory, sizeof no_memory - 1);
    } else if (exchange->http_status == 0) {
        exchange->http_status = http_status;
        exchange->content_type = content_type;
        exchange->reply = *body;
        *body = (struct buf){.bytes_max = body->bytes_max};
        return;
    }
    buf_release(body);
}

void http_wait(struct http_exchange *exchange, const struct http_work *work, void *state)
{
    struct http_conn *conn = exchange->conn;
    pthread_mutex_lock(&conn->watch->mutex);
    exchange->work = work;
    exchange->state = state;
    conn->exchange = exchange;
    conn->phase = CONN_WAIT;
    conn->deadline_ns = 0;
    conn->wants_ping = true;
    conn->ping_due = false;
    conn->ping_ns = clock_ns() + conn->watch->ping_interval_ns;
    bool left = conn->half_closed;
    conn->gone = left;
    conn->woken = true;  // ask the work once before sleeping: its first event may be there already
    pthread_mutex_unlock(&conn->watch->mutex);
    if (left)
        work->cancel(state);  // the client left before its request was complete
}

void http_stream(struct http_exchange *exchange, int http_status, const char *content_type)
{
    if (exchange->http_status != 0)
        return;
    exchange->http_status = http_status;
    exchange->content_type = content_type;
    exchange->streaming = true;
}

void *http_wake_handle(const struct http_exchange *exchange)
{
    return exchange->conn;
}
void http_notify(void *wake_handle)
{
    http_watch_notify(wake_handle);
}
