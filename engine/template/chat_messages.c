/* Messages as the client sent them to messages as the template can take them.
 *
 * Works on the parsed values within a render, so all of it is bounded by the render's budgets and
 * keeps provenance. What is rewritten, and when, is in struct chat_prompt_info. */
#include "engine/base/json_scan.h"
#include "engine/template/chat_prompt_internal.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_text.h"
#include "engine/template/json_value.h"

static const struct json_limits arguments_limits = {.depth_max = 64, .nodes_max = 1000000};

bool chat_message_has_role(struct jinja *j, const struct dict *message, const char *role)
{
    struct value *found = dict_find_name(j, message, "role");
    return found && found->kind == VALUE_TEXT && text_equals(found->text, role);
}

void chat_message_set_role(struct jinja *j, struct dict *message, const char *role)
{
    dict_set_name(j, message, "role", value_text(text_literal(j, role)));
}

/* HF passes reasoning under two names, whichever it came under. */
static void alias_reasoning(struct jinja *j, struct dict *message)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct value *found = dict_find_name(j, message, names[i]);
        if (!found || found->kind == VALUE_NONE)
            continue;
        struct value reasoning = *found;
        dict_set_name(j, message, "reasoning_content", reasoning);
        if (!dict_find_name(j, message, "thinking"))
            dict_set_name(j, message, "thinking", reasoning);
        return;
    }
}

/* The text of one part; fails for anything but text. */
static const struct text *part_text(struct jinja *j, struct value part)
{
    struct value *text = NULL;
    if (part.kind == VALUE_TEXT)
        return part.text;
    if (part.kind == VALUE_DICT)
        text = dict_find_name(j, part.dict, "text");
    if (!text || text->kind != VALUE_TEXT)
        jinja_fail(j, ERR_INVALID, "this model takes text content only");
    return text->text;
}

struct value chat_message_join_parts(struct jinja *j, const struct list *parts)
{
    struct text_builder b;
    builder_init(&b, j);
    for (uint32_t i = 0; i < parts->n_items; i++)
        builder_text(&b, part_text(j, parts->items[i]));
    return value_text(builder_finish(&b));
}

static struct value as_part(struct jinja *j, struct value text)
{
    struct dict *part = dict_create(j, 2);
    dict_set_name(j, part, "type", value_text(text_literal(j, "text")));
    dict_set_name(j, part, "text", text);
    return value_dict(part);
}

static void adapt_content(struct jinja *j, const struct chat_prompt_info *info,
                          struct dict *message)
{
    struct value *content = dict_find_name(j, message, "content");
    struct value *calls = dict_find_name(j, message, "tool_calls");
    bool has_calls = calls && value_truth(j, *calls);
    if (!content || content->kind == VALUE_NONE) {
        bool keeps = chat_message_has_role(j, message, "assistant") &&
                     (has_calls ? info->null_with_calls : info->null_without_calls);
        if (!keeps)
            dict_set_name(j, message, "content", value_text(&text_empty));
        return;
    }
    if (content->kind == VALUE_LIST && !info->content_parts) {
        *content = chat_message_join_parts(j, content->list);
    } else if (content->kind == VALUE_TEXT && info->content_needs_parts) {
        struct list *parts = list_create(j, 1);
        list_append(j, parts, as_part(j, *content));
        *content = value_list(parts);
    }
}

static void adapt_arguments(struct jinja *j, bool as_text, struct value *arguments)
{
    if (as_text) {
        static const struct json_style plain;
        if (arguments->kind == VALUE_DICT)
            *arguments = value_text(format_json(j, *arguments, &plain));
        return;
    }
    if (arguments->kind != VALUE_TEXT)
        return;
    const struct text *text = text_strip(j, arguments->text, NULL, TEXT_BOTH);
    if (text->n_bytes == 0) {  // what some clients send for no arguments
        *arguments = value_dict(dict_create(j, 0));
        return;
    }
    jinja_step(j, text->n_bytes);
    enum status status = json_scan(text->bytes, text->n_bytes, &arguments_limits, NULL);
    if (status == ERR_MEMORY)
        jinja_fail(j, ERR_MEMORY, "out of memory");
    if (status == OK)
        *arguments = json_parse_text(j, text, "arguments");
}

static void adapt_calls(struct jinja *j, const struct chat_prompt_info *info,
                        const struct dict *message)
{
    const struct list *calls = chat_message_calls(j, message);
    for (uint32_t i = 0; calls && i < calls->n_items; i++) {
        struct value call = calls->items[i];
        struct value *function =
            call.kind == VALUE_DICT ? dict_find_name(j, call.dict, "function") : NULL;
        struct value *arguments = function && function->kind == VALUE_DICT
                                      ? dict_find_name(j, function->dict, "arguments")
                                      : NULL;
        if (arguments)
            adapt_arguments(j, info->arguments_text, arguments);
    }
}

struct value chat_message_prepend(struct jinja *j, struct value text, struct value content)
{
    if (content.kind == VALUE_LIST) {
        struct list *parts = list_create(j, content.list->n_items + 1);
        const struct text *line = text_concat(j, text.text, text_literal(j, "\n\n"));
        list_append(j, parts, as_part(j, value_text(line)));
        for (uint32_t i = 0; i < content.list->n_items; i++)
            list_append(j, parts, content.list->items[i]);
        return value_list(parts);
    }
    if (content.kind != VALUE_TEXT || content.text->n_bytes == 0)
        return text;
    const struct text *sum = text_concat(j, text.text, text_literal(j, "\n\n"));
    return value_text(text_concat(j, sum, content.text));
}

/* Takes the system message at the front out and puts its text before the first user message. */
static void merge_system(struct jinja *j, struct list *messages)
{
    struct dict *system = messages->items[0].dict;
    struct value *content = dict_find_name(j, system, "content");
    struct value text = content ? *content : value_text(&text_empty);
    if (text.kind == VALUE_LIST)
        text = chat_message_join_parts(j, text.list);
    if (text.kind != VALUE_TEXT)
        text = value_text(&text_empty);
    for (uint32_t i = 1; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        if (!chat_message_has_role(j, message, "user"))
            continue;
        struct value *old = dict_find_name(j, message, "content");
        dict_set_name(j, message, "content",
                      chat_message_prepend(j, text, old ? *old : value_none()));
        memmove(messages->items, messages->items + 1,
                (messages->n_items - 1) * sizeof messages->items[0]);
        messages->n_items--;
        return;
    }
    chat_message_set_role(j, system, "user");
}

/* What each message needs before any is looked at in its place. */
static void check_messages(struct jinja *j, struct chat_render *render, struct list *messages)
{
    const struct chat_prompt_info *info = &render->prompt->info;
    for (uint32_t i = 0; i < messages->n_items; i++) {
        snprintf(render->param, sizeof render->param, "messages[%u]", (unsigned)i);
        if (messages->items[i].kind != VALUE_DICT)
            jinja_fail(j, ERR_INVALID, "a message must be an object");
        struct dict *message = messages->items[i].dict;
        if (!info->developer_role && chat_message_has_role(j, message, "developer"))
            chat_message_set_role(j, message, "system");
        alias_reasoning(j, message);
    }
}

void chat_messages_adapt(struct jinja *j, struct chat_render *render, struct list *messages)
{
    const struct chat_prompt_info *info = &render->prompt->info;
    check_messages(j, render, messages);
    snprintf(render->param, sizeof render->param, "messages");
    chat_tools_adapt(j, render, messages);
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        if (!info->tool_role && chat_message_has_role(j, message, "tool"))
            chat_message_set_role(j, message, "user");
    }
    if (messages->n_items && !info->system_role &&
        chat_message_has_role(j, messages->items[0].dict, "system"))
        merge_system(j, messages);
    for (uint32_t i = 0; i < messages->n_items; i++) {
        snprintf(render->param, sizeof render->param, "messages[%u]", (unsigned)i);
        adapt_content(j, info, messages->items[i].dict);
        adapt_calls(j, info, messages->items[i].dict);
    }
    snprintf(render->param, sizeof render->param, "messages");
}
