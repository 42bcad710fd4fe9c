/* Objects: declared properties in their order, then further ones; see schema.h.
 *
 * The names of a conjunction are those of all its schemas' `properties`, in the order in which they
 * are declared, and after them those that only `required` names. Further properties come last;
 * their names differ from the declared ones and are split by patternProperties into regions, each
 * with what it must satisfy. A further name may be repeated in a document (an automaton does not
 * remember names), so towards minProperties only one of them counts. */
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/mem.h"
#include "engine/grammar/schema.h"

enum { NAMES_MAX = 4096 };

struct object {
    struct schema *schema;
    const struct conjunction *c;
    const char **names;
    size_t n_names, names_capacity;
    uint32_t min, max;  // properties
    node extra;         // a further property, NODE_NONE = there are none
    node *values;       // [n_names]
};

bool schema_requires(const struct conjunction *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *one;
        cJSON_ArrayForEach(one, schema_get(c->items[i].at, "required"))
        {
            if (cJSON_IsString(one) && strcmp(one->valuestring, name) == 0)
                return true;
        }
    }
    return false;
}

static const cJSON *additional_of(const struct schema *schema, const cJSON *base)
{
    static const cJSON no = {.type = cJSON_False};
    const cJSON *additional = schema_get(base, "additionalProperties");
    bool is_closed = schema->is_strict && schema_get(base, "properties") != NULL;
    return additional == NULL && is_closed ? &no : additional;
}

bool schema_matches(struct schema *schema, term t, const char *text)
{
    struct terms *terms = schema->build->terms;
    for (; *text != '\0' && t != TERM_NONE; text++) {
        // The one spelling of a character in JSON (chars.h), byte by byte.
        uint8_t c = (uint8_t)*text;
        char escape[8];
        size_t n = 1;
        escape[0] = (char)c;
        if (c == '"' || c == '\\')
            n = (size_t)snprintf(escape, sizeof escape, "\\%c", c);
        else if (c < 0x20) {
            static const char letters[] = "\bb\ff\nn\rr\tt";
            n = (size_t)snprintf(escape, sizeof escape, "\\u%04x", c);
            for (size_t i = 0; letters[i] != '\0'; i += 2)
                if (letters[i] == (char)c)
                    n = (size_t)snprintf(escape, sizeof escape, "\\%c", letters[i + 1]);
        }
        for (size_t i = 0; i < n; i++)
            t = term_derive(terms, t, (uint8_t)escape[i]);
    }
    return term_at(terms, t)->is_nullable;
}

enum status schema_property(struct schema *schema, const struct conjunction *c, const char *name,
                            struct conjunction *out)
{
    *out = (struct conjunction){.n = 0};
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *base = c->items[i].at, *pattern;
        const cJSON *declared = schema_get(schema_get(base, "properties"), name);
        bool is_known = declared != NULL, ok = true;
        if (declared != NULL)
            ok = conjunction_add(out, declared, ITEM_SCHEMA);
        cJSON_ArrayForEach(pattern, schema_get(base, "patternProperties"))
        {
            struct regex regex;
            enum status status =
                schema_pattern(schema, base, "patternProperties", pattern->string, &regex);
            if (status != OK)
                return status;
            if (!schema_matches(schema, regex.term, name))
                continue;
            is_known = true;
            ok = ok && conjunction_add(out, pattern, ITEM_SCHEMA);
        }
        const cJSON *additional = additional_of(schema, base);
        if (!is_known && additional != NULL)
            ok = ok && conjunction_add(out, additional, ITEM_SCHEMA);
        if (!ok)
            return schema_fail(schema, ERR_LIMIT, base, "properties", "too many schemas at once");
    }
    return schema_flatten(schema, out);
}

/* ---- names and counts ---- */

static enum status add_name(struct object *o, const cJSON *at, const char *name)
{
    struct budget *budget = o->schema->build->budget;
    budget_work(budget, 1 + o->n_names / 16);
    for (size_t i = 0; i < o->n_names; i++)
        if (strcmp(o->names[i], name) == 0)
            return OK;
    if (o->n_names == NAMES_MAX)
        return schema_fail(o->schema, ERR_LIMIT, at, "properties", "has more than 4096 names");
    if (GROW(budget, o->names, o->names_capacity, o->n_names + 1))
        o->names[o->n_names++] = name;
    return OK;
}

static enum status read_count(struct object *o, const cJSON *at, const char *keyword, uint32_t *out)
{
    const cJSON *value = schema_get(at, keyword);
    double v = value == NULL ? *out : cJSON_IsNumber(value) ? value->valuedouble : -1;
    if (v < 0 || v != floor(v))
        return schema_fail(o->schema, ERR_INVALID, at, keyword,
                           "must be a whole number, 0 or more");
    *out = v > REGEX_COUNT_MAX ? TERM_ENDLESS : (uint32_t)v;
    return OK;
}

static enum status read_names(struct object *o)
{
    enum status status = OK;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < o->c->n; i++) {
            const cJSON *base = o->c->items[i].at, *one;
            const char *keyword = pass == 0 ? "properties" : "required";
            const cJSON *list = schema_get(base, keyword);
            if (pass == 1 && cJSON_IsBool(list))  // draft 3 in a property: says nothing here
                continue;
            if (list != NULL && !(pass == 0 ? cJSON_IsObject(list) : cJSON_IsArray(list)))
                return schema_fail(o->schema, ERR_INVALID, base, keyword, "has a wrong type");
            cJSON_ArrayForEach(one, list)
            {
                const char *name = pass == 0 ? one->string : one->valuestring;
                if (name == NULL)
                    return schema_fail(o->schema, ERR_INVALID, base, keyword, "must hold strings");
                status = add_name(o, base, name);
                if (status != OK)
                    return status;
            }
        }
    o->max = TERM_ENDLESS;
    for (size_t i = 0; status == OK && i < o->c->n; i++) {
        uint32_t min = 0, max = TERM_ENDLESS;
        status = read_count(o, o->c->items[i].at, "minProperties", &min);
        if (status == OK)
            status = read_count(o, o->c->items[i].at, "maxProperties", &max);
        o->min = min > o->min ? min : o->min;
        o->max = max < o->max ? max : o->max;
    }
    return status;
}

/* ---- further properties ---- */

static term name_text(struct object *o, const char *name)
{
    return chars_json_literal(o->schema->build->terms, name, strlen(name));
}

/* Names that are not declared, as they stand between quotes. */
static enum status free_names(struct object *o, term *out)
{
    struct terms *terms = o->schema->build->terms;
    term any = term_repeat(terms, o->schema->build->json_any, 0, TERM_ENDLESS);
    struct term_string *strings = mem_calloc(o->n_names + 1, sizeof *strings);
    enum status status = OK;
    bool is_plain = true;
    if (strings == NULL)
        status = error_set(o->schema->err, ERR_MEMORY, "no memory for the schema");
    term declared = TERM_NONE;
    for (size_t i = 0; status == OK && i < o->n_names; i++) {
        strings[i] = (struct term_string){o->names[i], strlen(o->names[i])};
        for (const char *at = o->names[i]; *at != '\0'; at++)
            is_plain = is_plain && (uint8_t)*at >= 0x20 && *at != '"' && *at != '\\';
    }
    if (status == OK && is_plain)
        declared = term_strings(terms, strings, o->n_names);
    for (size_t i = 0; status == OK && !is_plain && i < o->n_names; i++)
        declared = term_alt(terms, declared, name_text(o, o->names[i]));
    *out = declared == TERM_NONE ? any : term_and(terms, any, term_not(terms, declared));
    for (size_t i = 0; status == OK && i < o->c->n; i++) {
        const cJSON *base = o->c->items[i].at, *names = schema_get(base, "propertyNames");
        if (names == NULL || cJSON_IsTrue(names))
            continue;
        struct conjunction c = {.n = 0};
        conjunction_add(&c, names, ITEM_SCHEMA);
        status = schema_flatten(o->schema, &c);
        term t = TERM_NONE;
        for (size_t k = 0; status == OK && k < c.n; k++)
            if (c.items[k].kind != ITEM_BASE || schema_get(c.items[k].at, "enum") != NULL ||
                schema_get(c.items[k].at, "const") != NULL ||
                schema_get(c.items[k].at, "not") != NULL)
                status = schema_fail(o->schema, ERR_UNSUPPORTED, base, "propertyNames",
                                     "is supported for length, pattern and format only");
        if (status == OK && schema_kinds(&c) & KIND_STRING)
            status = schema_string(o->schema, &c, true, &t);
        *out = term_and(terms, *out, t);
    }
    mem_free(strings);
    return status;
}

struct region_pattern {
    const cJSON *base, *at;  // the value is the pattern's schema
    term term;
};

static enum status read_patterns(struct object *o, struct region_pattern *patterns, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < o->c->n; i++) {
        const cJSON *base = o->c->items[i].at, *pattern;
        cJSON_ArrayForEach(pattern, schema_get(base, "patternProperties"))
        {
            struct regex regex;
            if (*n == SCHEMA_PATTERNS_MAX)
                return schema_fail(o->schema, ERR_LIMIT, base, "patternProperties",
                                   "more than 6 patterns hold at one place");
            enum status status =
                schema_pattern(o->schema, base, "patternProperties", pattern->string, &regex);
            if (status != OK)
                return status;
            patterns[(*n)++] = (struct region_pattern){base, pattern, regex.term};
        }
    }
    return OK;
}

/* The names that match exactly the patterns of `set`, and what their values must satisfy. */
static enum status build_region(struct object *o, const struct region_pattern *patterns, size_t n,
                                unsigned set, term names, node *out)
{
    struct grammar_build *b = o->schema->build;
    struct conjunction value = {.n = 0};
    *out = NODE_NONE;
    bool ok = true;
    for (size_t i = 0; i < o->c->n; i++) {
        const cJSON *base = o->c->items[i].at;
        bool is_known = false;
        for (size_t k = 0; k < n; k++)
            if (patterns[k].base == base && set >> k & 1) {
                is_known = true;
                ok = ok && conjunction_add(&value, patterns[k].at, ITEM_SCHEMA);
            }
        const cJSON *additional = additional_of(o->schema, base);
        if (!is_known && additional != NULL)
            ok = ok && conjunction_add(&value, additional, ITEM_SCHEMA);
    }
    if (!ok)
        return schema_fail(o->schema, ERR_LIMIT, o->c->items[0].at, "patternProperties",
                           "too many schemas at once");
    enum status status = schema_flatten(o->schema, &value);
    if (status != OK || value.is_false)
        return status;
    for (size_t k = 0; k < n; k++)
        names = term_and(b->terms, names,
                         set >> k & 1 ? patterns[k].term : term_not(b->terms, patterns[k].term));
    int32_t state = automaton_state_of(b->automaton, names, 0);
    if (state == STATE_DEAD || automaton_distance(b->automaton, state) == DISTANCE_NONE)
        return OK;
    term colon = term_cat(b->terms, term_range(b->terms, ':', ':'), b->blank);
    term key = term_cat(b->terms, schema_quoted(o->schema, names), colon);
    *out = nodes_sequence(b->nodes, nodes_lexeme(b->nodes, key), schema_rule_of(o->schema, &value));
    return OK;
}

static enum status build_extra(struct object *o)
{
    struct region_pattern patterns[SCHEMA_PATTERNS_MAX];
    node regions[1 << SCHEMA_PATTERNS_MAX];
    size_t n, n_regions = 0;
    term names = TERM_NONE;
    enum status status = read_patterns(o, patterns, &n);
    if (status == OK)
        status = free_names(o, &names);
    for (unsigned set = 0; status == OK && set < 1u << n; set++)
        status = build_region(o, patterns, n, set, names, &regions[n_regions++]);
    if (status == OK)
        o->extra = nodes_alternative(o->schema->build->nodes, regions, n_regions);
    return status;
}

/* ---- members ---- */

/* `"name":` with what may stand around it. */
static node key_of(struct object *o, const char *name, bool is_first)
{
    struct grammar_build *b = o->schema->build;
    term colon = term_cat(b->terms, term_range(b->terms, ':', ':'), b->blank);
    term key = term_cat(b->terms, schema_quoted(o->schema, name_text(o, name)), colon);
    if (!is_first) {
        term comma = term_cat(b->terms, term_range(b->terms, ',', ','), b->blank);
        key = term_cat(b->terms, comma, key);
    }
    return nodes_lexeme(b->nodes, key);
}

/* What follows all declared members, `count` of which are there. */
static node further(struct object *o, bool is_first, uint32_t count)
{
    struct nodes *nodes = o->schema->build->nodes;
    uint32_t missing = o->min > count ? o->min - count : 0;
    uint32_t room = o->max == TERM_ENDLESS ? TERM_ENDLESS : o->max - count;
    if (missing > 1)
        return NODE_NONE;
    if (o->extra == NODE_NONE || room == 0)
        return missing == 0 ? NODE_EMPTY : NODE_NONE;
    node next = nodes_sequence(nodes, o->schema->comma, o->extra);
    if (!is_first)
        return nodes_repeat(nodes, next, missing, room);
    node some[2] = {
        nodes_sequence(nodes, o->extra,
                       nodes_repeat(nodes, next, 0, room == TERM_ENDLESS ? room : room - 1)),
        missing == 0 ? NODE_EMPTY : NODE_NONE};
    return nodes_alternative(nodes, some, 2);
}

/* Members from the last to the first; rows hold what follows when `count` are there already, for
 * nothing written so far and for something written. Counts matter only when there are bounds that
 * the declared names alone do not settle. */
static enum status build_members(struct object *o, uint32_t n_counts, node *out)
{
    struct nodes *nodes = o->schema->build->nodes;
    node *rows = mem_calloc(2 * (size_t)(n_counts + 1), sizeof *rows);
    if (rows == NULL)
        return error_set(o->schema->err, ERR_MEMORY, "no memory for the schema");
    for (uint32_t k = 0; k <= n_counts; k++)
        for (int written = 0; written < 2; written++)
            rows[2 * k + (unsigned)written] = k > o->max ? NODE_NONE : further(o, !written, k);
    for (size_t i = o->n_names; i-- > 0;) {
        bool is_required = schema_requires(o->c, o->names[i]);
        node keys[2] = {key_of(o, o->names[i], true), key_of(o, o->names[i], false)};
        for (uint32_t k = 0; k <= n_counts; k++) {  // a row is read before it changes: k + 1 > k
            uint32_t after = n_counts == 0 ? 0 : k + 1;
            bool has_room = after <= n_counts && (n_counts == 0 || k < o->max);
            node value =
                has_room ? nodes_sequence(nodes, o->values[i], rows[2 * after + 1]) : NODE_NONE;
            for (unsigned written = 0; written < 2; written++) {
                node items[2] = {nodes_sequence(nodes, keys[written], value),
                                 is_required ? NODE_NONE : rows[2 * k + written]};
                rows[2 * k + written] = nodes_alternative(nodes, items, 2);
            }
        }
    }
    *out = rows[0];
    mem_free(rows);
    return OK;
}

static enum status build_object(struct object *o, node *out)
{
    struct nodes *nodes = o->schema->build->nodes;
    uint32_t n_required = 0, n_names = (uint32_t)o->n_names, n_counts = 0;
    for (size_t i = 0; i < o->n_names; i++) {
        struct conjunction value;
        enum status status = schema_property(o->schema, o->c, o->names[i], &value);
        if (status != OK)
            return status;
        o->values[i] = schema_rule_of(o->schema, &value);
        n_required += schema_requires(o->c, o->names[i]);
    }
    enum status status = build_extra(o);
    if (status != OK || o->min > o->max)
        return status;
    bool is_counted = o->min > n_required ||
                      (o->max != TERM_ENDLESS && (o->max < n_names || o->extra != NODE_NONE));
    if (!is_counted) {  // settled by the names
        o->min = 0;
        o->max = TERM_ENDLESS;
    }
    n_counts = is_counted ? n_names : 0;
    if ((uint64_t)n_counts * n_names > SCHEMA_COUNTED_MAX)
        return schema_fail(o->schema, ERR_LIMIT, o->c->items[0].at, "minProperties",
                           "too many properties to count");
    node members = NODE_NONE;
    status = build_members(o, n_counts, &members);
    if (status == OK)
        *out = nodes_sequence(nodes, o->schema->object_open,
                              nodes_sequence(nodes, members, o->schema->object_close));
    return status;
}

enum status schema_object(struct schema *schema, const struct conjunction *c, node *out)
{
    struct object o = {.schema = schema, .c = c};
    *out = NODE_NONE;
    enum status status = read_names(&o);
    if (status == OK && schema->build->budget->failed == OK) {
        o.values = mem_calloc(o.n_names + 1, sizeof *o.values);
        status = o.values == NULL ? error_set(schema->err, ERR_MEMORY, "no memory for the schema")
                                  : build_object(&o, out);
    }
    mem_free(o.values);
    DROP(schema->build->budget, o.names, o.names_capacity);
    return status;
}
