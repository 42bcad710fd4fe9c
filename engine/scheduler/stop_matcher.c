/* Stop strings; see stop_matcher.h.
 *
 * The held text is always a proper prefix of a stop string, so it is at most 255 bytes and a plain
 * comparison at each new byte is cheap: 16 strings of 256 bytes against a token's few bytes. */
#include "engine/scheduler/stop_matcher.h"

#include <assert.h>
#include <string.h>

enum { HELD_BYTES_MAX = 1 << 20 };

void stop_matcher_init(struct stop_matcher *matcher, const char *const *stops,
                       const size_t *stop_bytes, size_t n_stops)
{
    *matcher = (struct stop_matcher){.stops = stops, .stop_bytes = stop_bytes, .n_stops = n_stops};
    buf_init(&matcher->held, HELD_BYTES_MAX);
    for (size_t i = 0; i < n_stops; i++) {
        assert(stop_bytes[i] > 0);
        if (stop_bytes[i] > matcher->longest)
            matcher->longest = stop_bytes[i];
    }
}

void stop_matcher_release(struct stop_matcher *matcher)
{
    buf_release(&matcher->held);
}

/* Longest stop string that ends at byte `end` of the held text; n_stops when there is none. */
static size_t stop_ending_at(const struct stop_matcher *matcher, size_t end)
{
    size_t best = matcher->n_stops;
    for (size_t i = 0; i < matcher->n_stops; i++) {
        size_t n = matcher->stop_bytes[i];
        if (n <= end && memcmp(matcher->held.bytes + end - n, matcher->stops[i], n) == 0 &&
            (best == matcher->n_stops || n > matcher->stop_bytes[best]))
            best = i;
    }
    return best;
}

/* Length of the longest tail of the held text that is a proper prefix of a stop string. */
static size_t open_tail(const struct stop_matcher *matcher)
{
    const struct buf *held = &matcher->held;
    size_t n = matcher->longest == 0 ? 0 : matcher->longest - 1;
    for (n = n < held->n_bytes ? n : held->n_bytes; n > 0; n--)
        for (size_t i = 0; i < matcher->n_stops; i++)
            if (n < matcher->stop_bytes[i] &&
                memcmp(held->bytes + held->n_bytes - n, matcher->stops[i], n) == 0)
                return n;
    return 0;
}

static bool release_head(struct stop_matcher *matcher, size_t n_bytes, struct buf *out)
{
    struct buf *held = &matcher->held;
    if (!buf_append(out, held->bytes, n_bytes))
        return false;
    memmove(held->bytes, held->bytes + n_bytes, held->n_bytes - n_bytes);
    buf_truncate(held, held->n_bytes - n_bytes);
    return true;
}

bool stop_matcher_push(struct stop_matcher *matcher, const char *text, size_t n_bytes,
                       struct buf *out)
{
    if (matcher->match != NULL || n_bytes == 0)
        return true;
    if (matcher->n_stops == 0)
        return buf_append(out, text, n_bytes);
    size_t old = matcher->held.n_bytes;
    if (!buf_append(&matcher->held, text, n_bytes))
        return false;
    for (size_t end = old + 1; end <= matcher->held.n_bytes; end++) {
        size_t stop = stop_ending_at(matcher, end);
        if (stop == matcher->n_stops)
            continue;
        matcher->match = matcher->stops[stop];
        size_t n_shown = matcher->include ? end : end - matcher->stop_bytes[stop];
        bool done = buf_append(out, matcher->held.bytes, n_shown);
        buf_clear(&matcher->held);
        return done;
    }
    return release_head(matcher, matcher->held.n_bytes - open_tail(matcher), out);
}

bool stop_matcher_flush(struct stop_matcher *matcher, struct buf *out)
{
    if (matcher->held.n_bytes == 0)
        return true;
    return release_head(matcher, matcher->held.n_bytes, out);
}
