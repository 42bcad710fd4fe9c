/* str(), repr() and json.dumps() of values; see jinja_format.h.
 *
 * A container's text counts as untrusted as a whole when any leaf of it came from the request: what
 * stands between the leaves is punctuation, and no span has to be followed through escapes. */
#include "engine/template/jinja_format.h"

#include <math.h>

#include "engine/template/jinja.h"
#include "engine/template/jinja_node.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_unicode.h"

/* Finishes a builder whose bytes were all written as trusted. */
static const struct text *finish(struct text_builder *b, bool untrusted)
{
    return b->n_bytes ? text_borrow(b->j, b->bytes, b->n_bytes, untrusted) : &text_empty;
}

static void number_append(struct text_builder *b, struct value v, bool json)
{
    char out[NUMBER_TEXT_BYTES];
    switch (v.kind) {
    case VALUE_BOOL:
        builder_bytes(b,
                      json        ? v.boolean ? "true" : "false"
                      : v.boolean ? "True"
                                  : "False",
                      v.boolean ? 4 : 5, v.untrusted);
        break;
    case VALUE_INT:
        builder_bytes(b, out, (size_t)snprintf(out, sizeof out, "%lld", (long long)v.integer),
                      v.untrusted);
        break;
    case VALUE_BIG:
        builder_bytes(b, v.text->bytes, v.text->n_bytes, v.untrusted);
        break;
    default:
        if (json && !isfinite(v.real)) {
            const char *name = isnan(v.real) ? "NaN" : v.real > 0 ? "Infinity" : "-Infinity";
            builder_bytes(b, name, strlen(name), v.untrusted);
            break;
        }
        builder_bytes(b, out, float_repr(v.real, out), v.untrusted);
    }
}

/* ---- repr ---- */

struct writer {
    struct text_builder b;  // written as trusted throughout
    bool untrusted;         // a leaf of the value is
    const struct json_style *style;
};

static void repr_char(struct text_builder *b, uint32_t c, const char *bytes, size_t n, char quote)
{
    char out[12];
    if (c == (uint32_t)quote || c == '\\') {
        builder_bytes(b, (char[]){'\\', (char)c}, 2, false);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        builder_literal(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else if (char_is(CHAR_HIDDEN, c)) {
        int length = snprintf(out, sizeof out,
                              c < 0x100     ? "\\x%02x"
                              : c < 0x10000 ? "\\u%04x"
                                            : "\\U%08x",
                              (unsigned)c);
        builder_bytes(b, out, (size_t)length, false);
    } else {
        builder_bytes(b, bytes, n, false);
    }
}

static void repr_text(struct writer *w, const struct text *text)
{
    w->untrusted = w->untrusted || text_untrusted(text);
    jinja_step(w->b.j, (size_t)text->n_bytes * JINJA_WALK_COST);
    bool single = memchr(text->bytes, '\'', text->n_bytes) != NULL;
    bool both = single && memchr(text->bytes, '"', text->n_bytes) != NULL;
    char quote = single && !both ? '"' : '\'';
    if (text->markup)
        builder_literal(&w->b, "Markup(");
    builder_bytes(&w->b, &quote, 1, false);
    for (size_t i = 0; i < text->n_bytes;) {
        uint32_t c;
        size_t n = char_next(text->bytes + i, text->n_bytes - i, &c);
        repr_char(&w->b, c, text->bytes + i, n, quote);
        i += n;
    }
    builder_bytes(&w->b, &quote, 1, false);
    if (text->markup)
        builder_literal(&w->b, ")");
}

static void repr_value(struct writer *w, struct value v, int depth);

static void repr_items(struct writer *w, struct value v, int depth)
{
    bool tuple = v.kind == VALUE_TUPLE;
    builder_literal(&w->b, tuple ? "(" : "[");
    for (uint32_t i = 0; i < v.list->n_items; i++) {
        if (i)
            builder_literal(&w->b, ", ");
        repr_value(w, v.list->items[i], depth + 1);
    }
    if (tuple && v.list->n_items == 1)
        builder_literal(&w->b, ",");
    builder_literal(&w->b, tuple ? ")" : "]");
}

static void repr_dict(struct writer *w, const struct dict *dict, int depth)
{
    builder_literal(&w->b, "{");
    for (uint32_t i = 0; i < dict->n_entries; i++) {
        if (i)
            builder_literal(&w->b, ", ");
        repr_value(w, dict->entries[i].key, depth + 1);
        builder_literal(&w->b, ": ");
        repr_value(w, dict->entries[i].value, depth + 1);
    }
    builder_literal(&w->b, "}");
}

static void repr_view(struct writer *w, struct value v, int depth)
{
    static const char *const names[] = {"dict_keys([", "dict_values([", "dict_items(["};
    builder_literal(&w->b, names[v.detail]);
    for (uint32_t i = 0; i < v.dict->n_entries; i++) {
        const struct dict_entry *entry = &v.dict->entries[i];
        if (i)
            builder_literal(&w->b, ", ");
        if (v.detail == VIEW_ITEMS)
            builder_literal(&w->b, "(");
        if (v.detail != VIEW_VALUES)
            repr_value(w, entry->key, depth + 1);
        if (v.detail == VIEW_ITEMS)
            builder_literal(&w->b, ", ");
        if (v.detail != VIEW_KEYS)
            repr_value(w, entry->value, depth + 1);
        if (v.detail == VIEW_ITEMS)
            builder_literal(&w->b, ")");
    }
    builder_literal(&w->b, "])");
}

static void repr_range(struct writer *w, const struct range *range)
{
    char out[80];
    int n = snprintf(out, sizeof out, "range(%lld, %lld", (long long)range->start,
                     (long long)range->stop);
    builder_bytes(&w->b, out, (size_t)n, false);
    if (range->step != 1) {
        n = snprintf(out, sizeof out, ", %lld", (long long)range->step);
        builder_bytes(&w->b, out, (size_t)n, false);
    }
    builder_literal(&w->b, ")");
}

/* What Python shows with an address: the same form, with an address that is always the same. */
static void repr_opaque(struct writer *w, struct value v)
{
    char out[128];
    int n;
    if (v.kind == VALUE_METHOD)
        n = snprintf(out, sizeof out, "<built-in method %s of %s object at 0x7f0000000000>",
                     method_name(v.method), value_type_name(v.method->self));
    else
        n = snprintf(out, sizeof out, "<%s object at 0x7f0000000000>", value_type_name(v));
    builder_bytes(&w->b, out, (size_t)n, false);
}

static void repr_value(struct writer *w, struct value v, int depth)
{
    if (depth > VALUE_DEPTH_MAX)
        jinja_fail(w->b.j, ERR_LIMIT, "a value is nested deeper than %d", VALUE_DEPTH_MAX);
    jinja_step(w->b.j, 0);
    switch (v.kind) {
    case VALUE_NONE:
        builder_literal(&w->b, "None");
        break;
    case VALUE_UNDEFINED:
        builder_literal(&w->b, "Undefined");
        break;
    case VALUE_TEXT:
        repr_text(w, v.text);
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
        repr_items(w, v, depth);
        break;
    case VALUE_DICT:
        repr_dict(w, v.dict, depth);
        break;
    case VALUE_NAMESPACE:
        builder_literal(&w->b, "<Namespace ");
        repr_dict(w, v.dict, depth);
        builder_literal(&w->b, ">");
        break;
    case VALUE_VIEW:
        repr_view(w, v, depth);
        break;
    case VALUE_RANGE:
        repr_range(w, v.range);
        break;
    case VALUE_MACRO:
        builder_literal(&w->b, "<Macro ");
        if (v.macro->node->kind == STMT_MACRO)
            repr_text(w, v.macro->node->value.text);
        else
            builder_literal(&w->b, "anonymous");
        builder_literal(&w->b, ">");
        break;
    default:
        if (value_is_number(v)) {
            w->untrusted = w->untrusted || v.untrusted;
            v.untrusted = false;
            number_append(&w->b, v, false);
        } else {
            repr_opaque(w, v);
        }
    }
}

const struct text *format_repr(struct jinja *j, struct value v)
{
    struct writer w = {.style = NULL};
    builder_init(&w.b, j);
    repr_value(&w, v, 0);
    return finish(&w.b, w.untrusted);
}

const struct text *format_str(struct jinja *j, struct value v)
{
    if (v.kind == VALUE_TEXT)
        return v.text;
    if (v.kind == VALUE_UNDEFINED)
        return &text_empty;
    return format_repr(j, v);
}

void format_append(struct text_builder *b, struct value v)
{
    builder_text(b, format_str(b->j, v));
}

/* ---- JSON ---- */

static void json_escape(struct text_builder *b, uint32_t c)
{
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    char out[16];
    const char *simple = c && c < 0x80 ? strchr(letters, (int)c) : NULL;
    int n;
    if (simple)
        n = snprintf(out, sizeof out, "\\%c", names[simple - letters]);
    else if (c < 0x10000)
        n = snprintf(out, sizeof out, "\\u%04x", (unsigned)c);
    else
        n = snprintf(out, sizeof out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                     (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
    builder_bytes(b, out, (size_t)n, false);
}

static void json_text(struct writer *w, const struct text *text)
{
    w->untrusted = w->untrusted || text_untrusted(text);
    jinja_step(w->b.j, text->n_bytes);
    builder_literal(&w->b, "\"");
    size_t plain = 0;
    for (size_t i = 0; i < text->n_bytes;) {
        uint32_t c = (unsigned char)text->bytes[i];
        size_t n = c < 0x80 ? 1 : char_next(text->bytes + i, text->n_bytes - i, &c);
        if (c >= 0x20 && c != '"' && c != '\\' && !(w->style->ascii_only && c > 0x7e)) {
            i += n;
            continue;
        }
        builder_bytes(&w->b, text->bytes + plain, i - plain, false);
        json_escape(&w->b, c);
        i += n;
        plain = i;
    }
    builder_bytes(&w->b, text->bytes + plain, text->n_bytes - plain, false);
    builder_literal(&w->b, "\"");
}

static void json_value(struct writer *w, struct value v, int depth);

/* What stands before an item: a separator, and with an indent a new line. */
static void json_space(struct writer *w, bool first, int depth)
{
    const struct json_style *style = w->style;
    if (!first) {
        const struct text *separator = style->item_separator;
        builder_bytes(&w->b,
                      separator       ? separator->bytes
                      : style->indent ? ","
                                      : ", ",
                      separator       ? separator->n_bytes
                      : style->indent ? 1
                                      : 2,
                      false);
    }
    if (!style->indent)
        return;
    builder_literal(&w->b, "\n");
    for (int i = 0; i < depth; i++)
        builder_bytes(&w->b, style->indent->bytes, style->indent->n_bytes, false);
}

static void json_key(struct writer *w, struct value key)
{
    switch (key.kind) {
    case VALUE_TEXT:
        json_text(w, key.text);
        return;
    case VALUE_NONE:
        builder_literal(&w->b, "\"null\"");
        return;
    default:
        if (!value_is_number(key))
            jinja_fail(w->b.j, ERR_INVALID, "a JSON key cannot be '%s'", value_type_name(key));
        builder_literal(&w->b, "\"");
        json_value(w, key, 0);
        builder_literal(&w->b, "\"");
    }
}

static int entry_order(struct jinja *j, const struct dict_entry *a, const struct dict_entry *b)
{
    return value_order(j, a->key, b->key, "<");
}

/* Merge sort of entry pointers by key, bottom up. */
static const struct dict_entry **sorted_entries(struct jinja *j, const struct dict *dict)
{
    size_t n = dict->n_entries;
    const struct dict_entry **from = jinja_alloc_array(j, n + 1, sizeof *from);
    const struct dict_entry **to = jinja_alloc_array(j, n + 1, sizeof *to);
    for (size_t i = 0; i < n; i++)
        from[i] = &dict->entries[i];
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t a = start, mid = start + width < n ? start + width : n;
            size_t b = mid, end = mid + width < n ? mid + width : n;
            for (size_t k = start; k < end; k++) {
                bool left = a < mid && (b == end || entry_order(j, from[b], from[a]) >= 0);
                to[k] = left ? from[a++] : from[b++];
            }
        }
        const struct dict_entry **swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static void json_dict(struct writer *w, const struct dict *dict, int depth)
{
    const struct dict_entry **sorted = w->style->sort_keys ? sorted_entries(w->b.j, dict) : NULL;
    const struct text *separator = w->style->key_separator;
    if (dict->n_entries == 0) {
        builder_literal(&w->b, "{}");
        return;
    }
    builder_literal(&w->b, "{");
    for (uint32_t i = 0; i < dict->n_entries; i++) {
        const struct dict_entry *entry = sorted ? sorted[i] : &dict->entries[i];
        json_space(w, i == 0, depth + 1);
        json_key(w, entry->key);
        builder_bytes(&w->b, separator ? separator->bytes : ": ",
                      separator ? separator->n_bytes : 2, false);
        json_value(w, entry->value, depth + 1);
    }
    if (w->style->indent)
        json_space(w, true, depth);
    builder_literal(&w->b, "}");
}

static void json_list(struct writer *w, const struct list *list, int depth)
{
    if (list->n_items == 0) {
        builder_literal(&w->b, "[]");
        return;
    }
    builder_literal(&w->b, "[");
    for (uint32_t i = 0; i < list->n_items; i++) {
        json_space(w, i == 0, depth + 1);
        json_value(w, list->items[i], depth + 1);
    }
    if (w->style->indent)
        json_space(w, true, depth);
    builder_literal(&w->b, "]");
}

static void json_value(struct writer *w, struct value v, int depth)
{
    if (depth > VALUE_DEPTH_MAX)
        jinja_fail(w->b.j, ERR_LIMIT, "a value is nested deeper than %d", VALUE_DEPTH_MAX);
    jinja_step(w->b.j, 0);
    switch (v.kind) {
    case VALUE_NONE:
        builder_literal(&w->b, "null");
        break;
    case VALUE_TEXT:
        json_text(w, v.text);
        break;
    case VALUE_LIST:
    case VALUE_TUPLE:
        json_list(w, v.list, depth);
        break;
    case VALUE_DICT:
        json_dict(w, v.dict, depth);
        break;
    default:
        if (!value_is_number(v))
            jinja_fail(
                w->b.j, ERR_INVALID, "'%s' has no JSON form%s%.*s", value_type_name(v),
                v.kind == VALUE_UNDEFINED && v.detail == UNDEFINED_NAME ? ": " : "",
                v.kind == VALUE_UNDEFINED && v.detail == UNDEFINED_NAME ? (int)v.text->n_bytes : 0,
                v.kind == VALUE_UNDEFINED && v.detail == UNDEFINED_NAME ? v.text->bytes : "");
        w->untrusted = w->untrusted || v.untrusted;
        v.untrusted = false;
        number_append(&w->b, v, true);
    }
}

const struct text *format_json(struct jinja *j, struct value v, const struct json_style *style)
{
    struct writer w = {.style = style};
    builder_init(&w.b, j);
    json_value(&w, v, 0);
    return finish(&w.b, w.untrusted);
}
