/* Token masks of states and configurations; see machine.h.
 *
 * A state's mask is independent of the stack: the tokens that stay inside the lexeme, found by
 * walking the vocabulary's tree with the automaton, and apart from them the suffixes: what of a
 * token stands behind a place where the lexeme may end, as a tree of its own. Only those few are
 * walked with the stack. A suffix whose first byte can never follow the lexeme is left out.
 *
 * Inside a JSON string without a pattern, ordinary tokens need no walk at all: the vocabulary has
 * masks of those of at most k characters (vocabulary.h). Lengths beyond the longest token cannot
 * be told apart by one token, so strings with large counts share the mask of a smaller one.
 *
 * Near the end of a budget a token counts only if what it leaves to be written fits. So a state's
 * tokens are kept in levels, by what the lexeme needs after them; mostly there are a few levels,
 * and all but a few tokens are in one. */
#include "engine/base/mem.h"
#include "engine/grammar/machine.h"

enum {
    SPARSE_IDS_MAX = 512,                  // masks of fewer tokens are kept as lists
    SATURATED = VOCABULARY_PLAIN_MAX + 1,  // a count that no token of ordinary length exhausts
    SATURATED_LONG = TRIE_DEPTH_MAX + 1,   // ... and no token at all
    SUFFIX_BYTES_MAX = 1 << 24,
    LOOP_NODES_MIN = 4,     // smaller parts of the tree are walked
    STRING_END_BYTES = 12,  // longest rest of an escape that a token may have begun
};

static void set_bit(uint64_t *bits, int32_t token)
{
    bits[(uint32_t)token >> 6] |= UINT64_C(1) << (token & 63);
}

static bool take_bytes(struct budget *budget, size_t n_bytes)
{
    if (n_bytes > budget->bytes_max - budget->n_bytes) {
        budget->failed = ERR_LIMIT;
        return false;
    }
    budget->n_bytes += n_bytes;
    return true;
}

static uint64_t *new_bits(struct machine *machine)
{
    size_t n_words = machine->vocabulary->n_words;
    if (!take_bytes(machine->budget, n_words * 8))
        return NULL;
    uint64_t *bits = mem_calloc(n_words, sizeof *bits);
    if (bits == NULL)
        machine->budget->failed = ERR_MEMORY;
    return bits;
}

static void drop_state_mask(struct machine *machine, struct state_mask *mask)
{
    for (size_t i = 0; i < mask->n_levels; i++) {
        struct mask_level *level = &mask->levels[i];
        if (level->bits != NULL)
            machine->budget->n_bytes -= machine->vocabulary->n_words * 8;
        if (level->ids != NULL)
            machine->budget->n_bytes -= level->n_ids * sizeof *level->ids;
        mem_free(level->bits);
        mem_free(level->ids);
    }
    if (mask->suffixes.nodes != NULL)
        machine->budget->n_bytes -= trie_bytes(&mask->suffixes);
    trie_release(&mask->suffixes);
}

void machine_drop_masks(struct machine *machine)
{
    for (size_t i = 0; i < machine->n_state_masks; i++)
        drop_state_mask(machine, &machine->state_masks[i]);
    for (size_t i = 0; i < machine->n_config_masks; i++) {
        machine->budget->n_bytes -= machine->vocabulary->n_words * 8;
        mem_free(machine->config_masks[i].bits);
    }
    machine->n_state_masks = machine->n_config_masks = 0;
}

/* ---- strings ---- */

struct string_shape {
    bool is_string;
    uint32_t min, max;  // characters still to come
    term character, rest;
};

/* A state inside a JSON string that takes any character: x{min,max} and then a quote. */
static struct string_shape shape_of(const struct machine *machine, int32_t state)
{
    struct string_shape shape = {.is_string = false};
    const struct automaton_state *s = &machine->automaton->states[state];
    const struct term_node *cat = term_at(machine->terms, s->term);
    if (s->is_mixed || cat->kind != TERM_KIND_CAT)
        return shape;
    const struct term_node *repeat = term_at(machine->terms, cat->a);
    const struct term_node *rest = term_at(machine->terms, cat->b);
    if (repeat->kind != TERM_KIND_REPEAT ||
        (repeat->a != machine->json_free && repeat->a != machine->json_any))
        return shape;
    if (rest->kind == TERM_KIND_CAT)
        rest = term_at(machine->terms, rest->a);
    static const struct byte_set quote = {{UINT64_C(1) << '"'}};
    if (rest->kind != TERM_KIND_CLASS ||
        memcmp(&machine->terms->sets[rest->a], &quote, sizeof quote) != 0)
        return shape;
    return (struct string_shape){true, repeat->min, repeat->max, repeat->a, cat->b};
}

/* The state whose mask serves: the same string with counts that no token can exhaust. */
static int32_t saturated_state(struct machine *machine, int32_t state,
                               const struct string_shape *shape, uint32_t count)
{
    uint32_t min = shape->min > count ? count : shape->min;
    uint32_t max = shape->max == TERM_ENDLESS || shape->max <= count ? shape->max : count;
    if (!shape->is_string || (min == shape->min && max == shape->max))
        return state;
    term t = term_cat(machine->terms, term_repeat(machine->terms, shape->character, min, max),
                      shape->rest);
    return automaton_state_of(machine->automaton, t, machine->automaton->states[state].mode);
}

/* ---- one state ---- */

/* A walk over a tree of tokens with one state. */
struct state_walk {
    struct machine *machine;
    const struct trie *trie;
    const struct byte_set *follow;
    bool counts;      // what tokens need is wanted
    int32_t counted;  // state that `needed` and `distance` are of
    uint32_t needed, distance;
    uint32_t reach;
    struct found *found;  // allowed tokens
    size_t n_found, found_capacity;
    struct suffix *suffixes;
    size_t n_suffixes, suffixes_capacity;
    char *text;  // of the suffixes
    size_t n_text, text_capacity;
    uint8_t path[TRIE_DEPTH_MAX + 1];  // bytes of the token at hand
};

/* Allowed tokens that need the same. */
struct found {
    uint32_t first, last;  // [first, last) of the tree's tokens
    uint32_t needed;
};

struct suffix {
    uint32_t start, n_bytes;
    int32_t token;
};

/* What stands behind a place where the lexeme may end: from the node `top` on. */
static bool add_suffixes(struct state_walk *walk, size_t top)
{
    const struct trie_node *nodes = walk->trie->nodes;
    struct budget *budget = walk->machine->budget;
    size_t depth = nodes[top].depth;
    for (size_t i = top; i < nodes[top].end; i++) {
        walk->path[nodes[i].depth] = nodes[i].byte;
        uint32_t n = nodes[i].depth + 1u - (uint32_t)depth;
        for (uint32_t t = nodes[i].first_token; t < nodes[i + 1].first_token; t++) {
            if (walk->n_text > SUFFIX_BYTES_MAX ||
                !GROW(budget, walk->text, walk->text_capacity, walk->n_text + n) ||
                !GROW(budget, walk->suffixes, walk->suffixes_capacity, walk->n_suffixes + 1)) {
                budget->failed = budget->failed != OK ? budget->failed : ERR_LIMIT;
                return false;
            }
            memcpy(walk->text + walk->n_text, walk->path + depth, n);
            walk->suffixes[walk->n_suffixes++] =
                (struct suffix){(uint32_t)walk->n_text, n, walk->trie->tokens[t]};
            walk->n_text += n;
        }
    }
    return true;
}

/* Tokens come in the order of the tree, so neighbours of equal need are one entry. */
static bool add_found(struct state_walk *walk, uint32_t first, uint32_t last, uint32_t needed)
{
    if (walk->n_found > 0) {
        struct found *before = &walk->found[walk->n_found - 1];
        if (before->last == first && before->needed == needed) {
            before->last = last;
            return true;
        }
    }
    if (!GROW(walk->machine->budget, walk->found, walk->found_capacity, walk->n_found + 1))
        return false;
    walk->found[walk->n_found++] = (struct found){first, last, needed};
    return true;
}

/* What the token that ends in `state` needs after it. */
static bool needed_in(struct state_walk *walk, int32_t state, unsigned depth, uint32_t *needed)
{
    if (!walk->counts)
        return true;
    if (state != walk->counted) {
        walk->needed = automaton_tokens(walk->machine->automaton, state);
        walk->distance = automaton_distance(walk->machine->automaton, state);
        walk->counted = state;
    }
    *needed = walk->needed;
    if (walk->reach < depth + 1 + walk->distance)
        walk->reach = depth + 1 + walk->distance;
    return walk->machine->budget->failed == OK;
}

/* True when all that stands at and below node i are characters that lead back to `state`, so that
 * its tokens need no walk; *ok is false after a failure. */
static bool is_loop(struct state_walk *walk, size_t i, int32_t state, bool *ok)
{
    struct automaton *automaton = walk->machine->automaton;
    const struct vocabulary *v = walk->machine->vocabulary;
    if (walk->trie != &v->all || walk->trie->nodes[i].end - i < LOOP_NODES_MIN ||
        automaton->states[state].is_nullable)
        return false;
    const struct char_bits *loops = automaton_loops(automaton, state);
    *ok = loops != NULL;
    return *ok && char_bits_within(&v->chars[i], loops);
}

static bool walk_state(struct state_walk *walk, int32_t start)
{
    struct automaton *automaton = walk->machine->automaton;
    const struct trie_node *nodes = walk->trie->nodes;
    int32_t states[TRIE_DEPTH_MAX + 2];  // by depth: before the byte at that depth
    uint32_t needed = 0;
    bool ok = automaton_make_row(automaton, start);
    states[0] = start;
    for (size_t i = 0; ok && i < walk->trie->n_nodes;) {
        struct trie_node at = nodes[i];
        int32_t state = states[at.depth];
        // At the top the stack's own lexemes are members of the configuration too.
        if (at.depth > 0 && automaton->states[state].is_nullable &&
            byte_set_has(walk->follow, at.byte)) {
            walk->path[at.depth] = at.byte;
            walk->reach = walk->reach > at.depth ? walk->reach : at.depth;
            ok = add_suffixes(walk, i);
        }
        if (is_loop(walk, i, state, &ok)) {
            ok = needed_in(walk, state, at.deepest, &needed) &&
                 add_found(walk, at.first_token, nodes[at.end].first_token, needed);
            i = at.end;
            continue;
        }
        int32_t next = ok ? automaton_next(automaton, state, at.byte) : STATE_DEAD;
        if (next == STATE_DEAD) {
            i = at.end;
            continue;
        }
        uint32_t last_token = nodes[i + 1].first_token;
        if (last_token > at.first_token)
            ok = needed_in(walk, next, at.depth, &needed) &&
                 add_found(walk, at.first_token, last_token, needed);
        if (at.end > i + 1) {
            ok = ok && (automaton->states[next].is_ready || automaton_make_row(automaton, next));
            walk->path[at.depth] = at.byte;
            states[at.depth + 1] = next;
        }
        i++;
    }
    return ok && budget_work(walk->machine->budget, walk->trie->n_nodes / 64);
}

static bool build_suffix_trie(struct state_walk *walk, struct trie *out)
{
    struct trie_item *items = mem_alloc_array(walk->n_suffixes + 1, sizeof *items);
    if (items == NULL) {
        walk->machine->budget->failed = ERR_MEMORY;
        return false;
    }
    for (size_t i = 0; i < walk->n_suffixes; i++)
        items[i] = (struct trie_item){walk->text + walk->suffixes[i].start,
                                      walk->suffixes[i].n_bytes, walk->suffixes[i].token};
    enum status status = trie_build(out, items, walk->n_suffixes, NULL);
    mem_free(items);
    if (status != OK)
        walk->machine->budget->failed = status;
    else if (take_bytes(walk->machine->budget, trie_bytes(out)))
        return true;
    trie_release(out);
    return false;
}

static void free_walk(struct state_walk *walk)
{
    DROP(walk->machine->budget, walk->found, walk->found_capacity);
    DROP(walk->machine->budget, walk->suffixes, walk->suffixes_capacity);
    DROP(walk->machine->budget, walk->text, walk->text_capacity);
}

/* The level of a need, made if there is none; when there are too many, the next larger one, or the
 * last one raised. */
static struct mask_level *level_of(struct state_mask *mask, uint32_t needed)
{
    size_t i = 0;
    while (i < mask->n_levels && mask->levels[i].needed < needed)
        i++;
    if (i < mask->n_levels &&
        (mask->levels[i].needed == needed || mask->n_levels == MASK_LEVELS_MAX))
        return &mask->levels[i];
    if (mask->n_levels == MASK_LEVELS_MAX) {
        mask->levels[i - 1].needed = needed;
        return &mask->levels[i - 1];
    }
    for (size_t k = mask->n_levels++; k > i; k--)
        mask->levels[k] = mask->levels[k - 1];
    mask->levels[i] = (struct mask_level){.needed = needed};
    return &mask->levels[i];
}

/* Makes the levels' rooms: n_ids says how many tokens each will get. */
static bool make_levels(struct machine *machine, struct state_mask *mask)
{
    for (size_t i = 0; i < mask->n_levels; i++) {
        struct mask_level *level = &mask->levels[i];
        size_t n = level->n_ids;
        level->n_ids = 0;
        if (level->bits != NULL)
            continue;
        if (n > SPARSE_IDS_MAX) {
            level->bits = new_bits(machine);
            if (level->bits == NULL)
                return false;
            continue;
        }
        level->ids = mem_alloc_array(n + 1, sizeof *level->ids);
        if (level->ids == NULL) {
            machine->budget->failed = ERR_MEMORY;
            return false;
        }
    }
    return true;
}

/* Levels from what was found. */
static bool fill_levels(struct machine *machine, const struct state_walk *walk,
                        struct state_mask *mask)
{
    for (size_t i = 0; i < walk->n_found; i++)  // all levels first: the last one may be raised
        (void)level_of(mask, walk->found[i].needed);
    for (size_t i = 0; i < walk->n_found; i++)
        level_of(mask, walk->found[i].needed)->n_ids += walk->found[i].last - walk->found[i].first;
    if (!make_levels(machine, mask))
        return false;
    for (size_t i = 0; i < walk->n_found; i++) {
        struct mask_level *level = level_of(mask, walk->found[i].needed);
        for (uint32_t t = walk->found[i].first; t < walk->found[i].last; t++) {
            if (level->bits != NULL)
                set_bit(level->bits, walk->trie->tokens[t]);
            else
                level->ids[level->n_ids++] = walk->trie->tokens[t];
        }
    }
    for (size_t i = 0; i < mask->n_levels; i++)
        if (mask->levels[i].ids != NULL &&
            !take_bytes(machine->budget, mask->levels[i].n_ids * sizeof *mask->levels[i].ids)) {
            for (size_t k = i; k < mask->n_levels; k++)  // not counted, so not given back
                mask->levels[k].n_ids = 0;
            return false;
        }
    return true;
}

/* The plain tokens of a string, which leave what it needs as it is once it is long enough. */
static bool add_plain_level(struct machine *machine, int32_t state,
                            const struct string_shape *shape, struct state_mask *mask)
{
    const struct vocabulary *v = machine->vocabulary;
    uint32_t needed = mask->is_long ? 0 : automaton_tokens(machine->automaton, state);
    size_t k = shape->max < VOCABULARY_PLAIN_MAX ? shape->max : VOCABULARY_PLAIN_MAX;
    struct mask_level *level = level_of(mask, needed);
    level->bits = new_bits(machine);
    if (level->bits == NULL)
        return false;
    memcpy(level->bits, v->plain + k * v->n_words, v->n_words * sizeof *level->bits);
    return true;
}

/* Index of the mask of a state (saturated already), made if there is none; -1 after a failure. */
static int32_t state_mask_of(struct machine *machine, int32_t state,
                             const struct string_shape *shape, bool of_longer)
{
    const struct automaton_state *known = &machine->automaton->states[state];
    int32_t index = of_longer ? known->long_mask : known->mask;
    if (index >= 0)
        return index;
    if (!GROW(machine->budget, machine->state_masks, machine->state_masks_capacity,
              machine->n_state_masks + 1))
        return -1;
    const struct vocabulary *v = machine->vocabulary;
    struct state_mask mask = {.is_long = shape->is_string && shape->min > 0};
    struct state_walk walk = {
        .machine = machine,
        .trie = of_longer          ? &v->longer
                : shape->is_string ? &v->rest
                                   : &v->all,
        .follow = &machine->nodes->modes[known->mode],
        .counts = !mask.is_long,
    };
    bool ok = (!shape->is_string || of_longer || add_plain_level(machine, state, shape, &mask)) &&
              walk_state(&walk, state) && fill_levels(machine, &walk, &mask) &&
              build_suffix_trie(&walk, &mask.suffixes);
    mask.reach = walk.reach;
    free_walk(&walk);
    if (!ok) {
        drop_state_mask(machine, &mask);
        return -1;
    }
    index = (int32_t)machine->n_state_masks++;
    machine->state_masks[index] = mask;
    struct automaton_state *s = &machine->automaton->states[state];
    *(of_longer ? &s->long_mask : &s->mask) = index;
    return index;
}

/* A state inside a string with a pattern and a maxLength that has only to be kept: the same without
 * it, and how many characters may come. STATE_DEAD: it is no such state. */
static int32_t uncounted_state(struct machine *machine, int32_t state, uint32_t *characters)
{
    struct terms *terms = machine->terms;
    const struct term_node *cat = term_at(terms, machine->automaton->states[state].term);
    if (cat->kind != TERM_KIND_CAT || term_at(terms, cat->a)->kind != TERM_KIND_AND)
        return STATE_DEAD;
    term rest = cat->b, pattern = TERM_NONE;
    size_t first = (size_t)term_at(terms, cat->a)->a, n = (size_t)term_at(terms, cat->a)->b;
    *characters = TERM_ENDLESS;
    for (size_t i = first; i < first + n; i++) {
        term part = terms->lists[i];
        const struct term_node *p = term_at(terms, part);
        if (p->kind == TERM_KIND_REPEAT && p->a == machine->json_any && p->min == 0)
            *characters = p->max < *characters ? p->max : *characters;
        else
            pattern = pattern == TERM_NONE ? part : term_and(terms, pattern, part);
    }
    if (*characters == TERM_ENDLESS || pattern == TERM_NONE)
        return STATE_DEAD;
    return automaton_state_of(machine->automaton, term_cat(terms, pattern, rest),
                              machine->automaton->states[state].mode);
}

/* While no token and the text that it calls for can use up a maxLength, the mask is that of the
 * string without it. -1: not so, or a failure. */
static int32_t mask_without_count(struct machine *machine, int32_t state)
{
    static const struct string_shape none = {.is_string = false};
    uint32_t characters;
    if (machine->automaton->states[state].mask >= 0)
        return machine->automaton->states[state].mask;
    int32_t other = uncounted_state(machine, state, &characters);
    if (other == STATE_DEAD || characters <= VOCABULARY_PLAIN_MAX)
        return -1;
    int32_t index = state_mask_of(machine, other, &none, false);
    if (index < 0 || machine->state_masks[index].reach > characters)
        return -1;
    machine->automaton->states[state].mask = index;
    return index;
}

/* ---- suffixes with the stack ---- */

/* Allows the tokens of `trie` whose bytes `config` can read, when at most tokens_left tokens are
 * needed after them; raises *tokens_max to what is needed. */
static bool walk_suffixes(struct machine *machine, const struct trie *trie, int32_t config,
                          uint32_t tokens_left, uint64_t *bits, uint32_t *tokens_max)
{
    int32_t configs[TRIE_DEPTH_MAX + 2];
    configs[0] = config;
    for (size_t i = 0; i < trie->n_nodes;) {
        const struct trie_node at = trie->nodes[i];
        int32_t next = machine_step(machine, configs[at.depth], at.byte);
        if (machine->budget->failed != OK)
            return false;
        if (next == CONFIG_DEAD) {
            i = at.end;
            continue;
        }
        if (trie->nodes[i + 1].first_token > at.first_token) {
            uint32_t cost = machine_cost(machine, next);
            if (machine->budget->failed != OK)
                return false;
            if (cost <= tokens_left) {
                for (uint32_t t = at.first_token; t < trie->nodes[i + 1].first_token; t++)
                    set_bit(bits, trie->tokens[t]);
                if (cost > *tokens_max)
                    *tokens_max = cost;
            }
        }
        configs[at.depth + 1] = next;
        i++;
    }
    return true;
}

static bool add_suffix_tokens(struct machine *machine, int32_t stack, const struct trie *suffixes,
                              uint32_t tokens_left, uint64_t *bits, uint32_t *tokens_max)
{
    int32_t config = machine_closure(machine, stack);
    if (config == CONFIG_DEAD)
        return machine->budget->failed == OK;
    return walk_suffixes(machine, suffixes, config, tokens_left, bits, tokens_max);
}

/* The plain tokens of such a string: those of k characters leave it k characters nearer. */
static bool add_long_plain(struct machine *machine, struct member m,
                           const struct string_shape *shape, uint32_t tokens_left, uint64_t *bits)
{
    const struct vocabulary *v = machine->vocabulary;
    uint32_t behind = machine->stacks[m.stack].cost;
    for (uint32_t k = 1; k <= VOCABULARY_PLAIN_MAX && k <= shape->max; k++) {
        uint32_t min = shape->min > k ? shape->min - k : 0;
        uint32_t max = shape->max == TERM_ENDLESS ? shape->max : shape->max - k;
        term t = term_cat(machine->terms, term_repeat(machine->terms, shape->character, min, max),
                          shape->rest);
        int32_t after =
            automaton_state_of(machine->automaton, t, machine->automaton->states[m.state].mode);
        uint32_t needed =
            after == STATE_DEAD ? DISTANCE_NONE : automaton_tokens(machine->automaton, after);
        if (machine->budget->failed != OK)
            return false;
        const uint64_t *plain = v->plain + k * v->n_words;
        for (size_t w = 0; cost_add(needed, behind) <= tokens_left && w < v->n_words; w++)
            bits[w] |= plain[w] & ~plain[w - v->n_words];
    }
    return true;
}

/* A string that is shorter than its minLength, near the end of the budget: the tokens of `trie` one
 * by one. */
static bool add_long_walk(struct machine *machine, struct member m, const struct trie *trie,
                          uint32_t tokens_left, uint64_t *bits)
{
    uint32_t behind = machine->stacks[m.stack].cost, ignored = 0;
    struct state_walk walk = {
        .machine = machine,
        .trie = trie,
        .follow = &machine->nodes->modes[machine->automaton->states[m.state].mode],
        .counts = true,
    };
    struct trie suffixes = {0};
    bool ok = walk_state(&walk, m.state);
    for (size_t i = 0; ok && i < walk.n_found; i++)
        for (uint32_t t = walk.found[i].first;
             cost_add(walk.found[i].needed, behind) <= tokens_left && t < walk.found[i].last; t++)
            set_bit(bits, walk.trie->tokens[t]);
    if (ok && walk.n_suffixes > 0 && (ok = build_suffix_trie(&walk, &suffixes))) {
        ok = add_suffix_tokens(machine, m.stack, &suffixes, tokens_left, bits, &ignored);
        machine->budget->n_bytes -= trie_bytes(&suffixes);
        trie_release(&suffixes);
    }
    free_walk(&walk);
    return ok && machine->budget->failed == OK;
}

static bool add_long_member(struct machine *machine, struct member m,
                            const struct string_shape *shape, uint32_t tokens_left, uint64_t *bits)
{
    const struct vocabulary *v = machine->vocabulary;
    return add_long_plain(machine, m, shape, tokens_left, bits) &&
           add_long_walk(machine, m, &v->rest, tokens_left, bits) &&
           add_long_walk(machine, m, &v->longer, tokens_left, bits);
}

static void add_level(const struct machine *machine, const struct mask_level *level, uint64_t *bits)
{
    for (size_t w = 0; level->bits != NULL && w < machine->vocabulary->n_words; w++)
        bits[w] |= level->bits[w];
    for (size_t i = 0; level->ids != NULL && i < level->n_ids; i++)
        set_bit(bits, level->ids[i]);
}

static bool add_part(struct machine *machine, struct member m, const struct string_shape *shape,
                     bool of_longer, uint32_t tokens_left, uint64_t *bits, uint32_t *tokens_max)
{
    int32_t state =
        saturated_state(machine, m.state, shape, of_longer ? SATURATED_LONG : SATURATED);
    struct string_shape saturated = state == m.state ? *shape : shape_of(machine, state);
    int32_t index = saturated.is_string ? -1 : mask_without_count(machine, state);
    if (index < 0 && state != STATE_DEAD && machine->budget->failed == OK)
        index = state_mask_of(machine, state, &saturated, of_longer);
    if (index < 0)
        return false;
    const struct state_mask *mask = &machine->state_masks[index];
    uint32_t behind = machine->stacks[m.stack].cost;
    for (size_t i = 0; i < mask->n_levels; i++) {
        uint32_t needed = cost_add(mask->levels[i].needed, behind);
        if (!mask->is_long && needed > tokens_left)
            break;
        add_level(machine, &mask->levels[i], bits);
        if (!mask->is_long && needed > *tokens_max)
            *tokens_max = needed;
    }
    struct trie suffixes = mask->suffixes;  // masks may move
    return suffixes.n_nodes == 0 ||
           add_suffix_tokens(machine, m.stack, &suffixes, tokens_left, bits, tokens_max);
}

/* The tokens of one member after which at most tokens_left are needed. */
static bool add_member_mask(struct machine *machine, struct member m, uint32_t tokens_left,
                            uint64_t *bits, uint32_t *tokens_max)
{
    struct string_shape shape = shape_of(machine, m.state);
    if (shape.is_string && shape.min > 0) {
        // A token brings the string nearer to its minLength, or begins an escape.
        uint32_t needed = automaton_tokens(machine->automaton, m.state);
        uint32_t most = cost_add(cost_add(needed, machine->stacks[m.stack].cost), STRING_END_BYTES);
        if (most > tokens_left)
            return add_long_member(machine, m, &shape, tokens_left, bits);
        *tokens_max = most > *tokens_max ? most : *tokens_max;
    }
    return add_part(machine, m, &shape, false, tokens_left, bits, tokens_max) &&
           (!shape.is_string || add_part(machine, m, &shape, true, tokens_left, bits, tokens_max));
}

static void allow_ends(const struct machine *machine, int32_t config, uint64_t *bits)
{
    const struct vocabulary *v = machine->vocabulary;
    for (size_t i = 0; machine->configs[config].is_accepting && i < v->n_ends; i++)
        if ((size_t)v->ends[i] < v->n_tokens)
            set_bit(bits, v->ends[i]);
}

const struct config_mask *machine_mask(struct machine *machine, int32_t config)
{
    if (machine->configs[config].mask >= 0)
        return &machine->config_masks[machine->configs[config].mask];
    if (!GROW(machine->budget, machine->config_masks, machine->config_masks_capacity,
              machine->n_config_masks + 1))
        return NULL;
    struct config_mask mask = {.bits = new_bits(machine)};
    if (mask.bits == NULL)
        return NULL;
    size_t index = machine->n_config_masks++;
    machine->config_masks[index] = mask;
    for (uint32_t i = 0; i < machine->configs[config].n; i++)
        if (!add_member_mask(machine, machine->members[machine->configs[config].first + i],
                             DISTANCE_NONE, mask.bits, &mask.tokens_max))
            return NULL;
    allow_ends(machine, config, mask.bits);
    machine->config_masks[index] = mask;
    machine->configs[config].mask = (int32_t)index;
    return &machine->config_masks[index];
}

bool machine_tight_mask(struct machine *machine, int32_t config, uint32_t tokens_left,
                        uint64_t *bits)
{
    uint32_t ignored = 0;
    memset(bits, 0, machine->vocabulary->n_words * sizeof *bits);
    for (uint32_t i = 0; i < machine->configs[config].n; i++)
        if (!add_member_mask(machine, machine->members[machine->configs[config].first + i],
                             tokens_left, bits, &ignored))
            return false;
    allow_ends(machine, config, bits);
    return true;
}
