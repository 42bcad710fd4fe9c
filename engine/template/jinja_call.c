/* Arguments and calls; see jinja_call.h.
 *
 * Positional and keyword arguments are matched by one routine for filters, tests, methods and
 * macros, with Python's rules and messages. */
#include "engine/template/jinja_call.h"

#include "engine/template/jinja.h"
#include "engine/template/jinja_eval.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_text.h"

/* The next name of a parameter list; false at its end. */
static bool next_parameter(const char **list, const char **name, size_t *n, bool *optional)
{
    while (**list == ' ')
        (*list)++;
    if (!**list)
        return false;
    *name = *list;
    *n = strcspn(*list, " =");
    *list += *n;
    *optional = **list == '=';
    *list += *optional;
    return true;
}

void call_bind(struct jinja *j, const char *function, const char *parameters,
               const struct call_args *args, struct value out[CALL_PARAMETERS_MAX])
{
    bool positional_only = parameters[0] == '/', optional;
    const char *list = parameters + positional_only, *name;
    size_t n, count = 0, used = 0;
    jinja_step(j, args->n_keywords * 64);
    for (; next_parameter(&list, &name, &n, &optional); count++) {
        out[count] = value_missing();
        const struct keyword_arg *given = NULL;
        for (size_t i = 0; i < args->n_keywords && !positional_only; i++) {
            const struct text *word = args->keywords[i].name;
            if (word->n_bytes == n && memcmp(word->bytes, name, n) == 0)
                given = &args->keywords[i];
        }
        if (given && count < args->n_positional)
            jinja_fail(j, ERR_INVALID, "%s got two values for '%.*s'", function, (int)n, name);
        if (given) {
            out[count] = given->value;
            used++;
        } else if (count < args->n_positional) {
            out[count] = args->positional[count];
        } else if (!optional) {
            jinja_fail(j, ERR_INVALID, "%s lacks the argument '%.*s'", function, (int)n, name);
        }
    }
    if (args->n_positional > count)
        jinja_fail(j, ERR_INVALID, "%s takes at most %zu arguments", function, count);
    if (used != args->n_keywords)
        jinja_fail(j, ERR_INVALID, "%s got an unexpected keyword argument", function);
}

int64_t arg_int(struct jinja *j, struct value v, int64_t default_value)
{
    int64_t i;
    if (v.kind == VALUE_MISSING)
        return default_value;
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    if (v.kind == VALUE_BIG)
        return v.text->bytes[0] == '-' ? INT64_MIN : INT64_MAX;
    if (!number_as_int(v, &i))
        jinja_fail(j, ERR_INVALID, "'%s' object cannot be interpreted as an integer",
                   value_type_name(v));
    return i;
}

bool arg_bool(struct jinja *j, struct value v, bool default_value)
{
    return v.kind == VALUE_MISSING ? default_value : value_truth(j, v);
}

const struct text *arg_text(struct jinja *j, struct value v, bool optional)
{
    if (optional && (v.kind == VALUE_MISSING || v.kind == VALUE_NONE))
        return NULL;
    if (v.kind != VALUE_TEXT)
        jinja_fail(j, ERR_INVALID, "a string is expected, not '%s'", value_type_name(v));
    return v.text;
}

static struct value call_joiner(struct joiner *joiner)
{
    bool used = joiner->used;
    joiner->used = true;
    return value_text(used ? joiner->separator : &text_empty);
}

bool value_is_callable(struct value v)
{
    return v.kind == VALUE_MACRO || v.kind == VALUE_METHOD || v.kind == VALUE_FUNCTION ||
           v.kind == VALUE_LOOP || v.kind == VALUE_JOINER || v.kind == VALUE_UNDEFINED;
}

struct value call_value(struct jinja *j, struct value callee, const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    switch (callee.kind) {
    case VALUE_UNDEFINED:
        value_fail_undefined(j, callee);
    case VALUE_MACRO:
        return eval_macro(j, callee.macro, args);
    case VALUE_METHOD:
        return method_call(j, callee.method, args);
    case VALUE_FUNCTION:
        return function_call(j, callee.function, args);
    case VALUE_JOINER:
        call_bind(j, "joiner", "", args, out);
        return call_joiner(callee.joiner);
    case VALUE_LOOP:
        call_bind(j, "loop", "iterable", args, out);
        if (!callee.loop->recursive)
            jinja_fail(j, ERR_INVALID, "the loop must have the 'recursive' marker to be called");
        return eval_recursive_loop(j, callee.loop, out[0]);
    default:
        jinja_fail(j, ERR_INVALID, "'%s' object is not callable", value_type_name(callee));
    }
}
