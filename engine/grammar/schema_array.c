/* Arrays: items by position, then all alike, with counts; see schema.h.
 *
 * Built from the end: what may follow n elements is either nothing (when n are enough) or a comma
 * and the next one. */
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/grammar/schema.h"

enum { PREFIX_MAX = 4096 };

static const cJSON *prefix_of(const cJSON *at)
{
    const cJSON *prefix = schema_get(at, "prefixItems"), *items = schema_get(at, "items");
    if (cJSON_IsArray(prefix))
        return prefix;
    return cJSON_IsArray(items) ? items : NULL;  // before draft 2020-12
}

static const cJSON *rest_of(const cJSON *at)
{
    const cJSON *items = schema_get(at, "items");
    return cJSON_IsArray(items) ? schema_get(at, "additionalItems") : items;
}

/* What element number `index` must satisfy. */
static enum status element(struct schema *schema, const struct conjunction *c, size_t index,
                           node *out)
{
    struct conjunction all = {.n = 0};
    bool ok = true;
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *prefix = prefix_of(c->items[i].at);
        size_t n = prefix == NULL ? 0 : (size_t)cJSON_GetArraySize(prefix);
        const cJSON *at = index < n ? schema_nth(prefix, index) : rest_of(c->items[i].at);
        if (at != NULL)
            ok = ok && conjunction_add(&all, at, ITEM_SCHEMA);
    }
    if (!ok)
        return schema_fail(schema, ERR_LIMIT, c->items[0].at, "items", "too many schemas at once");
    enum status status = schema_flatten(schema, &all);
    *out = status == OK ? schema_rule_of(schema, &all) : NODE_NONE;
    return status;
}

struct counts {
    uint32_t min, max;
    size_t n_prefix;
};

static enum status read_counts(struct schema *schema, const struct conjunction *c,
                               struct counts *out)
{
    *out = (struct counts){0, TERM_ENDLESS, 0};
    for (size_t i = 0; i < c->n; i++) {
        const cJSON *at = c->items[i].at;
        for (int upper = 0; upper < 2; upper++) {
            const char *keyword = upper ? "maxItems" : "minItems";
            const cJSON *value = schema_get(at, keyword);
            if (value == NULL)
                continue;
            double v = cJSON_IsNumber(value) ? value->valuedouble : -1;
            if (v < 0 || v != floor(v))
                return schema_fail(schema, ERR_INVALID, at, keyword,
                                   "must be a whole number, 0 or more");
            uint32_t n = v > REGEX_COUNT_MAX ? REGEX_COUNT_MAX + 1u : (uint32_t)v;
            if (upper && n < out->max && n <= REGEX_COUNT_MAX)
                out->max = n;
            if (!upper && n > REGEX_COUNT_MAX)
                return schema_fail(schema, ERR_LIMIT, at, keyword, "is above 1000000");
            if (!upper && n > out->min)
                out->min = n;
        }
        const cJSON *prefix = prefix_of(at);
        size_t n = prefix == NULL ? 0 : (size_t)cJSON_GetArraySize(prefix);
        if (n > PREFIX_MAX)
            return schema_fail(schema, ERR_LIMIT, at, "prefixItems", "has more than 4096 items");
        if (n > out->n_prefix)
            out->n_prefix = n;
    }
    for (size_t i = 0; i < c->n; i++)
        if (cJSON_IsTrue(schema_get(c->items[i].at, "uniqueItems")) && out->max > 1)
            return schema_fail(schema, ERR_UNSUPPORTED, c->items[i].at, "uniqueItems",
                               "is not supported for more than one item");
    return OK;
}

static node optional(struct nodes *nodes, node a)
{
    node items[2] = {a, NODE_EMPTY};
    return nodes_alternative(nodes, items, 2);
}

enum status schema_array(struct schema *schema, const struct conjunction *c, node *out)
{
    struct nodes *nodes = schema->build->nodes;
    struct counts counts;
    *out = NODE_NONE;
    enum status status = read_counts(schema, c, &counts);
    if (status != OK || counts.min > counts.max)
        return status;
    size_t n_prefix = counts.n_prefix < counts.max ? counts.n_prefix : counts.max;
    node body = NODE_EMPTY, item;
    if (counts.max > n_prefix) {
        status = element(schema, c, n_prefix, &item);
        uint32_t before = n_prefix > 0 ? (uint32_t)n_prefix : 1;
        uint32_t min = counts.min > before ? counts.min - before : 0;
        uint32_t max = counts.max == TERM_ENDLESS ? TERM_ENDLESS : counts.max - before;
        body = nodes_repeat(nodes, nodes_sequence(nodes, schema->comma, item), min, max);
        if (n_prefix == 0) {
            body = nodes_sequence(nodes, item, body);
            if (counts.min == 0)
                body = optional(nodes, body);
        } else if (item == NODE_NONE && counts.min > n_prefix) {
            body = NODE_NONE;
        }
    }
    for (size_t i = n_prefix; status == OK && i-- > 0;) {
        status = element(schema, c, i, &item);
        if (i > 0)
            item = nodes_sequence(nodes, schema->comma, item);
        body = nodes_sequence(nodes, item, body);
        if (i >= counts.min)
            body = optional(nodes, body);
    }
    if (status == OK)
        *out = nodes_sequence(nodes, schema->array_open,
                              nodes_sequence(nodes, body, schema->array_close));
    return status;
}
