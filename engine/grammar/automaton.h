/* Terms as states of a deterministic automaton over bytes, made when they are first reached.
 *
 * A state is a term and a `mode` (which set of bytes may follow, see mask.h: states of different
 * modes have masks of their own). State 0 is dead. A row of successors is complete: what leads to
 * no accepted text leads to state 0. */
#ifndef WICARA_GRAMMAR_AUTOMATON_H
#define WICARA_GRAMMAR_AUTOMATON_H

#include "engine/grammar/term.h"
#include "engine/grammar/vocabulary.h"

enum { STATE_DEAD = 0, STATES_MAX = 1 << 20 };

struct automaton_state {
    term term;
    uint16_t mode;
    bool is_nullable;  // what was read so far is complete
    bool is_mixed;
    bool is_ready;      // the row leads to live states only
    int32_t row;        // or -1
    uint32_t distance;  // bytes to the nearest complete text; see below
    uint32_t tokens;    // that spell them, or DISTANCE_UNKNOWN
    int32_t mask;       // or -1
    int32_t long_mask;  // of the long tokens of a string, or -1
    bool has_loops;
    struct char_bits loops;  // characters that lead back to this very state
};

enum { ROW_ENTRIES = 256 };
#define DISTANCE_UNKNOWN UINT32_MAX
#define DISTANCE_NONE    (UINT32_MAX - 1)  // no accepted text can be reached

struct automaton {
    struct budget *budget;
    struct terms *terms;
    const struct vocabulary *vocabulary;
    struct automaton_state *states;
    size_t n_states, states_capacity;
    int32_t *rows;  // [n_rows, ROW_ENTRIES]
    size_t n_rows, rows_capacity;
    int32_t *buckets;
    size_t n_buckets, buckets_capacity;
    struct search *queue;  // scratch
    size_t queue_capacity;
    uint32_t *marks;  // [n_states] stamp of the last search that saw the state
    size_t marks_capacity, n_marks;
    uint32_t stamp;
    char *text;  // scratch
    size_t text_capacity;
    uint32_t *spelling;  // scratch
    size_t spelling_capacity;
};

bool automaton_init(struct automaton *automaton, struct terms *terms,
                    const struct vocabulary *vocabulary);
void automaton_release(struct automaton *automaton);
/* Forgets all states but the dead one. */
void automaton_clear(struct automaton *automaton);

/* STATE_DEAD for a term that accepts nothing, or after a failure of the budget. */
int32_t automaton_state_of(struct automaton *automaton, term t, uint16_t mode);
/* Makes the state's row; false after a failure. Rows and states may move in memory. */
bool automaton_make_row(struct automaton *automaton, int32_t state);
/* Characters that lead from the state back to itself; NULL after a failure. Valid until a state is
 * made. */
const struct char_bits *automaton_loops(struct automaton *automaton, int32_t state);
/* Bytes of the shortest text from here; DISTANCE_NONE when there is none. */
uint32_t automaton_distance(struct automaton *automaton, int32_t state);
/* Tokens that spell that text (an upper bound when it is long). */
uint32_t automaton_tokens(struct automaton *automaton, int32_t state);
/* Writes that text to out[distance]. */
bool automaton_shortest(struct automaton *automaton, int32_t state, char *out);

static inline int32_t automaton_next(const struct automaton *automaton, int32_t state,
                                     unsigned byte)
{
    size_t row = (size_t)automaton->states[state].row;
    return automaton->rows[row * ROW_ENTRIES + byte];
}

#endif
