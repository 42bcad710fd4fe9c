/* Shared by chat_prompt.c, chat_messages.c and chat_probe.c. */
#ifndef WICARA_TEMPLATE_CHAT_PROMPT_INTERNAL_H
#define WICARA_TEMPLATE_CHAT_PROMPT_INTERNAL_H

#include "engine/template/chat_prompt.h"
#include "engine/template/jinja.h"
#include "engine/template/jinja_value.h"

struct chat_prompt {
    struct jinja_template *code;
    char *bos, *eos;
    struct chat_prompt_info info;
};

/* A render at work: which request field is being handled, for the error. */
struct chat_render {
    const struct chat_prompt *prompt;
    const struct chat_prompt_input *input;
    char param[ERROR_PARAM_BYTES];
};

/* Rewrites the messages for what the template can take; see struct chat_prompt_info. */
void chat_messages_adapt(struct jinja *j, struct chat_render *render, struct list *messages);

/* chat_prompt_render with a step budget of its own (0: the usual one). */
enum status chat_prompt_render_within(const struct chat_prompt *prompt,
                                      const struct chat_prompt_input *input, uint64_t steps_max,
                                      struct chat_prompt_output *out, struct error *err) MUST_CHECK;

/* Fills prompt->info. Only ERR_MEMORY and the like fail; a template that refuses is an answer. */
enum status chat_probe(struct chat_prompt *prompt, struct error *err);

#endif
