/* Statements of templates, and the names they define; see jinja_parse.h.
 *
 * A template becomes a tree of nodes in the arena of the compiled template. Identifiers are
 * numbered, string literals are kept in a list for jinja_mentions(). What jinja2 knows and this
 * interpreter does not (include, import, extends, block, autoescape ...) is refused here by its
 * name. */
#include "engine/template/jinja_parse.h"

#include <stdarg.h>

#include "engine/template/jinja_text.h"

/* ---- helpers shared with jinja_parse_expr.c ---- */

void parse_fail(struct parser *p, const char *format, ...)
{
    char message[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    p->j->line = parse_token(p)->line;
    jinja_fail(p->j, ERR_FORMAT, "%s", message);
}

void parse_fail_unsupported(struct parser *p, const char *what, const struct text *name)
{
    p->j->line = parse_token(p)->line;
    if (!name)
        jinja_fail(p->j, ERR_UNSUPPORTED, "%s is not supported", what);
    jinja_fail(p->j, ERR_UNSUPPORTED, "%s '%.*s' is not supported", what, (int)name->n_bytes,
               name->bytes);
}

bool parse_is_name(const struct parser *p, const char *name)
{
    const struct token *token = parse_token(p);
    return token->kind == TOKEN_NAME && text_equals(token->text, name);
}

bool parse_skip(struct parser *p, enum token_kind kind)
{
    if (parse_token(p)->kind != kind)
        return false;
    p->at += kind != TOKEN_END;
    return true;
}

bool parse_skip_name(struct parser *p, const char *name)
{
    if (!parse_is_name(p, name))
        return false;
    p->at++;
    return true;
}

const struct token *parse_expect(struct parser *p, enum token_kind kind)
{
    const struct token *token = parse_token(p);
    if (token->kind == kind) {
        p->at++;
        return token;
    }
    struct token wanted = {.kind = (uint8_t)kind};
    const char *found = token_describe(p->j, token);
    parse_fail(p, "expected %s, got %s",
               kind == TOKEN_NAME ? "a name" : token_describe(p->j, &wanted), found);
}

void parse_expect_name(struct parser *p, const char *name)
{
    if (!parse_skip_name(p, name))
        parse_fail(p, "expected '%s', got %s", name, token_describe(p->j, parse_token(p)));
}

void parse_enter(struct parser *p)
{
    if (++p->nesting > JINJA_NESTING_MAX) {
        p->j->line = parse_token(p)->line;
        jinja_fail(p->j, ERR_LIMIT, "nested deeper than %d", JINJA_NESTING_MAX);
    }
}

void parse_leave(struct parser *p)
{
    p->nesting--;
}

void parse_check_count(struct parser *p, size_t n, const char *what)
{
    if (n < JINJA_ARGUMENTS_MAX)
        return;
    p->j->line = parse_token(p)->line;
    jinja_fail(p->j, ERR_LIMIT, "more than %d %s", JINJA_ARGUMENTS_MAX, what);
}

struct node *node_create(struct parser *p, enum node_kind kind, uint32_t line)
{
    struct node *node = jinja_alloc(p->j, sizeof *node);
    node->kind = (uint8_t)kind;
    node->line = line;
    node->height = 1;
    return node;
}

struct node *node_child(struct parser *p, struct node *node, struct node *child)
{
    if (child && child->height >= node->height) {
        node->height = (uint16_t)(child->height + 1);
        if (node->height > JINJA_HEIGHT_MAX) {
            p->j->line = node->line;
            jinja_fail(p->j, ERR_LIMIT, "an expression or block is more than %d levels high",
                       JINJA_HEIGHT_MAX);
        }
    }
    return child;
}

void node_list_add(struct parser *p, struct node_list *list, struct node *node)
{
    if (list->n_items == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 4;
        struct node **items = jinja_alloc_array(p->j, capacity, sizeof *items);
        if (list->n_items)
            memcpy(items, list->items, list->n_items * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n_items++] = node;
}

void node_take_items(struct parser *p, struct node *node, const struct node_list *list)
{
    for (size_t i = 0; i < list->n_items; i++)
        node_child(p, node, list->items[i]);
    node->items = list->items;
    node->n_items = list->n_items;
}

uint32_t parse_name_index(struct parser *p, const struct text *name)
{
    struct value *known = dict_find(p->j, p->name_index, value_text(name));
    if (known)
        return (uint32_t)known->integer;
    uint32_t index = p->names->n_items;
    list_append(p->j, p->names, value_text(name));
    dict_set(p->j, p->name_index, value_text(name), value_int(index));
    return index;
}

void parse_note_string(struct parser *p, const struct text *text)
{
    list_append(p->j, p->strings, value_text(text));
}

/* ---- bodies ---- */

static struct node *parse_statement(struct parser *p);

static bool at_one_of(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++) {
        if (parse_is_name(p, *ends))
            return true;
    }
    return false;
}

static void check_unknown(struct parser *p)
{
    if (!p->unknown.what)
        return;
    const struct text *name = p->unknown.name;
    p->j->line = p->unknown.line;
    jinja_fail(p->j, ERR_UNSUPPORTED, "unknown %s '%.*s'", p->unknown.what, (int)name->n_bytes,
               name->bytes);
}

/* Up to a block that opens with one of `ends` (NULL: the end of the template); stands on its
 * name. */
static struct node *parse_until(struct parser *p, const char *const *ends)
{
    struct node *body = node_create(p, STMT_BODY, parse_token(p)->line);
    struct node_list statements = {0};
    struct node *output = NULL;
    struct node_list parts = {0};
    for (;;) {
        const struct token *token = parse_token(p);
        p->at++;
        if (token->kind == TOKEN_DATA || token->kind == TOKEN_VARIABLE_BEGIN) {
            struct node *part;
            if (token->kind == TOKEN_DATA) {
                part = node_create(p, EXPR_CONST, token->line);
                part->value = value_text(token->text);
            } else {
                part = parse_tuple(p, true, TUPLE_END_NONE, false);
                check_unknown(p);
                parse_expect(p, TOKEN_VARIABLE_END);
            }
            if (!output)
                output = node_create(p, STMT_OUTPUT, token->line);
            node_list_add(p, &parts, part);
            continue;
        }
        if (output) {
            node_take_items(p, output, &parts);
            node_list_add(p, &statements, output);
            output = NULL;
            parts = (struct node_list){0};
        }
        if (token->kind == TOKEN_END) {
            p->at--;
            while (ends && ends[1])
                ends++;
            if (ends)
                parse_fail(p, "unexpected end of template, '%s' is missing", *ends);
            break;
        }
        if (at_one_of(p, ends))
            break;
        node_list_add(p, &statements, parse_statement(p));
        check_unknown(p);
        parse_expect(p, TOKEN_BLOCK_END);
    }
    node_take_items(p, body, &statements);
    return body;
}

/* The body behind the head of a block: ":" may stand there, then "%}". */
static struct node *parse_body(struct parser *p, const char *const *ends)
{
    parse_skip(p, TOKEN_COLON);
    check_unknown(p);
    parse_expect(p, TOKEN_BLOCK_END);
    parse_enter(p);
    struct node *body = parse_until(p, ends);
    parse_leave(p);
    return body;
}

/* The body of a frame: unknown filters in it count again, branches around it do not. */
static struct node *parse_frame_body(struct parser *p, const char *const *ends)
{
    bool in_branch = p->in_branch;
    p->in_branch = false;
    struct node *body = parse_body(p, ends);
    p->in_branch = in_branch;
    return body;
}

/* ---- statements ---- */

static struct node *parse_if(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    static const char *const else_ends[] = {"endif", NULL};
    struct node *node = node_create(p, STMT_IF, line);
    struct node_list items = {0};
    bool in_branch = p->in_branch;
    p->in_branch = true;
    for (;;) {
        node_list_add(p, &items, parse_tuple(p, false, TUPLE_END_NONE, false));
        node_list_add(p, &items, parse_body(p, ends));
        if (parse_skip_name(p, "elif"))
            continue;
        if (parse_skip_name(p, "else"))
            node->c = node_child(p, node, parse_body(p, else_ends));
        parse_expect_name(p, "endif");
        break;
    }
    p->in_branch = in_branch;
    node_take_items(p, node, &items);
    return node;
}

static void check_loop_target(struct parser *p, const struct node *target)
{
    for (size_t i = 0; i < target->n_items; i++)
        check_loop_target(p, target->items[i]);
    if (target->kind == EXPR_NAME && target->name == NAME_LOOP)
        parse_fail(p, "'loop' cannot be assigned to");
}

static struct node *parse_for(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    static const char *const else_ends[] = {"endfor", NULL};
    struct node *node = node_create(p, STMT_FOR, line);
    node->a = node_child(p, node, parse_target(p, false, TUPLE_END_IN));
    check_loop_target(p, node->a);
    parse_expect_name(p, "in");
    node->b = node_child(p, node, parse_tuple(p, false, TUPLE_END_RECURSIVE, false));
    if (parse_skip_name(p, "if")) {
        bool in_branch = p->in_branch;
        p->in_branch = false;
        node->c = node_child(p, node, parse_expression(p, true));
        p->in_branch = in_branch;
    }
    node->recursive = parse_skip_name(p, "recursive");
    uint32_t macros = p->macros_defined;
    p->loops++;
    node->body = node_child(p, node, parse_frame_body(p, ends));
    p->loops--;
    node->keeps_scope = p->macros_defined != macros || node->recursive;
    if (parse_skip_name(p, "else"))
        node->other = node_child(p, node, parse_frame_body(p, else_ends));
    parse_expect_name(p, "endfor");
    return node;
}

static struct node *parse_set(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *node = node_create(p, STMT_SET, line);
    node->a = node_child(p, node, parse_target(p, true, TUPLE_END_NONE));
    if (p->loops)
        check_loop_target(p, node->a);
    if (parse_skip(p, TOKEN_ASSIGN)) {
        node->b = node_child(p, node, parse_tuple(p, true, TUPLE_END_NONE, false));
        return node;
    }
    node->kind = STMT_SET_BLOCK;
    bool in_branch = p->in_branch;
    p->in_branch = false;
    node->b = node_child(p, node, parse_filter_chain(p, NULL, false));
    p->in_branch = in_branch;
    node->body = node_child(p, node, parse_frame_body(p, ends));
    parse_expect_name(p, "endset");
    return node;
}

/* A name that is about to be defined: literals have names too. */
static const struct text *parse_new_name(struct parser *p)
{
    static const char *const literals[] = {"true", "false", "none", "True", "False", "None"};
    for (size_t i = 0; i < sizeof literals / sizeof literals[0]; i++) {
        if (parse_is_name(p, literals[i]))
            parse_fail(p, "cannot assign to '%s'", literals[i]);
    }
    return parse_expect(p, TOKEN_NAME)->text;
}

static void parse_signature(struct parser *p, struct node *node)
{
    size_t capacity = 0;
    parse_expect(p, TOKEN_LPAREN);
    while (parse_token(p)->kind != TOKEN_RPAREN) {
        if (node->n_parameters)
            parse_expect(p, TOKEN_COMMA);
        struct node_parameter parameter = {0};
        parameter.name = parse_name_index(p, parse_new_name(p));
        if (parse_skip(p, TOKEN_ASSIGN))
            parameter.default_value = node_child(p, node, parse_expression(p, true));
        else if (node->n_parameters && node->parameters[node->n_parameters - 1].default_value)
            parse_fail(p, "a parameter without a default follows one with a default");
        for (size_t i = 0; i < node->n_parameters; i++) {
            if (node->parameters[i].name == parameter.name)
                parse_fail(p, "a parameter is repeated");
        }
        parse_check_count(p, node->n_parameters, "parameters");
        if (node->n_parameters == capacity) {
            size_t more = capacity ? capacity * 2 : 4;
            struct node_parameter *wider = jinja_alloc_array(p->j, more, sizeof *wider);
            if (capacity)
                memcpy(wider, node->parameters, capacity * sizeof *wider);
            node->parameters = wider;
            capacity = more;
        }
        node->parameters[node->n_parameters++] = parameter;
    }
    parse_expect(p, TOKEN_RPAREN);
}

/* Which of the special names occur between two places of the source. A name that is merely set
 * there counts too, which only costs an unused variable. */
static void note_special_names(struct parser *p, struct node *node, size_t from)
{
    for (size_t i = from; i < p->at; i++) {
        const struct token *token = &p->tokens[i];
        if (token->kind != TOKEN_NAME || (i > 0 && p->tokens[i - 1].kind == TOKEN_DOT))
            continue;
        node->uses_caller = node->uses_caller || text_equals(token->text, "caller");
        node->uses_varargs = node->uses_varargs || text_equals(token->text, "varargs");
        node->uses_kwargs = node->uses_kwargs || text_equals(token->text, "kwargs");
    }
    for (size_t i = 0; i < node->n_parameters; i++) {
        uint32_t name = node->parameters[i].name;
        if (name == NAME_CALLER && node->uses_caller && !node->parameters[i].default_value)
            parse_fail(p, "the parameter 'caller' must have a default");
        node->uses_varargs = node->uses_varargs && name != NAME_VARARGS;
        node->uses_kwargs = node->uses_kwargs && name != NAME_KWARGS;
    }
}

/* The body of a macro or call block: loops around it cannot be broken out of. */
static void parse_macro_body(struct parser *p, struct node *node, const char *const *ends)
{
    uint32_t loops = p->loops;
    size_t from = p->at;
    p->loops = 0;
    node->body = node_child(p, node, parse_frame_body(p, ends));
    p->loops = loops;
    p->macros_defined++;
    note_special_names(p, node, from);
    parse_expect_name(p, ends[0]);
}

static struct node *parse_macro(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct node *node = node_create(p, STMT_MACRO, line);
    const struct text *name = parse_new_name(p);
    node->name = parse_name_index(p, name);
    node->value = value_text(name);
    parse_signature(p, node);
    parse_macro_body(p, node, ends);
    return node;
}

static struct node *parse_call_block(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endcall", NULL};
    struct node *node = node_create(p, STMT_CALL, line);
    if (parse_token(p)->kind == TOKEN_LPAREN)
        parse_signature(p, node);
    node->a = node_child(p, node, parse_call_expression(p));
    parse_macro_body(p, node, ends);
    return node;
}

static struct node *parse_filter_block(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct node *node = node_create(p, STMT_FILTER, line);
    bool in_branch = p->in_branch;
    p->in_branch = false;
    node->b = node_child(p, node, parse_filter_chain(p, NULL, true));
    p->in_branch = in_branch;
    node->body = node_child(p, node, parse_frame_body(p, ends));
    parse_expect_name(p, "endfilter");
    return node;
}

static struct node *parse_with(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endwith", NULL};
    struct node *node = node_create(p, STMT_WITH, line);
    struct node_list items = {0};
    while (parse_token(p)->kind != TOKEN_BLOCK_END) {
        if (items.n_items)
            parse_expect(p, TOKEN_COMMA);
        node_list_add(p, &items, parse_target(p, false, TUPLE_END_NONE));
        parse_expect(p, TOKEN_ASSIGN);
        node_list_add(p, &items, parse_expression(p, true));
    }
    node_take_items(p, node, &items);
    node->body = node_child(p, node, parse_frame_body(p, ends));
    parse_expect_name(p, "endwith");
    return node;
}

/* {% generation %} marks what the assistant wrote; it renders as its body, in a scope of its
 * own. */
static struct node *parse_generation(struct parser *p, uint32_t line)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *node = node_create(p, STMT_SCOPE, line);
    uint32_t loops = p->loops;
    p->loops = 0;
    node->body = node_child(p, node, parse_frame_body(p, ends));
    p->loops = loops;
    parse_expect_name(p, "endgeneration");
    return node;
}

static struct node *parse_print(struct parser *p, uint32_t line)
{
    struct node *node = node_create(p, STMT_OUTPUT, line);
    struct node_list items = {0};
    while (parse_token(p)->kind != TOKEN_BLOCK_END) {
        if (items.n_items)
            parse_expect(p, TOKEN_COMMA);
        node_list_add(p, &items, parse_expression(p, true));
    }
    node_take_items(p, node, &items);
    return node;
}

static struct node *parse_break(struct parser *p, uint32_t line)
{
    if (p->loops == 0)
        parse_fail(p, "'break' outside of a loop");
    return node_create(p, STMT_BREAK, line);
}

static struct node *parse_continue(struct parser *p, uint32_t line)
{
    if (p->loops == 0)
        parse_fail(p, "'continue' outside of a loop");
    return node_create(p, STMT_CONTINUE, line);
}

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p, uint32_t line);  // NULL: not supported
} statements[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"print", parse_print},
    {"break", parse_break},
    {"continue", parse_continue},
    {"include", NULL},
    {"import", NULL},
    {"from", NULL},
    {"extends", NULL},
    {"block", NULL},
    {"autoescape", NULL},
    {"do", NULL},
    {"trans", NULL},
    {"debug", NULL},
};

static struct node *parse_statement(struct parser *p)
{
    const struct token *token = parse_token(p);
    if (token->kind != TOKEN_NAME)
        parse_fail(p, "expected the name of a tag, got %s", token_describe(p->j, token));
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (!text_equals(token->text, statements[i].name))
            continue;
        if (!statements[i].parse)
            parse_fail_unsupported(p, "tag", token->text);
        p->at++;
        return statements[i].parse(p, token->line);
    }
    parse_fail(p, "unknown tag %s", token_describe(p->j, token));
}

void parse_template(struct jinja *j, struct jinja_template *code, const char *source,
                    size_t n_bytes)
{
    static const char *const known[NAMES_KNOWN] = {"loop", "caller", "varargs", "kwargs"};
    size_t n_tokens;
    struct parser p = {.j = j, .code = code};
    p.tokens = lex_template(j, source, n_bytes, &n_tokens);
    p.name_index = dict_create(j, 16);
    p.names = list_create(j, 16);
    p.strings = list_create(j, 16);
    for (size_t i = 0; i < NAMES_KNOWN; i++)
        parse_name_index(&p, text_literal(j, known[i]));
    code->root = parse_until(&p, NULL);
    j->line = 0;

    code->n_names = p.names->n_items;
    code->names = jinja_alloc_array(j, code->n_names, sizeof *code->names);
    code->globals = jinja_alloc_array(j, code->n_names, sizeof *code->globals);
    for (size_t i = 0; i < code->n_names; i++) {
        code->names[i] = p.names->items[i].text;
        text_chars(code->names[i]);
        code->globals[i] = global_find(code->names[i]);
    }
    code->n_strings = p.strings->n_items;
    code->strings = jinja_alloc_array(j, code->n_strings, sizeof *code->strings);
    for (size_t i = 0; i < code->n_strings; i++)
        code->strings[i] = p.strings->items[i].text;
}
