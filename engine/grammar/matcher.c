/* One text on its way through a grammar; see grammar.h.
 *
 * The matcher keeps its tokens and its configuration. When the grammar has started over since the
 * last call, the configuration's number means nothing any more and the tokens are read again.
 *
 * Budget: the invariant is that the tokens left are enough for some way to the end. Far from the
 * end the grammar's mask says how many tokens the worst allowed one would need; while that fits,
 * nothing has to be done. After that the mask is tight: a token is allowed if what it needs fits,
 * and so is the next token of a plan, the shortest way to the end in tokens, which is kept until a
 * token leaves it. So there is always a token, and the end comes in time. */
#include <assert.h>

#include "engine/base/mem.h"
#include "engine/grammar/grammar_state.h"

struct matcher {
    struct grammar *grammar;
    uint64_t epoch;
    int32_t config;
    bool is_accepting, is_complete, has_ended;
    int32_t *tokens;
    size_t n_tokens, tokens_capacity;
    size_t tokens_max;
    uint64_t *bits;
    int32_t *plan;  // NULL = none
    size_t n_plan, plan_at;
};

enum status matcher_create(struct matcher **out, struct grammar *grammar, size_t tokens_max,
                           struct error *err)
{
    *out = NULL;
    assert(tokens_max >= grammar->tokens_min);
    struct matcher *m = mem_calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a matcher");
    m->grammar = grammar_ref(grammar);
    m->tokens_max = tokens_max;
    m->epoch = UINT64_MAX;
    m->bits = mem_calloc(grammar->vocabulary->n_words + 1, sizeof *m->bits);
    if (m->bits == NULL) {
        matcher_free(m);
        return error_set(err, ERR_MEMORY, "no memory for a mask");
    }
    *out = m;
    return OK;
}

void matcher_free(struct matcher *matcher)
{
    if (matcher == NULL)
        return;
    grammar_unref(matcher->grammar);
    mem_free(matcher->tokens);
    mem_free(matcher->bits);
    mem_free(matcher->plan);
    mem_free(matcher);
}

/* ---- under the grammar's lock ---- */

static bool read_token(struct matcher *m, int32_t token)
{
    uint8_t bytes[TRIE_DEPTH_MAX + 1];
    size_t n_bytes = vocabulary_token(m->grammar->vocabulary, token, bytes);
    int32_t config = n_bytes == 0 ? CONFIG_DEAD : m->config;
    for (size_t i = 0; i < n_bytes && config != CONFIG_DEAD; i++)
        config = machine_step(&m->grammar->machine, config, bytes[i]);
    if (config == CONFIG_DEAD)
        return false;
    m->config = config;
    return true;
}

/* Reads all tokens again if the grammar has started over. */
static bool catch_up(struct matcher *m)
{
    if (m->grammar->is_broken)
        return false;
    if (m->epoch == m->grammar->epoch)
        return true;
    m->config = machine_start(&m->grammar->machine);
    if (m->config == CONFIG_DEAD)
        return false;
    for (size_t i = 0; i < m->n_tokens; i++)
        if (!read_token(m, m->tokens[i]))
            return false;
    m->epoch = m->grammar->epoch;
    return true;
}

static bool make_plan(struct matcher *m, struct error *err)
{
    if (m->plan != NULL)
        return true;
    m->plan_at = 0;
    return grammar_plan(m->grammar, m->config, &m->plan, &m->n_plan, err) == OK;
}

static void drop_plan(struct matcher *m)
{
    mem_free(m->plan);
    m->plan = NULL;
}

static bool try_mask(struct matcher *m, struct error *err)
{
    struct machine *machine = &m->grammar->machine;
    size_t left = m->tokens_max - m->n_tokens;
    const struct config_mask *mask = machine_mask(machine, m->config);
    if (mask == NULL)
        return false;
    if ((size_t)mask->tokens_max + 1 <= left) {
        memcpy(m->bits, mask->bits, machine->vocabulary->n_words * sizeof *m->bits);
        return true;
    }
    if (!make_plan(m, err) ||
        !machine_tight_mask(machine, m->config, left > 0 ? (uint32_t)left - 1 : 0, m->bits))
        return false;
    // The plan fits, unless tokens came that were not asked for (the forced end of a thought).
    if (m->plan_at < m->n_plan) {
        int32_t token = m->plan[m->plan_at];
        m->bits[(uint32_t)token >> 6] |= UINT64_C(1) << (token & 63);
    }
    return true;
}

/* A call that used up the grammar's memory is made again after a fresh start. */
static enum status failure(struct matcher *m, struct error *err)
{
    struct budget *budget = &m->grammar->budget;
    enum status status = budget_status(budget, "the grammar at this place of the answer", err);
    if (status == OK)
        status = error_set(err, ERR_INTERNAL, "a token left the grammar");
    grammar_restart(m->grammar);
    return status;
}

enum status matcher_mask(struct matcher *matcher, const uint64_t **out, struct error *err)
{
    struct matcher *m = matcher;
    struct grammar *g = m->grammar;
    *out = m->bits;
    enum status status = OK;
    pthread_mutex_lock(&g->mu);
    for (int attempt = 0; attempt < 2; attempt++) {
        budget_start(&g->budget, GRAMMAR_RUN_WORK_MAX);
        struct error first = {0};
        if (catch_up(m) && try_mask(m, &first)) {
            status = OK;
            break;
        }
        if (first.status != OK && attempt == 1)
            (void)error_set(err, first.status, "%s", first.text);
        status = failure(m, attempt == 1 ? err : NULL);
    }
    pthread_mutex_unlock(&g->mu);
    return status;
}

static bool keep_token(struct matcher *m, int32_t token)
{
    if (m->n_tokens == m->tokens_capacity) {
        size_t wanted = 2 * m->tokens_capacity + 64;
        int32_t *tokens = mem_realloc_array(m->tokens, wanted, sizeof *tokens);
        if (tokens == NULL)
            return false;
        m->tokens = tokens;
        m->tokens_capacity = wanted;
    }
    m->tokens[m->n_tokens++] = token;
    return true;
}

static bool is_end(const struct vocabulary *v, int32_t token)
{
    for (size_t i = 0; i < v->n_ends; i++)
        if (v->ends[i] == token)
            return true;
    return false;
}

enum status matcher_accept(struct matcher *matcher, int32_t token, struct error *err)
{
    struct matcher *m = matcher;
    struct grammar *g = m->grammar;
    const struct vocabulary *v = g->vocabulary;
    if (token < 0 || (size_t)token >= v->n_tokens || m->has_ended)
        return error_set(err, ERR_INTERNAL, "a token that the grammar cannot take");
    if (m->plan != NULL) {
        if (m->plan_at < m->n_plan && m->plan[m->plan_at] == token)
            m->plan_at++;
        else
            drop_plan(m);
    }
    enum status status = OK;
    pthread_mutex_lock(&g->mu);
    for (int attempt = 0; attempt < 2; attempt++) {
        budget_start(&g->budget, GRAMMAR_RUN_WORK_MAX);
        if (catch_up(m)) {
            if (is_end(v, token)) {
                m->has_ended = m->is_accepting = g->machine.configs[m->config].is_accepting;
                status = m->has_ended
                             ? OK
                             : error_set(err, ERR_INTERNAL, "an end inside the grammar's text");
                break;
            }
            if (read_token(m, token)) {
                m->is_accepting = g->machine.configs[m->config].is_accepting;
                m->is_complete = machine_is_complete(&g->machine, m->config);
                status = OK;
                break;
            }
        }
        status = failure(m, attempt == 1 ? err : NULL);
        if (status == ERR_INTERNAL) {
            (void)error_set(err, status, "a token left the grammar");
            break;
        }
    }
    pthread_mutex_unlock(&g->mu);
    if (status == OK && !m->has_ended && !keep_token(m, token))
        status = error_set(err, ERR_MEMORY, "no memory for the answer's tokens");
    return status;
}

bool matcher_is_accepting(const struct matcher *matcher)
{
    return matcher->is_accepting;
}

bool matcher_is_complete(const struct matcher *matcher)
{
    return matcher->is_complete || matcher->has_ended;
}
