/* Shared by reply.c (markers, reasoning, content) and the formats of calls: reply_tagged.c,
 * reply_named.c, reply_xml.c, reply_harmony.c. */
#ifndef WICARA_TEMPLATE_REPLY_INTERNAL_H
#define WICARA_TEMPLATE_REPLY_INTERNAL_H

#include "engine/template/reply.h"
#include "engine/template/reply_json.h"

/* What a marker means. A format's table gives each the text it has there. */
enum reply_mark {
    MARK_THINK_OPEN,
    MARK_THINK_CLOSE,
    MARK_ANSWER_OPEN,  // Sky-T1's solution tags: dropped
    MARK_ANSWER_CLOSE,
    MARK_CALLS_OPEN,  // around all calls
    MARK_CALLS_CLOSE,
    MARK_CALL_OPEN,  // around one
    MARK_CALL_CLOSE,
    MARK_FUNCTION_OPEN,  // XML: <function=
    MARK_FUNCTION_CLOSE,
    MARK_KEY_OPEN,  // XML: <parameter=, <arg_key>
    MARK_KEY_CLOSE,
    MARK_VALUE_OPEN,
    MARK_VALUE_CLOSE,
    MARK_HEAD_CLOSE,  // NAMED: between name and arguments
    MARK_ID,          // NAMED: between name and id
    /* harmony */
    MARK_START = MARK_CALLS_OPEN,
    MARK_CHANNEL,
    MARK_CONSTRAIN,
    MARK_MESSAGE,
    MARK_END,
    MARK_CALL,
    MARK_RETURN,
};
_Static_assert(MARK_ID == REPLY_MARKERS - 1, "a marker for each meaning");

#define BIT(mark) (1u << (mark))

/* Where the reply is. States from STATE_CALL on belong to the format. */
enum {
    STATE_START,      // nothing but white space yet
    STATE_THINKING,   //
    STATE_THOUGHT,    // behind a thought: white space goes
    STATE_CONTENT,    //
    STATE_BETWEEN,    // behind a call: white space goes
    STATE_CALL = 16,  // the formats' own
};

/* Reader of one {"name": ..., "arguments": ...}. */
struct call_reader {
    uint8_t state;
    uint8_t member;  // which one the value is of
    bool is_escape;  // within a name or key
    bool has_name, has_arguments, wants_arguments;
    struct reply_json json;
    struct buf key, name;  // raw text between the quotes
    struct buf arguments;  // that came before the name, or a string that may hold JSON
};

struct reply {
    struct reply_options options;
    uint8_t state;
    bool is_over;
    bool is_failed;   // memory
    bool in_text;     // a byte of the thought or content has been shown
    bool in_array;    // TAGGED: behind [
    bool is_started;  // the call at hand has been announced
    bool is_broken;   // its arguments stopped being JSON: the rest goes out as it is
    bool is_bare;     // TAGGED: without its marker
    uint32_t n_calls;
    struct buf text;  // of the parts
    struct reply_part *parts;
    size_t n_parts, n_parts_max;
    struct buf held;   // may become a marker
    struct buf space;  // white space that goes if a marker follows
    struct buf raw;    // of a call that has not been announced: content if it is none
    struct buf head;   // a name, a header
    struct buf value;  // XML: a parameter's
    struct buf ids;    // ids that the model gave, each with a newline
    struct call_reader call;
    struct reply_json json;  // NAMED, HARMONY: the arguments
    bool has_arguments;
    uint32_t n_params;    // XML: of the call at hand
    uint8_t value_shape;  // XML: how the value goes out
    bool value_started;   // XML: a byte of it has come
    bool value_newline;   // XML: the last one was a newline, which goes if it stays the last
    size_t channel_at;    // HARMONY: where the channel's name begins in the header
};

/* The handler of a kind of format. `byte` takes a byte of text, `marker` one of the marks that
 * `live` names for the state; `finish` the end, which may have come too early. */
struct reply_handler {
    void (*start)(struct reply *reply);  // or NULL
    uint32_t (*live)(const struct reply *reply);
    void (*byte)(struct reply *reply, char c);
    void (*marker)(struct reply *reply, enum reply_mark mark);
    void (*finish)(struct reply *reply, bool is_cut);
};
extern const struct reply_handler reply_tagged, reply_named, reply_xml, reply_harmony;

enum { STATE_HARMONY_THINKING = 32 };  // the one that reply_is_thinking() has to know

static inline bool reply_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* ---- reply.c ---- */

void reply_keep(struct reply *reply, struct buf *buf, const char *bytes, size_t n_bytes);
void reply_emit(struct reply *reply, enum reply_part_type type, const char *bytes, size_t n_bytes);
/* A byte of content, in whatever state. */
void reply_content_byte(struct reply *reply, char c);
/* Remembers the marker's text, so that a call that is none can be shown. */
void reply_keep_marker(struct reply *reply, enum reply_mark mark);
/* What was kept in `raw` is content after all, and so is what follows. */
void reply_not_a_call(struct reply *reply);
/* A call begins, if its name may be one. False: it is none (reply_not_a_call has run). */
bool reply_start_call(struct reply *reply, const char *name, size_t n_bytes, const char *id,
                      size_t id_bytes);
void reply_arguments(struct reply *reply, const char *bytes, size_t n_bytes);
/* The call is complete. */
void reply_end_call(struct reply *reply);
bool reply_has_mark(const struct reply *reply, enum reply_mark mark);

/* A byte of arguments that are JSON: passes it on, escaping a control character inside a string.
 * MORE, END, or AFTER: the byte is not part of them. */
enum reply_json_step reply_arguments_byte(struct reply *reply, struct reply_json *json, char c);

/* The text is one JSON value. */
bool reply_is_json(struct reply *reply, const char *text, size_t n_bytes);
/* A string literal's raw text as arguments: the object that it holds, else the literal. */
void reply_text_arguments(struct reply *reply, const struct buf *raw, struct buf *out);
void reply_thinking_byte(struct reply *reply, char c);

/* ---- reply_call.c ---- */

enum call_step { CALL_MORE, CALL_END, CALL_BAD };
void call_reader_init(struct call_reader *call);
void call_reader_reset(struct call_reader *call);  // behind a {
void call_reader_release(struct call_reader *call);
enum call_step call_reader_push(struct reply *reply, struct call_reader *call, char c);
bool call_reader_in_string(const struct call_reader *call);

/* ---- reply_tools.c ---- */

bool reply_tools_has(const struct reply_tools *tools, const char *name, size_t n_bytes);

/* JSON types that a parameter may have, as a set; 0 = nothing is known. */
enum {
    PARAM_STRING = 1,
    PARAM_NUMBER = 2,
    PARAM_BOOL = 4,
    PARAM_NULL = 8,
    PARAM_OTHER = 16,  // arrays and objects
};
unsigned reply_tools_param(const struct reply_tools *tools, const char *function, size_t n_function,
                           const char *param, size_t n_param);

/* The literal's text without its escapes; false when it is none. */
bool reply_unescape(const char *raw, size_t n_bytes, struct buf *out);

#endif
