/* The tests behind `is`; see jinja_call.h.
 *
 * A table of names and functions; an unknown name is found when the template is compiled, not when
 * the branch is reached. */
#include "engine/template/jinja_call.h"
#include "engine/template/jinja_casing.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_ops.h"

typedef bool test_fn(struct jinja *j, struct value v, struct value *args);

struct test_info {
    const char *name;
    test_fn *run;
    const char *parameters;
};

#define TEST(name) static bool is_##name(struct jinja *j, struct value v, struct value *args)
#define SIMPLE_TEST(name, result)                                                                  \
    TEST(name)                                                                                     \
    {                                                                                              \
        (void)j;                                                                                   \
        (void)args;                                                                                \
        return result;                                                                             \
    }

SIMPLE_TEST(defined, !value_is_undefined(v))
SIMPLE_TEST(undefined, value_is_undefined(v))
SIMPLE_TEST(none, v.kind == VALUE_NONE)
SIMPLE_TEST(boolean, v.kind == VALUE_BOOL)
SIMPLE_TEST(yes, v.kind == VALUE_BOOL && v.boolean)
SIMPLE_TEST(no, v.kind == VALUE_BOOL && !v.boolean)
SIMPLE_TEST(integer, v.kind == VALUE_INT || v.kind == VALUE_BIG)
SIMPLE_TEST(float, v.kind == VALUE_FLOAT)
SIMPLE_TEST(number, value_is_number(v))
SIMPLE_TEST(string, v.kind == VALUE_TEXT)
SIMPLE_TEST(mapping, v.kind == VALUE_DICT)
SIMPLE_TEST(iterable, value_is_iterable(v))
SIMPLE_TEST(callable, value_is_callable(v))
SIMPLE_TEST(escaped, v.kind == VALUE_TEXT && v.text->markup)
SIMPLE_TEST(sequence, v.kind == VALUE_TEXT || value_is_sequence_of_items(v) ||
                          v.kind == VALUE_DICT || v.kind == VALUE_RANGE ||
                          v.kind == VALUE_UNDEFINED)

TEST(lower)
{
    (void)args;
    const struct text *text = format_str(j, v);
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    return text_is_lower(text);
}
TEST(upper)
{
    (void)args;
    const struct text *text = format_str(j, v);
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    return text_is_upper(text);
}

/* v % by == 0 in Python's sense; strings format, so they are an error or unequal. */
static int64_t remainder_of(struct jinja *j, struct value v, struct value by)
{
    struct value rest = value_binary(j, ARITH_MOD, v, by);
    int64_t i;
    if (rest.kind == VALUE_FLOAT)
        return rest.real == 0 ? 0 : rest.real == 1 ? 1 : -1;
    return number_as_int(rest, &i) ? i : -1;
}

TEST(odd)
{
    (void)args;
    return remainder_of(j, v, value_int(2)) == 1;
}
TEST(even)
{
    (void)args;
    return remainder_of(j, v, value_int(2)) == 0;
}
TEST(divisibleby)
{
    return remainder_of(j, v, args[0]) == 0;
}
TEST(eq)
{
    return value_equal(j, v, args[0]);
}
TEST(ne)
{
    return !value_equal(j, v, args[0]);
}
TEST(lt)
{
    return value_order(j, v, args[0], "<") == -1;
}
TEST(gt)
{
    return value_order(j, v, args[0], ">") == 1;
}
TEST(le)
{
    return value_order(j, v, args[0], "<=") <= 0;
}
TEST(in)
{
    return value_contains(j, args[0], v);
}

TEST(ge)
{
    int order = value_order(j, v, args[0], ">=");
    return order == 0 || order == 1;
}

/* Identity: Python shares None, booleans and small integers. */
TEST(sameas)
{
    (void)j;
    struct value other = args[0];
    if (v.kind != other.kind)
        return false;
    switch (v.kind) {
    case VALUE_NONE:
        return true;
    case VALUE_BOOL:
        return v.boolean == other.boolean;
    case VALUE_INT:
        return v.integer == other.integer && v.integer >= -5 && v.integer <= 256;
    case VALUE_FLOAT:
    case VALUE_UNDEFINED:
        return false;
    default:
        return v.list == other.list;
    }
}

TEST(filter)
{
    (void)args;
    return v.kind == VALUE_TEXT &&
           (filter_find(v.text->bytes, v.text->n_bytes) ||
            filter_is_unsupported(v.text->bytes, v.text->n_bytes)) &&
           j != NULL;
}
TEST(test)
{
    (void)args;
    (void)j;
    return v.kind == VALUE_TEXT && test_find(v.text->bytes, v.text->n_bytes);
}

static const struct test_info tests[] = {
    {"defined", is_defined, ""},
    {"undefined", is_undefined, ""},
    {"none", is_none, ""},
    {"boolean", is_boolean, ""},
    {"true", is_yes, ""},
    {"false", is_no, ""},
    {"integer", is_integer, ""},
    {"float", is_float, ""},
    {"number", is_number, ""},
    {"string", is_string, ""},
    {"mapping", is_mapping, ""},
    {"sequence", is_sequence, ""},
    {"iterable", is_iterable, ""},
    {"callable", is_callable, ""},
    {"escaped", is_escaped, ""},
    {"lower", is_lower, ""},
    {"upper", is_upper, ""},
    {"odd", is_odd, ""},
    {"even", is_even, ""},
    {"divisibleby", is_divisibleby, "num"},
    {"sameas", is_sameas, "other"},
    {"in", is_in, "seq"},
    {"filter", is_filter, ""},
    {"test", is_test, ""},
    {"eq", is_eq, "/other"},
    {"==", is_eq, "/other"},
    {"equalto", is_eq, "/other"},
    {"ne", is_ne, "/other"},
    {"!=", is_ne, "/other"},
    {"lt", is_lt, "/other"},
    {"<", is_lt, "/other"},
    {"lessthan", is_lt, "/other"},
    {"le", is_le, "/other"},
    {"<=", is_le, "/other"},
    {"gt", is_gt, "/other"},
    {">", is_gt, "/other"},
    {"greaterthan", is_gt, "/other"},
    {"ge", is_ge, "/other"},
    {">=", is_ge, "/other"},
};

const struct test_info *test_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (strlen(tests[i].name) == n_bytes && memcmp(tests[i].name, name, n_bytes) == 0)
            return &tests[i];
    }
    return NULL;
}

bool test_apply(struct jinja *j, const struct test_info *test, struct value input,
                const struct call_args *args)
{
    struct value out[CALL_PARAMETERS_MAX];
    call_bind(j, test->name, test->parameters, args, out);
    return test->run(j, input, out);
}
