/* The other direction of a chat template: what the model writes, to reasoning, content and tool
 * calls, while it is being written.
 *
 * Text and marker tokens go in, parts come out: a delta of reasoning, a delta of content, the start
 * of a call (its name), a delta of its arguments. Any split of the text gives the same parts once
 * deltas of one kind are joined. Every byte of the model's text comes out in some part, but for the
 * format's own markers, white space beside them, and what a call's frame consists of. README.md
 * says what malformed replies become. */
#ifndef WICARA_TEMPLATE_REPLY_H
#define WICARA_TEMPLATE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

enum {
    REPLY_MARKERS = 16,
    REPLY_NAME_BYTES_MAX = 128,       // of a function, of a parameter
    REPLY_CALLS_MAX = 128,            // calls of one reply; what follows is content
    REPLY_HELD_BYTES_MAX = 16 << 20,  // of what waits for its meaning
};

/* ---- the format: one a model, immutable ---- */

enum reply_kind {
    REPLY_TAGGED,   // a JSON object (or an array of them) behind a marker, or bare
    REPLY_NAMED,    // markers around a name, then its JSON arguments
    REPLY_XML,      // a tag for each parameter
    REPLY_HARMONY,  // messages with channels and recipients
};

struct reply_marker {
    const char *text;  // NULL: the format has none
    size_t n_bytes;
    int32_t id;       // the token that is the marker, -1: it is matched as text
    bool is_control;  // a token that is not shown where it is no marker
};

struct reply_format {
    const char *name;  // for logs and tests: "hermes"
    enum reply_kind kind;
    const char *how_to_call;    // for a model whose template does not tell; NULL: it does
    bool rewrite_calls;         // what the template writes for calls is in no format known here
    bool bare;                  // TAGGED: the object may come without its marker
    bool value_lines;           // XML: a value stands on lines of its own
    bool typed_head;            // NAMED: TYPE sep NAME newline ```json (DeepSeek V3)
    bool thinks;                // thinking is marked
    const char *stop_thinking;  // what ends a thought that must end; NULL: none is known
    struct reply_marker markers[REPLY_MARKERS];
};

/* Looks a token up by its text: its id, or -1; *is_control when it is never shown as text. Only
 * tokens that the model writes whole (control and user-defined ones) count. */
typedef int32_t reply_find_token_fn(void *context, const char *text, size_t n_bytes,
                                    bool *is_control);

/* Chooses the format by the template's text. shows_tools, shows_calls: the template was seen to
 * show a declared tool, a call of the assistant's. All markers are text until
 * reply_format_resolve(). */
void reply_format_detect(struct reply_format *format, const char *template_text, bool shows_tools,
                         bool shows_calls);
/* Markers that are tokens get their ids; thought tags that neither the template nor the vocabulary
 * knows are no markers from then on. */
void reply_format_resolve(struct reply_format *format, reply_find_token_fn *find, void *context);
/* The same by name, for tests. False when there is none of that name. */
bool reply_format_named(struct reply_format *format, const char *name);
/* The prompt asks for thought tags in its text (Sky-T1): they are markers in this reply. */
void reply_format_add_thought_tags(struct reply_format *format);
/* Text of the marker that ends a thought, or NULL. */
const char *reply_format_thought_end(const struct reply_format *format);
/* The markers around calls that are JSON objects with a name; false for formats of other kinds.
 * *close may be NULL. thought_*: of a thought at the reply's start, or NULL. */
bool reply_format_call_markers(const struct reply_format *format, const char **open,
                               const char **close, const char **thought_open,
                               const char **thought_close);
/* The reply is a bare object or plain text, because a grammar makes it so: no markers but the
 * thought's. */
void reply_format_set_bare(struct reply_format *format);
/* The rendered prompt ends inside a thought. */
bool reply_prompt_is_thinking(const struct reply_format *format, const char *prompt,
                              size_t n_bytes);

/* ---- the tools of a request ---- */

struct reply_tools;

/* `json` is an array as OpenAI's `tools`. Errors: ERR_INVALID with `param`, ERR_MEMORY. */
enum status reply_tools_create(struct reply_tools **out, const char *json,
                               struct error *err) MUST_CHECK;
void reply_tools_free(struct reply_tools *tools);

/* ---- one reply ---- */

enum reply_part_type { REPLY_CONTENT, REPLY_REASONING, REPLY_CALL, REPLY_ARGUMENTS };

struct reply_part {
    enum reply_part_type type;
    uint32_t call;    // CALL, ARGUMENTS: which, from 0
    size_t n_bytes;   // its text, behind that of the part before it; CALL: the name, then the id
    size_t id_bytes;  // CALL: of an id that the model itself gave, or 0
};

struct reply_options {
    const struct reply_format *format;  // borrowed
    const struct reply_tools *tools;    // borrowed; NULL: calls are text
    bool is_thinking;                   // the prompt ends inside a thought
    bool one_call;                      // the reply is over when its first call is complete
};

struct reply;

enum status reply_create(struct reply **out, const struct reply_options *options,
                         struct error *err) MUST_CHECK;
void reply_free(struct reply *reply);

/* False when memory or REPLY_HELD_BYTES_MAX gave out. */
bool reply_push(struct reply *reply, const char *text, size_t n_bytes) MUST_CHECK;
/* A token of the format's markers, whole. False as above. */
bool reply_push_marker(struct reply *reply, size_t marker) MUST_CHECK;
/* Index of the marker that the token is, or -1. */
int reply_find_marker(const struct reply_format *format, int32_t token);
/* The text ends here; is_cut: by its length, so that a call may lack a part. False as above. */
bool reply_finish(struct reply *reply, bool is_cut) MUST_CHECK;

/* What has come out since reply_taken(). */
const struct reply_part *reply_parts(const struct reply *reply, size_t *n_parts, const char **text);
void reply_taken(struct reply *reply);

bool reply_is_thinking(const struct reply *reply);
bool reply_is_over(const struct reply *reply);  // one_call, and it is complete
size_t reply_calls(const struct reply *reply);  // begun so far
size_t reply_held(const struct reply *reply);   // bytes that wait for their meaning

#endif
