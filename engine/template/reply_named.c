/* Calls as a name between markers, then JSON arguments: DeepSeek V3, R1 and V3.1, Kimi K2, Mistral
 * with [ARGS].
 *
 *   V3, R1   CALL type SEP name newline ```json newline {...} newline ``` CALL_END
 *   V3.1     CALL name SEP {...} CALL_END
 *   Kimi K2  CALL functions.name:0 SEP {...} CALL_END, the text before SEP is the call's id
 *   Mistral  [TOOL_CALLS]name[CALL_ID]id[ARGS]{...}
 *
 * All but Mistral put their calls between markers of a section, which some models forget. */
#include "engine/template/reply_internal.h"

enum { SECTION = STATE_CALL, HEAD, ID, TYPED_NAME, FENCE, ARGUMENTS, LITERAL, AFTER };
enum { HEAD_BYTES_MAX = 2 * REPLY_NAME_BYTES_MAX };

static bool in_string(const struct reply *reply)
{
    return reply->state == LITERAL ||
           (reply->state == ARGUMENTS && reply_json_in_string(&reply->json));
}

static uint32_t live(const struct reply *reply)
{
    uint32_t open = BIT(MARK_CALLS_OPEN) | BIT(MARK_CALL_OPEN);
    uint32_t close = BIT(MARK_CALL_CLOSE) | BIT(MARK_CALLS_CLOSE);
    switch (reply->state) {
    case HEAD:
        return BIT(MARK_HEAD_CLOSE) | BIT(MARK_ID) | close;
    case ID:
        return BIT(MARK_HEAD_CLOSE);
    case TYPED_NAME:
    case FENCE:
        return close;
    case ARGUMENTS:
    case LITERAL:
        return in_string(reply) ? 0 : close;
    case SECTION:
    case AFTER:
    case STATE_BETWEEN:
        return open | close;
    default:
        return open;
    }
}

/* Kimi K2: functions.NAME:0. */
static void split_id(const char *head, size_t n_bytes, size_t *first, size_t *last)
{
    static const char prefix[] = "functions.";
    size_t n_prefix = sizeof prefix - 1, at = n_bytes;
    *first = n_bytes > n_prefix && memcmp(head, prefix, n_prefix) == 0 ? n_prefix : 0;
    while (at > *first && head[at - 1] >= '0' && head[at - 1] <= '9')
        at--;
    *last = at > *first + 1 && at < n_bytes && head[at - 1] == ':' ? at - 1 : n_bytes;
}

static void start(struct reply *reply)
{
    const char *head = reply->head.bytes ? reply->head.bytes : "";
    size_t first = 0, last = reply->head.n_bytes, name_first, name_last;
    while (first < last && reply_is_blank(head[first]))
        first++;
    while (last > first && reply_is_blank(head[last - 1]))
        last--;
    head += first;
    split_id(head, last - first, &name_first, &name_last);
    bool has_id = name_last < last - first;
    if (!reply_start_call(reply, head + name_first, name_last - name_first, has_id ? head : NULL,
                          has_id ? last - first : 0))
        return;
    reply->state = reply->options.format->typed_head ? FENCE : ARGUMENTS;
}

static void arguments_byte(struct reply *reply, char c)
{
    if (!reply->has_arguments && c == '"') {
        buf_clear(&reply->value);
        reply->json = (struct reply_json){0};
        (void)reply_json_push(&reply->json, c);
        reply->state = LITERAL;
        return;
    }
    enum reply_json_step step = reply_arguments_byte(reply, &reply->json, c);
    if (step == REPLY_JSON_MORE)
        return;
    reply_end_call(reply);
    reply->state = AFTER;
    if (step == REPLY_JSON_AFTER)
        reply_content_byte(reply, c);
}

/* Arguments that are a string: see reply_text_arguments(). */
static void literal_byte(struct reply *reply, char c)
{
    bool is_end = c == '"' && !reply_json_in_escape(&reply->json);
    if (!is_end) {
        if (reply_json_push(&reply->json, c) == REPLY_JSON_BAD)
            (void)reply_json_end_escape(&reply->json);
        reply_keep(reply, &reply->value, &c, 1);
        return;
    }
    struct buf out;
    buf_init(&out, REPLY_HELD_BYTES_MAX);
    reply_text_arguments(reply, &reply->value, &out);
    reply_arguments(reply, out.bytes, out.n_bytes);
    buf_release(&out);
    reply_end_call(reply);
    reply->state = AFTER;
}

static void head_byte(struct reply *reply, char c)
{
    reply_keep(reply, &reply->raw, &c, 1);
    if (reply->state == TYPED_NAME && c == '\n') {
        start(reply);
    } else if (reply->state == ID) {
        if (reply->raw.n_bytes > 4 * HEAD_BYTES_MAX)
            reply_not_a_call(reply);
    } else if (reply->head.n_bytes == HEAD_BYTES_MAX) {
        reply_not_a_call(reply);
    } else {
        reply_keep(reply, &reply->head, &c, 1);
    }
}

static void byte(struct reply *reply, char c)
{
    switch (reply->state) {
    case SECTION:
        reply_keep(reply, &reply->raw, &c, 1);
        if (!reply_is_blank(c))
            reply_not_a_call(reply);
        return;
    case HEAD:
    case ID:
    case TYPED_NAME:
        head_byte(reply, c);
        return;
    case FENCE:
        if (c != '{')
            return;
        reply->state = ARGUMENTS;
        // fall through
    case ARGUMENTS:
        arguments_byte(reply, c);
        return;
    case LITERAL:
        literal_byte(reply, c);
        return;
    case AFTER:
        if (reply_is_blank(c) || (reply->options.format->typed_head && c == '`'))
            return;
        reply->state = STATE_BETWEEN;
        reply_content_byte(reply, c);
        return;
    default:
        reply_content_byte(reply, c);
    }
}

static void close_call(struct reply *reply, enum reply_mark mark)
{
    switch (reply->state) {
    case FENCE:
    case ARGUMENTS:
        reply_end_call(reply);
        break;
    case SECTION:
        buf_clear(&reply->raw);  // a section without calls
        break;
    case HEAD:
    case TYPED_NAME:
        reply_keep_marker(reply, mark);
        reply_not_a_call(reply);
        return;
    default:
        break;
    }
    reply->state = mark == MARK_CALL_CLOSE ? AFTER : STATE_BETWEEN;
}

static void marker(struct reply *reply, enum reply_mark mark)
{
    if (mark == MARK_CALL_CLOSE || mark == MARK_CALLS_CLOSE) {
        close_call(reply, mark);
        return;
    }
    reply_keep_marker(reply, mark);
    switch (mark) {
    case MARK_CALLS_OPEN:
        reply->state = SECTION;
        break;
    case MARK_CALL_OPEN:
        buf_clear(&reply->head);
        reply->is_started = false;
        reply->state = HEAD;
        break;
    case MARK_ID:
        reply->state = ID;
        break;
    default:
        if (reply->options.format->typed_head) {
            buf_clear(&reply->head);
            reply->state = TYPED_NAME;
        } else {
            start(reply);
        }
    }
}

static void finish(struct reply *reply, bool is_cut)
{
    if (reply->state == SECTION || reply->state == HEAD || reply->state == ID ||
        reply->state == TYPED_NAME)
        reply_not_a_call(reply);
    else if (reply->state == ARGUMENTS && reply_json_may_end(&reply->json) && !is_cut)
        reply_end_call(reply);
    else if ((reply->state == ARGUMENTS || reply->state == FENCE) && !reply->has_arguments &&
             !is_cut)
        reply_end_call(reply);
}

const struct reply_handler reply_named = {NULL, live, byte, marker, finish};
