/* The walk of a request's body against the table of parameters; see params.h.
 *
 * One pass over the members, the cJSON list and the text cursor in step, so that each value is
 * known both as a tree and as the text the client wrote. Nothing is allocated before a value has
 * passed its row, so an absurd value costs its sender a 400 and us nothing. The rows themselves are
 * in params_table.c. */
#include "server/params.h"

#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/json_scan.h"

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
    size_t n_params;
    const struct param *table = params_table(&n_params);
    for (size_t i = 0; i < n_params; i++) {
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
    if (param->is_node) {
        *(struct param_value *)((char *)out + param->offset) = (struct param_value){node, *span};
        return OK;
    }
    double value = cJSON_IsBool(node) ? (double)cJSON_IsTrue(node) : node->valuedouble;
    enum status status = check_range(param, value, err);
    if (status == OK)
        store_number(param, out, value);
    return status;
}

void params_set(enum endpoint endpoint, struct params *out, const char *name, double value)
{
    const struct param *param = find(endpoint, name);
    if (param && param->kind == PARAM_HONOURED && !param->is_node)
        store_number(param, out, value);
}

enum status params_parse(enum endpoint endpoint, const struct request_body *body, bool strict,
                         struct params *out, struct buf *names, struct error *err)
{
    memset(out, 0, sizeof *out);
    size_t n_params;
    const struct param *table = params_table(&n_params);
    for (size_t i = 0; i < n_params; i++) {
        bool applies = table[i].endpoints & (unsigned)endpoint;
        if (applies && table[i].kind == PARAM_HONOURED && !table[i].is_node)
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
        bool ignored =
            param && param->kind == PARAM_IGNORED && !is_neutral(param->neutral, node, &span);
        if (!param || ignored) {
            if (strict) {
                return error_set_param(err, ERR_UNSUPPORTED, node->string,
                                       "'%s' would be ignored (strict mode)", node->string);
            }
            params_ignored_add(names, node->string);
        }
    }
    return OK;
}
