/* Reads {"name": ..., "arguments": {...}} byte by byte and passes the arguments on while they come.
 *
 * The members may come in any order and others are skipped; `parameters` means the same as
 * `arguments`. Arguments that come before the name wait for it. A string of arguments is what some
 * models make of an object: it waits for its end and goes out as the object that it holds, or, when
 * it holds none, as the string that it is. */
#include "engine/template/reply_internal.h"

enum { KEY_DUE = 1, KEY, COLON, VALUE, TEXT, JSON, AFTER };
enum { MEMBER_OTHER, MEMBER_NAME, MEMBER_ARGUMENTS, MEMBER_ARGUMENTS_TEXT };
enum { RAW_BYTES_MAX = 6 * REPLY_NAME_BYTES_MAX };

void call_reader_init(struct call_reader *call)
{
    buf_init(&call->key, RAW_BYTES_MAX);
    buf_init(&call->name, RAW_BYTES_MAX);
    buf_init(&call->arguments, REPLY_HELD_BYTES_MAX);
}

void call_reader_reset(struct call_reader *call)
{
    buf_clear(&call->key);
    buf_clear(&call->name);
    buf_clear(&call->arguments);
    call->state = KEY_DUE;
    call->is_escape = call->has_name = call->has_arguments = call->wants_arguments = false;
}

void call_reader_release(struct call_reader *call)
{
    buf_release(&call->key);
    buf_release(&call->name);
    buf_release(&call->arguments);
}

bool call_reader_in_string(const struct call_reader *call)
{
    return call->state == KEY || call->state == TEXT ||
           (call->state == JSON && reply_json_in_string(&call->json));
}

/* ---- the call goes out ---- */

/* Announces the call once its name is known; a bare one only when it has arguments as well. */
static bool start(struct reply *reply, struct call_reader *call)
{
    if (reply->is_started || !call->has_name)
        return true;
    if (reply->is_bare &&
        (!call->wants_arguments ||
         !reply_tools_has(reply->options.tools, call->name.bytes, call->name.n_bytes)))
        return !call->wants_arguments;
    if (!reply_start_call(reply, call->name.bytes, call->name.n_bytes, NULL, 0))
        return false;
    if (call->arguments.n_bytes > 0 && call->member != MEMBER_ARGUMENTS_TEXT) {
        reply_arguments(reply, call->arguments.bytes, call->arguments.n_bytes);
        buf_clear(&call->arguments);
    }
    return true;
}

static void arguments_byte(struct reply *reply, struct call_reader *call, char c)
{
    if (reply->is_started)
        reply_arguments(reply, &c, 1);
    else
        reply_keep(reply, &call->arguments, &c, 1);
}

void reply_text_arguments(struct reply *reply, const struct buf *raw, struct buf *out)
{
    const char *bytes = raw->bytes ? raw->bytes : "";
    bool is_object = reply_unescape(bytes, raw->n_bytes, out);
    reply->is_failed = reply->is_failed || out->no_memory;
    size_t at = 0;
    while (is_object && at < out->n_bytes && reply_is_blank(out->bytes[at]))
        at++;
    is_object = is_object && at < out->n_bytes && out->bytes[at] == '{' &&
                reply_is_json(reply, out->bytes, out->n_bytes);
    if (is_object)
        return;
    buf_clear(out);
    reply_keep(reply, out, "\"", 1);
    for (size_t i = 0; i < raw->n_bytes; i++) {
        char escaped[8];
        bool is_control = (unsigned char)bytes[i] < 0x20;
        size_t n = is_control ? reply_json_escape(bytes[i], escaped) : 1;
        reply_keep(reply, out, is_control ? escaped : bytes + i, n);
    }
    reply_keep(reply, out, "\"", 1);
}

/* The string of arguments is complete in call->arguments, without its quotes. */
static bool finish_text(struct reply *reply, struct call_reader *call)
{
    struct buf out;
    buf_init(&out, REPLY_HELD_BYTES_MAX);
    reply_text_arguments(reply, &call->arguments, &out);
    call->member = MEMBER_ARGUMENTS;
    buf_clear(&call->arguments);
    if (reply->is_started)
        reply_arguments(reply, out.bytes, out.n_bytes);
    else
        reply_keep(reply, &call->arguments, out.bytes, out.n_bytes);
    buf_release(&out);
    return start(reply, call);
}

/* ---- reading ---- */

static bool key_is(const struct call_reader *call, const char *name)
{
    return call->key.n_bytes == strlen(name) &&
           memcmp(call->key.bytes, name, call->key.n_bytes) == 0;
}

static void key_ended(struct call_reader *call)
{
    call->member = MEMBER_OTHER;
    if (!call->has_name && key_is(call, "name"))
        call->member = MEMBER_NAME;
    else if (!call->has_arguments && (key_is(call, "arguments") || key_is(call, "parameters")))
        call->member = MEMBER_ARGUMENTS;
    call->state = COLON;
}

static enum call_step begin_value(struct reply *reply, struct call_reader *call, char c)
{
    call->json = (struct reply_json){0};
    call->state = JSON;
    if (call->member == MEMBER_NAME) {
        call->state = TEXT;
        return c == '"' ? CALL_MORE : CALL_BAD;
    }
    if (call->member == MEMBER_ARGUMENTS) {
        call->has_arguments = call->wants_arguments = true;
        if (c == '"') {
            call->member = MEMBER_ARGUMENTS_TEXT;
            call->state = TEXT;
            return CALL_MORE;
        }
        if (!start(reply, call))
            return CALL_BAD;
    }
    return call_reader_push(reply, call, c);
}

static enum call_step text_byte(struct reply *reply, struct call_reader *call, char c)
{
    struct buf *raw = call->member == MEMBER_NAME ? &call->name : &call->arguments;
    if (call->is_escape || c != '"') {
        call->is_escape = !call->is_escape && c == '\\';
        if (raw->n_bytes == raw->bytes_max)
            return CALL_BAD;
        reply_keep(reply, raw, &c, 1);
        return CALL_MORE;
    }
    call->state = AFTER;
    if (call->member == MEMBER_ARGUMENTS_TEXT)
        return finish_text(reply, call) ? CALL_MORE : CALL_BAD;
    struct buf name;
    buf_init(&name, RAW_BYTES_MAX);
    bool whole = reply_unescape(raw->bytes ? raw->bytes : "", raw->n_bytes, &name);
    reply->is_failed = reply->is_failed || name.no_memory;
    buf_clear(raw);
    reply_keep(reply, raw, name.bytes, name.n_bytes);
    buf_release(&name);
    call->has_name = whole;
    return whole && start(reply, call) ? CALL_MORE : CALL_BAD;
}

/* A byte of a value that is JSON: arguments go out, others are skipped. */
static enum call_step json_byte(struct reply *reply, struct call_reader *call, char c)
{
    enum reply_json_step step;
    if (call->member != MEMBER_ARGUMENTS) {
        step = reply_json_push(&call->json, c);
    } else if (reply->is_started) {
        step = reply_arguments_byte(reply, &call->json, c);
        if (reply->is_broken)
            return CALL_MORE;
    } else {
        step = reply_json_push(&call->json, c);
        if (step == REPLY_JSON_MORE || step == REPLY_JSON_END)
            arguments_byte(reply, call, c);
    }
    if (step == REPLY_JSON_BAD)
        return CALL_BAD;
    if (step == REPLY_JSON_MORE)
        return CALL_MORE;
    call->state = AFTER;
    return step == REPLY_JSON_AFTER ? call_reader_push(reply, call, c) : CALL_MORE;
}

enum call_step call_reader_push(struct reply *reply, struct call_reader *call, char c)
{
    switch (call->state) {
    case TEXT:
        return text_byte(reply, call, c);
    case JSON:
        return json_byte(reply, call, c);
    case KEY:
        if (!call->is_escape && c == '"') {
            key_ended(call);
            // An answer in JSON must not wait for its end to be told from a bare call.
            bool fits = call->member != MEMBER_OTHER || key_is(call, "type") || key_is(call, "id");
            return reply->is_bare && !fits ? CALL_BAD : CALL_MORE;
        }
        call->is_escape = !call->is_escape && c == '\\';
        if (call->key.n_bytes == call->key.bytes_max)
            return CALL_BAD;
        reply_keep(reply, &call->key, &c, 1);
        return CALL_MORE;
    default:
        break;
    }
    if (reply_is_blank(c))
        return CALL_MORE;
    if (call->state == VALUE)
        return begin_value(reply, call, c);
    if (c == '}' && call->state != COLON)
        return call->has_name && start(reply, call) && reply->is_started ? CALL_END : CALL_BAD;
    if (call->state == KEY_DUE && c == '"') {
        buf_clear(&call->key);
        call->is_escape = false;
        call->state = KEY;
        return CALL_MORE;
    }
    if ((call->state == COLON && c == ':') || (call->state == AFTER && c == ',')) {
        call->state = call->state == COLON ? VALUE : KEY_DUE;
        return CALL_MORE;
    }
    return CALL_BAD;
}
