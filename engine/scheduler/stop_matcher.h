/* Stop strings in streamed text: what could still become one is held back, a match is never shown.
 * Any split of the text gives the same output and the same match: the stop string that is complete
 * first ends the text; of several that end at the same byte, the longest. */
#ifndef WICARA_SCHEDULER_STOP_MATCHER_H
#define WICARA_SCHEDULER_STOP_MATCHER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

struct stop_matcher {
    const char *const *stops;  // borrowed, NUL-terminated
    const size_t *stop_bytes;  // borrowed, their lengths, none is 0
    size_t n_stops;
    size_t longest;
    bool include;       // a match is shown before the text ends
    struct buf held;    // a proper prefix of a stop string, or empty
    const char *match;  // the stop string that ended the text, or NULL
};

void stop_matcher_init(struct stop_matcher *matcher, const char *const *stops,
                       const size_t *stop_bytes, size_t n_stops);
void stop_matcher_release(struct stop_matcher *matcher);

/* Appends to `out` what is certain to be shown. After a match nothing more comes out. False when
 * memory is out. */
bool stop_matcher_push(struct stop_matcher *matcher, const char *text, size_t n_bytes,
                       struct buf *out);
/* The text ends here: appends what was held back. */
bool stop_matcher_flush(struct stop_matcher *matcher, struct buf *out);

#endif
