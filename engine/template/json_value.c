/* JSON text to values; see json_value.h.
 *
 * Strict RFC 8259, recursive with a bounded depth. Strings without escapes are views of the input,
 * so that long contents are not copied. Integers keep their digits however long, floats become
 * doubles (which print as Python prints them). A repeated name keeps its place and takes the last
 * value, as in Python. \u0000 and lone surrogates are refused. */
#include "engine/template/json_value.h"

#include "engine/base/hex.h"
#include "engine/base/utf8.h"
#include "engine/template/jinja_number.h"

struct json {
    struct jinja *j;
    const struct text *text;
    size_t at;
    const char *what;
};

static _Noreturn void json_fail(struct json *json, const char *message)
{
    jinja_fail(json->j, ERR_INVALID, "%s: %s at byte %zu", json->what, message, json->at);
}

static void skip_space(struct json *json)
{
    const struct text *text = json->text;
    while (json->at < text->n_bytes && text->bytes[json->at] &&
           strchr(" \t\r\n", text->bytes[json->at]))
        json->at++;
}

static char peek(const struct json *json)
{
    return json->at < json->text->n_bytes ? json->text->bytes[json->at] : '\0';
}

static uint32_t hex4(struct json *json)
{
    uint32_t c = 0;
    for (int i = 0; i < 4; i++, json->at++) {
        int digit = hex_digit(peek(json));
        if (digit < 0)
            json_fail(json, "bad \\u escape");
        c = c << 4 | (uint32_t)digit;
    }
    return c;
}

/* Behind the backslash. */
static uint32_t escape(struct json *json)
{
    static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char c = peek(json);
    const char *simple = c ? strchr(letters, c) : NULL;
    json->at++;
    if (simple)
        return (unsigned char)values[simple - letters];
    if (c != 'u')
        json_fail(json, "bad escape");
    uint32_t high = hex4(json);
    if (high == 0)
        json_fail(json, "\\u0000 is not allowed");
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || peek(json) != '\\')
        json_fail(json, "lone surrogate");
    json->at++;
    if (peek(json) != 'u')
        json_fail(json, "lone surrogate");
    json->at++;
    uint32_t low = hex4(json);
    if (low < 0xdc00 || low > 0xdfff)
        json_fail(json, "lone surrogate");
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static const struct text *parse_string(struct json *json)
{
    const struct text *text = json->text;
    size_t start = ++json->at;
    bool escapes = false;
    for (;; json->at++) {
        unsigned char c = (unsigned char)peek(json);
        if (json->at >= text->n_bytes)
            json_fail(json, "unterminated string");
        if (c == '"')
            break;
        if (c < 0x20)
            json_fail(json, "control character in a string");
        if (c == '\\') {
            escapes = true;
            json->at++;
        }
    }
    size_t end = json->at;
    size_t bad;
    if (!utf8_is_valid(text->bytes + start, end - start, &bad))
        json_fail(json, "invalid UTF-8");
    jinja_step(json->j, end - start);
    if (!escapes) {
        json->at++;
        return text_slice(json->j, text, start, end);
    }
    /* What an escape stands for is never longer than the escape. */
    char *bytes = jinja_alloc(json->j, end - start);
    size_t n = 0;
    for (json->at = start; json->at < end;) {
        const char *next = memchr(text->bytes + json->at, '\\', end - json->at);
        size_t plain = next ? (size_t)(next - text->bytes) - json->at : end - json->at;
        memcpy(bytes + n, text->bytes + json->at, plain);
        n += plain;
        json->at += plain;
        if (json->at < end) {
            json->at++;
            n += utf8_encode(escape(json), bytes + n);
        }
    }
    if (json->at != end)
        json_fail(json, "bad escape");
    json->at++;
    return text_borrow(json->j, bytes, n, text_range_untrusted(text, start, end));
}

static size_t skip_digits(struct json *json)
{
    size_t start = json->at;
    while (peek(json) >= '0' && peek(json) <= '9')
        json->at++;
    return json->at - start;
}

static struct value parse_number(struct json *json)
{
    size_t start = json->at;
    bool real = false;
    if (peek(json) == '-')
        json->at++;
    bool zero = peek(json) == '0';
    size_t digits = skip_digits(json);
    if (digits == 0 || (zero && digits > 1))
        json_fail(json, "bad number");
    if (peek(json) == '.') {
        real = true;
        json->at++;
        if (skip_digits(json) == 0)
            json_fail(json, "bad number");
    }
    if ((peek(json) | 32) == 'e') {
        real = true;
        json->at++;
        if (peek(json) == '+' || peek(json) == '-')
            json->at++;
        if (skip_digits(json) == 0)
            json_fail(json, "bad number");
    }
    size_t n = json->at - start;
    struct value v;
    if (real) {
        char *copy = jinja_alloc(json->j, n + 1);
        memcpy(copy, json->text->bytes + start, n);
        v = value_float(strtod(copy, NULL));
    } else {
        v = number_from_digits(json->j, json->text->bytes + start, n);
    }
    v.untrusted = text_range_untrusted(json->text, start, json->at);
    return v;
}

static struct value parse_value(struct json *json, int depth);

static struct value parse_list(struct json *json, int depth)
{
    struct list *list = list_create(json->j, 0);
    json->at++;
    skip_space(json);
    if (peek(json) == ']') {
        json->at++;
        return value_list(list);
    }
    for (;;) {
        list_append(json->j, list, parse_value(json, depth + 1));
        char c = peek(json);
        if (c != ',' && c != ']')
            json_fail(json, "expected ',' or ']'");
        json->at++;
        if (c == ']')
            return value_list(list);
    }
}

static struct value parse_dict(struct json *json, int depth)
{
    struct dict *dict = dict_create(json->j, 0);
    json->at++;
    skip_space(json);
    if (peek(json) == '}') {
        json->at++;
        return value_dict(dict);
    }
    for (;;) {
        skip_space(json);
        if (peek(json) != '"')
            json_fail(json, "expected a name");
        const struct text *name = parse_string(json);
        skip_space(json);
        if (peek(json) != ':')
            json_fail(json, "expected ':'");
        json->at++;
        struct value item = parse_value(json, depth + 1);
        dict_set(json->j, dict, value_text(name), item);
        char c = peek(json);
        if (c != ',' && c != '}')
            json_fail(json, "expected ',' or '}'");
        json->at++;
        if (c == '}')
            return value_dict(dict);
    }
}

static struct value parse_word(struct json *json)
{
    static const char *const words[] = {"null", "false", "true"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if (json->text->n_bytes - json->at < n ||
            memcmp(json->text->bytes + json->at, words[i], n) != 0)
            continue;
        struct value v = i ? value_bool(i == 2) : value_none();
        v.untrusted = text_range_untrusted(json->text, json->at, json->at + n);
        json->at += n;
        return v;
    }
    json_fail(json, "unexpected character");
}

/* With the white space around it. */
static struct value parse_value(struct json *json, int depth)
{
    struct value v;
    skip_space(json);
    char c = peek(json);
    if ((c == '{' || c == '[') && depth >= JSON_VALUE_DEPTH_MAX)
        jinja_fail(json->j, ERR_LIMIT, "%s is nested deeper than %d", json->what,
                   JSON_VALUE_DEPTH_MAX);
    jinja_step(json->j, 0);
    if (c == '{')
        v = parse_dict(json, depth);
    else if (c == '[')
        v = parse_list(json, depth);
    else if (c == '"')
        v = value_text(parse_string(json));
    else if (c == '-' || (c >= '0' && c <= '9'))
        v = parse_number(json);
    else
        v = parse_word(json);
    skip_space(json);
    return v;
}

struct value json_parse_text(struct jinja *j, const struct text *text, const char *what)
{
    struct json json = {.j = j, .text = text, .what = what};
    struct value v = parse_value(&json, 0);
    if (json.at != text->n_bytes)
        json_fail(&json, "bytes behind the value");
    return v;
}

struct value json_parse(struct jinja *j, const char *json, size_t n_bytes, const char *what)
{
    return json_parse_text(j, text_borrow(j, json, n_bytes, true), what);
}
