/* A conversation to prompt text; see chat_prompt.h.
 *
 * Owns the compiled template and what the probes found out about it; both are immutable after open,
 * so renders share them. A render parses the request's JSON into values inside the machine's arena,
 * rewrites the messages (chat_messages.c) and runs the template (jinja.c). */
#include "engine/template/chat_prompt_internal.h"

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_text.h"
#include "engine/template/json_value.h"

static const char chatml[] =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const char *chat_prompt_chatml(void)
{
    return chatml;
}

enum status chat_prompt_open(struct chat_prompt **out, const char *source, size_t n_bytes,
                             const char *bos, const char *eos, struct error *err)
{
    *out = NULL;
    struct chat_prompt *prompt = mem_calloc(1, sizeof *prompt);
    enum status status = ERR_MEMORY;
    if (!prompt)
        goto fail;
    prompt->bos = mem_strdup(bos ? bos : "");
    prompt->eos = mem_strdup(eos ? eos : "");
    if (!prompt->bos || !prompt->eos)
        goto fail;
    status = jinja_open(&prompt->code, source, n_bytes, err);
    if (status == OK)
        status = chat_probe(prompt, source, n_bytes, err);
    if (status != OK)
        goto fail;
    *out = prompt;
    return OK;
fail:
    chat_prompt_close(prompt);
    return error_set(err, status, "chat template: out of memory");
}

void chat_prompt_close(struct chat_prompt *prompt)
{
    if (!prompt)
        return;
    jinja_close(prompt->code);
    mem_free(prompt->bos);
    mem_free(prompt->eos);
    mem_free(prompt);
}

const struct chat_prompt_info *chat_prompt_info(const struct chat_prompt *prompt)
{
    return &prompt->info;
}

const struct reply_format *chat_prompt_reply_format(const struct chat_prompt *prompt)
{
    return &prompt->reply;
}

static bool is_reserved(const struct text *name)
{
    static const char *const names[] = {"messages", "tools", "add_generation_prompt", "bos_token",
                                        "eos_token"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (text_equals(name, names[i]))
            return true;
    }
    return global_find(name).kind != VALUE_MISSING;
}

static struct value parse_field(struct jinja *j, struct chat_render *render, const char *json,
                                const char *field, enum value_kind kind)
{
    snprintf(render->param, sizeof render->param, "%s", field);
    struct value v = json_parse(j, json, strlen(json), field);
    if (v.kind != kind)
        jinja_fail(j, ERR_INVALID, "%s must be %s", field,
                   kind == VALUE_LIST ? "an array" : "an object");
    return v;
}

static void fill_variables(struct jinja *j, void *context, struct dict *variables)
{
    struct chat_render *render = context;
    const struct chat_prompt_input *input = render->input;
    dict_set_name(j, variables, "documents", value_none());
    if (input->variables_json) {
        struct value given =
            parse_field(j, render, input->variables_json, "chat_template_kwargs", VALUE_DICT);
        for (uint32_t i = 0; i < given.dict->n_entries; i++) {
            const struct dict_entry *entry = &given.dict->entries[i];
            if (is_reserved(entry->key.text))
                jinja_fail(j, ERR_INVALID, "chat_template_kwargs cannot set '%.*s'",
                           (int)entry->key.text->n_bytes, entry->key.text->bytes);
            dict_set(j, variables, entry->key, entry->value);
        }
    }
    render->tools = value_none();
    if (input->tools_json)
        render->tools = parse_field(j, render, input->tools_json, "tools", VALUE_LIST);
    struct value messages = parse_field(j, render, input->messages_json, "messages", VALUE_LIST);
    chat_messages_adapt(j, render, messages.list);
    dict_set_name(j, variables, "messages", messages);
    bool described = render->tools.kind == VALUE_LIST && render->tools.list->n_items > 0 &&
                     render->prompt->reply.how_to_call != NULL;
    dict_set_name(j, variables, "tools", described ? value_none() : render->tools);
    dict_set_name(j, variables, "add_generation_prompt", value_bool(input->add_generation_prompt));
    dict_set_name(j, variables, "bos_token", value_text(text_literal(j, render->prompt->bos)));
    dict_set_name(j, variables, "eos_token", value_text(text_literal(j, render->prompt->eos)));
}

enum status chat_prompt_render_within(const struct chat_prompt *prompt,
                                      const struct chat_prompt_input *input, uint64_t steps_max,
                                      struct chat_prompt_output *out, struct error *err)
{
    *out = (struct chat_prompt_output){0};
    struct chat_render render = {.prompt = prompt, .input = input, .param = "messages"};
    struct jinja_render_input run = {
        .fill = fill_variables,
        .context = &render,
        .input_bytes = strlen(input->messages_json) +
                       (input->tools_json ? strlen(input->tools_json) : 0) +
                       (input->variables_json ? strlen(input->variables_json) : 0),
        .now_unix_s = input->now_unix_s,
        .steps_max = steps_max,
    };
    struct jinja_output output;
    bool fresh = err && err->status == OK;
    enum status status = jinja_render(prompt->code, &run, &output, err);
    if (status != OK) {
        if (fresh && !err->param[0] && status != ERR_MEMORY)
            snprintf(err->param, sizeof err->param, "%s", render.param);
        return status;
    }
    out->text = output.text;
    out->untrusted = output.untrusted;
    out->n_untrusted = output.n_untrusted;
    return OK;
}

enum status chat_prompt_render(const struct chat_prompt *prompt,
                               const struct chat_prompt_input *input,
                               struct chat_prompt_output *out, struct error *err)
{
    return chat_prompt_render_within(prompt, input, 0, out, err);
}

void chat_prompt_output_release(struct chat_prompt_output *out)
{
    buf_release(&out->text);
    mem_free(out->untrusted);
    *out = (struct chat_prompt_output){0};
}
