/* GBNF, the grammar notation of llama.cpp, to nodes; see build.h.
 *
 *   root ::= "yes" | list          a rule; `root` is where the text starts
 *   "text" [a-z] [^a-z] .          characters; escapes \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH
 *   (a b) | c   * + ? {m} {m,} {m,n} {,n}   groups, alternatives, repetition;  # comment
 *
 * A rule ends at the end of its line, unless a bracket is open or the line ends with ::= or |.
 * Rules may recurse, but not to the left. Small rules that do not recurse become part of the
 * lexemes in which they are used; one that can be of any length becomes a lexeme of its own, so
 * that all its uses share their states. */
#include "engine/base/hex.h"
#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/grammar/build.h"
#include "engine/grammar/regex.h"

enum {
    GBNF_DEPTH_MAX = 64,
    GBNF_RULES_MAX = 4096,
    GBNF_NAME_MAX = 64,
    QUANTIFIERS_MAX = 4,     // of one atom
    INLINE_ITEMS_MAX = 100,  // of a rule that becomes part of others' lexemes
};

enum item_kind { ITEM_TERM, ITEM_RULE, ITEM_SEQUENCE, ITEM_ALTERNATIVE, ITEM_REPEAT };

struct item {
    enum item_kind kind;
    term term;
    int32_t first, n;  // SEQUENCE, ALTERNATIVE: children in `lists`; RULE: first = rule;
                       // REPEAT: first = item
    uint32_t min, max;
};

struct rule {
    char name[GBNF_NAME_MAX + 1];
    int32_t item;  // -1 = used but not defined yet
    uint32_t n_items;
    bool is_regular;  // it does not come back to itself
    node reference;
};

struct gbnf {
    struct grammar_build *build;
    const char *start, *at, *end;
    struct item *items;
    size_t n_items, items_capacity;
    int32_t *lists;
    size_t n_lists, lists_capacity;
    int32_t *stack;  // children of what is being read
    size_t n_stack, stack_capacity;
    struct rule *rules;
    size_t n_rules, rules_capacity;
    unsigned depth;
    struct error *err;
};

static enum status fail(const struct gbnf *g, const char *what)
{
    size_t line = 1;
    for (const char *at = g->start; at < g->at; at++)
        line += *at == '\n';
    return error_set(g->err, ERR_INVALID, "%s in line %zu of the grammar", what, line);
}

static int32_t add_item(struct gbnf *g, struct item item)
{
    if (!budget_work(g->build->budget, 1) ||
        !GROW(g->build->budget, g->items, g->items_capacity, g->n_items + 1))
        return 0;
    g->items[g->n_items] = item;
    return (int32_t)g->n_items++;
}

static void push(struct gbnf *g, int32_t item)
{
    if (GROW(g->build->budget, g->stack, g->stack_capacity, g->n_stack + 1))
        g->stack[g->n_stack++] = item;
}

/* An item of the children stacked above `mark`. */
static int32_t pop_list(struct gbnf *g, enum item_kind kind, size_t mark)
{
    size_t n = g->n_stack - mark;
    if (n == 1) {
        g->n_stack = mark;
        return g->stack[mark];
    }
    if (!GROW(g->build->budget, g->lists, g->lists_capacity, g->n_lists + n)) {
        g->n_stack = mark;
        return 0;
    }
    struct item item = {.kind = kind, .first = (int32_t)g->n_lists, .n = (int32_t)n};
    for (size_t i = 0; i < n; i++)
        g->lists[g->n_lists++] = g->stack[mark + i];
    g->n_stack = mark;
    return add_item(g, item);
}

/* ---- reading ---- */

static void skip_space(struct gbnf *g, bool newlines)
{
    while (g->at < g->end) {
        if (*g->at == '#') {
            while (g->at < g->end && *g->at != '\n')
                g->at++;
        } else if (*g->at == ' ' || *g->at == '\t' ||
                   (newlines && strchr("\r\n", *g->at) != NULL && *g->at != '\0')) {
            g->at++;
        } else {
            return;
        }
    }
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static enum status read_name(struct gbnf *g, int32_t *rule)
{
    const char *start = g->at;
    while (g->at < g->end && is_name_char(*g->at))
        g->at++;
    size_t n = (size_t)(g->at - start);
    if (n == 0)
        return fail(g, "a rule's name is expected");
    if (n > GBNF_NAME_MAX)
        return fail(g, "a rule's name is longer than 64 characters");
    budget_work(g->build->budget, 1 + g->n_rules / 16);
    for (size_t i = 0; i < g->n_rules; i++)
        if (strlen(g->rules[i].name) == n && memcmp(g->rules[i].name, start, n) == 0) {
            *rule = (int32_t)i;
            return OK;
        }
    if (g->n_rules == GBNF_RULES_MAX)
        return error_set(g->err, ERR_LIMIT, "the grammar has more than %d rules", GBNF_RULES_MAX);
    if (!GROW(g->build->budget, g->rules, g->rules_capacity, g->n_rules + 1))
        return OK;
    struct rule *added = &g->rules[g->n_rules];
    *added = (struct rule){.item = -1, .reference = NODE_NONE};
    memcpy(added->name, start, n);
    *rule = (int32_t)g->n_rules++;
    return OK;
}

/* One character of a literal or class, escapes undone. */
static enum status read_char(struct gbnf *g, uint32_t *c)
{
    static const char letters[] = "t\tn\nr\r";
    if (*g->at != '\\') {
        size_t n = utf8_decode(g->at, (size_t)(g->end - g->at), c);
        if (n == 0)
            return fail(g, "invalid UTF-8");
        g->at += n;
        return OK;
    }
    if (g->end - g->at < 2)
        return fail(g, "a backslash with nothing behind it");
    char letter = g->at[1];
    g->at += 2;
    size_t n_digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    for (size_t i = 0; n_digits == 0 && letters[i] != '\0'; i += 2)
        if (letters[i] == letter) {
            *c = (uint8_t)letters[i + 1];
            return OK;
        }
    if (n_digits == 0) {
        *c = (uint8_t)letter;
        return strchr("\\\"[]-^", letter) != NULL ? OK : fail(g, "an unknown escape");
    }
    uint64_t value = 0;
    for (size_t i = 0; i < n_digits; i++, g->at++) {
        char d = g->at < g->end ? *g->at : ' ';
        int digit = hex_digit(d);
        if (digit < 0)
            return fail(g, "a bad escape");
        value = value << 4 | (unsigned)digit;
    }
    *c = (uint32_t)value;
    return value <= CHARS_LAST && (value < 0xD800 || value > 0xDFFF) ? OK : fail(g, "a bad escape");
}

static enum status read_literal(struct gbnf *g, term *out)
{
    struct terms *terms = g->build->terms;
    term t = TERM_EMPTY;
    size_t mark = terms->n_stack;
    for (g->at++; g->at < g->end && *g->at != '"';) {
        uint32_t c;
        char bytes[4];
        enum status status = read_char(g, &c);
        if (status != OK)
            return status;
        if (GROW(terms->budget, terms->stack, terms->stack_capacity, terms->n_stack + 1))
            terms->stack[terms->n_stack++] = term_literal(terms, bytes, utf8_encode(c, bytes));
        if (terms->budget->failed != OK)
            return OK;
    }
    while (terms->n_stack > mark) {
        term head = terms->stack[--terms->n_stack];
        t = term_cat(terms, head, t);
    }
    *out = t;
    if (g->at == g->end)
        return fail(g, "a literal without its closing quote");
    g->at++;
    return OK;
}

static enum status read_class(struct gbnf *g, term *out)
{
    struct char_set set;
    chars_init(&set, g->build->budget);
    g->at++;
    bool inverted = g->at < g->end && *g->at == '^';
    g->at += inverted;
    enum status status = OK;
    while (status == OK && g->at < g->end && *g->at != ']') {
        uint32_t first, last;
        status = read_char(g, &first);
        last = first;
        if (status == OK && g->end - g->at >= 2 && g->at[0] == '-' && g->at[1] != ']') {
            g->at++;
            status = read_char(g, &last);
        }
        if (status == OK && last < first)
            status = fail(g, "a range whose end comes before its start");
        if (status == OK)
            (void)chars_add(&set, first, last);
    }
    if (status == OK && g->at == g->end)
        status = fail(g, "a [ without ]");
    if (status == OK) {
        g->at++;
        if (inverted)
            (void)chars_invert(&set);
        *out = chars_term(g->build->terms, &set, TEXT_PLAIN);
    }
    chars_release(&set);
    return status;
}

static enum status read_alternatives(struct gbnf *g, bool nested, int32_t *out);

static enum status read_group(struct gbnf *g, int32_t *out)
{
    if (g->depth == GBNF_DEPTH_MAX)
        return error_set(g->err, ERR_LIMIT, "the grammar nests deeper than %d groups",
                         GBNF_DEPTH_MAX);
    g->at++;
    g->depth++;
    enum status status = read_alternatives(g, true, out);
    g->depth--;
    if (status != OK)
        return status;
    if (g->at == g->end || *g->at != ')')
        return fail(g, "a ( without )");
    g->at++;
    return OK;
}

static enum status read_atom(struct gbnf *g, int32_t *out)
{
    struct item item = {.kind = ITEM_TERM};
    enum status status;
    switch (*g->at) {
    case '(':
        return read_group(g, out);
    case '"':
        status = read_literal(g, &item.term);
        break;
    case '[':
        status = read_class(g, &item.term);
        break;
    case '.':
        g->at++;
        item.term = chars_any(g->build->terms, TEXT_PLAIN);
        status = OK;
        break;
    case '<':
    case '!':
        return error_set(g->err, ERR_UNSUPPORTED, "tokens in a grammar (<...>) are not supported");
    default:
        item.kind = ITEM_RULE;
        status = read_name(g, &item.first);
        break;
    }
    *out = add_item(g, item);
    return status;
}

static enum status read_number(struct gbnf *g, uint32_t *out, bool *is_given)
{
    uint64_t value = 0;
    *is_given = false;
    skip_space(g, true);
    for (; g->at < g->end && *g->at >= '0' && *g->at <= '9'; g->at++) {
        value = value * 10 + (uint64_t)(*g->at - '0');
        *is_given = true;
        if (value > REGEX_COUNT_MAX)
            return error_set(g->err, ERR_LIMIT, "a count in the grammar is above %d",
                             REGEX_COUNT_MAX);
    }
    skip_space(g, true);
    if (*is_given)
        *out = (uint32_t)value;
    return OK;
}

static enum status read_quantifiers(struct gbnf *g, int32_t *item)
{
    for (int n = 0; g->at < g->end && strchr("*+?{", *g->at) != NULL && *g->at != '\0'; n++) {
        if (n == QUANTIFIERS_MAX)
            return fail(g, "too many quantifiers one behind the other");
        struct item repeat = {.kind = ITEM_REPEAT, .first = *item, .max = TERM_ENDLESS};
        char c = *g->at++;
        repeat.min = c == '+';
        if (c == '?')
            repeat.max = 1;
        if (c == '{') {
            bool has_min, has_max;
            enum status status = read_number(g, &repeat.min, &has_min);
            if (status == OK && g->at < g->end && *g->at == ',') {
                g->at++;
                status = read_number(g, &repeat.max, &has_max);
                has_min = has_min || has_max;
            } else {
                repeat.max = repeat.min;
            }
            if (status != OK)
                return status;
            if (!has_min || repeat.min > repeat.max || g->at == g->end || *g->at != '}')
                return fail(g, "a bad repetition");
            g->at++;
        }
        *item = add_item(g, repeat);
        skip_space(g, false);
    }
    return OK;
}

static bool at_atom(const struct gbnf *g)
{
    return g->at < g->end && *g->at != '\0' &&
           (is_name_char(*g->at) || strchr("\"[(.<!", *g->at) != NULL);
}

static enum status read_sequence(struct gbnf *g, bool nested, int32_t *out)
{
    size_t mark = g->n_stack;
    skip_space(g, nested);
    while (at_atom(g)) {
        int32_t item = 0;
        enum status status = read_atom(g, &item);
        if (status == OK) {
            skip_space(g, nested);
            status = read_quantifiers(g, &item);
        }
        if (status != OK || g->build->budget->failed != OK)
            return status;
        push(g, item);
        skip_space(g, nested);
    }
    if (g->n_stack == mark)
        push(g, add_item(g, (struct item){.kind = ITEM_TERM, .term = TERM_EMPTY}));
    *out = pop_list(g, ITEM_SEQUENCE, mark);
    return OK;
}

static enum status read_alternatives(struct gbnf *g, bool nested, int32_t *out)
{
    size_t mark = g->n_stack;
    for (bool more = true; more;) {
        int32_t item = 0;
        enum status status = read_sequence(g, nested, &item);
        if (status != OK || g->build->budget->failed != OK)
            return status;
        push(g, item);
        more = g->at < g->end && *g->at == '|';
        g->at += more;
        if (more)
            skip_space(g, true);
    }
    *out = pop_list(g, ITEM_ALTERNATIVE, mark);
    return OK;
}

static enum status read_rules(struct gbnf *g)
{
    for (skip_space(g, true); g->at < g->end; skip_space(g, true)) {
        int32_t rule = 0, item = 0;
        enum status status = read_name(g, &rule);
        if (status != OK || g->build->budget->failed != OK)
            return status;
        skip_space(g, false);
        if (g->end - g->at < 3 || memcmp(g->at, "::=", 3) != 0)
            return fail(g, "::= is expected");
        g->at += 3;
        skip_space(g, true);
        if (g->rules[rule].item >= 0)
            return error_set(g->err, ERR_INVALID, "the rule '%s' is defined twice",
                             g->rules[rule].name);
        status = read_alternatives(g, false, &item);
        if (status != OK || g->build->budget->failed != OK)
            return status;
        if (g->at < g->end && *g->at != '\n' && *g->at != '\r')
            return fail(g, "an unexpected character");
        g->rules[rule].item = item;
    }
    return OK;
}

/* ---- building ---- */

/* Counts items with those of the rules used; false when a rule in it is not known to be regular. */
static bool measure(const struct gbnf *g, int32_t at, uint32_t *n)
{
    const struct item *item = &g->items[at];
    if (++*n > INLINE_ITEMS_MAX)
        return true;
    switch (item->kind) {
    case ITEM_TERM:
        return true;
    case ITEM_RULE:
        *n += g->rules[item->first].n_items;
        return g->rules[item->first].is_regular;
    case ITEM_REPEAT:
        return measure(g, item->first, n);
    case ITEM_SEQUENCE:
    case ITEM_ALTERNATIVE:
        for (int32_t i = 0; i < item->n; i++)
            if (!measure(g, g->lists[item->first + i], n))
                return false;
        return true;
    }
    return false;
}

/* Rules that use only terms and small regular rules, as a least fixed point. */
static void find_regular_rules(struct gbnf *g)
{
    for (bool changed = true; changed && budget_work(g->build->budget, g->n_rules);) {
        changed = false;
        for (size_t i = 0; i < g->n_rules; i++) {
            struct rule *rule = &g->rules[i];
            uint32_t n = 0;
            if (rule->is_regular || !measure(g, rule->item, &n) || n > INLINE_ITEMS_MAX)
                continue;
            rule->is_regular = changed = true;
            rule->n_items = n;
        }
    }
}

struct part {
    bool is_term;
    term term;
    node node;
};

static node as_node(struct gbnf *g, const struct part *part)
{
    return part->is_term ? nodes_lexeme(g->build->nodes, part->term) : part->node;
}

static bool is_endless(const struct terms *terms, term t)
{
    const struct term_node *n = term_at(terms, t);
    switch ((enum term_kind)n->kind) {
    case TERM_KIND_CAT:
        for (; n->kind == TERM_KIND_CAT; n = term_at(terms, n->b))
            if (is_endless(terms, n->a))
                return true;
        return n->kind == TERM_KIND_REPEAT && n->max == TERM_ENDLESS;
    case TERM_KIND_ALT:
        for (int32_t i = 0; i < n->b; i++)
            if (is_endless(terms, terms->lists[n->a + i]))
                return true;
        return false;
    case TERM_KIND_REPEAT:
        return n->max > 16 || is_endless(terms, n->a);
    default:
        return false;
    }
}

static struct part build_item(struct gbnf *g, int32_t at);

static struct part build_rule_use(struct gbnf *g, int32_t index)
{
    if (!g->rules[index].is_regular)
        return (struct part){.node = g->rules[index].reference};
    struct part part = build_item(g, g->rules[index].item);
    if (part.is_term && is_endless(g->build->terms, part.term))
        return (struct part){.node = as_node(g, &part)};
    return part;
}

static struct part build_sequence(struct gbnf *g, const struct item *item)
{
    struct part all = {.is_term = true, .term = TERM_EMPTY};
    for (int32_t i = item->n; i-- > 0;) {  // from the end, joining neighbouring terms
        struct part part = build_item(g, g->lists[item->first + i]);
        struct grammar_build *b = g->build;
        if (part.is_term) {
            while (i > 0 && g->items[g->lists[item->first + i - 1]].kind == ITEM_TERM)
                part.term =
                    term_cat(b->terms, g->items[g->lists[item->first + --i]].term, part.term);
        }
        if (part.is_term && all.is_term)
            all.term = term_cat(b->terms, part.term, all.term);
        else
            all = (struct part){.node =
                                    nodes_sequence(b->nodes, as_node(g, &part), as_node(g, &all))};
    }
    return all;
}

static struct part build_alternative(struct gbnf *g, const struct item *item)
{
    struct part all = {.is_term = true, .term = TERM_NONE};
    node *nodes = mem_calloc((size_t)item->n, sizeof *nodes);
    size_t n = 0;
    if (nodes == NULL) {
        g->build->budget->failed = ERR_MEMORY;
        return all;
    }
    for (int32_t i = 0; i < item->n; i++) {
        struct part part = build_item(g, g->lists[item->first + i]);
        if (part.is_term)
            all.term = term_alt(g->build->terms, all.term, part.term);
        else
            nodes[n++] = part.node;
    }
    if (n > 0) {
        if (all.term != TERM_NONE)
            nodes[n++] = as_node(g, &all);
        all = (struct part){.node = nodes_alternative(g->build->nodes, nodes, n)};
    }
    mem_free(nodes);
    return all;
}

static struct part build_item(struct gbnf *g, int32_t at)
{
    const struct item item = g->items[at];
    if (!budget_work(g->build->budget, 1))
        return (struct part){.is_term = true, .term = TERM_NONE};
    switch (item.kind) {
    case ITEM_TERM:
        return (struct part){.is_term = true, .term = item.term};
    case ITEM_RULE:
        return build_rule_use(g, item.first);
    case ITEM_SEQUENCE:
        return build_sequence(g, &item);
    case ITEM_ALTERNATIVE:
        return build_alternative(g, &item);
    case ITEM_REPEAT:
        break;
    }
    struct part part = build_item(g, item.first);
    if (part.is_term)
        part.term = term_repeat(g->build->terms, part.term, item.min, item.max);
    else
        part.node = nodes_repeat(g->build->nodes, part.node, item.min, item.max);
    return part;
}

static enum status build_rules(struct gbnf *g, node *root)
{
    struct rule *start = NULL;
    for (size_t i = 0; i < g->n_rules; i++) {
        if (g->rules[i].item < 0)
            return error_set(g->err, ERR_INVALID, "the rule '%s' is not defined", g->rules[i].name);
        if (strcmp(g->rules[i].name, "root") == 0)
            start = &g->rules[i];
        g->rules[i].reference = nodes_reference(g->build->nodes);
    }
    if (start == NULL)
        return error_set(g->err, ERR_INVALID, "the grammar has no rule 'root'");
    find_regular_rules(g);
    for (size_t i = 0; i < g->n_rules && g->build->budget->failed == OK; i++) {
        if (g->rules[i].is_regular && &g->rules[i] != start)
            continue;
        struct part part = build_item(g, g->rules[i].item);
        nodes_set_reference(g->build->nodes, g->rules[i].reference, as_node(g, &part));
    }
    *root = start->reference;
    return OK;
}

enum status build_gbnf(struct grammar_build *build, const char *text, size_t n_bytes, node *root,
                       struct error *err)
{
    struct gbnf g = {.build = build, .start = text, .at = text, .end = text + n_bytes, .err = err};
    enum status status = read_rules(&g);
    if (status == OK && build->budget->failed == OK)
        status = build_rules(&g, root);
    DROP(build->budget, g.items, g.items_capacity);
    DROP(build->budget, g.lists, g.lists_capacity);
    DROP(build->budget, g.stack, g.stack_capacity);
    DROP(build->budget, g.rules, g.rules_capacity);
    return status;
}
