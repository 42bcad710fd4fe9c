/* The grammar above the lexemes; see nodes.h.
 *
 * Facts are least fixed points over the nodes: nullable, cost and first bytes from the leaves up,
 * following bytes from the root down. Children mostly have lower numbers than their parents, so a
 * few passes in that order (or against it) settle them. */
#include "engine/grammar/nodes.h"

#include <assert.h>

#include "engine/base/mem.h"

static node add(struct nodes *nodes, struct grammar_node item)
{
    if (!budget_work(nodes->budget, 1))
        return NODE_NONE;
    if (nodes->n_items >= NODES_MAX) {
        nodes->budget->failed = ERR_LIMIT;
        return NODE_NONE;
    }
    if (!GROW(nodes->budget, nodes->items, nodes->items_capacity, nodes->n_items + 1))
        return NODE_NONE;
    item.cost = COST_NONE;
    nodes->items[nodes->n_items] = item;
    return (node)nodes->n_items++;
}

bool nodes_init(struct nodes *nodes, struct terms *terms)
{
    *nodes = (struct nodes){.budget = terms->budget, .terms = terms};
    add(nodes, (struct grammar_node){.kind = NODE_KIND_NONE});
    return add(nodes, (struct grammar_node){.kind = NODE_KIND_EMPTY}) == NODE_EMPTY;
}

void nodes_release(struct nodes *nodes)
{
    if (nodes->budget == NULL)
        return;
    DROP(nodes->budget, nodes->items, nodes->items_capacity);
    DROP(nodes->budget, nodes->lists, nodes->lists_capacity);
    DROP(nodes->budget, nodes->lexemes, nodes->lexemes_capacity);
    DROP(nodes->budget, nodes->modes, nodes->modes_capacity);
}

/* ---- builders ---- */

static bool find_lexeme(struct nodes *nodes, term t, size_t *out)
{
    for (size_t i = nodes->n_lexemes; i-- > 0;)
        if (nodes->lexemes[i].term == t) {
            *out = i;
            return true;
        }
    return false;
}

node nodes_lexeme(struct nodes *nodes, term t)
{
    if (t == TERM_NONE || t == TERM_EMPTY)
        return t == TERM_NONE ? NODE_NONE : NODE_EMPTY;
    size_t i;
    budget_work(nodes->budget, nodes->n_lexemes / 64);
    if (!find_lexeme(nodes, t, &i)) {
        if (!GROW(nodes->budget, nodes->lexemes, nodes->lexemes_capacity, nodes->n_lexemes + 1))
            return NODE_NONE;
        i = nodes->n_lexemes++;
        nodes->lexemes[i] = (struct lexeme){.term = t};
    }
    return add(nodes, (struct grammar_node){.kind = NODE_KIND_LEXEME, .a = (int32_t)i});
}

node nodes_sequence(struct nodes *nodes, node a, node b)
{
    if (a == NODE_NONE || b == NODE_NONE)
        return NODE_NONE;
    if (a == NODE_EMPTY)
        return b;
    if (b == NODE_EMPTY)
        return a;
    return add(nodes, (struct grammar_node){.kind = NODE_KIND_SEQUENCE, .a = a, .b = b});
}

node nodes_alternative(struct nodes *nodes, const node *items, size_t n_items)
{
    if (!GROW(nodes->budget, nodes->lists, nodes->lists_capacity, nodes->n_lists + n_items))
        return NODE_NONE;
    size_t first = nodes->n_lists, n = 0;
    for (size_t i = 0; i < n_items; i++) {
        bool is_new = items[i] != NODE_NONE;
        for (size_t k = 0; is_new && k < n && n_items < 256; k++)
            is_new = nodes->lists[first + k] != items[i];
        if (is_new)
            nodes->lists[first + n++] = items[i];
    }
    if (n < 2)
        return n == 0 ? NODE_NONE : nodes->lists[first];
    nodes->n_lists += n;
    return add(nodes, (struct grammar_node){
                          .kind = NODE_KIND_ALTERNATIVE, .a = (int32_t)first, .b = (int32_t)n});
}

node nodes_repeat(struct nodes *nodes, node a, uint32_t min, uint32_t max)
{
    if (max == 0 || a == NODE_EMPTY)
        return NODE_EMPTY;
    if (a == NODE_NONE)
        return min == 0 ? NODE_EMPTY : NODE_NONE;
    if (min == 1 && max == 1)
        return a;
    return add(nodes,
               (struct grammar_node){.kind = NODE_KIND_REPEAT, .a = a, .min = min, .max = max});
}

node nodes_reference(struct nodes *nodes)
{
    return add(nodes, (struct grammar_node){.kind = NODE_KIND_REFERENCE, .a = NODE_NONE});
}

void nodes_set_reference(struct nodes *nodes, node reference, node target)
{
    if (reference != NODE_NONE)
        nodes->items[reference].a = target;
}

/* ---- costs ---- */

uint32_t cost_add(uint32_t a, uint32_t b)
{
    if (a == COST_NONE || b == COST_NONE)
        return COST_NONE;
    return a > TERM_LENGTH_MAX - b ? TERM_LENGTH_MAX : a + b;
}

uint32_t cost_times(uint32_t cost, uint32_t count)
{
    if (count == 0)
        return 0;
    if (cost == COST_NONE)
        return COST_NONE;
    uint64_t product = (uint64_t)cost * count;
    return product > TERM_LENGTH_MAX ? TERM_LENGTH_MAX : (uint32_t)product;
}

static uint32_t cost_of(struct nodes *nodes, struct automaton *automaton, struct grammar_node *item,
                        int32_t *best)
{
    const struct grammar_node *items = nodes->items;
    switch ((enum node_kind)item->kind) {
    case NODE_KIND_NONE:
        return COST_NONE;
    case NODE_KIND_EMPTY:
        return 0;
    case NODE_KIND_LEXEME: {
        int32_t start = nodes->lexemes[item->a].start;
        if (start == STATE_DEAD || automaton_distance(automaton, start) == DISTANCE_NONE)
            return COST_NONE;
        return automaton_tokens(automaton, start);
    }
    case NODE_KIND_SEQUENCE:
        return cost_add(items[item->a].cost, items[item->b].cost);
    case NODE_KIND_ALTERNATIVE: {
        uint32_t least = item->cost;
        for (int32_t i = 0; i < item->b; i++) {
            uint32_t cost = items[nodes->lists[item->a + i]].cost;
            if (cost < least) {
                least = cost;
                *best = i;
            }
        }
        return least;
    }
    case NODE_KIND_REPEAT:
        return cost_times(items[item->a].cost, item->min);
    case NODE_KIND_REFERENCE:
        return items[item->a].cost;
    }
    return COST_NONE;
}

/* Costs only fall, and an alternative keeps its choice unless another is cheaper, so following the
 * choices from any node comes to an end. */
static void compute_costs(struct nodes *nodes, struct automaton *automaton)
{
    for (bool changed = true; changed && budget_work(nodes->budget, nodes->n_items);) {
        changed = false;
        for (size_t i = 0; i < nodes->n_items; i++) {
            struct grammar_node *item = &nodes->items[i];
            if (item->kind == NODE_KIND_LEXEME && item->cost != COST_NONE)
                continue;
            int32_t best = item->best;
            uint32_t cost = cost_of(nodes, automaton, item, &best);
            item = &nodes->items[i];
            if (cost >= item->cost)
                continue;
            item->cost = cost;
            item->best = best;
            changed = true;
        }
    }
}

/* ---- nullable, first, follow ---- */

static bool nullable_of(const struct nodes *nodes, const struct grammar_node *item)
{
    const struct grammar_node *items = nodes->items;
    switch ((enum node_kind)item->kind) {
    case NODE_KIND_NONE:
        return false;
    case NODE_KIND_EMPTY:
        return true;
    case NODE_KIND_LEXEME:
        return term_at(nodes->terms, nodes->lexemes[item->a].term)->is_nullable;
    case NODE_KIND_SEQUENCE:
        return items[item->a].is_nullable && items[item->b].is_nullable;
    case NODE_KIND_ALTERNATIVE:
        for (int32_t i = 0; i < item->b; i++)
            if (items[nodes->lists[item->a + i]].is_nullable)
                return true;
        return false;
    case NODE_KIND_REPEAT:
        return item->min == 0 || items[item->a].is_nullable;
    case NODE_KIND_REFERENCE:
        return items[item->a].is_nullable;
    }
    return false;
}

static void compute_nullable(struct nodes *nodes)
{
    for (bool changed = true; changed && budget_work(nodes->budget, nodes->n_items);) {
        changed = false;
        for (size_t i = 0; i < nodes->n_items; i++) {
            struct grammar_node *item = &nodes->items[i];
            if (!item->is_nullable && nullable_of(nodes, item))
                item->is_nullable = changed = true;
        }
    }
}

static bool join(struct byte_set *into, const struct byte_set *from)
{
    bool changed = false;
    for (size_t w = 0; w < 4; w++) {
        changed = changed || (from->words[w] & ~into->words[w]) != 0;
        into->words[w] |= from->words[w];
    }
    return changed;
}

static bool join_first(const struct nodes *nodes, struct byte_set *first, size_t i)
{
    const struct grammar_node *item = &nodes->items[i];
    bool changed = false;
    switch ((enum node_kind)item->kind) {
    case NODE_KIND_NONE:
    case NODE_KIND_EMPTY:
        break;
    case NODE_KIND_LEXEME:
        return join(&first[i], &nodes->lexemes[item->a].first);
    case NODE_KIND_SEQUENCE:
        changed = join(&first[i], &first[item->a]);
        if (nodes->items[item->a].is_nullable)
            changed = join(&first[i], &first[item->b]) || changed;
        break;
    case NODE_KIND_ALTERNATIVE:
        for (int32_t k = 0; k < item->b; k++)
            changed = join(&first[i], &first[nodes->lists[item->a + k]]) || changed;
        break;
    case NODE_KIND_REPEAT:
    case NODE_KIND_REFERENCE:
        return join(&first[i], &first[item->a]);
    }
    return changed;
}

static bool push_follow(struct nodes *nodes, const struct byte_set *first, struct byte_set *follow,
                        size_t i)
{
    const struct grammar_node *item = &nodes->items[i];
    bool changed = false;
    switch ((enum node_kind)item->kind) {
    case NODE_KIND_NONE:
    case NODE_KIND_EMPTY:
        break;
    case NODE_KIND_LEXEME:
        return join(&nodes->lexemes[item->a].follow, &follow[i]);
    case NODE_KIND_SEQUENCE:
        changed = join(&follow[item->b], &follow[i]);
        changed = join(&follow[item->a], &first[item->b]) || changed;
        if (nodes->items[item->b].is_nullable)
            changed = join(&follow[item->a], &follow[i]) || changed;
        break;
    case NODE_KIND_ALTERNATIVE:
        for (int32_t k = 0; k < item->b; k++)
            changed = join(&follow[nodes->lists[item->a + k]], &follow[i]) || changed;
        break;
    case NODE_KIND_REPEAT:
        changed = join(&follow[item->a], &first[item->a]);
        changed = join(&follow[item->a], &follow[i]) || changed;
        break;
    case NODE_KIND_REFERENCE:
        return join(&follow[item->a], &follow[i]);
    }
    return changed;
}

static bool find_first_bytes(struct nodes *nodes, struct automaton *automaton)
{
    for (size_t i = 0; i < nodes->n_lexemes; i++) {
        struct lexeme *lexeme = &nodes->lexemes[i];
        if (lexeme->start == STATE_DEAD)
            continue;
        if (!automaton_make_row(automaton, lexeme->start))
            return false;
        for (unsigned b = 0; b < 256; b++)
            if (automaton_next(automaton, lexeme->start, b) != STATE_DEAD)
                byte_set_add(&lexeme->first, b, b);
    }
    return true;
}

static bool set_modes(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->n_lexemes; i++) {
        struct lexeme *lexeme = &nodes->lexemes[i];
        size_t mode = 0;
        while (mode < nodes->n_modes &&
               memcmp(&nodes->modes[mode], &lexeme->follow, sizeof lexeme->follow) != 0)
            mode++;
        if (mode == nodes->n_modes) {
            if (mode == MODES_MAX) {
                nodes->budget->failed = ERR_LIMIT;
                return false;
            }
            if (!GROW(nodes->budget, nodes->modes, nodes->modes_capacity, mode + 1))
                return false;
            nodes->modes[nodes->n_modes++] = lexeme->follow;
        }
        lexeme->mode = (uint16_t)mode;
    }
    return true;
}

static bool compute_follow(struct nodes *nodes, struct automaton *automaton)
{
    struct byte_set *first = mem_calloc(nodes->n_items, sizeof *first);
    struct byte_set *follow = mem_calloc(nodes->n_items, sizeof *follow);
    bool ok = first != NULL && follow != NULL;
    if (!ok)
        nodes->budget->failed = ERR_MEMORY;
    ok = ok && find_first_bytes(nodes, automaton);
    for (bool changed = ok; changed && budget_work(nodes->budget, nodes->n_items);) {
        changed = false;
        for (size_t i = 0; i < nodes->n_items; i++)
            changed = join_first(nodes, first, i) || changed;
    }
    for (bool changed = ok; changed && budget_work(nodes->budget, nodes->n_items);) {
        changed = false;
        for (size_t i = nodes->n_items; i-- > 0;)
            changed = push_follow(nodes, first, follow, i) || changed;
    }
    mem_free(first);
    mem_free(follow);
    return ok && nodes->budget->failed == OK && set_modes(nodes);
}

/* ---- left recursion ---- */

/* Children that can come first, by number; false when there are no more. */
static bool corner(const struct nodes *nodes, node at, uint32_t number, node *out)
{
    const struct grammar_node *item = &nodes->items[at];
    switch ((enum node_kind)item->kind) {
    case NODE_KIND_NONE:
    case NODE_KIND_EMPTY:
    case NODE_KIND_LEXEME:
        return false;
    case NODE_KIND_SEQUENCE:
        *out = number == 0 ? item->a : item->b;
        return number == 0 || (number == 1 && nodes->items[item->a].is_nullable);
    case NODE_KIND_ALTERNATIVE:
        if (number >= (uint32_t)item->b)
            return false;
        *out = nodes->lists[item->a + (int32_t)number];
        return true;
    case NODE_KIND_REPEAT:
    case NODE_KIND_REFERENCE:
        *out = item->a;
        return number == 0;
    }
    return false;
}

struct visit {
    node at;
    uint32_t number;
};

/* Walk in depth over first children; a node that is met on its own way down is left recursive. */
static enum status check_left_recursion(struct nodes *nodes, node root, node *found,
                                        struct error *err)
{
    enum { NEW, OPEN, DONE };
    uint8_t *states = mem_calloc(nodes->n_items, 1);
    struct visit *way = mem_alloc_array(nodes->n_items + 1, sizeof *way);
    enum status status = OK;
    size_t n = 0;
    if (states == NULL || way == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the grammar");
    // Every node may be the first of a lexeme's followers, so each is a start.
    for (size_t start = 0; status == OK && start < nodes->n_items; start++) {
        node first = start == 0 ? root : (node)start;
        if (states[first] != NEW || nodes->items[first].cost == COST_NONE)
            continue;
        way[n++] = (struct visit){first, 0};
        states[first] = OPEN;
        while (n > 0 && status == OK) {
            struct visit *top = &way[n - 1];
            node child;
            if (!corner(nodes, top->at, top->number++, &child)) {
                states[top->at] = DONE;
                n--;
            } else if (states[child] == OPEN) {
                *found = child;
                status = error_set(err, ERR_INVALID, "the grammar is left recursive");
            } else if (states[child] == NEW && nodes->items[child].cost != COST_NONE) {
                states[child] = OPEN;
                way[n++] = (struct visit){child, 0};
            }
        }
    }
    mem_free(states);
    mem_free(way);
    return status;
}

static enum status check_repeats(struct nodes *nodes, struct error *err)
{
    for (size_t i = 0; i < nodes->n_items; i++) {
        struct grammar_node *item = &nodes->items[i];
        if (item->kind != NODE_KIND_REPEAT || !nodes->items[item->a].is_nullable)
            continue;
        item->min = 0;
        if (item->max != TERM_ENDLESS && item->max > NULLABLE_REPEATS_MAX)
            return error_set(err, ERR_LIMIT,
                             "something that may be empty is repeated up to %u times; the most "
                             "is %d",
                             (unsigned)item->max, NULLABLE_REPEATS_MAX);
    }
    return OK;
}

bool nodes_restart(struct nodes *nodes, struct automaton *automaton)
{
    for (size_t i = 0; i < nodes->n_lexemes; i++) {
        struct lexeme *lexeme = &nodes->lexemes[i];
        lexeme->start = automaton_state_of(automaton, lexeme->term, lexeme->mode);
    }
    return nodes->budget->failed == OK;
}

enum status nodes_seal(struct nodes *nodes, node root, struct automaton *automaton,
                       node *left_recursive, struct error *err)
{
    nodes->root = root;
    compute_nullable(nodes);
    enum status status = check_repeats(nodes, err);
    if (status == OK && nodes_restart(nodes, automaton))
        compute_costs(nodes, automaton);
    if (status == OK)
        status = budget_status(nodes->budget, "the grammar", err);
    if (status == OK)
        status = check_left_recursion(nodes, root, left_recursive, err);
    if (status != OK)
        return status;
    if (compute_follow(nodes, automaton)) {
        automaton_clear(automaton);  // states of the first round had no modes
        (void)nodes_restart(nodes, automaton);
    }
    return budget_status(nodes->budget, "the grammar", err);
}
