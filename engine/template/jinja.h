/* The template interpreter: the Jinja that Hugging Face's chat templates are written in.
 *
 * Behaves like python-jinja2 3.1 as Hugging Face sets it up (ImmutableSandboxedEnvironment with
 * trim_blocks, lstrip_blocks, break and continue, {% generation %}, tojson as plain JSON), checked
 * by tests/golden/template. Two additions: list.append and list.pop, and the filter from_json,
 * which templates made for other engines use. A template has no access to anything but its
 * variables. */
#ifndef WICARA_TEMPLATE_JINJA_H
#define WICARA_TEMPLATE_JINJA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/prompt_text.h"

/* Budgets: a template comes from an untrusted file and its input from an untrusted client. */
enum {
    JINJA_SOURCE_BYTES_MAX = 1 << 20,
    JINJA_CODE_BYTES_MAX = 64 << 20,    // arena of a compiled template
    JINJA_STEPS_MAX = 5000000,          // one per evaluation, one more per 256 bytes handled
    JINJA_MEMORY_BYTES_MAX = 64 << 20,  // arena of a render
    JINJA_RANGE_ITEMS_MAX = 100000,
    JINJA_ARGUMENTS_MAX = 255,    // parameters of a macro, keyword arguments of a call
    JINJA_NESTING_MAX = 64,       // blocks, brackets, chained unary operators
    JINJA_HEIGHT_MAX = 256,       // nodes from the root of a template to a leaf
    JINJA_CALL_DEPTH_MAX = 64,    // macros in macros, recursive loops
    JINJA_EVAL_DEPTH_MAX = 2000,  // evaluations within evaluations over all calls
    JINJA_OUTPUT_FACTOR = 4,      // output <= factor * input bytes + slack
    JINJA_OUTPUT_SLACK_BYTES = 1 << 20,
    JINJA_INPUT_BYTES_MAX = 1 << 30,
};

struct jinja_template;
struct jinja;
struct dict;

/* Errors: ERR_FORMAT with the line and what is wrong, ERR_UNSUPPORTED naming the construct,
 * ERR_LIMIT, ERR_MEMORY. `source` need not be kept. */
enum status jinja_open(struct jinja_template **out, const char *source, size_t n_bytes,
                       struct error *err) MUST_CHECK;
void jinja_close(struct jinja_template *code);

/* True when the template mentions the text in a string literal or as a name. */
bool jinja_mentions(const struct jinja_template *code, const char *text);

struct jinja_output {
    struct buf text;
    struct text_span *untrusted;  // ascending, disjoint; mem_free
    size_t n_untrusted, untrusted_capacity;
};

/* Fills the variables of a render; runs inside it, so it may use jinja_fail() and the arena. */
typedef void jinja_variables_fn(struct jinja *j, void *context, struct dict *variables);

struct jinja_render_input {
    jinja_variables_fn *fill;
    void *context;
    size_t input_bytes;  // what the output budget is reckoned from
    int64_t now_unix_s;  // for strftime_now(), UTC
    uint64_t steps_max;  // 0: JINJA_STEPS_MAX
};

/* May run in several threads at once. Errors: ERR_INVALID when the template refuses or fails on the
 * input, ERR_LIMIT naming the budget, ERR_UNSUPPORTED, ERR_MEMORY; `out` is then released. */
enum status jinja_render(const struct jinja_template *code, const struct jinja_render_input *input,
                         struct jinja_output *out, struct error *err) MUST_CHECK;
void jinja_output_release(struct jinja_output *out);

#endif
