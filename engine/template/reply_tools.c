/* The request's tools as a reply needs them: their names, and which types each parameter may have.
 *
 * Types are read from type, enum, const, anyOf, oneOf and allOf; a $ref or no word about the type
 * leaves them unknown. */
#include <cjson/cJSON.h>

#include "engine/base/hex.h"
#include "engine/base/mem.h"
#include "engine/template/reply_internal.h"

enum { SCHEMA_DEPTH_MAX = 8 };

struct reply_tools {
    cJSON *root;
};

enum status reply_tools_create(struct reply_tools **out, const char *json, struct error *err)
{
    struct reply_tools *tools = mem_calloc(1, sizeof *tools);
    *out = NULL;
    if (!tools)
        return error_set(err, ERR_MEMORY, "no memory for the tools");
    tools->root = cJSON_Parse(json);
    if (!cJSON_IsArray(tools->root)) {
        reply_tools_free(tools);
        return error_set_param(err, ERR_INVALID, "tools", "'tools' must be an array");
    }
    *out = tools;
    return OK;
}

void reply_tools_free(struct reply_tools *tools)
{
    if (!tools)
        return;
    cJSON_Delete(tools->root);
    mem_free(tools);
}

static const cJSON *find(const struct reply_tools *tools, const char *name, size_t n_bytes)
{
    const cJSON *tool;
    cJSON_ArrayForEach(tool, tools->root)
    {
        const cJSON *function = cJSON_GetObjectItemCaseSensitive(tool, "function");
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(function, "name");
        if (cJSON_IsString(own) && strlen(own->valuestring) == n_bytes &&
            memcmp(own->valuestring, name, n_bytes) == 0)
            return function;
    }
    return NULL;
}

bool reply_tools_has(const struct reply_tools *tools, const char *name, size_t n_bytes)
{
    return find(tools, name, n_bytes) != NULL;
}

static unsigned type_named(const cJSON *name)
{
    static const struct {
        const char *name;
        unsigned type;
    } types[] = {{"string", PARAM_STRING}, {"number", PARAM_NUMBER}, {"integer", PARAM_NUMBER},
                 {"boolean", PARAM_BOOL},  {"null", PARAM_NULL},     {"array", PARAM_OTHER},
                 {"object", PARAM_OTHER}};
    for (size_t i = 0; cJSON_IsString(name) && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(name->valuestring, types[i].name) == 0)
            return types[i].type;
    return 0;
}

static unsigned type_of_value(const cJSON *value)
{
    if (cJSON_IsString(value))
        return PARAM_STRING;
    if (cJSON_IsNumber(value))
        return PARAM_NUMBER;
    if (cJSON_IsBool(value))
        return PARAM_BOOL;
    return cJSON_IsNull(value) ? PARAM_NULL : PARAM_OTHER;
}

static unsigned types_of(const cJSON *schema, int depth)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type");
    const cJSON *item;
    unsigned types = type_named(type);
    if (cJSON_IsArray(type)) {
        cJSON_ArrayForEach(item, type) types |= type_named(item);
    }
    if (types != 0 && cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(schema, "nullable")))
        types |= PARAM_NULL;
    if (types != 0)
        return types;
    const cJSON *values = cJSON_GetObjectItemCaseSensitive(schema, "enum");
    const cJSON *constant = cJSON_GetObjectItemCaseSensitive(schema, "const");
    if (constant)
        return type_of_value(constant);
    if (cJSON_IsArray(values)) {
        cJSON_ArrayForEach(item, values) types |= type_of_value(item);
        return types;
    }
    static const char *const choices[] = {"anyOf", "oneOf", "allOf"};
    for (size_t i = 0; depth < SCHEMA_DEPTH_MAX && i < 3; i++) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(schema, choices[i]);
        cJSON_ArrayForEach(item, list)
        {
            unsigned some = types_of(item, depth + 1);
            if (some == 0)
                return 0;
            types |= some;
        }
    }
    return types;
}

unsigned reply_tools_param(const struct reply_tools *tools, const char *function, size_t n_function,
                           const char *param, size_t n_param)
{
    const cJSON *tool = find(tools, function ? function : "", n_function);
    const cJSON *parameters = cJSON_GetObjectItemCaseSensitive(tool, "parameters");
    const cJSON *item, *list = cJSON_GetObjectItemCaseSensitive(parameters, "properties");
    cJSON_ArrayForEach(item, list)
    {
        if (item->string && strlen(item->string) == n_param &&
            memcmp(item->string, param, n_param) == 0)
            return types_of(item, 0);
    }
    return 0;
}

/* ---- string literals ---- */

static bool hex4(const char *at, const char *end, unsigned *out)
{
    *out = 0;
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return false;
        *out = *out << 4 | (unsigned)digit;
    }
    return true;
}

static bool append_code_point(struct buf *out, unsigned c)
{
    char bytes[4];
    size_t n = 1;
    if (c < 0x80) {
        bytes[0] = (char)c;
    } else if (c < 0x800) {
        bytes[0] = (char)(0xc0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 0x3f));
        n = 2;
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xe0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[2] = (char)(0x80 | (c & 0x3f));
        n = 3;
    } else {
        bytes[0] = (char)(0xf0 | c >> 18);
        bytes[1] = (char)(0x80 | (c >> 12 & 0x3f));
        bytes[2] = (char)(0x80 | (c >> 6 & 0x3f));
        bytes[3] = (char)(0x80 | (c & 0x3f));
        n = 4;
    }
    return buf_append(out, bytes, n);
}

/* \uXXXX at `at`, a pair of surrogates taken together; moves *at behind it. */
static bool unicode_escape(const char **at, const char *end, struct buf *out)
{
    unsigned c, low;
    if (!hex4(*at, end, &c))
        return false;
    *at += 4;
    bool is_high = c >= 0xd800 && c < 0xdc00;
    if (is_high && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' &&
        hex4(*at + 2, end, &low) && low >= 0xdc00 && low < 0xe000) {
        *at += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c == 0 || (c >= 0xd800 && c < 0xe000)) {
        return false;
    }
    return append_code_point(out, c);
}

bool reply_unescape(const char *raw, size_t n_bytes, struct buf *out)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at = raw, *end = raw + n_bytes;
    while (at < end) {
        char c = *at++;
        if (c != '\\') {
            if (!buf_append_char(out, c))
                return false;
            continue;
        }
        if (at == end)
            return false;
        c = *at++;
        const char *known = strchr(letters, c);
        if (c == 'u' ? !unicode_escape(&at, end, out)
                     : !known || c == '\0' || !buf_append_char(out, values[known - letters]))
            return false;
    }
    return true;
}
