/* Shared by jinja_filters.c (text, numbers, the table) and jinja_filters_seq.c (sequences). */
#ifndef WICARA_TEMPLATE_JINJA_FILTERS_H
#define WICARA_TEMPLATE_JINJA_FILTERS_H

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_text.h"

/* `args` in the order of the table's parameters, MISSING for what was not given. */
typedef struct value filter_fn(struct jinja *j, struct value v, struct value *args);
/* For filters that pass arguments on. */
typedef struct value filter_raw_fn(struct jinja *j, struct value v, const struct call_args *args);

filter_fn filter_length, filter_first, filter_last, filter_list, filter_items, filter_join,
    filter_reverse, filter_sort, filter_dictsort, filter_unique, filter_min, filter_max, filter_sum,
    filter_batch, filter_slice, filter_groupby;
filter_raw_fn filter_map, filter_select, filter_reject, filter_selectattr, filter_rejectattr;

#endif
