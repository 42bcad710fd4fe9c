/* DRY and bad words; see lookback.h.
 *
 * DRY needs, for every earlier place, how many tokens before it equal those at the end. That is the
 * Z-function of the reversed text: all of it in one pass, linear in the window, where a comparison
 * at each place would be quadratic in a text that repeats itself (the very case it is for).
 *
 * The power is a product in double, one factor at a time, so that it does not depend on the C
 * library's pow(). */
#include "engine/sampling/lookback.h"

#include <assert.h>
#include <float.h>

#include "engine/base/mem.h"

static const double PENALTY_MAX = 1e30;

void dry_release(struct dry_state *state)
{
    mem_free(state->matches);
    mem_free(state->longest);
    mem_free(state->found);
    *state = (struct dry_state){0};
}

static bool make_room(struct dry_state *state, size_t n_vocab, size_t n_tokens)
{
    if (state->longest == NULL)
        state->longest = mem_calloc(n_vocab, sizeof *state->longest);
    if (state->longest == NULL)
        return false;
    if (n_tokens <= state->capacity)
        return true;
    size_t wanted = 2 * n_tokens;
    uint32_t *matches = mem_realloc_array(state->matches, wanted, sizeof *matches);
    if (matches != NULL)
        state->matches = matches;
    struct lookback_penalty *found = mem_realloc_array(state->found, wanted, sizeof *found);
    if (found != NULL)
        state->found = found;
    if (matches == NULL || found == NULL)
        return false;
    state->capacity = state->found_max = wanted;
    return true;
}

static bool is_breaker(const struct dry_params *params, int32_t token)
{
    return params->breakers != NULL && (params->breakers[token / 8] >> token % 8 & 1) != 0;
}

/* Tokens at the end without a breaker among them. */
static size_t unbroken_tail(const struct dry_params *params, const int32_t *tokens, size_t n)
{
    size_t length = 0;
    while (length < n && !is_breaker(params, tokens[n - 1 - length]))
        length++;
    return length;
}

/* z[k]: how many tokens before (and with) place n - 1 - k equal the tokens at the end. */
static void match_ends(const int32_t *tokens, size_t n, uint32_t *z)
{
    const int32_t *end = tokens + n - 1;  // end[-k] is the reversed text
    size_t left = 0, right = 0;
    z[0] = (uint32_t)n;
    for (size_t k = 1; k < n; k++) {
        size_t same = 0;
        if (k < right)
            same = z[k - left] < right - k ? z[k - left] : right - k;
        while (k + same < n && end[-(ptrdiff_t)same] == end[-(ptrdiff_t)(k + same)])
            same++;
        z[k] = (uint32_t)same;
        if (k + same > right) {
            left = k;
            right = k + same;
        }
    }
}

static float penalty_of(const struct dry_params *params, size_t length)
{
    double penalty = (double)params->multiplier;
    for (size_t i = (size_t)params->allowed_length; i < length && penalty < PENALTY_MAX; i++) {
        double next = penalty * (double)params->base;
        if (next == penalty)  // base 1
            break;
        penalty = next;
    }
    return (float)(penalty < PENALTY_MAX ? penalty : PENALTY_MAX);
}

enum status dry_penalties(struct dry_state *state, const struct dry_params *params, size_t n_vocab,
                          const int32_t *tokens, size_t n_tokens,
                          const struct lookback_penalty **out, size_t *n_out, struct error *err)
{
    size_t n = n_tokens, allowed = (size_t)params->allowed_length, n_found = 0;
    if (params->window > 0 && n > (size_t)params->window) {
        tokens += n - (size_t)params->window;
        n = (size_t)params->window;
    }
    *n_out = 0;
    size_t tail = unbroken_tail(params, tokens, n);
    if (n < 2 || tail == 0 || tail < allowed)
        return OK;
    if (!make_room(state, n_vocab, n))
        return error_set(err, ERR_MEMORY, "no memory to look for repetitions");
    match_ends(tokens, n, state->matches);
    for (size_t k = 1; k < n; k++) {
        size_t length = state->matches[k] < tail ? state->matches[k] : tail;
        if (length == 0 || length < allowed)
            continue;
        int32_t next = tokens[n - k];  // what followed then
        assert(next >= 0 && (size_t)next < n_vocab);
        if (state->longest[next] == 0)
            state->found[n_found++].token = next;
        if (length > state->longest[next])
            state->longest[next] = (uint32_t)length;
    }
    for (size_t i = 0; i < n_found; i++) {
        uint32_t *longest = &state->longest[state->found[i].token];
        state->found[i].penalty = penalty_of(params, *longest);
        *longest = 0;
    }
    *out = state->found;
    *n_out = n_found;
    return OK;
}

bool bad_word_is_due(const struct token_lists *words, size_t i, const int32_t *tokens,
                     size_t n_tokens, int32_t *token)
{
    size_t first = i == 0 ? 0 : words->ends[i - 1], n = words->ends[i] - first;
    if (n == 0 || n - 1 > n_tokens)
        return false;
    *token = words->ids[first + n - 1];
    return n == 1 ||
           memcmp(words->ids + first, tokens + n_tokens - (n - 1), (n - 1) * sizeof *tokens) == 0;
}
