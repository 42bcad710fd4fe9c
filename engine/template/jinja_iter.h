/* Iteration as Python does it: lazily, live on lists, once for generators. */
#ifndef WICARA_TEMPLATE_JINJA_ITER_H
#define WICARA_TEMPLATE_JINJA_ITER_H

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_value.h"

/* iter(v); fails for a value that is not iterable. A generator is its own iterator. */
struct iter *iter_of(struct jinja *j, struct value v);
bool value_is_iterable(struct value v);
/* False at the end. */
bool iter_next(struct jinja *j, struct iter *iter, struct value *out);
/* All the rest as a new list. */
struct list *iter_collect(struct jinja *j, struct value v);
/* reversed(v) as an iterator, or NULL when the value cannot be reversed. */
struct iter *iter_reversed(struct jinja *j, struct value v);

/* Generators of the filters. `args` are copied by reference and must live in the arena. */
struct iter *iter_map(struct jinja *j, struct value source, const struct filter_info *filter,
                      const struct call_args *args);
struct iter *iter_map_attribute(struct jinja *j, struct value source, struct value attribute,
                                struct value default_value);
/* test NULL: truth. attribute MISSING: the item itself. */
struct iter *iter_select(struct jinja *j, struct value source, struct value attribute,
                         const struct test_info *test, const struct call_args *args, bool keep);
struct iter *iter_unique(struct jinja *j, struct value source, bool case_sensitive,
                         struct value attribute);
struct iter *iter_batch(struct jinja *j, struct value source, int64_t size, struct value fill);

/* The path of map(attribute="a.b.0"): each part looked up as obj[part]. */
struct value attribute_path_get(struct jinja *j, struct value item, struct value path,
                                struct value default_value);
/* Lower-cased when it is a string: how sort and unique compare without case. */
struct value ignore_case(struct jinja *j, struct value v);

/* `loop`: its own iterator with one item of look-ahead. */
struct loop {
    struct iter *iter;
    struct value source;  // MISSING: filtered, so without a length
    struct value current, before, after, changed;
    int64_t index0;
    int64_t n_items;    // -1 = unknown
    struct list *rest;  // items that were collected to count them
    uint32_t rest_at;
    uint32_t depth0;
    const struct node *recursive;  // the STMT_FOR to call again, or NULL
    const struct node *test;       // {% for ... if test %}
    const struct node *target;
    struct scope *scope;  // where the loop stands
};
bool loop_next(struct jinja *j, struct loop *loop, struct value *item);
int64_t loop_length(struct jinja *j, struct loop *loop);
/* loop.index and so on; MISSING when there is no such attribute. */
struct value loop_attribute(struct jinja *j, struct loop *loop, const struct text *name);

#endif
