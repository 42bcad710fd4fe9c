/* The members of a JSON object as spans of its text, so that a value can be passed on with the
 * spelling that the client gave it (numbers above 2^53, 1.0 against 1, key order).
 *
 * Works on text that json_scan() has accepted; it follows the text, checks nothing again and does
 * not recurse. Members come in the order of the text, the same order in which cJSON links them. */
#ifndef WICARA_SERVER_JSON_MEMBERS_H
#define WICARA_SERVER_JSON_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

struct json_span {
    const char *text;  // borrowed
    size_t n_bytes;
};

struct json_cursor {
    const char *at;
    const char *end;
};

/* `text` is a scanned JSON value that starts with { or [ (blanks before it are skipped). */
void json_cursor_init(struct json_cursor *cursor, const char *text, size_t n_bytes);

/* Next member or element. `name` is the raw text between the quotes (escapes as written), empty for
 * array elements; may be NULL. False at the end. */
bool json_cursor_next(struct json_cursor *cursor, struct json_span *name, struct json_span *value);

#endif
