/* Iterators; see jinja_iter.h.
 *
 * One struct for all kinds: what it walks over, a position, and for the generators of filters an
 * iterator below and what to do with its items. Generators are lazy and run once, because templates
 * can tell: a generator printed twice is empty the second time, and map() over a broken list fails
 * only when it is read. */
#include "engine/template/jinja_iter.h"

#include "engine/template/jinja.h"
#include "engine/template/jinja_eval.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

enum iter_kind {
    ITER_NOTHING,
    ITER_LIST,
    ITER_REVERSED,
    ITER_TEXT,
    ITER_DICT,
    ITER_RANGE,
    ITER_LOOP,
    ITER_MAP,
    ITER_MAP_ATTRIBUTE,
    ITER_SELECT,
    ITER_UNIQUE,
    ITER_BATCH
};

struct iter {
    uint8_t kind;
    bool ended;
    bool keep;     // SELECT: keep what passes; UNIQUE: case-sensitive
    bool started;  // generators look at their source when first asked
    struct value source;
    size_t at;
    struct iter *below;
    const struct filter_info *filter;
    const struct test_info *test;
    const struct call_args *args;
    struct value attribute, extra;
    struct dict *seen;  // UNIQUE
    int64_t size;       // BATCH
    struct value held;  // BATCH: first item of the next one, or MISSING
};

bool value_is_iterable(struct value v)
{
    switch (v.kind) {
    case VALUE_UNDEFINED:
    case VALUE_TEXT:
    case VALUE_LIST:
    case VALUE_TUPLE:
    case VALUE_DICT:
    case VALUE_RANGE:
    case VALUE_VIEW:
    case VALUE_ITER:
    case VALUE_LOOP:
        return true;
    default:
        return false;
    }
}

static struct iter *iter_create(struct jinja *j, enum iter_kind kind, struct value source)
{
    struct iter *iter = jinja_alloc(j, sizeof *iter);
    iter->kind = (uint8_t)kind;
    iter->source = source;
    return iter;
}

struct iter *iter_of(struct jinja *j, struct value v)
{
    switch (v.kind) {
    case VALUE_ITER:
        return v.iter;
    case VALUE_UNDEFINED:
        return iter_create(j, ITER_NOTHING, v);
    case VALUE_TEXT:
        return iter_create(j, ITER_TEXT, v);
    case VALUE_LIST:
    case VALUE_TUPLE:
        return iter_create(j, ITER_LIST, v);
    case VALUE_DICT:
    case VALUE_VIEW:
        return iter_create(j, ITER_DICT, v);
    case VALUE_RANGE:
        return iter_create(j, ITER_RANGE, v);
    case VALUE_LOOP:
        return iter_create(j, ITER_LOOP, v);
    default:
        jinja_fail(j, ERR_INVALID, "'%s' object is not iterable", value_type_name(v));
    }
}

struct iter *iter_reversed(struct jinja *j, struct value v)
{
    if (v.kind == VALUE_UNDEFINED)
        return iter_create(j, ITER_NOTHING, v);
    if (!value_is_sequence_of_items(v) && v.kind != VALUE_TEXT && v.kind != VALUE_RANGE &&
        v.kind != VALUE_DICT && v.kind != VALUE_VIEW)
        return NULL;
    int64_t length;
    value_length(j, v, &length);
    struct iter *iter = iter_create(j, ITER_REVERSED, v);
    iter->at = (size_t)length;
    return iter;
}

static struct value dict_item(struct jinja *j, struct value v, size_t at)
{
    const struct dict_entry *entry = &v.dict->entries[at];
    if (v.kind == VALUE_DICT || v.detail == VIEW_KEYS)
        return entry->key;
    return v.detail == VIEW_VALUES ? entry->value : value_pair(j, entry->key, entry->value);
}

static bool next_reversed(struct jinja *j, struct iter *iter, struct value *out)
{
    if (iter->at == 0)
        return false;
    iter->at--;
    switch (iter->source.kind) {
    case VALUE_DICT:
    case VALUE_VIEW:
        if (iter->at >= iter->source.dict->n_entries)
            return false;
        *out = dict_item(j, iter->source, iter->at);
        return true;
    case VALUE_LIST:
    case VALUE_TUPLE:
        if (iter->at >= iter->source.list->n_items)  // shrank since
            return false;
        *out = iter->source.list->items[iter->at];
        return true;
    default:
        *out = value_item(j, iter->source, value_int((int64_t)iter->at));
        return true;
    }
}

static bool next_text(struct jinja *j, struct iter *iter, struct value *out)
{
    const struct text *text = iter->source.text;
    uint32_t c;
    if (iter->at >= text->n_bytes)
        return false;
    size_t n = char_next(text->bytes + iter->at, text->n_bytes - iter->at, &c);
    *out = value_text(text_with_markup(j, text_slice(j, text, iter->at, iter->at + n), false));
    iter->at += n;
    return true;
}

/* Generators of jinja2 test `if value:` before they iterate, so an undefined or empty source is an
 * empty result even where iterating would fail. False when there is nothing. */
static bool start_below(struct jinja *j, struct iter *iter, bool test_truth)
{
    if (iter->started)
        return iter->below != NULL;
    iter->started = true;
    if (test_truth && !value_truth(j, iter->source))
        return false;
    iter->below = iter_of(j, iter->source);
    return true;
}

static bool next_selected(struct jinja *j, struct iter *iter, struct value *out)
{
    while (iter_next(j, iter->below, out)) {
        struct value subject = *out;
        if (iter->attribute.kind != VALUE_MISSING)
            subject = attribute_path_get(j, subject, iter->attribute, value_missing());
        bool passes =
            iter->test ? test_apply(j, iter->test, subject, iter->args) : value_truth(j, subject);
        if (passes == iter->keep)
            return true;
    }
    return false;
}

static bool next_unique(struct jinja *j, struct iter *iter, struct value *out)
{
    while (iter_next(j, iter->below, out)) {
        struct value key = *out;
        if (iter->attribute.kind != VALUE_MISSING && iter->attribute.kind != VALUE_NONE)
            key = attribute_path_get(j, key, iter->attribute, value_missing());
        if (!iter->keep)
            key = ignore_case(j, key);
        if (dict_find(j, iter->seen, key))
            continue;
        dict_set(j, iter->seen, key, value_none());
        return true;
    }
    return false;
}

static bool next_batch(struct jinja *j, struct iter *iter, struct value *out)
{
    struct list *batch = list_create(j, 4);
    struct value item;
    /* As the reference: a full batch goes out when the next item comes, so a size below one puts
     * all items into one batch. */
    if (iter->held.kind != VALUE_MISSING)
        list_append(j, batch, iter->held);
    iter->held = value_missing();
    while (iter_next(j, iter->below, &item)) {
        if ((int64_t)batch->n_items == iter->size) {
            iter->held = item;
            *out = value_list(batch);
            return true;
        }
        list_append(j, batch, item);
    }
    if (batch->n_items == 0)
        return false;
    bool fills = iter->extra.kind != VALUE_NONE && iter->extra.kind != VALUE_MISSING;
    while (fills && (int64_t)batch->n_items < iter->size) {
        jinja_step(j, 0);
        list_append(j, batch, iter->extra);
    }
    *out = value_list(batch);
    return true;
}

static bool next_of_kind(struct jinja *j, struct iter *iter, struct value *out)
{
    struct value v = iter->source;
    switch (iter->kind) {
    case ITER_LIST:
        if (iter->at >= v.list->n_items)
            return false;
        *out = v.list->items[iter->at++];
        return true;
    case ITER_DICT:
        if (iter->at >= v.dict->n_entries)
            return false;
        *out = dict_item(j, v, iter->at++);
        return true;
    case ITER_RANGE:
        if ((int64_t)iter->at >= v.range->n_items)
            return false;
        *out = value_int(v.range->start + (int64_t)iter->at++ * v.range->step);
        return true;
    case ITER_TEXT:
        return next_text(j, iter, out);
    case ITER_REVERSED:
        return next_reversed(j, iter, out);
    case ITER_LOOP:
        return loop_next(j, v.loop, out);
    case ITER_MAP:
        if (!start_below(j, iter, true) || !iter_next(j, iter->below, out))
            return false;
        *out = filter_apply(j, iter->filter, *out, iter->args);
        return true;
    case ITER_MAP_ATTRIBUTE:
        if (!start_below(j, iter, true) || !iter_next(j, iter->below, out))
            return false;
        *out = attribute_path_get(j, *out, iter->attribute, iter->extra);
        return true;
    case ITER_SELECT:
        return start_below(j, iter, true) && next_selected(j, iter, out);
    case ITER_UNIQUE:
        return start_below(j, iter, false) && next_unique(j, iter, out);
    case ITER_BATCH:
        return start_below(j, iter, false) && next_batch(j, iter, out);
    default:
        return false;
    }
}

bool iter_next(struct jinja *j, struct iter *iter, struct value *out)
{
    if (iter->ended)
        return false;
    jinja_step(j, 0);
    eval_enter(j);  // generators can be stacked by a template without bound
    bool more = next_of_kind(j, iter, out);
    eval_leave(j);
    iter->ended = !more;
    return more;
}

struct list *iter_collect(struct jinja *j, struct value v)
{
    struct iter *iter = iter_of(j, v);
    struct list *list = list_create(j, 4);
    struct value item;
    while (iter_next(j, iter, &item))
        list_append(j, list, item);
    return list;
}

/* ---- generators ---- */

struct iter *iter_map(struct jinja *j, struct value source, const struct filter_info *filter,
                      const struct call_args *args)
{
    struct iter *iter = iter_create(j, ITER_MAP, source);
    iter->filter = filter;
    iter->args = args;
    return iter;
}

struct iter *iter_map_attribute(struct jinja *j, struct value source, struct value attribute,
                                struct value default_value)
{
    struct iter *iter = iter_create(j, ITER_MAP_ATTRIBUTE, source);
    iter->attribute = attribute;
    iter->extra = default_value;
    return iter;
}

struct iter *iter_select(struct jinja *j, struct value source, struct value attribute,
                         const struct test_info *test, const struct call_args *args, bool keep)
{
    struct iter *iter = iter_create(j, ITER_SELECT, source);
    iter->attribute = attribute;
    iter->test = test;
    iter->args = args;
    iter->keep = keep;
    return iter;
}

struct iter *iter_unique(struct jinja *j, struct value source, bool case_sensitive,
                         struct value attribute)
{
    struct iter *iter = iter_create(j, ITER_UNIQUE, source);
    iter->keep = case_sensitive;
    iter->attribute = attribute;
    iter->seen = dict_create(j, 8);
    return iter;
}

struct iter *iter_batch(struct jinja *j, struct value source, int64_t size, struct value fill)
{
    struct iter *iter = iter_create(j, ITER_BATCH, source);
    iter->size = size;
    iter->extra = fill;
    return iter;
}

/* ---- attribute paths ---- */

struct value attribute_path_get(struct jinja *j, struct value item, struct value path,
                                struct value default_value)
{
    bool has_default = default_value.kind != VALUE_MISSING && default_value.kind != VALUE_NONE;
    if (path.kind == VALUE_MISSING || path.kind == VALUE_NONE)
        return item;
    if (path.kind != VALUE_TEXT) {
        item = value_item(j, item, path);
        return has_default && value_is_undefined(item) ? default_value : item;
    }
    size_t start = 0;
    jinja_step(j, (size_t)path.text->n_bytes * JINJA_WALK_COST);
    for (size_t at = 0; at <= path.text->n_bytes; at++) {
        if (at < path.text->n_bytes && path.text->bytes[at] != '.')
            continue;
        const struct text *part = text_slice(j, path.text, start, at);
        struct value index = value_text(part), number;
        bool digits = part->n_bytes > 0;
        for (size_t i = 0; i < part->n_bytes; i++)
            digits = digits && part->bytes[i] >= '0' && part->bytes[i] <= '9';
        if (digits && number_parse_int(j, part, 10, &number))
            index = number;
        item = value_item(j, item, index);
        if (has_default && value_is_undefined(item))
            item = default_value;
        start = at + 1;
    }
    return item;
}

/* ---- loops ---- */

/* The next item of the source that the loop's filter lets pass. */
static bool loop_fetch(struct jinja *j, struct loop *loop, struct value *item)
{
    if (loop->rest) {
        if (loop->rest_at >= loop->rest->n_items)
            return false;
        *item = loop->rest->items[loop->rest_at++];
        return true;
    }
    while (iter_next(j, loop->iter, item)) {
        if (!loop->test || eval_loop_test(j, loop, *item))
            return true;
    }
    return false;
}

bool loop_next(struct jinja *j, struct loop *loop, struct value *item)
{
    if (loop->after.kind != VALUE_MISSING) {
        *item = loop->after;
        loop->after = value_missing();
    } else if (!loop_fetch(j, loop, item)) {
        return false;
    }
    loop->index0++;
    loop->before = loop->current;
    loop->current = *item;
    return true;
}

static bool loop_peek(struct jinja *j, struct loop *loop)
{
    struct value item;
    if (loop->after.kind == VALUE_MISSING && loop_fetch(j, loop, &item))
        loop->after = item;  // what the filter refused must not stay there
    return loop->after.kind != VALUE_MISSING;
}

int64_t loop_length(struct jinja *j, struct loop *loop)
{
    if (loop->n_items >= 0)
        return loop->n_items;
    if (loop->source.kind != VALUE_MISSING && value_length(j, loop->source, &loop->n_items))
        return loop->n_items;
    struct list *rest = list_create(j, 4);
    struct value item;
    while (loop_fetch(j, loop, &item))
        list_append(j, rest, item);
    loop->rest = rest;
    loop->rest_at = 0;
    loop->n_items = (int64_t)rest->n_items + loop->index0 + 1 + (loop->after.kind != VALUE_MISSING);
    return loop->n_items;
}

struct value loop_attribute(struct jinja *j, struct loop *loop, const struct text *name)
{
    static const char *const names[] = {"index",    "index0",   "first",     "last",
                                        "length",   "revindex", "revindex0", "previtem",
                                        "nextitem", "depth",    "depth0"};
    size_t which = 0;
    while (which < sizeof names / sizeof names[0] && !text_equals(name, names[which]))
        which++;
    switch (which) {
    case 0:
        return value_int(loop->index0 + 1);
    case 1:
        return value_int(loop->index0);
    case 2:
        return value_bool(loop->index0 == 0);
    case 3:
        return value_bool(!loop_peek(j, loop));
    case 4:
        return value_int(loop_length(j, loop));
    case 5:
        return value_int(loop_length(j, loop) - loop->index0);
    case 6:
        return value_int(loop_length(j, loop) - loop->index0 - 1);
    case 7:
        return loop->index0 == 0 ? value_undefined_hint("there is no previous item") : loop->before;
    case 8:
        return loop_peek(j, loop) ? loop->after : value_undefined_hint("there is no next item");
    case 9:
        return value_int(loop->depth0 + 1);
    case 10:
        return value_int(loop->depth0);
    default:
        return method_find(j, (struct value){.kind = VALUE_LOOP, .loop = loop}, name);
    }
}
