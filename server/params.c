/* The parameter table and the walk of a body against it; see params.h.
 *
 * One pass over the members, the cJSON list and the text cursor in step, so that each value is
 * known both as a tree and as the text the client wrote. Nothing is allocated before a value has
 * passed its row, so an absurd value costs its sender a 400 and us nothing.
 *
 * Rows follow OpenAI's reference and the extensions of vLLM and llama.cpp that clients really send;
 * reference api.md sections 1.2, 1.3 and 1.11 say which field changes an answer. */
#include "server/params.h"

#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/json_scan.h"

enum { BOTH = ENDPOINT_CHAT | ENDPOINT_COMPLETIONS };

#define CHAT        ENDPOINT_CHAT
#define COMPLETIONS ENDPOINT_COMPLETIONS
#define ANY_RANGE   1, 0
#define AT(field)   offsetof(struct params, field)
#define HONOUR(name, where, types, range, excluded, fallback, field)                               \
    {                                                                                              \
        name, where, PARAM_HONOURED, types, range, excluded, fallback, AT(field), NULL, NULL       \
    }
#define VALUE(name, where, types, field)                                                           \
    {                                                                                              \
        name, where, PARAM_HONOURED, types, ANY_RANGE, false, 0, AT(field), NULL, NULL             \
    }
#define REFUSE(name, where, types, neutral, note)                                                  \
    {                                                                                              \
        name, where, PARAM_REFUSED, types, ANY_RANGE, false, 0, 0, neutral, note                   \
    }
#define IGNORE(name, where, types)                                                                 \
    {                                                                                              \
        name, where, PARAM_IGNORED, types, ANY_RANGE, false, 0, 0, NULL, NULL                      \
    }
#define RANGE(low, high) low, high

static const char no_tools[] = "tool calling is not available in this version";
static const char no_schema[] = "constrained output is not available in this version";
static const char no_audio[] = "this model makes text only";
static const char no_sampler[] = "this sampling method is not available";
static const char no_reasoning[] = "control of reasoning is not available in this version; "
                                   "chat_template_kwargs reaches the model's own template";

static const struct param table[] = {
    VALUE("model", BOTH, TYPE_STRING, model),
    VALUE("messages", CHAT, TYPE_ARRAY, messages),
    VALUE("prompt", COMPLETIONS, TYPE_STRING | TYPE_ARRAY, prompt),
    HONOUR("stream", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, stream),
    VALUE("stream_options", BOTH, TYPE_OBJECT, stream_options),
    HONOUR("n", BOTH, TYPE_INT, RANGE(1, 8), false, 1, n),
    HONOUR("max_tokens", BOTH, TYPE_INT, RANGE(1, 2147483647.0), false, 0, max_tokens),
    HONOUR("max_completion_tokens", CHAT, TYPE_INT, RANGE(1, 2147483647.0), false, 0,
           max_completion_tokens),
    HONOUR("temperature", BOTH, TYPE_NUMBER, RANGE(0, 2), false, 0.8, temperature),
    HONOUR("top_p", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 1, top_p),
    HONOUR("top_k", BOTH, TYPE_INT, RANGE(-1, 2147483647.0), false, 0, top_k),
    HONOUR("min_p", BOTH, TYPE_NUMBER, RANGE(0, 1), false, 0.05, min_p),
    HONOUR("presence_penalty", BOTH, TYPE_NUMBER, RANGE(-2, 2), false, 0, presence_penalty),
    HONOUR("frequency_penalty", BOTH, TYPE_NUMBER, RANGE(-2, 2), false, 0, frequency_penalty),
    HONOUR("repetition_penalty", BOTH, TYPE_NUMBER, RANGE(0, 100), true, 1, repetition_penalty),
    VALUE("seed", BOTH, TYPE_INT, seed),
    VALUE("stop", BOTH, TYPE_STRING | TYPE_ARRAY, stop),
    VALUE("logit_bias", BOTH, TYPE_OBJECT, logit_bias),
    HONOUR("logprobs", CHAT, TYPE_BOOL, ANY_RANGE, false, 0, logprobs),
    HONOUR("top_logprobs", CHAT, TYPE_INT, RANGE(0, 20), false, -1, top_logprobs),
    HONOUR("logprobs", COMPLETIONS, TYPE_INT, RANGE(0, 5), false, -1, legacy_logprobs),
    HONOUR("ignore_eos", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, ignore_eos),
    HONOUR("return_token_ids", BOTH, TYPE_BOOL, ANY_RANGE, false, 0, return_token_ids),
    VALUE("chat_template_kwargs", CHAT, TYPE_OBJECT, chat_template_kwargs),
    VALUE("tools", CHAT, TYPE_ARRAY, tools),
    VALUE("tool_choice", CHAT, TYPE_STRING | TYPE_OBJECT, tool_choice),

    REFUSE("functions", CHAT, TYPE_ARRAY, "[]", no_tools),
    REFUSE("function_call", CHAT, TYPE_STRING | TYPE_OBJECT, "\"none\"|\"auto\"", no_tools),
    REFUSE("response_format", BOTH, TYPE_OBJECT, "{\"type\":\"text\"}", no_schema),
    REFUSE("guided_json", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("guided_regex", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("guided_choice", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("guided_grammar", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("structured_outputs", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("grammar", BOTH, TYPE_ANY, "\"\"", no_schema),
    REFUSE("json_schema", BOTH, TYPE_ANY, NULL, no_schema),
    REFUSE("modalities", CHAT, TYPE_ARRAY, "[\"text\"]", no_audio),
    REFUSE("audio", CHAT, TYPE_OBJECT, NULL, no_audio),
    REFUSE("prediction", CHAT, TYPE_OBJECT, NULL, "predicted outputs are not available"),
    REFUSE("web_search_options", CHAT, TYPE_OBJECT, NULL, "this server does not search the web"),
    REFUSE("verbosity", CHAT, TYPE_STRING, "\"medium\"", "the models here know no verbosity"),
    REFUSE("reasoning_effort", CHAT, TYPE_STRING, "\"none\"", no_reasoning),
    REFUSE("reasoning", CHAT, TYPE_OBJECT, "{}", no_reasoning),
    REFUSE("thinking", CHAT, TYPE_OBJECT, "{\"type\":\"disabled\"}", no_reasoning),
    REFUSE("enable_thinking", CHAT, TYPE_BOOL, "false", no_reasoning),
    REFUSE("thinking_token_budget", CHAT, TYPE_INT, NULL, no_reasoning),
    REFUSE("documents", CHAT, TYPE_ARRAY, "[]", "documents are not available"),
    REFUSE("chat_template", CHAT, TYPE_STRING, NULL, "the model's own template is always used"),
    REFUSE("add_generation_prompt", CHAT, TYPE_BOOL, "true", "a reply always starts a new turn"),
    REFUSE("continue_final_message", CHAT, TYPE_BOOL, "false", "a reply always starts a new turn"),
    REFUSE("echo", BOTH, TYPE_BOOL, "false", "echo is not available in this version"),
    REFUSE("suffix", COMPLETIONS, TYPE_STRING, "\"\"", "fill-in-the-middle is not available"),
    REFUSE("best_of", BOTH, TYPE_INT, "1", "use n and choose among the answers"),
    REFUSE("use_beam_search", BOTH, TYPE_BOOL, "false", "beam search is not available"),
    REFUSE("prompt_logprobs", BOTH, TYPE_INT | TYPE_BOOL, "false",
           "log-probabilities of the prompt are not available in this version"),
    REFUSE("min_tokens", BOTH, TYPE_INT, "0", "use ignore_eos with max_tokens"),
    REFUSE("stop_token_ids", BOTH, TYPE_ARRAY, "[]", "use stop strings"),
    REFUSE("stop_regex", BOTH, TYPE_STRING | TYPE_ARRAY, "\"\"|[]", "use stop strings"),
    REFUSE("include_stop_str_in_output", BOTH, TYPE_BOOL, "false", "stop strings are never shown"),
    REFUSE("skip_special_tokens", BOTH, TYPE_BOOL, "true", "control tokens are never shown"),
    REFUSE("bad_words", BOTH, TYPE_ARRAY, "[]", "use logit_bias of -100"),
    REFUSE("allowed_token_ids", BOTH, TYPE_ARRAY, "[]", "use logit_bias"),
    REFUSE("logits_processors", BOTH, TYPE_ANY, "[]", no_sampler),
    REFUSE("typical_p", BOTH, TYPE_NUMBER, "1", no_sampler),
    REFUSE("tfs_z", BOTH, TYPE_NUMBER, "1", no_sampler),
    REFUSE("top_a", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("top_n_sigma", BOTH, TYPE_NUMBER, "-1", no_sampler),
    REFUSE("xtc_probability", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("dry_multiplier", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("dynatemp_range", BOTH, TYPE_NUMBER, "0", no_sampler),
    REFUSE("mirostat", BOTH, TYPE_INT, "0", no_sampler),
    REFUSE("samplers", BOTH, TYPE_ANY, NULL, "the order of the samplers is fixed"),
    REFUSE("repeat_penalty", BOTH, TYPE_NUMBER, "1", "use repetition_penalty"),
    REFUSE("length_penalty", BOTH, TYPE_NUMBER, "1", "beam search is not available"),
    REFUSE("truncate_prompt_tokens", BOTH, TYPE_INT, "-1", "a prompt is never cut silently"),
    REFUSE("lora", BOTH, TYPE_ANY, "[]", "adapters are not available"),

    IGNORE("user", BOTH, TYPE_STRING),
    IGNORE("safety_identifier", CHAT, TYPE_STRING),
    IGNORE("metadata", CHAT, TYPE_OBJECT),
    IGNORE("store", CHAT, TYPE_BOOL),
    IGNORE("service_tier", CHAT, TYPE_STRING),
    IGNORE("parallel_tool_calls", CHAT, TYPE_BOOL),
    IGNORE("prompt_cache_key", CHAT, TYPE_STRING),
    IGNORE("prompt_cache_retention", CHAT, TYPE_STRING),
    IGNORE("cache_prompt", BOTH, TYPE_BOOL),
    IGNORE("priority", BOTH, TYPE_INT),
    IGNORE("request_id", BOTH, TYPE_STRING),
    IGNORE("timings_per_token", BOTH, TYPE_BOOL),
};

const struct param *params_table(size_t *n_params)
{
    *n_params = sizeof table / sizeof table[0];
    return table;
}

enum status request_body_parse(struct request_body *body, const char *text, size_t n_bytes,
                               struct error *err)
{
    *body = (struct request_body){.text = text, .n_bytes = n_bytes};
    static const struct json_limits limits = {REQUEST_DEPTH_MAX, REQUEST_NODES_MAX};
    enum status status = json_scan(text, n_bytes, &limits, err);
    if (status != OK)
        return status;
    body->root = cJSON_ParseWithLength(text, n_bytes);
    if (!body->root)
        return error_set(err, ERR_MEMORY, "no memory for the request body");
    if (!cJSON_IsObject(body->root)) {
        request_body_release(body);
        return error_set(err, ERR_INVALID, "the request body must be a JSON object");
    }
    return OK;
}

void request_body_release(struct request_body *body)
{
    cJSON_Delete(body->root);
    body->root = NULL;
}

static const struct param *find(enum endpoint endpoint, const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if ((table[i].endpoints & (unsigned)endpoint) && strcmp(table[i].name, name) == 0)
            return &table[i];
    }
    return NULL;
}

static unsigned type_of(const cJSON *node)
{
    if (cJSON_IsBool(node))
        return TYPE_BOOL;
    if (cJSON_IsNumber(node)) {
        bool whole = floor(node->valuedouble) == node->valuedouble;
        return whole ? TYPE_INT | TYPE_NUMBER : TYPE_NUMBER;
    }
    if (cJSON_IsString(node))
        return TYPE_STRING;
    return cJSON_IsArray(node) ? TYPE_ARRAY : TYPE_OBJECT;
}

static enum status wrong_type(const struct param *param, struct error *err)
{
    static const char *const names[] = {"a boolean", "an integer", "a number",
                                        "a string",  "an array",   "an object"};
    char text[96] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (param->types & 1u << i) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? " or " : "", names[i]);
        }
    }
    return error_set_param(err, ERR_INVALID, param->name, "'%s' must be %s", param->name, text);
}

static enum status check_range(const struct param *param, double value, struct error *err)
{
    if (param->min > param->max)
        return OK;
    bool low = param->min_excluded ? value <= param->min : value < param->min;
    if (!low && value <= param->max)
        return OK;
    return error_set_param(
        err, ERR_INVALID, param->name, "'%s' must be %s %g and at most %.10g, not %.10g",
        param->name, param->min_excluded ? "above" : "at least", param->min, param->max, value);
}

static void store_number(const struct param *param, struct params *out, double value)
{
    char *field = (char *)out + param->offset;
    if (param->types == TYPE_BOOL)
        *(bool *)field = value != 0;
    else if (param->types == TYPE_INT)
        *(int64_t *)field = (int64_t)value;
    else
        *(double *)field = value;
}

static bool is_number_field(const struct param *param)
{
    return param->types == TYPE_BOOL || param->types == TYPE_NUMBER ||
           (param->types == TYPE_INT && param->min <= param->max);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The text is `wanted`, blanks outside of its strings aside. No `wanted` holds an escape. */
static bool text_matches(const struct json_span *span, const char *wanted, size_t n)
{
    size_t same = 0;
    bool in_string = false;
    for (size_t i = 0; i < span->n_bytes; i++) {
        char c = span->text[i];
        if (c == '"')
            in_string = !in_string;
        else if (!in_string && is_blank(c))
            continue;
        if (same >= n || wanted[same] != c)
            return false;
        same++;
    }
    return same == n;
}

/* The value is one of the alternatives; numbers compare as numbers. */
static bool is_neutral(const char *alternatives, const cJSON *node, const struct json_span *span)
{
    while (alternatives) {
        const char *bar = strchr(alternatives, '|');
        size_t n = bar ? (size_t)(bar - alternatives) : strlen(alternatives);
        char *end;
        if (cJSON_IsNumber(node)
                ? strtod(alternatives, &end) == node->valuedouble && end == alternatives + n
                : text_matches(span, alternatives, n))
            return true;
        alternatives = bar ? bar + 1 : NULL;
    }
    return false;
}

void params_ignored_add(struct buf *ignored, const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 64 || ignored->n_bytes + n + 2 > IGNORED_BYTES_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.'))
            return;  // a client's text never reaches a header as it is
    }
    if (ignored->n_bytes > 0)
        buf_append_text(ignored, ", ");
    buf_append(ignored, name, n);
}

static enum status parse_member(const struct param *param, const cJSON *node,
                                const struct json_span *span, struct params *out, struct error *err)
{
    unsigned type = type_of(node);
    if (!(type & param->types))
        return wrong_type(param, err);
    if (param->kind == PARAM_REFUSED) {
        if (is_neutral(param->neutral, node, span))
            return OK;
        return error_set_param(err, ERR_UNSUPPORTED, param->name, "'%s' is not supported: %s",
                               param->name, param->note);
    }
    if (param->kind != PARAM_HONOURED)
        return OK;
    if (!is_number_field(param)) {
        *(struct param_value *)((char *)out + param->offset) = (struct param_value){node, *span};
        return OK;
    }
    double value = cJSON_IsBool(node) ? (double)cJSON_IsTrue(node) : node->valuedouble;
    enum status status = check_range(param, value, err);
    if (status == OK)
        store_number(param, out, value);
    return status;
}

enum status params_parse(enum endpoint endpoint, const struct request_body *body, bool strict,
                         struct params *out, struct buf *ignored, struct error *err)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].kind == PARAM_HONOURED && is_number_field(&table[i]))
            store_number(&table[i], out, table[i].default_number);
    }
    struct json_cursor cursor;
    json_cursor_init(&cursor, body->text, body->n_bytes);
    struct json_span span;
    size_t n_members = 0;
    const cJSON *node;
    cJSON_ArrayForEach(node, body->root)
    {
        if (!json_cursor_next(&cursor, NULL, &span) || ++n_members > REQUEST_MEMBERS_MAX)
            return error_set(err, ERR_INVALID, "more than %d fields", REQUEST_MEMBERS_MAX);
        const struct param *param = find(endpoint, node->string);
        if (cJSON_IsNull(node))
            continue;
        enum status status = param ? parse_member(param, node, &span, out, err) : OK;
        if (status != OK)
            return status;
        if (!param || param->kind == PARAM_IGNORED) {
            if (strict) {
                return error_set_param(err, ERR_UNSUPPORTED, node->string,
                                       "'%s' would be ignored (strict mode)", node->string);
            }
            params_ignored_add(ignored, node->string);
        }
    }
    return OK;
}
