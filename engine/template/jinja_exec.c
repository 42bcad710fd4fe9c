/* Statements of the tree walker: output, captures, macros, loops; see jinja_eval.h.
 *
 * Statements write text to the innermost capture or to the output, which records the untrusted
 * spans. break and continue travel as return values, so that a capture on the way is left in
 * order. */
#include "engine/template/jinja.h"
#include "engine/template/jinja_eval.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_text.h"

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

static enum flow exec(struct jinja *j, const struct node *node);

/* ---- output ---- */

static void output_span(struct jinja *j, size_t first, size_t last)
{
    struct jinja_output *out = j->out;
    if (out->n_untrusted && out->untrusted[out->n_untrusted - 1].last == first) {
        out->untrusted[out->n_untrusted - 1].last = last;
        return;
    }
    if (out->n_untrusted == out->untrusted_capacity) {
        size_t capacity = out->untrusted_capacity ? out->untrusted_capacity * 2 : 32;
        struct text_span *spans = mem_realloc_array(out->untrusted, capacity, sizeof *spans);
        if (!spans)
            jinja_fail(j, ERR_MEMORY, "out of memory");
        out->untrusted = spans;
        out->untrusted_capacity = capacity;
    }
    out->untrusted[out->n_untrusted++] = (struct text_span){first, last};
}

static void output_text(struct jinja *j, const struct text *text)
{
    if (j->capture) {
        builder_text(j->capture, text);
        return;
    }
    jinja_step(j, text->n_bytes);
    size_t base = j->out->text.n_bytes;
    if (text->n_bytes > j->out->text.bytes_max - base)
        jinja_fail(j, ERR_LIMIT, "writes more than %zu bytes for this input",
                   j->out->text.bytes_max);
    if (!buf_append(&j->out->text, text->bytes, text->n_bytes))
        jinja_fail(j, ERR_MEMORY, "out of memory");
    struct text_run run = TEXT_RUN_START;
    while (text_next_run(text, &run)) {
        if (run.untrusted)
            output_span(j, base + run.first, base + run.last);
    }
}

/* Runs a body and returns what it writes. A break or continue leaves the capture and goes on. */
static const struct text *capture(struct jinja *j, const struct node *body, enum flow *flow)
{
    struct text_builder builder, *outer = j->capture;
    builder_init(&builder, j);
    j->capture = &builder;
    *flow = exec(j, body);
    j->capture = outer;
    return builder_finish(&builder);
}

/* ---- macros ---- */

static const struct keyword_arg *find_keyword(const struct call_args *args, const struct text *name)
{
    for (size_t i = 0; i < args->n_keywords; i++) {
        if (text_same(args->keywords[i].name, name))
            return &args->keywords[i];
    }
    return NULL;
}

/* Keyword arguments that are neither parameters nor the caller. */
static void bind_macro_kwargs(struct jinja *j, const struct node *node,
                              const struct call_args *args)
{
    struct dict *rest = dict_create(j, 4);
    for (size_t k = 0; k < args->n_keywords; k++) {
        const struct text *name = args->keywords[k].name;
        bool taken = node->uses_caller && text_equals(name, "caller");
        for (size_t i = 0; i < node->n_parameters; i++) {
            if (text_same(name, j->code->names[node->parameters[i].name]))
                taken = taken || i >= args->n_positional;
        }
        if (taken)
            continue;
        if (!node->uses_kwargs)
            jinja_fail(j, ERR_INVALID, "macro takes no keyword argument '%.*s'", (int)name->n_bytes,
                       name->bytes);
        dict_set(j, rest, value_text(name), args->keywords[k].value);
    }
    if (node->uses_kwargs)
        scope_bind(j, j->scope, NAME_KWARGS, value_dict(rest));
}

static void bind_macro_args(struct jinja *j, const struct node *node, const struct call_args *args)
{
    bool has_caller = false;
    jinja_step(j, node->n_parameters * args->n_keywords * 32);
    for (size_t i = 0; i < node->n_parameters; i++) {
        uint32_t name = node->parameters[i].name;
        struct value value = value_missing();
        const struct keyword_arg *keyword;
        if (i < args->n_positional)
            value = args->positional[i];
        else if ((keyword = find_keyword(args, j->code->names[name])))
            value = keyword->value;
        has_caller = has_caller || name == NAME_CALLER;
        scope_bind(j, j->scope, name, value);
    }
    if (node->uses_caller && !has_caller) {
        const struct keyword_arg *keyword = find_keyword(args, j->code->names[NAME_CALLER]);
        scope_bind(j, j->scope, NAME_CALLER,
                   keyword ? keyword->value : value_undefined_hint("no caller defined"));
    }
    bind_macro_kwargs(j, node, args);
    if (node->uses_varargs) {
        struct list *rest = list_create(j, 2);
        for (size_t i = node->n_parameters; i < args->n_positional; i++)
            list_append(j, rest, args->positional[i]);
        scope_bind(j, j->scope, NAME_VARARGS, value_tuple(rest));
    } else if (args->n_positional > node->n_parameters) {
        jinja_fail(j, ERR_INVALID, "macro takes not more than %zu arguments", node->n_parameters);
    }
    for (size_t i = 0; i < node->n_parameters; i++) {
        const struct node_parameter *parameter = &node->parameters[i];
        bool given =
            i < args->n_positional || find_keyword(args, j->code->names[parameter->name]) != NULL;
        if (given)
            continue;
        scope_bind(j, j->scope, parameter->name,
                   parameter->default_value ? eval_node(j, parameter->default_value)
                                            : value_undefined_hint("a parameter was not provided"));
    }
}

static void call_enter(struct jinja *j)
{
    if (++j->call_depth > JINJA_CALL_DEPTH_MAX)
        jinja_fail(j, ERR_LIMIT, "more than %d calls within each other", JINJA_CALL_DEPTH_MAX);
}

struct value eval_macro(struct jinja *j, const struct macro *macro, const struct call_args *args)
{
    call_enter(j);
    struct scope *outer = scope_enter(j, macro->scope, macro->node->body);
    bind_macro_args(j, macro->node, args);
    enum flow flow;
    const struct text *text = capture(j, macro->node->body, &flow);
    j->scope = outer;
    j->call_depth--;
    return value_text(text);
}

/* ---- statements ---- */

static void assign(struct jinja *j, struct scope *scope, const struct node *target,
                   struct value value)
{
    if (target->kind == EXPR_NAME) {
        scope_bind(j, scope, target->name, value);
        return;
    }
    j->line = target->line;
    if (target->kind == EXPR_NSREF) {
        struct value space = scope_lookup(j, target->name);
        const struct text *name = target->value.text;
        if (space.kind != VALUE_NAMESPACE)
            jinja_fail(j, ERR_INVALID, "cannot assign attribute on non-namespace object");
        if (name->n_bytes && name->bytes[0] == '_')
            jinja_fail(j, ERR_INVALID, "a namespace cannot hold the name '%.*s'",
                       (int)name->n_bytes, name->bytes);
        dict_set(j, space.dict, value_text(name), value);
        return;
    }
    struct list *items = iter_collect(j, value);
    if (items->n_items != target->n_items)
        jinja_fail(j, ERR_INVALID, "cannot unpack %u values into %zu names", items->n_items,
                   target->n_items);
    for (size_t i = 0; i < target->n_items; i++)
        assign(j, scope, target->items[i], items->items[i]);
}

/* jinja2 checks the namespaces of all targets before it evaluates the value. */
static void check_namespaces(struct jinja *j, const struct node *target)
{
    if (target->kind == EXPR_NSREF && scope_lookup(j, target->name).kind != VALUE_NAMESPACE) {
        j->line = target->line;
        jinja_fail(j, ERR_INVALID, "cannot assign attribute on non-namespace object");
    }
    for (size_t i = 0; i < target->n_items; i++)
        check_namespaces(j, target->items[i]);
}

bool eval_loop_test(struct jinja *j, struct loop *loop, struct value item)
{
    struct scope *outer = j->scope;
    struct scope scope = {.parent = loop->scope};
    j->scope = &scope;
    assign(j, &scope, loop->target, item);
    bool passes = value_truth(j, eval_node(j, loop->test));
    j->scope = outer;
    return passes;
}

static NOINLINE enum flow exec_body(struct jinja *j, const struct node *body)
{
    for (size_t i = 0; i < body->n_items; i++) {
        enum flow flow = exec(j, body->items[i]);
        if (flow != FLOW_NEXT)
            return flow;
    }
    return FLOW_NEXT;
}

static enum flow exec_round(struct jinja *j, const struct node *node, struct value loop,
                            struct value item)
{
    j->scope->n_bindings = 0;
    for (size_t i = 0; i < node->body->n_unset; i++)
        scope_bind(j, j->scope, node->body->unset[i], value_missing());
    scope_bind(j, j->scope, NAME_LOOP, loop);
    assign(j, j->scope, node->a, item);
    return exec(j, node->body);
}

static enum flow exec_loop(struct jinja *j, const struct node *node, struct value items,
                           uint32_t depth0)
{
    struct loop *loop = jinja_alloc(j, sizeof *loop);
    *loop = (struct loop){.iter = iter_of(j, items),
                          .source = items,
                          .index0 = -1,
                          .n_items = -1,
                          .test = node->c,
                          .target = node->a,
                          .scope = j->scope,
                          .depth0 = depth0,
                          .recursive = node->recursive ? node : NULL};
    if (node->c)
        loop->source = value_missing();
    struct value item, self = {.kind = VALUE_LOOP, .loop = loop};
    struct scope *outer = scope_enter(j, j->scope, node->body);
    bool completed = false;
    enum flow flow = FLOW_NEXT;
    while (flow != FLOW_BREAK && loop_next(j, loop, &item)) {
        if (node->keeps_scope) {
            j->scope = outer;
            scope_enter(j, outer, node->body);
        }
        flow = exec_round(j, node, self, item);
        completed = completed || flow == FLOW_NEXT;
    }
    j->scope = outer;
    if (completed || !node->other)
        return FLOW_NEXT;
    /* jinja2 notes at the end of the body that there was a round, so the else part also runs when
     * every round was broken off or continued. */
    scope_enter(j, outer, node->other);
    flow = exec(j, node->other);
    j->scope = outer;
    return flow;
}

static NOINLINE enum flow exec_for(struct jinja *j, const struct node *node)
{
    struct value items = eval_node(j, node->b);
    j->line = node->line;
    return exec_loop(j, node, items, 0);
}

struct value eval_recursive_loop(struct jinja *j, const struct loop *loop, struct value items)
{
    call_enter(j);
    struct text_builder builder, *outer = j->capture;
    struct scope *scope = j->scope;
    builder_init(&builder, j);
    j->capture = &builder;
    j->scope = loop->scope;
    exec_loop(j, loop->recursive, items, loop->depth0 + 1);
    j->scope = scope;
    j->capture = outer;
    j->call_depth--;
    return value_text(builder_finish(&builder));
}

static NOINLINE enum flow exec_if(struct jinja *j, const struct node *node)
{
    for (size_t i = 0; i < node->n_items; i += 2) {
        if (value_truth(j, eval_node(j, node->items[i])))
            return exec(j, node->items[i + 1]);
    }
    return node->c ? exec(j, node->c) : FLOW_NEXT;
}

static NOINLINE enum flow exec_output(struct jinja *j, const struct node *node)
{
    for (size_t i = 0; i < node->n_items; i++) {
        const struct node *item = node->items[i];
        struct value v = eval_node(j, item);
        j->line = item->line;
        output_text(j, v.kind == VALUE_TEXT ? v.text : format_str(j, v));
    }
    return FLOW_NEXT;
}

static NOINLINE enum flow exec_capture(struct jinja *j, const struct node *node)
{
    enum flow flow;
    struct scope *outer = scope_enter(j, j->scope, node->body);
    const struct text *text = capture(j, node->body, &flow);
    struct value v = value_text(text);
    if (flow == FLOW_NEXT && node->b)
        v = eval_filter_chain(j, node->b, text);
    j->scope = outer;
    if (flow != FLOW_NEXT)
        return flow;
    if (node->kind == STMT_SET_BLOCK)
        assign(j, j->scope, node->a, v);
    else
        output_text(j, format_str(j, v));
    return FLOW_NEXT;
}

static struct value make_macro(struct jinja *j, const struct node *node)
{
    struct macro *macro = jinja_alloc(j, sizeof *macro);
    *macro = (struct macro){node, j->scope};
    return (struct value){.kind = VALUE_MACRO, .macro = macro};
}

static NOINLINE enum flow exec_call(struct jinja *j, const struct node *node)
{
    struct value callee = eval_node(j, node->a->a);
    const struct call_args *args = eval_args_with(j, node->a->call, make_macro(j, node));
    j->line = node->line;
    output_text(j, format_str(j, call_value(j, callee, args)));
    return FLOW_NEXT;
}

static NOINLINE enum flow exec_with(struct jinja *j, const struct node *node)
{
    struct scope *outer = scope_enter(j, j->scope, node->body);
    struct scope *inner = j->scope;
    for (size_t i = 0; i < node->n_items; i += 2) {
        j->scope = outer;
        struct value v = eval_node(j, node->items[i + 1]);
        assign(j, inner, node->items[i], v);
    }
    j->scope = inner;
    enum flow flow = exec(j, node->body);
    j->scope = outer;
    return flow;
}

static enum flow exec_kind(struct jinja *j, const struct node *node)
{
    struct scope *outer;
    switch (node->kind) {
    case STMT_BODY:
        return exec_body(j, node);
    case STMT_OUTPUT:
        return exec_output(j, node);
    case STMT_IF:
        return exec_if(j, node);
    case STMT_FOR:
        return exec_for(j, node);
    case STMT_SET:
        check_namespaces(j, node->a);
        assign(j, j->scope, node->a, eval_node(j, node->b));
        return FLOW_NEXT;
    case STMT_SET_BLOCK:
    case STMT_FILTER:
        return exec_capture(j, node);
    case STMT_MACRO:
        scope_bind(j, j->scope, node->name, make_macro(j, node));
        return FLOW_NEXT;
    case STMT_CALL:
        return exec_call(j, node);
    case STMT_WITH:
        return exec_with(j, node);
    case STMT_SCOPE:
        outer = scope_enter(j, j->scope, node->body);
        exec(j, node->body);
        j->scope = outer;
        return FLOW_NEXT;
    case STMT_BREAK:
        return FLOW_BREAK;
    default:
        return FLOW_CONTINUE;
    }
}

static enum flow exec(struct jinja *j, const struct node *node)
{
    jinja_step(j, 0);
    eval_enter(j);
    enum flow flow = exec_kind(j, node);
    eval_leave(j);
    return flow;
}

void eval_template(struct jinja *j)
{
    scope_enter(j, NULL, j->code->root);
    exec(j, j->code->root);
}
