/* Stacks and configurations; see machine.h.
 *
 * A step moves every member's state by the byte. Where a state is complete, its stack may go on as
 * well: the stack's top is expanded until lexemes are on top (the closure). There is no left
 * recursion, so that ends; a stack met twice in one closure is expanded once. What has no finite
 * text (cost COST_NONE) is never put on a stack, so every member can come to an end. */
#include "engine/grammar/machine.h"

#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { STEP_SLOTS = 1 << 14, CLOSURE_UNKNOWN = CONFIG_DEAD - 1 };

struct step {
    int32_t config;  // -1 = free
    int32_t next;
    uint32_t byte;
};

static void clear_buckets(int32_t *buckets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buckets[i] = -1;
}

bool machine_init(struct machine *machine, struct nodes *nodes, struct automaton *automaton)
{
    *machine = (struct machine){
        .budget = nodes->budget,
        .terms = nodes->terms,
        .nodes = nodes,
        .automaton = automaton,
        .vocabulary = automaton->vocabulary,
    };
    if (!GROW(machine->budget, machine->stacks, machine->stacks_capacity, 64) ||
        !GROW(machine->budget, machine->stack_buckets, machine->stack_buckets_capacity, 256) ||
        !GROW(machine->budget, machine->config_buckets, machine->config_buckets_capacity, 256) ||
        !GROW(machine->budget, machine->steps, machine->steps_capacity, STEP_SLOTS))
        return false;
    machine->n_stack_buckets = machine->n_config_buckets = 256;
    machine_reset(machine);
    return true;
}

void machine_release(struct machine *machine)
{
    if (machine->budget == NULL)
        return;
    machine_drop_masks(machine);
    DROP(machine->budget, machine->stacks, machine->stacks_capacity);
    DROP(machine->budget, machine->stack_buckets, machine->stack_buckets_capacity);
    DROP(machine->budget, machine->seen, machine->seen_capacity);
    DROP(machine->budget, machine->members, machine->members_capacity);
    DROP(machine->budget, machine->configs, machine->configs_capacity);
    DROP(machine->budget, machine->config_buckets, machine->config_buckets_capacity);
    DROP(machine->budget, machine->closures, machine->closures_capacity);
    DROP(machine->budget, machine->steps, machine->steps_capacity);
    DROP(machine->budget, machine->gather, machine->gather_capacity);
    DROP(machine->budget, machine->work, machine->work_capacity);
    DROP(machine->budget, machine->state_masks, machine->state_masks_capacity);
    DROP(machine->budget, machine->config_masks, machine->config_masks_capacity);
}

void machine_reset(struct machine *machine)
{
    machine_drop_masks(machine);
    machine->n_stacks = 1;
    machine->stacks[STACK_END] = (struct stack_item){.next = STACK_DEAD};
    machine->n_seen = machine->n_members = machine->n_configs = machine->n_closures = 0;
    machine->stamp = 0;
    machine->n_gather = machine->n_work = 0;
    clear_buckets(machine->stack_buckets, machine->n_stack_buckets);
    clear_buckets(machine->config_buckets, machine->n_config_buckets);
    for (size_t i = 0; i < STEP_SLOTS; i++)
        machine->steps[i].config = CONFIG_DEAD;
}

/* ---- stacks ---- */

static uint64_t mix(uint64_t h, uint64_t value)
{
    h = (h ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 29;
}

static size_t stack_bucket(const struct machine *machine, const struct stack_item *s)
{
    uint64_t h = mix(mix((uint64_t)(uint32_t)s->at << 32 | (uint32_t)s->next, s->min), s->max);
    return (size_t)(h >> 20) & (machine->n_stack_buckets - 1);
}

static bool grow_stacks(struct machine *machine)
{
    if (!GROW(machine->budget, machine->stacks, machine->stacks_capacity, machine->n_stacks + 1))
        return false;
    if (2 * (machine->n_stacks + 1) <= machine->n_stack_buckets)
        return true;
    size_t wanted = 2 * machine->n_stack_buckets;
    if (!GROW(machine->budget, machine->stack_buckets, machine->stack_buckets_capacity, wanted))
        return false;
    machine->n_stack_buckets = wanted;
    clear_buckets(machine->stack_buckets, wanted);
    for (size_t i = 1; i < machine->n_stacks; i++) {
        size_t at = stack_bucket(machine, &machine->stacks[i]);
        while (machine->stack_buckets[at] >= 0)
            at = (at + 1) & (wanted - 1);
        machine->stack_buckets[at] = (int32_t)i;
    }
    return true;
}

static int32_t intern_stack(struct machine *machine, struct stack_item wanted)
{
    if (!budget_work(machine->budget, 1) || !grow_stacks(machine))
        return STACK_DEAD;
    size_t at = stack_bucket(machine, &wanted);
    for (; machine->stack_buckets[at] >= 0; at = (at + 1) & (machine->n_stack_buckets - 1)) {
        const struct stack_item *have = &machine->stacks[machine->stack_buckets[at]];
        if (have->at == wanted.at && have->next == wanted.next && have->min == wanted.min &&
            have->max == wanted.max)
            return machine->stack_buckets[at];
    }
    const struct grammar_node *item = &machine->nodes->items[wanted.at];
    uint32_t cost = item->kind == NODE_KIND_REPEAT
                        ? cost_times(machine->nodes->items[item->a].cost, wanted.min)
                        : item->cost;
    wanted.cost = cost_add(cost, machine->stacks[wanted.next].cost);
    machine->stack_buckets[at] = (int32_t)machine->n_stacks;
    machine->stacks[machine->n_stacks] = wanted;
    return (int32_t)machine->n_stacks++;
}

/* `at` on top of `next`. References are followed; they are not circular where there is a cost. */
static int32_t push_node(struct machine *machine, node at, int32_t next)
{
    const struct grammar_node *items = machine->nodes->items;
    if (next == STACK_DEAD || items[at].cost == COST_NONE)
        return STACK_DEAD;
    while (items[at].kind == NODE_KIND_REFERENCE)
        at = items[at].a;
    if (items[at].kind == NODE_KIND_EMPTY)
        return next;
    bool is_repeat = items[at].kind == NODE_KIND_REPEAT;
    return intern_stack(machine, (struct stack_item){.at = at,
                                                     .min = is_repeat ? items[at].min : 0,
                                                     .max = is_repeat ? items[at].max : 0,
                                                     .next = next});
}

static int32_t push_rest_of_repeat(struct machine *machine, struct stack_item repeat)
{
    repeat.min -= repeat.min > 0;
    repeat.max -= repeat.max != TERM_ENDLESS;
    return repeat.max == 0 ? repeat.next : intern_stack(machine, repeat);
}

/* ---- closure ---- */

static bool add_work(struct machine *machine, int32_t stack)
{
    if (stack == STACK_DEAD)
        return machine->budget->failed == OK;
    if (!GROW(machine->budget, machine->seen, machine->seen_capacity, machine->n_stacks) ||
        !GROW(machine->budget, machine->work, machine->work_capacity, machine->n_work + 1))
        return false;
    for (; machine->n_seen < machine->n_stacks; machine->n_seen++)
        machine->seen[machine->n_seen] = 0;
    if (machine->seen[stack] != machine->stamp) {
        machine->seen[stack] = machine->stamp;
        machine->work[machine->n_work++] = stack;
    }
    return true;
}

static bool add_member(struct machine *machine, int32_t state, int32_t stack)
{
    if (!GROW(machine->budget, machine->gather, machine->gather_capacity, machine->n_gather + 1))
        return false;
    machine->gather[machine->n_gather++] = (struct member){state, stack};
    return true;
}

static bool expand_one(struct machine *machine, int32_t stack)
{
    struct stack_item top = machine->stacks[stack];
    if (stack == STACK_END) {
        machine->gather_accepts = true;
        return true;
    }
    const struct grammar_node item = machine->nodes->items[top.at];
    switch ((enum node_kind)item.kind) {
    case NODE_KIND_NONE:
    case NODE_KIND_EMPTY:
    case NODE_KIND_REFERENCE:
        return true;  // never on a stack
    case NODE_KIND_LEXEME: {
        int32_t start = machine->nodes->lexemes[item.a].start;
        return add_member(machine, start, top.next) &&
               (!machine->automaton->states[start].is_nullable || add_work(machine, top.next));
    }
    case NODE_KIND_SEQUENCE:
        return add_work(machine, push_node(machine, item.a, push_node(machine, item.b, top.next)));
    case NODE_KIND_ALTERNATIVE:
        for (int32_t i = 0; i < item.b; i++)
            if (!add_work(machine, push_node(machine, machine->nodes->lists[item.a + i], top.next)))
                return false;
        return true;
    case NODE_KIND_REPEAT:
        if (top.min == 0 && !add_work(machine, top.next))
            return false;
        return add_work(machine, push_node(machine, item.a, push_rest_of_repeat(machine, top)));
    }
    return false;
}

static bool expand(struct machine *machine)
{
    while (machine->n_work > 0)
        if (!budget_work(machine->budget, 1) ||
            !expand_one(machine, machine->work[--machine->n_work]))
            return false;
    return true;
}

static void begin_gather(struct machine *machine)
{
    machine->n_gather = machine->n_work = 0;
    machine->gather_accepts = false;
    machine->stamp++;
}

/* ---- configurations ---- */

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->state != y->state)
        return x->state < y->state ? -1 : 1;
    return (x->stack > y->stack) - (x->stack < y->stack);
}

static size_t config_bucket(const struct machine *machine, const struct member *members, size_t n,
                            bool is_accepting)
{
    uint64_t h = mix(n, is_accepting);
    for (size_t i = 0; i < n; i++)
        h = mix(h, (uint64_t)(uint32_t)members[i].state << 32 | (uint32_t)members[i].stack);
    return (size_t)(h >> 20) & (machine->n_config_buckets - 1);
}

static bool grow_configs(struct machine *machine, size_t n_members)
{
    if (!GROW(machine->budget, machine->configs, machine->configs_capacity,
              machine->n_configs + 1) ||
        !GROW(machine->budget, machine->members, machine->members_capacity,
              machine->n_members + n_members))
        return false;
    if (2 * (machine->n_configs + 1) <= machine->n_config_buckets)
        return true;
    size_t wanted = 2 * machine->n_config_buckets;
    if (!GROW(machine->budget, machine->config_buckets, machine->config_buckets_capacity, wanted))
        return false;
    machine->n_config_buckets = wanted;
    clear_buckets(machine->config_buckets, wanted);
    for (size_t i = 0; i < machine->n_configs; i++) {
        const struct config *c = &machine->configs[i];
        size_t at = config_bucket(machine, machine->members + c->first, c->n, c->is_accepting);
        while (machine->config_buckets[at] >= 0)
            at = (at + 1) & (wanted - 1);
        machine->config_buckets[at] = (int32_t)i;
    }
    return true;
}

static size_t unique_members(struct member *members, size_t n)
{
    if (n < 2)
        return n;
    qsort(members, n, sizeof *members, compare_members);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (compare_members(&members[kept - 1], &members[i]) != 0)
            members[kept++] = members[i];
    return kept;
}

/* The configuration of what was gathered. */
static int32_t end_gather(struct machine *machine)
{
    size_t n = unique_members(machine->gather, machine->n_gather);
    if ((n == 0 && !machine->gather_accepts) || n > MEMBERS_MAX || !grow_configs(machine, n))
        return CONFIG_DEAD;
    size_t at = config_bucket(machine, machine->gather, n, machine->gather_accepts);
    for (; machine->config_buckets[at] >= 0; at = (at + 1) & (machine->n_config_buckets - 1)) {
        const struct config *have = &machine->configs[machine->config_buckets[at]];
        if (have->n == n && have->is_accepting == machine->gather_accepts &&
            memcmp(machine->members + have->first, machine->gather, n * sizeof(struct member)) == 0)
            return machine->config_buckets[at];
    }
    struct config config = {
        .first = (uint32_t)machine->n_members,
        .n = (uint32_t)n,
        .is_accepting = machine->gather_accepts,
        .mask = -1,
        .cost = machine->gather_accepts ? 0 : DISTANCE_UNKNOWN,
    };
    if (n > 0)
        memcpy(machine->members + machine->n_members, machine->gather, n * sizeof(struct member));
    machine->n_members += n;
    machine->config_buckets[at] = (int32_t)machine->n_configs;
    machine->configs[machine->n_configs] = config;
    return (int32_t)machine->n_configs++;
}

int32_t machine_closure(struct machine *machine, int32_t stack)
{
    if (!GROW(machine->budget, machine->closures, machine->closures_capacity, machine->n_stacks))
        return CONFIG_DEAD;
    for (; machine->n_closures < machine->n_stacks; machine->n_closures++)
        machine->closures[machine->n_closures] = CLOSURE_UNKNOWN;
    if (machine->closures[stack] != CLOSURE_UNKNOWN)
        return machine->closures[stack];
    begin_gather(machine);
    if (!add_work(machine, stack) || !expand(machine))
        return CONFIG_DEAD;
    int32_t config = end_gather(machine);
    if (machine->budget->failed == OK)
        machine->closures[stack] = config;
    return config;
}

int32_t machine_start(struct machine *machine)
{
    int32_t stack = push_node(machine, machine->nodes->root, STACK_END);
    return stack == STACK_DEAD ? CONFIG_DEAD : machine_closure(machine, stack);
}

int32_t machine_step(struct machine *machine, int32_t config, unsigned byte)
{
    uint64_t h = mix((uint64_t)(uint32_t)config << 8 | byte, 1);
    struct step *step = &machine->steps[(h >> 20) & (STEP_SLOTS - 1)];
    if (step->config == config && step->byte == byte)
        return step->next;
    if (!budget_work(machine->budget, 1))
        return CONFIG_DEAD;
    struct automaton *automaton = machine->automaton;
    begin_gather(machine);
    for (uint32_t i = 0; i < machine->configs[config].n; i++) {
        struct member from = machine->members[machine->configs[config].first + i];
        if (!automaton->states[from.state].is_ready && !automaton_make_row(automaton, from.state))
            return CONFIG_DEAD;
        int32_t next = automaton_next(automaton, from.state, byte);
        if (next == STATE_DEAD)
            continue;
        // A lexeme that is over has nothing more to read: its stack alone goes on.
        if ((automaton->states[next].term != TERM_EMPTY &&
             !add_member(machine, next, from.stack)) ||
            (automaton->states[next].is_nullable && !add_work(machine, from.stack)))
            return CONFIG_DEAD;
    }
    int32_t next = expand(machine) ? end_gather(machine) : CONFIG_DEAD;
    if (machine->budget->failed == OK)
        *step = (struct step){config, next, byte};
    return next;
}

/* ---- cheapest ends ---- */

uint32_t machine_cost(struct machine *machine, int32_t config)
{
    if (machine->configs[config].cost != DISTANCE_UNKNOWN)
        return machine->configs[config].cost;
    uint32_t least = COST_NONE;
    for (uint32_t i = 0; i < machine->configs[config].n; i++) {
        struct member m = machine->members[machine->configs[config].first + i];
        uint32_t cost =
            cost_add(automaton_tokens(machine->automaton, m.state), machine->stacks[m.stack].cost);
        if (cost < least)
            least = cost;
    }
    if (machine->budget->failed == OK)
        machine->configs[config].cost = least;
    return least;
}

static bool append_state(struct machine *machine, int32_t state, struct buf *out)
{
    uint32_t n = automaton_distance(machine->automaton, state);
    size_t at = out->n_bytes;
    if (n >= DISTANCE_NONE)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!buf_append_char(out, ' '))
            return false;
    return n == 0 || automaton_shortest(machine->automaton, state, out->bytes + at);
}

/* The cheapest text of all that is on the stack. */
static bool append_stack(struct machine *machine, int32_t stack, struct buf *out)
{
    while (stack != STACK_END) {
        struct stack_item top = machine->stacks[stack];
        const struct grammar_node item = machine->nodes->items[top.at];
        if (!budget_work(machine->budget, 1))
            return false;
        stack = top.next;
        switch ((enum node_kind)item.kind) {
        case NODE_KIND_NONE:
        case NODE_KIND_EMPTY:
        case NODE_KIND_REFERENCE:
            break;
        case NODE_KIND_LEXEME:
            if (!append_state(machine, machine->nodes->lexemes[item.a].start, out))
                return false;
            break;
        case NODE_KIND_SEQUENCE:
            stack = push_node(machine, item.a, push_node(machine, item.b, stack));
            break;
        case NODE_KIND_ALTERNATIVE:
            stack = push_node(machine, machine->nodes->lists[item.a + item.best], stack);
            break;
        case NODE_KIND_REPEAT:
            if (top.min > 0)
                stack = push_node(machine, item.a, push_rest_of_repeat(machine, top));
            break;
        }
        if (stack == STACK_DEAD)
            return false;
    }
    return true;
}

bool machine_cheapest(struct machine *machine, int32_t config, struct buf *out)
{
    uint32_t least = machine_cost(machine, config);
    if (least == 0 || machine->budget->failed != OK)
        return machine->budget->failed == OK;
    struct buf text;
    buf_init(&text, out->bytes_max);
    bool found = false, ok = true;
    // Numbers of states and stacks tell what was met before, so equals are ordered by their texts.
    for (uint32_t i = 0; ok && i < machine->configs[config].n; i++) {
        struct member m = machine->members[machine->configs[config].first + i];
        if (cost_add(automaton_tokens(machine->automaton, m.state),
                     machine->stacks[m.stack].cost) != least)
            continue;
        buf_clear(&text);
        ok = append_state(machine, m.state, &text) && append_stack(machine, m.stack, &text);
        if (ok &&
            (!found || text.n_bytes < out->n_bytes ||
             (text.n_bytes == out->n_bytes && memcmp(text.bytes, out->bytes, text.n_bytes) < 0))) {
            buf_clear(out);
            ok = text.n_bytes == 0 || buf_append(out, text.bytes, text.n_bytes);
            found = true;
        }
    }
    if (text.no_memory || out->no_memory)
        machine->budget->failed = ERR_MEMORY;
    buf_release(&text);
    return ok && found;
}
