/* The core of reply parsing: markers, reasoning, content; see reply.h.
 *
 * Text is handled byte by byte: where a byte could begin a marker that is live in this state, it
 * waits until the marker is whole or impossible, else it goes to the state's handler. A decision
 * thus depends on the bytes and not on how they were grouped, which is what makes streamed and
 * whole replies equal. A marker that is a single token is never looked for in text.
 *
 * White space in front of a marker is dropped, so it waits in `space`; a call whose name is not
 * known yet waits in `raw`, to be shown as content if it is none. */
#include <assert.h>

#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/template/reply_internal.h"

/* ---- memory ---- */

void reply_keep(struct reply *reply, struct buf *buf, const char *bytes, size_t n_bytes)
{
    if (n_bytes > 0 && !buf_append(buf, bytes, n_bytes))
        reply->is_failed = true;
}

static struct reply_part *part_for(struct reply *reply, enum reply_part_type type)
{
    struct reply_part *last = reply->n_parts > 0 ? &reply->parts[reply->n_parts - 1] : NULL;
    if (last && last->type == type && type != REPLY_CALL)
        return last;
    if (reply->n_parts == reply->n_parts_max) {
        size_t wanted = reply->n_parts_max == 0 ? 4 : 2 * reply->n_parts_max;
        struct reply_part *parts = mem_realloc_array(reply->parts, wanted, sizeof *parts);
        if (!parts) {
            reply->is_failed = true;
            return NULL;
        }
        reply->parts = parts;
        reply->n_parts_max = wanted;
    }
    struct reply_part *part = &reply->parts[reply->n_parts++];
    *part = (struct reply_part){.type = type};
    if (type == REPLY_CALL || type == REPLY_ARGUMENTS)
        part->call = reply->n_calls - 1;
    return part;
}

void reply_emit(struct reply *reply, enum reply_part_type type, const char *bytes, size_t n_bytes)
{
    if (n_bytes == 0 && type != REPLY_CALL)
        return;
    struct reply_part *part = part_for(reply, type);
    if (!part)
        return;
    reply_keep(reply, &reply->text, bytes, n_bytes);
    part->n_bytes += n_bytes;
}

/* ---- reasoning and content ---- */

static void show_space(struct reply *reply, enum reply_part_type type)
{
    reply_emit(reply, type, reply->space.bytes, reply->space.n_bytes);
    buf_clear(&reply->space);
}

static bool calls_are_on(const struct reply *reply)
{
    return reply->options.tools != NULL && reply->n_calls < REPLY_CALLS_MAX;
}

void reply_content_byte(struct reply *reply, char c)
{
    if (reply_is_blank(c)) {
        bool waits = calls_are_on(reply) || reply_has_mark(reply, MARK_ANSWER_CLOSE);
        if (reply->state == STATE_START || (reply->state == STATE_CONTENT && waits))
            reply_keep(reply, &reply->space, &c, 1);
        else if (reply->state == STATE_CONTENT)
            reply_emit(reply, REPLY_CONTENT, &c, 1);
        return;  // else it goes
    }
    show_space(reply, REPLY_CONTENT);
    reply->state = STATE_CONTENT;
    reply_emit(reply, REPLY_CONTENT, &c, 1);
}

void reply_thinking_byte(struct reply *reply, char c)
{
    if (reply_is_blank(c)) {
        if (reply->in_text)
            reply_keep(reply, &reply->space, &c, 1);
        return;
    }
    show_space(reply, REPLY_REASONING);
    reply->in_text = true;
    reply_emit(reply, REPLY_REASONING, &c, 1);
}

/* ---- calls ---- */

bool reply_has_mark(const struct reply *reply, enum reply_mark mark)
{
    return reply->options.format->markers[mark].text != NULL;
}

void reply_keep_marker(struct reply *reply, enum reply_mark mark)
{
    const struct reply_marker *marker = &reply->options.format->markers[mark];
    reply_keep(reply, &reply->raw, marker->text, marker->n_bytes);
}

void reply_not_a_call(struct reply *reply)
{
    show_space(reply, REPLY_CONTENT);
    reply_emit(reply, REPLY_CONTENT, reply->raw.bytes, reply->raw.n_bytes);
    buf_clear(&reply->raw);
    reply->state = STATE_CONTENT;
}

static bool is_name(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return false;
    return n_bytes > 0 && n_bytes <= REPLY_NAME_BYTES_MAX;
}

static bool id_is_fit(struct reply *reply, const char *id, size_t n_bytes)
{
    if (!is_name(id, n_bytes) || n_bytes > 64)
        return false;
    for (size_t i = 0; i < n_bytes; i++)
        if ((unsigned char)id[i] >= 0x80 || id[i] == '"' || id[i] == '\\')
            return false;
    size_t before = reply->ids.n_bytes;
    const char *all = before > 0 ? reply->ids.bytes : "";
    for (const char *at = all; *at; at += strcspn(at, "\n") + 1)
        if (strncmp(at, id, n_bytes) == 0 && at[n_bytes] == '\n')
            return false;
    reply_keep(reply, &reply->ids, id, n_bytes);
    reply_keep(reply, &reply->ids, "\n", 1);
    return true;
}

bool reply_start_call(struct reply *reply, const char *name, size_t n_bytes, const char *id,
                      size_t id_bytes)
{
    if (!is_name(name, n_bytes) || !calls_are_on(reply)) {
        reply_not_a_call(reply);
        return false;
    }
    buf_clear(&reply->space);
    buf_clear(&reply->raw);
    reply->is_started = true;
    reply->is_broken = false;
    reply->has_arguments = false;
    reply->n_params = 0;
    reply->json = (struct reply_json){0};
    reply->n_calls++;
    reply_emit(reply, REPLY_CALL, name, n_bytes);
    if (id_bytes > 0 && !reply->is_failed && id_is_fit(reply, id, id_bytes)) {
        reply_keep(reply, &reply->text, id, id_bytes);
        reply->parts[reply->n_parts - 1].n_bytes += id_bytes;
        reply->parts[reply->n_parts - 1].id_bytes = id_bytes;
    }
    return true;
}

void reply_arguments(struct reply *reply, const char *bytes, size_t n_bytes)
{
    reply->has_arguments = true;
    reply_emit(reply, REPLY_ARGUMENTS, bytes, n_bytes);
}

void reply_end_call(struct reply *reply)
{
    if (!reply->has_arguments)
        reply_arguments(reply, "{}", 2);
    reply->is_started = false;
    reply->is_over = reply->options.one_call;
    reply->state = STATE_BETWEEN;
}

enum reply_json_step reply_arguments_byte(struct reply *reply, struct reply_json *json, char c)
{
    if (reply->is_broken) {
        reply_arguments(reply, &c, 1);
        return REPLY_JSON_MORE;
    }
    if ((unsigned char)c < 0x20 && reply_json_in_string(json) && !reply_json_in_escape(json)) {
        char escaped[8];
        reply_arguments(reply, escaped, reply_json_escape(c, escaped));
        return REPLY_JSON_MORE;
    }
    bool is_lead = !reply->has_arguments && reply_is_blank(c);
    enum reply_json_step step = reply_json_push(json, c);
    if (step == REPLY_JSON_BAD && reply_json_end_escape(json)) {
        reply_arguments(reply, "\\", 1);
        step = reply_json_push(json, c);
    }
    if (is_lead || step == REPLY_JSON_AFTER)
        return step;
    reply_arguments(reply, &c, 1);
    if (step != REPLY_JSON_BAD)
        return step;
    reply->is_broken = true;
    *json = (struct reply_json){0};
    return REPLY_JSON_MORE;
}

bool reply_is_json(struct reply *reply, const char *text, size_t n_bytes)
{
    static const struct json_limits limits = {REPLY_JSON_DEPTH_MAX, 1000000};
    enum status status = json_scan(text, n_bytes, &limits, NULL);
    reply->is_failed = reply->is_failed || status == ERR_MEMORY;
    return status == OK;
}

/* ---- which markers are looked for ---- */

static const struct reply_handler *handler_of(const struct reply *reply)
{
    static const struct reply_handler *const handlers[] = {
        [REPLY_TAGGED] = &reply_tagged,
        [REPLY_NAMED] = &reply_named,
        [REPLY_XML] = &reply_xml,
        [REPLY_HARMONY] = &reply_harmony,
    };
    return handlers[reply->options.format->kind];
}

static uint32_t live_marks(const struct reply *reply)
{
    const struct reply_handler *handler = handler_of(reply);
    if (reply->state >= STATE_CALL)
        return handler->live(reply);
    if (reply->state == STATE_THINKING)
        return BIT(MARK_THINK_CLOSE);
    uint32_t live = BIT(MARK_ANSWER_OPEN) | BIT(MARK_ANSWER_CLOSE);
    if (reply->state == STATE_START)
        live |= BIT(MARK_THINK_OPEN);
    if (calls_are_on(reply))
        live |= handler->live(reply);
    return live;
}

static void take_byte(struct reply *reply, char c)
{
    const struct reply_handler *handler = handler_of(reply);
    if (reply->state == STATE_THINKING)
        reply_thinking_byte(reply, c);
    else if (reply->state >= STATE_CALL || calls_are_on(reply))
        handler->byte(reply, c);
    else
        reply_content_byte(reply, c);
}

static void take_marker(struct reply *reply, enum reply_mark mark)
{
    if (reply->options.format->kind == REPLY_HARMONY || mark >= MARK_CALLS_OPEN) {
        handler_of(reply)->marker(reply, mark);
        return;
    }
    switch (mark) {
    case MARK_THINK_OPEN:
        buf_clear(&reply->space);
        reply->state = STATE_THINKING;
        reply->in_text = false;
        break;
    case MARK_THINK_CLOSE:
        buf_clear(&reply->space);
        reply->state = STATE_THOUGHT;
        break;
    default:  // an answer tag: white space beside it goes
        buf_clear(&reply->space);
        reply->state = STATE_THOUGHT;
        break;
    }
}

/* ---- text ---- */

/* The marker that begins at `at`: its mark, -1: none, -2: more text is needed to tell. */
static int match_marker(const struct reply *reply, uint32_t live, const char *at, size_t n_bytes,
                        bool is_end)
{
    int found = -1;
    size_t longest = 0;
    bool undecided = false;
    for (int mark = 0; mark < REPLY_MARKERS; mark++) {
        const struct reply_marker *marker = &reply->options.format->markers[mark];
        if (!(live >> mark & 1) || !marker->text || marker->id >= 0 || marker->text[0] != at[0])
            continue;
        size_t n = marker->n_bytes < n_bytes ? marker->n_bytes : n_bytes;
        if (memcmp(marker->text, at, n) != 0)
            continue;
        if (n < marker->n_bytes) {
            undecided = true;
        } else if (n > longest) {
            found = mark;
            longest = n;
        }
    }
    return undecided && !is_end ? -2 : found;
}

static void scan(struct reply *reply, bool is_end)
{
    size_t at = 0;
    while (at < reply->held.n_bytes && !reply->is_over && !reply->is_failed) {
        const char *bytes = reply->held.bytes + at;
        int mark = match_marker(reply, live_marks(reply), bytes, reply->held.n_bytes - at, is_end);
        if (mark == -2)
            break;
        if (mark >= 0) {
            at += reply->options.format->markers[mark].n_bytes;
            take_marker(reply, (enum reply_mark)mark);
        } else {
            at++;
            take_byte(reply, *bytes);
        }
    }
    size_t left = reply->is_over ? 0 : reply->held.n_bytes - at;
    if (left > 0)
        memmove(reply->held.bytes, reply->held.bytes + at, left);
    buf_truncate(&reply->held, left);
}

bool reply_push(struct reply *reply, const char *text, size_t n_bytes)
{
    if (reply->is_over)
        return true;
    reply_keep(reply, &reply->held, text, n_bytes);
    if (!reply->is_failed)
        scan(reply, false);
    return !reply->is_failed;
}

bool reply_push_marker(struct reply *reply, size_t mark)
{
    const struct reply_marker *marker = &reply->options.format->markers[mark];
    scan(reply, true);
    if (reply->is_over || reply->is_failed)
        return !reply->is_failed;
    if (live_marks(reply) >> mark & 1) {
        take_marker(reply, (enum reply_mark)mark);
    } else if (!marker->is_control || reply->state >= STATE_CALL) {
        for (size_t i = 0; i < marker->n_bytes && !reply->is_over; i++)
            take_byte(reply, marker->text[i]);
    }
    return !reply->is_failed;
}

bool reply_finish(struct reply *reply, bool is_cut)
{
    const struct reply_handler *handler = handler_of(reply);
    scan(reply, true);
    if (reply->is_over || reply->is_failed)
        return !reply->is_failed;
    if (reply->state >= STATE_CALL)
        handler->finish(reply, is_cut);
    show_space(reply, reply->state == STATE_THINKING ? REPLY_REASONING : REPLY_CONTENT);
    return !reply->is_failed;
}

/* ---- life ---- */

static void each_buf(struct reply *reply, void (*act)(struct buf *buf))
{
    struct buf *const bufs[] = {&reply->text, &reply->held,  &reply->space, &reply->raw,
                                &reply->head, &reply->value, &reply->ids};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        act(bufs[i]);
}

static void init_buf(struct buf *buf)
{
    buf_init(buf, REPLY_HELD_BYTES_MAX);
}

enum status reply_create(struct reply **out, const struct reply_options *options, struct error *err)
{
    struct reply *reply = mem_calloc(1, sizeof *reply);
    *out = reply;
    if (!reply)
        return error_set(err, ERR_MEMORY, "no memory for the reply");
    reply->options = *options;
    reply->state = options->is_thinking ? STATE_THINKING : STATE_START;
    each_buf(reply, init_buf);
    call_reader_init(&reply->call);
    if (handler_of(reply)->start)
        handler_of(reply)->start(reply);
    return OK;
}

void reply_free(struct reply *reply)
{
    if (!reply)
        return;
    each_buf(reply, buf_release);
    call_reader_release(&reply->call);
    mem_free(reply->parts);
    mem_free(reply);
}

const struct reply_part *reply_parts(const struct reply *reply, size_t *n_parts, const char **text)
{
    *n_parts = reply->n_parts;
    *text = reply->text.bytes ? reply->text.bytes : "";
    return reply->parts;
}

void reply_taken(struct reply *reply)
{
    reply->n_parts = 0;
    buf_clear(&reply->text);
}

bool reply_is_thinking(const struct reply *reply)
{
    return reply->state == STATE_THINKING || reply->state == STATE_HARMONY_THINKING;
}

bool reply_is_over(const struct reply *reply)
{
    return reply->is_over;
}

size_t reply_calls(const struct reply *reply)
{
    return reply->n_calls;
}

size_t reply_held(const struct reply *reply)
{
    return reply->held.n_bytes + reply->space.n_bytes + reply->raw.n_bytes;
}
