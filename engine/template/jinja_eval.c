/* The tree walker: expressions and statements; see jinja_eval.h.
 *
 * Expressions give values, statements write text to the innermost capture or to the output. Scopes
 * are short lists of bindings, searched outwards; then come the variables of the render, then the
 * globals. {% if %} opens no scope, loops open one a round, macros see the scope they stand in.
 *
 * Depth is bounded twice: calls (macros, recursive loops) by JINJA_CALL_DEPTH_MAX and evaluations
 * on the C stack by JINJA_EVAL_DEPTH_MAX, so frames here are kept small. */
#include "engine/template/jinja_eval.h"

#include "engine/template/jinja.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_text.h"

/* Inlined into one switch, the handlers would make every level as large as the largest. */
#define NOINLINE __attribute__((noinline))

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

static struct value eval(struct jinja *j, const struct node *node);
static enum flow exec(struct jinja *j, const struct node *node);

void eval_enter(struct jinja *j)
{
    if (++j->eval_depth > JINJA_EVAL_DEPTH_MAX)
        jinja_fail(j, ERR_LIMIT, "more than %d evaluations within each other",
                   JINJA_EVAL_DEPTH_MAX);
}

/* ---- scopes ---- */

static void scope_bind(struct jinja *j, struct scope *scope, uint32_t name, struct value value)
{
    if (scope->n_bindings > 16)
        jinja_step(j, scope->n_bindings * sizeof(struct binding) / 4);
    for (uint32_t i = 0; i < scope->n_bindings; i++) {
        if (scope->bindings[i].name == name) {
            scope->bindings[i].value = value;
            return;
        }
    }
    if (scope->n_bindings == scope->capacity) {
        size_t capacity = scope->capacity ? (size_t)scope->capacity * 2 : 4;
        struct binding *bindings = jinja_alloc_array(j, capacity, sizeof *bindings);
        if (scope->n_bindings)
            memcpy(bindings, scope->bindings, scope->n_bindings * sizeof *bindings);
        scope->bindings = bindings;
        scope->capacity = (uint32_t)capacity;
    }
    scope->bindings[scope->n_bindings++] = (struct binding){name, value};
}

/* A new scope within the present one; returns the present one. */
static struct scope *scope_enter(struct jinja *j, struct scope *parent, const struct node *body)
{
    struct scope *outer = j->scope;
    j->scope = jinja_alloc(j, sizeof *j->scope);
    j->scope->parent = parent;
    for (size_t i = 0; i < body->n_unset; i++)
        scope_bind(j, j->scope, body->unset[i], value_missing());
    return outer;
}

static struct value lookup(struct jinja *j, uint32_t name)
{
    const struct text *text = j->code->names[name];
    for (const struct scope *scope = j->scope; scope; scope = scope->parent) {
        if (scope->n_bindings > 16)  // long searches cost more
            jinja_step(j, scope->n_bindings * sizeof(struct binding) / 4);
        for (uint32_t i = 0; i < scope->n_bindings; i++) {
            if (scope->bindings[i].name != name)
                continue;
            if (scope->bindings[i].value.kind != VALUE_MISSING)
                return scope->bindings[i].value;
            goto undefined;
        }
    }
    struct value *found = dict_find(j, j->variables, value_text(text));
    if (found)
        return *found;
    if (j->code->globals[name].kind != VALUE_MISSING)
        return j->code->globals[name];
undefined:
    return (struct value){.kind = VALUE_UNDEFINED, .detail = UNDEFINED_NAME, .text = text};
}

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

/* ---- calls ---- */

static void spread_star(struct jinja *j, struct value v, struct list *positional)
{
    struct iter *iter = iter_of(j, v);
    struct value item;
    while (iter_next(j, iter, &item))
        list_append(j, positional, item);
}

static void spread_star_star(struct jinja *j, struct value v, struct call_args *args)
{
    if (v.kind != VALUE_DICT)
        jinja_fail(j, ERR_INVALID, "argument after ** must be a mapping, not %s",
                   value_type_name(v));
    struct keyword_arg *keywords =
        jinja_alloc_array(j, args->n_keywords + v.dict->n_entries + 1, sizeof *keywords);
    if (args->n_keywords)
        memcpy(keywords, args->keywords, args->n_keywords * sizeof *keywords);
    for (uint32_t i = 0; i < v.dict->n_entries; i++) {
        const struct dict_entry *entry = &v.dict->entries[i];
        jinja_step(j, args->n_keywords * 16);
        if (entry->key.kind != VALUE_TEXT)
            jinja_fail(j, ERR_INVALID, "keywords must be strings");
        for (size_t k = 0; k < args->n_keywords; k++) {
            if (text_same(args->keywords[k].name, entry->key.text))
                jinja_fail(j, ERR_INVALID, "keyword argument '%.*s' is given twice",
                           (int)entry->key.text->n_bytes, entry->key.text->bytes);
        }
        keywords[args->n_keywords + i] = (struct keyword_arg){entry->key.text, entry->value};
    }
    args->keywords = keywords;
    args->n_keywords += v.dict->n_entries;
}

/* The arguments in the arena, since generators keep them. `caller` (MISSING: none) is passed on by
 * a call block, behind the keywords that are written out and before **more. */
static const struct call_args *eval_args_with(struct jinja *j, const struct node_call *call,
                                              struct value caller)
{
    struct call_args *args = jinja_alloc(j, sizeof *args);
    struct list *positional = list_create(j, call->n_positional);
    for (size_t i = 0; i < call->n_positional; i++)
        list_append(j, positional, eval(j, call->positional[i]));
    args->keywords = jinja_alloc_array(j, call->n_keywords + 1, sizeof *args->keywords);
    if (call->star)
        spread_star(j, eval(j, call->star), positional);
    for (size_t i = 0; i < call->n_keywords; i++)
        args->keywords[i] =
            (struct keyword_arg){call->keywords[i].name, eval(j, call->keywords[i].value)};
    args->n_keywords = call->n_keywords;
    if (caller.kind != VALUE_MISSING)
        args->keywords[args->n_keywords++] =
            (struct keyword_arg){j->code->names[NAME_CALLER], caller};
    if (call->star_star)
        spread_star_star(j, eval(j, call->star_star), args);
    args->positional = positional->items;
    args->n_positional = positional->n_items;
    return args;
}

static const struct call_args *eval_args(struct jinja *j, const struct node_call *call)
{
    static const struct call_args none;
    return call ? eval_args_with(j, call, value_missing()) : &none;
}

static NOINLINE struct value eval_call(struct jinja *j, const struct node *node)
{
    struct value callee = eval(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return call_value(j, callee, args);
}

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
                   parameter->default_value ? eval(j, parameter->default_value)
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

/* ---- expressions ---- */

static NOINLINE struct value eval_items(struct jinja *j, const struct node *node)
{
    struct list *list = list_create(j, node->n_items);
    for (size_t i = 0; i < node->n_items; i++)
        list_append(j, list, eval(j, node->items[i]));
    return node->kind == EXPR_TUPLE ? value_tuple(list) : value_list(list);
}

static NOINLINE struct value eval_dict(struct jinja *j, const struct node *node)
{
    struct dict *dict = dict_create(j, node->n_items / 2);
    for (size_t i = 0; i < node->n_items; i += 2) {
        struct value key = eval(j, node->items[i]);
        struct value item = eval(j, node->items[i + 1]);
        j->line = node->line;
        dict_set(j, dict, key, item);
    }
    return value_dict(dict);
}

static NOINLINE struct value eval_junction(struct jinja *j, const struct node *node)
{
    struct value v = value_none();
    for (size_t i = 0; i < node->n_items; i++) {
        v = eval(j, node->items[i]);
        if (i + 1 < node->n_items && value_truth(j, v) == (node->kind == EXPR_OR))
            break;
    }
    return v;
}

static bool compare(struct jinja *j, enum compare_op op, struct value a, struct value b)
{
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    switch (op) {
    case COMPARE_EQ:
        return value_equal(j, a, b);
    case COMPARE_NE:
        return !value_equal(j, a, b);
    case COMPARE_IN:
        return value_contains(j, b, a);
    case COMPARE_NOT_IN:
        return !value_contains(j, b, a);
    default:
        break;
    }
    int order = value_order(j, a, b, signs[op]);
    if (order == 2)
        return false;
    return op == COMPARE_LT   ? order < 0
           : op == COMPARE_LE ? order <= 0
           : op == COMPARE_GT ? order > 0
                              : order >= 0;
}

static NOINLINE struct value eval_compare(struct jinja *j, const struct node *node)
{
    struct value left = eval(j, node->a);
    for (size_t i = 0; i < node->n_items; i++) {
        struct value right = eval(j, node->items[i]);
        j->line = node->line;
        if (!compare(j, node->ops[i], left, right))
            return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static NOINLINE struct value eval_binary(struct jinja *j, const struct node *node)
{
    static const enum arithmetic ops[] = {
        [TOKEN_ADD] = ARITH_ADD,           [TOKEN_SUB] = ARITH_SUB, [TOKEN_MUL] = ARITH_MUL,
        [TOKEN_DIV] = ARITH_DIV,           [TOKEN_MOD] = ARITH_MOD, [TOKEN_POW] = ARITH_POW,
        [TOKEN_FLOORDIV] = ARITH_FLOORDIV,
    };
    struct value left = eval(j, node->a);
    for (size_t i = 0; i < node->n_items; i++) {
        struct value right = eval(j, node->items[i]);
        j->line = node->line;
        left = value_binary(j, ops[node->ops[i]], left, right);
    }
    return left;
}

static NOINLINE struct value eval_concat(struct jinja *j, const struct node *node)
{
    const struct text *left = format_str(j, eval(j, node->items[0]));
    for (size_t i = 1; i < node->n_items; i++)
        left = text_concat(j, left, format_str(j, eval(j, node->items[i])));
    return value_text(text_with_markup(j, left, false));
}

static NOINLINE struct value eval_sign(struct jinja *j, const struct node *node)
{
    struct value v = eval(j, node->a);
    j->line = node->line;
    if (value_is_undefined(v))
        value_fail_undefined(j, v);
    if (!value_is_number(v))
        jinja_fail(j, ERR_INVALID, "bad operand type for unary %c: '%s'",
                   node->kind == EXPR_NEGATE ? '-' : '+', value_type_name(v));
    if (node->kind == EXPR_NEGATE)
        return number_negate(j, v);
    if (v.kind == VALUE_BOOL)
        v = (struct value){.kind = VALUE_INT, .untrusted = v.untrusted, .integer = v.boolean};
    return v;
}

static NOINLINE struct value eval_slice(struct jinja *j, const struct node *node)
{
    struct value object = eval(j, node->a);
    struct value start = node->b ? eval(j, node->b) : value_missing();
    struct value stop = node->c ? eval(j, node->c) : value_missing();
    struct value step = node->d ? eval(j, node->d) : value_missing();
    j->line = node->line;
    return value_slice(j, object, start, stop, step);
}

/* `block` is the text of the block for a filter chain without an input of its own. */
static struct value eval_filter(struct jinja *j, const struct node *node, const struct text *block)
{
    struct value input;
    if (!node->a)
        input = value_text(block ? block : &text_empty);
    else if (node->a->kind == EXPR_FILTER)
        input = eval_filter(j, node->a, block);
    else
        input = eval(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return filter_apply(j, node->filter, input, args);
}

static NOINLINE struct value eval_test(struct jinja *j, const struct node *node)
{
    struct value input = eval(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return value_bool(test_apply(j, node->test, input, args));
}

static NOINLINE struct value eval_if(struct jinja *j, const struct node *node)
{
    if (value_truth(j, eval(j, node->b)))
        return eval(j, node->a);
    if (node->c)
        return eval(j, node->c);
    return value_undefined_hint("the inline if-expression evaluated to false and no else section "
                                "was defined");
}

static NOINLINE struct value eval_access(struct jinja *j, const struct node *node)
{
    struct value object = eval(j, node->a);
    if (node->kind == EXPR_ATTRIBUTE) {
        j->line = node->line;
        return value_attribute(j, object, node->value.text);
    }
    struct value index = eval(j, node->b);
    j->line = node->line;
    return value_item(j, object, index);
}

static struct value eval_kind(struct jinja *j, const struct node *node)
{
    switch (node->kind) {
    case EXPR_CONST:
        return node->value;
    case EXPR_NAME:
        return lookup(j, node->name);
    case EXPR_TUPLE:
    case EXPR_LIST:
        return eval_items(j, node);
    case EXPR_DICT:
        return eval_dict(j, node);
    case EXPR_IF:
        return eval_if(j, node);
    case EXPR_OR:
    case EXPR_AND:
        return eval_junction(j, node);
    case EXPR_NOT:
        return value_bool(!value_truth(j, eval(j, node->a)));
    case EXPR_NEGATE:
    case EXPR_PLUS:
        return eval_sign(j, node);
    case EXPR_COMPARE:
        return eval_compare(j, node);
    case EXPR_BINARY:
        return eval_binary(j, node);
    case EXPR_CONCAT:
        return eval_concat(j, node);
    case EXPR_ATTRIBUTE:
    case EXPR_ITEM:
        return eval_access(j, node);
    case EXPR_SLICE:
        return eval_slice(j, node);
    case EXPR_CALL:
        return eval_call(j, node);
    case EXPR_FILTER:
        return eval_filter(j, node, NULL);
    case EXPR_TEST:
        return eval_test(j, node);
    default:
        j->line = node->line;
        jinja_fail(j, ERR_UNSUPPORTED, "unknown %.*s", (int)node->value.text->n_bytes,
                   node->value.text->bytes);
    }
}

static struct value eval(struct jinja *j, const struct node *node)
{
    jinja_step(j, 0);
    eval_enter(j);
    struct value v = eval_kind(j, node);
    eval_leave(j);
    return v;
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
        struct value space = lookup(j, target->name);
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
    if (target->kind == EXPR_NSREF && lookup(j, target->name).kind != VALUE_NAMESPACE) {
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
    bool passes = value_truth(j, eval(j, loop->test));
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
    struct value items = eval(j, node->b);
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
        if (value_truth(j, eval(j, node->items[i])))
            return exec(j, node->items[i + 1]);
    }
    return node->c ? exec(j, node->c) : FLOW_NEXT;
}

static NOINLINE enum flow exec_output(struct jinja *j, const struct node *node)
{
    for (size_t i = 0; i < node->n_items; i++) {
        const struct node *item = node->items[i];
        struct value v = eval(j, item);
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
        v = eval_filter(j, node->b, text);
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
    struct value callee = eval(j, node->a->a);
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
        struct value v = eval(j, node->items[i + 1]);
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
        assign(j, j->scope, node->a, eval(j, node->b));
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
