/* Streams; see http_stream.h.
 *
 * A chunk is made in place: room for its length is left in front of the text, and it goes out with
 * one send(). What the socket does not take stays in `out` until the watcher hears of room. */
#include "server/http_stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { LENGTH_DIGITS = 6, FRAME_BYTES = LENGTH_DIGITS + 2 };

static_assert(STREAM_BYTES_MAX < 1 << 4 * LENGTH_DIGITS, "a chunk's length has its digits");

void http_stream_begin(struct http_exchange *exchange)
{
    int one = 1;
    buf_init(&exchange->out, STREAM_BYTES_MAX);
    // Text must not wait for the client's acknowledgement of the text before it.
    if (setsockopt(exchange->conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        exchange->stream_broken = true;
}

bool http_stream_is_chunked(const struct http_exchange *exchange)
{
    return strcmp(exchange->head.version, "HTTP/1.1") == 0;
}

static void fill(struct http_exchange *exchange, size_t bytes_max, unsigned events)
{
    struct buf *out = &exchange->out;
    enum http_fill state = exchange->work->fill(exchange->state, out, bytes_max, events);
    exchange->stream_broken = state == HTTP_FILL_BROKEN || out->failed;
    exchange->stream_ended = state == HTTP_FILL_END;
}

void http_stream_fill(struct http_exchange *exchange, size_t bytes_max, unsigned events)
{
    buf_clear(&exchange->out);
    exchange->out_sent = 0;
    fill(exchange, bytes_max, events);
}

/* The text behind the first FRAME_BYTES becomes a chunk. */
static void frame(struct http_exchange *exchange)
{
    static const char hex[] = "0123456789abcdef";
    struct buf *out = &exchange->out;
    size_t at = LENGTH_DIGITS, left = out->n_bytes - FRAME_BYTES;
    buf_append(out, "\r\n", 2);
    if (out->failed) {
        exchange->stream_broken = true;
        return;
    }
    for (; left > 0; left >>= 4)
        out->bytes[--at] = hex[left & 15];
    exchange->out_sent = at;
}

/* Makes the next chunk. False when there is none to send here. */
static bool next_chunk(struct http_exchange *exchange)
{
    struct buf *out = &exchange->out;
    buf_clear(out);
    buf_append(out, "000000\r\n", FRAME_BYTES);
    fill(exchange, FRAME_BYTES + STREAM_BLOCK_BYTES, 0);
    exchange->out_sent = FRAME_BYTES;
    if (!exchange->stream_ended && !exchange->stream_broken && out->n_bytes > FRAME_BYTES)
        frame(exchange);
    if (exchange->stream_broken)
        exchange->out_sent = out->n_bytes;
    return exchange->out_sent < FRAME_BYTES;
}

enum http_drive http_stream_drive(struct http_exchange *exchange, bool *sent)
{
    struct buf *out = &exchange->out;
    for (;;) {
        if (exchange->out_sent == out->n_bytes && !next_chunk(exchange))
            return exchange->stream_ended || exchange->stream_broken ? HTTP_DRIVE_OVER
                                                                     : HTTP_DRIVE_WAITS;
        ssize_t n = send(exchange->conn->fd, out->bytes + exchange->out_sent,
                         out->n_bytes - exchange->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            exchange->out_sent += (size_t)n;
            *sent = true;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return HTTP_DRIVE_BLOCKED;
        } else if (n == 0 || errno != EINTR) {
            exchange->stream_broken = true;
            exchange->out_sent = out->n_bytes;
            return HTTP_DRIVE_OVER;
        }
    }
}
