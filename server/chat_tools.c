/* The fields of a chat body about tools: which functions the model may call, and which it must.
 *
 * The template sees the tools that may be called: all, none of them, or those of allowed_tools, as
 * the client wrote them. Reference: OpenAI's chat reference. */
#include <cjson/cJSON.h>

#include "server/chat_request.h"
#include "server/generation_request.h"

static const char *string_member(const cJSON *object, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(node) ? node->valuestring : NULL;
}

static const cJSON *given_member(const cJSON *object, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(node) ? NULL : node;
}

static bool is_function_name(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr("_-.:/", c)))
            return false;
    }
    return n > 0 && n <= FUNCTION_NAME_BYTES_MAX;
}

static const char *function_name(const cJSON *tool)
{
    return string_member(cJSON_GetObjectItemCaseSensitive(tool, "function"), "name");
}

static const cJSON *find_tool(const cJSON *tools, const char *name, const cJSON *before)
{
    const cJSON *tool;
    cJSON_ArrayForEach(tool, tools)
    {
        const char *own = tool == before ? NULL : function_name(tool);
        if (tool == before)
            return NULL;
        if (own && strcmp(own, name) == 0)
            return tool;
    }
    return NULL;
}

static enum status check_tool(const cJSON *tools, const cJSON *tool, size_t i, struct error *err)
{
    char path[ERROR_PARAM_BYTES];
    snprintf(path, sizeof path, "tools[%zu]", i);
    const char *type = cJSON_IsObject(tool) ? string_member(tool, "type") : NULL;
    const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
    if (!type || strcmp(type, "function") != 0 || !cJSON_IsObject(function))
        return error_set_param(err, ERR_INVALID, path,
                               "'%s' must be {\"type\":\"function\",\"function\":{\"name\":...}}",
                               path);
    const char *name = string_member(function, "name");
    snprintf(path, sizeof path, "tools[%zu].function.name", i);
    if (!name || !is_function_name(name))
        return error_set_param(err, ERR_INVALID, path,
                               "'%s' must be 1 to %d letters, digits or _-.:/", path,
                               FUNCTION_NAME_BYTES_MAX);
    if (find_tool(tools, name, tool))
        return error_set_param(err, ERR_INVALID, path, "'%s': there are two functions '%s'", path,
                               name);
    const cJSON *schema = given_member(function, "parameters");
    snprintf(path, sizeof path, "tools[%zu].function.parameters", i);
    if (schema && !cJSON_IsObject(schema))
        return error_set_param(err, ERR_INVALID, path, "'%s' must be an object, a JSON schema",
                               path);
    const cJSON *description = given_member(function, "description");
    snprintf(path, sizeof path, "tools[%zu].function.description", i);
    if (description && !cJSON_IsString(description))
        return error_set_param(err, ERR_INVALID, path, "'%s' must be a string", path);
    return OK;
}

enum status chat_tools_check(const struct param_value *tools, struct arena *arena, const char **out,
                             struct error *err)
{
    size_t n = 0;
    const cJSON *tool;
    cJSON_ArrayForEach(tool, tools->node)
    {
        if (n == REQUEST_TOOLS_MAX)
            return error_set_param(err, ERR_INVALID, "tools", "more than %d tools",
                                   REQUEST_TOOLS_MAX);
        enum status status = check_tool(tools->node, tool, n++, err);
        if (status != OK)
            return status;
    }
    *out = arena_memdup0(arena, tools->span.text, tools->span.n_bytes);
    return *out ? OK : error_set(err, ERR_MEMORY, "no memory for the tools");
}

/* ---- tool_choice ---- */

static enum status keep_allowed(const struct param_value *tools, const cJSON *allowed,
                                struct arena *arena, const char **out, struct error *err)
{
    size_t n_kept = 0;
    const cJSON *tool;
    cJSON_ArrayForEach(tool, allowed)
    {
        const char *name = function_name(tool);
        if (!name || !find_tool(tools->node, name, NULL))
            return error_set_param(err, ERR_INVALID, "tool_choice.allowed_tools.tools",
                                   "'tool_choice.allowed_tools.tools' must name functions of "
                                   "'tools'");
    }
    struct buf text;
    struct json_cursor cursor;
    struct json_span span;
    buf_init(&text, REQUEST_BODY_BYTES_MAX);
    json_cursor_init(&cursor, tools->span.text, tools->span.n_bytes);
    cJSON_ArrayForEach(tool, tools->node)
    {
        if (!json_cursor_next(&cursor, NULL, &span))
            break;
        if (!find_tool(allowed, function_name(tool), NULL))
            continue;
        buf_append_char(&text, n_kept++ == 0 ? '[' : ',');
        buf_append(&text, span.text, span.n_bytes);
    }
    buf_append_char(&text, ']');
    enum status status = buf_status(&text, "the tools", err);
    if (status == OK) {
        *out = n_kept == 0 ? NULL : arena_memdup0(arena, text.bytes, text.n_bytes);
        if (n_kept > 0 && !*out)
            status = error_set(err, ERR_MEMORY, "no memory for the tools");
    }
    buf_release(&text);
    return status;
}

static enum status read_choice_object(struct generation_request *request, const cJSON *choice,
                                      struct error *err)
{
    const struct param_value *tools = &request->params.tools;
    const char *type = string_member(choice, "type");
    const cJSON *allowed = cJSON_GetObjectItemCaseSensitive(choice, "allowed_tools");
    if (type && strcmp(type, "function") == 0) {
        const char *name = function_name(choice);
        if (!name || !find_tool(tools->node, name, NULL))
            return error_set_param(err, ERR_INVALID, "tool_choice",
                                   "'tool_choice.function.name' must be one of 'tools'");
        return error_set_param(err, ERR_UNSUPPORTED, "tool_choice",
                               "'tool_choice' cannot force a call yet; \"auto\" and \"none\" are "
                               "supported");
    }
    const char *mode = string_member(allowed, "mode");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(allowed, "tools");
    if (!type || strcmp(type, "allowed_tools") != 0 || !mode || !cJSON_IsArray(list))
        return error_set_param(err, ERR_INVALID, "tool_choice",
                               "'tool_choice' must be \"none\", \"auto\", \"required\", "
                               "{\"type\":\"function\",...} or {\"type\":\"allowed_tools\",...}");
    if (strcmp(mode, "auto") != 0)
        return error_set_param(err, ERR_UNSUPPORTED, "tool_choice.allowed_tools.mode",
                               "'tool_choice' cannot force a call yet; the mode \"auto\" is "
                               "supported");
    return keep_allowed(tools, list, &request->arena, &request->job.tools_json, err);
}

enum status chat_tools_read(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    const cJSON *choice = params->tool_choice.node;
    const char *word = cJSON_IsString(choice) ? choice->valuestring : NULL;
    bool any = params->tools.node && params->tools.node->child;
    const char *text = NULL;
    enum status status = any ? chat_tools_check(&params->tools, &request->arena, &text, err) : OK;
    if (status != OK)
        return status;
    bool none = word && strcmp(word, "none") == 0, automatic = word && strcmp(word, "auto") == 0;
    if (choice && !any && !none && !automatic)
        return error_set_param(err, ERR_INVALID, "tool_choice", "'tool_choice' needs 'tools'");
    if (none || !any)
        return OK;
    if (word && strcmp(word, "required") == 0)
        return error_set_param(err, ERR_UNSUPPORTED, "tool_choice",
                               "'tool_choice' cannot force a call yet; \"auto\" and \"none\" are "
                               "supported");
    if (word && !automatic)
        return error_set_param(err, ERR_INVALID, "tool_choice",
                               "'tool_choice' must be \"none\", \"auto\", \"required\" or an "
                               "object, not \"%.40s\"",
                               word);
    request->job.tools_json = text;
    if (cJSON_IsObject(choice))
        status = read_choice_object(request, choice, err);
    request->job.one_tool_call = !params->parallel_tool_calls;
    request->shape.tools = request->job.tools_json != NULL;
    return status;
}
