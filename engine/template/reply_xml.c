/* Calls with a tag for each parameter: Qwen3-Coder and Qwen3.5, GLM-4.5, DeepSeek V3.2 and V4.
 *
 *   <tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n</tool_call>
 *   <tool_call>NAME\n<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n</tool_call>
 *   <DSML invoke name="NAME"><DSML parameter name="KEY" string="true">VALUE</DSML parameter>
 *
 * The arguments become JSON. A value is a string where the tool's schema says so, and then goes out
 * while it comes; any other waits for its end, and is taken as JSON if it is JSON of a type that
 * the schema allows, else as a string. A value ends at its end tag, whatever stands in it. */
#include "engine/template/reply_internal.h"

enum { OPENED = STATE_CALL, NAME, PARAMETERS, KEY, VALUE_DUE, VALUE, AFTER };
enum { SHAPE_TEXT, SHAPE_JSON, SHAPE_BY_SCHEMA };

static bool has_function_tag(const struct reply *reply)
{
    return reply_has_mark(reply, MARK_FUNCTION_OPEN);
}

static uint32_t live(const struct reply *reply)
{
    uint32_t open = BIT(MARK_CALLS_OPEN) | BIT(MARK_CALL_OPEN) | BIT(MARK_FUNCTION_OPEN);
    uint32_t close = BIT(MARK_CALL_CLOSE) | BIT(MARK_CALLS_CLOSE);
    uint32_t own_close =
        reply->options.format->markers[MARK_CALL_CLOSE].id >= 0 ? BIT(MARK_CALL_CLOSE) : 0;
    switch (reply->state) {
    case OPENED:
    case AFTER:
    case STATE_BETWEEN:
        return open | close;
    case NAME:
        return has_function_tag(reply) ? close : close | BIT(MARK_KEY_OPEN);
    case PARAMETERS:
        return BIT(MARK_KEY_OPEN) | BIT(MARK_FUNCTION_CLOSE) | close;
    case KEY:
        return BIT(MARK_KEY_CLOSE);
    case VALUE_DUE:
        return BIT(MARK_VALUE_OPEN) | close;
    case VALUE:  // a token is an end that no text can fake
        return BIT(MARK_VALUE_CLOSE) | own_close;
    default:
        return open;
    }
}

/* ---- name and keys ---- */

/* What stands before the first quote, or all of it, without blanks. */
static const char *head_word(const struct reply *reply, size_t *n_bytes)
{
    const char *head = reply->head.bytes ? reply->head.bytes : "";
    size_t first = 0, last = 0;
    while (first < reply->head.n_bytes && reply_is_blank(head[first]))
        first++;
    while (last < reply->head.n_bytes && head[last] != '"')
        last++;
    while (last > first && reply_is_blank(head[last - 1]))
        last--;
    *n_bytes = last > first ? last - first : 0;
    return head + first;
}

static void start(struct reply *reply)
{
    size_t n;
    const char *name = head_word(reply, &n);
    buf_clear(&reply->call.name);  // for the schema
    if (n <= REPLY_NAME_BYTES_MAX)
        reply_keep(reply, &reply->call.name, name, n);
    if (reply_start_call(reply, name, n, NULL, 0))
        reply->state = PARAMETERS;
}

static void end_call(struct reply *reply)
{
    if (reply->n_params > 0)
        reply_arguments(reply, "}", 1);
    reply_end_call(reply);
    reply->state = AFTER;
}

static void begin_key(struct reply *reply)
{
    buf_clear(&reply->head);
    reply->state = KEY;
}

static void arguments_escaped(struct reply *reply, const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        char escaped[8];
        reply_arguments(reply, escaped, reply_json_escape(bytes[i], escaped));
    }
}

static void begin_value(struct reply *reply)
{
    size_t n;
    const char *key = head_word(reply, &n);
    const struct buf *name = &reply->call.name;
    unsigned types = reply_tools_param(reply->options.tools, name->bytes, name->n_bytes, key, n);
    bool says_text = strstr(reply->head.bytes, "string=\"true\"") != NULL;
    bool says_json = strstr(reply->head.bytes, "string=\"false\"") != NULL;
    reply->value_shape = says_json                            ? SHAPE_JSON
                         : says_text || types == PARAM_STRING ? SHAPE_TEXT
                                                              : SHAPE_BY_SCHEMA;
    const char *before = reply->n_params++ == 0 ? "{\"" : ", \"";
    reply_arguments(reply, before, strlen(before));
    arguments_escaped(reply, key, n);
    reply_arguments(reply, "\": ", 3);
    if (reply->value_shape == SHAPE_TEXT)
        reply_arguments(reply, "\"", 1);
    buf_clear(&reply->value);
    reply->value_started = reply->value_newline = false;
    reply->state = VALUE;
}

static void after_key(struct reply *reply)
{
    size_t n;
    (void)head_word(reply, &n);
    if (n == 0)  // a tag without a name
        reply->state = PARAMETERS;
    else if (reply_has_mark(reply, MARK_VALUE_OPEN))
        reply->state = VALUE_DUE;
    else
        begin_value(reply);
}

/* ---- values ---- */

static unsigned type_of(const char *json)
{
    switch (json[0]) {
    case '"':
        return PARAM_STRING;
    case 't':
    case 'f':
        return PARAM_BOOL;
    case 'n':
        return PARAM_NULL;
    case '{':
    case '[':
        return PARAM_OTHER;
    default:
        return PARAM_NUMBER;
    }
}

/* The value's text as JSON, or NULL: it is a string then. */
static const char *value_json(struct reply *reply, const char *text, size_t n_bytes)
{
    static const struct {
        const char *python, *json;
    } words[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    size_t n;
    const char *key = head_word(reply, &n);
    const struct buf *name = &reply->call.name;
    unsigned types = reply_tools_param(reply->options.tools, name->bytes, name->n_bytes, key, n);
    if (reply->value_shape == SHAPE_JSON)
        types = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (n_bytes == strlen(words[i].python) && memcmp(text, words[i].python, n_bytes) == 0 &&
            (types == 0 || (types & type_of(words[i].json))))
            return words[i].json;
    }
    if (n_bytes == 0 || !reply_is_json(reply, text, n_bytes))
        return NULL;
    return types == 0 || (types & type_of(text)) ? text : NULL;
}

static void buffered_value(struct reply *reply)
{
    const char *text = reply->value.bytes ? reply->value.bytes : "";
    size_t first = 0, last = reply->value.n_bytes;
    while (first < last && reply_is_blank(text[first]))
        first++;
    while (last > first && reply_is_blank(text[last - 1]))
        last--;
    const char *json = value_json(reply, text + first, last - first);
    if (json) {
        reply_arguments(reply, json, json == text + first ? last - first : strlen(json));
        return;
    }
    reply_arguments(reply, "\"", 1);
    arguments_escaped(reply, text, reply->value.n_bytes);
    reply_arguments(reply, "\"", 1);
}

static void show_value(struct reply *reply, char c)
{
    if (reply->value_shape == SHAPE_TEXT)
        arguments_escaped(reply, &c, 1);
    else
        reply_keep(reply, &reply->value, &c, 1);
}

static void value_byte(struct reply *reply, char c)
{
    bool is_first = !reply->value_started, lines = reply->options.format->value_lines;
    reply->value_started = true;
    if (lines && is_first && c == '\n')
        return;
    if (reply->value_newline)
        show_value(reply, '\n');
    reply->value_newline = lines && c == '\n';
    if (!reply->value_newline)
        show_value(reply, c);
}

static void end_value(struct reply *reply)
{
    if (reply->value_shape == SHAPE_TEXT)
        reply_arguments(reply, "\"", 1);
    else
        buffered_value(reply);
    reply->state = PARAMETERS;
}

/* ---- the handler ---- */

static void head_byte(struct reply *reply, char c)
{
    bool is_name = reply->state == NAME;
    char end = has_function_tag(reply) ? '>' : '\n';
    if (is_name)
        reply_keep(reply, &reply->raw, &c, 1);
    if (c == end && (is_name || has_function_tag(reply))) {
        if (is_name)
            start(reply);
        else
            after_key(reply);
        return;
    }
    if (reply->head.n_bytes < 2 * REPLY_NAME_BYTES_MAX)
        reply_keep(reply, &reply->head, &c, 1);
    else if (is_name)
        reply_not_a_call(reply);
    else
        reply->state = PARAMETERS;  // no parameter is called that
}

static void opened_byte(struct reply *reply, char c)
{
    if (has_function_tag(reply)) {
        reply_keep(reply, &reply->raw, &c, 1);
        if (!reply_is_blank(c))
            reply_not_a_call(reply);
        return;
    }
    if (reply_is_blank(c) && reply->head.n_bytes == 0) {
        reply_keep(reply, &reply->raw, &c, 1);
        return;
    }
    reply->state = NAME;
    head_byte(reply, c);
}

static void byte(struct reply *reply, char c)
{
    switch (reply->state) {
    case OPENED:
        opened_byte(reply, c);
        return;
    case NAME:
    case KEY:
        head_byte(reply, c);
        return;
    case PARAMETERS:  // nothing has its place between two tags
    case VALUE_DUE:
        return;
    case VALUE:
        value_byte(reply, c);
        return;
    case AFTER:
        if (reply_is_blank(c))
            return;
        reply->state = STATE_BETWEEN;
        // fall through
    default:
        reply_content_byte(reply, c);
    }
}

static void close_call(struct reply *reply, enum reply_mark mark)
{
    if (reply->state == NAME && !has_function_tag(reply)) {
        reply_keep_marker(reply, mark);
        start(reply);  // GLM: a call without parameters
        if (reply->state != PARAMETERS)
            return;
    } else if (reply->state == NAME) {
        reply_keep_marker(reply, mark);
        reply_not_a_call(reply);
        return;
    } else if (reply->state == OPENED) {
        reply_keep_marker(reply, mark);
        if (mark == MARK_CALLS_CLOSE)
            buf_clear(&reply->raw);
        reply_not_a_call(reply);
        reply->state = mark == MARK_CALLS_CLOSE ? STATE_BETWEEN : STATE_CONTENT;
        return;
    }
    if (reply->state == VALUE)
        end_value(reply);
    if (reply->state == PARAMETERS || reply->state == VALUE_DUE)
        end_call(reply);
    reply->state = mark == MARK_FUNCTION_CLOSE ? AFTER : STATE_BETWEEN;
}

static void marker(struct reply *reply, enum reply_mark mark)
{
    switch (mark) {
    case MARK_CALLS_OPEN:
    case MARK_CALL_OPEN:
    case MARK_FUNCTION_OPEN:
        reply_keep_marker(reply, mark);
        buf_clear(&reply->head);
        reply->is_started = false;
        reply->state = mark == MARK_FUNCTION_OPEN ? NAME : OPENED;
        break;
    case MARK_KEY_OPEN:
        if (reply->state == NAME) {
            start(reply);
            if (reply->state != PARAMETERS) {  // it was no call: the marker is text too
                const struct reply_marker *text = &reply->options.format->markers[mark];
                reply_emit(reply, REPLY_CONTENT, text->text, text->n_bytes);
                break;
            }
        }
        begin_key(reply);
        break;
    case MARK_KEY_CLOSE:
        after_key(reply);
        break;
    case MARK_VALUE_OPEN:
        begin_value(reply);
        break;
    case MARK_VALUE_CLOSE:
        end_value(reply);
        break;
    default:
        close_call(reply, mark);
    }
}

static void finish(struct reply *reply, bool is_cut)
{
    if (reply->state == OPENED || (reply->state == NAME && (is_cut || has_function_tag(reply)))) {
        reply_not_a_call(reply);
        return;
    }
    if (reply->state == NAME)
        start(reply);
    if (reply->state == PARAMETERS && !is_cut)
        end_call(reply);
}

const struct reply_handler reply_xml = {NULL, live, byte, marker, finish};
