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

/* Inlined into one switch, the handlers of a tree walker would make every level of the C stack as
 * large as the largest of them. */
#define NOINLINE __attribute__((noinline))

void scope_bind(struct jinja *j, struct scope *scope, uint32_t name, struct value value);
/* A new scope within `parent`, with the names that `body` leaves unset; returns the one before. */
struct scope *scope_enter(struct jinja *j, struct scope *parent, const struct node *body);
struct value scope_lookup(struct jinja *j, uint32_t name);

struct value eval_node(struct jinja *j, const struct node *node);
/* The arguments in the arena, since generators keep them. `caller` (MISSING: none) is passed on by
 * a call block, behind the keywords that are written out and before **more. */
const struct call_args *eval_args_with(struct jinja *j, const struct node_call *call,
                                       struct value caller);
/* `block` is the text of the block for a filter chain without an input of its own. */
struct value eval_filter_chain(struct jinja *j, const struct node *node, const struct text *block);

void eval_template(struct jinja *j);
/* The filter of {% for ... if test %} on one item. */
bool eval_loop_test(struct jinja *j, struct loop *loop, struct value item);
struct value eval_macro(struct jinja *j, const struct macro *macro, const struct call_args *args);
/* {% for ... recursive %} again, over other items. */
struct value eval_recursive_loop(struct jinja *j, const struct loop *loop, struct value items);

#endif
