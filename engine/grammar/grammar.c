/* Compiling a grammar and its life; see grammar.h.
 *
 * Compiling ends with the plan of the shortest text: it tells how many tokens a request must have,
 * and shows that there is one. At work a grammar grows by what it computes; at its limit it forgets
 * all of that (an epoch ends) and matchers read their tokens again. */
#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/grammar/build.h"
#include "engine/grammar/grammar_state.h"
#include "engine/grammar/regex.h"

enum { PLAN_BYTES_MAX = 1 << 24 };

static term make_blank(struct terms *terms)
{
    term space = term_range(terms, ' ', ' '), tab = term_range(terms, '\t', '\t');
    term indent = term_alt(terms, term_repeat(terms, space, 0, 20), term_repeat(terms, tab, 0, 10));
    term line = term_cat(terms, term_range(terms, '\n', '\n'), indent);
    return term_optional(terms, term_alt(terms, space, line));
}

static enum status build_regex(struct grammar_build *build, const struct grammar_source *source,
                               node *root, struct error *err)
{
    struct regex_options options = {.form = TEXT_PLAIN};
    struct regex regex;
    enum status status =
        regex_parse(build->terms, source->text, source->n_bytes, &options, &regex, err);
    if (status == OK)
        *root = nodes_lexeme(build->nodes, regex.term);
    return status;
}

static enum status build_root(struct grammar *g, const struct vocabulary *vocabulary,
                              const struct grammar_source *source, node *root, struct error *err)
{
    struct grammar_build build = {
        .budget = &g->budget,
        .terms = &g->terms,
        .nodes = &g->nodes,
        .automaton = &g->automaton,
        .json_free = chars_json_free(&g->terms),
        .json_any = chars_any(&g->terms, TEXT_JSON),
        .blank = make_blank(&g->terms),
    };
    g->machine.json_free = build.json_free;
    g->machine.json_any = build.json_any;
    enum status status = OK;
    switch (source->kind) {
    case GRAMMAR_JSON_OBJECT:
        status = build_json_object(&build, root, err);
        break;
    case GRAMMAR_JSON_SCHEMA:
        status =
            build_json_schema(&build, source->text, source->n_bytes, source->is_strict, root, err);
        break;
    case GRAMMAR_REGEX:
        status = build_regex(&build, source, root, err);
        break;
    case GRAMMAR_CHOICE:
        status = build_choice(&build, source->text, source->n_bytes, root, err);
        break;
    case GRAMMAR_GBNF:
        status = build_gbnf(&build, source->text, source->n_bytes, root, err);
        break;
    }
    if (status == OK && source->calls != NULL)
        *root = build_calls(&build, vocabulary, source->calls, *root);
    if (status == OK && source->free_until != NULL) {
        term t = build_free_text(&build, vocabulary, source->free_until);
        *root = nodes_sequence(&g->nodes, nodes_lexeme(&g->nodes, t), *root);
    }
    return status;
}

static const char *what_is(enum grammar_kind kind)
{
    static const char *const names[] = {"the grammar", "the schema", "the pattern", "the choices",
                                        "the grammar"};
    return names[kind];
}

enum status grammar_plan(struct grammar *g, int32_t config, int32_t **tokens, size_t *n_tokens,
                         struct error *err)
{
    struct buf text;
    buf_init(&text, PLAN_BYTES_MAX);
    *tokens = NULL;
    *n_tokens = 0;
    enum status status = OK;
    if (!machine_cheapest(&g->machine, config, &text)) {
        buf_release(&text);
        if (g->budget.failed == OK)
            g->budget.failed = ERR_LIMIT;
        return g->budget.failed == ERR_MEMORY
                   ? error_set(err, ERR_MEMORY, "no memory for the shortest text of the grammar")
                   : error_set(err, ERR_LIMIT, "the shortest text of the grammar is too long");
    }
    uint32_t *scratch = mem_alloc_array(2 * text.n_bytes + 2, sizeof *scratch);
    *tokens = mem_alloc_array(text.n_bytes + 1, sizeof **tokens);
    if (scratch == NULL || *tokens == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for the shortest text of the grammar");
    else if (text.n_bytes > 0)
        *n_tokens = vocabulary_spell(g->vocabulary, text.bytes, text.n_bytes, scratch, *tokens);
    if (status == OK && *n_tokens == SIZE_MAX)
        status = error_set(err, ERR_UNSUPPORTED,
                           "no tokens of this model spell the shortest text of the grammar");
    mem_free(scratch);
    buf_release(&text);
    if (status != OK) {
        mem_free(*tokens);
        *tokens = NULL;
    }
    return status;
}

static enum status seal(struct grammar *g, node root, const char *what, struct error *err)
{
    node left_recursive;
    enum status status = budget_status(&g->budget, what, err);
    if (status == OK)
        status = nodes_seal(&g->nodes, root, &g->automaton, &left_recursive, err);
    if (status != OK)
        return status;
    if (g->nodes.items[root].cost == COST_NONE)
        return error_set(err, ERR_INVALID, "nothing can satisfy %s", what);
    int32_t start = CONFIG_DEAD, *plan;
    if (machine_init(&g->machine, &g->nodes, &g->automaton))
        start = machine_start(&g->machine);
    status = budget_status(&g->budget, what, err);
    if (status == OK && start == CONFIG_DEAD)
        return error_set(err, ERR_LIMIT, "%s has more than %d ways to start", what, MEMBERS_MAX);
    if (status == OK)
        status = grammar_plan(g, start, &plan, &g->tokens_min, err);
    if (status != OK)
        return status;
    mem_free(plan);
    g->n_nodes = g->terms.n_nodes;
    g->n_sets = g->terms.n_sets;
    g->n_lists = g->terms.n_lists;
    return OK;
}

enum status grammar_compile(struct grammar **out, const struct vocabulary *vocabulary,
                            const struct grammar_source *source, struct error *err)
{
    *out = NULL;
    if (vocabulary->missing >= 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "this model's vocabulary has no token for '%c', so its output cannot be "
                         "constrained",
                         vocabulary->missing);
    if (source->n_bytes > GRAMMAR_SOURCE_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "%s has %zu bytes, the most is %d", what_is(source->kind),
                         source->n_bytes, GRAMMAR_SOURCE_BYTES_MAX);
    if (source->free_until != NULL && strlen(source->free_until) > GRAMMAR_MARKER_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "a marker has more than %d bytes",
                         GRAMMAR_MARKER_BYTES_MAX);
    struct grammar *g = mem_calloc(1, sizeof *g);
    if (g == NULL)
        return error_set(err, ERR_MEMORY, "no memory for a grammar");
    atomic_init(&g->refs, 1);
    g->vocabulary = vocabulary;
    pthread_mutex_init(&g->mu, NULL);
    g->budget.bytes_max = GRAMMAR_COMPILE_BYTES_MAX;
    budget_start(&g->budget, GRAMMAR_COMPILE_WORK_MAX);
    node root = NODE_NONE;
    enum status status = OK;
    struct byte_set usable = {{0}};
    byte_set_add(&usable, REGEX_ANCHORS_FIRST, VOCABULARY_CONTROL_BYTE);
    for (unsigned b = 0; b < REGEX_ANCHORS_FIRST; b++)
        if (vocabulary->has_byte[b])
            byte_set_add(&usable, b, b);
    if (terms_init(&g->terms, &g->budget, &usable) && nodes_init(&g->nodes, &g->terms) &&
        automaton_init(&g->automaton, &g->terms, vocabulary)) {
        g->machine = (struct machine){.vocabulary = vocabulary};
        status = build_root(g, vocabulary, source, &root, err);
    }
    term json_free = g->machine.json_free, json_any = g->machine.json_any;
    if (g->budget.failed != OK)
        status = budget_status(&g->budget, what_is(source->kind), err);
    if (status == OK)
        status = seal(g, root, what_is(source->kind), err);
    if (status != OK) {
        grammar_unref(g);
        return status;
    }
    g->machine.json_free = json_free;
    g->machine.json_any = json_any;
    g->budget.bytes_max = GRAMMAR_RUN_BYTES_MAX;
    *out = g;
    return OK;
}

struct grammar *grammar_ref(struct grammar *grammar)
{
    atomic_fetch_add(&grammar->refs, 1);
    return grammar;
}

void grammar_unref(struct grammar *grammar)
{
    if (grammar == NULL || atomic_fetch_sub(&grammar->refs, 1) != 1)
        return;
    machine_release(&grammar->machine);
    automaton_release(&grammar->automaton);
    nodes_release(&grammar->nodes);
    terms_release(&grammar->terms);
    pthread_mutex_destroy(&grammar->mu);
    mem_free(grammar);
}

void grammar_restart(struct grammar *g)
{
    term json_free = g->machine.json_free, json_any = g->machine.json_any;
    g->budget.failed = OK;
    g->epoch++;
    machine_release(&g->machine);
    automaton_release(&g->automaton);
    terms_truncate(&g->terms, g->n_nodes, g->n_sets, g->n_lists);
    g->is_broken = !automaton_init(&g->automaton, &g->terms, g->vocabulary) ||
                   !nodes_restart(&g->nodes, &g->automaton) ||
                   !machine_init(&g->machine, &g->nodes, &g->automaton);
    g->machine.json_free = json_free;
    g->machine.json_any = json_any;
}

size_t grammar_tokens_min(const struct grammar *grammar)
{
    return grammar->tokens_min;
}

size_t grammar_bytes(struct grammar *grammar)
{
    pthread_mutex_lock(&grammar->mu);
    size_t n = grammar->budget.n_bytes + sizeof *grammar;
    pthread_mutex_unlock(&grammar->mu);
    return n;
}
