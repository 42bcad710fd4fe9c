/* The fields of a chat body that steer reasoning, in every dialect that clients speak, to variables
 * of the model's template.
 *
 *   OpenAI      reasoning_effort: none, minimal, low, medium, high, xhigh, max
 *   OpenRouter  reasoning: {effort, enabled, max_tokens}
 *   DeepSeek    thinking: {type: enabled | disabled}, Anthropic's budget_tokens in it
 *   vLLM, Qwen  enable_thinking, chat_template_kwargs, thinking_token_budget
 *   llama.cpp   reasoning_budget
 *
 * The template sees enable_thinking and thinking (true or false) and reasoning_effort. The more
 * exact field wins: chat_template_kwargs, enable_thinking, thinking, reasoning, reasoning_effort.
 * What a model's template has no use for is listed as ignored once the model is known. */
#include <cjson/cJSON.h>
#include <math.h>

#include "server/chat_request.h"
#include "server/generation_request.h"

static const cJSON *given_member(const cJSON *object, const char *name)
{
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(node) ? NULL : node;
}

static bool is_level(const char *word)
{
    static const char *const levels[] = {"none", "minimal", "low", "medium",
                                         "high", "xhigh",   "max"};
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(word, levels[i]) == 0)
            return true;
    return false;
}

static enum status take_effort(struct reasoning_request *reasoning, const cJSON *node,
                               const char *path, struct error *err)
{
    if (!cJSON_IsString(node) || !is_level(node->valuestring))
        return error_set_param(err, ERR_INVALID, path,
                               "'%s' must be none, minimal, low, medium, high, xhigh or max", path);
    bool is_off = strcmp(node->valuestring, "none") == 0;
    reasoning->effort = is_off ? NULL : node->valuestring;
    reasoning->is_on = !is_off;
    reasoning->has_switch = true;
    return OK;
}

static enum status take_budget(struct reasoning_request *reasoning, const cJSON *node,
                               const char *path, struct error *err)
{
    double value = cJSON_IsNumber(node) ? node->valuedouble : -1;
    if (value < 0 || value > 2147483647.0 || value != floor(value))
        return error_set_param(err, ERR_INVALID, path, "'%s' must be an integer of at least 0",
                               path);
    reasoning->budget = (int64_t)value;
    return OK;
}

static enum status take_reasoning(struct generation_request *request, const cJSON *object,
                                  struct error *err)
{
    struct reasoning_request *reasoning = &request->reasoning;
    const cJSON *member;
    cJSON_ArrayForEach(member, object)
    {
        char path[ERROR_PARAM_BYTES];
        snprintf(path, sizeof path, "reasoning.%.40s", member->string);
        if (cJSON_IsNull(member))
            continue;
        if (strcmp(member->string, "effort") == 0) {
            enum status status = take_effort(reasoning, member, path, err);
            if (status != OK)
                return status;
        } else if (strcmp(member->string, "enabled") == 0) {
            if (!cJSON_IsBool(member))
                return error_set_param(err, ERR_INVALID, path, "'%s' must be a boolean", path);
            reasoning->has_switch = true;
            reasoning->is_on = cJSON_IsTrue(member);
        } else if (strcmp(member->string, "max_tokens") == 0) {
            enum status status = take_budget(reasoning, member, path, err);
            if (status != OK)
                return status;
        } else if (strcmp(member->string, "exclude") == 0 && !cJSON_IsFalse(member)) {
            return error_set_param(err, ERR_UNSUPPORTED, path, "'%s' is not supported", path);
        } else if (strcmp(member->string, "exclude") != 0) {
            params_ignored_add(&request->ignored, path);
        }
    }
    return OK;
}

static enum status take_thinking(struct reasoning_request *reasoning, const cJSON *object,
                                 struct error *err)
{
    const cJSON *type = given_member(object, "type");
    bool on = cJSON_IsString(type) && strcmp(type->valuestring, "enabled") == 0;
    if (!on && !(cJSON_IsString(type) && strcmp(type->valuestring, "disabled") == 0))
        return error_set_param(err, ERR_INVALID, "thinking.type",
                               "'thinking.type' must be enabled or disabled");
    reasoning->has_switch = true;
    reasoning->is_on = on;
    const cJSON *budget = given_member(object, "budget_tokens");
    return budget ? take_budget(reasoning, budget, "thinking.budget_tokens", err) : OK;
}

/* Our members that chat_template_kwargs does not set itself, then its own. */
static enum status write_variables(struct generation_request *request, struct error *err)
{
    const struct reasoning_request *reasoning = &request->reasoning;
    const struct param_value *own = &request->params.chat_template_kwargs;
    struct buf text;
    buf_init(&text, REQUEST_BODY_BYTES_MAX + 256);
    char before = '{';
    static const char *const switches[] = {"enable_thinking", "thinking"};
    for (size_t i = 0; reasoning->has_switch && i < 2; i++) {
        if (cJSON_GetObjectItemCaseSensitive(own->node, switches[i]))
            continue;
        buf_printf(&text, "%c\"%s\":%s", before, switches[i], reasoning->is_on ? "true" : "false");
        before = ',';
    }
    if (reasoning->effort && !cJSON_GetObjectItemCaseSensitive(own->node, "reasoning_effort")) {
        buf_printf(&text, "%c\"reasoning_effort\":\"%s\"", before, reasoning->effort);
        before = ',';
    }
    struct json_cursor cursor;
    struct json_span name, value;
    if (own->node) {
        json_cursor_init(&cursor, own->span.text, own->span.n_bytes);
        for (; json_cursor_next(&cursor, &name, &value); before = ',') {
            buf_append_char(&text, before);
            buf_append_char(&text, '"');
            buf_append(&text, name.text, name.n_bytes);
            buf_append_text(&text, "\":");
            buf_append(&text, value.text, value.n_bytes);
        }
    }
    buf_append_text(&text, before == '{' ? "{}" : "}");
    enum status status = buf_status(&text, "the template's variables", err);
    if (status == OK) {
        request->job.template_variables_json =
            arena_memdup0(&request->arena, text.bytes, text.n_bytes);
        if (!request->job.template_variables_json)
            status = error_set(err, ERR_MEMORY, "no memory for the template's variables");
    }
    buf_release(&text);
    return status;
}

enum status chat_reasoning_read(struct generation_request *request, struct error *err)
{
    const struct params *params = &request->params;
    struct reasoning_request *reasoning = &request->reasoning;
    enum status status = OK;
    reasoning->budget = -1;
    if (params->reasoning_effort.node)
        status = take_effort(reasoning, params->reasoning_effort.node, "reasoning_effort", err);
    if (status == OK && params->reasoning.node)
        status = take_reasoning(request, params->reasoning.node, err);
    if (status == OK && params->thinking.node)
        status = take_thinking(reasoning, params->thinking.node, err);
    if (status == OK && params->enable_thinking.node) {
        reasoning->has_switch = true;
        reasoning->is_on = cJSON_IsTrue(params->enable_thinking.node);
    }
    if (params->reasoning_budget >= 0)
        reasoning->budget = params->reasoning_budget;
    if (params->thinking_token_budget >= 0)
        reasoning->budget = params->thinking_token_budget;
    request->job.has_thinking_budget = reasoning->budget >= 0;
    request->job.thinking_budget = reasoning->budget >= 0 ? (size_t)reasoning->budget : 0;
    if (status == OK && (reasoning->has_switch || reasoning->effort))
        status = write_variables(request, err);
    return status;
}

static enum status ignore(struct generation_request *request, const char *name, bool strict,
                          struct error *err)
{
    if (strict)
        return error_set_param(err, ERR_UNSUPPORTED, name,
                               "'%s' would be ignored (strict mode): this model's template has no "
                               "use for it",
                               name);
    params_ignored_add(&request->ignored, name);
    return OK;
}

enum status chat_reasoning_settle(struct generation_request *request,
                                  const struct engine_info *info, bool strict, struct error *err)
{
    const struct params *params = &request->params;
    const struct {
        const struct param_value *value;
        const char *name;
        bool is_used;
    } fields[] = {
        {&params->reasoning_effort, "reasoning_effort",
         info->thinking_switch || (info->reasoning_effort && request->reasoning.effort)},
        {&params->reasoning, "reasoning", info->thinking_switch || info->reasoning_effort},
        {&params->thinking, "thinking", info->thinking_switch},
        {&params->enable_thinking, "enable_thinking", info->thinking_switch},
    };
    const struct {
        bool is_given;
        const char *name;
    } budgets[] = {{params->thinking_token_budget >= 0, "thinking_token_budget"},
                   {params->reasoning_budget >= 0, "reasoning_budget"}};
    for (size_t i = 0; i < 2 && !info->thinks; i++) {
        if (!budgets[i].is_given)
            continue;
        enum status status = ignore(request, budgets[i].name, strict, err);
        if (status != OK)
            return status;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        bool is_off = request->reasoning.has_switch && !request->reasoning.is_on;
        if (!fields[i].value->node || fields[i].is_used || (is_off && !info->thinks))
            continue;
        enum status status = ignore(request, fields[i].name, strict, err);
        if (status != OK)
            return status;
    }
    return OK;
}
