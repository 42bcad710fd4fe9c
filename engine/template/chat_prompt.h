/* A conversation to prompt text through the model's own chat template.
 *
 * The template comes from an untrusted file: it runs in our interpreter with budgets for steps,
 * depth, memory and output, without any access to the host. Immutable after opening; render may
 * run in several threads at once. */
#ifndef WICARA_TEMPLATE_CHAT_PROMPT_H
#define WICARA_TEMPLATE_CHAT_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/prompt_text.h"

struct chat_prompt;

/* Compiles the template. Errors: ERR_FORMAT with the line and what is wrong, ERR_UNSUPPORTED naming
 * the construct, ERR_LIMIT, ERR_MEMORY. `bos` and `eos` are token texts ("" when there is none). */
enum status chat_prompt_open(struct chat_prompt **out, const char *source, size_t n_bytes,
                             const char *bos, const char *eos, struct error *err) MUST_CHECK;
void chat_prompt_close(struct chat_prompt *prompt);

struct chat_prompt_input {
    /* JSON array of message objects as the client sent them, after validation (roles and content
     * checked by the server). Content is a string, null, or an array of {"type":"text"} parts;
     * whether parts reach the template as they are or joined is decided by a probe at open.
     * `arguments` of tool calls: string or object, also decided by a probe. */
    const char *messages_json;
    const char *tools_json;          // JSON array or NULL
    const char *variables_json;      // JSON object (chat_template_kwargs) or NULL
    bool add_generation_prompt;
    int64_t now_unix_s;              // what strftime_now() sees (UTC), pinned at arrival
};

struct chat_prompt_output {
    struct buf text;
    struct text_span *untrusted;     // ascending; see prompt_text.h
    size_t n_untrusted;
};

/* Errors: ERR_INVALID when the template itself refuses (raise_exception: its message) or fails on
 * this input, ERR_LIMIT naming the budget, ERR_MEMORY. `param` is "messages" unless better known. */
enum status chat_prompt_render(const struct chat_prompt *prompt,
                               const struct chat_prompt_input *input,
                               struct chat_prompt_output *out, struct error *err) MUST_CHECK;
void chat_prompt_output_release(struct chat_prompt_output *out);

#endif
