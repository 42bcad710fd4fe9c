/* Names that are unset at the start of their frame.
 *
 * jinja2 decides at compile time where a name comes from. A frame is the template, the body of a
 * loop, macro, call, filter, with or set block; {% if %} is none. When the first thing that a frame
 * does with a name, outside of any branch, is to set it, and no frame around mentions it, the name
 * is the frame's own: reading it earlier (from a nested frame, or in the next round) gives
 * undefined even if the render has a variable so named. All other names are found by looking
 * outwards at run time. This file finds the former and leaves their list at the body of the frame.
 *
 * Source: observed behaviour of jinja2 3.1; tests/golden/template compares. */
#include "engine/template/jinja_node.h"

struct resolver {
    struct jinja *j;
    uint32_t *seen_in;   // [names] number of the frame that mentioned the name last
    uint32_t *mentions;  // [names] frames around the present one that mention it
    uint32_t frames;
    /* the frame at hand */
    uint32_t frame;
    uint32_t *names;  // mentioned, in order
    size_t n_names, capacity;
    uint32_t *unset;
    size_t n_unset, unset_capacity;
};

enum mention { MENTION_LOAD, MENTION_STORE, MENTION_STORE_IN_BRANCH, MENTION_PARAMETER };

static void add_name(struct jinja *j, uint32_t **names, size_t *n, size_t *capacity, uint32_t name)
{
    if (*n == *capacity) {
        size_t more = *capacity ? *capacity * 2 : 8;
        uint32_t *wider = jinja_alloc_array(j, more, sizeof *wider);
        if (*n)
            memcpy(wider, *names, *n * sizeof *wider);
        *names = wider;
        *capacity = more;
    }
    (*names)[(*n)++] = name;
}

static void mention(struct resolver *r, uint32_t name, enum mention how)
{
    if (r->seen_in[name] == r->frame)
        return;
    r->seen_in[name] = r->frame;
    add_name(r->j, &r->names, &r->n_names, &r->capacity, name);
    if (how == MENTION_STORE && r->mentions[name] == 0)
        add_name(r->j, &r->unset, &r->n_unset, &r->unset_capacity, name);
}

static void visit_expression(struct resolver *r, const struct node *node)
{
    if (!node)
        return;
    if (node->kind == EXPR_NAME)
        mention(r, node->name, MENTION_LOAD);
    visit_expression(r, node->a);
    visit_expression(r, node->b);
    visit_expression(r, node->c);
    visit_expression(r, node->d);
    for (size_t i = 0; i < node->n_items; i++)
        visit_expression(r, node->items[i]);
    if (!node->call)
        return;
    for (size_t i = 0; i < node->call->n_positional; i++)
        visit_expression(r, node->call->positional[i]);
    for (size_t i = 0; i < node->call->n_keywords; i++)
        visit_expression(r, node->call->keywords[i].value);
    visit_expression(r, node->call->star);
    visit_expression(r, node->call->star_star);
}

static void visit_target(struct resolver *r, const struct node *target, enum mention how)
{
    if (target->kind == EXPR_NAME)
        mention(r, target->name, how);
    else if (target->kind == EXPR_NSREF)
        mention(r, target->name, MENTION_LOAD);
    for (size_t i = 0; i < target->n_items; i++)
        visit_target(r, target->items[i], how);
}

/* What a statement does in the frame it stands in. */
static void visit_statement(struct resolver *r, const struct node *node, bool in_branch)
{
    enum mention store = in_branch ? MENTION_STORE_IN_BRANCH : MENTION_STORE;
    switch (node->kind) {
    case STMT_BODY:
        for (size_t i = 0; i < node->n_items; i++)
            visit_statement(r, node->items[i], in_branch);
        break;
    case STMT_IF:
        for (size_t i = 0; i < node->n_items; i += 2) {
            visit_expression(r, node->items[i]);
            visit_statement(r, node->items[i + 1], true);
        }
        if (node->c)
            visit_statement(r, node->c, true);
        break;
    case STMT_OUTPUT:
        visit_expression(r, node);
        break;
    case STMT_FOR:
        visit_expression(r, node->b);
        break;
    case STMT_SET:
        visit_expression(r, node->b);
        visit_target(r, node->a, store);
        break;
    case STMT_SET_BLOCK:
        visit_target(r, node->a, store);
        break;
    case STMT_MACRO:
        mention(r, node->name, store);
        break;
    case STMT_CALL:
        visit_expression(r, node->a);
        break;
    case STMT_FILTER:
        visit_expression(r, node->b);
        break;
    case STMT_WITH:
        for (size_t i = 1; i < node->n_items; i += 2)
            visit_expression(r, node->items[i]);
        break;
    default:
        break;
    }
}

static void resolve_inner(struct resolver *r, const struct node *node);

/* The names that a frame has before its body, then the body itself, then the frames inside. */
static void resolve_frame(struct resolver *r, const struct node *owner, struct node *body)
{
    struct resolver outer = *r;
    r->frame = ++r->frames;
    r->names = r->unset = NULL;
    r->n_names = r->capacity = r->n_unset = r->unset_capacity = 0;
    if (owner && owner->kind == STMT_FOR && body == owner->body) {
        mention(r, NAME_LOOP, MENTION_PARAMETER);
        visit_target(r, owner->a, MENTION_PARAMETER);
    }
    if (owner && owner->kind == STMT_WITH) {
        for (size_t i = 0; i < owner->n_items; i += 2)
            visit_target(r, owner->items[i], MENTION_PARAMETER);
    }
    for (size_t i = 0; owner && i < owner->n_parameters; i++)
        mention(r, owner->parameters[i].name, MENTION_PARAMETER);
    for (size_t i = 0; owner && i < owner->n_parameters; i++)
        visit_expression(r, owner->parameters[i].default_value);
    visit_statement(r, body, false);
    if (owner && owner->kind == STMT_FILTER)
        visit_expression(r, owner->b);
    body->unset = r->unset;
    body->n_unset = r->n_unset;
    for (size_t i = 0; i < r->n_names; i++)
        r->mentions[r->names[i]]++;
    resolve_inner(r, body);
    for (size_t i = 0; i < r->n_names; i++)
        r->mentions[r->names[i]]--;
    uint32_t frames = r->frames;
    *r = outer;
    r->frames = frames;
}

/* The frames that statements of this frame open. */
static void resolve_inner(struct resolver *r, const struct node *node)
{
    switch (node->kind) {
    case STMT_BODY:
        for (size_t i = 0; i < node->n_items; i++)
            resolve_inner(r, node->items[i]);
        break;
    case STMT_IF:
        for (size_t i = 1; i < node->n_items; i += 2)
            resolve_inner(r, node->items[i]);
        if (node->c)
            resolve_inner(r, node->c);
        break;
    case STMT_FOR:
    case STMT_MACRO:
    case STMT_CALL:
    case STMT_FILTER:
    case STMT_WITH:
    case STMT_SCOPE:
    case STMT_SET_BLOCK:
        resolve_frame(r, node, node->body);
        if (node->other)
            resolve_frame(r, node, node->other);
        break;
    default:
        break;
    }
}

void resolve_names(struct jinja *j, struct jinja_template *code)
{
    struct resolver r = {.j = j};
    r.seen_in = jinja_alloc_array(j, code->n_names, sizeof *r.seen_in);
    r.mentions = jinja_alloc_array(j, code->n_names, sizeof *r.mentions);
    resolve_frame(&r, NULL, code->root);
}
