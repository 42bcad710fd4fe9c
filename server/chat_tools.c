/* The fields of a chat body about tools: which functions the model may call, and which it must.
 *
 * The template sees the tools that may be called: all, none of them, or those of allowed_tools, as
 * the client wrote them. A call that must be made is one JSON object {"name", "arguments"} whatever
 * the model's own format, held to the functions' schemas by a grammar. Reference: OpenAI's chat
 * reference. */
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

/* ---- a call that must be made ---- */

/* A member of an object with its text, which may be spelled with escapes. */
static struct param_value member(const struct param_value *object, const char *wanted)
{
    struct json_cursor cursor;
    struct param_value found = {0};
    const cJSON *node;
    json_cursor_init(&cursor, object->span.text, object->span.n_bytes);
    cJSON_ArrayForEach(node, object->node)
    {
        if (!json_cursor_next(&cursor, NULL, &found.span))
            break;
        found.node = node;
        if (strcmp(node->string, wanted) == 0)
            return found;
    }
    return (struct param_value){0};
}

/* The parameters' schema from its place in a larger one: references to its own root get the way to
 * that place in front. */
static void write_moved_schema(struct buf *out, const struct json_span *schema, size_t i)
{
    static const char key[] = "\"$ref\"";
    const char *at = schema->text, *end = at + schema->n_bytes;
    while (at < end) {
        const char *found = memmem(at, (size_t)(end - at), key, sizeof key - 1);
        const char *value = found ? found + sizeof key - 1 : end;
        while (value < end && strchr(" \t\r\n:", *value))
            value++;
        bool is_own = end - value > 2 && value[0] == '"' && value[1] == '#' &&
                      (value[2] == '/' || value[2] == '"');
        value += is_own ? 2 : 0;
        buf_append(out, at, (size_t)(value - at));
        if (is_own)
            buf_printf(out, "/anyOf/%zu/properties/arguments", i);
        at = value;
    }
}

static bool is_strict(const cJSON *tool)
{
    const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(function, "strict"));
}

/* {"name": const, KEY: parameters}, the i-th choice. Another KEY than "arguments" repeats the
 * choice before it. */
static void write_call_schema(struct buf *out, const struct param_value *tool, const char *name,
                              size_t i, bool any_arguments, const char *key)
{
    struct param_value function = member(tool, "function");
    struct param_value parameters = member(&function, "parameters");
    buf_printf(out,
               "%s{\"type\":\"object\",\"properties\":{\"name\":{\"const\":", i > 0 ? "," : "");
    buf_append_json(out, name, strlen(name));
    buf_printf(out, "},\"%s\":", key);
    if (strcmp(key, "arguments") != 0)
        buf_printf(out, "{\"$ref\":\"#/anyOf/%zu/properties/arguments\"}", i - 1);
    else if (any_arguments)
        buf_append_text(out, "{\"type\":\"object\"}");
    else if (cJSON_IsObject(parameters.node))
        write_moved_schema(out, &parameters.span, i);
    else
        buf_append_text(out, "{\"type\":\"object\",\"properties\":{}}");
    buf_printf(out, "},\"required\":[\"name\",\"%s\"],\"additionalProperties\":false}", key);
}

/* The schema of a call of the function `only`, or of any of the tools in the job. free_choice: the
 * model chooses to call, so the arguments may go by the name that its training gave them, and only
 * those of strict functions are held to their schemas. *all_strict: all functions are. */
static enum status write_calls_schema(struct generation_request *request, const char *only,
                                      bool free_choice, const char **out, bool *all_strict,
                                      struct error *err)
{
    struct job_request *job = &request->job;
    cJSON *tools = cJSON_Parse(job->tools_json);
    const cJSON *tool;
    struct buf text;
    struct json_cursor cursor;
    struct param_value value;
    size_t n_written = 0;
    *all_strict = true;
    buf_init(&text, REQUEST_BODY_BYTES_MAX);
    buf_append_text(&text, "{\"anyOf\":[");
    json_cursor_init(&cursor, job->tools_json, strlen(job->tools_json));
    cJSON_ArrayForEach(tool, tools)
    {
        const char *name = function_name(tool);
        if (!json_cursor_next(&cursor, NULL, &value.span))
            break;
        value.node = tool;
        if (!name || (only && strcmp(only, name) != 0))
            continue;
        bool any_arguments = free_choice && !is_strict(tool);
        write_call_schema(&text, &value, name, n_written++, any_arguments, "arguments");
        if (free_choice)
            write_call_schema(&text, &value, name, n_written++, any_arguments, "parameters");
        *all_strict = *all_strict && is_strict(tool);
    }
    buf_append_text(&text, "]}");
    cJSON_Delete(tools);
    enum status status = buf_status(&text, "the tools' schemas", err);
    *out = status == OK ? arena_memdup0(&request->arena, text.bytes, text.n_bytes) : NULL;
    buf_release(&text);
    if (status == OK && (!*out || n_written == 0))
        status = error_set(err, ERR_MEMORY, "no memory for the tools' schemas");
    return status;
}

/* The answer is one call of the function, or of any of the tools in the job. */
static enum status force_call(struct generation_request *request, const char *only,
                              struct error *err)
{
    struct job_request *job = &request->job;
    if (job->constraint.kind != CONSTRAINT_NONE)
        return error_set_param(err, ERR_INVALID, "tool_choice",
                               "'tool_choice' and '%s' exclude each other: one makes the answer a "
                               "call, the other a document",
                               job->constraint.param);
    const char *schema;
    bool all_strict;
    enum status status = write_calls_schema(request, only, false, &schema, &all_strict, err);
    job->constraint = (struct job_constraint){
        .kind = CONSTRAINT_JSON_SCHEMA, .text = schema, .is_strict = all_strict, .param = "tools"};
    job->forced_call = true;
    return status;
}

/* The model may call: then strict functions get arguments that keep to their schemas. */
static enum status hold_strict_calls(struct generation_request *request, struct error *err)
{
    struct job_request *job = &request->job;
    cJSON *tools = cJSON_Parse(job->tools_json);
    const cJSON *tool;
    bool any = false;
    cJSON_ArrayForEach(tool, tools) any = any || is_strict(tool);
    cJSON_Delete(tools);
    return any ? write_calls_schema(request, NULL, true, &job->calls_schema, &any, err) : OK;
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
        return force_call(request, name, err);
    }
    const char *mode = string_member(allowed, "mode");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(allowed, "tools");
    bool must = mode && strcmp(mode, "required") == 0;
    if (!type || strcmp(type, "allowed_tools") != 0 || !cJSON_IsArray(list) ||
        !(must || (mode && strcmp(mode, "auto") == 0)))
        return error_set_param(err, ERR_INVALID, "tool_choice",
                               "'tool_choice' must be \"none\", \"auto\", \"required\", "
                               "{\"type\":\"function\",...} or {\"type\":\"allowed_tools\",...} "
                               "with the mode auto or required");
    enum status status = keep_allowed(tools, list, &request->arena, &request->job.tools_json, err);
    if (status != OK || !must)
        return status;
    if (!request->job.tools_json)
        return error_set_param(err, ERR_INVALID, "tool_choice.allowed_tools.tools",
                               "'tool_choice' requires a call, but allows no function");
    return force_call(request, NULL, err);
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
    bool required = word && strcmp(word, "required") == 0;
    if (word && !automatic && !required)
        return error_set_param(err, ERR_INVALID, "tool_choice",
                               "'tool_choice' must be \"none\", \"auto\", \"required\" or an "
                               "object, not \"%.40s\"",
                               word);
    request->job.tools_json = text;
    if (cJSON_IsObject(choice))
        status = read_choice_object(request, choice, err);
    else if (required)
        status = force_call(request, NULL, err);
    if (status == OK && request->job.tools_json && request->job.constraint.kind == CONSTRAINT_NONE)
        status = hold_strict_calls(request, err);
    request->job.one_tool_call = !params->parallel_tool_calls;
    request->shape.tools = request->job.tools_json != NULL;
    return status;
}
