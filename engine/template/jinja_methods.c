/* Methods of strings, lists, dicts and the few other objects, and their table.
 *
 * Parameters are bound from the table, so a method sees its arguments in order. list.append and
 * list.pop change the list; jinja2's sandbox forbids them, templates written for other engines use
 * them, and nothing outlives the render. The other mutators stay forbidden. */
#include "engine/template/jinja_call.h"
#include "engine/template/jinja_casing.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_ops.h"

typedef struct value method_fn(struct jinja *j, struct value self, struct value *args);

struct method_info {
    uint8_t kind;  // enum value_kind of the object
    const char *name;
    method_fn *call;         // NULL: forbidden
    const char *parameters;  // NULL: format takes what it gets
};

/* ---- str ---- */

#define TEXT_METHOD(name)                                                                          \
    static struct value str_##name(struct jinja *j, struct value self, struct value *args)

static bool text_arg_matches(struct jinja *j, const struct text *text, struct value v, bool start)
{
    const struct text *affix = arg_text(j, v, false);
    size_t n = affix->n_bytes;
    if (n > text->n_bytes)
        return false;
    return n == 0 || memcmp(text->bytes + (start ? 0 : text->n_bytes - n), affix->bytes, n) == 0;
}

/* text[start:end] with Python's slice rules, for the optional bounds of find and its kin. */
static const struct text *bounded(struct jinja *j, struct value self, struct value start,
                                  struct value end, size_t *first)
{
    int64_t chars = (int64_t)text_chars(self.text);
    int64_t from = start.kind == VALUE_NONE ? 0 : arg_int(j, start, 0);
    int64_t to = end.kind == VALUE_NONE ? chars : arg_int(j, end, chars);
    from = from < 0 ? from + chars < 0 ? 0 : from + chars : from;
    to = to < 0 ? to + chars < 0 ? 0 : to + chars : to > chars ? chars : to;
    *first = (size_t)from;
    if (from > to)
        return NULL;
    return text_slice_chars(j, self.text, (size_t)from, (size_t)to);
}

static bool affix(struct jinja *j, struct value self, struct value *args, bool start)
{
    size_t first;
    const struct text *text = bounded(j, self, args[1], args[2], &first);
    if (args[0].kind != VALUE_TUPLE) {
        arg_text(j, args[0], false);
        return text && text_arg_matches(j, text, args[0], start);
    }
    for (uint32_t i = 0; i < args[0].list->n_items; i++) {
        jinja_step(j, 0);
        arg_text(j, args[0].list->items[i], false);
        if (text && text_arg_matches(j, text, args[0].list->items[i], start))
            return true;
    }
    return false;
}

TEXT_METHOD(startswith)
{
    return value_bool(affix(j, self, args, true));
}
TEXT_METHOD(endswith)
{
    return value_bool(affix(j, self, args, false));
}
TEXT_METHOD(upper)
{
    (void)args;
    return value_text(text_upper(j, self.text));
}
TEXT_METHOD(lower)
{
    (void)args;
    return value_text(text_lower(j, self.text));
}
TEXT_METHOD(casefold)
{
    (void)args;
    return value_text(text_casefold(j, self.text));
}
TEXT_METHOD(capitalize)
{
    (void)args;
    return value_text(text_capitalize(j, self.text));
}
TEXT_METHOD(title)
{
    (void)args;
    return value_text(text_title(j, self.text));
}
TEXT_METHOD(swapcase)
{
    (void)args;
    return value_text(text_swapcase(j, self.text));
}

TEXT_METHOD(strip)
{
    return value_text(text_strip(j, self.text, arg_text(j, args[0], true), TEXT_BOTH));
}
TEXT_METHOD(lstrip)
{
    return value_text(text_strip(j, self.text, arg_text(j, args[0], true), TEXT_LEFT));
}
TEXT_METHOD(rstrip)
{
    return value_text(text_strip(j, self.text, arg_text(j, args[0], true), TEXT_RIGHT));
}
TEXT_METHOD(split)
{
    return value_list(
        text_split(j, self.text, arg_text(j, args[0], true), arg_int(j, args[1], -1)));
}
TEXT_METHOD(rsplit)
{
    return value_list(
        text_rsplit(j, self.text, arg_text(j, args[0], true), arg_int(j, args[1], -1)));
}
TEXT_METHOD(splitlines)
{
    return value_list(text_splitlines(j, self.text, arg_bool(j, args[0], false)));
}
TEXT_METHOD(replace)
{
    const struct text *to = arg_text(j, args[1], false);
    if (self.text->markup)
        to = text_escape(j, to);
    return value_text(
        text_replace(j, self.text, arg_text(j, args[0], false), to, arg_int(j, args[2], -1)));
}

static int64_t find(struct jinja *j, struct value self, struct value *args, bool last)
{
    size_t first;
    const struct text *needle = arg_text(j, args[0], false);
    const struct text *text = bounded(j, self, args[1], args[2], &first);
    if (!text)
        return -1;
    jinja_step(j, text->n_bytes * (last ? 1 + needle->n_bytes / 16 : 1));
    size_t at = last ? text_rfind(text, needle, SIZE_MAX) : text_find(text, needle, 0);
    if (at == SIZE_MAX)
        return -1;
    return (int64_t)(first + text_chars(text_slice(j, text, 0, at)));
}

static struct value index_of(struct jinja *j, struct value self, struct value *args, bool last)
{
    int64_t at = find(j, self, args, last);
    if (at < 0)
        jinja_fail(j, ERR_INVALID, "substring not found");
    return value_int(at);
}

TEXT_METHOD(find)
{
    return value_int(find(j, self, args, false));
}
TEXT_METHOD(rfind)
{
    return value_int(find(j, self, args, true));
}
TEXT_METHOD(index)
{
    return index_of(j, self, args, false);
}
TEXT_METHOD(rindex)
{
    return index_of(j, self, args, true);
}

TEXT_METHOD(count)
{
    size_t first;
    const struct text *needle = arg_text(j, args[0], false);
    const struct text *text = bounded(j, self, args[1], args[2], &first);
    if (!text)
        return value_int(0);
    jinja_step(j, text->n_bytes);
    if (needle->n_bytes == 0)
        return value_int((int64_t)text_chars(text) + 1);
    size_t n = 0;
    for (size_t at = 0; (at = text_find(text, needle, at)) != SIZE_MAX; at += needle->n_bytes)
        text_count_hit(j, &n);
    return value_int((int64_t)n);
}

TEXT_METHOD(join)
{
    struct text_builder b;
    struct value item;
    struct iter *iter = iter_of(j, args[0]);
    builder_init(&b, j);
    for (size_t n = 0; iter_next(j, iter, &item); n++) {
        const struct text *text;
        if (self.text->markup) {
            text = text_escape(j, format_str(j, item));
        } else {
            if (item.kind != VALUE_TEXT)
                jinja_fail(j, ERR_INVALID, "sequence item %zu: expected str instance, %s found", n,
                           value_type_name(item));
            text = item.text;
        }
        if (n)
            builder_text(&b, self.text);
        builder_text(&b, text);
    }
    return value_text(text_with_markup(j, builder_finish(&b), self.text->markup));
}

TEXT_METHOD(removeprefix)
{
    size_t n = arg_text(j, args[0], false)->n_bytes;
    bool has = text_arg_matches(j, self.text, args[0], true);
    return value_text(has ? text_slice(j, self.text, n, self.text->n_bytes) : self.text);
}
TEXT_METHOD(removesuffix)
{
    size_t n = arg_text(j, args[0], false)->n_bytes;
    bool has = text_arg_matches(j, self.text, args[0], false);
    return value_text(has ? text_slice(j, self.text, 0, self.text->n_bytes - n) : self.text);
}

static struct value partition(struct jinja *j, struct value self, struct value separator, bool last)
{
    const struct text *text = self.text, *by = arg_text(j, separator, false);
    if (by->n_bytes == 0)
        jinja_fail(j, ERR_INVALID, "empty separator");
    jinja_step(j, text->n_bytes * (last ? 1 + by->n_bytes / 16 : 1));
    size_t at = last ? text_rfind(text, by, SIZE_MAX) : text_find(text, by, 0);
    size_t first = at != SIZE_MAX ? at : last ? 0 : text->n_bytes;
    size_t behind = at != SIZE_MAX ? at + by->n_bytes : first;
    struct list *list = list_create(j, 3);
    list_append(j, list, value_text(text_slice(j, text, 0, first)));
    list_append(j, list, value_text(text_slice(j, text, first, behind)));
    list_append(j, list, value_text(text_slice(j, text, behind, text->n_bytes)));
    return value_tuple(list);
}

TEXT_METHOD(partition)
{
    return partition(j, self, args[0], false);
}
TEXT_METHOD(rpartition)
{
    return partition(j, self, args[0], true);
}

static struct value justify(struct jinja *j, struct value self, struct value *args, int side)
{
    size_t chars = text_chars(self.text);
    int64_t width = arg_int(j, args[0], 0);
    const struct text *fill =
        args[1].kind == VALUE_MISSING ? text_literal(j, " ") : arg_text(j, args[1], false);
    if (text_chars(fill) != 1)
        jinja_fail(j, ERR_INVALID, "the fill character must be exactly one character long");
    if (width <= (int64_t)chars)
        return self;
    size_t gap = (size_t)width - chars;
    /* Python puts the odd blank of center() to the left only if the width is odd too. */
    size_t left = side < 0 ? 0 : side > 0 ? gap : gap / 2 + (gap & (size_t)width & 1);
    struct text_builder b;
    builder_init(&b, j);
    builder_fill(&b, fill, left);
    builder_text(&b, self.text);
    builder_fill(&b, fill, gap - left);
    return value_text(text_with_markup(j, builder_finish(&b), self.text->markup));
}

TEXT_METHOD(ljust)
{
    return justify(j, self, args, -1);
}
TEXT_METHOD(rjust)
{
    return justify(j, self, args, 1);
}
TEXT_METHOD(center)
{
    return justify(j, self, args, 0);
}

TEXT_METHOD(zfill)
{
    const struct text *text = self.text;
    size_t chars = text_chars(text);
    int64_t width = arg_int(j, args[0], 0);
    if (width <= (int64_t)chars)
        return self;
    size_t sign = text->n_bytes && (text->bytes[0] == '+' || text->bytes[0] == '-');
    struct text_builder b;
    builder_init(&b, j);
    builder_slice(&b, text, 0, sign);
    builder_fill(&b, text_literal(j, "0"), (size_t)width - chars);
    builder_slice(&b, text, sign, text->n_bytes);
    return value_text(text_with_markup(j, builder_finish(&b), text->markup));
}

TEXT_METHOD(expandtabs)
{
    int64_t size = arg_int(j, args[0], 8), column = 0;
    struct text_builder b;
    builder_init(&b, j);
    jinja_step(j, (size_t)self.text->n_bytes * JINJA_WALK_COST);
    uint32_t c;
    for (size_t at = 0, n; at < self.text->n_bytes; at += n) {
        n = char_next(self.text->bytes + at, self.text->n_bytes - at, &c);
        if (c != '\t') {
            builder_slice(&b, self.text, at, at + n);
            column = c == '\n' || c == '\r' ? 0 : column + 1;
            continue;
        }
        int64_t gap = size > 0 ? size - column % size : 0;
        builder_fill(&b, text_literal(j, " "), (size_t)gap);
        column += gap;
    }
    return value_text(text_with_markup(j, builder_finish(&b), self.text->markup));
}

#define BIT(class) (1u << (class))
enum { DIGITS = BIT(CHAR_DECIMAL) | BIT(CHAR_DIGIT), NUMBERS = DIGITS | BIT(CHAR_NUMERIC) };

#define TEXT_TEST(name, result)                                                                    \
    TEXT_METHOD(name)                                                                              \
    {                                                                                              \
        (void)args;                                                                                \
        jinja_step(j, (size_t)self.text->n_bytes *JINJA_WALK_COST);                                \
        return value_bool(result);                                                                 \
    }
TEXT_TEST(isalpha, text_is_of(self.text, BIT(CHAR_ALPHA)))
TEXT_TEST(isdigit, text_is_of(self.text, DIGITS))
TEXT_TEST(isdecimal, text_is_of(self.text, BIT(CHAR_DECIMAL)))
TEXT_TEST(isnumeric, text_is_of(self.text, NUMBERS))
TEXT_TEST(isalnum, text_is_of(self.text, BIT(CHAR_ALPHA) | NUMBERS))
TEXT_TEST(isspace, text_is_space(self.text))
TEXT_TEST(isupper, text_is_upper(self.text))
TEXT_TEST(islower, text_is_lower(self.text))
TEXT_TEST(istitle, text_is_title(self.text))
TEXT_TEST(isascii, text_is_ascii(self.text))

/* ---- list, tuple, range ---- */

static struct value list_do_append(struct jinja *j, struct value self, struct value *args)
{
    list_append(j, self.list, args[0]);
    return value_none();
}

static struct value list_do_pop(struct jinja *j, struct value self, struct value *args)
{
    int64_t n = self.list->n_items, at = arg_int(j, args[0], -1);
    at += at < 0 ? n : 0;
    if (at < 0 || at >= n)
        jinja_fail(j, ERR_INVALID, n ? "pop index out of range" : "pop from empty list");
    struct value item = self.list->items[at];
    jinja_step(j, (size_t)(n - at) * sizeof item);
    memmove(self.list->items + at, self.list->items + at + 1, (size_t)(n - at - 1) * sizeof item);
    self.list->n_items--;
    return item;
}

static struct value list_do_count(struct jinja *j, struct value self, struct value *args)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < self.list->n_items; i++)
        n += value_equal(j, self.list->items[i], args[0]);
    return value_int(n);
}

static struct value list_do_index(struct jinja *j, struct value self, struct value *args)
{
    int64_t n = self.list->n_items;
    int64_t from = arg_int(j, args[1], 0), to = arg_int(j, args[2], n);
    from = from < 0 ? from + n < 0 ? 0 : from + n : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from; i < to; i++) {
        if (value_equal(j, self.list->items[i], args[0]))
            return value_int(i);
    }
    jinja_fail(j, ERR_INVALID, "the value is not in the list");
}

static struct value list_do_copy(struct jinja *j, struct value self, struct value *args)
{
    (void)args;
    return value_list(iter_collect(j, self));
}

/* ---- dict ---- */

static struct value dict_do_get(struct jinja *j, struct value self, struct value *args)
{
    struct value *found = dict_find(j, self.dict, args[0]);
    return found ? *found : args[1].kind == VALUE_MISSING ? value_none() : args[1];
}

static struct value view_of(struct value self, enum view_kind kind)
{
    return (struct value){.kind = VALUE_VIEW, .detail = (uint8_t)kind, .dict = self.dict};
}

static struct value dict_do_items(struct jinja *j, struct value self, struct value *args)
{
    (void)j;
    (void)args;
    return view_of(self, VIEW_ITEMS);
}
static struct value dict_do_keys(struct jinja *j, struct value self, struct value *args)
{
    (void)j;
    (void)args;
    return view_of(self, VIEW_KEYS);
}
static struct value dict_do_values(struct jinja *j, struct value self, struct value *args)
{
    (void)j;
    (void)args;
    return view_of(self, VIEW_VALUES);
}

static struct value dict_do_copy(struct jinja *j, struct value self, struct value *args)
{
    (void)args;
    struct dict *copy = dict_create(j, self.dict->n_entries);
    for (uint32_t i = 0; i < self.dict->n_entries; i++)
        dict_set(j, copy, self.dict->entries[i].key, self.dict->entries[i].value);
    return value_dict(copy);
}

/* ---- loop, cycler ---- */

static struct value loop_do_changed(struct jinja *j, struct value self, struct value *args)
{
    struct value last = self.loop->changed;
    self.loop->changed = args[0];
    return value_bool(last.kind == VALUE_MISSING || !value_equal(j, last, args[0]));
}

static struct value cycler_do_next(struct jinja *j, struct value self, struct value *args)
{
    (void)j;
    (void)args;
    struct cycler *cycler = self.cycler;
    struct value item = cycler->items->items[cycler->position];
    cycler->position = (cycler->position + 1) % cycler->items->n_items;
    return item;
}

static struct value cycler_do_reset(struct jinja *j, struct value self, struct value *args)
{
    (void)j;
    (void)args;
    self.cycler->position = 0;
    return value_none();
}

/* ---- the table ---- */

#define STR(name, parameters)                                                                      \
    {                                                                                              \
        VALUE_TEXT, #name, str_##name, parameters                                                  \
    }
static const struct method_info methods[] = {
    STR(split, "sep= maxsplit="),
    STR(strip, "/chars="),
    STR(lstrip, "/chars="),
    STR(rstrip, "/chars="),
    STR(startswith, "/prefix start= end="),
    STR(endswith, "/suffix start= end="),
    STR(replace, "/old new count="),
    STR(upper, ""),
    STR(lower, ""),
    STR(title, ""),
    STR(capitalize, ""),
    STR(casefold, ""),
    STR(swapcase, ""),
    STR(find, "/sub start= end="),
    STR(rfind, "/sub start= end="),
    STR(index, "/sub start= end="),
    STR(rindex, "/sub start= end="),
    STR(count, "/sub start= end="),
    STR(join, "/iterable"),
    STR(rsplit, "sep= maxsplit="),
    STR(splitlines, "keepends="),
    STR(removeprefix, "/prefix"),
    STR(removesuffix, "/suffix"),
    STR(partition, "/sep"),
    STR(rpartition, "/sep"),
    STR(ljust, "/width fillchar="),
    STR(rjust, "/width fillchar="),
    STR(center, "/width fillchar="),
    STR(zfill, "/width"),
    STR(expandtabs, "tabsize="),
    STR(isalpha, ""),
    STR(isdigit, ""),
    STR(isdecimal, ""),
    STR(isnumeric, ""),
    STR(isalnum, ""),
    STR(isspace, ""),
    STR(isupper, ""),
    STR(islower, ""),
    STR(istitle, ""),
    STR(isascii, ""),
    {VALUE_TEXT, "format", NULL, NULL},
    {VALUE_LIST, "append", list_do_append, "/object"},
    {VALUE_LIST, "pop", list_do_pop, "/index="},
    {VALUE_LIST, "count", list_do_count, "/value"},
    {VALUE_LIST, "index", list_do_index, "/value start= stop="},
    {VALUE_LIST, "copy", list_do_copy, ""},
    {VALUE_LIST, "extend", NULL, ""},
    {VALUE_LIST, "insert", NULL, ""},
    {VALUE_LIST, "remove", NULL, ""},
    {VALUE_LIST, "clear", NULL, ""},
    {VALUE_LIST, "reverse", NULL, ""},
    {VALUE_LIST, "sort", NULL, ""},
    {VALUE_TUPLE, "count", list_do_count, "/value"},
    {VALUE_TUPLE, "index", list_do_index, "/value start= stop="},
    {VALUE_DICT, "get", dict_do_get, "/key default="},
    {VALUE_DICT, "items", dict_do_items, ""},
    {VALUE_DICT, "keys", dict_do_keys, ""},
    {VALUE_DICT, "values", dict_do_values, ""},
    {VALUE_DICT, "copy", dict_do_copy, ""},
    {VALUE_DICT, "pop", NULL, ""},
    {VALUE_DICT, "popitem", NULL, ""},
    {VALUE_DICT, "update", NULL, ""},
    {VALUE_DICT, "setdefault", NULL, ""},
    {VALUE_DICT, "clear", NULL, ""},
    {VALUE_LOOP, "cycle", NULL, NULL},
    {VALUE_LOOP, "changed", loop_do_changed, NULL},
    {VALUE_CYCLER, "next", cycler_do_next, ""},
    {VALUE_CYCLER, "reset", cycler_do_reset, ""},
};

bool method_is_unsupported(const char *name, size_t n_bytes)
{
    static const char *const names[] = {
        "encode",   "translate",  "maketrans",  "format_map",       "isprintable", "isidentifier",
        "fromkeys", "bit_length", "is_integer", "as_integer_ratio", "to_bytes"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i]) == n_bytes && memcmp(names[i], name, n_bytes) == 0)
            return true;
    }
    return false;
}

struct value method_find(struct jinja *j, struct value self, const struct text *name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (methods[i].kind != self.kind || !text_equals(name, methods[i].name))
            continue;
        if (!methods[i].call && methods[i].parameters)
            return (struct value){.kind = VALUE_UNDEFINED,
                                  .detail = UNDEFINED_UNSAFE,
                                  .owner = self.kind,
                                  .text = name};
        struct bound_method *method = jinja_alloc(j, sizeof *method);
        *method = (struct bound_method){self, &methods[i]};
        return (struct value){.kind = VALUE_METHOD, .method = method};
    }
    return value_missing();
}

const char *method_name(const struct bound_method *method)
{
    return method->info->name;
}

static struct value loop_cycle(struct jinja *j, const struct loop *loop,
                               const struct call_args *args)
{
    if (args->n_keywords)
        jinja_fail(j, ERR_INVALID, "cycle() takes no keyword arguments");
    if (args->n_positional == 0)
        jinja_fail(j, ERR_INVALID, "no items for cycling given");
    return args->positional[(size_t)loop->index0 % args->n_positional];
}

struct value method_call(struct jinja *j, struct bound_method *method, const struct call_args *args)
{
    const struct method_info *info = method->info;
    struct value out[CALL_PARAMETERS_MAX];
    if (info->parameters) {
        call_bind(j, info->name, info->parameters, args, out);
        return info->call(j, method->self, out);
    }
    if (info->kind == VALUE_TEXT)
        return value_text(format_braces(j, method->self.text, args));
    if (!info->call)
        return loop_cycle(j, method->self.loop, args);
    /* loop.changed(*values) compares all of them, as one tuple. */
    struct list *values = list_create(j, args->n_positional);
    for (size_t i = 0; i < args->n_positional; i++)
        list_append(j, values, args->positional[i]);
    out[0] = value_tuple(values);
    return info->call(j, method->self, out);
}
