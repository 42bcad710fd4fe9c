/* Calls as JSON objects {"name": ..., "arguments": ...}: behind a marker (Hermes, Qwen2.5, Qwen3:
 * <tool_call>; old Mistral: [TOOL_CALLS][...]), or bare (Llama 3.x, and what small models make of
 * the others).
 *
 * A bare object is a call only if its name is one of the request's tools and it has arguments;
 * until that is known it waits. Inside of a string of the object no marker is looked for. */
#include "engine/template/reply_internal.h"

enum { OPENED = STATE_CALL, OBJECT, AFTER };

static uint32_t live(const struct reply *reply)
{
    uint32_t open = BIT(MARK_CALLS_OPEN) | BIT(MARK_CALL_OPEN);
    switch (reply->state) {
    case OPENED:
    case AFTER:
        return open | BIT(MARK_CALL_CLOSE);
    case OBJECT:
        if (call_reader_in_string(&reply->call))
            return 0;
        // Behind broken arguments, or where the object stops short.
        return reply->is_bare ? 0 : BIT(MARK_CALL_CLOSE);
    default:
        return open | (reply->state == STATE_BETWEEN ? BIT(MARK_CALL_CLOSE) : 0);
    }
}

static void begin_object(struct reply *reply, char c)
{
    reply_keep(reply, &reply->raw, &c, 1);
    call_reader_reset(&reply->call);
    reply->is_started = false;
    reply->state = OBJECT;
}

static void object_byte(struct reply *reply, char c)
{
    if (!reply->is_started)
        reply_keep(reply, &reply->raw, &c, 1);
    enum call_step step = call_reader_push(reply, &reply->call, c);
    if (step == CALL_END) {
        reply_end_call(reply);
        reply->state = AFTER;
    } else if (step == CALL_BAD && reply->is_started) {
        // The frame is wrong: the call stands as it is, and what follows is content.
        reply_end_call(reply);
        if (!reply->is_over)
            reply_content_byte(reply, c);
    } else if (step == CALL_BAD && reply->state == OBJECT) {
        reply_not_a_call(reply);
    }
}

static void opened_byte(struct reply *reply, char c)
{
    if (c == '{') {
        begin_object(reply, c);
        return;
    }
    reply_keep(reply, &reply->raw, &c, 1);
    if (reply_is_blank(c))
        return;
    if (c == '[' && !reply->in_array)
        reply->in_array = true;
    else if (c == ']' && reply->in_array) {
        buf_clear(&reply->raw);
        reply->state = STATE_BETWEEN;
    } else
        reply_not_a_call(reply);
}

static void after_byte(struct reply *reply, char c)
{
    if (reply_is_blank(c) || (reply->in_array && c == ',') ||
        (reply->options.format->bare && c == ';'))
        return;
    if (c == '{') {
        begin_object(reply, c);
    } else if (c == ']' && reply->in_array) {
        reply->in_array = false;
        reply->state = STATE_BETWEEN;
    } else {
        reply->state = STATE_BETWEEN;
        reply_content_byte(reply, c);
    }
}

static void byte(struct reply *reply, char c)
{
    switch (reply->state) {
    case OPENED:
        opened_byte(reply, c);
        return;
    case OBJECT:
        object_byte(reply, c);
        return;
    case AFTER:
        after_byte(reply, c);
        return;
    default:
        if (c == '{' && reply->options.format->bare && reply->state != STATE_CONTENT) {
            reply->is_bare = true;
            reply->in_array = false;
            begin_object(reply, c);
        } else {
            reply_content_byte(reply, c);
        }
    }
}

static void marker(struct reply *reply, enum reply_mark mark)
{
    if (mark == MARK_CALL_CLOSE) {
        if (reply->state == OBJECT && reply->is_started)
            reply_end_call(reply);
        else if (reply->state == OBJECT || reply->state == OPENED) {
            reply_keep_marker(reply, mark);
            reply_not_a_call(reply);
        }
        reply->state = reply->state == AFTER ? STATE_BETWEEN : reply->state;
        return;
    }
    if (reply->state == OPENED)  // the marker before came to nothing
        reply_not_a_call(reply);
    reply->is_bare = reply->in_array = false;
    reply->state = OPENED;
    reply_keep_marker(reply, mark);
}

static void finish(struct reply *reply, bool is_cut)
{
    (void)is_cut;  // JSON shows by itself whether it is whole
    if (reply->state == OBJECT && reply->is_started)
        reply->is_started = false;  // cut off: its arguments are what they are
    else if (reply->state == OPENED || reply->state == OBJECT)
        reply_not_a_call(reply);
}

const struct reply_handler reply_tagged = {NULL, live, byte, marker, finish};
