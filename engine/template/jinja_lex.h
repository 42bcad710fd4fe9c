/* Template source to tokens. */
#ifndef WICARA_TEMPLATE_JINJA_LEX_H
#define WICARA_TEMPLATE_JINJA_LEX_H

#include "engine/template/jinja_value.h"

enum token_kind {
    TOKEN_END,             // of the template
    TOKEN_DATA,            // text
    TOKEN_VARIABLE_BEGIN,  // {{
    TOKEN_VARIABLE_END,
    TOKEN_BLOCK_BEGIN,  // {%
    TOKEN_BLOCK_END,
    TOKEN_NAME,     // text
    TOKEN_STRING,   // text
    TOKEN_INTEGER,  // value
    TOKEN_FLOAT,    // value
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_FLOORDIV,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_TILDE,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_LT,
    TOKEN_LE,
    TOKEN_GT,
    TOKEN_GE,
    TOKEN_ASSIGN,
    TOKEN_DOT,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_COMMA,
    TOKEN_SEMICOLON,
    TOKEN_LPAREN,
    TOKEN_RPAREN,
    TOKEN_LBRACKET,
    TOKEN_RBRACKET,
    TOKEN_LBRACE,
    TOKEN_RBRACE,
};

struct token {
    uint8_t kind;  // enum token_kind
    uint32_t line;
    const struct text *text;
    struct value value;
};

/* All tokens, ending with TOKEN_END. Fails with ERR_FORMAT and the line. */
struct token *lex_template(struct jinja *j, const char *source, size_t n_bytes, size_t *n_tokens);
/* As it would be named in a message: "'%}'", "end of template". */
const char *token_describe(struct jinja *j, const struct token *token);

#endif
