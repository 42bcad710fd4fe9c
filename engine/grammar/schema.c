/* JSON Schema (draft 2020-12, with the older spellings in use) to a grammar; see schema.h.
 *
 * The accepted documents are a subset of what the schema accepts: properties come in the order in
 * which they are declared, white space is bounded, strings with a pattern have one spelling. A
 * keyword that would change the accepted set and cannot be kept is refused with its JSON pointer,
 * so that no document can fail its schema.
 *
 * Source: json-schema.org, draft 2020-12 core and validation. */
#include "engine/grammar/schema.h"

#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/hex.h"
#include "engine/base/buf.h"
#include "engine/base/json_scan.h"
#include "engine/base/mem.h"
#include "engine/grammar/grammar.h"

/* ---- errors ---- */

static bool find_path(const cJSON *at, const cJSON *wanted, char *path, size_t n, size_t size)
{
    if (at == wanted)
        return true;
    size_t index = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, at)
    {
        int added = child->string != NULL ? snprintf(path + n, size - n, "/%.60s", child->string)
                                          : snprintf(path + n, size - n, "/%zu", index);
        index++;
        if (added > 0 && (size_t)added < size - n &&
            find_path(child, wanted, path, n + (size_t)added, size))
            return true;
        path[n] = '\0';
    }
    return false;
}

enum status schema_fail(struct schema *schema, enum status status, const cJSON *at,
                        const char *keyword, const char *what)
{
    char path[120] = "";
    find_path(schema->root, at, path, 0, sizeof path);
    return error_set(schema->err, status, "schema at '#%s%s%s': %s", path,
                     keyword[0] != '\0' ? "/" : "", keyword, what);
}

/* ---- conjunctions ---- */

const cJSON *schema_get(const cJSON *at, const char *keyword)
{
    return cJSON_GetObjectItemCaseSensitive(at, keyword);
}

const cJSON *schema_nth(const cJSON *list, size_t index)
{
    const cJSON *at = list->child;
    while (at != NULL && index-- > 0)
        at = at->next;
    return at;
}

bool conjunction_add(struct conjunction *c, const cJSON *at, enum item_kind kind)
{
    if (kind == ITEM_SCHEMA && cJSON_IsBool(at)) {
        c->is_false = c->is_false || cJSON_IsFalse(at);
        return true;
    }
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].at == at && c->items[i].kind == kind)
            return true;
    if (c->n == SCHEMA_ITEMS_MAX)
        return false;
    c->items[c->n++] = (struct schema_item){at, kind};
    return true;
}

static enum status too_many(struct schema *schema, const cJSON *at)
{
    char text[80];
    snprintf(text, sizeof text, "more than %d schemas hold at one place", SCHEMA_ITEMS_MAX);
    return schema_fail(schema, ERR_LIMIT, at, "", text);
}

/* One step of a JSON pointer in a URI fragment: ~0, ~1 and %xx undone. Returns its end. */
static const char *pointer_step(const char *at, char *out, size_t size)
{
    size_t n = 0;
    while (*at != '\0' && *at != '/' && n + 1 < size) {
        char c = *at++;
        if (c == '%' && hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0) {
            c = (char)(hex_digit(at[0]) << 4 | hex_digit(at[1]));
            at += 2;
        }
        if (c == '~' && (*at == '0' || *at == '1'))
            c = *at++ == '0' ? '~' : '/';
        out[n++] = c;
    }
    out[n] = '\0';
    return at;
}

static const cJSON *find_named(const cJSON *at, const char *keyword, const char *name)
{
    const cJSON *own = cJSON_IsObject(at) ? schema_get(at, keyword) : NULL;
    if (cJSON_IsString(own) && strcmp(own->valuestring, name) == 0)
        return at;
    const cJSON *child;
    cJSON_ArrayForEach(child, at)
    {
        if (child->string != NULL &&
            (strcmp(child->string, "enum") == 0 || strcmp(child->string, "const") == 0))
            continue;
        const cJSON *found = find_named(child, keyword, name);
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* True when a schema inside has an $id of its own, so that references are relative to it. */
static bool has_embedded_id(const cJSON *at, bool is_root)
{
    if (!is_root && cJSON_IsObject(at) && cJSON_IsString(schema_get(at, "$id")))
        return true;
    const cJSON *child;
    cJSON_ArrayForEach(child, at)
    {
        bool is_data = child->string != NULL &&
                       (strcmp(child->string, "enum") == 0 || strcmp(child->string, "const") == 0);
        if (!is_data && has_embedded_id(child, false))
            return true;
    }
    return false;
}

enum status schema_resolve(struct schema *schema, const cJSON *holder, const char *ref,
                           const cJSON **out)
{
    const cJSON *at = schema->root;
    const char *fragment = strchr(ref, '#');
    if (!schema->knows_ids)
        schema->has_ids = has_embedded_id(schema->root, true);
    schema->knows_ids = true;
    if (schema->has_ids)
        return schema_fail(schema, ERR_UNSUPPORTED, holder, "$ref",
                           "references beside an $id inside of the schema are not supported");
    if (fragment != ref) {  // a document: only this one by its name
        const cJSON *id = schema_get(schema->root, "$id");
        size_t n = fragment == NULL ? strlen(ref) : (size_t)(fragment - ref);
        if (!cJSON_IsString(id) || strlen(id->valuestring) != n ||
            memcmp(id->valuestring, ref, n) != 0)
            return schema_fail(schema, ERR_UNSUPPORTED, holder, "$ref",
                               "a reference to another document is not supported");
    }
    const char *step = fragment == NULL ? "" : fragment + 1;
    if (*step != '\0' && *step != '/') {
        at = find_named(at, "$anchor", step);
        step = "";
    }
    while (at != NULL && *step == '/') {
        char name[256];
        step = pointer_step(step + 1, name, sizeof name);
        if (cJSON_IsArray(at)) {
            char *end;
            long index = strtol(name, &end, 10);
            at = *end == '\0' && end != name && index >= 0 ? schema_nth(at, (size_t)index) : NULL;
        } else {
            at = schema_get(at, name);
        }
    }
    if (at == NULL || !(cJSON_IsObject(at) || cJSON_IsBool(at)))
        return schema_fail(schema, ERR_INVALID, holder, "$ref", "points at no schema");
    *out = at;
    return OK;
}

static enum status flatten_one(struct schema *schema, struct conjunction *c, const cJSON *at)
{
    if (!cJSON_IsObject(at))
        return schema_fail(schema, ERR_INVALID, at, "", "a schema must be an object or a boolean");
    bool ok = at->child == NULL || conjunction_add(c, at, ITEM_BASE);
    const cJSON *ref = schema_get(at, "$ref"), *target, *part;
    if (ref != NULL) {
        if (!cJSON_IsString(ref))
            return schema_fail(schema, ERR_INVALID, at, "$ref", "must be a string");
        enum status status = schema_resolve(schema, at, ref->valuestring, &target);
        if (status != OK)
            return status;
        ok = ok && conjunction_add(c, target, ITEM_SCHEMA);
    }
    static const char *const lists[] = {"allOf", "anyOf", "oneOf"};
    for (size_t i = 0; i < 3; i++) {
        const cJSON *list = schema_get(at, lists[i]);
        if (list == NULL)
            continue;
        if (!cJSON_IsArray(list) || list->child == NULL)
            return schema_fail(schema, ERR_INVALID, at, lists[i], "must be a non-empty array");
        if (cJSON_GetArraySize(list) > SCHEMA_BRANCHES_MAX)
            return schema_fail(schema, ERR_LIMIT, at, lists[i], "has more than 1024 schemas");
        if (i > 0) {
            ok = ok && conjunction_add(c, list, i == 1 ? ITEM_ANY_OF : ITEM_ONE_OF);
            continue;
        }
        cJSON_ArrayForEach(part, list) ok = ok && conjunction_add(c, part, ITEM_SCHEMA);
    }
    return ok ? OK : too_many(schema, at);
}

enum status schema_flatten(struct schema *schema, struct conjunction *c)
{
    // Schemas stay in the list until the end, so that one that refers to itself is met once.
    for (size_t i = 0; i < c->n && !c->is_false; i++) {
        if (c->items[i].kind != ITEM_SCHEMA)
            continue;
        enum status status = flatten_one(schema, c, c->items[i].at);
        if (status != OK)
            return status;
    }
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].kind != ITEM_SCHEMA)
            c->items[n++] = c->items[i];
    c->n = n;
    return OK;
}

node schema_rule_of(struct schema *schema, const struct conjunction *c)
{
    if (c->is_false)
        return NODE_NONE;
    if (c->n == 0)
        return schema_any(schema, SCHEMA_ANY_DEPTH);
    struct budget *budget = schema->build->budget;
    for (size_t i = 0; i < schema->n_rules; i++) {
        const struct conjunction *have = &schema->rules[i]->what;
        if (have->n == c->n && memcmp(have->items, c->items, c->n * sizeof *c->items) == 0)
            return schema->rules[i]->reference;
    }
    if (!budget_work(budget, 1 + schema->n_rules / 16) ||
        !GROW(budget, schema->rules, schema->rules_capacity, schema->n_rules + 1))
        return NODE_NONE;
    struct schema_rule *rule =
        schema->n_rules < SCHEMA_RULES_MAX ? mem_calloc(1, sizeof *rule) : NULL;
    if (rule == NULL) {
        budget->failed = schema->n_rules < SCHEMA_RULES_MAX ? ERR_MEMORY : ERR_LIMIT;
        return NODE_NONE;
    }
    rule->what.n = c->n;
    memcpy(rule->what.items, c->items, c->n * sizeof *c->items);
    rule->reference = nodes_reference(schema->build->nodes);
    schema->rules[schema->n_rules++] = rule;
    return rule->reference;
}

/* ---- types ---- */

static unsigned kind_of_name(const char *name)
{
    static const struct {
        const char *name;
        unsigned kinds;
    } names[] = {{"null", KIND_NULL},     {"boolean", KIND_BOOLEAN}, {"integer", KIND_INTEGER},
                 {"number", KIND_NUMBER}, {"string", KIND_STRING},   {"array", KIND_ARRAY},
                 {"object", KIND_OBJECT}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i].name) == 0)
            return names[i].kinds;
    return 0;
}

unsigned schema_kinds_of(const cJSON *base)
{
    const cJSON *type = schema_get(base, "type"), *one;
    unsigned kinds = type == NULL ? KIND_ALL : 0;
    if (cJSON_IsString(type))
        kinds = kind_of_name(type->valuestring);
    else
        cJSON_ArrayForEach(one, type) kinds |=
            cJSON_IsString(one) ? kind_of_name(one->valuestring) : 0;
    if (cJSON_IsTrue(schema_get(base, "nullable")))
        kinds |= KIND_NULL;
    const cJSON *not = schema_get(base, "not");
    if (cJSON_IsObject(not ) && not ->child != NULL && not ->child->next == NULL &&
        strcmp(not ->child->string, "type") == 0)
        kinds &= ~schema_kinds_of(not );
    return kinds;
}

unsigned schema_kinds(const struct conjunction *c)
{
    unsigned kinds = c->is_false ? 0 : KIND_ALL;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].kind == ITEM_BASE)
            kinds &= schema_kinds_of(c->items[i].at);
    return kinds;
}

static enum status check_type(struct schema *schema, const cJSON *base)
{
    const cJSON *type = schema_get(base, "type"), *one;
    if (type == NULL || (cJSON_IsString(type) && kind_of_name(type->valuestring) != 0))
        return OK;
    if (!cJSON_IsArray(type) || type->child == NULL)
        return schema_fail(schema, ERR_INVALID, base, "type", "is no type");
    cJSON_ArrayForEach(one, type) if (!cJSON_IsString(one) ||
                                      kind_of_name(one->valuestring) ==
                                          0) return schema_fail(schema, ERR_INVALID, base, "type",
                                                                "is no list of types");
    return OK;
}

/* Keywords that change the accepted set for some type and are not kept. */
static enum status check_refused(struct schema *schema, const cJSON *base, unsigned kinds)
{
    static const struct {
        const char *keyword;
        unsigned kinds;
    } refused[] = {{"if", KIND_ALL},
                   {"$dynamicRef", KIND_ALL},
                   {"$recursiveRef", KIND_ALL},
                   {"dependentRequired", KIND_OBJECT},
                   {"dependentSchemas", KIND_OBJECT},
                   {"dependencies", KIND_OBJECT},
                   {"unevaluatedProperties", KIND_OBJECT},
                   {"contains", KIND_ARRAY},
                   {"unevaluatedItems", KIND_ARRAY}};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *keyword = refused[i].keyword;
        const cJSON *value = schema_get(base, keyword);
        bool is_empty = cJSON_IsObject(value) && value->child == NULL;
        bool says_nothing =
            (strncmp(keyword, "unevaluated", 11) == 0 && (cJSON_IsTrue(value) || is_empty)) ||
            (strncmp(keyword, "depend", 6) == 0 && is_empty) ||
            (strcmp(keyword, "if") == 0 && schema_get(base, "then") == NULL &&
             schema_get(base, "else") == NULL);
        if (value != NULL && refused[i].kinds & kinds && !says_nothing)
            return schema_fail(schema, ERR_UNSUPPORTED, base, keyword, "is not supported");
    }
    const cJSON *not = schema_get(base, "not");
    if (not == NULL || cJSON_IsFalse(not ))
        return OK;
    bool is_type = cJSON_IsObject(not ) && not ->child != NULL && not ->child->next == NULL &&
                   strcmp(not ->child->string, "type") == 0;
    if (!is_type)
        return schema_fail(schema, ERR_UNSUPPORTED, base, "not",
                           "is not supported for anything but a type");
    if ((kinds & KIND_NUMBER) == KIND_FRACTION)
        return schema_fail(schema, ERR_UNSUPPORTED, base, "not",
                           "is not supported for integers among numbers");
    return check_type(schema, not );
}

/* ---- simple values ---- */

node schema_text(struct schema *schema, const char *text)
{
    return nodes_lexeme(schema->build->nodes, term_text(schema->build->terms, text));
}

term schema_quoted(struct schema *schema, term contents)
{
    struct terms *terms = schema->build->terms;
    term quote = term_range(terms, '"', '"');
    return term_cat(terms, quote, term_cat(terms, contents, quote));
}

/* The value in the one spelling in which an enum allows it. cJSON's own printer rounds numbers. */
static void print_value(struct buf *out, const cJSON *value)
{
    if (cJSON_IsString(value)) {
        buf_append_json(out, value->valuestring, strlen(value->valuestring));
    } else if (cJSON_IsNumber(value)) {
        double v = value->valuedouble;
        char text[40];
        if (v == floor(v) && fabs(v) < 1e17) {
            snprintf(text, sizeof text, "%.0f", v == 0 ? 0 : v);
        } else {
            int digits = 1;
            do
                snprintf(text, sizeof text, "%.*g", digits, v);
            while (strtod(text, NULL) != v && digits++ < 17);
        }
        buf_append_text(out, text);
    } else if (!cJSON_IsArray(value) && !cJSON_IsObject(value)) {
        buf_append_text(out, cJSON_IsNull(value) ? "null" : cJSON_IsTrue(value) ? "true" : "false");
    } else {
        bool is_array = cJSON_IsArray(value);
        const cJSON *child;
        buf_append_char(out, is_array ? '[' : '{');
        cJSON_ArrayForEach(child, value)
        {
            if (child != value->child)
                buf_append_char(out, ',');
            if (!is_array) {
                buf_append_json(out, child->string, strlen(child->string));
                buf_append_char(out, ':');
            }
            print_value(out, child);
        }
        buf_append_char(out, is_array ? ']' : '}');
    }
}

static enum status enumerated(struct schema *schema, const struct conjunction *c,
                              const cJSON *values, bool is_const, node *out)
{
    size_t n = 0, n_values = is_const ? 1 : (size_t)cJSON_GetArraySize(values);
    struct term_string *strings = mem_calloc(n_values + 1, sizeof *strings);
    if (strings == NULL)
        return error_set(schema->err, ERR_MEMORY, "no memory for an enum");
    enum status status = OK;
    const cJSON *value = is_const ? values : values->child;
    for (size_t i = 0; status == OK && i < n_values; i++, value = value->next) {
        enum verdict verdict = VERDICT_YES;
        for (size_t k = 0; verdict == VERDICT_YES && k < c->n; k++)
            verdict = schema_check_base(schema, c->items[k].at, value, 0);
        if (verdict == VERDICT_UNKNOWN)
            status = schema_fail(schema, ERR_UNSUPPORTED, values, "",
                                 "values beside keywords that cannot be checked");
        if (verdict != VERDICT_YES)
            continue;
        struct buf text;
        buf_init(&text, GRAMMAR_SOURCE_BYTES_MAX);
        print_value(&text, value);
        size_t n_bytes = text.n_bytes;
        status = buf_status(&text, "the values of an enum", schema->err);
        if (status == OK)
            strings[n++] = (struct term_string){buf_detach(&text), n_bytes};
        buf_release(&text);
    }
    if (status == OK)
        *out = nodes_lexeme(schema->build->nodes, term_strings(schema->build->terms, strings, n));
    for (size_t i = 0; i < n; i++)
        mem_free((char *)strings[i].bytes);
    mem_free(strings);
    return status;
}

/* ---- any value ---- */

static node any_member(struct schema *schema, node value)
{
    struct grammar_build *b = schema->build;
    term key = schema_quoted(schema, term_repeat(b->terms, b->json_any, 0, TERM_ENDLESS));
    term colon = term_cat(b->terms, term_range(b->terms, ':', ':'), b->blank);
    return nodes_sequence(b->nodes, nodes_lexeme(b->nodes, term_cat(b->terms, key, colon)), value);
}

/* open (item (comma item)*)? close */
static node any_list(struct schema *schema, node open, node item, node close)
{
    struct nodes *nodes = schema->build->nodes;
    node more = nodes_repeat(nodes, nodes_sequence(nodes, schema->comma, item), 0, TERM_ENDLESS);
    node items[2] = {nodes_sequence(nodes, item, more), NODE_EMPTY};
    node body = nodes_alternative(nodes, items, 2);
    return nodes_sequence(nodes, open, nodes_sequence(nodes, body, close));
}

static node any_object(struct schema *schema, unsigned depth)
{
    node value = schema_any(schema, depth - 1);
    return any_list(schema, schema->object_open, any_member(schema, value), schema->object_close);
}

static term any_scalar(struct schema *schema)
{
    struct terms *terms = schema->build->terms;
    struct conjunction none = {.n = 0};
    term number = TERM_NONE;
    if (schema_number(schema, &none, false, &number) != OK)
        return TERM_NONE;
    term words = term_alt(terms, term_text(terms, "null"),
                          term_alt(terms, term_text(terms, "true"), term_text(terms, "false")));
    return term_alt(terms, number, words);
}

node schema_any(struct schema *schema, unsigned depth)
{
    struct nodes *nodes = schema->build->nodes;
    for (unsigned d = 0; d <= depth; d++) {
        if (schema->any[d] != NODE_NONE)
            continue;
        term string = schema_quoted(
            schema, term_repeat(schema->build->terms, schema->build->json_free, 0, TERM_ENDLESS));
        node items[4] = {nodes_lexeme(nodes, string), nodes_lexeme(nodes, any_scalar(schema))};
        if (d > 0) {
            items[2] =
                any_list(schema, schema->array_open, schema->any[d - 1], schema->array_close);
            items[3] = any_object(schema, d);
        }
        schema->any[d] = nodes_alternative(nodes, items, 4);
    }
    return schema->any[depth];
}

/* ---- rules ---- */

static enum status build_branches(struct schema *schema, const struct conjunction *c, size_t choice,
                                  node *out)
{
    const cJSON *list = c->items[choice].at, *branch;
    bool is_one_of = c->items[choice].kind == ITEM_ONE_OF;
    size_t n = (size_t)cJSON_GetArraySize(list), i = 0;
    struct conjunction *all = mem_calloc(n, sizeof *all);
    node *rules = mem_calloc(n, sizeof *rules);
    enum status status = OK;
    if (all == NULL || rules == NULL)
        status = error_set(schema->err, ERR_MEMORY, "no memory for the schema");
    cJSON_ArrayForEach(branch, list)
    {
        if (status != OK)
            break;
        struct conjunction *part = &all[i++];
        bool ok = true;
        for (size_t k = 0; k < c->n; k++)
            ok = ok && (k == choice || conjunction_add(part, c->items[k].at, c->items[k].kind));
        ok = ok && conjunction_add(part, branch, ITEM_SCHEMA);
        status = ok ? schema_flatten(schema, part) : too_many(schema, list);
    }
    for (size_t a = 0; status == OK && is_one_of && a < n; a++)
        for (size_t b = 0; status == OK && b < a; b++)
            if (!schema_disjoint(schema, &all[a], &all[b], 0))
                status = schema_fail(schema, ERR_UNSUPPORTED, list, "",
                                     "two of its schemas may hold for the same value; use anyOf");
    for (size_t k = 0; status == OK && k < n; k++)
        rules[k] = schema_rule_of(schema, &all[k]);
    if (status == OK)
        *out = nodes_alternative(schema->build->nodes, rules, n);
    mem_free(all);
    mem_free(rules);
    return status;
}

static enum status build_kinds(struct schema *schema, const struct conjunction *c, unsigned kinds,
                               node *out)
{
    struct nodes *nodes = schema->build->nodes;
    node items[6] = {0};
    enum status status = OK;
    term t = TERM_NONE;
    if (kinds & KIND_OBJECT)
        status = schema_object(schema, c, &items[0]);
    if (status == OK && kinds & KIND_ARRAY)
        status = schema_array(schema, c, &items[1]);
    if (status == OK && kinds & KIND_STRING) {
        status = schema_string(schema, c, false, &t);
        items[2] = nodes_lexeme(nodes, t);
    }
    if (status == OK && kinds & KIND_NUMBER) {
        status = schema_number(schema, c, !(kinds & KIND_FRACTION), &t);
        items[3] = nodes_lexeme(nodes, t);
    }
    if (kinds & KIND_BOOLEAN) {
        struct terms *terms = schema->build->terms;
        t = term_alt(terms, term_text(terms, "true"), term_text(terms, "false"));
        items[4] = nodes_lexeme(nodes, t);
    }
    if (kinds & KIND_NULL)
        items[5] = schema_text(schema, "null");
    if (status == OK)
        *out = nodes_alternative(nodes, items, 6);
    return status;
}

static enum status build_rule(struct schema *schema, const struct conjunction *c, node *out)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].kind != ITEM_BASE)
            return build_branches(schema, c, i, out);
    for (size_t i = 0; i < c->n; i++) {
        enum status status = check_type(schema, c->items[i].at);
        if (status != OK)
            return status;
    }
    unsigned kinds = schema_kinds(c);
    for (size_t i = 0; i < c->n; i++) {
        enum status status = check_refused(schema, c->items[i].at, kinds);
        if (status != OK)
            return status;
    }
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *one = schema_get(c->items[i].at, "const");
        const cJSON *list = schema_get(c->items[i].at, "enum");
        if (one != NULL || list != NULL)
            return one == NULL && !cJSON_IsArray(list)
                       ? schema_fail(schema, ERR_INVALID, c->items[i].at, "enum",
                                     "must be an array")
                       : enumerated(schema, c, one != NULL ? one : list, one != NULL, out);
    }
    return build_kinds(schema, c, kinds, out);
}

static enum status build_all(struct schema *schema, node *root)
{
    struct conjunction all = {.n = 0};
    if (!cJSON_IsObject(schema->root) && !cJSON_IsBool(schema->root))
        return error_set(schema->err, ERR_INVALID, "a schema must be an object or a boolean");
    conjunction_add(&all, schema->root, ITEM_SCHEMA);
    enum status status = schema_flatten(schema, &all);
    if (status == OK)
        *root = schema_rule_of(schema, &all);
    for (size_t i = 0; status == OK && i < schema->n_rules; i++) {
        struct schema_rule *rule = schema->rules[i];
        node body = NODE_NONE;
        status = build_rule(schema, &rule->what, &body);
        nodes_set_reference(schema->build->nodes, rule->reference, body);
        if (schema->build->budget->failed != OK)
            break;
    }
    return status;
}

static void schema_init(struct schema *schema, struct grammar_build *build, struct error *err)
{
    struct terms *terms = build->terms;
    struct nodes *nodes = build->nodes;
    term open = term_cat(terms, term_range(terms, '{', '{'), build->blank);
    schema->object_open = nodes_lexeme(nodes, open);
    open = term_cat(terms, term_range(terms, '[', '['), build->blank);
    schema->array_open = nodes_lexeme(nodes, open);
    term close = term_cat(terms, build->blank, term_range(terms, '}', '}'));
    schema->object_close = nodes_lexeme(nodes, close);
    close = term_cat(terms, build->blank, term_range(terms, ']', ']'));
    schema->array_close = nodes_lexeme(nodes, close);
    term comma = term_cat(terms, term_range(terms, ',', ','), build->blank);
    schema->comma = nodes_lexeme(nodes, comma);
    schema->build = build;
    schema->err = err;
}

enum status build_json_object(struct grammar_build *build, node *root, struct error *err)
{
    struct schema schema = {.build = build};
    schema_init(&schema, build, err);
    *root = any_object(&schema, SCHEMA_ANY_DEPTH);
    return OK;
}

enum status build_json_schema(struct grammar_build *build, const char *text, size_t n_bytes,
                              bool is_strict, node *root, struct error *err)
{
    static const struct json_limits limits = {SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX};
    enum status status = json_scan(text, n_bytes, &limits, err);
    if (status != OK) {
        error_prefix(err, "the schema is not JSON");
        return status;
    }
    cJSON *json = cJSON_ParseWithLength(text, n_bytes);
    if (json == NULL)
        return error_set(err, ERR_MEMORY, "no memory for the schema");
    struct schema schema = {.root = json, .is_strict = is_strict};
    schema_init(&schema, build, err);
    status = build_all(&schema, root);
    for (size_t i = 0; i < schema.n_rules; i++)
        mem_free(schema.rules[i]);
    DROP(build->budget, schema.rules, schema.rules_capacity);
    cJSON_Delete(json);
    return status;
}
