/* Template source to tokens; see jinja_lex.h.
 *
 * Two modes: text outside of tags, where white space control decides what is kept, and expressions
 * inside of them. The rules are those of jinja2 with trim_blocks (a newline behind a block or a
 * comment goes) and lstrip_blocks (white space from the start of the line to a block or comment
 * goes); "-" at either end strips all white space, "+" switches a rule off for one tag. Line ends
 * are normalised to \n and one at the end of the source is dropped.
 *
 * Source: the jinja2 documentation, "Whitespace Control", and observed behaviour of jinja2 3.1. */
#include "engine/template/jinja_lex.h"

#include "engine/base/hex.h"
#include "engine/base/utf8.h"
#include "engine/template/jinja_number.h"
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

enum { LEX_BRACKETS_MAX = 256 };

struct lexer {
    struct jinja *j;
    const char *source;
    size_t n_bytes, at;
    uint32_t line;
    bool line_starting;  // the previous match ended with a newline
    struct token *tokens;
    size_t n_tokens, capacity;
    char brackets[LEX_BRACKETS_MAX];  // the closing ones that are awaited
    size_t n_brackets;
};

static _Noreturn void lex_fail(struct lexer *lex, const char *message)
{
    lex->j->line = lex->line;
    jinja_fail(lex->j, ERR_FORMAT, "%s", message);
}

static struct token *add_token(struct lexer *lex, enum token_kind kind)
{
    if (lex->n_tokens == lex->capacity) {
        size_t capacity = lex->capacity ? lex->capacity * 2 : 256;
        struct token *tokens = jinja_alloc_array(lex->j, capacity, sizeof *tokens);
        if (lex->n_tokens)
            memcpy(tokens, lex->tokens, lex->n_tokens * sizeof *tokens);
        lex->tokens = tokens;
        lex->capacity = capacity;
    }
    struct token *token = &lex->tokens[lex->n_tokens++];
    *token = (struct token){.kind = (uint8_t)kind, .line = lex->line};
    return token;
}

static const struct text *constant(struct lexer *lex, const char *bytes, size_t n)
{
    const struct text *text = text_borrow(lex->j, bytes, n, false);
    text_chars(text);  // counted now: renders must not write to constants
    return text;
}

static bool looking_at(const struct lexer *lex, size_t at, const char *what)
{
    size_t n = strlen(what);
    return at <= lex->n_bytes && lex->n_bytes - at >= n && memcmp(lex->source + at, what, n) == 0;
}

static size_t skip_space(const struct lexer *lex, size_t at)
{
    while (at < lex->n_bytes) {
        uint32_t c;
        size_t n = char_next(lex->source + at, lex->n_bytes - at, &c);
        if (!char_is_space(c))
            break;
        at += n;
    }
    return at;
}

/* Moves to `at`, counting lines. */
static void advance(struct lexer *lex, size_t at)
{
    for (size_t i = lex->at; i < at; i++)
        lex->line += lex->source[i] == '\n';
    lex->line_starting = at > lex->at && lex->source[at - 1] == '\n';
    lex->at = at;
}

/* ---- text ---- */

/* Emits source[at, end) as data, stripped as the sign and kind of the tag behind it ask. */
static void add_data(struct lexer *lex, size_t end, char sign, bool is_variable)
{
    struct text text = {.bytes = lex->source + lex->at, .n_bytes = (uint32_t)(end - lex->at)};
    size_t keep = text.n_bytes;
    if (sign == '-') {
        keep = text_strip(lex->j, &text, NULL, TEXT_RIGHT)->n_bytes;
    } else if (sign != '+' && !is_variable) {
        size_t line = text.n_bytes;
        while (line > 0 && text.bytes[line - 1] != '\n')
            line--;
        if ((line > 0 || lex->line_starting) && skip_space(lex, lex->at + line) >= end)
            keep = line;
    }
    if (keep)
        add_token(lex, TOKEN_DATA)->text = constant(lex, text.bytes, keep);
    advance(lex, end);
}

/* Length of the end of a block or comment at `at` with what it swallows behind it, 0 when there is
 * none: "+%}", "-%}" and white space, or "%}" and a newline. */
static size_t tag_end(const struct lexer *lex, size_t at, const char *close)
{
    if (looking_at(lex, at, "-") && looking_at(lex, at + 1, close))
        return skip_space(lex, at + 3) - at;
    if (looking_at(lex, at, "+") && looking_at(lex, at + 1, close))
        return 3;
    if (!looking_at(lex, at, close))
        return 0;
    return looking_at(lex, at + 2, "\n") ? 3 : 2;
}

static void lex_comment(struct lexer *lex)
{
    for (size_t at = lex->at; at < lex->n_bytes; at++) {
        char c = lex->source[at];
        size_t n = c == '#' || c == '-' || c == '+' ? tag_end(lex, at, "#}") : 0;
        if (n) {
            advance(lex, at + n);
            return;
        }
    }
    lex_fail(lex, "missing end of comment tag");
}

/* End of "{%- raw -%}" at `at`, or 0. */
static size_t raw_begin(const struct lexer *lex, size_t at)
{
    at += 2;
    if (looking_at(lex, at, "-") || looking_at(lex, at, "+"))
        at++;
    at = skip_space(lex, at);
    if (!looking_at(lex, at, "raw"))
        return 0;
    at = skip_space(lex, at + 3);
    if (looking_at(lex, at, "-%}"))
        return skip_space(lex, at + 3);
    return looking_at(lex, at, "%}") ? at + 2 : 0;
}

static void lex_raw(struct lexer *lex)
{
    for (size_t at = lex->at; at < lex->n_bytes; at++) {
        if (!looking_at(lex, at, "{%"))
            continue;
        char sign = at + 2 < lex->n_bytes ? lex->source[at + 2] : 0;
        size_t word = skip_space(lex, at + 2 + (sign == '-' || sign == '+'));
        if (!looking_at(lex, word, "endraw"))
            continue;
        word = skip_space(lex, word + 6);
        size_t n = tag_end(lex, word, "%}");
        if (n == 0)
            continue;
        add_data(lex, at, sign, false);
        advance(lex, word + n);
        return;
    }
    lex_fail(lex, "missing end of raw directive");
}

/* ---- expressions ---- */

static size_t digits_at(const struct lexer *lex, size_t at, const char *allowed)
{
    size_t start = at;
    while (at < lex->n_bytes) {
        bool under = lex->source[at] == '_' && at > start;
        size_t next = under ? at + 1 : at;
        char c = next < lex->n_bytes ? lex->source[next] : 0;
        if (c == 0 || !strchr(allowed, c))
            break;
        at = next + 1;
    }
    return at;
}

static const char decimal_digits[] = "0123456789";

/* End of a float literal at lex->at, or 0. */
static size_t float_end(const struct lexer *lex)
{
    if (lex->at > 0 && lex->source[lex->at - 1] == '.')
        return 0;
    size_t whole = digits_at(lex, lex->at, decimal_digits);
    size_t end = whole;
    if (looking_at(lex, whole, ".")) {
        size_t part = digits_at(lex, whole + 1, decimal_digits);
        if (part > whole + 1)
            end = part;
    }
    if (looking_at(lex, end, "e") || looking_at(lex, end, "E")) {
        size_t sign = end + 1 + (looking_at(lex, end + 1, "+") || looking_at(lex, end + 1, "-"));
        size_t exponent = digits_at(lex, sign, decimal_digits);
        if (exponent > sign)
            return exponent;
    }
    return end > whole ? end : 0;
}

static size_t integer_end(const struct lexer *lex, int64_t *base)
{
    static const struct {
        char letter;
        int64_t base;
        const char *digits;
    } forms[] = {{'b', 2, "01"}, {'o', 8, "01234567"}, {'x', 16, "0123456789abcdefABCDEF"}};
    *base = 10;
    if (lex->source[lex->at] != '0')
        return digits_at(lex, lex->at, decimal_digits);
    for (size_t i = 0; i < 3 && lex->at + 1 < lex->n_bytes; i++) {
        if ((lex->source[lex->at + 1] | 32) != forms[i].letter)
            continue;
        size_t start = lex->at + 2 + looking_at(lex, lex->at + 2, "_");
        size_t end = digits_at(lex, start, forms[i].digits);
        if (end > start) {
            *base = forms[i].base;
            return end;
        }
    }
    return digits_at(lex, lex->at, "0");
}

static void lex_number(struct lexer *lex)
{
    int64_t base;
    size_t end = float_end(lex);
    bool is_float = end != 0;
    if (!is_float)
        end = integer_end(lex, &base);
    struct text text = {.bytes = lex->source + lex->at, .n_bytes = (uint32_t)(end - lex->at)};
    struct token *token = add_token(lex, is_float ? TOKEN_FLOAT : TOKEN_INTEGER);
    token->text = constant(lex, text.bytes, text.n_bytes);
    double real = 0;
    lex->j->line = lex->line;
    if (is_float ? !number_parse_float(lex->j, &text, &real)
                 : !number_parse_int(lex->j, &text, base == 10 ? 10 : 0, &token->value))
        lex_fail(lex, "invalid number");
    if (is_float)
        token->value = value_float(real);
    advance(lex, end);
}

static bool is_name_char(const struct lexer *lex, size_t at, size_t *n)
{
    uint32_t c;
    if (at >= lex->n_bytes)
        return false;
    *n = char_next(lex->source + at, lex->n_bytes - at, &c);
    return c == '_' || char_is(CHAR_ALPHA, c) || char_is(CHAR_DECIMAL, c);
}

static void lex_name(struct lexer *lex)
{
    size_t end = lex->at, n;
    while (is_name_char(lex, end, &n))
        end += n;
    add_token(lex, TOKEN_NAME)->text = constant(lex, lex->source + lex->at, end - lex->at);
    advance(lex, end);
}

/* \xhh, \uhhhh, \Uhhhhhhhh at `at` (behind the letter); the end. */
static size_t lex_hex_escape(struct lexer *lex, size_t at, size_t end, int n_digits,
                             struct text_builder *b)
{
    uint32_t c = 0;
    for (int i = 0; i < n_digits; i++, at++) {
        int digit = at < end ? hex_digit(lex->source[at]) : -1;
        if (digit < 0)
            lex_fail(lex, "a string has a truncated \\x, \\u or \\U escape");
        c = c << 4 | (uint32_t)digit;
    }
    char bytes[4];
    if (c > 0x10ffff)
        lex_fail(lex, "a string has an escape beyond U+10FFFF");
    if (utf8_encode(c, bytes) == 0) {
        lex->j->line = lex->line;
        jinja_fail(lex->j, ERR_UNSUPPORTED, "surrogates in strings are not supported");
    }
    builder_char(b, c, false);
    return at;
}

/* One escape behind the backslash at `at`; the end of it. Unknown ones stay as they are. */
static size_t lex_escape(struct lexer *lex, size_t at, size_t end, struct text_builder *b)
{
    static const char letters[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    char c = lex->source[at];
    const char *simple = c ? strchr(letters, c) : NULL;
    if (simple) {
        builder_bytes(b, &values[simple - letters], 1, false);
        return at + 1;
    }
    if (c >= '0' && c <= '7') {
        uint32_t octal = 0;
        for (int i = 0; i < 3 && at < end && lex->source[at] >= '0' && lex->source[at] <= '7'; i++)
            octal = octal * 8 + (uint32_t)(lex->source[at++] - '0');
        builder_char(b, octal, false);
        return at;
    }
    if (c == 'x' || c == 'u' || c == 'U')
        return lex_hex_escape(lex, at + 1, end, c == 'x' ? 2 : c == 'u' ? 4 : 8, b);
    if (c == 'N') {
        lex->j->line = lex->line;
        jinja_fail(lex->j, ERR_UNSUPPORTED, "\\N{...} in a string is not supported");
    }
    if (c == '\n')
        return at + 1;
    builder_literal(b, "\\");
    if ((unsigned char)c >= 0x80) {
        /* jinja2 first turns other characters into \x, \u, \U; a backslash before one of those
         * becomes an escaped backslash and the letters stay. */
        uint32_t code;
        char letters_of[12];
        size_t n = char_next(lex->source + at, end - at, &code);
        snprintf(letters_of, sizeof letters_of,
                 code < 0x100     ? "x%02x"
                 : code < 0x10000 ? "u%04x"
                                  : "U%08x",
                 (unsigned)code);
        builder_literal(b, letters_of);
        return at + n;
    }
    return at;
}

static void lex_string(struct lexer *lex)
{
    char quote = lex->source[lex->at];
    size_t at = lex->at + 1;
    bool escapes = false;
    while (at < lex->n_bytes && lex->source[at] != quote) {
        if (lex->source[at] == '\\') {
            escapes = true;
            at++;
        }
        at++;
    }
    if (at >= lex->n_bytes)
        lex_fail(lex, "a string is not closed");
    size_t start = lex->at + 1;
    if (!escapes) {
        add_token(lex, TOKEN_STRING)->text = constant(lex, lex->source + start, at - start);
        advance(lex, at + 1);
        return;
    }
    struct text_builder b;
    builder_init(&b, lex->j);
    size_t plain = start;
    for (size_t i = start; i < at;) {
        if (lex->source[i] != '\\') {
            i++;
            continue;
        }
        builder_bytes(&b, lex->source + plain, i - plain, false);
        i = plain = lex_escape(lex, i + 1, at, &b);
    }
    builder_bytes(&b, lex->source + plain, at - plain, false);
    const struct text *text = builder_finish(&b);
    text_chars(text);
    add_token(lex, TOKEN_STRING)->text = text;
    advance(lex, at + 1);
}

static const struct {
    const char *text;
    uint8_t kind;
} operators[] = {
    {"//", TOKEN_FLOORDIV}, {"**", TOKEN_POW},   {"==", TOKEN_EQ},      {"!=", TOKEN_NE},
    {">=", TOKEN_GE},       {"<=", TOKEN_LE},    {"+", TOKEN_ADD},      {"-", TOKEN_SUB},
    {"*", TOKEN_MUL},       {"/", TOKEN_DIV},    {"%", TOKEN_MOD},      {"~", TOKEN_TILDE},
    {">", TOKEN_GT},        {"<", TOKEN_LT},     {"=", TOKEN_ASSIGN},   {".", TOKEN_DOT},
    {":", TOKEN_COLON},     {"|", TOKEN_PIPE},   {",", TOKEN_COMMA},    {";", TOKEN_SEMICOLON},
    {"(", TOKEN_LPAREN},    {")", TOKEN_RPAREN}, {"[", TOKEN_LBRACKET}, {"]", TOKEN_RBRACKET},
    {"{", TOKEN_LBRACE},    {"}", TOKEN_RBRACE},
};

static void track_bracket(struct lexer *lex, char c)
{
    const char *open = strchr("([{", c), *close = strchr(")]}", c);
    if (open) {
        if (lex->n_brackets == LEX_BRACKETS_MAX)
            lex_fail(lex, "brackets are nested too deeply");
        lex->brackets[lex->n_brackets++] = ")]}"[open - "([{"];
    } else if (close) {
        if (lex->n_brackets == 0 || lex->brackets[lex->n_brackets - 1] != c)
            lex_fail(lex, "a closing bracket does not match");
        lex->n_brackets--;
    }
}

static void lex_operator(struct lexer *lex)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (!looking_at(lex, lex->at, operators[i].text))
            continue;
        track_bracket(lex, operators[i].text[0]);
        add_token(lex, operators[i].kind);
        advance(lex, lex->at + strlen(operators[i].text));
        return;
    }
    lex->j->line = lex->line;
    uint32_t c;
    size_t n = char_next(lex->source + lex->at, lex->n_bytes - lex->at, &c);
    jinja_fail(lex->j, ERR_FORMAT, "unexpected character '%.*s'", (int)n, lex->source + lex->at);
}

/* Inside a tag, up to and including its end. */
static void lex_tag(struct lexer *lex, bool is_variable)
{
    lex->n_brackets = 0;
    for (;;) {
        advance(lex, skip_space(lex, lex->at));
        if (lex->at >= lex->n_bytes)
            return;  // the parser tells what is missing
        size_t n = 0;
        if (lex->n_brackets > 0)
            ;
        else if (!is_variable)
            n = tag_end(lex, lex->at, "%}");
        else if (looking_at(lex, lex->at, "-}}"))
            n = skip_space(lex, lex->at + 3) - lex->at;
        else if (looking_at(lex, lex->at, "}}"))
            n = 2;
        if (n) {
            add_token(lex, is_variable ? TOKEN_VARIABLE_END : TOKEN_BLOCK_END);
            advance(lex, lex->at + n);
            return;
        }
        char c = lex->source[lex->at];
        size_t name_bytes;
        if (c >= '0' && c <= '9')
            lex_number(lex);
        else if (is_name_char(lex, lex->at, &name_bytes))
            lex_name(lex);
        else if (c == '\'' || c == '"')
            lex_string(lex);
        else
            lex_operator(lex);
    }
}

static void lex_root(struct lexer *lex)
{
    while (lex->at < lex->n_bytes) {
        size_t at = lex->at;
        while (at < lex->n_bytes && !looking_at(lex, at, "{%") && !looking_at(lex, at, "{{") &&
               !looking_at(lex, at, "{#"))
            at++;
        if (at == lex->n_bytes) {
            add_token(lex, TOKEN_DATA)->text = constant(lex, lex->source + lex->at, at - lex->at);
            advance(lex, at);
            return;
        }
        char kind = lex->source[at + 1], sign = at + 2 < lex->n_bytes ? lex->source[at + 2] : 0;
        if (sign != '-' && sign != '+')
            sign = 0;
        add_data(lex, at, sign, kind == '{');
        size_t raw = kind == '%' ? raw_begin(lex, at) : 0;
        if (raw) {
            advance(lex, raw);
            lex_raw(lex);
            continue;
        }
        advance(lex, at + 2 + (sign != 0));
        lex->line_starting = false;
        if (kind == '#') {
            lex_comment(lex);
            continue;
        }
        add_token(lex, kind == '{' ? TOKEN_VARIABLE_BEGIN : TOKEN_BLOCK_BEGIN);
        lex_tag(lex, kind == '{');
    }
}

struct token *lex_template(struct jinja *j, const char *source, size_t n_bytes, size_t *n_tokens)
{
    struct lexer lex = {.j = j, .line = 1, .line_starting = true};
    char *clean = jinja_alloc(j, n_bytes + 1);
    for (size_t i = 0; i < n_bytes; i++) {
        if (source[i] == '\r' && i + 1 < n_bytes && source[i + 1] == '\n')
            continue;
        clean[lex.n_bytes++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (lex.n_bytes && clean[lex.n_bytes - 1] == '\n')
        lex.n_bytes--;
    lex.source = clean;
    lex_root(&lex);
    add_token(&lex, TOKEN_END);
    *n_tokens = lex.n_tokens;
    return lex.tokens;
}

const char *token_describe(struct jinja *j, const struct token *token)
{
    static const char *const names[] = {
        [TOKEN_END] = "end of template", [TOKEN_DATA] = "text",
        [TOKEN_VARIABLE_BEGIN] = "'{{'", [TOKEN_VARIABLE_END] = "'}}'",
        [TOKEN_BLOCK_BEGIN] = "'{%'",    [TOKEN_BLOCK_END] = "'%}'",
    };
    if (token->kind < TOKEN_NAME)
        return names[token->kind];
    char *out = jinja_alloc(j, 64);
    if (token->text) {
        size_t shown = token->text->n_bytes;
        for (shown = shown < 40 ? shown : 40; shown > 0 && shown < token->text->n_bytes; shown--) {
            if (((unsigned char)token->text->bytes[shown] & 0xc0) != 0x80)
                break;  // never half a character
        }
        snprintf(out, 64, "'%.*s'", (int)shown, token->text->bytes);
        return out;
    }
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
        if (operators[i].kind == token->kind)
            snprintf(out, 64, "'%s'", operators[i].text);
    }
    return out;
}
