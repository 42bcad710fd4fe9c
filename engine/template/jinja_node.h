/* The syntax tree, made by jinja_parse.c, walked by jinja_eval.c. Immutable once it is made. */
#ifndef WICARA_TEMPLATE_JINJA_NODE_H
#define WICARA_TEMPLATE_JINJA_NODE_H

#include "engine/template/jinja_call.h"
#include "engine/template/jinja_lex.h"
#include "engine/template/jinja_value.h"

enum node_kind {
    EXPR_CONST,      // value
    EXPR_NAME,       // name
    EXPR_NSREF,      // target only: name . value (text)
    EXPR_TUPLE,      // items
    EXPR_LIST,       // items
    EXPR_DICT,       // items: key, value, key, value ...
    EXPR_IF,         // a if b else c (c may be NULL)
    EXPR_OR,         // items
    EXPR_AND,        // items
    EXPR_NOT,        // a
    EXPR_NEGATE,     // a
    EXPR_PLUS,       // a
    EXPR_COMPARE,    // a, then ops[i] items[i]
    EXPR_BINARY,     // a, then ops[i] items[i], from the left
    EXPR_CONCAT,     // items
    EXPR_ATTRIBUTE,  // a . value (text)
    EXPR_ITEM,       // a [ b ]
    EXPR_SLICE,      // a [ b : c : d ], each may be NULL but a
    EXPR_CALL,       // a ( call )
    EXPR_FILTER,     // a | filter ( call ); a NULL: the text of the block
    EXPR_TEST,       // a is test ( call )
    EXPR_FAIL,       // unknown filter or test in a branch: fails when reached; value = message
    STMT_OUTPUT,     // items
    STMT_IF,         // items: condition, body (STMT_BODY), ...; c = else body or NULL
    STMT_FOR,        // a target, b iterable, c filter or NULL, body, other = else body or NULL
    STMT_SET,        // a target, b value
    STMT_SET_BLOCK,  // a target, b filter chain or NULL, body
    STMT_MACRO,      // name, parameters, body
    STMT_CALL,       // a call expression, parameters, body
    STMT_FILTER,     // b filter chain, body
    STMT_WITH,       // items: target, value, ...; body
    STMT_SCOPE,      // body in a scope of its own: {% generation %}
    STMT_BODY,       // items
    STMT_BREAK,
    STMT_CONTINUE,
};

enum compare_op {
    COMPARE_EQ,
    COMPARE_NE,
    COMPARE_LT,
    COMPARE_LE,
    COMPARE_GT,
    COMPARE_GE,
    COMPARE_IN,
    COMPARE_NOT_IN
};

struct node_keyword {
    const struct text *name;
    struct node *value;
};
struct node_call {
    struct node **positional;
    size_t n_positional;
    struct node_keyword *keywords;
    size_t n_keywords;
    struct node *star, *star_star;  // *args, **kwargs, or NULL
};
struct node_parameter {
    uint32_t name;
    struct node *default_value;  // or NULL
};

struct node {
    uint8_t kind;      // enum node_kind
    bool recursive;    // STMT_FOR
    bool keeps_scope;  // STMT_FOR: the body defines macros, so each round needs its own scope
    bool uses_caller, uses_varargs, uses_kwargs;  // STMT_MACRO, STMT_CALL
    uint16_t height;                              // 1 + the largest of the children
    uint32_t line;
    uint32_t name;  // index into jinja_template.names
    struct value value;
    struct node *a, *b, *c, *d;
    struct node **items;
    size_t n_items;
    const uint8_t *ops;  // n_items of them
    struct node *body, *other;
    struct node_call *call;
    const struct filter_info *filter;
    const struct test_info *test;
    struct node_parameter *parameters;
    size_t n_parameters;
    /* STMT_BODY that is a frame: names that are undefined from the entry until they are set,
     * although a variable of the render has that name. */
    uint32_t *unset;
    size_t n_unset;
};

/* Names that the evaluator knows by number. */
enum known_name { NAME_LOOP, NAME_CALLER, NAME_VARARGS, NAME_KWARGS, NAMES_KNOWN };

struct jinja_template {
    struct arena arena;
    struct node *root;          // STMT_BODY
    const struct text **names;  // every identifier once
    struct value *globals;      // beside names: the global of that name, or MISSING
    size_t n_names;
    const struct text **strings;  // string literals and attribute names, for jinja_mentions
    size_t n_strings;
};

/* Compiles into code->arena; `j` is set up by jinja_open and carries the failure. */
void parse_template(struct jinja *j, struct jinja_template *code, const char *source,
                    size_t n_bytes);
/* Works out the `unset` names of all frames. */
void resolve_names(struct jinja *j, struct jinja_template *code);

#endif
