/* Expressions of templates; see jinja_parse.h.
 *
 * Recursive descent by jinja2's order of precedence: or, and, not, comparison, + -, ~, * / // %,
 * **, sign, then postfix (attribute, item, call) and filters and tests. Chains of one level become
 * one node with many operands, so that long sums are not deep trees; brackets, signs and the like
 * count as nesting and are bounded, and so is the height of the tree. */
#include "engine/template/jinja_parse.h"

#include "engine/template/jinja_text.h"

static struct node *parse_postfix(struct parser *p, struct node *node);
static struct node *parse_filters(struct parser *p, struct node *node);

/* ---- literals and brackets ---- */

static struct node *parse_list(struct parser *p, uint32_t line)
{
    struct node_list items = {0};
    while (parse_token(p)->kind != TOKEN_RBRACKET) {
        if (items.n_items) {
            parse_expect(p, TOKEN_COMMA);
            if (parse_token(p)->kind == TOKEN_RBRACKET)
                break;
        }
        node_list_add(p, &items, parse_expression(p, true));
    }
    parse_expect(p, TOKEN_RBRACKET);
    struct node *node = node_create(p, EXPR_LIST, line);
    node_take_items(p, node, &items);
    return node;
}

static struct node *parse_dict(struct parser *p, uint32_t line)
{
    struct node_list items = {0};
    while (parse_token(p)->kind != TOKEN_RBRACE) {
        if (items.n_items) {
            parse_expect(p, TOKEN_COMMA);
            if (parse_token(p)->kind == TOKEN_RBRACE)
                break;
        }
        node_list_add(p, &items, parse_expression(p, true));
        parse_expect(p, TOKEN_COLON);
        node_list_add(p, &items, parse_expression(p, true));
    }
    parse_expect(p, TOKEN_RBRACE);
    struct node *node = node_create(p, EXPR_DICT, line);
    node_take_items(p, node, &items);
    return node;
}

static struct node *parse_string(struct parser *p)
{
    const struct token *token = parse_token(p);
    const struct text *text = token->text;
    uint32_t line = token->line;
    p->at++;
    if (parse_token(p)->kind == TOKEN_STRING) {
        struct text_builder b;
        builder_init(&b, p->j);
        builder_text(&b, text);
        for (; parse_token(p)->kind == TOKEN_STRING; p->at++)
            builder_text(&b, parse_token(p)->text);
        text = builder_finish(&b);
        text_chars(text);
    }
    parse_note_string(p, text);
    struct node *node = node_create(p, EXPR_CONST, line);
    node->value = value_text(text);
    return node;
}

static struct node *parse_name(struct parser *p, bool with_namespace)
{
    const struct token *token = parse_token(p);
    p->at++;
    struct node *node = node_create(p, EXPR_CONST, token->line);
    bool yes = text_equals(token->text, "true") || text_equals(token->text, "True");
    if (yes || text_equals(token->text, "false") || text_equals(token->text, "False")) {
        node->value = value_bool(yes);
        return node;
    }
    if (text_equals(token->text, "none") || text_equals(token->text, "None")) {
        node->value = value_none();
        return node;
    }
    node->kind = EXPR_NAME;
    node->name = parse_name_index(p, token->text);
    if (with_namespace && parse_skip(p, TOKEN_DOT)) {
        node->kind = EXPR_NSREF;
        node->value = value_text(parse_expect(p, TOKEN_NAME)->text);
    }
    return node;
}

static struct node *parse_primary(struct parser *p, bool with_namespace)
{
    const struct token *token = parse_token(p);
    struct node *node;
    switch (token->kind) {
    case TOKEN_NAME:
        return parse_name(p, with_namespace);
    case TOKEN_STRING:
        return parse_string(p);
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
        p->at++;
        node = node_create(p, EXPR_CONST, token->line);
        node->value = token->value;
        return node;
    case TOKEN_LPAREN:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        p->at++;
        parse_enter(p);
        if (token->kind == TOKEN_LPAREN) {
            node = parse_tuple(p, true, TUPLE_END_NONE, true);
            parse_expect(p, TOKEN_RPAREN);
        } else {
            node = token->kind == TOKEN_LBRACKET ? parse_list(p, token->line)
                                                 : parse_dict(p, token->line);
        }
        parse_leave(p);
        return node;
    default:
        parse_fail(p, "unexpected %s", token_describe(p->j, token));
    }
}

/* ---- operators, from the tightest ---- */

static struct node *parse_unary(struct parser *p, bool with_filter)
{
    const struct token *token = parse_token(p);
    struct node *node;
    if (token->kind == TOKEN_SUB || token->kind == TOKEN_ADD) {
        p->at++;
        parse_enter(p);
        node = node_create(p, token->kind == TOKEN_SUB ? EXPR_NEGATE : EXPR_PLUS, token->line);
        node->a = node_child(p, node, parse_unary(p, false));
        parse_leave(p);
    } else {
        node = parse_primary(p, false);
    }
    node = parse_postfix(p, node);
    return with_filter ? parse_filters(p, node) : node;
}

struct operator_level {
    enum token_kind first, last;  // token kinds of this level
    struct node *(*operand)(struct parser *p);
};

static struct node *parse_operand(struct parser *p)
{
    return parse_unary(p, true);
}

/* a op b op c ... of one level as one node, evaluated from the left. */
static struct node *parse_binary(struct parser *p, const struct operator_level *level)
{
    uint32_t line = parse_token(p)->line;
    struct node *first = level->operand(p);
    struct node_list rest = {0};
    struct text_builder ops;
    builder_init(&ops, p->j);
    for (;;) {
        uint8_t kind = parse_token(p)->kind;
        if (kind < level->first || kind > level->last)
            break;
        p->at++;
        builder_bytes(&ops, (char[]){(char)kind}, 1, false);
        node_list_add(p, &rest, level->operand(p));
    }
    if (rest.n_items == 0)
        return first;
    struct node *node = node_create(p, EXPR_BINARY, line);
    node->a = node_child(p, node, first);
    node_take_items(p, node, &rest);
    node->ops = (const uint8_t *)ops.bytes;
    return node;
}

static struct node *parse_power(struct parser *p)
{
    static const struct operator_level level = {TOKEN_POW, TOKEN_POW, parse_operand};
    return parse_binary(p, &level);
}

static struct node *parse_product(struct parser *p)
{
    static const struct operator_level level = {TOKEN_MUL, TOKEN_MOD, parse_power};
    return parse_binary(p, &level);
}

static struct node *parse_concat(struct parser *p)
{
    uint32_t line = parse_token(p)->line;
    struct node_list items = {0};
    node_list_add(p, &items, parse_product(p));
    while (parse_skip(p, TOKEN_TILDE))
        node_list_add(p, &items, parse_product(p));
    if (items.n_items == 1)
        return items.items[0];
    struct node *node = node_create(p, EXPR_CONCAT, line);
    node_take_items(p, node, &items);
    return node;
}

static struct node *parse_sum(struct parser *p)
{
    static const struct operator_level level = {TOKEN_ADD, TOKEN_SUB, parse_concat};
    return parse_binary(p, &level);
}

/* The comparison at this place, or -1; skips it. */
static int parse_compare_op(struct parser *p)
{
    const struct token *token = parse_token(p);
    if (token->kind >= TOKEN_EQ && token->kind <= TOKEN_GE) {
        p->at++;
        return token->kind - TOKEN_EQ + COMPARE_EQ;
    }
    if (parse_skip_name(p, "in"))
        return COMPARE_IN;
    const struct token *next = token->kind == TOKEN_END ? token : token + 1;
    if (parse_is_name(p, "not") && next->kind == TOKEN_NAME && text_equals(next->text, "in")) {
        p->at += 2;
        return COMPARE_NOT_IN;
    }
    return -1;
}

static struct node *parse_compare(struct parser *p)
{
    uint32_t line = parse_token(p)->line;
    struct node *first = parse_sum(p);
    struct node_list rest = {0};
    struct text_builder ops;
    builder_init(&ops, p->j);
    int op;
    while ((op = parse_compare_op(p)) >= 0) {
        builder_bytes(&ops, (char[]){(char)op}, 1, false);
        node_list_add(p, &rest, parse_sum(p));
    }
    if (rest.n_items == 0)
        return first;
    struct node *node = node_create(p, EXPR_COMPARE, line);
    node->a = node_child(p, node, first);
    node_take_items(p, node, &rest);
    node->ops = (const uint8_t *)ops.bytes;
    return node;
}

static struct node *parse_not(struct parser *p)
{
    uint32_t line = parse_token(p)->line;
    if (!parse_skip_name(p, "not"))
        return parse_compare(p);
    parse_enter(p);
    struct node *node = node_create(p, EXPR_NOT, line);
    node->a = node_child(p, node, parse_not(p));
    parse_leave(p);
    return node;
}

static struct node *parse_junction(struct parser *p, const char *word, enum node_kind kind,
                                   struct node *(*operand)(struct parser *p))
{
    uint32_t line = parse_token(p)->line;
    struct node_list items = {0};
    node_list_add(p, &items, operand(p));
    while (parse_skip_name(p, word))
        node_list_add(p, &items, operand(p));
    if (items.n_items == 1)
        return items.items[0];
    struct node *node = node_create(p, kind, line);
    node_take_items(p, node, &items);
    return node;
}

static struct node *parse_and(struct parser *p)
{
    return parse_junction(p, "and", EXPR_AND, parse_not);
}

static struct node *parse_or(struct parser *p)
{
    return parse_junction(p, "or", EXPR_OR, parse_and);
}

struct node *parse_expression(struct parser *p, bool with_condition)
{
    uint32_t line = parse_token(p)->line;
    struct unknown_name pending = p->unknown;
    struct node *node = parse_or(p);
    while (with_condition && parse_skip_name(p, "if")) {
        struct node *choice = node_create(p, EXPR_IF, line);
        choice->a = node_child(p, choice, node);
        choice->b = node_child(p, choice, parse_or(p));
        if (parse_skip_name(p, "else")) {
            parse_enter(p);
            choice->c = node_child(p, choice, parse_expression(p, true));
            parse_leave(p);
        }
        p->unknown = pending;  // what is unknown in here fails only when it is reached
        node = choice;
    }
    return node;
}

/* ---- tuples and targets ---- */

static bool at_tuple_end(const struct parser *p, enum tuple_end end)
{
    uint8_t kind = parse_token(p)->kind;
    if (kind == TOKEN_VARIABLE_END || kind == TOKEN_BLOCK_END || kind == TOKEN_RPAREN)
        return true;
    return (end == TUPLE_END_IN && parse_is_name(p, "in")) ||
           (end == TUPLE_END_RECURSIVE && parse_is_name(p, "recursive"));
}

static struct node *tuple_of(struct parser *p, const struct node_list *items, uint32_t line)
{
    struct node *node = node_create(p, EXPR_TUPLE, line);
    node_take_items(p, node, items);
    return node;
}

struct node *parse_tuple(struct parser *p, bool with_condition, enum tuple_end end, bool brackets)
{
    uint32_t line = parse_token(p)->line;
    struct node_list items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n_items)
            parse_expect(p, TOKEN_COMMA);
        if (at_tuple_end(p, end))
            break;
        node_list_add(p, &items, parse_expression(p, with_condition));
        if (parse_token(p)->kind != TOKEN_COMMA)
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.n_items)
        return items.items[0];
    if (!is_tuple && !brackets)
        parse_fail(p, "expected an expression, got %s", token_describe(p->j, parse_token(p)));
    return tuple_of(p, &items, line);
}

static void check_target(struct parser *p, const struct node *node)
{
    if (node->kind == EXPR_TUPLE) {
        for (size_t i = 0; i < node->n_items; i++)
            check_target(p, node->items[i]);
    } else if (node->kind != EXPR_NAME && node->kind != EXPR_NSREF) {
        parse_fail(p, "cannot assign to this expression");
    }
}

struct node *parse_target(struct parser *p, bool with_namespace, enum tuple_end end)
{
    uint32_t line = parse_token(p)->line;
    struct node_list items = {0};
    bool is_tuple = false;
    for (;;) {
        if (items.n_items)
            parse_expect(p, TOKEN_COMMA);
        if (at_tuple_end(p, end))
            break;
        node_list_add(p, &items, parse_primary(p, with_namespace));
        if (parse_token(p)->kind != TOKEN_COMMA)
            break;
        is_tuple = true;
    }
    if (!is_tuple && items.n_items == 0)
        parse_fail(p, "expected an expression, got %s", token_describe(p->j, parse_token(p)));
    struct node *node = is_tuple ? tuple_of(p, &items, line) : items.items[0];
    check_target(p, node);
    return node;
}

/* ---- calls, subscripts, filters, tests ---- */

static struct node_call *parse_call_args(struct parser *p, struct node *owner)
{
    struct node_call *call = jinja_alloc(p->j, sizeof *call);
    struct node_list positional = {0};
    struct node_keyword *keywords = NULL;
    size_t capacity = 0;
    bool comma = false;
    parse_expect(p, TOKEN_LPAREN);
    while (parse_token(p)->kind != TOKEN_RPAREN) {
        if (comma) {
            parse_expect(p, TOKEN_COMMA);
            if (parse_token(p)->kind == TOKEN_RPAREN)
                break;
        }
        comma = true;
        const struct token *token = parse_token(p);
        bool starred = call->star || call->star_star;
        if (parse_skip(p, TOKEN_MUL)) {
            if (starred)
                parse_fail(p, "invalid arguments of a call");
            call->star = node_child(p, owner, parse_expression(p, true));
        } else if (parse_skip(p, TOKEN_POW)) {
            if (call->star_star)
                parse_fail(p, "invalid arguments of a call");
            call->star_star = node_child(p, owner, parse_expression(p, true));
        } else if (token->kind == TOKEN_NAME && token[1].kind == TOKEN_ASSIGN) {
            if (call->star_star)
                parse_fail(p, "invalid arguments of a call");
            p->at += 2;
            if (call->n_keywords == capacity) {
                size_t more = capacity ? capacity * 2 : 4;
                struct node_keyword *wider = jinja_alloc_array(p->j, more, sizeof *wider);
                if (capacity)
                    memcpy(wider, keywords, capacity * sizeof *wider);
                keywords = wider;
                capacity = more;
            }
            for (size_t i = 0; i < call->n_keywords; i++) {
                if (text_same(keywords[i].name, token->text))
                    parse_fail(p, "keyword argument '%.*s' is repeated", (int)token->text->n_bytes,
                               token->text->bytes);
            }
            parse_check_count(p, call->n_keywords, "keyword arguments");
            struct node *value = node_child(p, owner, parse_expression(p, true));
            keywords[call->n_keywords++] = (struct node_keyword){token->text, value};
        } else {
            if (starred || call->n_keywords)
                parse_fail(p, "a positional argument follows a keyword argument");
            node_list_add(p, &positional, node_child(p, owner, parse_expression(p, true)));
        }
    }
    parse_expect(p, TOKEN_RPAREN);
    call->positional = positional.items;
    call->n_positional = positional.n_items;
    call->keywords = keywords;
    return call;
}

static struct node *parse_call(struct parser *p, struct node *callee)
{
    struct node *node = node_create(p, EXPR_CALL, parse_token(p)->line);
    node->a = node_child(p, node, callee);
    parse_enter(p);
    if (callee->kind == EXPR_ATTRIBUTE &&
        method_is_unsupported(callee->value.text->bytes, callee->value.text->n_bytes))
        parse_fail_unsupported(p, "method", callee->value.text);
    if (callee->kind == EXPR_NAME) {
        const struct text *name = p->names->items[callee->name].text;
        if (global_is_unsupported(name->bytes, name->n_bytes))
            parse_fail_unsupported(p, "function", name);
    }
    node->call = parse_call_args(p, node);
    parse_leave(p);
    return node;
}

/* One index or slice within [ ]. */
static struct node *parse_subscript_part(struct parser *p, struct node *base, uint32_t line,
                                         bool *is_slice)
{
    struct node *slice = node_create(p, EXPR_SLICE, line);
    *is_slice = false;
    if (parse_token(p)->kind != TOKEN_COLON) {
        struct node *index = parse_expression(p, true);
        if (parse_token(p)->kind != TOKEN_COLON)
            return index;
        slice->b = node_child(p, slice, index);
    }
    *is_slice = true;
    slice->a = node_child(p, slice, base);
    parse_expect(p, TOKEN_COLON);
    uint8_t kind = parse_token(p)->kind;
    if (kind != TOKEN_COLON && kind != TOKEN_RBRACKET && kind != TOKEN_COMMA)
        slice->c = node_child(p, slice, parse_expression(p, true));
    if (parse_skip(p, TOKEN_COLON)) {
        kind = parse_token(p)->kind;
        if (kind != TOKEN_RBRACKET && kind != TOKEN_COMMA)
            slice->d = node_child(p, slice, parse_expression(p, true));
    }
    return slice;
}

static struct node *parse_subscript(struct parser *p, struct node *base)
{
    const struct token *token = parse_token(p);
    struct node *node;
    p->at++;
    if (token->kind == TOKEN_DOT) {
        const struct token *attribute = parse_token(p);
        p->at++;
        node =
            node_create(p, attribute->kind == TOKEN_NAME ? EXPR_ATTRIBUTE : EXPR_ITEM, token->line);
        node->a = node_child(p, node, base);
        if (attribute->kind == TOKEN_NAME) {
            node->value = value_text(attribute->text);
            parse_note_string(p, attribute->text);
        } else if (attribute->kind == TOKEN_INTEGER) {
            node->b = node_child(p, node, node_create(p, EXPR_CONST, token->line));
            node->b->value = attribute->value;
        } else {
            p->at--;
            parse_fail(p, "expected a name or a number behind '.'");
        }
        return node;
    }
    parse_enter(p);
    bool is_slice = false, empty = parse_token(p)->kind == TOKEN_RBRACKET;  // a[] is a[()]
    struct node *index = empty ? node_create(p, EXPR_TUPLE, token->line)
                               : parse_subscript_part(p, base, token->line, &is_slice);
    if (is_slice && parse_token(p)->kind != TOKEN_COMMA) {
        node = index;
    } else {
        struct node_list items = {0};
        node_list_add(p, &items, index);
        while (parse_skip(p, TOKEN_COMMA)) {
            if (!is_slice)
                node_list_add(p, &items, parse_subscript_part(p, base, token->line, &is_slice));
            if (is_slice)
                parse_fail_unsupported(p, "slice within a tuple index", NULL);
        }
        if (items.n_items > 1)
            index = tuple_of(p, &items, token->line);
        node = node_create(p, EXPR_ITEM, token->line);
        node->a = node_child(p, node, base);
        node->b = node_child(p, node, index);
    }
    parse_expect(p, TOKEN_RBRACKET);
    parse_leave(p);
    return node;
}

static struct node *parse_postfix(struct parser *p, struct node *node)
{
    for (;;) {
        uint8_t kind = parse_token(p)->kind;
        if (kind == TOKEN_DOT || kind == TOKEN_LBRACKET)
            node = parse_subscript(p, node);
        else if (kind == TOKEN_LPAREN)
            node = parse_call(p, node);
        else
            return node;
    }
}

/* "name.name.name" */
static const struct text *parse_dotted_name(struct parser *p)
{
    const struct text *name = parse_expect(p, TOKEN_NAME)->text;
    while (parse_skip(p, TOKEN_DOT)) {
        name = text_concat(p->j, name, text_literal(p->j, "."));
        name = text_concat(p->j, name, parse_expect(p, TOKEN_NAME)->text);
    }
    return name;
}

/* A filter or test that jinja2 would not know either: an error now, or only when it is reached. */
static void unknown_name(struct parser *p, struct node *node, const char *what,
                         const struct text *name)
{
    if (!p->in_branch && !p->unknown.what)
        p->unknown = (struct unknown_name){what, name, node->line};
    struct text_builder b;
    builder_init(&b, p->j);
    builder_literal(&b, what);
    builder_literal(&b, " '");
    builder_text(&b, name);
    builder_literal(&b, "'");
    node->kind = EXPR_FAIL;
    node->value = value_text(builder_finish(&b));
}

struct node *parse_filter_chain(struct parser *p, struct node *input, bool start_inline)
{
    while (parse_token(p)->kind == TOKEN_PIPE || start_inline) {
        if (!start_inline)
            p->at++;
        start_inline = false;
        struct node *node = node_create(p, EXPR_FILTER, parse_token(p)->line);
        const struct text *name = parse_dotted_name(p);
        node->a = node_child(p, node, input);
        node->filter = filter_find(name->bytes, name->n_bytes);
        if (!node->filter && filter_is_unsupported(name->bytes, name->n_bytes))
            parse_fail_unsupported(p, "filter", name);
        parse_enter(p);
        if (parse_token(p)->kind == TOKEN_LPAREN)
            node->call = parse_call_args(p, node);
        parse_leave(p);
        if (!node->filter)
            unknown_name(p, node, "filter", name);
        input = node;
    }
    return input;
}

static bool starts_test_argument(const struct parser *p)
{
    switch (parse_token(p)->kind) {
    case TOKEN_NAME:
        return !parse_is_name(p, "else") && !parse_is_name(p, "or") && !parse_is_name(p, "and");
    case TOKEN_STRING:
    case TOKEN_INTEGER:
    case TOKEN_FLOAT:
    case TOKEN_LBRACKET:
    case TOKEN_LBRACE:
        return true;
    default:
        return false;
    }
}

static struct node *parse_test(struct parser *p, struct node *input)
{
    uint32_t line = parse_token(p)->line;
    p->at++;  // is
    bool negated = parse_skip_name(p, "not");
    struct node *node = node_create(p, EXPR_TEST, line);
    const struct text *name = parse_dotted_name(p);
    node->a = node_child(p, node, input);
    node->test = test_find(name->bytes, name->n_bytes);
    parse_enter(p);
    if (parse_token(p)->kind == TOKEN_LPAREN) {
        node->call = parse_call_args(p, node);
    } else if (starts_test_argument(p)) {
        if (parse_is_name(p, "is"))
            parse_fail(p, "tests cannot be chained with 'is'");
        struct node_list items = {0};
        node_list_add(p, &items, parse_postfix(p, parse_primary(p, false)));
        node->call = jinja_alloc(p->j, sizeof *node->call);
        node->call->positional = items.items;
        node->call->n_positional = 1;
        node_child(p, node, items.items[0]);
    }
    parse_leave(p);
    if (!node->test)
        unknown_name(p, node, "test", name);
    if (!negated)
        return node;
    struct node *inverse = node_create(p, EXPR_NOT, line);
    inverse->a = node_child(p, inverse, node);
    return inverse;
}

static struct node *parse_filters(struct parser *p, struct node *node)
{
    for (;;) {
        if (parse_token(p)->kind == TOKEN_PIPE)
            node = parse_filter_chain(p, node, false);
        else if (parse_is_name(p, "is"))
            node = parse_test(p, node);
        else if (parse_token(p)->kind == TOKEN_LPAREN)
            node = parse_call(p, node);
        else
            return node;
    }
}

struct node *parse_call_expression(struct parser *p)
{
    struct node *node = parse_expression(p, true);
    if (node->kind != EXPR_CALL)
        parse_fail(p, "expected a call");
    return node;
}
