/* Server-sent events: the framing, and the few fixed lines. The data of an event is always one line
 * of JSON (its strings are escaped), so nothing in it can end the event early.
 * Source: WHATWG HTML, section "Server-sent events". */
#ifndef WICARA_SERVER_SSE_H
#define WICARA_SERVER_SSE_H

#include "engine/base/buf.h"

static inline void sse_event_begin(struct buf *out)
{
    buf_append_text(out, "data: ");
}
static inline void sse_event_end(struct buf *out)
{
    buf_append_text(out, "\n\n");
}
/* Ends an answer that is whole; an answer that broke off ends without it. */
static inline void sse_done(struct buf *out)
{
    buf_append_text(out, "data: [DONE]\n\n");
}
/* A comment line: clients skip it, proxies see life. */
static inline void sse_keep_alive(struct buf *out)
{
    buf_append_text(out, ": keep-alive\n\n");
}

#endif
