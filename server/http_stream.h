/* A stream's text on its way to the socket. Internal to http.c and the watcher.
 *
 * The head, the first text and the end go through libmicrohttpd. What comes between is written to
 * the socket by the watcher, which the engine wakes once a step for all streams: a resumed
 * connection costs libmicrohttpd a wake-up of its own thread, several system calls and a thread
 * switch, more than the text itself. While a connection is suspended in the middle of a body,
 * libmicrohttpd has nothing of it in its buffers and does not touch the socket, and each write is
 * whole chunks of the chunked coding, so it goes on behind them without knowing. */
#ifndef WICARA_SERVER_HTTP_STREAM_H
#define WICARA_SERVER_HTTP_STREAM_H

#include "server/http_exchange.h"

enum { STREAM_BYTES_MAX = 4 << 20, STREAM_BLOCK_BYTES = 16384 };

void http_stream_begin(struct http_exchange *exchange);
/* Whether libmicrohttpd sends the body of a stream in chunks: to HTTP/1.1 clients, always. */
bool http_stream_is_chunked(const struct http_exchange *exchange);
/* Asks the work for about bytes_max more; into `out`, which must be empty, from out_sent on. Sets
 * stream_ended, stream_broken. */
void http_stream_fill(struct http_exchange *exchange, size_t bytes_max, unsigned events);
/* Sends what the work has ready, without blocking; *sent: the socket took something. After
 * HTTP_DRIVE_OVER, `out` holds text without its chunk's frame, for libmicrohttpd. */
enum http_drive http_stream_drive(struct http_exchange *exchange, bool *sent);

#endif
