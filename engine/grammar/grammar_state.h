/* A compiled grammar; shared by grammar.c (compiling) and matcher.c (using). */
#ifndef WICARA_GRAMMAR_GRAMMAR_STATE_H
#define WICARA_GRAMMAR_GRAMMAR_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/grammar/grammar.h"
#include "engine/grammar/machine.h"

struct grammar {
    _Atomic uint32_t refs;
    size_t tokens_min;
    const struct vocabulary *vocabulary;
    pthread_mutex_t mu;
    uint64_t epoch;  /* guarded by mu, like all that follows: times that the machine started over */
    bool is_broken;  // there was no memory to start over; the next call tries again
    struct budget budget;
    struct terms terms;
    struct nodes nodes;
    struct automaton automaton;
    struct machine machine;
    size_t n_nodes, n_sets, n_lists;  // terms of the compiled grammar; later ones are derivatives
};

/* Forgets everything that was computed since compiling. With the lock. */
void grammar_restart(struct grammar *grammar);

/* Fewest tokens of the cheapest text from `config`, their ids in *tokens (mem_free). With the
 * lock. */
enum status grammar_plan(struct grammar *grammar, int32_t config, int32_t **tokens,
                         size_t *n_tokens, struct error *err) MUST_CHECK;

#endif
