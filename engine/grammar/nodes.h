/* A context-free grammar whose leaves are terms: what schemas and GBNF compile to.
 *
 * Nodes are numbers. A leaf (lexeme) is matched by an automaton of its own; everything that can
 * recurse, or that would make terms of many parts, is a node above. Sealing checks the whole and
 * computes what the matcher needs: the cheapest text of each node in tokens, and the bytes that may
 * follow each lexeme. */
#ifndef WICARA_GRAMMAR_NODES_H
#define WICARA_GRAMMAR_NODES_H

#include "engine/grammar/automaton.h"

typedef int32_t node;

enum {
    NODE_NONE = 0,   // accepts nothing
    NODE_EMPTY = 1,  // accepts the empty text
    NODES_MAX = 1 << 17,
    MODES_MAX = 4096,           // different sets of following bytes
    NULLABLE_REPEATS_MAX = 32,  // upper bound of a repetition of something that may be empty
};

enum node_kind {
    NODE_KIND_NONE,
    NODE_KIND_EMPTY,
    NODE_KIND_LEXEME,
    NODE_KIND_SEQUENCE,
    NODE_KIND_ALTERNATIVE,
    NODE_KIND_REPEAT,
    NODE_KIND_REFERENCE,
};

#define COST_NONE UINT32_MAX  // no finite text

struct grammar_node {
    uint8_t kind;
    bool is_nullable;
    int32_t a, b;       // LEXEME: a = lexeme; SEQUENCE: a, b; ALTERNATIVE: a = first of list,
                        // b = count; REPEAT, REFERENCE: a
    uint32_t min, max;  // REPEAT
    uint32_t cost;      // tokens of the cheapest text
    int32_t best;       // ALTERNATIVE: index of the cheapest
};

struct lexeme {
    term term;
    uint16_t mode;
    int32_t start;  // state
    struct byte_set first, follow;
};

struct nodes {
    struct budget *budget;
    struct terms *terms;
    struct grammar_node *items;
    size_t n_items, items_capacity;
    node *lists;
    size_t n_lists, lists_capacity;
    struct lexeme *lexemes;
    size_t n_lexemes, lexemes_capacity;
    struct byte_set *modes;  // [n_modes] the sets of following bytes
    size_t n_modes, modes_capacity;
    node root;
};

bool nodes_init(struct nodes *nodes, struct terms *terms);
void nodes_release(struct nodes *nodes);

/* Builders; NODE_NONE after a failure of the budget. */
node nodes_lexeme(struct nodes *nodes, term t);
node nodes_sequence(struct nodes *nodes, node a, node b);
node nodes_alternative(struct nodes *nodes, const node *items, size_t n_items);
node nodes_repeat(struct nodes *nodes, node a, uint32_t min, uint32_t max);
/* A node that is filled in later: a rule that may recurse. */
node nodes_reference(struct nodes *nodes);
void nodes_set_reference(struct nodes *nodes, node reference, node target);

/* Checks and computes everything for `root`. *left_recursive gets a node of a left recursion.
 * Errors: ERR_INVALID for left recursion, ERR_LIMIT, ERR_MEMORY. */
enum status nodes_seal(struct nodes *nodes, node root, struct automaton *automaton,
                       node *left_recursive, struct error *err) MUST_CHECK;
/* Makes the lexemes' start states again after automaton_clear(). */
bool nodes_restart(struct nodes *nodes, struct automaton *automaton);

/* Cost of `a` repeated `count` times. */
uint32_t cost_times(uint32_t cost, uint32_t count);
uint32_t cost_add(uint32_t a, uint32_t b);

#endif
