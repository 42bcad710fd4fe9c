/* The body of POST /v1/chat/completions beyond the table: messages, tools, template variables.
 *
 * The conversation goes to the engine as the client's own JSON text, so that numbers in tool
 * schemas and arguments keep their spelling; the tree is only looked at. Reference: OpenAI's chat
 * reference; api.md section 1.10 lists the malformed cases.
 * chat_tools.c and chat_reasoning.c read the fields about those. */
#include "server/chat_request.h"

#include <cjson/cJSON.h>

#include "server/generation_request.h"

static const char *string_member(const cJSON *object, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(node) ? node->valuestring : NULL;
}

static bool is_given(const cJSON *object, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(object, name);
    return node && !cJSON_IsNull(node);
}

static enum status check_parts(const cJSON *parts, size_t message, struct error *err)
{
    size_t i = 0;
    const cJSON *part;
    if (!parts->child) {
        char path[ERROR_PARAM_BYTES];
        snprintf(path, sizeof path, "messages[%zu].content", message);
        return error_set_param(err, ERR_INVALID, path, "'%s' must not be an empty array", path);
    }
    cJSON_ArrayForEach(part, parts)
    {
        char path[ERROR_PARAM_BYTES];
        snprintf(path, sizeof path, "messages[%zu].content[%zu]", message, i++);
        const char *type = cJSON_IsObject(part) ? string_member(part, "type") : NULL;
        if (!type) {
            return error_set_param(err, ERR_INVALID, path, "'%s' must be an object with a 'type'",
                                   path);
        }
        if (strcmp(type, "text") != 0) {
            return error_set_param(err, ERR_UNSUPPORTED, path,
                                   "'%s' has the type '%.40s'; this model takes text only", path,
                                   type);
        }
        if (!string_member(part, "text")) {
            return error_set_param(err, ERR_INVALID, path, "'%s.text' must be a string", path);
        }
    }
    return OK;
}

static enum status check_tool_calls(const cJSON *calls, size_t message, struct error *err)
{
    char path[ERROR_PARAM_BYTES];
    snprintf(path, sizeof path, "messages[%zu].tool_calls", message);
    if (!cJSON_IsArray(calls) || !calls->child)
        return error_set_param(err, ERR_INVALID, path, "'%s' must be a non-empty array", path);
    size_t i = 0;
    const cJSON *call;
    cJSON_ArrayForEach(call, calls)
    {
        snprintf(path, sizeof path, "messages[%zu].tool_calls[%zu]", message, i++);
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(call, "function");
        if (!cJSON_IsObject(call) || !cJSON_IsObject(function) ||
            !string_member(function, "name")) {
            return error_set_param(err, ERR_INVALID, path,
                                   "'%s' must be an object with 'function.name'", path);
        }
        const cJSON *arguments = cJSON_GetObjectItemCaseSensitive(function, "arguments");
        if (!cJSON_IsString(arguments) && !cJSON_IsObject(arguments)) {
            return error_set_param(err, ERR_INVALID, path,
                                   "'%s.function.arguments' must be a string of JSON", path);
        }
    }
    return OK;
}

static enum status check_content(const cJSON *message, size_t i, bool may_be_absent,
                                 struct error *err)
{
    char path[ERROR_PARAM_BYTES];
    snprintf(path, sizeof path, "messages[%zu].content", i);
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content");
    if (cJSON_IsString(content))
        return OK;
    if (cJSON_IsArray(content))
        return check_parts(content, i, err);
    if (may_be_absent && (!content || cJSON_IsNull(content)))
        return OK;
    return error_set_param(err, ERR_INVALID, path,
                           "'%s' must be a string or an array of content parts", path);
}

static enum status check_message(const cJSON *message, size_t i, bool *developer, struct error *err)
{
    char path[ERROR_PARAM_BYTES];
    snprintf(path, sizeof path, "messages[%zu]", i);
    if (!cJSON_IsObject(message))
        return error_set_param(err, ERR_INVALID, path, "'%s' must be an object", path);
    const char *role = string_member(message, "role");
    snprintf(path, sizeof path, "messages[%zu].role", i);
    if (!role)
        return error_set_param(err, ERR_INVALID, path, "'%s' is required, a string", path);
    bool assistant = strcmp(role, "assistant") == 0, tool = strcmp(role, "tool") == 0;
    bool from_developer = strcmp(role, "developer") == 0;
    if (!assistant && !tool && !from_developer && strcmp(role, "system") != 0 &&
        strcmp(role, "user") != 0) {
        return error_set_param(err, ERR_INVALID, path,
                               "'%s' must be system, developer, user, assistant or tool, not "
                               "'%.40s'",
                               path, role);
    }
    *developer = *developer || from_developer;
    if (tool && !string_member(message, "tool_call_id")) {
        snprintf(path, sizeof path, "messages[%zu].tool_call_id", i);
        return error_set_param(err, ERR_INVALID, path, "'%s' is required, a string", path);
    }
    bool calls = is_given(message, "tool_calls");
    if (calls && !assistant) {
        snprintf(path, sizeof path, "messages[%zu].tool_calls", i);
        return error_set_param(err, ERR_INVALID, path, "'%s' belongs to the role assistant only",
                               path);
    }
    if (calls) {
        const cJSON *node = cJSON_GetObjectItemCaseSensitive(message, "tool_calls");
        enum status status = check_tool_calls(node, i, err);
        if (status != OK)
            return status;
    }
    static const char *const thoughts[] = {"reasoning_content", "reasoning"};
    bool thinks = false;
    for (size_t k = 0; k < 2; k++) {
        if (!is_given(message, thoughts[k]))
            continue;
        snprintf(path, sizeof path, "messages[%zu].%s", i, thoughts[k]);
        if (!string_member(message, thoughts[k]))
            return error_set_param(err, ERR_INVALID, path, "'%s' must be a string", path);
        thinks = assistant;
    }
    return check_content(message, i, calls || thinks, err);
}

/* One message again with its role "developer" as "system"; other members as they were written. */
static void write_system_message(struct buf *out, const cJSON *message,
                                 const struct json_span *text)
{
    struct json_cursor cursor;
    struct json_span name, value;
    json_cursor_init(&cursor, text->text, text->n_bytes);
    buf_append_char(out, '{');
    const cJSON *node;
    cJSON_ArrayForEach(node, message)
    {
        if (!json_cursor_next(&cursor, &name, &value))
            break;
        if (node != message->child)
            buf_append_char(out, ',');
        buf_append_char(out, '"');
        buf_append(out, name.text, name.n_bytes);
        buf_append_text(out, "\":");
        if (strcmp(node->string, "role") == 0)
            buf_append_text(out, "\"system\"");
        else
            buf_append(out, value.text, value.n_bytes);
    }
    buf_append_char(out, '}');
}

static enum status rewrite_developer(const struct param_value *messages, struct arena *arena,
                                     const char **out, struct error *err)
{
    struct buf text;
    buf_init(&text, REQUEST_BODY_BYTES_MAX);
    struct json_cursor cursor;
    struct json_span span;
    json_cursor_init(&cursor, messages->span.text, messages->span.n_bytes);
    buf_append_char(&text, '[');
    const cJSON *message;
    cJSON_ArrayForEach(message, messages->node)
    {
        if (!json_cursor_next(&cursor, NULL, &span))
            break;
        if (message != messages->node->child)
            buf_append_char(&text, ',');
        const char *role = string_member(message, "role");
        if (role && strcmp(role, "developer") == 0)
            write_system_message(&text, message, &span);
        else
            buf_append(&text, span.text, span.n_bytes);
    }
    buf_append_char(&text, ']');
    enum status status = buf_status(&text, "the messages", err);
    if (status == OK) {
        *out = arena_memdup0(arena, text.bytes, text.n_bytes);
        if (!*out)
            status = error_set(err, ERR_MEMORY, "no memory for the messages");
    }
    buf_release(&text);
    return status;
}

static enum status copy_span(const struct param_value *value, struct arena *arena, const char **out,
                             struct error *err)
{
    *out = arena_memdup0(arena, value->span.text, value->span.n_bytes);
    return *out ? OK : error_set(err, ERR_MEMORY, "no memory for the request");
}

enum status chat_messages_check(const struct param_value *messages, struct arena *arena,
                                const char **out, struct error *err)
{
    if (!messages->node) {
        return error_set_param(err, ERR_INVALID, "messages",
                               "'messages' is required, an array of messages");
    }
    size_t n = 0;
    bool developer = false;
    const cJSON *message;
    cJSON_ArrayForEach(message, messages->node)
    {
        if (n == REQUEST_MESSAGES_MAX) {
            return error_set_param(err, ERR_INVALID, "messages", "more than %d messages",
                                   REQUEST_MESSAGES_MAX);
        }
        enum status status = check_message(message, n++, &developer, err);
        if (status != OK)
            return status;
    }
    if (n == 0)
        return error_set_param(err, ERR_INVALID, "messages", "'messages' must not be empty");
    return developer ? rewrite_developer(messages, arena, out, err)
                     : copy_span(messages, arena, out, err);
}

enum status chat_variables_check(const struct param_value *variables, struct arena *arena,
                                 const char **out, struct error *err)
{
    static const char *const reserved[] = {"messages",     "tools",     "add_generation_prompt",
                                           "bos_token",    "eos_token", "raise_exception",
                                           "strftime_now", "documents", "chat_template"};
    const cJSON *node;
    cJSON_ArrayForEach(node, variables->node)
    {
        for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
            if (strcmp(node->string, reserved[i]) == 0) {
                return error_set_param(err, ERR_INVALID, "chat_template_kwargs",
                                       "'chat_template_kwargs' must not set '%s'", reserved[i]);
            }
        }
    }
    return copy_span(variables, arena, out, err);
}

static enum status read_logprobs(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    if (params->top_logprobs >= 0 && !params->logprobs) {
        return error_set_param(err, ERR_INVALID, "top_logprobs",
                               "'top_logprobs' needs 'logprobs': true");
    }
    if (params->logprobs) {
        request->shape.logprobs = true;
        request->job.top_logprobs = params->top_logprobs < 0 ? 0 : (int32_t)params->top_logprobs;
    }
    return OK;
}

/* Text of a checked message; parts are joined in the arena. NULL without memory. */
static const char *message_text(const cJSON *message, struct arena *arena)
{
    const cJSON *content = cJSON_GetObjectItemCaseSensitive(message, "content");
    if (cJSON_IsString(content))
        return content->valuestring;
    struct buf text;
    buf_init(&text, REQUEST_BODY_BYTES_MAX);
    const cJSON *part;
    cJSON_ArrayForEach(part, content)
    {
        const char *piece = string_member(part, "text");
        buf_append_text(&text, piece ? piece : "");
    }
    const char *copy =
        text.failed ? NULL : arena_memdup0(arena, text.bytes ? text.bytes : "", text.n_bytes);
    buf_release(&text);
    return copy;
}

enum status chat_end_check(const struct params *params, struct arena *arena,
                           struct job_request *job, struct error *err)
{
    const cJSON *message, *last = NULL;
    bool prefix = false;
    size_t i = 0;
    cJSON_ArrayForEach(message, params->messages.node)
    {
        const cJSON *node = cJSON_GetObjectItemCaseSensitive(message, "prefix");
        char path[ERROR_PARAM_BYTES];
        snprintf(path, sizeof path, "messages[%zu].prefix", i++);
        if (node && !cJSON_IsBool(node) && !cJSON_IsNull(node))
            return error_set_param(err, ERR_INVALID, path, "'%s' must be a boolean", path);
        if (cJSON_IsTrue(node) && message->next)
            return error_set_param(err, ERR_INVALID, path, "only the last message can have '%s'",
                                   path);
        prefix = cJSON_IsTrue(node);
        last = message;
    }
    job->no_generation_prompt = !params->add_generation_prompt;
    if (!prefix && !params->continue_final_message)
        return OK;
    const char *role = string_member(last, "role");
    if (!role || strcmp(role, "assistant") != 0 || is_given(last, "tool_calls")) {
        return error_set_param(
            err, ERR_INVALID, "messages",
            "the last of 'messages' must be the assistant's, without tool calls, to "
            "be continued");
    }
    job->continue_text = message_text(last, arena);
    return job->continue_text ? OK : error_set(err, ERR_MEMORY, "no memory for the messages");
}

enum status chat_request_parse(struct generation_request *request, const char *text, size_t n_bytes,
                               const struct request_rules *rules, struct error *err)
{
    enum status status =
        generation_request_begin(request, ENDPOINT_CHAT, text, n_bytes, rules, err);
    const struct params *params = &request->params;
    struct job_request *job = &request->job;
    if (status == OK)
        status = chat_messages_check(&params->messages, &request->arena, &job->messages_json, err);
    if (status == OK)
        status = chat_end_check(params, &request->arena, job, err);
    if (status == OK)
        status = chat_tools_read(request, err);
    if (status == OK && params->chat_template_kwargs.node) {
        status = chat_variables_check(&params->chat_template_kwargs, &request->arena,
                                      &job->template_variables_json, err);
    }
    if (status == OK)
        status = chat_reasoning_read(request, err);
    if (status == OK)
        status = read_logprobs(request, err);
    if (status == OK)
        status = buf_status(&request->ignored, "the list of ignored fields", err);
    job->kind = JOB_CHAT;
    if (status != OK)
        generation_request_release(request);
    return status;
}
