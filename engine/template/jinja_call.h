/* Arguments of filters, tests, methods, functions and macros. */
#ifndef WICARA_TEMPLATE_JINJA_CALL_H
#define WICARA_TEMPLATE_JINJA_CALL_H

#include "engine/template/jinja_value.h"

struct keyword_arg {
    const struct text *name;
    struct value value;
};
struct call_args {
    struct value *positional;
    size_t n_positional;
    struct keyword_arg *keywords;
    size_t n_keywords;
};

enum { CALL_PARAMETERS_MAX = 6 };

/* Puts the arguments into `out` in the order of `parameters` ("width first=": names separated by a
 * space; a leading '/' makes all positional-only; a trailing '=' makes one optional). What is not
 * given is VALUE_MISSING. Fails as Python does for unknown, missing or surplus arguments. */
void call_bind(struct jinja *j, const char *function, const char *parameters,
               const struct call_args *args, struct value out[CALL_PARAMETERS_MAX]);

/* One argument as a type; what is missing gives the default, another type fails. */
int64_t arg_int(struct jinja *j, struct value v, int64_t default_value);
bool arg_bool(struct jinja *j, struct value v, bool default_value);
/* NULL for MISSING and None when `optional`. */
const struct text *arg_text(struct jinja *j, struct value v, bool optional);

/* Calls a value: macro, method, function, recursive loop. */
struct value call_value(struct jinja *j, struct value callee, const struct call_args *args);
bool value_is_callable(struct value v);

/* Filters, tests and methods by name; NULL when there is none. */
struct filter_info;
struct test_info;
const struct filter_info *filter_find(const char *name, size_t n_bytes);
const struct test_info *test_find(const char *name, size_t n_bytes);
/* True for names that jinja2 has and this interpreter has not. */
bool filter_is_unsupported(const char *name, size_t n_bytes);
bool global_is_unsupported(const char *name, size_t n_bytes);
bool method_is_unsupported(const char *name, size_t n_bytes);
struct value filter_apply(struct jinja *j, const struct filter_info *filter, struct value input,
                          const struct call_args *args);
bool test_apply(struct jinja *j, const struct test_info *test, struct value input,
                const struct call_args *args);

/* MISSING when the value has no such method. */
struct value method_find(struct jinja *j, struct value self, const struct text *name);
const char *method_name(const struct bound_method *method);
struct value method_call(struct jinja *j, struct bound_method *method,
                         const struct call_args *args);

struct value global_find(const struct text *name);  // MISSING when there is none
struct value function_call(struct jinja *j, const struct function_info *function,
                           const struct call_args *args);

#endif
