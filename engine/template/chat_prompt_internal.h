/* Shared by chat_prompt.c, chat_messages.c and chat_probe.c. */
#ifndef WICARA_TEMPLATE_CHAT_PROMPT_INTERNAL_H
#define WICARA_TEMPLATE_CHAT_PROMPT_INTERNAL_H

#include "engine/template/chat_prompt.h"
#include "engine/template/jinja.h"
#include "engine/template/jinja_value.h"
#include "engine/template/reply.h"

struct chat_prompt {
    struct jinja_template *code;
    char *bos, *eos;
    struct chat_prompt_info info;
    struct reply_format reply;
};

/* A render at work: which request field is being handled, for the error. */
struct chat_render {
    const struct chat_prompt *prompt;
    const struct chat_prompt_input *input;
    char param[ERROR_PARAM_BYTES];
    struct value tools;  // NONE, or the list
};

/* Rewrites the messages for what the template can take; see struct chat_prompt_info. */
void chat_messages_adapt(struct jinja *j, struct chat_render *render, struct list *messages);
bool chat_message_has_role(struct jinja *j, const struct dict *message, const char *role);
void chat_message_set_role(struct jinja *j, struct dict *message, const char *role);
/* An array of text parts as one string. */
struct value chat_message_join_parts(struct jinja *j, const struct list *parts);
/* text, a blank line, content: a string, an array of parts or nothing. */
struct value chat_message_prepend(struct jinja *j, struct value text, struct value content);

/* chat_tools.c: the calls of a message, NULL when it has none. */
struct list *chat_message_calls(struct jinja *j, const struct dict *message);
/* Calls, results and tools for what the template can take, before roles are settled. */
void chat_tools_adapt(struct jinja *j, struct chat_render *render, struct list *messages);

/* chat_prompt_render with a step budget of its own (0: the usual one). */
enum status chat_prompt_render_within(const struct chat_prompt *prompt,
                                      const struct chat_prompt_input *input, uint64_t steps_max,
                                      struct chat_prompt_output *out, struct error *err) MUST_CHECK;

/* Fills prompt->info and prompt->reply. Only ERR_MEMORY and the like fail; a template that refuses
 * is an answer. */
enum status chat_probe(struct chat_prompt *prompt, const char *source, size_t n_bytes,
                       struct error *err);

#endif
