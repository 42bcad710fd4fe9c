/* Walking the tree. */
#ifndef WICARA_TEMPLATE_JINJA_EVAL_H
#define WICARA_TEMPLATE_JINJA_EVAL_H

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_iter.h"
#include "engine/template/jinja_node.h"

struct binding {
    uint32_t name;
    struct value value;  // MISSING: this frame's own, not set yet
};
struct scope {
    struct scope *parent;
    struct binding *bindings;
    uint32_t n_bindings, capacity;
};

/* One more evaluation on the C stack; fails past JINJA_EVAL_DEPTH_MAX. */
void eval_enter(struct jinja *j);
static inline void eval_leave(struct jinja *j)
{
    j->eval_depth--;
}

void eval_template(struct jinja *j);
/* The filter of {% for ... if test %} on one item. */
bool eval_loop_test(struct jinja *j, struct loop *loop, struct value item);
struct value eval_macro(struct jinja *j, const struct macro *macro, const struct call_args *args);
/* {% for ... recursive %} again, over other items. */
struct value eval_recursive_loop(struct jinja *j, const struct loop *loop, struct value items);

#endif
