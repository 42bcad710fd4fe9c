/* Terms: building in normal form and derivatives; see term.h.
 *
 * Normal form: concatenation leans to the right, alternatives and intersections are flat, sorted
 * and without doubles, classes of one alternative are merged, repetition of something nullable has
 * no minimum. That makes the derivatives of a term finitely many, and few in practice.
 *
 * Recursion goes as deep as brackets were nested in the source, which the parsers bound; long texts
 * are chains to the right, which are walked in loops. */
#include "engine/grammar/term.h"

#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"

static uint32_t hash_node(const struct term_node *n)
{
    uint64_t h = n->kind;
    const uint32_t parts[] = {(uint32_t)n->a, (uint32_t)n->b, n->min, n->max};
    for (size_t i = 0; i < 4; i++)
        h = (h ^ parts[i]) * UINT64_C(0x9E3779B97F4A7C15), h ^= h >> 29;
    return (uint32_t)(h ^ h >> 32);
}

static bool is_list(uint8_t kind)
{
    return kind == TERM_KIND_ALT || kind == TERM_KIND_AND;
}

static uint32_t hash_list(uint8_t kind, const term *items, size_t n)
{
    uint64_t h = kind + n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint32_t)items[i]) * UINT64_C(0x9E3779B97F4A7C15), h ^= h >> 29;
    return (uint32_t)(h ^ h >> 32);
}

static uint32_t hash_of(const struct terms *terms, const struct term_node *n)
{
    return is_list(n->kind) ? hash_list(n->kind, terms->lists + n->a, (size_t)n->b) : hash_node(n);
}

static void fill_buckets(struct terms *terms)
{
    memset(terms->buckets, 0xff, terms->n_buckets * sizeof *terms->buckets);
    for (size_t i = 0; i < terms->n_nodes; i++) {
        size_t at = hash_of(terms, &terms->nodes[i]) & (terms->n_buckets - 1);
        while (terms->buckets[at] >= 0)
            at = (at + 1) & (terms->n_buckets - 1);
        terms->buckets[at] = (int32_t)i;
    }
}

static bool make_room(struct terms *terms)
{
    if (!GROW(terms->budget, terms->nodes, terms->nodes_capacity, terms->n_nodes + 1))
        return false;
    if (2 * (terms->n_nodes + 1) <= terms->n_buckets)
        return true;
    size_t wanted = terms->n_buckets == 0 ? 256 : 2 * terms->n_buckets;
    if (!GROW(terms->budget, terms->buckets, terms->buckets_capacity, wanted))
        return false;
    terms->n_buckets = wanted;
    fill_buckets(terms);
    return true;
}

static uint32_t add_length(uint32_t a, uint32_t b)
{
    return a + b > TERM_LENGTH_MAX ? TERM_LENGTH_MAX : a + b;
}

static uint32_t repeat_length(uint32_t length, uint32_t count)
{
    uint64_t product = (uint64_t)length * count;
    return product > TERM_LENGTH_MAX ? TERM_LENGTH_MAX : (uint32_t)product;
}

static void set_facts(const struct terms *terms, struct term_node *n)
{
    const struct term_node *nodes = terms->nodes;
    switch ((enum term_kind)n->kind) {
    case TERM_KIND_NONE:
        n->min_length = TERM_LENGTH_MAX;
        break;
    case TERM_KIND_EMPTY:
        n->is_nullable = true;
        break;
    case TERM_KIND_CLASS:
        n->min_length = 1;
        break;
    case TERM_KIND_CAT:
        n->is_nullable = nodes[n->a].is_nullable && nodes[n->b].is_nullable;
        n->is_mixed = nodes[n->a].is_mixed || nodes[n->b].is_mixed;
        n->min_length = add_length(nodes[n->a].min_length, nodes[n->b].min_length);
        break;
    case TERM_KIND_ALT:
    case TERM_KIND_AND: {
        bool is_and = n->kind == TERM_KIND_AND;
        n->is_nullable = is_and;
        n->is_mixed = is_and;
        n->min_length = TERM_LENGTH_MAX;
        for (int32_t i = 0; i < n->b; i++) {
            const struct term_node *item = &nodes[terms->lists[n->a + i]];
            if (item->is_nullable != is_and)
                n->is_nullable = !is_and;
            n->is_mixed = n->is_mixed || item->is_mixed;
            if (item->min_length < n->min_length)
                n->min_length = item->min_length;
        }
        break;
    }
    case TERM_KIND_NOT:
        n->is_nullable = !nodes[n->a].is_nullable;
        n->is_mixed = true;
        break;
    case TERM_KIND_REPEAT:
        n->is_nullable = n->min == 0;
        n->is_mixed = nodes[n->a].is_mixed;
        n->min_length = repeat_length(nodes[n->a].min_length, n->min);
        break;
    case TERM_KIND_MULTIPLE: {
        uint64_t value = (uint32_t)n->a;
        for (uint32_t i = 0; i < n->min; i++)
            value = value * 10 % (uint32_t)n->b;
        n->is_nullable = value % (uint32_t)n->b == 0;
        n->is_mixed = true;
        break;
    }
    }
}

static bool same_list(const struct terms *terms, const struct term_node *have, const term *items,
                      size_t n)
{
    return (size_t)have->b == n && memcmp(terms->lists + have->a, items, n * sizeof *items) == 0;
}

/* The node with these parts, made if there is none. For lists `items` are the parts. */
static term intern(struct terms *terms, struct term_node wanted, const term *items, size_t n_items)
{
    if (!budget_work(terms->budget, 1) || !make_room(terms))
        return TERM_NONE;
    uint32_t hash =
        is_list(wanted.kind) ? hash_list(wanted.kind, items, n_items) : hash_node(&wanted);
    size_t at = hash & (terms->n_buckets - 1);
    for (; terms->buckets[at] >= 0; at = (at + 1) & (terms->n_buckets - 1)) {
        const struct term_node *have = &terms->nodes[terms->buckets[at]];
        if (have->kind != wanted.kind)
            continue;
        if (is_list(wanted.kind) ? same_list(terms, have, items, n_items)
                                 : have->a == wanted.a && have->b == wanted.b &&
                                       have->min == wanted.min && have->max == wanted.max)
            return terms->buckets[at];
    }
    if (is_list(wanted.kind)) {
        if (!GROW(terms->budget, terms->lists, terms->lists_capacity, terms->n_lists + n_items))
            return TERM_NONE;
        memcpy(terms->lists + terms->n_lists, items, n_items * sizeof *items);
        wanted.a = (int32_t)terms->n_lists;
        wanted.b = (int32_t)n_items;
        terms->n_lists += n_items;
    }
    set_facts(terms, &wanted);
    terms->nodes[terms->n_nodes] = wanted;
    terms->buckets[at] = (int32_t)terms->n_nodes;
    return (term)terms->n_nodes++;
}

bool terms_init(struct terms *terms, struct budget *budget, const struct byte_set *usable)
{
    *terms = (struct terms){.budget = budget};
    byte_set_add(&terms->usable, 0, 255);
    if (usable != NULL)
        terms->usable = *usable;
    term none = intern(terms, (struct term_node){.kind = TERM_KIND_NONE}, NULL, 0);
    term empty = intern(terms, (struct term_node){.kind = TERM_KIND_EMPTY}, NULL, 0);
    return budget->failed == OK && none == TERM_NONE && empty == TERM_EMPTY;
}

void terms_release(struct terms *terms)
{
    if (terms->budget == NULL)
        return;
    DROP(terms->budget, terms->nodes, terms->nodes_capacity);
    DROP(terms->budget, terms->sets, terms->sets_capacity);
    DROP(terms->budget, terms->lists, terms->lists_capacity);
    DROP(terms->budget, terms->buckets, terms->buckets_capacity);
    DROP(terms->budget, terms->stack, terms->stack_capacity);
}

void terms_truncate(struct terms *terms, size_t n_nodes, size_t n_sets, size_t n_lists)
{
    assert(n_nodes <= terms->n_nodes);
    terms->n_nodes = n_nodes;
    terms->n_sets = n_sets;
    terms->n_lists = n_lists;
    terms->n_stack = 0;
    fill_buckets(terms);
}

/* ---- builders ---- */

term term_class(struct terms *terms, const struct byte_set *wanted)
{
    struct byte_set usable = *wanted, *set = &usable;
    for (size_t w = 0; w < 4; w++)
        usable.words[w] &= terms->usable.words[w];
    static const struct byte_set no_bytes;
    if (memcmp(set, &no_bytes, sizeof no_bytes) == 0)
        return TERM_NONE;
    size_t i = 0;
    while (i < terms->n_sets && memcmp(&terms->sets[i], set, sizeof *set) != 0)
        i++;
    if (i == terms->n_sets) {
        if (!GROW(terms->budget, terms->sets, terms->sets_capacity, i + 1))
            return TERM_NONE;
        terms->sets[terms->n_sets++] = *set;
    }
    return intern(terms, (struct term_node){.kind = TERM_KIND_CLASS, .a = (int32_t)i}, NULL, 0);
}

term term_range(struct terms *terms, unsigned first, unsigned last)
{
    struct byte_set set = {{0}};
    byte_set_add(&set, first, last);
    return term_class(terms, &set);
}

term term_literal(struct terms *terms, const char *bytes, size_t n_bytes)
{
    term t = TERM_EMPTY;
    while (n_bytes > 0) {
        unsigned byte = (unsigned char)bytes[--n_bytes];
        t = term_cat(terms, term_range(terms, byte, byte), t);
    }
    return t;
}

term term_text(struct terms *terms, const char *text)
{
    return term_literal(terms, text, strlen(text));
}

static bool push(struct terms *terms, term t)
{
    if (!GROW(terms->budget, terms->stack, terms->stack_capacity, terms->n_stack + 1))
        return false;
    terms->stack[terms->n_stack++] = t;
    return true;
}

/* Pushes the items of a chain of sequences but the last, which *t becomes; all or none. */
static bool push_chain(struct terms *terms, term *t)
{
    size_t mark = terms->n_stack;
    for (; terms->nodes[*t].kind == TERM_KIND_CAT; *t = terms->nodes[*t].b)
        if (!push(terms, terms->nodes[*t].a)) {
            terms->n_stack = mark;
            return false;
        }
    return true;
}

term term_cat(struct terms *terms, term a, term b)
{
    if (a == TERM_NONE || b == TERM_NONE)
        return TERM_NONE;
    if (a == TERM_EMPTY)
        return b;
    if (b == TERM_EMPTY)
        return a;
    size_t mark = terms->n_stack;
    if (!push_chain(terms, &a))  // lean to the right
        return TERM_NONE;
    term t = intern(terms, (struct term_node){.kind = TERM_KIND_CAT, .a = a, .b = b}, NULL, 0);
    while (terms->n_stack > mark) {
        term head = terms->stack[--terms->n_stack];
        if (t != TERM_NONE)
            t = intern(terms, (struct term_node){.kind = TERM_KIND_CAT, .a = head, .b = t}, NULL,
                       0);
    }
    return t;
}

/* Pushes the term, or its items when it is a list of the same kind. */
static bool push_flat(struct terms *terms, uint8_t kind, term t)
{
    const struct term_node *n = &terms->nodes[t];
    if (n->kind != kind)
        return push(terms, t);
    for (int32_t i = 0, first = n->a, count = n->b; i < count; i++)
        if (!push(terms, terms->lists[first + i]))
            return false;
    return true;
}

static void sort_terms(term *items, size_t n)
{
    if (n > 32) {  // heap sort: lists of thousands of enumerated values occur
        for (size_t root = n / 2, end = n; end > 1;) {
            if (root > 0) {
                root--;
            } else {
                end--;
                term swap = items[0];
                items[0] = items[end], items[end] = swap;
            }
            for (size_t at = root, child = 2 * at + 1; child < end;
                 at = child, child = 2 * at + 1) {
                if (child + 1 < end && items[child + 1] > items[child])
                    child++;
                if (items[child] <= items[at])
                    break;
                term swap = items[at];
                items[at] = items[child], items[child] = swap;
            }
        }
        return;
    }
    for (size_t i = 1; i < n; i++) {
        term item = items[i];
        size_t at = i;
        for (; at > 0 && items[at - 1] > item; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

static size_t sort_unique(term *items, size_t n)
{
    sort_terms(items, n);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || items[kept - 1] != items[i])
            items[kept++] = items[i];
    return kept;
}

/* The alternative of the terms stacked above `mark`; they are popped. */
static term alt_of_stack(struct terms *terms, size_t mark)
{
    struct byte_set merged = {{0}};
    size_t n = 0, n_classes = 0;
    term *items = terms->stack + mark, one_class = TERM_NONE;
    bool is_nullable = false, has_empty = false;
    for (size_t i = 0; i < terms->n_stack - mark; i++) {
        const struct term_node *node = &terms->nodes[items[i]];
        if (node->kind == TERM_KIND_NONE)
            continue;
        if (node->kind == TERM_KIND_EMPTY) {
            has_empty = true;
        } else if (node->kind == TERM_KIND_CLASS) {
            for (size_t w = 0; w < 4; w++)
                merged.words[w] |= terms->sets[node->a].words[w];
            n_classes += items[i] != one_class;
            one_class = items[i];
        } else {
            is_nullable = is_nullable || node->is_nullable;
            items[n++] = items[i];
        }
    }
    // At least as many slots were pushed as are used again, so nothing grows here.
    if (has_empty && !is_nullable)
        items[n++] = TERM_EMPTY;
    if (n_classes > 0)
        items[n++] = n_classes == 1 ? one_class : term_class(terms, &merged);
    items = terms->stack + mark;
    n = sort_unique(items, n);
    terms->n_stack = mark;
    if (n == 0)
        return TERM_NONE;
    return n == 1 ? items[0] : intern(terms, (struct term_node){.kind = TERM_KIND_ALT}, items, n);
}

term term_alt(struct terms *terms, term a, term b)
{
    if (a == b || b == TERM_NONE)
        return a;
    if (a == TERM_NONE)
        return b;
    size_t mark = terms->n_stack;
    if (!push_flat(terms, TERM_KIND_ALT, a) || !push_flat(terms, TERM_KIND_ALT, b)) {
        terms->n_stack = mark;
        return TERM_NONE;
    }
    return alt_of_stack(terms, mark);
}

static bool accepts_all(const struct terms *terms, term t)
{
    const struct term_node *n = &terms->nodes[t];
    if (n->kind == TERM_KIND_NOT)
        return n->a == TERM_NONE;
    if (n->kind != TERM_KIND_REPEAT || n->min != 0 || n->max != TERM_ENDLESS ||
        terms->nodes[n->a].kind != TERM_KIND_CLASS)
        return false;
    const struct byte_set *set = &terms->sets[terms->nodes[n->a].a];
    return memcmp(set, &terms->usable, sizeof *set) == 0;
}

static term and_of_stack(struct terms *terms, size_t mark)
{
    size_t n = 0;
    term *items = terms->stack + mark;
    bool all_nullable = true, has_empty = false, has_none = false;
    for (size_t i = 0; i < terms->n_stack - mark; i++) {
        const struct term_node *node = &terms->nodes[items[i]];
        all_nullable = all_nullable && node->is_nullable;
        has_empty = has_empty || node->kind == TERM_KIND_EMPTY;
        has_none = has_none || node->kind == TERM_KIND_NONE;
        if (!accepts_all(terms, items[i]))
            items[n++] = items[i];
    }
    n = sort_unique(items, n);
    terms->n_stack = mark;
    if (has_none || (has_empty && !all_nullable))
        return TERM_NONE;
    if (has_empty)
        return TERM_EMPTY;
    if (n == 0)
        return term_not(terms, TERM_NONE);
    return n == 1 ? items[0] : intern(terms, (struct term_node){.kind = TERM_KIND_AND}, items, n);
}

term term_and(struct terms *terms, term a, term b)
{
    if (a == b)
        return a;
    size_t mark = terms->n_stack;
    if (!push_flat(terms, TERM_KIND_AND, a) || !push_flat(terms, TERM_KIND_AND, b)) {
        terms->n_stack = mark;
        return TERM_NONE;
    }
    return and_of_stack(terms, mark);
}

term term_not(struct terms *terms, term a)
{
    if (terms->nodes[a].kind == TERM_KIND_NOT)
        return terms->nodes[a].a;
    return intern(terms, (struct term_node){.kind = TERM_KIND_NOT, .a = a}, NULL, 0);
}

term term_repeat(struct terms *terms, term a, uint32_t min, uint32_t max)
{
    if (max == 0 || a == TERM_EMPTY)
        return TERM_EMPTY;
    if (a == TERM_NONE)
        return min == 0 ? TERM_EMPTY : TERM_NONE;
    if (terms->nodes[a].is_nullable)
        min = 0;
    if (min == 1 && max == 1)
        return a;
    const struct term_node *n = &terms->nodes[a];
    if (n->kind == TERM_KIND_REPEAT && n->min <= 1 && n->max == TERM_ENDLESS &&
        max == TERM_ENDLESS && min <= 1)
        return term_repeat(terms, n->a, n->min * min, TERM_ENDLESS);
    if (max == 1)
        return term_alt(terms, a, TERM_EMPTY);
    return intern(terms,
                  (struct term_node){.kind = TERM_KIND_REPEAT, .a = a, .min = min, .max = max},
                  NULL, 0);
}

term term_optional(struct terms *terms, term a)
{
    return term_alt(terms, a, TERM_EMPTY);
}

static term multiple(struct terms *terms, uint64_t remainder, uint32_t divisor, uint32_t left,
                     uint32_t behind_point)
{
    return intern(terms,
                  (struct term_node){.kind = TERM_KIND_MULTIPLE,
                                     .a = (int32_t)remainder,
                                     .b = (int32_t)divisor,
                                     .min = left,
                                     .max = behind_point},
                  NULL, 0);
}

term term_multiple(struct terms *terms, uint32_t divisor, unsigned decimals)
{
    assert(divisor >= 1 && divisor <= 1u << 30);
    return multiple(terms, 0, divisor, decimals, 0);
}

static int compare_strings(const void *a, const void *b)
{
    const struct term_string *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = n == 0 ? 0 : memcmp(x->bytes, y->bytes, n);
    return order != 0 ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* strings[first, last) are sorted and share their first `depth` bytes. Recursion happens where
 * strings part only, so its depth is at most log2 of their number or the length of the shorter. */
static term strings_from(struct terms *terms, const struct term_string *strings, size_t first,
                         size_t last, size_t depth, unsigned level)
{
    const struct term_string *low = &strings[first], *high = &strings[last - 1];
    size_t shared = depth;
    while (shared < low->n_bytes && shared < high->n_bytes &&
           low->bytes[shared] == high->bytes[shared])
        shared++;
    term head = term_literal(terms, low->bytes + depth, shared - depth);
    if (shared == high->n_bytes)
        return head;
    if (level == 200) {  // a staircase of strings, each the beginning of the next
        term all = TERM_NONE;
        for (size_t i = first; i < last; i++)
            all =
                term_alt(terms, all,
                         term_literal(terms, strings[i].bytes + depth, strings[i].n_bytes - depth));
        return all;
    }
    size_t mark = terms->n_stack, at = first;
    for (; at < last && strings[at].n_bytes == shared; at++)
        if (!push(terms, TERM_EMPTY))
            return TERM_NONE;
    while (at < last) {
        size_t end = at;
        while (end < last && strings[end].bytes[shared] == strings[at].bytes[shared])
            end++;
        if (!push_flat(terms, TERM_KIND_ALT,
                       strings_from(terms, strings, at, end, shared, level + 1))) {
            terms->n_stack = mark;
            return TERM_NONE;
        }
        at = end;
    }
    return term_cat(terms, head, alt_of_stack(terms, mark));
}

term term_strings(struct terms *terms, struct term_string *strings, size_t n_strings)
{
    if (n_strings == 0)
        return TERM_NONE;
    qsort(strings, n_strings, sizeof *strings, compare_strings);
    return strings_from(terms, strings, 0, n_strings, 0, 0);
}

/* ---- derivatives ---- */

static term derive_multiple(struct terms *terms, const struct term_node *n, unsigned byte)
{
    struct term_node node = *n;
    if (byte == '.' && node.max == 0 && node.min > 0)
        return multiple(terms, (uint32_t)node.a, (uint32_t)node.b, node.min, 1);
    if (byte < '0' || byte > '9' || (node.max == 1 && node.min == 0))
        return TERM_NONE;
    uint64_t remainder = ((uint64_t)(uint32_t)node.a * 10 + (byte - '0')) % (uint32_t)node.b;
    return multiple(terms, remainder, (uint32_t)node.b, node.min - node.max, node.max);
}

/* Derivatives along a chain to the right: as long as the head may be empty, the rest counts too. */
static term derive_cat(struct terms *terms, term t, unsigned byte)
{
    size_t mark = terms->n_stack;
    bool is_done = false;
    while (!is_done) {
        struct term_node n = terms->nodes[t];
        bool is_cat = n.kind == TERM_KIND_CAT;
        term head = is_cat ? n.a : t;
        term d = term_derive(terms, head, byte);
        if (is_cat)
            d = term_cat(terms, d, n.b);
        if (d != TERM_NONE && !push_flat(terms, TERM_KIND_ALT, d)) {
            terms->n_stack = mark;
            return TERM_NONE;
        }
        is_done = !is_cat || !terms->nodes[head].is_nullable;
        t = n.b;
    }
    return alt_of_stack(terms, mark);
}

static term derive_list(struct terms *terms, term t, unsigned byte)
{
    struct term_node n = terms->nodes[t];
    size_t mark = terms->n_stack;
    for (int32_t i = 0; i < n.b; i++) {
        term d = term_derive(terms, terms->lists[n.a + i], byte);
        if (d == TERM_NONE && n.kind == TERM_KIND_AND) {
            terms->n_stack = mark;
            return TERM_NONE;
        }
        if (d != TERM_NONE && !push_flat(terms, n.kind, d)) {
            terms->n_stack = mark;
            return TERM_NONE;
        }
    }
    return n.kind == TERM_KIND_ALT ? alt_of_stack(terms, mark) : and_of_stack(terms, mark);
}

static uint32_t one_less(uint32_t count)
{
    return count == 0 || count == TERM_ENDLESS ? count : count - 1;
}

term term_derive(struct terms *terms, term t, unsigned byte)
{
    if (!budget_work(terms->budget, 1))
        return TERM_NONE;
    struct term_node n = terms->nodes[t];
    switch ((enum term_kind)n.kind) {
    case TERM_KIND_NONE:
    case TERM_KIND_EMPTY:
        return TERM_NONE;
    case TERM_KIND_CLASS:
        return byte_set_has(&terms->sets[n.a], byte) ? TERM_EMPTY : TERM_NONE;
    case TERM_KIND_CAT:
        return derive_cat(terms, t, byte);
    case TERM_KIND_ALT:
    case TERM_KIND_AND:
        return derive_list(terms, t, byte);
    case TERM_KIND_NOT:
        return term_not(terms, term_derive(terms, n.a, byte));
    case TERM_KIND_REPEAT: {
        term d = term_derive(terms, n.a, byte);
        if (d == TERM_NONE)
            return TERM_NONE;
        return term_cat(terms, d, term_repeat(terms, n.a, one_less(n.min), one_less(n.max)));
    }
    case TERM_KIND_MULTIPLE:
        return derive_multiple(terms, &n, byte);
    }
    return TERM_NONE;
}

term term_derive_back(struct terms *terms, term t, unsigned byte)
{
    if (!budget_work(terms->budget, 1))
        return TERM_NONE;
    struct term_node n = terms->nodes[t];
    switch ((enum term_kind)n.kind) {
    case TERM_KIND_CLASS:
        return byte_set_has(&terms->sets[n.a], byte) ? TERM_EMPTY : TERM_NONE;
    case TERM_KIND_CAT: {  // to the end of the chain, then back
        size_t mark = terms->n_stack;
        if (!push_chain(terms, &t))
            return TERM_NONE;
        term d = term_derive_back(terms, t, byte);
        bool may_be_empty = terms->nodes[t].is_nullable;
        while (terms->n_stack > mark) {
            term head = terms->stack[--terms->n_stack];
            d = term_cat(terms, head, d);
            if (may_be_empty)
                d = term_alt(terms, d, term_derive_back(terms, head, byte));
            may_be_empty = may_be_empty && terms->nodes[head].is_nullable;
        }
        return d;
    }
    case TERM_KIND_ALT: {
        term all = TERM_NONE;
        for (int32_t i = 0; i < n.b; i++)
            all = term_alt(terms, all, term_derive_back(terms, terms->lists[n.a + i], byte));
        return all;
    }
    case TERM_KIND_REPEAT:
        return term_cat(terms, term_repeat(terms, n.a, one_less(n.min), one_less(n.max)),
                        term_derive_back(terms, n.a, byte));
    case TERM_KIND_NONE:
    case TERM_KIND_EMPTY:
    case TERM_KIND_AND:
    case TERM_KIND_NOT:
    case TERM_KIND_MULTIPLE:
        break;
    }
    return TERM_NONE;
}

term term_without(struct terms *terms, term t, const struct byte_set *bytes)
{
    if (!budget_work(terms->budget, 1))
        return TERM_NONE;
    struct term_node n = terms->nodes[t];
    switch ((enum term_kind)n.kind) {
    case TERM_KIND_CLASS: {
        struct byte_set kept = terms->sets[n.a];
        for (size_t w = 0; w < 4; w++)
            kept.words[w] &= ~bytes->words[w];
        return term_class(terms, &kept);
    }
    case TERM_KIND_CAT: {
        size_t mark = terms->n_stack;
        if (!push_chain(terms, &t))
            return TERM_NONE;
        term d = term_without(terms, t, bytes);
        while (terms->n_stack > mark) {
            term head = terms->stack[--terms->n_stack];
            d = term_cat(terms, term_without(terms, head, bytes), d);
        }
        return d;
    }
    case TERM_KIND_ALT: {
        term all = TERM_NONE;
        for (int32_t i = 0; i < n.b; i++)
            all = term_alt(terms, all, term_without(terms, terms->lists[n.a + i], bytes));
        return all;
    }
    case TERM_KIND_REPEAT:
        return term_repeat(terms, term_without(terms, n.a, bytes), n.min, n.max);
    case TERM_KIND_NONE:
    case TERM_KIND_EMPTY:
    case TERM_KIND_AND:
    case TERM_KIND_NOT:
    case TERM_KIND_MULTIPLE:
        break;
    }
    return t;
}

/* ---- shortest text ---- */

/* Of alternatives of equal length the first in byte order, so that the order of terms, which tells
 * what was met before, does not matter. */
static bool shortest_alternative(struct terms *terms, const struct term_node *n, char *out)
{
    char *other = NULL;
    bool ok = true, found = false;
    for (int32_t i = 0; ok && i < n->b; i++) {
        term item = terms->lists[n->a + i];
        if (terms->nodes[item].min_length != n->min_length)
            continue;
        if (!found) {
            ok = found = term_shortest(terms, item, out);
            continue;
        }
        if (other == NULL)
            other = mem_alloc((size_t)n->min_length + 1);
        if (other == NULL)
            terms->budget->failed = ERR_MEMORY;
        ok = other != NULL && term_shortest(terms, item, other);
        if (ok && memcmp(other, out, n->min_length) < 0)
            memcpy(out, other, n->min_length);
    }
    mem_free(other);
    return ok && found;
}

bool term_shortest(struct terms *terms, term t, char *out)
{
    for (;;) {
        struct term_node n = terms->nodes[t];
        if (!budget_work(terms->budget, 1 + n.min_length / 64))
            return false;
        if (n.min_length == 0)
            return true;
        switch ((enum term_kind)n.kind) {
        case TERM_KIND_CLASS: {
            unsigned byte = 0;
            while (!byte_set_has(&terms->sets[n.a], byte))
                byte++;
            *out = (char)byte;
            return true;
        }
        case TERM_KIND_CAT:
            if (!term_shortest(terms, n.a, out))
                return false;
            out += terms->nodes[n.a].min_length;
            t = n.b;
            continue;
        case TERM_KIND_ALT:
            return shortest_alternative(terms, &n, out);
        case TERM_KIND_REPEAT: {
            size_t once = terms->nodes[n.a].min_length;
            if (!term_shortest(terms, n.a, out))
                return false;
            for (size_t i = 1; i < n.min; i++)
                memcpy(out + i * once, out, once);
            return true;
        }
        case TERM_KIND_NONE:
        case TERM_KIND_EMPTY:
        case TERM_KIND_AND:
        case TERM_KIND_NOT:
        case TERM_KIND_MULTIPLE:
            return false;
        }
    }
}

/* ---- first bytes ---- */

struct partition {
    uint8_t *class_of;
    unsigned n_classes;
    uint64_t seen[64];  // sets with a number below 4096 that were applied already
};

static void refine(struct partition *p, const struct byte_set *set)
{
    int16_t split[256];
    memset(split, 0xff, sizeof split);
    bool outside[256] = {false};
    for (unsigned b = 0; b < 256; b++)
        if (!byte_set_has(set, b))
            outside[p->class_of[b]] = true;
    for (unsigned b = 0; b < 256; b++) {
        uint8_t old = p->class_of[b];
        if (!byte_set_has(set, b) || !outside[old])
            continue;
        if (split[old] < 0)
            split[old] = (int16_t)p->n_classes++;
        p->class_of[b] = (uint8_t)split[old];
    }
}

static void refine_by_set(const struct terms *terms, struct partition *p, int32_t set)
{
    if (set < 4096) {
        uint64_t bit = UINT64_C(1) << (set & 63);
        if (p->seen[set >> 6] & bit)
            return;
        p->seen[set >> 6] |= bit;
    }
    refine(p, &terms->sets[set]);
}

static void collect_first(const struct terms *terms, struct partition *p, term t)
{
    for (;;) {
        const struct term_node *n = &terms->nodes[t];
        switch ((enum term_kind)n->kind) {
        case TERM_KIND_NONE:
        case TERM_KIND_EMPTY:
            return;
        case TERM_KIND_CLASS:
            refine_by_set(terms, p, n->a);
            return;
        case TERM_KIND_CAT:
            collect_first(terms, p, n->a);
            if (!terms->nodes[n->a].is_nullable)
                return;
            t = n->b;
            continue;
        case TERM_KIND_ALT:
        case TERM_KIND_AND:
            for (int32_t i = 0; i < n->b; i++)
                collect_first(terms, p, terms->lists[n->a + i]);
            return;
        case TERM_KIND_NOT:
        case TERM_KIND_REPEAT:
            t = n->a;
            continue;
        case TERM_KIND_MULTIPLE:
            for (unsigned b = '0'; b <= '9'; b++) {
                struct byte_set digit = {{0}};
                byte_set_add(&digit, b, b);
                refine(p, &digit);
            }
            struct byte_set point = {{0}};
            byte_set_add(&point, '.', '.');
            refine(p, &point);
            return;
        }
    }
}

unsigned term_first_classes(struct terms *terms, term t, uint8_t class_of[256])
{
    memset(class_of, 0, 256);
    struct partition p = {.class_of = class_of, .n_classes = 1};
    collect_first(terms, &p, t);
    return p.n_classes;
}
