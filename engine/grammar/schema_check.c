/* Values against schemas, and schemas that exclude each other; see schema.h.
 *
 * Both are for deciding at compile time: which members of an enum also satisfy the other keywords
 * beside it, and whether the schemas of a oneOf are disjoint, so that one of them is any of them.
 * What cannot be told is VERDICT_UNKNOWN or not disjoint, and then refused by the caller. */
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/base/utf8.h"
#include "engine/grammar/schema.h"

enum { CHECK_DEPTH_MAX = 48, DISJOINT_DEPTH_MAX = 4 };

static enum verdict both(enum verdict a, enum verdict b)
{
    if (a == VERDICT_NO || b == VERDICT_NO)
        return VERDICT_NO;
    return a == VERDICT_YES && b == VERDICT_YES ? VERDICT_YES : VERDICT_UNKNOWN;
}

static enum verdict of(bool holds)
{
    return holds ? VERDICT_YES : VERDICT_NO;
}

static unsigned kind_of(const cJSON *value)
{
    if (cJSON_IsNull(value))
        return KIND_NULL;
    if (cJSON_IsBool(value))
        return KIND_BOOLEAN;
    if (cJSON_IsNumber(value))
        return value->valuedouble == floor(value->valuedouble) ? KIND_INTEGER : KIND_FRACTION;
    if (cJSON_IsString(value))
        return KIND_STRING;
    return cJSON_IsArray(value) ? KIND_ARRAY : KIND_OBJECT;
}

static bool equal(const cJSON *a, const cJSON *b)
{
    if (cJSON_IsNumber(a) && cJSON_IsNumber(b))
        return a->valuedouble == b->valuedouble;  // cJSON_Compare() is not exact
    return cJSON_Compare(a, b, true);
}

static bool number_keyword(const cJSON *at, const char *keyword, double *out)
{
    const cJSON *value = schema_get(at, keyword);
    if (!cJSON_IsNumber(value))
        return false;
    *out = value->valuedouble;
    return true;
}

static enum verdict check_number(const cJSON *at, double value)
{
    double bound;
    bool ok = true;
    if (number_keyword(at, "minimum", &bound))
        ok = ok && value >= bound;
    if (number_keyword(at, "maximum", &bound))
        ok = ok && value <= bound;
    if (number_keyword(at, "exclusiveMinimum", &bound))
        ok = ok && value > bound;
    if (number_keyword(at, "exclusiveMaximum", &bound))
        ok = ok && value < bound;
    if (cJSON_IsTrue(schema_get(at, "exclusiveMinimum")) && number_keyword(at, "minimum", &bound))
        ok = ok && value > bound;
    if (cJSON_IsTrue(schema_get(at, "exclusiveMaximum")) && number_keyword(at, "maximum", &bound))
        ok = ok && value < bound;
    if (ok && number_keyword(at, "multipleOf", &bound)) {
        if (bound <= 0)
            return VERDICT_UNKNOWN;
        double quotient = value / bound;
        if (quotient != floor(quotient))
            return bound == floor(bound) ? VERDICT_NO : VERDICT_UNKNOWN;
    }
    return of(ok);
}

static size_t characters(const char *text)
{
    size_t n = 0, left = strlen(text), length;
    uint32_t c;
    for (; left > 0 && (length = utf8_decode(text, left, &c)) > 0; text += length, left -= length)
        n++;
    return n;
}

static enum verdict check_string(struct schema *schema, const cJSON *at, const cJSON *value)
{
    double n = (double)characters(value->valuestring), bound;
    if (number_keyword(at, "minLength", &bound) && n < bound)
        return VERDICT_NO;
    if (number_keyword(at, "maxLength", &bound) && n > bound)
        return VERDICT_NO;
    if (schema_get(at, "pattern") == NULL && schema_get(at, "format") == NULL)
        return VERDICT_YES;
    struct conjunction c = {.n = 0};
    conjunction_add(&c, at, ITEM_BASE);
    struct error ignored = {0}, *err = schema->err;
    term t = TERM_NONE;
    schema->err = &ignored;
    enum status status = schema_string(schema, &c, true, &t);
    schema->err = err;
    if (status != OK)
        return VERDICT_UNKNOWN;
    if (schema_matches(schema, t, value->valuestring))
        return VERDICT_YES;
    // Classes such as \W are narrower here than in the validators: outside ASCII we cannot tell.
    bool is_ascii = n == (double)strlen(value->valuestring);
    return is_ascii && schema_get(at, "format") == NULL ? VERDICT_NO : VERDICT_UNKNOWN;
}

static enum verdict check_array(struct schema *schema, const cJSON *at, const cJSON *value,
                                unsigned depth)
{
    double n = cJSON_GetArraySize(value), bound;
    if (number_keyword(at, "minItems", &bound) && n < bound)
        return VERDICT_NO;
    if (number_keyword(at, "maxItems", &bound) && n > bound)
        return VERDICT_NO;
    if (schema_get(at, "contains") != NULL || schema_get(at, "unevaluatedItems") != NULL)
        return VERDICT_UNKNOWN;
    if (cJSON_IsTrue(schema_get(at, "uniqueItems")) && n > 1)
        return VERDICT_UNKNOWN;
    const cJSON *items = schema_get(at, "items"), *prefix = schema_get(at, "prefixItems");
    if (cJSON_IsArray(items)) {
        prefix = items;
        items = schema_get(at, "additionalItems");
    }
    enum verdict verdict = VERDICT_YES;
    const cJSON *element, *own = prefix != NULL ? prefix->child : NULL;
    cJSON_ArrayForEach(element, value)
    {
        const cJSON *what = own != NULL ? own : items;
        if (what != NULL)
            verdict = both(verdict, schema_check(schema, what, element, depth + 1));
        own = own != NULL ? own->next : NULL;
    }
    return verdict;
}

static enum verdict check_object(struct schema *schema, const cJSON *at, const cJSON *value,
                                 unsigned depth)
{
    static const char *const unknown[] = {"dependentRequired", "dependentSchemas", "dependencies",
                                          "unevaluatedProperties", "propertyNames"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        if (schema_get(at, unknown[i]) != NULL)
            return VERDICT_UNKNOWN;
    double n = cJSON_GetArraySize(value), bound;
    if (number_keyword(at, "minProperties", &bound) && n < bound)
        return VERDICT_NO;
    if (number_keyword(at, "maxProperties", &bound) && n > bound)
        return VERDICT_NO;
    const cJSON *name, *member;
    cJSON_ArrayForEach(name, schema_get(at, "required"))
    {
        if (cJSON_IsString(name) && schema_get(value, name->valuestring) == NULL)
            return VERDICT_NO;
    }
    enum verdict verdict = VERDICT_YES;
    struct conjunction c = {.n = 0}, property;
    conjunction_add(&c, at, ITEM_BASE);
    cJSON_ArrayForEach(member, value)
    {
        struct error ignored = {0}, *err = schema->err;
        schema->err = &ignored;
        enum status status = schema_property(schema, &c, member->string, &property);
        schema->err = err;
        if (status != OK)
            return VERDICT_UNKNOWN;
        if (property.is_false)
            return VERDICT_NO;
        for (size_t i = 0; i < property.n; i++)
            verdict = both(verdict,
                           property.items[i].kind == ITEM_BASE
                               ? schema_check_base(schema, property.items[i].at, member, depth + 1)
                               : VERDICT_UNKNOWN);
    }
    return verdict;
}

enum verdict schema_check_base(struct schema *schema, const cJSON *at, const cJSON *value,
                               unsigned depth)
{
    if (depth > CHECK_DEPTH_MAX || !budget_work(schema->build->budget, 8) ||
        schema_get(at, "if") != NULL || schema_get(at, "$dynamicRef") != NULL)
        return VERDICT_UNKNOWN;
    if (!(schema_kinds_of(at) & kind_of(value)))
        return VERDICT_NO;
    const cJSON *one = schema_get(at, "const"), *not = schema_get(at, "not"), *choice;
    if (one != NULL && !equal(one, value))
        return VERDICT_NO;
    const cJSON *list = schema_get(at, "enum");
    if (cJSON_IsArray(list)) {
        bool found = false;
        cJSON_ArrayForEach(choice, list) found = found || equal(choice, value);
        if (!found)
            return VERDICT_NO;
    }
    enum verdict verdict = VERDICT_YES;
    if (not != NULL) {
        verdict = schema_check(schema, not, value, depth + 1);
        verdict = verdict == VERDICT_YES  ? VERDICT_NO
                  : verdict == VERDICT_NO ? VERDICT_YES
                                          : VERDICT_UNKNOWN;
    }
    if (cJSON_IsNumber(value))
        return both(verdict, check_number(at, value->valuedouble));
    if (cJSON_IsString(value))
        return both(verdict, check_string(schema, at, value));
    if (cJSON_IsArray(value))
        return both(verdict, check_array(schema, at, value, depth));
    return cJSON_IsObject(value) ? both(verdict, check_object(schema, at, value, depth)) : verdict;
}

static enum verdict check_lists(struct schema *schema, const cJSON *at, const cJSON *value,
                                unsigned depth)
{
    enum verdict verdict = VERDICT_YES;
    const cJSON *part;
    cJSON_ArrayForEach(part, schema_get(at, "allOf")) verdict =
        both(verdict, schema_check(schema, part, value, depth + 1));
    for (int one_of = 0; one_of < 2; one_of++) {
        const cJSON *list = schema_get(at, one_of ? "oneOf" : "anyOf");
        if (list == NULL)
            continue;
        size_t n_yes = 0, n_unknown = 0;
        cJSON_ArrayForEach(part, list)
        {
            enum verdict v = schema_check(schema, part, value, depth + 1);
            n_yes += v == VERDICT_YES;
            n_unknown += v == VERDICT_UNKNOWN;
        }
        bool is_yes = one_of ? n_yes == 1 && n_unknown == 0 : n_yes > 0;
        bool is_no =
            one_of ? n_yes > 1 || (n_yes == 0 && n_unknown == 0) : n_yes == 0 && n_unknown == 0;
        verdict = both(verdict, is_yes ? VERDICT_YES : is_no ? VERDICT_NO : VERDICT_UNKNOWN);
    }
    return verdict;
}

enum verdict schema_check(struct schema *schema, const cJSON *at, const cJSON *value,
                          unsigned depth)
{
    if (cJSON_IsBool(at))
        return of(cJSON_IsTrue(at));
    if (!cJSON_IsObject(at) || depth > CHECK_DEPTH_MAX)
        return VERDICT_UNKNOWN;
    enum verdict verdict = schema_check_base(schema, at, value, depth);
    const cJSON *ref = schema_get(at, "$ref"), *target;
    if (verdict != VERDICT_NO && cJSON_IsString(ref)) {
        struct error ignored = {0}, *err = schema->err;
        schema->err = &ignored;
        enum status status = schema_resolve(schema, at, ref->valuestring, &target);
        schema->err = err;
        verdict = both(verdict, status == OK ? schema_check(schema, target, value, depth + 1)
                                             : VERDICT_UNKNOWN);
    }
    return verdict == VERDICT_NO ? verdict : both(verdict, check_lists(schema, at, value, depth));
}

/* ---- disjoint ---- */

static const cJSON *values_of(const struct conjunction *c, bool *is_const)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->items[i].kind != ITEM_BASE)
            continue;
        const cJSON *one = schema_get(c->items[i].at, "const");
        const cJSON *list = schema_get(c->items[i].at, "enum");
        *is_const = one != NULL;
        if (one != NULL || cJSON_IsArray(list))
            return one != NULL ? one : list;
    }
    return NULL;
}

static bool excludes(struct schema *schema, const struct conjunction *c, const cJSON *value)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].kind == ITEM_BASE &&
            schema_check_base(schema, c->items[i].at, value, 0) == VERDICT_NO)
            return true;
    return false;
}

/* True when each value that `a` lists is excluded by itself or by `b`. */
static bool values_exclude(struct schema *schema, const struct conjunction *a,
                           const struct conjunction *b)
{
    bool is_const = false;
    const cJSON *values = values_of(a, &is_const), *value;
    if (values == NULL)
        return false;
    if (is_const)
        return excludes(schema, a, values) || excludes(schema, b, values);
    cJSON_ArrayForEach(value, values) if (!excludes(schema, a, value) &&
                                          !excludes(schema, b, value)) return false;
    return true;
}

/* Only what both conjunctions say in their own keywords; branches inside are left out, which can
 * only make them seem to overlap. */
static struct conjunction bases_of(const struct conjunction *a, const struct conjunction *b)
{
    struct conjunction all = {.n = 0};
    const struct conjunction *parts[2] = {a, b};
    for (size_t p = 0; p < 2; p++)
        for (size_t i = 0; i < parts[p]->n; i++)
            if (parts[p]->items[i].kind == ITEM_BASE)
                (void)conjunction_add(&all, parts[p]->items[i].at, ITEM_BASE);
    return all;
}

static bool is_empty(struct schema *schema, term t)
{
    struct automaton *automaton = schema->build->automaton;
    int32_t state = automaton_state_of(automaton, t, 0);
    return schema->build->budget->failed == OK &&
           (state == STATE_DEAD || automaton_distance(automaton, state) == DISTANCE_NONE);
}

static bool objects_disjoint(struct schema *schema, const struct conjunction *a,
                             const struct conjunction *b, unsigned depth)
{
    const struct conjunction *sides[2] = {a, b};
    for (size_t s = 0; s < 2; s++)
        for (size_t i = 0; i < sides[s]->n; i++) {
            const cJSON *name;
            if (sides[s]->items[i].kind != ITEM_BASE)
                continue;
            cJSON_ArrayForEach(name, schema_get(sides[s]->items[i].at, "required"))
            {
                struct conjunction here, there, own = bases_of(sides[s], &(struct conjunction){0});
                struct conjunction other = bases_of(sides[1 - s], &(struct conjunction){0});
                if (!cJSON_IsString(name) ||
                    schema_property(schema, &own, name->valuestring, &here) != OK ||
                    schema_property(schema, &other, name->valuestring, &there) != OK)
                    return false;
                if (there.is_false || here.is_false)
                    return true;
                if (depth < DISJOINT_DEPTH_MAX && schema_disjoint(schema, &here, &there, depth + 1))
                    return true;
            }
        }
    return false;
}

static bool kinds_disjoint(struct schema *schema, const struct conjunction *a,
                           const struct conjunction *b, unsigned kinds, unsigned depth)
{
    struct conjunction all = bases_of(a, b);
    term t = TERM_NONE;
    if (kinds & (KIND_NULL | KIND_BOOLEAN | KIND_ARRAY))
        return false;
    if (kinds & KIND_STRING &&
        (schema_string(schema, &all, false, &t) != OK || !is_empty(schema, t)))
        return false;
    if (kinds & KIND_NUMBER &&
        (schema_number(schema, &all, !(kinds & KIND_FRACTION), &t) != OK || !is_empty(schema, t)))
        return false;
    return !(kinds & KIND_OBJECT) || objects_disjoint(schema, a, b, depth);
}

bool schema_disjoint(struct schema *schema, const struct conjunction *a,
                     const struct conjunction *b, unsigned depth)
{
    unsigned kinds = schema_kinds(a) & schema_kinds(b);
    if (a->is_false || b->is_false || kinds == 0)
        return true;
    if (values_exclude(schema, a, b) || values_exclude(schema, b, a))
        return true;
    struct error ignored = {0}, *err = schema->err;
    schema->err = &ignored;
    bool disjoint = kinds_disjoint(schema, a, b, kinds, depth);
    schema->err = err;
    return disjoint;
}
