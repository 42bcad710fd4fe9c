/* The states of RFC 8259's grammar, one byte at a time; see reply_json.h.
 *
 * A pushed byte is either taken or refused without a trace, so that the caller can repair and go
 * on. Escapes are checked for shape only: a lone surrogate passes, as most parsers let it. */
#include "engine/template/reply_json.h"

#include <stdio.h>

enum json_state {
    VALUE,           // a value is due
    ARRAY_START,     // behind [
    OBJECT_START,    // behind {
    NAME,            // behind , in an object
    COLON,           // behind a name
    AFTER,           // behind a value inside a container
    STRING,          // within a string value
    STRING_ESCAPE,   // behind its backslash
    STRING_HEX,      // within \uXXXX
    KEY,             // the same three for a name
    KEY_ESCAPE,      //
    KEY_HEX,         //
    LITERAL,         // within true, false, null
    MINUS,           // behind -
    ZERO,            // behind a leading 0
    DIGITS,          // within the integer part
    POINT,           // behind .
    FRACTION,        // within the fraction
    EXPONENT,        // behind e
    EXPONENT_SIGN,   // behind its sign
    EXPONENT_DIGITS  // within it
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool in_object(const struct reply_json *json)
{
    return json->object_bits >> (json->depth - 1) & 1;
}

/* A value has ended with this byte. */
static enum reply_json_step value_ended(struct reply_json *json)
{
    json->state = AFTER;
    return json->depth == 0 ? REPLY_JSON_END : REPLY_JSON_MORE;
}

static enum reply_json_step open_container(struct reply_json *json, bool is_object)
{
    if (json->depth == REPLY_JSON_DEPTH_MAX)
        return REPLY_JSON_BAD;
    uint64_t bit = (uint64_t)1 << json->depth++;
    json->object_bits = is_object ? json->object_bits | bit : json->object_bits & ~bit;
    json->state = is_object ? OBJECT_START : ARRAY_START;
    return REPLY_JSON_MORE;
}

static enum reply_json_step close_container(struct reply_json *json)
{
    json->depth--;
    return value_ended(json);
}

static enum reply_json_step go(struct reply_json *json, enum json_state state)
{
    json->state = (uint8_t)state;
    return REPLY_JSON_MORE;
}

static enum reply_json_step start_value(struct reply_json *json, char c)
{
    static const char *const literals[] = {"true", "false", "null"};
    if (is_blank(c))
        return REPLY_JSON_MORE;
    if (c == '{' || c == '[')
        return open_container(json, c == '{');
    if (c == '"')
        return go(json, STRING);
    if (c == '-')
        return go(json, MINUS);
    if (is_digit(c))
        return go(json, c == '0' ? ZERO : DIGITS);
    for (size_t i = 0; i < 3; i++) {
        if (c != literals[i][0])
            continue;
        json->literal = literals[i];
        json->progress = 1;
        return go(json, LITERAL);
    }
    return REPLY_JSON_BAD;
}

static enum reply_json_step after_value(struct reply_json *json, char c)
{
    if (is_blank(c))
        return REPLY_JSON_MORE;
    if (c == ',')
        return go(json, in_object(json) ? NAME : VALUE);
    if (c == (in_object(json) ? '}' : ']'))
        return close_container(json);
    return REPLY_JSON_BAD;
}

/* STRING and KEY with what follows them in the enum. */
static enum reply_json_step in_text(struct reply_json *json, char c)
{
    enum json_state base = json->state >= KEY ? KEY : STRING;
    switch ((enum json_state)(json->state - base + STRING)) {
    case STRING:
        if ((unsigned char)c < 0x20)
            return REPLY_JSON_BAD;
        if (c == '\\')
            return go(json, base + 1);
        if (c != '"')
            return REPLY_JSON_MORE;
        return base == KEY ? go(json, COLON) : value_ended(json);
    case STRING_ESCAPE:
        json->progress = 0;
        if (c == 'u')
            return go(json, base + 2);
        for (const char *known = "\"\\/bfnrt"; *known; known++)
            if (c == *known)
                return go(json, base);
        return REPLY_JSON_BAD;
    default:
        if (!is_hex(c))
            return REPLY_JSON_BAD;
        return ++json->progress == 4 ? go(json, base) : REPLY_JSON_MORE;
    }
}

/* A number goes on, or ended before c: in a container c then belongs to what follows. */
static enum reply_json_step number_ended(struct reply_json *json, char c)
{
    if (json->depth == 0)
        return REPLY_JSON_AFTER;
    uint8_t before = json->state;
    json->state = AFTER;
    enum reply_json_step step = after_value(json, c);
    if (step == REPLY_JSON_BAD)
        json->state = before;
    return step;
}

static enum reply_json_step in_number(struct reply_json *json, char c)
{
    switch ((enum json_state)json->state) {
    case MINUS:
        return is_digit(c) ? go(json, c == '0' ? ZERO : DIGITS) : REPLY_JSON_BAD;
    case POINT:
        return is_digit(c) ? go(json, FRACTION) : REPLY_JSON_BAD;
    case EXPONENT:
        if (c == '+' || c == '-')
            return go(json, EXPONENT_SIGN);
        return is_digit(c) ? go(json, EXPONENT_DIGITS) : REPLY_JSON_BAD;
    case EXPONENT_SIGN:
        return is_digit(c) ? go(json, EXPONENT_DIGITS) : REPLY_JSON_BAD;
    default:
        break;
    }
    if (is_digit(c) && json->state != ZERO)
        return REPLY_JSON_MORE;
    if (c == '.' && (json->state == ZERO || json->state == DIGITS))
        return go(json, POINT);
    if ((c == 'e' || c == 'E') && json->state != EXPONENT_DIGITS)
        return go(json, EXPONENT);
    return number_ended(json, c);
}

enum reply_json_step reply_json_push(struct reply_json *json, char c)
{
    switch ((enum json_state)json->state) {
    case VALUE:
        return start_value(json, c);
    case ARRAY_START:
        return c == ']' ? close_container(json) : start_value(json, c);
    case OBJECT_START:
        if (c == '}')
            return close_container(json);
        // fall through
    case NAME:
        if (is_blank(c))
            return REPLY_JSON_MORE;
        return c == '"' ? go(json, KEY) : REPLY_JSON_BAD;
    case COLON:
        if (is_blank(c))
            return REPLY_JSON_MORE;
        return c == ':' ? go(json, VALUE) : REPLY_JSON_BAD;
    case AFTER:
        return json->depth == 0 ? REPLY_JSON_AFTER : after_value(json, c);
    case LITERAL:
        if (c != json->literal[json->progress])
            return REPLY_JSON_BAD;
        return json->literal[++json->progress] == '\0' ? value_ended(json) : REPLY_JSON_MORE;
    case STRING:
    case STRING_ESCAPE:
    case STRING_HEX:
    case KEY:
    case KEY_ESCAPE:
    case KEY_HEX:
        return in_text(json, c);
    default:
        return in_number(json, c);
    }
}

bool reply_json_in_string(const struct reply_json *json)
{
    return json->state >= STRING && json->state <= KEY_HEX;
}

bool reply_json_in_escape(const struct reply_json *json)
{
    return json->state == STRING_ESCAPE || json->state == STRING_HEX || json->state == KEY_ESCAPE ||
           json->state == KEY_HEX;
}

bool reply_json_may_end(const struct reply_json *json)
{
    return json->depth == 0 && (json->state == ZERO || json->state == DIGITS ||
                                json->state == FRACTION || json->state == EXPONENT_DIGITS);
}

bool reply_json_end_escape(struct reply_json *json)
{
    if (json->state != STRING_ESCAPE && json->state != KEY_ESCAPE)
        return false;
    json->state--;
    return true;
}

size_t reply_json_escape(char c, char out[8])
{
    static const char plain[] = "\"\\\n\r\t", letters[] = "\"\\nrt";
    for (size_t i = 0; i < sizeof plain - 1; i++) {
        if (c == plain[i]) {
            out[0] = '\\';
            out[1] = letters[i];
            return 2;
        }
    }
    if ((unsigned char)c >= 0x20) {
        out[0] = c;
        return 1;
    }
    return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)c);
}
