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
struct reply_format;

/* What the template can take, found out at open by rendering small conversations (chat_probe.c).
 * A conversation that it cannot take is rewritten before each render as said here. */
struct chat_prompt_info {
    /* [system, user] renders and shows the system text. If not, the text goes in front of the first
     * user message, with a blank line between. */
    bool system_role;
    /* The template names "developer" and shows such a message. If not, the role becomes
     * "system". */
    bool developer_role;
    /* A result ("tool" message) behind a call is shown. If not, it becomes a user message. */
    bool tool_role;
    /* The declaration of a tool is shown / the call of an assistant message is shown. If not, they
     * are not rewritten: what to do without is the caller's choice. */
    bool tools, tool_calls;
    /* `arguments` of a call go in as the string that the client sent. Otherwise as the object that
     * it encodes, which is tried first: good when the key shows up neither escaped nor as a Python
     * repr. Text that is no JSON always goes in as it is. */
    bool arguments_text;
    /* An array of text parts is shown as its text. If not, the parts are joined to one string. */
    bool content_parts;
    /* Only arrays are shown: a string becomes an array of one part. */
    bool content_needs_parts;
    /* null (or absent) content of an assistant message with / without calls renders, and not as
     * "None". If not, it becomes "". */
    bool null_with_calls, null_without_calls;
    /* Two calls of one message are both shown. If not, each gets a message of its own, with its
     * result behind it. */
    bool parallel_calls;
    /* Calls are shown only where the content is null (DeepSeek R1). Empty content then becomes
     * null, and any other a message in front. */
    bool calls_need_null;
    /* Ids of calls must be nine letters or digits (Mistral). Others become a hash. */
    bool short_ids;
    /* Reasoning and content may stand beside calls. If not, the content joins the reasoning. */
    bool reasoning_beside_content;
    /* The generation prompt or the text changes with enable_thinking (or thinking) / with
     * reasoning_effort. If not, setting them does nothing. */
    bool thinking_switch, reasoning_effort;
};

/* Compiles the template and probes it. Errors: ERR_FORMAT with the line and what is wrong,
 * ERR_UNSUPPORTED naming the construct, ERR_LIMIT, ERR_MEMORY. `bos` and `eos` are token texts (""
 * when there is none). */
enum status chat_prompt_open(struct chat_prompt **out, const char *source, size_t n_bytes,
                             const char *bos, const char *eos, struct error *err) MUST_CHECK;
void chat_prompt_close(struct chat_prompt *prompt);
const struct chat_prompt_info *chat_prompt_info(const struct chat_prompt *prompt);
/* How the model's replies are to be read; its markers are not resolved. */
const struct reply_format *chat_prompt_reply_format(const struct chat_prompt *prompt);

/* The built-in ChatML template, for a model file that carries none. */
const char *chat_prompt_chatml(void);

struct chat_prompt_input {
    /* JSON array of message objects as the client sent them, after validation (roles and content
     * checked by the server). Content is a string, null, or an array of {"type":"text"} parts;
     * whether parts reach the template as they are or joined is decided by a probe at open.
     * `arguments` of tool calls: string or object, also decided by a probe. Reasoning is passed on
     * under all of reasoning_content and thinking, whichever of these or `reasoning` was sent. */
    const char *messages_json;
    /* JSON array; NULL: there are none. For a template that shows none, or whose calls are in no
     * format that is known here, they are described in the system text (chat_tools.c). */
    const char *tools_json;
    /* JSON object (chat_template_kwargs) or NULL. Its members become variables. The names messages,
     * tools, add_generation_prompt, bos_token, eos_token and those of the template's functions are
     * refused with ERR_INVALID. Without a member `documents` the template sees none. */
    const char *variables_json;
    bool add_generation_prompt;
    int64_t now_unix_s;  // what strftime_now() sees (UTC), pinned at arrival
};

struct chat_prompt_output {
    struct buf text;
    struct text_span *untrusted;  // ascending; see prompt_text.h
    size_t n_untrusted;
};

/* Everything from the three JSON texts is untrusted in the output, byte for byte, whatever the
 * template does to it; text of the template, bos and eos are trusted.
 * Errors: ERR_INVALID when the template itself refuses (raise_exception: its message) or fails on
 * this input, ERR_LIMIT naming the budget, ERR_MEMORY. `param` is "messages" unless better
 * known. */
enum status chat_prompt_render(const struct chat_prompt *prompt,
                               const struct chat_prompt_input *input,
                               struct chat_prompt_output *out, struct error *err) MUST_CHECK;
void chat_prompt_output_release(struct chat_prompt_output *out);

#endif
