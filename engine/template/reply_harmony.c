/* gpt-oss: a reply is a row of messages, each with a channel and perhaps a recipient.
 *
 *   <|channel|>analysis<|message|>thought<|end|><|start|>assistant<|channel|>final<|message|>...
 *   <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
 *   <|start|>assistant to=functions.NAME<|channel|>commentary json<|message|>{...}<|call|>
 *
 * analysis is reasoning; final, and commentary without a recipient (a preamble), are content; a
 * message to a recipient is a call. The prompt ends in <|start|>assistant, so a reply begins inside
 * of a header. Source: OpenAI's harmony response format. */
#include "engine/template/reply_internal.h"

enum { HEADER = STATE_CALL, CONTENT, ARGUMENTS, NEXT, THINKING = STATE_HARMONY_THINKING };
enum { HEADER_BYTES_MAX = 4 * REPLY_NAME_BYTES_MAX };

static void begin_header(struct reply *reply)
{
    buf_clear(&reply->head);
    buf_clear(&reply->space);
    reply->channel_at = 0;
    reply->state = HEADER;
}

static uint32_t live(const struct reply *reply)
{
    uint32_t next =
        BIT(MARK_START) | BIT(MARK_CHANNEL) | BIT(MARK_END) | BIT(MARK_CALL) | BIT(MARK_RETURN);
    if (reply->state == HEADER)
        return next | BIT(MARK_CONSTRAIN) | BIT(MARK_MESSAGE);
    bool text_only = reply->options.format->markers[MARK_END].id < 0;
    if (reply->state == ARGUMENTS && text_only && reply_json_in_string(&reply->json))
        return 0;
    return next;
}

/* The word at `first` of the header. */
static size_t word_end(const struct reply *reply, size_t first)
{
    while (first < reply->head.n_bytes && !reply_is_blank(reply->head.bytes[first]))
        first++;
    return first;
}

/* Where a recipient begins in the header; 0 = there is none. */
static size_t find_recipient(const struct reply *reply)
{
    const char *head = reply->head.bytes ? reply->head.bytes : "";
    for (const char *at = strstr(head, "to="); at; at = strstr(at + 1, "to="))
        if (at == head || reply_is_blank(at[-1]))
            return (size_t)(at - head) + 3;
    return 0;
}

static void begin_call(struct reply *reply, size_t first, size_t last)
{
    static const char prefix[] = "functions.";
    const char *name = reply->head.bytes + first;
    size_t n = last - first, n_prefix = sizeof prefix - 1;
    if (n > n_prefix && memcmp(name, prefix, n_prefix) == 0) {
        name += n_prefix;
        n -= n_prefix;
    }
    reply->state = reply_start_call(reply, name, n, NULL, 0) ? ARGUMENTS : CONTENT;
}

static void begin_body(struct reply *reply)
{
    size_t to = find_recipient(reply), to_end = to > 0 ? word_end(reply, to) : 0;
    size_t channel_end = word_end(reply, reply->channel_at);
    bool is_thought = reply->channel_at > 0 && channel_end - reply->channel_at == 8 &&
                      memcmp(reply->head.bytes + reply->channel_at, "analysis", 8) == 0;
    reply->in_text = false;
    if (to_end > to && reply->options.tools)
        begin_call(reply, to, to_end);
    else
        reply->state = is_thought ? THINKING : CONTENT;
}

static void header_byte(struct reply *reply, char c)
{
    if (reply->head.n_bytes < HEADER_BYTES_MAX) {
        reply_keep(reply, &reply->head, &c, 1);
        return;
    }
    reply_emit(reply, REPLY_CONTENT, reply->head.bytes, reply->head.n_bytes);
    reply_emit(reply, REPLY_CONTENT, &c, 1);
    reply->state = CONTENT;
}

static void byte(struct reply *reply, char c)
{
    switch (reply->state) {
    case HEADER:
        header_byte(reply, c);
        break;
    case THINKING:
        reply_thinking_byte(reply, c);
        break;
    case CONTENT:
        reply_emit(reply, REPLY_CONTENT, &c, 1);
        break;
    case ARGUMENTS:
        if (reply_arguments_byte(reply, &reply->json, c) != REPLY_JSON_MORE) {
            reply_end_call(reply);
            reply->state = NEXT;
        }
        break;
    default:
        if (!reply_is_blank(c)) {
            reply->state = CONTENT;
            reply_emit(reply, REPLY_CONTENT, &c, 1);
        }
    }
}

static void marker(struct reply *reply, enum reply_mark mark)
{
    if (reply->state == HEADER && mark == MARK_MESSAGE) {
        begin_body(reply);
        return;
    }
    if (reply->state == HEADER && (mark == MARK_CHANNEL || mark == MARK_CONSTRAIN)) {
        reply_keep(reply, &reply->head, " ", 1);
        if (mark == MARK_CHANNEL)
            reply->channel_at = reply->head.n_bytes;
        return;
    }
    if (reply->state == ARGUMENTS)
        reply_end_call(reply);
    buf_clear(&reply->space);
    begin_header(reply);
    if (mark == MARK_CHANNEL) {
        reply_keep(reply, &reply->head, " ", 1);
        reply->channel_at = 1;
    } else if (mark != MARK_START) {
        reply->state = NEXT;
    }
}

static void finish(struct reply *reply, bool is_cut)
{
    if (reply->state == HEADER && reply->channel_at == 0)  // text without any frame
        reply_emit(reply, REPLY_CONTENT, reply->head.bytes, reply->head.n_bytes);
    else if (reply->state == THINKING)
        buf_clear(&reply->space);
    else if (reply->state == ARGUMENTS && !is_cut && !reply->has_arguments)
        reply_end_call(reply);
}

const struct reply_handler reply_harmony = {begin_header, live, byte, marker, finish};
