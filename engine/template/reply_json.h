/* JSON text byte by byte: where a value ends, and whether it still is JSON. No memory of its own
 * but a bit for each level, so that a reply's arguments can go out while they come in. */
#ifndef WICARA_TEMPLATE_REPLY_JSON_H
#define WICARA_TEMPLATE_REPLY_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REPLY_JSON_DEPTH_MAX = 64 };

/* One JSON value on its way; zero at its start. */
struct reply_json {
    uint8_t state;
    uint8_t depth;
    uint8_t progress;      // of a literal, of \uXXXX
    const char *literal;   // "true", "false", "null"
    uint64_t object_bits;  // bit d: level d is an object
};

enum reply_json_step {
    REPLY_JSON_MORE,   // the byte belongs to the value, which goes on
    REPLY_JSON_END,    // the byte ends the value
    REPLY_JSON_AFTER,  // the value (a number) ended before this byte, which is not part of it
    REPLY_JSON_BAD,    // not JSON any more; the struct is as before the byte
};
enum reply_json_step reply_json_push(struct reply_json *json, char c);

/* Inside of a string literal, where a control character is text that lacks its escape. */
bool reply_json_in_string(const struct reply_json *json);
/* Right behind a backslash: the next byte is not one of its own. */
bool reply_json_in_escape(const struct reply_json *json);
/* Behind a backslash that begins no escape: takes it for one that lacks its own backslash. */
bool reply_json_end_escape(struct reply_json *json);
/* Writes the byte as it stands in a string literal; returns how many bytes that takes. */
size_t reply_json_escape(char c, char out[8]);
/* The text may end here: a number at the top level. */
bool reply_json_may_end(const struct reply_json *json);

#endif
