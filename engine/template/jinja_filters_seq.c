/* Filters over sequences; see jinja_filters.h.
 *
 * They walk any iterable through one iterator, so that lists, strings, mappings and ranges need no
 * code of their own here. */
#include "engine/template/jinja_filters.h"

#include "engine/template/jinja_casing.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_ops.h"

struct value ignore_case(struct jinja *j, struct value v)
{
    return v.kind == VALUE_TEXT ? value_text(text_lower(j, v.text)) : v;
}

struct value filter_length(struct jinja *j, struct value v, struct value *args)
{
    int64_t length;
    (void)args;
    if (!value_length(j, v, &length))
        jinja_fail(j, ERR_INVALID, "object of type '%s' has no len()", value_type_name(v));
    return value_int(length);
}

struct value filter_first(struct jinja *j, struct value v, struct value *args)
{
    struct value item;
    (void)args;
    return iter_next(j, iter_of(j, v), &item)
               ? item
               : value_undefined_hint("no first item, sequence was empty");
}

struct value filter_last(struct jinja *j, struct value v, struct value *args)
{
    struct value item;
    (void)args;
    struct iter *iter = iter_reversed(j, v);
    if (!iter)
        jinja_fail(j, ERR_INVALID, "'%s' object is not reversible", value_type_name(v));
    return iter_next(j, iter, &item) ? item
                                     : value_undefined_hint("no last item, sequence was empty");
}

struct value filter_list(struct jinja *j, struct value v, struct value *args)
{
    (void)args;
    return value_list(iter_collect(j, v));
}

struct value filter_items(struct jinja *j, struct value v, struct value *args)
{
    (void)args;
    if (value_is_undefined(v))
        return value_iter(iter_of(j, v));
    if (v.kind != VALUE_DICT)
        jinja_fail(j, ERR_INVALID, "can only get item pairs from a mapping, not from '%s'",
                   value_type_name(v));
    struct value view = {.kind = VALUE_VIEW, .detail = VIEW_ITEMS, .dict = v.dict};
    return value_iter(iter_of(j, view));
}

struct value filter_join(struct jinja *j, struct value v, struct value *args)
{
    const struct text *separator =
        args[0].kind == VALUE_MISSING ? &text_empty : format_str(j, args[0]);
    struct text_builder b;
    struct value item;
    bool any = false;
    builder_init(&b, j);
    for (struct iter *iter = iter_of(j, v); iter_next(j, iter, &item); any = true) {
        if (any)
            builder_text(&b, separator);
        format_append(&b, attribute_path_get(j, item, args[1], value_missing()));
    }
    return value_text(builder_finish(&b));
}

struct value filter_reverse(struct jinja *j, struct value v, struct value *args)
{
    (void)args;
    if (v.kind == VALUE_TEXT)
        return value_slice(j, v, value_none(), value_none(), value_int(-1));
    struct iter *iter = iter_reversed(j, v);
    if (iter)
        return value_iter(iter);
    struct value list = value_list(iter_collect(j, v));
    return value_slice(j, list, value_none(), value_none(), value_int(-1));
}

/* ---- order ---- */

struct keyed {
    struct value key, item;
};

/* Python's sort asks only whether a < b. */
static bool less(struct jinja *j, const struct keyed *a, const struct keyed *b)
{
    return value_order(j, a->key, b->key, "<") == -1;
}

/* Stable merge sort, bottom up. */
static struct keyed *sort_keyed(struct jinja *j, struct keyed *from, size_t n, bool reverse)
{
    struct keyed *to = jinja_alloc_array(j, n + 1, sizeof *to);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            size_t a = start, mid = start + width < n ? start + width : n;
            size_t b = mid, end = mid + width < n ? mid + width : n;
            for (size_t k = start; k < end; k++) {
                bool left = a < mid;
                if (left && b < end)
                    left = reverse ? !less(j, &from[a], &from[b]) : !less(j, &from[b], &from[a]);
                to[k] = left ? from[a++] : from[b++];
            }
        }
        struct keyed *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* The key of sort(attribute="a.b,c"): a list of what the paths lead to. */
static struct value sort_key(struct jinja *j, struct value item, struct value attribute,
                             bool case_sensitive)
{
    struct list *key = list_create(j, 1);
    size_t start = 0;
    if (attribute.kind != VALUE_TEXT) {
        struct value part = attribute_path_get(j, item, attribute, value_missing());
        list_append(j, key, case_sensitive ? part : ignore_case(j, part));
        return value_list(key);
    }
    jinja_step(j, (size_t)attribute.text->n_bytes * JINJA_WALK_COST);
    for (size_t at = 0; at <= attribute.text->n_bytes; at++) {
        if (at < attribute.text->n_bytes && attribute.text->bytes[at] != ',')
            continue;
        struct value path = value_text(text_slice(j, attribute.text, start, at));
        struct value part = attribute_path_get(j, item, path, value_missing());
        list_append(j, key, case_sensitive ? part : ignore_case(j, part));
        start = at + 1;
    }
    return value_list(key);
}

static struct value sorted(struct jinja *j, struct value v, struct value attribute,
                           bool case_sensitive, bool reverse)
{
    struct list *list = iter_collect(j, v);
    struct keyed *keyed = jinja_alloc_array(j, list->n_items + 1, sizeof *keyed);
    for (uint32_t i = 0; i < list->n_items; i++)
        keyed[i] =
            (struct keyed){sort_key(j, list->items[i], attribute, case_sensitive), list->items[i]};
    keyed = sort_keyed(j, keyed, list->n_items, reverse);
    for (uint32_t i = 0; i < list->n_items; i++)
        list->items[i] = keyed[i].item;
    return value_list(list);
}

struct value filter_sort(struct jinja *j, struct value v, struct value *args)
{
    return sorted(j, v, args[2], arg_bool(j, args[1], false), arg_bool(j, args[0], false));
}

struct value filter_dictsort(struct jinja *j, struct value v, struct value *args)
{
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    if (v.kind != VALUE_DICT)
        jinja_fail(j, ERR_INVALID, "dictsort needs a mapping, not '%s'", value_type_name(v));
    bool case_sensitive = arg_bool(j, args[0], false), by_value = false;
    if (args[1].kind != VALUE_MISSING) {
        by_value = args[1].kind == VALUE_TEXT && text_equals(args[1].text, "value");
        if (!by_value && !(args[1].kind == VALUE_TEXT && text_equals(args[1].text, "key")))
            jinja_fail(j, ERR_INVALID, "dictsort sorts by \"key\" or \"value\"");
    }
    struct keyed *keyed = jinja_alloc_array(j, v.dict->n_entries + 1, sizeof *keyed);
    for (uint32_t i = 0; i < v.dict->n_entries; i++) {
        const struct dict_entry *entry = &v.dict->entries[i];
        struct value key = by_value ? entry->value : entry->key;
        keyed[i].key = case_sensitive ? key : ignore_case(j, key);
        keyed[i].item = value_pair(j, entry->key, entry->value);
    }
    keyed = sort_keyed(j, keyed, v.dict->n_entries, arg_bool(j, args[2], false));
    struct list *list = list_create(j, v.dict->n_entries);
    for (uint32_t i = 0; i < v.dict->n_entries; i++)
        list_append(j, list, keyed[i].item);
    return value_list(list);
}

struct value filter_unique(struct jinja *j, struct value v, struct value *args)
{
    return value_iter(iter_unique(j, v, arg_bool(j, args[0], false), args[1]));
}

static struct value extreme(struct jinja *j, struct value v, struct value *args, bool largest)
{
    struct iter *iter = iter_of(j, v);
    struct keyed best, next;
    if (!iter_next(j, iter, &best.item))
        return value_undefined_hint("no aggregated item, sequence was empty");
    bool case_sensitive = arg_bool(j, args[0], false);
    best.key = attribute_path_get(j, best.item, args[1], value_missing());
    if (!case_sensitive)
        best.key = ignore_case(j, best.key);
    while (iter_next(j, iter, &next.item)) {
        next.key = attribute_path_get(j, next.item, args[1], value_missing());
        if (!case_sensitive)
            next.key = ignore_case(j, next.key);
        int order = value_order(j, next.key, best.key, largest ? ">" : "<");
        if (order == (largest ? 1 : -1))
            best = next;
    }
    return best.item;
}

struct value filter_min(struct jinja *j, struct value v, struct value *args)
{
    return extreme(j, v, args, false);
}

struct value filter_max(struct jinja *j, struct value v, struct value *args)
{
    return extreme(j, v, args, true);
}

struct value filter_sum(struct jinja *j, struct value v, struct value *args)
{
    struct value sum = args[1].kind == VALUE_MISSING ? value_int(0) : args[1], item;
    if (sum.kind == VALUE_TEXT)
        jinja_fail(j, ERR_INVALID, "sum cannot add strings, use join");
    for (struct iter *iter = iter_of(j, v); iter_next(j, iter, &item);)
        sum =
            value_binary(j, ARITH_ADD, sum, attribute_path_get(j, item, args[0], value_missing()));
    return sum;
}

struct value filter_groupby(struct jinja *j, struct value v, struct value *args)
{
    bool case_sensitive = arg_bool(j, args[2], false);
    struct list *list = iter_collect(j, v), *groups = list_create(j, 4);
    struct keyed *keyed = jinja_alloc_array(j, list->n_items + 1, sizeof *keyed);
    for (uint32_t i = 0; i < list->n_items; i++) {
        struct value key = attribute_path_get(j, list->items[i], args[0], args[1]);
        keyed[i] = (struct keyed){case_sensitive ? key : ignore_case(j, key), list->items[i]};
    }
    keyed = sort_keyed(j, keyed, list->n_items, false);
    for (uint32_t i = 0; i < list->n_items;) {
        struct list *members = list_create(j, 4);
        struct value key = keyed[i].key;
        struct value shown = attribute_path_get(j, keyed[i].item, args[0], args[1]);
        for (; i < list->n_items && value_equal(j, keyed[i].key, key); i++)
            list_append(j, members, keyed[i].item);
        struct value group = value_pair(j, shown, value_list(members));
        group.detail = 1;  // .grouper and .list, see jinja_ops.c
        list_append(j, groups, group);
    }
    return value_list(groups);
}

/* ---- pieces ---- */

struct value filter_batch(struct jinja *j, struct value v, struct value *args)
{
    return value_iter(iter_batch(j, v, arg_int(j, args[0], 0), args[1]));
}

struct value filter_slice(struct jinja *j, struct value v, struct value *args)
{
    struct list *items = iter_collect(j, v), *out = list_create(j, 4);
    int64_t slices = arg_int(j, args[0], 0), n = items->n_items;
    if (slices == 0)
        jinja_fail(j, ERR_INVALID, "integer division or modulo by zero");
    if (slices < 0)
        return value_iter(iter_of(j, value_list(out)));
    int64_t each = n / slices, extra = n % slices, at = 0;
    for (int64_t i = 0; i < slices; i++) {
        jinja_step(j, 0);
        struct list *part = list_create(j, (size_t)each + 1);
        for (int64_t k = each + (i < extra); k > 0; k--)
            list_append(j, part, items->items[at++]);
        if (args[1].kind != VALUE_MISSING && args[1].kind != VALUE_NONE && i >= extra)
            list_append(j, part, args[1]);
        list_append(j, out, value_list(part));
    }
    return value_iter(iter_of(j, value_list(out)));
}

/* ---- map, select ---- */

/* The arguments behind the first `n`, in the arena. */
static const struct call_args *rest_of(struct jinja *j, const struct call_args *args, size_t n)
{
    struct call_args *rest = jinja_alloc(j, sizeof *rest);
    *rest = *args;
    rest->positional += n;
    rest->n_positional -= n;
    return rest;
}

struct value filter_map(struct jinja *j, struct value v, const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    bool by_attribute = false;
    for (size_t i = 0; i < args->n_keywords; i++)
        by_attribute = by_attribute || text_equals(args->keywords[i].name, "attribute");
    if (args->n_positional == 0 && by_attribute) {
        call_bind(j, "map", "attribute default=", args, out);
        return value_iter(iter_map_attribute(j, v, out[0], out[1]));
    }
    if (args->n_positional == 0 || args->positional[0].kind != VALUE_TEXT)
        jinja_fail(j, ERR_INVALID, "map requires the name of a filter");
    const struct text *name = args->positional[0].text;
    const struct filter_info *filter = filter_find(name->bytes, name->n_bytes);
    if (!filter)
        jinja_fail(j, ERR_UNSUPPORTED, "unknown filter '%.*s'", (int)name->n_bytes, name->bytes);
    return value_iter(iter_map(j, v, filter, rest_of(j, args, 1)));
}

static struct value select_items(struct jinja *j, struct value v, const struct call_args *args,
                                 bool by_attribute, bool keep)
{
    struct value attribute = value_missing();
    const struct test_info *test = NULL;
    size_t used = 0;
    if (by_attribute) {
        if (args->n_positional == 0)
            jinja_fail(j, ERR_INVALID, "the name of an attribute is missing");
        attribute = args->positional[used++];
    }
    if (args->n_positional > used) {
        struct value name = args->positional[used++];
        test = name.kind == VALUE_TEXT ? test_find(name.text->bytes, name.text->n_bytes) : NULL;
        if (!test)
            jinja_fail(j, ERR_UNSUPPORTED, "unknown test '%.*s'",
                       name.kind == VALUE_TEXT ? (int)name.text->n_bytes : 0,
                       name.kind == VALUE_TEXT ? name.text->bytes : "");
    }
    return value_iter(iter_select(j, v, attribute, test, rest_of(j, args, used), keep));
}

struct value filter_select(struct jinja *j, struct value v, const struct call_args *args)
{
    return select_items(j, v, args, false, true);
}

struct value filter_reject(struct jinja *j, struct value v, const struct call_args *args)
{
    return select_items(j, v, args, false, false);
}

struct value filter_selectattr(struct jinja *j, struct value v, const struct call_args *args)
{
    return select_items(j, v, args, true, true);
}

struct value filter_rejectattr(struct jinja *j, struct value v, const struct call_args *args)
{
    return select_items(j, v, args, true, false);
}
