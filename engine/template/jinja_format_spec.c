/* "..." % value and "...".format(): Python's two format languages; see jinja_format.h.
 *
 * Both come down to one field description, which says how a value is turned into text and padded.
 * Text of the arguments keeps its provenance, text of the format string keeps its own. Not there:
 * replacement fields inside a format specification, and the locale types n. */
#include "engine/template/jinja_format.h"

#include <ctype.h>
#include <math.h>

#include "engine/template/jinja.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_unicode.h"

enum { FIELD_WIDTH_MAX = 100000, FIELD_PRECISION_MAX = 100 };

struct field {
    const struct text *fill;  // NULL: blank
    char align;               // < > ^ =, 0 = the type's own
    char sign;                // + or blank, 0 = only minus
    char grouping;            // , or _
    bool alternate, zero;
    int64_t width, precision;  // precision -1: none
    char type;                 // 0: none
};

static _Noreturn void fail_format(struct jinja *j, const char *what)
{
    jinja_fail(j, ERR_INVALID, "string formatting: %s", what);
}

/* Pads `text`; `sign_bytes` of a number stay left of "=" padding. */
static void pad(struct text_builder *b, const struct field *field, const struct text *text,
                size_t sign_bytes, char own_align)
{
    size_t chars = text_chars(text);
    size_t gap = field->width > (int64_t)chars ? (size_t)field->width - chars : 0;
    char align = field->align ? field->align : own_align;
    const struct text *fill = field->fill ? field->fill : text_literal(b->j, " ");
    size_t left = align == '>' ? gap : align == '^' ? gap / 2 : 0;
    if (align == '=') {
        builder_slice(b, text, 0, sign_bytes);
        builder_fill(b, fill, gap);
        builder_slice(b, text, sign_bytes, text->n_bytes);
        return;
    }
    builder_fill(b, fill, left);
    builder_text(b, text);
    builder_fill(b, fill, gap - left);
}

/* Puts `separator` between groups of the leading digits of digits[0, n). */
static const char *group_digits(struct jinja *j, const char *digits, size_t n, char separator,
                                size_t group)
{
    size_t whole = 0;
    while (whole < n && (group == 4 ? isxdigit((unsigned char)digits[whole])
                                    : isdigit((unsigned char)digits[whole])))
        whole++;
    char *out = jinja_alloc(j, n * 2 + 1);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && i < whole && (whole - i) % group == 0)
            out[at++] = separator;
        out[at++] = digits[i];
    }
    return out;
}

/* Sign, prefix and digits of a number as one padded text. */
static void put_number(struct text_builder *b, const struct field *field, bool negative,
                       const char *prefix, const char *digits, bool untrusted)
{
    struct jinja *j = b->j;
    if (field->grouping) {
        bool radix = field->type && strchr("box", field->type | 32);
        digits = group_digits(j, digits, strlen(digits), field->grouping, radix ? 4 : 3);
    }
    char head[8];
    snprintf(head, sizeof head, "%s%s",
             negative      ? "-"
             : field->sign ? (char[]){field->sign, 0}
                           : "",
             prefix);
    struct text_builder one;
    builder_init(&one, j);
    builder_bytes(&one, head, strlen(head), untrusted);
    builder_bytes(&one, digits, strlen(digits), untrusted);
    struct field with_zero = *field;
    if (field->zero && !field->align) {
        with_zero.align = '=';
        with_zero.fill = text_literal(j, "0");
    }
    pad(b, &with_zero, builder_finish(&one), strlen(head), '>');
}

static void put_float(struct text_builder *b, const struct field *field, struct value v)
{
    struct jinja *j = b->j;
    double f = number_as_real(v);
    bool percent = field->type == '%', negative = signbit(f) && !isnan(f);
    char digits[512], type = percent ? 'f' : field->type;
    int precision = field->precision < 0 ? 6 : (int)field->precision;
    f = fabs(percent ? f * 100 : f);
    if (!isfinite(f)) {
        snprintf(digits, sizeof digits, "%s", isnan(f) ? "nan" : "inf");
        if (type == 'F' || type == 'E' || type == 'G')
            snprintf(digits, sizeof digits, "%s", isnan(f) ? "NAN" : "INF");
    } else if (!type && field->precision < 0) {
        float_repr(f, digits);
    } else {
        static const char *const forms[2][5] = {{"%.*e", "%.*E", "%.*f", "%.*g", "%.*G"},
                                                {"%#.*e", "%#.*E", "%#.*f", "%#.*g", "%#.*G"}};
        int form = type == 'e'                  ? 0
                   : type == 'E'                ? 1
                   : type == 'f' || type == 'F' ? 2
                   : type == 'G'                ? 4
                                                : 3;
        if (precision == 0 && form >= 3)
            precision = 1;
        int n = snprintf(digits, sizeof digits, forms[field->alternate][form], precision, f);
        if (n < 0 || (size_t)n + 3 > sizeof digits)
            jinja_fail(j, ERR_LIMIT, "a formatted number is too long");
        if (!type && !strpbrk(digits, ".e"))
            snprintf(digits + n, sizeof digits - (size_t)n, ".0");
    }
    if (percent)
        snprintf(digits + strlen(digits), sizeof digits - strlen(digits), "%%");
    put_number(b, field, negative, "", digits, v.untrusted);
}

static void put_int(struct text_builder *b, const struct field *field, struct value v)
{
    char digits[72];
    const char *prefix = "";
    int64_t i;
    if (v.kind == VALUE_BIG) {
        if (field->type && field->type != 'd' && field->type != 'i' && field->type != 'u')
            jinja_fail(b->j, ERR_LIMIT, "an integer does not fit 64 bits");
        bool negative = v.text->bytes[0] == '-';
        put_number(b, field, negative, "", v.text->bytes + negative, v.untrusted);
        return;
    }
    if (v.kind == VALUE_FLOAT) {
        bool untrusted = v.untrusted;
        v = number_from_real(b->j, v.real);
        v.untrusted = untrusted;
    }
    if (!number_as_int(v, &i))
        fail_format(b->j, "a number is required");
    uint64_t size = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    if (field->type == 'b') {
        size_t at = sizeof digits - 1;
        digits[at] = 0;
        do
            digits[--at] = (char)('0' + (size & 1));
        while (size >>= 1);
        memmove(digits, digits + at, sizeof digits - at);
        prefix = "0b";
    } else if (field->type == 'x' || field->type == 'X') {
        snprintf(digits, sizeof digits, field->type == 'x' ? "%llx" : "%llX",
                 (unsigned long long)size);
        prefix = field->type == 'x' ? "0x" : "0X";
    } else if (field->type == 'o') {
        snprintf(digits, sizeof digits, "%llo", (unsigned long long)size);
        prefix = "0o";
    } else {
        int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)size);
        if (field->precision > n && field->precision < (int64_t)sizeof digits)  // % only
            snprintf(digits, sizeof digits, "%0*llu", (int)field->precision,
                     (unsigned long long)size);
    }
    put_number(b, field, i < 0, field->alternate ? prefix : "", digits, v.untrusted);
}

static void put_text(struct text_builder *b, const struct field *field, const struct text *text,
                     char own_align)
{
    if (field->precision >= 0 && (size_t)field->precision < text_chars(text))
        text = text_slice_chars(b->j, text, 0, (size_t)field->precision);
    pad(b, field, text, 0, own_align);
}

static void put_char(struct text_builder *b, const struct field *field, struct value v,
                     char own_align)
{
    int64_t i;
    if (v.kind == VALUE_TEXT && text_chars(v.text) == 1) {
        put_text(b, field, v.text, own_align);
        return;
    }
    if (!number_as_int(v, &i) || i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000))
        fail_format(b->j, "%c requires an int or a char");
    struct text_builder one;
    builder_init(&one, b->j);
    builder_char(&one, (uint32_t)i, v.untrusted);
    put_text(b, field, builder_finish(&one), own_align);
}

/* ---- % ---- */

struct percent_args {
    struct value all;
    size_t used;
    bool named;
};

static struct value next_percent_arg(struct jinja *j, struct percent_args *args)
{
    if (args->all.kind != VALUE_TUPLE) {
        if (args->used++)
            fail_format(j, "not enough arguments");
        return args->all;
    }
    if (args->used >= args->all.list->n_items)
        fail_format(j, "not enough arguments");
    return args->all.list->items[args->used++];
}

/* An unsigned number or "*" at *at. */
static int64_t percent_number(struct jinja *j, const struct text *format, size_t *at,
                              struct percent_args *args)
{
    int64_t n = 0;
    if (*at < format->n_bytes && format->bytes[*at] == '*') {
        (*at)++;
        struct value v = next_percent_arg(j, args);
        if (!number_as_int(v, &n))
            fail_format(j, "* wants int");
        return n < -FIELD_WIDTH_MAX ? -FIELD_WIDTH_MAX : n > FIELD_WIDTH_MAX ? FIELD_WIDTH_MAX : n;
    }
    while (*at < format->n_bytes && isdigit((unsigned char)format->bytes[*at])) {
        n = n * 10 + (format->bytes[(*at)++] - '0');
        if (n > FIELD_WIDTH_MAX)
            jinja_fail(j, ERR_LIMIT, "a field is wider than %d", FIELD_WIDTH_MAX);
    }
    return n;
}

/* (name) */
static bool percent_name(struct jinja *j, const struct text *format, size_t *at,
                         struct percent_args *args, struct value *out)
{
    if (*at >= format->n_bytes || format->bytes[*at] != '(')
        return false;
    size_t start = ++*at, depth = 1;
    for (; *at < format->n_bytes; (*at)++) {
        if (format->bytes[*at] == '(')
            depth++;
        else if (format->bytes[*at] == ')' && --depth == 0)
            break;
    }
    if (*at >= format->n_bytes)
        fail_format(j, "incomplete format key");
    if (args->all.kind != VALUE_DICT)
        fail_format(j, "format requires a mapping");
    const struct text *name = text_slice(j, format, start, (*at)++);
    struct value *found = dict_find(j, args->all.dict, value_text(name));
    if (!found)
        jinja_fail(j, ERR_INVALID, "string formatting: no key '%.*s'", (int)name->n_bytes,
                   name->bytes);
    args->named = true;
    *out = *found;
    return true;
}

static void percent_value(struct text_builder *b, struct field *field, struct value v, bool markup)
{
    struct jinja *j = b->j;
    const struct text *text;
    switch (field->type) {
    case 's':
    case 'r':
    case 'a':
        if (field->type == 'a')
            jinja_fail(j, ERR_UNSUPPORTED, "%%a in string formatting is not supported");
        text = field->type == 's' ? format_str(j, v) : format_repr(j, v);
        if (markup && field->type == 's' && v.kind == VALUE_TEXT)
            text = text_escape(j, text);
        else if (markup)
            text = text_escape(j, text_with_markup(j, text, false));
        field->zero = false;
        put_text(b, field, text, '>');
        break;
    case 'c':
        field->zero = false;
        put_char(b, field, v, '>');
        break;
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
        if (!value_is_number(v) || (v.kind == VALUE_FLOAT && field->type != 'd' &&
                                    field->type != 'i' && field->type != 'u'))
            fail_format(j, "a number is required");
        put_int(b, field, v);
        break;
    default:
        if (!field->type || !strchr("eEfFgG", field->type))
            fail_format(j, "unsupported format character");
        if (value_is_undefined(v))
            value_fail_undefined(j, v);
        if (!value_is_number(v))
            fail_format(j, "a real number is required");
        if (field->precision > FIELD_PRECISION_MAX)
            jinja_fail(j, ERR_LIMIT, "a precision is larger than %d", FIELD_PRECISION_MAX);
        put_float(b, field, v);
    }
}

/* One conversion behind its '%'; the offset behind it. */
static size_t percent_field(struct text_builder *b, const struct text *format, size_t at,
                            struct percent_args *args)
{
    struct jinja *j = b->j;
    struct field field = {.precision = -1};
    struct value v = value_missing();
    bool named = percent_name(j, format, &at, args, &v), left = false;
    for (; at < format->n_bytes && strchr("-+ #0", format->bytes[at]); at++) {
        char flag = format->bytes[at];
        if (!flag)
            break;
        left = left || flag == '-';
        field.alternate = field.alternate || flag == '#';
        field.zero = field.zero || flag == '0';
        if (flag == '+' || (flag == ' ' && field.sign != '+'))
            field.sign = flag;
    }
    field.width = percent_number(j, format, &at, args);
    if (field.width < 0) {
        left = true;
        field.width = -field.width;
    }
    if (left)
        field.align = '<';
    if (at < format->n_bytes && format->bytes[at] == '.') {
        at++;
        field.precision = percent_number(j, format, &at, args);
        field.precision = field.precision < 0 ? 0 : field.precision;
    }
    while (at < format->n_bytes && format->bytes[at] && strchr("hlL", format->bytes[at]))
        at++;
    if (at >= format->n_bytes)
        fail_format(j, "incomplete format");
    field.type = format->bytes[at];
    if (field.type == '%') {
        builder_slice(b, format, at, at + 1);
        return at + 1;
    }
    if (!named)
        v = next_percent_arg(j, args);
    percent_value(b, &field, v, format->markup);
    return at + 1;
}

const struct text *format_percent(struct jinja *j, const struct text *format, struct value v)
{
    struct text_builder b;
    struct percent_args args = {.all = v};
    builder_init(&b, j);
    size_t plain = 0;
    for (size_t at = 0; at < format->n_bytes;) {
        if (format->bytes[at] != '%') {
            at++;
            continue;
        }
        jinja_step(j, 0);
        builder_slice(&b, format, plain, at);
        at = plain = percent_field(&b, format, at + 1, &args);
    }
    builder_slice(&b, format, plain, format->n_bytes);
    bool left_over =
        v.kind == VALUE_TUPLE ? args.used < v.list->n_items : args.used == 0 && !args.named;
    bool mapping = v.kind == VALUE_DICT || v.kind == VALUE_LIST || v.kind == VALUE_RANGE ||
                   v.kind == VALUE_UNDEFINED;
    if (left_over && !mapping)
        fail_format(j, "not all arguments were converted");
    return text_with_markup(j, builder_finish(&b), format->markup);
}

/* ---- str.format ---- */

static bool is_align(uint32_t c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static int64_t spec_number(struct jinja *j, const struct text *spec, size_t *at, int64_t none)
{
    size_t start = *at;
    int64_t n = 0;
    for (; *at < spec->n_bytes && isdigit((unsigned char)spec->bytes[*at]); (*at)++) {
        n = n * 10 + (spec->bytes[*at] - '0');
        if (n > FIELD_WIDTH_MAX)
            jinja_fail(j, ERR_LIMIT, "a field is wider than %d", FIELD_WIDTH_MAX);
    }
    return *at > start ? n : none;
}

static char spec_char(const struct text *spec, size_t *at, const char *allowed)
{
    char c = *at < spec->n_bytes ? spec->bytes[*at] : 0;
    if (!c || !strchr(allowed, c))
        return 0;
    (*at)++;
    return c;
}

static struct field parse_spec(struct jinja *j, const struct text *spec)
{
    struct field field = {.precision = -1};
    size_t at = 0;
    uint32_t c;
    size_t n = spec->n_bytes ? char_next(spec->bytes, spec->n_bytes, &c) : 0;
    if (n && n < spec->n_bytes && is_align((unsigned char)spec->bytes[n])) {
        field.fill = text_slice(j, spec, 0, n);
        field.align = spec->bytes[n];
        at = n + 1;
    } else {
        field.align = spec_char(spec, &at, "<>^=");
    }
    field.sign = spec_char(spec, &at, "+- ");
    if (field.sign == '-')
        field.sign = 0;
    field.alternate = spec_char(spec, &at, "#") != 0;
    field.zero = spec_char(spec, &at, "0") != 0;
    field.width = spec_number(j, spec, &at, 0);
    field.grouping = spec_char(spec, &at, ",_");
    if (spec_char(spec, &at, ".")) {
        field.precision = spec_number(j, spec, &at, -1);
        if (field.precision < 0)
            fail_format(j, "format specifier missing precision");
    }
    field.type = at < spec->n_bytes ? spec->bytes[at++] : 0;
    if (at < spec->n_bytes)
        fail_format(j, "invalid format specifier");
    return field;
}

/* format(v, spec) */
static void put_value(struct text_builder *b, struct value v, const struct text *spec)
{
    struct jinja *j = b->j;
    if (spec->n_bytes == 0) {
        format_append(b, v);
        return;
    }
    struct field field = parse_spec(j, spec);
    bool zero_fill = field.zero && !field.align && !field.fill;
    if (v.kind == VALUE_TEXT) {
        if ((field.type && field.type != 's') || field.sign || field.align == '=' ||
            field.grouping || field.alternate)
            fail_format(j, "invalid format specifier for a string");
        if (zero_fill)
            field.fill = text_literal(j, "0");
        put_text(b, &field, v.text, '<');
        return;
    }
    if (!value_is_number(v))
        fail_format(j, "unsupported format specification for this type");
    if (field.zero && !field.fill && field.align)
        field.fill = text_literal(j, "0");
    bool real = v.kind == VALUE_FLOAT || (field.type && strchr("eEfFgG%", field.type));
    if (field.precision > FIELD_PRECISION_MAX)
        jinja_fail(j, ERR_LIMIT, "a precision is larger than %d", FIELD_PRECISION_MAX);
    if (field.type == 'n')
        jinja_fail(j, ERR_UNSUPPORTED, "the format type 'n' is not supported");
    if (real && (!field.type || strchr("eEfFgG%", field.type))) {
        put_float(b, &field, v);
    } else if (!real && field.type == 'c') {
        put_char(b, &field, v, '>');
    } else if (!real && (!field.type || strchr("dboxX", field.type)) && field.precision < 0) {
        put_int(b, &field, v);
    } else {
        fail_format(j, "invalid format specifier for a number");
    }
}

/* The argument that a field names: "", "0", "name", then ".attribute" and "[index]". */
static struct value field_value(struct jinja *j, const struct text *name,
                                const struct call_args *args, int64_t *next)
{
    size_t at = 0;
    while (at < name->n_bytes && name->bytes[at] != '.' && name->bytes[at] != '[')
        at++;
    const struct text *first = text_slice(j, name, 0, at);
    struct value number, v = value_missing();
    bool digits = first->n_bytes > 0 && isdigit((unsigned char)first->bytes[0]);
    if (first->n_bytes == 0 || (digits && number_parse_int(j, first, 10, &number))) {
        if (first->n_bytes ? *next > 0 : *next < 0)
            fail_format(j, "cannot mix automatic and manual field numbering");
        int64_t index = first->n_bytes ? number.integer : *next;
        *next = first->n_bytes ? -1 : *next + 1;
        if (number_as_int(value_int(index), &index) && index >= 0 &&
            index < (int64_t)args->n_positional)
            v = args->positional[index];
    } else {
        for (size_t i = 0; i < args->n_keywords; i++) {
            if (text_same(args->keywords[i].name, first))
                v = args->keywords[i].value;
        }
    }
    if (v.kind == VALUE_MISSING)
        jinja_fail(j, ERR_INVALID, "string formatting: no argument '%.*s'", (int)first->n_bytes,
                   first->bytes);
    while (at < name->n_bytes) {
        bool attribute = name->bytes[at++] == '.';
        size_t start = at;
        while (at < name->n_bytes && (attribute ? name->bytes[at] != '.' && name->bytes[at] != '['
                                                : name->bytes[at] != ']'))
            at++;
        const struct text *part = text_slice(j, name, start, at);
        if (part->n_bytes == 0 || (!attribute && at >= name->n_bytes))
            fail_format(j, "empty attribute in format string");
        struct value index = value_text(part);
        if (!attribute && isdigit((unsigned char)part->bytes[0]) &&
            number_parse_int(j, part, 10, &number))
            index = number;
        v = attribute ? value_attribute(j, v, part) : value_item(j, v, index);
        at += !attribute;
        if (!attribute && at < name->n_bytes && name->bytes[at] != '.' && name->bytes[at] != '[')
            fail_format(j, "only '.' or '[' may follow ']'");
    }
    return v;
}

/* One field between its braces. */
static void brace_field(struct text_builder *b, const struct text *field,
                        const struct call_args *args, int64_t *next, bool markup)
{
    struct jinja *j = b->j;
    size_t end = 0;
    bool in_index = false;
    for (; end < field->n_bytes; end++) {
        char c = field->bytes[end];
        in_index = in_index ? c != ']' : c == '[';
        if (!in_index && (c == '!' || c == ':'))
            break;
    }
    struct value v = field_value(j, text_slice(j, field, 0, end), args, next);
    const struct text *spec = &text_empty;
    if (end < field->n_bytes && field->bytes[end] == '!') {
        char conversion = end + 1 < field->n_bytes ? field->bytes[end + 1] : 0;
        end += 2;
        if (end < field->n_bytes && field->bytes[end] != ':')
            fail_format(j, "expected ':' after conversion specifier");
        if (conversion == 'r')
            v = value_text(format_repr(j, v));
        else if (conversion == 's')
            v = value_text(format_str(j, v));
        else
            fail_format(j, "unknown conversion specifier");
    }
    if (end < field->n_bytes)
        spec = text_slice(j, field, end + 1, field->n_bytes);
    if (memchr(spec->bytes, '{', spec->n_bytes))
        jinja_fail(j, ERR_UNSUPPORTED, "fields within a format specification are not supported");
    if (!markup) {
        put_value(b, v, spec);
        return;
    }
    struct text_builder one;
    builder_init(&one, j);
    put_value(&one, v, spec);
    const struct text *text = builder_finish(&one);
    builder_text(b, v.kind == VALUE_TEXT && v.text->markup ? text : text_escape(j, text));
}

const struct text *format_braces(struct jinja *j, const struct text *format,
                                 const struct call_args *args)
{
    struct text_builder b;
    builder_init(&b, j);
    int64_t next = 0;
    size_t plain = 0, at = 0;
    while (at < format->n_bytes) {
        char c = format->bytes[at];
        if (c != '{' && c != '}') {
            at++;
            continue;
        }
        jinja_step(j, 0);
        builder_slice(&b, format, plain, at);
        if (at + 1 < format->n_bytes && format->bytes[at + 1] == c) {
            builder_slice(&b, format, at, at + 1);
            at = plain = at + 2;
            continue;
        }
        if (c == '}')
            fail_format(j, "single '}' encountered in format string");
        size_t start = ++at, depth = 1;
        for (; at < format->n_bytes; at++) {
            if (format->bytes[at] == '{')
                depth++;
            else if (format->bytes[at] == '}' && --depth == 0)
                break;
        }
        if (at >= format->n_bytes)
            fail_format(j, "expected '}' before end of string");
        brace_field(&b, text_slice(j, format, start, at), args, &next, format->markup);
        plain = ++at;
    }
    builder_slice(&b, format, plain, format->n_bytes);
    return text_with_markup(j, builder_finish(&b), format->markup);
}
