/* Guessing by lookup; see speculate.h.
 *
 * Index: a hash of every three tokens -> the position behind their latest occurrence, and for each
 * position the occurrence before it, so that the places that continue like the sequence's end form
 * a chain. Of the first CHAIN_MAX of them the one with the longest common past wins, the latest
 * among equals. What stood behind it is the guess; where that runs into the sequence's end it goes
 * on in the guess itself, so that a loop of any period is followed.
 *
 * Chance: for each class of common past (short, middle, long) a moving average of how often a
 * guessed token was right, starting from a prior. A class whose average is too low for the caller
 * rests; every PROBE_EVERY opportunities it may try one token, so that it can come back.
 *
 * Cost: O(1) a token for the index, and comparing a few places a step. */
#include "engine/scheduler/speculate.h"

#include <assert.h>
#include <stdbool.h>

#include "engine/base/mem.h"

enum {
    GRAM = 3,          // tokens of a key
    CHAIN_MAX = 16,    // places looked at
    PAST_MAX = 32,     // a longer common past tells no more
    PROBE_EVERY = 48,  // opportunities
    N_CLASSES = 3,
};

static const size_t CLASS_PAST_MIN[N_CLASSES] = {GRAM, 6, 16};
static const double CLASS_PRIOR[N_CLASSES] = {0.4, 0.65, 0.85};
static const double LEARNING = 1.0 / 12;

struct speculator {
    size_t tokens_max;
    size_t n_indexed;  // positions [GRAM, n_indexed) are in the index
    uint32_t mask;     // of the table
    int32_t *latest;   // [mask + 1] position behind the latest occurrence, -1 = none
    int32_t *before;   // [tokens_max] position behind the occurrence before it
    double chance[N_CLASSES];
    uint32_t n_rested[N_CLASSES];  // opportunities since the class rests
    size_t last_class;             // of the last guess
};

enum status speculator_create(struct speculator **out, size_t tokens_max, struct error *err)
{
    *out = NULL;
    assert(tokens_max > 0 && tokens_max < INT32_MAX / 2);
    struct speculator *s = mem_calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_MEMORY, "no memory for speculation");
    size_t n_table = 256;
    while (n_table < tokens_max)
        n_table *= 2;
    s->tokens_max = tokens_max;
    s->n_indexed = GRAM;
    s->mask = (uint32_t)(n_table - 1);
    s->latest = mem_alloc_array(n_table, sizeof *s->latest);
    s->before = mem_alloc_array(tokens_max, sizeof *s->before);
    if (s->latest == NULL || s->before == NULL) {
        speculator_free(s);
        return error_set(err, ERR_MEMORY, "no memory for speculation over %zu tokens", tokens_max);
    }
    memset(s->latest, 0xff, n_table * sizeof *s->latest);
    memcpy(s->chance, CLASS_PRIOR, sizeof s->chance);
    *out = s;
    return OK;
}

void speculator_free(struct speculator *speculator)
{
    if (speculator == NULL)
        return;
    mem_free(speculator->latest);
    mem_free(speculator->before);
    mem_free(speculator);
}

/* Of the GRAM tokens before `position`. */
static uint32_t slot_of(const struct speculator *s, const int32_t *tokens, size_t position)
{
    uint64_t hash = 0;
    for (size_t i = position - GRAM; i < position; i++)
        hash = (hash ^ (uint32_t)tokens[i]) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(hash >> 32) & s->mask;
}

static void index_tokens(struct speculator *s, const int32_t *tokens, size_t n_tokens)
{
    for (; s->n_indexed < n_tokens; s->n_indexed++) {
        uint32_t slot = slot_of(s, tokens, s->n_indexed);
        s->before[s->n_indexed] = s->latest[slot];
        s->latest[slot] = (int32_t)s->n_indexed;
    }
}

static size_t common_past(const int32_t *tokens, size_t n_tokens, size_t position)
{
    size_t n = 0, n_max = position < PAST_MAX ? position : PAST_MAX;
    while (n < n_max && tokens[position - 1 - n] == tokens[n_tokens - 1 - n])
        n++;
    return n;
}

/* The best place that continues like the end; 0 when there is none. */
static size_t find_place(const struct speculator *s, const int32_t *tokens, size_t n_tokens,
                         size_t *past)
{
    int32_t at = s->latest[slot_of(s, tokens, n_tokens)];
    size_t best = 0;
    *past = 0;
    for (int i = 0; i < CHAIN_MAX && at > 0 && *past < PAST_MAX; i++) {
        size_t n = common_past(tokens, n_tokens, (size_t)at);
        if (n >= GRAM && n > *past) {
            best = (size_t)at;
            *past = n;
        }
        at = s->before[at];
    }
    return best;
}

/* How many tokens are worth guessing when each is right with `chance`. */
static size_t worth_guessing(double chance, double chance_min, size_t n_max)
{
    size_t n = 0;
    for (double all = chance; n < n_max && all > chance_min; all *= chance)
        n++;
    return n;
}

size_t speculator_guess(struct speculator *s, const int32_t *tokens, size_t n_tokens,
                        double chance_min, size_t n_max, int32_t out[SPECULATE_TOKENS_MAX])
{
    assert(n_tokens <= s->tokens_max && (n_tokens >= s->n_indexed || n_tokens < GRAM));
    n_max = n_max < SPECULATE_TOKENS_MAX ? n_max : SPECULATE_TOKENS_MAX;
    if (n_tokens <= GRAM || n_max == 0)
        return 0;
    index_tokens(s, tokens, n_tokens);
    size_t past, place = find_place(s, tokens, n_tokens, &past), c = 0;
    if (place == 0)
        return 0;
    while (c + 1 < N_CLASSES && past >= CLASS_PAST_MIN[c + 1])
        c++;
    size_t n = worth_guessing(s->chance[c], chance_min, n_max);
    if (n == 0 && ++s->n_rested[c] % PROBE_EVERY == 0)
        n = 1;
    for (size_t i = 0; i < n; i++)
        out[i] = place + i < n_tokens ? tokens[place + i] : out[place + i - n_tokens];
    s->last_class = c;
    return n;
}

void speculator_learn(struct speculator *s, size_t n_tried, size_t n_right)
{
    assert(n_right <= n_tried);
    double *chance = &s->chance[s->last_class];
    for (size_t i = 0; i < n_right; i++)
        *chance += LEARNING * (1 - *chance);
    if (n_right < n_tried)
        *chance -= LEARNING * *chance;
}
