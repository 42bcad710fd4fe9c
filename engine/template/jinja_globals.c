/* The global functions of a template: range, dict, namespace, raise_exception, strftime_now,
 * cycler, joiner. strftime_now() sees the time that the render was given, in UTC, so that the same
 * request gives the same prompt wherever and whenever it is rendered. */
#include <time.h>

#include "engine/template/jinja.h"
#include "engine/template/jinja_call.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_text.h"

struct function_info {
    const char *name;
    struct value (*call)(struct jinja *j, const struct call_args *args);
};

static struct value call_range(struct jinja *j, const struct call_args *args)
{
    if (args->n_keywords || args->n_positional < 1 || args->n_positional > 3)
        jinja_fail(j, ERR_INVALID, "range takes 1 to 3 numbers");
    int64_t given[3];
    for (size_t i = 0; i < args->n_positional; i++)
        given[i] = arg_int(j, args->positional[i], 0);
    struct range *range = jinja_alloc(j, sizeof *range);
    range->start = args->n_positional > 1 ? given[0] : 0;
    range->stop = args->n_positional > 1 ? given[1] : given[0];
    range->step = args->n_positional > 2 ? given[2] : 1;
    if (range->step == 0)
        jinja_fail(j, ERR_INVALID, "range() arg 3 must not be zero");
    __int128 gap = (__int128)range->stop - range->start;
    __int128 step = range->step;
    __int128 n = step > 0 ? (gap + step - 1) / step : (-gap - step - 1) / -step;
    if (step > 0 ? gap <= 0 : gap >= 0)
        n = 0;
    if (n > JINJA_RANGE_ITEMS_MAX)
        jinja_fail(j, ERR_LIMIT, "a range has more than %d items", JINJA_RANGE_ITEMS_MAX);
    range->n_items = (int64_t)n;
    struct value v = {.kind = VALUE_RANGE, .range = range};
    return v;
}

/* dict(mapping or pairs, **more) */
static struct dict *make_dict(struct jinja *j, const struct call_args *args)
{
    struct dict *dict = dict_create(j, args->n_keywords);
    if (args->n_positional > 1)
        jinja_fail(j, ERR_INVALID, "dict expected at most 1 argument");
    if (args->n_positional && args->positional[0].kind == VALUE_DICT) {
        const struct dict *from = args->positional[0].dict;
        for (uint32_t i = 0; i < from->n_entries; i++)
            dict_set(j, dict, from->entries[i].key, from->entries[i].value);
    } else if (args->n_positional) {
        struct iter *iter = iter_of(j, args->positional[0]);
        struct value pair;
        while (iter_next(j, iter, &pair)) {
            struct list *items = iter_collect(j, pair);
            if (items->n_items != 2)
                jinja_fail(j, ERR_INVALID, "dict expected pairs");
            dict_set(j, dict, items->items[0], items->items[1]);
        }
    }
    for (size_t i = 0; i < args->n_keywords; i++)
        dict_set(j, dict, value_text(args->keywords[i].name), args->keywords[i].value);
    return dict;
}

static struct value call_dict(struct jinja *j, const struct call_args *args)
{
    return value_dict(make_dict(j, args));
}

static struct value call_namespace(struct jinja *j, const struct call_args *args)
{
    struct dict *dict = make_dict(j, args);
    for (uint32_t i = 0; i < dict->n_entries; i++) {
        struct value key = dict->entries[i].key;
        if (key.kind == VALUE_TEXT && key.text->n_bytes && key.text->bytes[0] == '_')
            jinja_fail(j, ERR_INVALID, "a namespace cannot hold the name '%.*s'",
                       (int)key.text->n_bytes, key.text->bytes);
    }
    return (struct value){.kind = VALUE_NAMESPACE, .dict = dict};
}

static struct value call_raise(struct jinja *j, const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    call_bind(j, "raise_exception", "message", args, out);
    const struct text *message = format_str(j, out[0]);
    size_t shown = message->n_bytes;
    if (shown >= ERROR_TEXT_BYTES) {
        shown = ERROR_TEXT_BYTES - 1;
        while (shown > 0 && ((unsigned char)message->bytes[shown] & 0xc0) == 0x80)
            shown--;
    }
    jinja_fail(j, ERR_INVALID, "%.*s", (int)shown, message->bytes);
}

/* One conversion of strftime; what depends on a time zone is empty, as for a naive datetime. */
static void put_time(struct text_builder *b, const struct tm *tm, int64_t seconds, char c)
{
    char format[3] = {'%', c, 0}, out[64];
    switch (c) {
    case 'f':
        builder_literal(b, "000000");
        return;
    case 'z':
    case 'Z':
        return;
    case 's':
        builder_bytes(b, out, (size_t)snprintf(out, sizeof out, "%lld", (long long)seconds), false);
        return;
    case '%':
        builder_literal(b, "%");
        return;
    default:
        break;
    }
    if (!strchr("aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyY", c)) {
        builder_bytes(b, format, 2, false);
        return;
    }
    builder_bytes(b, out, strftime(out, sizeof out, format, tm), false);
}

static struct value call_strftime(struct jinja *j, const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    call_bind(j, "strftime_now", "format", args, out);
    const struct text *format = arg_text(j, out[0], false);
    struct tm tm;
    time_t seconds = (time_t)j->now_unix_s;
    if (!gmtime_r(&seconds, &tm))
        jinja_fail(j, ERR_INVALID, "the time is out of range");
    struct text_builder b;
    builder_init(&b, j);
    size_t plain = 0, at = 0;
    while (at < format->n_bytes) {
        if (format->bytes[at] != '%' || at + 1 >= format->n_bytes || !format->bytes[at + 1]) {
            at++;
            continue;
        }
        builder_slice(&b, format, plain, at);
        at++;
        if (format->bytes[at] == '-' && at + 1 < format->n_bytes) {  // glibc: no leading zero
            char number[64], with_flag[4] = {'%', '-', format->bytes[at + 1], 0};
            if (strchr("deHIjklmMSuUVwWyY", with_flag[2]) && with_flag[2]) {
                builder_bytes(&b, number, strftime(number, sizeof number, with_flag, &tm), false);
                at = plain = at + 2;
                continue;
            }
        }
        put_time(&b, &tm, j->now_unix_s, format->bytes[at]);
        at = plain = at + 1;
    }
    builder_slice(&b, format, plain, format->n_bytes);
    return value_text(builder_finish(&b));
}

static struct value call_cycler(struct jinja *j, const struct call_args *args)
{
    if (args->n_keywords || args->n_positional == 0)
        jinja_fail(j, ERR_INVALID, "cycler needs at least one item");
    struct cycler *cycler = jinja_alloc(j, sizeof *cycler);
    cycler->items = list_create(j, args->n_positional);
    for (size_t i = 0; i < args->n_positional; i++)
        list_append(j, cycler->items, args->positional[i]);
    return (struct value){.kind = VALUE_CYCLER, .cycler = cycler};
}

static struct value call_joiner(struct jinja *j, const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    call_bind(j, "joiner", "sep=", args, out);
    struct joiner *joiner = jinja_alloc(j, sizeof *joiner);
    joiner->separator =
        out[0].kind == VALUE_MISSING ? text_literal(j, ", ") : format_str(j, out[0]);
    return (struct value){.kind = VALUE_JOINER, .joiner = joiner};
}

static const struct function_info functions[] = {
    {"range", call_range},           {"dict", call_dict},
    {"namespace", call_namespace},   {"raise_exception", call_raise},
    {"strftime_now", call_strftime}, {"cycler", call_cycler},
    {"joiner", call_joiner},
};

bool global_is_unsupported(const char *name, size_t n_bytes)
{
    return n_bytes == 6 && memcmp(name, "lipsum", 6) == 0;
}

struct value global_find(const struct text *name)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (text_equals(name, functions[i].name))
            return (struct value){.kind = VALUE_FUNCTION, .function = &functions[i]};
    }
    return value_missing();
}

struct value function_call(struct jinja *j, const struct function_info *function,
                           const struct call_args *args)
{
    return function->call(j, args);
}
