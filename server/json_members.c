/* Walks the members of a scanned JSON text; see json_members.h. A value is skipped by counting
 * brackets outside of strings, which is enough because the scanner has accepted the text; nothing
 * is read past its end even if it had not. */
#include "server/json_members.h"

static void skip_blank(struct json_cursor *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t' ||
                                        *cursor->at == '\n' || *cursor->at == '\r'))
        cursor->at++;
}

/* `at` is on an opening quote; returns the place behind the closing one. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++) {
        if (*at == '\\')
            at++;
    }
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end)
{
    size_t depth = 0;
    while (at < end) {
        char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            if (depth == 0)
                return at;
            continue;
        }
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return at;  // behind a number or word, at its container's end
            if (--depth == 0)
                return at + 1;
        } else if (depth == 0 && (c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r')) {
            return at;
        }
        at++;
    }
    return end;
}

void json_cursor_init(struct json_cursor *cursor, const char *text, size_t n_bytes)
{
    *cursor = (struct json_cursor){.at = text, .end = text + n_bytes};
    skip_blank(cursor);
    if (cursor->at < cursor->end && (*cursor->at == '{' || *cursor->at == '['))
        cursor->at++;
    else
        cursor->at = cursor->end;
}

bool json_cursor_next(struct json_cursor *cursor, struct json_span *name, struct json_span *value)
{
    skip_blank(cursor);
    if (cursor->at < cursor->end && *cursor->at == ',') {
        cursor->at++;
        skip_blank(cursor);
    }
    if (cursor->at >= cursor->end || *cursor->at == '}' || *cursor->at == ']')
        return false;
    struct json_span found = {cursor->at, 0};
    if (*cursor->at == '"') {
        const char *behind = skip_string(cursor->at, cursor->end);
        struct json_cursor colon = {behind, cursor->end};
        skip_blank(&colon);
        if (colon.at < colon.end && *colon.at == ':') {
            found = (struct json_span){cursor->at + 1, (size_t)(behind - cursor->at) - 2};
            cursor->at = colon.at + 1;
            skip_blank(cursor);
        }
    }
    if (name)
        *name = found;
    const char *behind = skip_value(cursor->at, cursor->end);
    *value = (struct json_span){cursor->at, (size_t)(behind - cursor->at)};
    cursor->at = behind;
    return true;
}
