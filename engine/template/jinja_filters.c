/* Filters on text and numbers, tojson, and the table of all filters; see jinja_filters.h.
 *
 * A filter gets its value as the first argument and behaves as Jinja's of the same name does with
 * Hugging Face's settings. */
#include "engine/template/jinja_filters.h"

#include <math.h>

#include "engine/template/jinja_casing.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/json_value.h"

#define FILTER(name)                                                                               \
    static struct value do_##name(struct jinja *j, struct value v, struct value *args)
#define TEXT_FILTER(name, result)                                                                  \
    FILTER(name)                                                                                   \
    {                                                                                              \
        (void)args;                                                                                \
        const struct text *text = format_str(j, v);                                                \
        return value_text(result);                                                                 \
    }

/* ---- text ---- */

TEXT_FILTER(upper, text_upper(j, text))
TEXT_FILTER(lower, text_lower(j, text))
TEXT_FILTER(capitalize, text_capitalize(j, text))
TEXT_FILTER(title, text_title_words(j, text))
TEXT_FILTER(string, text)
TEXT_FILTER(safe, text_with_markup(j, text, true))
TEXT_FILTER(escape, text_escape(j, text))
TEXT_FILTER(forceescape, text_escape(j, text_with_markup(j, text, false)))

FILTER(trim)
{
    return value_text(text_strip(j, format_str(j, v), arg_text(j, args[0], true), TEXT_BOTH));
}

FILTER(replace)
{
    const struct text *text = text_with_markup(j, format_str(j, v), false);
    int64_t count = args[2].kind == VALUE_NONE ? -1 : arg_int(j, args[2], -1);
    return value_text(text_replace(j, text, format_str(j, args[0]), format_str(j, args[1]), count));
}

FILTER(center)
{
    struct value width = args[0].kind == VALUE_MISSING ? value_int(80) : args[0];
    struct call_args call = {.positional = &width, .n_positional = 1};
    struct value method = method_find(j, value_text(format_str(j, v)), text_literal(j, "center"));
    return method_call(j, method.method, &call);
}

FILTER(indent)
{
    const struct text *text, *indent, *newline = text_literal(j, "\n");
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    text = arg_text(j, v, false);
    if (args[0].kind == VALUE_TEXT)
        indent = args[0].text;
    else
        indent = text_repeat(j, text_literal(j, " "), arg_int(j, args[0], 4));
    bool first = arg_bool(j, args[1], false), blank = arg_bool(j, args[2], false);
    struct list *lines = text_splitlines(j, text_concat(j, text, newline), false);
    if (text->markup)
        indent = text_with_markup(j, indent, true);
    struct text_builder b;
    builder_init(&b, j);
    for (uint32_t i = 0; i < lines->n_items; i++) {
        const struct text *line = lines->items[i].text;
        if (i)
            builder_text(&b, newline);
        if (i ? blank || line->n_bytes : first)
            builder_text(&b, indent);
        builder_text(&b, line);
    }
    return value_text(text_with_markup(j, builder_finish(&b), text->markup));
}

FILTER(truncate)
{
    const struct text *end =
        args[2].kind == VALUE_MISSING ? text_literal(j, "...") : arg_text(j, args[2], false);
    int64_t length = arg_int(j, args[0], 255), chars;
    int64_t leeway = args[3].kind == VALUE_NONE ? 5 : arg_int(j, args[3], 5);
    int64_t keep = length - (int64_t)text_chars(end);
    if (keep < 0 || leeway < 0)
        jinja_fail(j, ERR_INVALID, "truncate: length or leeway is too small");
    if (!value_length(j, v, &chars))
        jinja_fail(j, ERR_INVALID, "object of type '%s' has no len()", value_type_name(v));
    if (chars <= length || chars - length <= leeway)
        return v;
    const struct text *head = text_slice_chars(j, arg_text(j, v, false), 0, (size_t)keep);
    if (!arg_bool(j, args[1], false)) {
        struct list *parts = text_rsplit(j, head, text_literal(j, " "), 1);
        head = parts->items[0].text;
    }
    return value_binary(j, ARITH_ADD, value_text(head), value_text(end));
}

FILTER(wordcount)
{
    (void)args;
    const struct text *text = format_str(j, v);
    int64_t n = 0;
    bool in_word = false;
    uint32_t c;
    for (size_t at = 0; at < text->n_bytes;) {
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        bool word = c == '_' || char_is(CHAR_ALPHA, c) || char_is(CHAR_DECIMAL, c) ||
                    char_is(CHAR_DIGIT, c) || char_is(CHAR_NUMERIC, c);
        n += word && !in_word;
        in_word = word;
    }
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    return value_int(n);
}

/* ---- numbers ---- */

static bool real_of(struct jinja *j, struct value v, double *out)
{
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    if (v.kind == VALUE_TEXT)
        return number_parse_float(j, v.text, out);
    if (!value_is_number(v))
        return false;
    *out = number_as_real(v);
    return true;
}

FILTER(int)
{
    struct value out = value_int(0);
    double real;
    int64_t base = arg_int(j, args[1], 10);
    bool untrusted = v.kind == VALUE_TEXT ? text_untrusted(v.text) : v.untrusted;
    if (v.kind == VALUE_INT || v.kind == VALUE_BIG)
        return v;
    if (v.kind == VALUE_FLOAT && isinf(v.real))
        jinja_fail(j, ERR_INVALID, "cannot convert float infinity to integer");
    if (v.kind == VALUE_TEXT && number_parse_int(j, v.text, base, &out))
        return out;
    if (real_of(j, v, &real) && isfinite(real)) {
        out = number_from_real(j, real);
        out.untrusted = untrusted;
        return out;
    }
    return args[0].kind == VALUE_MISSING ? value_int(0) : args[0];
}

FILTER(float)
{
    double real;
    if (!real_of(j, v, &real))
        return args[0].kind == VALUE_MISSING ? value_float(0) : args[0];
    struct value out = value_float(real);
    out.untrusted = v.kind == VALUE_TEXT ? text_untrusted(v.text) : v.untrusted;
    return out;
}

FILTER(abs)
{
    (void)args;
    if (value_is_undefined(v) || !value_is_number(v))
        jinja_fail(j, ERR_INVALID, "bad operand type for abs(): '%s'", value_type_name(v));
    if (v.kind == VALUE_BOOL)
        return (struct value){.kind = VALUE_INT, .untrusted = v.untrusted, .integer = v.boolean};
    bool negative = v.kind == VALUE_FLOAT ? signbit(v.real) : number_order(v, value_int(0)) < 0;
    return negative ? number_negate(j, v) : v;
}

FILTER(round)
{
    int64_t digits = arg_int(j, args[0], 0);
    bool ceiling = false, common = args[1].kind == VALUE_MISSING;
    if (!common) {
        const struct text *method = arg_text(j, args[1], false);
        common = text_equals(method, "common");
        ceiling = text_equals(method, "ceil");
        if (!common && !ceiling && !text_equals(method, "floor"))
            jinja_fail(j, ERR_INVALID, "method must be common, ceil or floor");
    }
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    if (!value_is_number(v))
        jinja_fail(j, ERR_INVALID, "type '%s' cannot be rounded", value_type_name(v));
    if (common)
        return number_round(j, v, digits);
    struct value unit = number_arithmetic(j, ARITH_POW, value_int(10), value_int(digits));
    double scaled = number_as_real(number_arithmetic(j, ARITH_MUL, v, unit));
    if (!isfinite(scaled))
        jinja_fail(j, ERR_INVALID, "cannot convert this float to an integer");
    struct value whole = value_float(ceiling ? ceil(scaled) : floor(scaled));
    whole.untrusted = v.untrusted;
    if (whole.real == 0)
        whole.real = 0;  // math.floor gives an integer, which has no negative zero
    return number_arithmetic(j, ARITH_DIV, whole, unit);
}

/* ---- values ---- */

FILTER(default)
{
    bool falsy = arg_bool(j, args[1], false) && !value_truth(j, v);
    if (!value_is_undefined(v) && !falsy)
        return v;
    return args[0].kind == VALUE_MISSING ? value_text(&text_empty) : args[0];
}

FILTER(tojson)
{
    struct json_style style = {.ascii_only = arg_bool(j, args[0], false),
                               .sort_keys = arg_bool(j, args[3], false)};
    if (args[1].kind == VALUE_TEXT)
        style.indent = args[1].text;
    else if (args[1].kind != VALUE_MISSING && args[1].kind != VALUE_NONE)
        style.indent = text_repeat(j, text_literal(j, " "), arg_int(j, args[1], 0));
    if (args[2].kind != VALUE_MISSING && args[2].kind != VALUE_NONE) {
        if (!value_is_sequence_of_items(args[2]) || args[2].list->n_items != 2)
            jinja_fail(j, ERR_INVALID, "tojson: separators must be two strings");
        style.item_separator = arg_text(j, args[2].list->items[0], false);
        style.key_separator = arg_text(j, args[2].list->items[1], false);
    }
    return value_text(format_json(j, v, &style));
}

FILTER(from_json)
{
    (void)args;
    const struct text *text = arg_text(j, v, false);
    return json_parse_text(j, text, "from_json");
}

static struct value do_format(struct jinja *j, struct value v, const struct call_args *args)
{
    struct value values;
    if (args->n_positional && args->n_keywords)
        jinja_fail(j, ERR_INVALID, "format takes positional or keyword arguments, not both");
    if (args->n_keywords) {
        values = value_dict(dict_create(j, args->n_keywords));
        for (size_t i = 0; i < args->n_keywords; i++)
            dict_set(j, values.dict, value_text(args->keywords[i].name), args->keywords[i].value);
    } else {
        values = value_tuple(list_create(j, args->n_positional));
        for (size_t i = 0; i < args->n_positional; i++)
            list_append(j, values.list, args->positional[i]);
    }
    return value_text(format_percent(j, format_str(j, v), values));
}

/* ---- the table ---- */

struct filter_info {
    const char *name;
    filter_fn *run;
    const char *parameters;
    filter_raw_fn *run_raw;  // instead of `run`
};

static const struct filter_info filters[] = {
    {"tojson", do_tojson, "ensure_ascii= indent= separators= sort_keys=", NULL},
    {"trim", do_trim, "chars=", NULL},
    {"length", filter_length, "", NULL},
    {"count", filter_length, "", NULL},
    {"string", do_string, "", NULL},
    {"default", do_default, "default_value= boolean=", NULL},
    {"d", do_default, "default_value= boolean=", NULL},
    {"items", filter_items, "", NULL},
    {"join", filter_join, "d= attribute=", NULL},
    {"list", filter_list, "", NULL},
    {"safe", do_safe, "", NULL},
    {"map", NULL, NULL, filter_map},
    {"select", NULL, NULL, filter_select},
    {"reject", NULL, NULL, filter_reject},
    {"selectattr", NULL, NULL, filter_selectattr},
    {"rejectattr", NULL, NULL, filter_rejectattr},
    {"dictsort", filter_dictsort, "case_sensitive= by= reverse=", NULL},
    {"from_json", do_from_json, "", NULL},
    {"lower", do_lower, "", NULL},
    {"upper", do_upper, "", NULL},
    {"replace", do_replace, "old new count=", NULL},
    {"first", filter_first, "", NULL},
    {"last", filter_last, "", NULL},
    {"unique", filter_unique, "case_sensitive= attribute=", NULL},
    {"sort", filter_sort, "reverse= case_sensitive= attribute=", NULL},
    {"indent", do_indent, "width= first= blank=", NULL},
    {"int", do_int, "default= base=", NULL},
    {"float", do_float, "default=", NULL},
    {"abs", do_abs, "", NULL},
    {"round", do_round, "precision= method=", NULL},
    {"capitalize", do_capitalize, "", NULL},
    {"title", do_title, "", NULL},
    {"reverse", filter_reverse, "", NULL},
    {"sum", filter_sum, "attribute= start=", NULL},
    {"min", filter_min, "case_sensitive= attribute=", NULL},
    {"max", filter_max, "case_sensitive= attribute=", NULL},
    {"groupby", filter_groupby, "attribute default= case_sensitive=", NULL},
    {"batch", filter_batch, "linecount fill_with=", NULL},
    {"slice", filter_slice, "slices fill_with=", NULL},
    {"escape", do_escape, "", NULL},
    {"e", do_escape, "", NULL},
    {"forceescape", do_forceescape, "", NULL},
    {"format", NULL, NULL, do_format},
    {"center", do_center, "width=", NULL},
    {"truncate", do_truncate, "length= killwords= end= leeway=", NULL},
    {"wordcount", do_wordcount, "", NULL},
};

static bool name_is(const char *known, const char *name, size_t n_bytes)
{
    return strlen(known) == n_bytes && memcmp(known, name, n_bytes) == 0;
}

const struct filter_info *filter_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        if (name_is(filters[i].name, name, n_bytes))
            return &filters[i];
    }
    return NULL;
}

bool filter_is_unsupported(const char *name, size_t n_bytes)
{
    static const char *const names[] = {"attr",   "filesizeformat", "pprint",
                                        "random", "striptags",      "urlencode",
                                        "urlize", "wordwrap",       "xmlattr"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (name_is(names[i], name, n_bytes))
            return true;
    }
    return false;
}

struct value filter_apply(struct jinja *j, const struct filter_info *filter, struct value input,
                          const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    if (filter->run_raw)
        return filter->run_raw(j, input, args);
    call_bind(j, filter->name, filter->parameters, args, out);
    return filter->run(j, input, out);
}
