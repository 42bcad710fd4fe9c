/* JSON Schema to a grammar; private to schema*.c.
 *
 * What has to hold at one place of a document is a conjunction of schemas: $ref and allOf add to
 * it, anyOf and oneOf branch it. Each different conjunction becomes one rule, which also makes
 * recursion work; rules are built from a list, not by recursion. */
#ifndef WICARA_GRAMMAR_SCHEMA_H
#define WICARA_GRAMMAR_SCHEMA_H

#include "engine/grammar/build.h"
#include "engine/grammar/regex.h"

struct cJSON;

enum {
    SCHEMA_ITEMS_MAX = 64,       // schemas that hold at one place
    SCHEMA_RULES_MAX = 20000,    // different conjunctions
    SCHEMA_BRANCHES_MAX = 1024,  // of one anyOf or oneOf
    SCHEMA_DEPTH_MAX = 64,       // nesting of the schema's JSON
    SCHEMA_NODES_MAX = 200000,   // values in it
    SCHEMA_ANY_DEPTH = 16,       // nesting where the schema says nothing
    SCHEMA_PATTERNS_MAX = 6,     // patternProperties at one place
    SCHEMA_COUNTED_MAX = 20000,  // properties times counts where min/maxProperties matter
};

enum item_kind {
    ITEM_SCHEMA,  // all of a schema
    ITEM_BASE,    // its own keywords, without $ref, allOf, anyOf, oneOf
    ITEM_ANY_OF,  // one of an array
    ITEM_ONE_OF,
};

struct schema_item {
    const struct cJSON *at;
    enum item_kind kind;
};

struct conjunction {
    struct schema_item items[SCHEMA_ITEMS_MAX];
    size_t n;
    bool is_false;
};

enum {
    KIND_NULL = 1,
    KIND_BOOLEAN = 2,
    KIND_INTEGER = 4,
    KIND_FRACTION = 8,  // a number that is not an integer
    KIND_NUMBER = KIND_INTEGER | KIND_FRACTION,
    KIND_STRING = 16,
    KIND_ARRAY = 32,
    KIND_OBJECT = 64,
    KIND_ALL = 127,
};

struct schema_rule {
    struct conjunction what;
    node reference;
};

struct schema {
    struct grammar_build *build;
    const struct cJSON *root;
    bool is_strict;
    bool knows_ids, has_ids;  // schemas inside have an $id
    struct schema_rule **rules;
    size_t n_rules, rules_capacity;
    node any[SCHEMA_ANY_DEPTH + 1];  // by depth left, NODE_NONE = not made yet
    node comma, array_open, array_close, object_open, object_close;
    struct error *err;
};

/* schema.c */
enum status schema_fail(struct schema *schema, enum status status, const struct cJSON *at,
                        const char *keyword, const char *what);
bool conjunction_add(struct conjunction *c, const struct cJSON *at, enum item_kind kind);
/* The rule of a conjunction; made later if it is new. NODE_NONE after a failure. */
node schema_rule_of(struct schema *schema, const struct conjunction *c);
/* Replaces all ITEM_SCHEMA by their parts. */
enum status schema_flatten(struct schema *schema, struct conjunction *c) MUST_CHECK;
enum status schema_resolve(struct schema *schema, const struct cJSON *holder, const char *ref,
                           const struct cJSON **out) MUST_CHECK;
/* Types that the bases of a flat conjunction leave. */
unsigned schema_kinds(const struct conjunction *c);
unsigned schema_kinds_of(const struct cJSON *base);
const struct cJSON *schema_get(const struct cJSON *at, const char *keyword);
const struct cJSON *schema_nth(const struct cJSON *list, size_t index);  // NULL past the end
node schema_text(struct schema *schema, const char *text);               // a lexeme
term schema_quoted(struct schema *schema, term contents);                // with quotes
node schema_any(struct schema *schema, unsigned depth);

/* schema_string.c: whole strings with quotes; contents without. */
enum status schema_string(struct schema *schema, const struct conjunction *c, bool contents_only,
                          term *out) MUST_CHECK;
enum status schema_pattern(struct schema *schema, const struct cJSON *at, const char *keyword,
                           const char *pattern, struct regex *out) MUST_CHECK;
bool schema_format_is_known(const char *name);

/* schema_number.c */
enum status schema_number(struct schema *schema, const struct conjunction *c, bool integer,
                          term *out) MUST_CHECK;

/* schema_object.c, schema_array.c */
enum status schema_object(struct schema *schema, const struct conjunction *c, node *out) MUST_CHECK;
enum status schema_array(struct schema *schema, const struct conjunction *c, node *out) MUST_CHECK;
/* What `name` must satisfy in each base of `c`. */
enum status schema_property(struct schema *schema, const struct conjunction *c, const char *name,
                            struct conjunction *out) MUST_CHECK;
bool schema_requires(const struct conjunction *c, const char *name);

/* schema_check.c */
enum verdict { VERDICT_NO, VERDICT_YES, VERDICT_UNKNOWN };
/* Whether a value satisfies a schema. */
enum verdict schema_check(struct schema *schema, const struct cJSON *at, const struct cJSON *value,
                          unsigned depth);
enum verdict schema_check_base(struct schema *schema, const struct cJSON *at,
                               const struct cJSON *value, unsigned depth);
/* True when no value can satisfy both. */
bool schema_disjoint(struct schema *schema, const struct conjunction *a,
                     const struct conjunction *b, unsigned depth);
/* True when the term accepts `text` as it stands in JSON. */
bool schema_matches(struct schema *schema, term t, const char *text);

#endif
