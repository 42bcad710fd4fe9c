/* Tools, calls and results as a template can take them.
 *
 * A template that declares no tools, or writes calls in a format that reply.h does not know, gets
 * the tools as a part of the system text, with how to call one; calls in the history then become
 * text of that form, and results a user message. Otherwise the messages stay, but for what the
 * probes found: several calls of a message in messages of their own, ids cut to Mistral's shape,
 * content beside reasoning. */
#include "engine/template/chat_prompt_internal.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_text.h"

static const struct json_style plain;

struct list *chat_message_calls(struct jinja *j, const struct dict *message)
{
    struct value *calls = dict_find_name(j, message, "tool_calls");
    return calls && calls->kind == VALUE_LIST && calls->list->n_items > 0 ? calls->list : NULL;
}

static struct value member(struct jinja *j, struct value object, const char *name)
{
    struct value *found = object.kind == VALUE_DICT ? dict_find_name(j, object.dict, name) : NULL;
    return found ? *found : value_none();
}

/* The message again without one member. */
static struct dict *copy_without(struct jinja *j, const struct dict *message, const char *name)
{
    struct dict *copy = dict_create(j, message->n_entries + 1);
    for (uint32_t i = 0; i < message->n_entries; i++) {
        const struct dict_entry *entry = &message->entries[i];
        if (!name || !text_equals(entry->key.text, name))
            dict_set(j, copy, entry->key, entry->value);
    }
    return copy;
}

static struct value text_content(struct jinja *j, const struct dict *message)
{
    struct value *content = dict_find_name(j, message, "content");
    if (content && content->kind == VALUE_LIST)
        return chat_message_join_parts(j, content->list);
    return content && content->kind == VALUE_TEXT ? *content : value_text(&text_empty);
}

/* ---- a model that has to be told ---- */

static struct value describe(struct jinja *j, const struct list *tools, const char *how_to_call)
{
    struct text_builder b;
    builder_init(&b, j);
    builder_literal(&b, "# Tools\n\nYou may call functions. They are, one JSON object a line:\n");
    for (uint32_t i = 0; i < tools->n_items; i++) {
        struct value function = member(j, tools->items[i], "function");
        builder_text(
            &b, format_json(j, function.kind == VALUE_DICT ? function : tools->items[i], &plain));
        builder_literal(&b, "\n");
    }
    builder_literal(&b, "\nTo call a function, answer in exactly this form, with the function's "
                        "name and its arguments as a JSON object:\n");
    builder_literal(&b, how_to_call);
    builder_literal(&b, "\n\nYou may make several calls, one behind the other. The results come "
                        "in the next message. When no function is needed, answer in plain words.");
    return value_text(builder_finish(&b));
}

/* Behind the system text, or as one in front. */
static void add_system(struct jinja *j, struct list *messages, struct value text)
{
    struct dict *first = messages->n_items > 0 ? messages->items[0].dict : NULL;
    bool is_system = first && (chat_message_has_role(j, first, "system") ||
                               chat_message_has_role(j, first, "developer"));
    if (is_system) {
        struct value before = text_content(j, first);
        dict_set_name(j, first, "content", chat_message_prepend(j, before, text));
        return;
    }
    struct dict *system = dict_create(j, 2);
    chat_message_set_role(j, system, "system");
    dict_set_name(j, system, "content", text);
    list_append(j, messages, value_none());
    memmove(messages->items + 1, messages->items,
            (messages->n_items - 1) * sizeof messages->items[0]);
    messages->items[0] = value_dict(system);
}

static void write_call(struct text_builder *b, struct value call)
{
    struct jinja *j = b->j;
    struct value function = member(j, call, "function");
    struct value arguments = member(j, function, "arguments");
    builder_literal(b, "<tool_call>\n{\"name\": ");
    builder_text(b, format_json(j, member(j, function, "name"), &plain));
    builder_literal(b, ", \"arguments\": ");
    if (arguments.kind == VALUE_TEXT && arguments.text->n_bytes > 0)
        builder_text(b, arguments.text);  // JSON already
    else if (arguments.kind == VALUE_DICT)
        builder_text(b, format_json(j, arguments, &plain));
    else
        builder_literal(b, "{}");
    builder_literal(b, "}\n</tool_call>");
}

static struct dict *calls_as_text(struct jinja *j, const struct dict *message,
                                  const struct list *calls)
{
    struct text_builder b;
    builder_init(&b, j);
    struct value content = text_content(j, message);
    builder_text(&b, content.text);
    for (uint32_t i = 0; i < calls->n_items; i++) {
        if (i > 0 || content.text->n_bytes > 0)
            builder_literal(&b, "\n");
        write_call(&b, calls->items[i]);
    }
    struct dict *copy = copy_without(j, message, "tool_calls");
    dict_set_name(j, copy, "content", value_text(builder_finish(&b)));
    return copy;
}

/* Results that follow each other become one user message. */
static struct dict *results_as_text(struct jinja *j, const struct list *messages, uint32_t *i)
{
    struct text_builder b;
    builder_init(&b, j);
    for (uint32_t first = *i; *i < messages->n_items; ++*i) {
        const struct dict *message = messages->items[*i].dict;
        if (!chat_message_has_role(j, message, "tool"))
            break;
        builder_literal(&b, *i > first ? "\n<tool_response>\n" : "<tool_response>\n");
        builder_text(&b, text_content(j, message).text);
        builder_literal(&b, "\n</tool_response>");
    }
    --*i;
    struct dict *user = dict_create(j, 2);
    chat_message_set_role(j, user, "user");
    dict_set_name(j, user, "content", value_text(builder_finish(&b)));
    return user;
}

static void rewrite_as_text(struct jinja *j, struct list *messages)
{
    struct list *out = list_create(j, messages->n_items);
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        const struct list *calls = chat_message_calls(j, message);
        if (calls)
            message = calls_as_text(j, message, calls);
        else if (chat_message_has_role(j, message, "tool"))
            message = results_as_text(j, messages, &i);
        list_append(j, out, value_dict(message));
    }
    *messages = *out;
}

/* ---- a template that takes calls ---- */

/* A message for each call, the results behind theirs. */
static void split_calls(struct jinja *j, struct list *messages)
{
    struct list *out = list_create(j, messages->n_items);
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        const struct list *calls = chat_message_calls(j, message);
        if (!calls || calls->n_items == 1) {
            list_append(j, out, messages->items[i]);
            continue;
        }
        uint32_t end = i + 1;
        while (end < messages->n_items &&
               chat_message_has_role(j, messages->items[end].dict, "tool"))
            end++;
        for (uint32_t c = 0; c < calls->n_items; c++) {
            struct list *one = list_create(j, 1);
            list_append(j, one, calls->items[c]);
            struct dict *copy = copy_without(j, message, c > 0 ? "reasoning_content" : NULL);
            if (c > 0) {
                copy = copy_without(j, copy, "thinking");
                dict_set_name(j, copy, "content", value_none());
            }
            dict_set_name(j, copy, "tool_calls", value_list(one));
            list_append(j, out, value_dict(copy));
            struct value id = member(j, calls->items[c], "id");
            for (uint32_t r = i + 1; r < end; r++) {
                struct value result = messages->items[r];
                if (result.kind == VALUE_NONE ||
                    !value_equal(j, member(j, result, "tool_call_id"), id))
                    continue;
                list_append(j, out, result);
                messages->items[r] = value_none();
            }
        }
        for (uint32_t r = i + 1; r < end; r++)
            if (messages->items[r].kind != VALUE_NONE)
                list_append(j, out, messages->items[r]);
        i = end - 1;
    }
    *messages = *out;
}

/* Content beside calls to a message of its own. */
static void part_content(struct jinja *j, struct list *messages)
{
    struct list *out = list_create(j, messages->n_items);
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        if (chat_message_calls(j, message)) {
            if (text_content(j, message).text->n_bytes > 0)
                list_append(j, out, value_dict(copy_without(j, message, "tool_calls")));
            message = copy_without(j, message, NULL);
            dict_set_name(j, message, "content", value_none());
        }
        list_append(j, out, value_dict(message));
    }
    *messages = *out;
}

/* Nine letters or digits that stand for the id, the same for the same id. */
static struct value short_id(struct jinja *j, struct value id)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const struct text *text = id.text;
    bool fits = text->n_bytes == 9;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < text->n_bytes; i++) {
        fits = fits && strchr(letters, text->bytes[i]) && text->bytes[i];
        hash = (hash ^ (unsigned char)text->bytes[i]) * UINT64_C(0x100000001b3);
    }
    if (fits)
        return id;
    char short_text[9];
    hash ^= hash >> 31;
    for (size_t i = 0; i < sizeof short_text; i++, hash /= 62)
        short_text[i] = letters[hash % 62];
    return value_text(text_copy(j, short_text, sizeof short_text, true));
}

static void shorten(struct jinja *j, struct dict *object, const char *name)
{
    struct value *id = dict_find_name(j, object, name);
    if (id && id->kind == VALUE_TEXT)
        dict_set_name(j, object, name, short_id(j, *id));
}

static void shorten_ids(struct jinja *j, struct list *messages)
{
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        const struct list *calls = chat_message_calls(j, message);
        for (uint32_t c = 0; calls && c < calls->n_items; c++)
            if (calls->items[c].kind == VALUE_DICT)
                shorten(j, calls->items[c].dict, "id");
        shorten(j, message, "tool_call_id");
    }
}

static void join_reasoning(struct jinja *j, struct list *messages)
{
    for (uint32_t i = 0; i < messages->n_items; i++) {
        struct dict *message = messages->items[i].dict;
        struct value reasoning = member(j, messages->items[i], "reasoning_content");
        struct value content = text_content(j, message);
        if (!chat_message_calls(j, message) || reasoning.kind != VALUE_TEXT ||
            reasoning.text->n_bytes == 0 || content.text->n_bytes == 0)
            continue;
        reasoning = chat_message_prepend(j, reasoning, content);
        dict_set_name(j, message, "reasoning_content", reasoning);
        dict_set_name(j, message, "thinking", reasoning);
        dict_set_name(j, message, "content", value_text(&text_empty));
    }
}

void chat_tools_adapt(struct jinja *j, struct chat_render *render, struct list *messages)
{
    const struct chat_prompt_info *info = &render->prompt->info;
    const struct reply_format *reply = &render->prompt->reply;
    bool has_tools = render->tools.kind == VALUE_LIST && render->tools.list->n_items > 0;
    if (has_tools && reply->how_to_call)
        add_system(j, messages, describe(j, render->tools.list, reply->how_to_call));
    if (reply->rewrite_calls && (has_tools || !info->tool_calls)) {
        rewrite_as_text(j, messages);
        return;
    }
    if (!info->parallel_calls)
        split_calls(j, messages);
    if (info->calls_need_null)
        part_content(j, messages);
    if (info->short_ids)
        shorten_ids(j, messages);
    if (!info->reasoning_beside_content)
        join_reasoning(j, messages);
}
