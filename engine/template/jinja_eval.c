/* Scopes and expressions of the tree walker; see jinja_eval.h. Statements are in jinja_exec.c.
 *
 * Scopes are short lists of bindings, searched outwards; then come the variables of the render,
 * then the globals. {% if %} opens no scope, loops open one a round, macros see the scope they
 * stand in.
 *
 * Depth is bounded twice: calls (macros, recursive loops) by JINJA_CALL_DEPTH_MAX and evaluations
 * on the C stack by JINJA_EVAL_DEPTH_MAX, so frames here are kept small. */
#include "engine/template/jinja_eval.h"

#include "engine/template/jinja.h"
#include "engine/template/jinja_format.h"
#include "engine/template/jinja_ops.h"
#include "engine/template/jinja_text.h"

void eval_enter(struct jinja *j)
{
    if (++j->eval_depth > JINJA_EVAL_DEPTH_MAX)
        jinja_fail(j, ERR_LIMIT, "more than %d evaluations within each other",
                   JINJA_EVAL_DEPTH_MAX);
}

/* ---- scopes ---- */

void scope_bind(struct jinja *j, struct scope *scope, uint32_t name, struct value value)
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

struct scope *scope_enter(struct jinja *j, struct scope *parent, const struct node *body)
{
    struct scope *outer = j->scope;
    j->scope = jinja_alloc(j, sizeof *j->scope);
    j->scope->parent = parent;
    for (size_t i = 0; i < body->n_unset; i++)
        scope_bind(j, j->scope, body->unset[i], value_missing());
    return outer;
}

struct value scope_lookup(struct jinja *j, uint32_t name)
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
const struct call_args *eval_args_with(struct jinja *j, const struct node_call *call,
                                       struct value caller)
{
    struct call_args *args = jinja_alloc(j, sizeof *args);
    struct list *positional = list_create(j, call->n_positional);
    for (size_t i = 0; i < call->n_positional; i++)
        list_append(j, positional, eval_node(j, call->positional[i]));
    args->keywords = jinja_alloc_array(j, call->n_keywords + 1, sizeof *args->keywords);
    if (call->star)
        spread_star(j, eval_node(j, call->star), positional);
    for (size_t i = 0; i < call->n_keywords; i++)
        args->keywords[i] =
            (struct keyword_arg){call->keywords[i].name, eval_node(j, call->keywords[i].value)};
    args->n_keywords = call->n_keywords;
    if (caller.kind != VALUE_MISSING)
        args->keywords[args->n_keywords++] =
            (struct keyword_arg){j->code->names[NAME_CALLER], caller};
    if (call->star_star)
        spread_star_star(j, eval_node(j, call->star_star), args);
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
    struct value callee = eval_node(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return call_value(j, callee, args);
}

/* ---- expressions ---- */

static NOINLINE struct value eval_items(struct jinja *j, const struct node *node)
{
    struct list *list = list_create(j, node->n_items);
    for (size_t i = 0; i < node->n_items; i++)
        list_append(j, list, eval_node(j, node->items[i]));
    return node->kind == EXPR_TUPLE ? value_tuple(list) : value_list(list);
}

static NOINLINE struct value eval_dict(struct jinja *j, const struct node *node)
{
    struct dict *dict = dict_create(j, node->n_items / 2);
    for (size_t i = 0; i < node->n_items; i += 2) {
        struct value key = eval_node(j, node->items[i]);
        struct value item = eval_node(j, node->items[i + 1]);
        j->line = node->line;
        dict_set(j, dict, key, item);
    }
    return value_dict(dict);
}

static NOINLINE struct value eval_junction(struct jinja *j, const struct node *node)
{
    struct value v = value_none();
    for (size_t i = 0; i < node->n_items; i++) {
        v = eval_node(j, node->items[i]);
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
    struct value left = eval_node(j, node->a);
    for (size_t i = 0; i < node->n_items; i++) {
        struct value right = eval_node(j, node->items[i]);
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
    struct value left = eval_node(j, node->a);
    for (size_t i = 0; i < node->n_items; i++) {
        struct value right = eval_node(j, node->items[i]);
        j->line = node->line;
        left = value_binary(j, ops[node->ops[i]], left, right);
    }
    return left;
}

static NOINLINE struct value eval_concat(struct jinja *j, const struct node *node)
{
    const struct text *left = format_str(j, eval_node(j, node->items[0]));
    for (size_t i = 1; i < node->n_items; i++)
        left = text_concat(j, left, format_str(j, eval_node(j, node->items[i])));
    return value_text(text_with_markup(j, left, false));
}

static NOINLINE struct value eval_sign(struct jinja *j, const struct node *node)
{
    struct value v = eval_node(j, node->a);
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
    struct value object = eval_node(j, node->a);
    struct value start = node->b ? eval_node(j, node->b) : value_missing();
    struct value stop = node->c ? eval_node(j, node->c) : value_missing();
    struct value step = node->d ? eval_node(j, node->d) : value_missing();
    j->line = node->line;
    return value_slice(j, object, start, stop, step);
}

struct value eval_filter_chain(struct jinja *j, const struct node *node, const struct text *block)
{
    struct value input;
    if (!node->a)
        input = value_text(block ? block : &text_empty);
    else if (node->a->kind == EXPR_FILTER)
        input = eval_filter_chain(j, node->a, block);
    else
        input = eval_node(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return filter_apply(j, node->filter, input, args);
}

static NOINLINE struct value eval_test(struct jinja *j, const struct node *node)
{
    struct value input = eval_node(j, node->a);
    const struct call_args *args = eval_args(j, node->call);
    j->line = node->line;
    return value_bool(test_apply(j, node->test, input, args));
}

static NOINLINE struct value eval_if(struct jinja *j, const struct node *node)
{
    if (value_truth(j, eval_node(j, node->b)))
        return eval_node(j, node->a);
    if (node->c)
        return eval_node(j, node->c);
    return value_undefined_hint("the inline if-expression evaluated to false and no else section "
                                "was defined");
}

static NOINLINE struct value eval_access(struct jinja *j, const struct node *node)
{
    struct value object = eval_node(j, node->a);
    if (node->kind == EXPR_ATTRIBUTE) {
        j->line = node->line;
        return value_attribute(j, object, node->value.text);
    }
    struct value index = eval_node(j, node->b);
    j->line = node->line;
    return value_item(j, object, index);
}

static struct value eval_kind(struct jinja *j, const struct node *node)
{
    switch (node->kind) {
    case EXPR_CONST:
        return node->value;
    case EXPR_NAME:
        return scope_lookup(j, node->name);
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
        return value_bool(!value_truth(j, eval_node(j, node->a)));
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
        return eval_filter_chain(j, node, NULL);
    case EXPR_TEST:
        return eval_test(j, node);
    default:
        j->line = node->line;
        jinja_fail(j, ERR_UNSUPPORTED, "unknown %.*s", (int)node->value.text->n_bytes,
                   node->value.text->bytes);
    }
}

struct value eval_node(struct jinja *j, const struct node *node)
{
    jinja_step(j, 0);
    eval_enter(j);
    struct value v = eval_kind(j, node);
    eval_leave(j);
    return v;
}
