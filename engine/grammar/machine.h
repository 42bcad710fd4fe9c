/* A compiled grammar at work: stacks, configurations, their successors and their token masks.
 *
 * A configuration is the set of ways in which the text so far can be read: each a state of a
 * lexeme's automaton and a stack of what has to follow. Stacks are shared lists, equal ones have
 * equal numbers, and so have configurations; what is computed for one is kept. All of it can be
 * thrown away at any time (machine_reset): matchers then read their tokens again. So memory is
 * bounded, and what is kept changes the time of an answer, never the answer.
 *
 * One thread at a time: the callers hold grammar.mu. */
#ifndef WICARA_GRAMMAR_MACHINE_H
#define WICARA_GRAMMAR_MACHINE_H

#include "engine/grammar/nodes.h"

enum {
    CONFIG_DEAD = -1,
    STACK_DEAD = -1,
    STACK_END = 0,       // nothing has to follow
    MEMBERS_MAX = 4096,  // ways to read one text; a text with more is not allowed
};

struct stack_item {
    node at;
    uint32_t min, max;  // REPEAT: still to come
    int32_t next;
    uint32_t cost;  // tokens of the cheapest text for this and all that follows
};

struct member {
    int32_t state, stack;
};

struct config {
    uint32_t first, n;  // members, sorted
    bool is_accepting;
    int32_t mask;   // index, or -1
    uint32_t cost;  // tokens to the cheapest end, or DISTANCE_UNKNOWN
};

/* Tokens after which the lexeme needs at most so many tokens more. */
struct mask_level {
    uint64_t *bits;  // [n_words], or NULL: ids
    int32_t *ids;    // [n_ids]
    size_t n_ids;
    uint32_t needed;
};

enum { MASK_LEVELS_MAX = 12 };

/* Tokens that a state allows, as far as its stack does not matter. */
struct state_mask {
    struct mask_level levels[MASK_LEVELS_MAX];  // each holds its own tokens; needed ascends
    size_t n_levels;
    struct trie suffixes;  // what of a token stands behind a possible end of the lexeme
    uint32_t reach;        // most bytes of one of them and of the shortest text behind it
    bool is_long;          // a string shorter than its minLength: what tokens need is not known
};

struct config_mask {
    uint64_t *bits;
    uint32_t tokens_max;  // most tokens to the end after an allowed one
};

struct machine {
    struct budget *budget;
    struct terms *terms;
    struct nodes *nodes;
    struct automaton *automaton;
    const struct vocabulary *vocabulary;
    term json_free, json_any;  // one character of a JSON string; see mask.c

    struct stack_item *stacks;
    size_t n_stacks, stacks_capacity;
    int32_t *stack_buckets;
    size_t n_stack_buckets, stack_buckets_capacity;
    uint32_t *seen;  // [n_stacks] stamp of the last closure that met the stack
    size_t n_seen, seen_capacity;
    uint32_t stamp;

    struct member *members;
    size_t n_members, members_capacity;
    struct config *configs;
    size_t n_configs, configs_capacity;
    int32_t *config_buckets;
    size_t n_config_buckets, config_buckets_capacity;
    int32_t *closures;  // [n_closures] configuration of a stack alone, CONFIG_DEAD - 1 = unknown
    size_t n_closures, closures_capacity;
    struct step *steps;  // cache: (configuration, byte) -> configuration
    size_t steps_capacity;

    struct member *gather;  // scratch: members of the configuration in the making
    size_t n_gather, gather_capacity;
    bool gather_accepts;
    int32_t *work;  // scratch: stacks to be expanded
    size_t n_work, work_capacity;

    struct state_mask *state_masks;
    size_t n_state_masks, state_masks_capacity;
    struct config_mask *config_masks;
    size_t n_config_masks, config_masks_capacity;
};

bool machine_init(struct machine *machine, struct nodes *nodes, struct automaton *automaton);
void machine_release(struct machine *machine);
/* Throws away stacks, configurations and masks; the states are the caller's. */
void machine_reset(struct machine *machine);

/* All functions below: CONFIG_DEAD or false after a failure of the budget. */
int32_t machine_start(struct machine *machine);
int32_t machine_step(struct machine *machine, int32_t config, unsigned byte);
/* What remains to be read when the stack is all there is. */
int32_t machine_closure(struct machine *machine, int32_t stack);
uint32_t machine_cost(struct machine *machine, int32_t config);
/* Appends the cheapest text from here to `out` (of texts of equal cost always the same). */
struct buf;
bool machine_cheapest(struct machine *machine, int32_t config, struct buf *out);
/* True when nothing more can follow. */
static inline bool machine_is_complete(const struct machine *machine, int32_t config)
{
    return machine->configs[config].n == 0;
}

/* mask.c: tokens that `config` allows, in bits [vocabulary.n_words], and the most tokens that are
 * needed to the end after one of them. */
const struct config_mask *machine_mask(struct machine *machine, int32_t config);
/* The same of those tokens only after which `tokens_left` tokens are enough to come to an end. */
bool machine_tight_mask(struct machine *machine, int32_t config, uint32_t tokens_left,
                        uint64_t *bits);
void machine_drop_masks(struct machine *machine);

#endif
