/* Shared by the two halves of the parser: jinja_parse.c (statements), jinja_parse_expr.c. */
#ifndef WICARA_TEMPLATE_JINJA_PARSE_H
#define WICARA_TEMPLATE_JINJA_PARSE_H

#include "engine/template/jinja.h"
#include "engine/template/jinja_node.h"

/* A growing array of nodes. */
struct node_list {
    struct node **items;
    size_t n_items, capacity;
};

/* A filter or test that nobody knows. jinja2 refuses it when it compiles, except in the branches of
 * an if, where it fails only when it is reached. */
struct unknown_name {
    const char *what;  // "filter", "test"; NULL = none
    const struct text *name;
    uint32_t line;
};

struct parser {
    struct jinja *j;
    struct jinja_template *code;
    struct token *tokens;
    size_t at;
    struct dict *name_index;  // identifier -> index
    struct list *names;
    struct list *strings;
    uint32_t nesting;
    uint32_t loops;               // loops around this place within the same macro
    uint32_t macros_defined;      // so far, to see whether a loop body holds one
    bool in_branch;               // within {% if %} of the same frame
    struct unknown_name unknown;  // first one outside of branches, not yet reported
};

_Noreturn void parse_fail(struct parser *p, const char *format, ...) PRINTF_LIKE(2, 3);
_Noreturn void parse_fail_unsupported(struct parser *p, const char *what, const struct text *name);

static inline const struct token *parse_token(const struct parser *p)
{
    return &p->tokens[p->at];
}
bool parse_is_name(const struct parser *p, const char *name);
bool parse_skip(struct parser *p, enum token_kind kind);
bool parse_skip_name(struct parser *p, const char *name);
const struct token *parse_expect(struct parser *p, enum token_kind kind);
void parse_expect_name(struct parser *p, const char *name);
void parse_enter(struct parser *p);  // one level of nesting; fails past the limit
void parse_leave(struct parser *p);
void parse_check_count(struct parser *p, size_t n, const char *what);  // one more still fits

struct node *node_create(struct parser *p, enum node_kind kind, uint32_t line);
/* Records a child: its height counts, NULL is allowed. Returns the child. */
struct node *node_child(struct parser *p, struct node *node, struct node *child);
void node_list_add(struct parser *p, struct node_list *list, struct node *node);
void node_take_items(struct parser *p, struct node *node, const struct node_list *list);
uint32_t parse_name_index(struct parser *p, const struct text *name);
void parse_note_string(struct parser *p, const struct text *text);

/* End rules of a tuple without brackets. */
enum tuple_end { TUPLE_END_NONE, TUPLE_END_IN, TUPLE_END_RECURSIVE };
struct node *parse_expression(struct parser *p, bool with_condition);
struct node *parse_tuple(struct parser *p, bool with_condition, enum tuple_end end, bool brackets);
/* A name, a tuple of names, and with_namespace also ns.name. */
struct node *parse_target(struct parser *p, bool with_namespace, enum tuple_end end);
struct node *parse_filter_chain(struct parser *p, struct node *node, bool start_inline);
struct node *parse_call_expression(struct parser *p);

#endif
