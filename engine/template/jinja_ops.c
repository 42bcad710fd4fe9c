/* Operators on values; see jinja_ops.h. Python's rules, with jinja2's lookup order for attributes
 * and items. Names between double underscores never lead anywhere: there is nothing behind them
 * here, but a template that tries gets the same refusal as in the sandbox. */
#include "engine/template/jinja_ops.h"

#include "engine/template/jinja.h"
#include "engine/template/jinja_call.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_node.h"
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

static struct value undefined_of(struct value object, const struct text *name,
                                 enum undefined_reason reason)
{
    return (struct value){
        .kind = VALUE_UNDEFINED, .detail = (uint8_t)reason, .owner = object.kind, .text = name};
}

static bool is_dunder(const struct text *name)
{
    return name->n_bytes > 4 && memcmp(name->bytes, "__", 2) == 0 &&
           memcmp(name->bytes + name->n_bytes - 2, "__", 2) == 0;
}

static struct value macro_attribute(struct jinja *j, const struct macro *macro,
                                    const struct text *name)
{
    if (text_equals(name, "name"))
        return macro->node->kind == STMT_MACRO ? macro->node->value : value_none();
    if (text_equals(name, "arguments")) {
        struct list *list = list_create(j, macro->node->n_parameters);
        for (size_t i = 0; i < macro->node->n_parameters; i++)
            list_append(j, list, value_text(j->code->names[macro->node->parameters[i].name]));
        return value_tuple(list);
    }
    if (text_equals(name, "caller"))
        return value_bool(macro->node->uses_caller);
    if (text_equals(name, "catch_kwargs"))
        return value_bool(macro->node->uses_kwargs);
    if (text_equals(name, "catch_varargs"))
        return value_bool(macro->node->uses_varargs);
    return value_missing();
}

/* Attributes in Python's sense: methods and data of the object, not keys. */
static struct value own_attribute(struct jinja *j, struct value object, const struct text *name)
{
    struct value *found;
    if (is_dunder(name) && object.kind != VALUE_NAMESPACE)
        return undefined_of(object, name, UNDEFINED_UNSAFE);
    switch (object.kind) {
    case VALUE_NAMESPACE:
        found = dict_find(j, object.dict, value_text(name));
        return found ? *found : value_missing();
    case VALUE_LOOP:
        return loop_attribute(j, object.loop, name);
    case VALUE_MACRO:
        return macro_attribute(j, object.macro, name);
    case VALUE_RANGE:
        if (text_equals(name, "start"))
            return value_int(object.range->start);
        if (text_equals(name, "stop"))
            return value_int(object.range->stop);
        if (text_equals(name, "step"))
            return value_int(object.range->step);
        break;
    case VALUE_TUPLE:
        if (object.detail && text_equals(name, "grouper"))
            return object.list->items[0];
        if (object.detail && text_equals(name, "list"))
            return object.list->items[1];
        break;
    case VALUE_CYCLER:
        if (text_equals(name, "current"))
            return object.cycler->items->items[object.cycler->position];
        break;
    default:
        break;
    }
    return method_find(j, object, name);
}

struct value value_attribute(struct jinja *j, struct value object, const struct text *name)
{
    if (value_is_undefined(object))
        value_fail_undefined(j, object);
    struct value own = own_attribute(j, object, name);
    if (own.kind != VALUE_MISSING)
        return own;
    if (object.kind == VALUE_DICT) {
        struct value *found = dict_find(j, object.dict, value_text(name));
        if (found)
            return *found;
    }
    return undefined_of(object, name, UNDEFINED_ATTRIBUTE);
}

static int64_t range_item(const struct range *range, int64_t index)
{
    return range->start + index * range->step;
}

/* object[index] alone; MISSING where Python raises a lookup or type error. */
static struct value own_item(struct jinja *j, struct value object, struct value index)
{
    int64_t at, length;
    if (object.kind == VALUE_DICT) {
        struct value *found = value_is_hashable(j, index) ? dict_find(j, object.dict, index) : NULL;
        return found ? *found : value_missing();
    }
    bool indexable = value_is_sequence_of_items(object) || object.kind == VALUE_TEXT ||
                     object.kind == VALUE_RANGE;
    if (!indexable || !number_as_int(index, &at) || !value_length(j, object, &length))
        return value_missing();
    if (at < 0)
        at += length;
    if (at < 0 || at >= length)
        return value_missing();
    if (object.kind == VALUE_TEXT)
        return value_text(text_slice_chars(j, object.text, (size_t)at, (size_t)at + 1));
    if (object.kind == VALUE_RANGE)
        return value_int(range_item(object.range, at));
    return object.list->items[at];
}

struct value value_item(struct jinja *j, struct value object, struct value index)
{
    if (value_is_undefined(object))
        value_fail_undefined(j, object);
    struct value item = own_item(j, object, index);
    if (item.kind != VALUE_MISSING)
        return item;
    if (index.kind != VALUE_TEXT)
        return undefined_of(object, NULL, UNDEFINED_ELEMENT);
    item = own_attribute(j, object, index.text);
    return item.kind != VALUE_MISSING ? item
                                      : undefined_of(object, index.text, UNDEFINED_ATTRIBUTE);
}

/* ---- slices ---- */

static bool slice_index(struct jinja *j, struct value v, int64_t *out)
{
    if (v.kind == VALUE_MISSING || v.kind == VALUE_NONE)
        return false;
    if (v.kind == VALUE_BIG)  // as good as the largest number
        *out = v.text->bytes[0] == '-' ? INT64_MIN : INT64_MAX;
    else if (!number_as_int(v, out))
        jinja_fail(j, ERR_INVALID, "slice indices must be integers or None");
    return true;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* Python's slice.indices(): start and step, and how many items. */
static int64_t slice_span(struct jinja *j, int64_t length, struct value from, struct value to,
                          struct value by, int64_t *start, int64_t *end, int64_t *step)
{
    int64_t stop;
    if (!slice_index(j, by, step))
        *step = 1;
    if (*step == 0)
        jinja_fail(j, ERR_INVALID, "slice step cannot be zero");
    if (*step == INT64_MIN)
        *step = -INT64_MAX;
    bool back = *step < 0;
    int64_t low = back ? -1 : 0, high = back ? length - 1 : length;
    if (!slice_index(j, from, start))
        *start = back ? high : low;
    else
        *start = clamp(*start < 0 ? *start + length : *start, low, high);
    if (!slice_index(j, to, &stop))
        stop = back ? low : high;
    else
        stop = clamp(stop < 0 ? stop + length : stop, low, high);
    *end = stop;
    if (back)
        return stop < *start ? (*start - stop - 1) / -*step + 1 : 0;
    return *start < stop ? (stop - *start - 1) / *step + 1 : 0;
}

static const struct text *text_stride(struct jinja *j, const struct text *text, int64_t start,
                                      int64_t step, int64_t n)
{
    if (step == 1 || n == 0)
        return text_slice_chars(j, text, (size_t)start, (size_t)(start + n));
    size_t *offsets = NULL;
    if (!text_is_ascii(text)) {  // byte offset of each character
        size_t chars = text_chars(text), at = 0;
        uint32_t c;
        offsets = jinja_alloc_array(j, chars + 1, sizeof *offsets);
        for (size_t i = 0; i < chars; i++) {
            offsets[i] = at;
            at += char_next(text->bytes + at, text->n_bytes - at, &c);
        }
        offsets[chars] = at;
    }
    struct text_builder b;
    builder_init(&b, j);
    for (int64_t i = 0; i < n; i++) {
        size_t at = (size_t)(start + i * step);
        builder_slice(&b, text, offsets ? offsets[at] : at, offsets ? offsets[at + 1] : at + 1);
    }
    return text_with_markup(j, builder_finish(&b), text->markup);
}

struct value value_slice(struct jinja *j, struct value object, struct value from, struct value to,
                         struct value by)
{
    int64_t length, start, stop, step;
    if (value_is_undefined(object))
        value_fail_undefined(j, object);
    bool sliceable = value_is_sequence_of_items(object) || object.kind == VALUE_TEXT ||
                     object.kind == VALUE_RANGE;
    if (!sliceable || !value_length(j, object, &length))
        jinja_fail(j, ERR_INVALID, "'%s' cannot be sliced", value_type_name(object));
    int64_t n = slice_span(j, length, from, to, by, &start, &stop, &step);
    if (object.kind == VALUE_TEXT)
        return value_text(text_stride(j, object.text, start, step, n));
    if (object.kind == VALUE_RANGE) {
        struct range *range = jinja_alloc(j, sizeof *range);
        const struct range *old = object.range;
        *range = (struct range){range_item(old, start), range_item(old, stop), 0, n};
        if (__builtin_mul_overflow(old->step, step, &range->step))
            jinja_fail(j, ERR_LIMIT, "an integer does not fit 64 bits");
        return (struct value){.kind = VALUE_RANGE, .range = range};
    }
    struct list *list = list_create(j, (size_t)n);
    jinja_step(j, (size_t)n * sizeof(struct value));
    for (int64_t i = 0; i < n; i++)
        list_append(j, list, object.list->items[start + i * step]);
    return object.kind == VALUE_TUPLE ? value_tuple(list) : value_list(list);
}

/* ---- arithmetic ---- */

static struct value add_lists(struct jinja *j, struct value a, struct value b)
{
    size_t n = (size_t)a.list->n_items + b.list->n_items;
    jinja_step(j, n * sizeof(struct value));
    struct list *list = list_create(j, n);
    if (a.list->n_items)
        memcpy(list->items, a.list->items, a.list->n_items * sizeof(struct value));
    if (b.list->n_items)
        memcpy(list->items + a.list->n_items, b.list->items,
               b.list->n_items * sizeof(struct value));
    list->n_items = (uint32_t)n;
    return a.kind == VALUE_TUPLE ? value_tuple(list) : value_list(list);
}

static struct value add_texts(struct jinja *j, const struct text *a, const struct text *b)
{
    if (!a->markup && !b->markup)
        return value_text(text_concat(j, a, b));
    const struct text *sum = text_concat(j, text_escape(j, a), text_escape(j, b));
    return value_text(text_with_markup(j, sum, true));
}

/* Sequence * integer, in either order; false when the operands are not of that kind. */
static bool repeat(struct jinja *j, struct value a, struct value b, struct value *out)
{
    int64_t count;
    if (number_as_int(a, &count)) {
        struct value swap = a;
        a = b;
        b = swap;
    }
    if (!number_as_int(b, &count))
        return false;
    if (a.kind == VALUE_TEXT) {
        *out = value_text(text_repeat(j, a.text, count));
        return true;
    }
    if (!value_is_sequence_of_items(a))
        return false;
    size_t n = a.list->n_items;
    if (n == 0 || count < 0)
        count = 0;
    if (count && (uint64_t)count > j->arena.bytes_max / sizeof(struct value) / n)
        jinja_fail(j, ERR_LIMIT, "a list repeated %lld times is too large", (long long)count);
    struct list *list = list_create(j, n * (size_t)count);
    jinja_step(j, n * (size_t)count * sizeof(struct value));
    for (int64_t i = 0; i < count; i++)
        memcpy(list->items + (size_t)i * n, a.list->items, n * sizeof(struct value));
    list->n_items = (uint32_t)(n * (size_t)count);
    *out = a.kind == VALUE_TUPLE ? value_tuple(list) : value_list(list);
    return true;
}

struct value value_binary(struct jinja *j, enum arithmetic op, struct value a, struct value b)
{
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    struct value out;
    if (op == ARITH_MOD && a.kind == VALUE_TEXT)
        return value_text(format_percent(j, a.text, b));
    if (value_is_undefined(a))
        value_fail_undefined(j, a);
    if (value_is_undefined(b))
        value_fail_undefined(j, b);
    if (value_is_number(a) && value_is_number(b))
        return number_arithmetic(j, op, a, b);
    if (op == ARITH_ADD && a.kind == VALUE_TEXT && b.kind == VALUE_TEXT)
        return add_texts(j, a.text, b.text);
    if (op == ARITH_ADD && a.kind == b.kind && value_is_sequence_of_items(a))
        return add_lists(j, a, b);
    if (op == ARITH_MUL && repeat(j, a, b, &out))
        return out;
    jinja_fail(j, ERR_INVALID, "unsupported operand types for %s: '%s' and '%s'", signs[op],
               value_type_name(a), value_type_name(b));
}

/* ---- in ---- */

static bool range_contains(const struct range *range, struct value item)
{
    int64_t i;
    if (item.kind == VALUE_FLOAT && item.real > -9e18 && item.real < 9e18 &&
        item.real == (double)(int64_t)item.real)
        item = value_int((int64_t)item.real);
    if (!number_as_int(item, &i) || range->n_items == 0)
        return false;
    int64_t last = range_item(range, range->n_items - 1);
    int64_t low = range->step > 0 ? range->start : last;
    int64_t high = range->step > 0 ? last : range->start;
    return i >= low && i <= high && (i - range->start) % range->step == 0;
}

static bool view_contains(struct jinja *j, struct value view, struct value item)
{
    if (view.detail == VIEW_KEYS)
        return dict_find(j, view.dict, item) != NULL;
    if (view.detail == VIEW_VALUES) {
        for (uint32_t i = 0; i < view.dict->n_entries; i++) {
            if (value_equal(j, view.dict->entries[i].value, item))
                return true;
        }
        return false;
    }
    if (item.kind != VALUE_TUPLE || item.list->n_items != 2)
        return false;
    struct value *found = dict_find(j, view.dict, item.list->items[0]);
    return found && value_equal(j, *found, item.list->items[1]);
}

bool value_contains(struct jinja *j, struct value container, struct value item)
{
    switch (container.kind) {
    case VALUE_TEXT:
        if (item.kind != VALUE_TEXT)
            jinja_fail(j, ERR_INVALID, "'in <string>' requires string as left operand, not %s",
                       value_type_name(item));
        jinja_step(j, container.text->n_bytes);
        return text_find(container.text, item.text, 0) != SIZE_MAX;
    case VALUE_DICT:
        return dict_find(j, container.dict, item) != NULL;
    case VALUE_RANGE:
        return range_contains(container.range, item);
    case VALUE_VIEW:
        return view_contains(j, container, item);
    default:
        break;
    }
    if (!value_is_iterable(container))
        jinja_fail(j, ERR_INVALID, "argument of type '%s' is not iterable",
                   value_type_name(container));
    struct iter *iter = iter_of(j, container);
    struct value each;
    while (iter_next(j, iter, &each)) {
        if (value_equal(j, each, item))
            return true;
    }
    return false;
}
