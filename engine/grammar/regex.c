/* Recursive descent over a pattern; see regex.h.
 *
 * Anchors are bytes that no text holds: ^ is 0xFE and $ is 0xFD. A pattern p then means the texts x
 * for which 0xFE x 0xFD has a match, and both bytes are taken off by derivatives from the front and
 * from the back. So anchors may stand anywhere, also in one branch of an alternative. */
#include "engine/grammar/regex.h"

#include <string.h>

#include "engine/base/hex.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/unicode.h"

enum { ANCHOR_START = 0xFE, ANCHOR_END = 0xFD };

struct parser {
    struct terms *terms;
    const char *start, *at, *end;
    enum text_form form;
    bool is_ecma;  // the sets of \D \W \S stay inside what ECMA-262 and Python agree on
    unsigned depth;
    struct error *err;
};

static enum status fail(const struct parser *p, enum status status, const char *what)
{
    return error_set(p->err, status, "%s at byte %zu of the pattern", what,
                     (size_t)(p->at - p->start));
}

static enum status parse_alternatives(struct parser *p, struct regex *out);

static uint32_t add_counts(uint32_t a, uint32_t b)
{
    if (a == TERM_ENDLESS || b == TERM_ENDLESS)
        return TERM_ENDLESS;
    return a + b > TERM_LENGTH_MAX ? TERM_LENGTH_MAX : a + b;
}

static uint32_t multiply_counts(uint32_t a, uint32_t b)
{
    if (a == 0 || b == 0)
        return 0;
    if (a == TERM_ENDLESS || b == TERM_ENDLESS)
        return TERM_ENDLESS;
    uint64_t product = (uint64_t)a * b;
    return product > TERM_LENGTH_MAX ? TERM_LENGTH_MAX : (uint32_t)product;
}

/* ---- characters and classes ---- */

static bool add_unicode(struct char_set *set, uint32_t classes, bool inverted)
{
    uint32_t first = 0;
    bool is_open = false;
    for (uint32_t c = 0; c <= CHARS_LAST + 1; c++) {
        bool in = c <= CHARS_LAST &&
                  ((classes >> (unicode_class(c) & CHAR_CLASS_MASK) & 1) != 0) != inverted;
        if (in && !is_open)
            first = c;
        if (!in && is_open && !chars_add(set, first, c - 1))
            return false;
        is_open = in;
    }
    return true;
}

static bool add_perl_class(const struct parser *p, struct char_set *set, char letter)
{
    struct char_set own;
    chars_init(&own, set->budget);
    bool ok = true;
    switch (letter | 0x20) {
    case 'd':
        ok = chars_add(&own, '0', '9');
        break;
    case 'w':
        ok = chars_add(&own, '0', '9') && chars_add(&own, 'A', 'Z') && chars_add(&own, '_', '_') &&
             chars_add(&own, 'a', 'z');
        break;
    default:
        ok = chars_add(&own, '\t', '\r') && chars_add(&own, ' ', ' ');
        break;
    }
    if (ok && !(letter & 0x20)) {
        if (p->is_ecma && letter == 'D')
            ok = add_unicode(&own, 1u << CHAR_N | 1u << CHAR_N_NEWER, false);
        if (p->is_ecma && letter == 'W')
            ok = chars_add(&own, 0x80, CHARS_LAST);
        if (p->is_ecma && letter == 'S')
            ok = add_unicode(&own, 1u << CHAR_SPACE, false) && chars_add(&own, 0x1C, 0x1F) &&
                 chars_add(&own, 0xFEFF, 0xFEFF);
        ok = ok && chars_invert(&own);
    }
    ok = ok && chars_add_set(set, &own);
    chars_release(&own);
    return ok;
}

static enum status parse_property(struct parser *p, struct char_set *set, bool inverted)
{
    enum { ALL_L = 1u << CHAR_LU | 1u << CHAR_LL | 1u << CHAR_LT | 1u << CHAR_LM | 1u << CHAR_LO };
    static const struct {
        const char *name;
        uint32_t classes;
    } names[] = {{"L", ALL_L},
                 {"Letter", ALL_L},
                 {"Lu", 1u << CHAR_LU},
                 {"Uppercase_Letter", 1u << CHAR_LU},
                 {"Ll", 1u << CHAR_LL},
                 {"Lowercase_Letter", 1u << CHAR_LL},
                 {"Lt", 1u << CHAR_LT},
                 {"Lm", 1u << CHAR_LM},
                 {"Lo", 1u << CHAR_LO},
                 {"M", 1u << CHAR_M},
                 {"Mark", 1u << CHAR_M},
                 {"N", 1u << CHAR_N},
                 {"Number", 1u << CHAR_N},
                 {"P", 1u << CHAR_P},
                 {"Punctuation", 1u << CHAR_P},
                 {"S", 1u << CHAR_S},
                 {"Symbol", 1u << CHAR_S}};
    const char *close =
        p->at < p->end && *p->at == '{' ? memchr(p->at, '}', (size_t)(p->end - p->at)) : NULL;
    if (close == NULL)
        return fail(p, ERR_INVALID, "\\p without {name}");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if ((size_t)(close - p->at) == n + 1 && memcmp(p->at + 1, names[i].name, n) == 0) {
            p->at = close + 1;
            (void)add_unicode(set, names[i].classes, inverted);  // a failure is in the budget
            return OK;
        }
    }
    return fail(p, ERR_UNSUPPORTED, "a Unicode property that is not supported");
}

static bool parse_hex(struct parser *p, size_t n_digits, uint32_t *out)
{
    uint32_t value = 0;
    if ((size_t)(p->end - p->at) < n_digits)
        return false;
    for (size_t i = 0; i < n_digits; i++) {
        int digit = hex_digit(p->at[i]);
        if (digit < 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    p->at += n_digits;
    *out = value;
    return true;
}

static enum status parse_unicode_escape(struct parser *p, uint32_t *out)
{
    if (p->at < p->end && *p->at == '{') {
        const char *close = memchr(p->at, '}', (size_t)(p->end - p->at));
        size_t n = close == NULL ? 0 : (size_t)(close - p->at) - 1;
        p->at++;
        if (n < 1 || n > 6 || !parse_hex(p, n, out) || *out > CHARS_LAST)
            return fail(p, ERR_INVALID, "a bad \\u{...}");
        p->at++;
        return OK;
    }
    if (!parse_hex(p, 4, out))
        return fail(p, ERR_INVALID, "a bad \\u escape");
    uint32_t low;
    if (*out >= 0xD800 && *out < 0xDC00 && p->end - p->at >= 6 && p->at[0] == '\\' &&
        p->at[1] == 'u') {
        p->at += 2;
        if (!parse_hex(p, 4, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail(p, ERR_INVALID, "a surrogate without its partner");
        *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    }
    return OK;
}

/* Behind the backslash of an escape that stands for one character. */
static enum status parse_char_escape(struct parser *p, bool in_class, uint32_t *out)
{
    static const char letters[] = "t\tn\nr\rf\fv\va\a";
    char c = *p->at;
    for (size_t i = 0; letters[i] != '\0'; i += 2)
        if (letters[i] == c && c != 'a') {
            p->at++;
            *out = (uint8_t)letters[i + 1];
            return OK;
        }
    if (c == 'x' || c == 'u') {
        p->at++;
        if (c == 'u')
            return parse_unicode_escape(p, out);
        return parse_hex(p, 2, out) ? OK : fail(p, ERR_INVALID, "a bad \\x escape");
    }
    if (c == '0' && !(p->at + 1 < p->end && p->at[1] >= '0' && p->at[1] <= '9')) {
        p->at++;
        *out = 0;
        return OK;
    }
    if (c == 'c' && p->at + 1 < p->end && ((p->at[1] | 0x20) >= 'a' && (p->at[1] | 0x20) <= 'z')) {
        *out = (uint32_t)(p->at[1] & 31);
        p->at += 2;
        return OK;
    }
    if (c == 'b' && in_class) {
        p->at++;
        *out = '\b';
        return OK;
    }
    if (c == 'b' || c == 'B')
        return fail(p, ERR_UNSUPPORTED, "a word boundary (\\b, \\B) is not supported");
    if ((c >= '0' && c <= '9') || c == 'k')
        return fail(p, ERR_UNSUPPORTED, "a back-reference is not supported");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return fail(p, ERR_UNSUPPORTED, "an escape that is not supported");
    size_t n = utf8_decode(p->at, (size_t)(p->end - p->at), out);
    if (n == 0)
        return fail(p, ERR_INVALID, "invalid UTF-8");
    p->at += n;
    return OK;
}

/* One item of a class: a character in *c, or *is_set when it was a set and went into `set`. */
static enum status parse_class_item(struct parser *p, struct char_set *set, uint32_t *c,
                                    bool *is_set)
{
    *is_set = false;
    if (*p->at != '\\') {
        size_t n = utf8_decode(p->at, (size_t)(p->end - p->at), c);
        if (n == 0)
            return fail(p, ERR_INVALID, "invalid UTF-8");
        p->at += n;
        return OK;
    }
    if (++p->at == p->end)
        return fail(p, ERR_INVALID, "a backslash with nothing behind it");
    if (strchr("dDwWsS", *p->at) != NULL) {
        *is_set = true;
        (void)add_perl_class(p, set, *p->at++);
        return OK;
    }
    if (*p->at == 'p' || *p->at == 'P') {
        *is_set = true;
        bool inverted = *p->at++ == 'P';
        return parse_property(p, set, inverted);
    }
    return parse_char_escape(p, true, c);
}

static enum status parse_class_items(struct parser *p, struct char_set *set)
{
    bool is_first = !p->is_ecma;  // Python: a ] that stands first is a character
    for (; p->at < p->end && (*p->at != ']' || is_first); is_first = false) {
        uint32_t first, last;
        bool is_set, last_is_set = false;
        enum status status = parse_class_item(p, set, &first, &is_set);
        if (status != OK)
            return status;
        if (is_set)
            continue;
        last = first;
        if (p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            status = parse_class_item(p, set, &last, &last_is_set);
            if (status != OK)
                return status;
            if (last_is_set) {  // a-\d: three members
                (void)chars_add(set, '-', '-');
                last = first;
            }
        }
        if (last < first)
            return fail(p, ERR_INVALID, "a range whose end comes before its start");
        (void)chars_add(set, first, last);
    }
    return p->at < p->end ? OK : fail(p, ERR_INVALID, "a [ without ]");
}

static void set_char_term(struct parser *p, struct char_set *set, struct regex *out)
{
    *out = (struct regex){chars_term(p->terms, set, p->form), 1, 1};
}

static enum status parse_class(struct parser *p, struct regex *out)
{
    p->at++;
    bool inverted = p->at < p->end && *p->at == '^';
    p->at += inverted;
    struct char_set set;
    chars_init(&set, p->terms->budget);
    enum status status = parse_class_items(p, &set);
    if (status == OK) {
        p->at++;
        if (inverted)
            (void)chars_invert(&set);
        set_char_term(p, &set, out);
    }
    chars_release(&set);
    return status;
}

/* ---- atoms ---- */

static void set_anchor(struct parser *p, unsigned anchor, struct regex *out)
{
    *out = (struct regex){term_range(p->terms, anchor, anchor), 0, 0};
}

static enum status parse_escape(struct parser *p, struct regex *out)
{
    if (++p->at == p->end)
        return fail(p, ERR_INVALID, "a backslash with nothing behind it");
    char c = *p->at;
    if (c == 'A' || c == 'Z' || c == 'z') {
        p->at++;
        set_anchor(p, c == 'A' ? ANCHOR_START : ANCHOR_END, out);
        return OK;
    }
    p->at--;
    struct char_set set;
    chars_init(&set, p->terms->budget);
    uint32_t character;
    bool is_set;
    enum status status;
    if (c == 'b' || c == 'B') {
        p->at++;
        status = parse_char_escape(p, false, &character);
    } else {
        status = parse_class_item(p, &set, &character, &is_set);
    }
    if (status == OK) {
        if (!is_set)
            (void)chars_add(&set, character, character);
        set_char_term(p, &set, out);
    }
    chars_release(&set);
    return status;
}

static enum status parse_group_head(struct parser *p)
{
    if (p->end - p->at < 2 || p->at[0] != '?')
        return OK;
    char c = p->at[1], d = p->end - p->at >= 3 ? p->at[2] : '\0';
    if (c == ':') {
        p->at += 2;
        return OK;
    }
    if (c == '=' || c == '!' || (c == '<' && (d == '=' || d == '!')))
        return fail(p, ERR_UNSUPPORTED, "lookaround is not supported");
    if (c == '>')
        return fail(p, ERR_UNSUPPORTED, "an atomic group is not supported");
    if (c == '(')
        return fail(p, ERR_UNSUPPORTED, "a conditional group is not supported");
    if (c == 'P' && (d == '=' || d == '>'))
        return fail(p, ERR_UNSUPPORTED, "a back-reference is not supported");
    if (c != '<' && !(c == 'P' && d == '<'))
        return fail(p, ERR_UNSUPPORTED, "flags inside a pattern are not supported");
    const char *close = memchr(p->at, '>', (size_t)(p->end - p->at));
    if (close == NULL)
        return fail(p, ERR_INVALID, "a group's name without >");
    p->at = close + 1;
    return OK;
}

static enum status parse_group(struct parser *p, struct regex *out)
{
    if (p->depth == REGEX_DEPTH_MAX)
        return error_set(p->err, ERR_LIMIT, "the pattern nests deeper than %d groups",
                         REGEX_DEPTH_MAX);
    p->at++;
    p->depth++;
    enum status status = parse_group_head(p);
    if (status == OK)
        status = parse_alternatives(p, out);
    p->depth--;
    if (status != OK)
        return status;
    if (p->at == p->end)
        return fail(p, ERR_INVALID, "a ( without )");
    p->at++;
    return OK;
}

static enum status parse_dot(struct parser *p, struct regex *out)
{
    struct char_set set;
    chars_init(&set, p->terms->budget);
    p->at++;
    (void)chars_add(&set, '\n', '\n');
    if (p->is_ecma) {
        (void)chars_add(&set, '\r', '\r');
        (void)chars_add(&set, 0x2028, 0x2029);
    }
    (void)chars_invert(&set);
    set_char_term(p, &set, out);
    chars_release(&set);
    return OK;
}

static enum status parse_atom(struct parser *p, struct regex *out)
{
    uint32_t c;
    switch (*p->at) {
    case '(':
        return parse_group(p, out);
    case '[':
        return parse_class(p, out);
    case '\\':
        return parse_escape(p, out);
    case '.':
        return parse_dot(p, out);
    case '^':
    case '$':
        set_anchor(p, *p->at == '^' ? ANCHOR_START : ANCHOR_END, out);
        p->at++;
        return OK;
    case '*':
    case '+':
    case '?':
        return fail(p, ERR_INVALID, "a quantifier with nothing before it");
    default:
        break;
    }
    size_t n = utf8_decode(p->at, (size_t)(p->end - p->at), &c);
    if (n == 0)
        return fail(p, ERR_INVALID, "invalid UTF-8");
    p->at += n;
    struct char_set set;
    chars_init(&set, p->terms->budget);
    (void)chars_add(&set, c, c);
    set_char_term(p, &set, out);
    chars_release(&set);
    return OK;
}

/* ---- repetition, sequence, alternative ---- */

/* {m}, {m,} or {m,n} at `at`; *is_count is false when the brace is an ordinary character. */
static enum status parse_count(struct parser *p, uint32_t *min, uint32_t *max, bool *is_count)
{
    const char *at = p->at + 1;
    uint64_t values[2] = {0, TERM_ENDLESS};
    size_t n_digits[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        uint64_t value = 0;
        for (; at < p->end && *at >= '0' && *at <= '9'; at++, n_digits[i]++)
            if (value <= REGEX_COUNT_MAX)
                value = value * 10 + (uint64_t)(*at - '0');
        if (n_digits[i] > 0)
            values[i] = value;
        if (i == 0 && !(at < p->end && *at == ',')) {
            values[1] = values[0];
            break;
        }
        at += i == 0;
    }
    *is_count = at < p->end && *at == '}' && (n_digits[0] > 0 || n_digits[1] > 0);
    if (!*is_count)
        return OK;
    if (n_digits[0] == 0)
        return fail(p, ERR_UNSUPPORTED, "{,n} is not supported: write {0,n}");
    if (values[0] > REGEX_COUNT_MAX || (n_digits[1] > 0 && values[1] > REGEX_COUNT_MAX))
        return error_set(p->err, ERR_LIMIT, "a count in the pattern is above %d", REGEX_COUNT_MAX);
    if (values[0] > values[1])
        return fail(p, ERR_INVALID, "a count whose end comes before its start");
    *min = (uint32_t)values[0];
    *max = (uint32_t)values[1];
    p->at = at + 1;
    return OK;
}

static enum status parse_quantifier(struct parser *p, struct regex *out)
{
    uint32_t min = 1, max = 1;
    bool is_count = true;
    enum status status = OK;
    if (*p->at == '{') {
        status = parse_count(p, &min, &max, &is_count);
    } else {
        min = *p->at == '+';
        max = *p->at == '?' ? 1 : TERM_ENDLESS;
        p->at++;
    }
    if (status != OK)
        return status;
    if (!is_count) {  // a brace that counts nothing stands for itself: the next atom
        return OK;
    }
    if (p->at < p->end && *p->at == '?')
        p->at++;
    else if (p->at < p->end && *p->at == '+')
        return fail(p, ERR_UNSUPPORTED, "a possessive quantifier is not supported");
    else if (p->at < p->end && *p->at == '*')
        return fail(p, ERR_INVALID, "a quantifier of a quantifier");
    if (p->at < p->end && *p->at == '{') {
        const char *before = p->at;
        uint32_t ignored_min, ignored_max;
        status = parse_count(p, &ignored_min, &ignored_max, &is_count);
        if (status != OK || is_count)
            return fail(p, ERR_INVALID, "a quantifier of a quantifier");
        p->at = before;
    }
    out->term = term_repeat(p->terms, out->term, min, max);
    out->chars_min = multiply_counts(out->chars_min, min);
    out->chars_max = multiply_counts(out->chars_max, max);
    return OK;
}

static bool at_quantifier(const struct parser *p)
{
    return p->at < p->end && strchr("*+?{", *p->at) != NULL && *p->at != '\0';
}

static enum status parse_sequence(struct parser *p, struct regex *out)
{
    size_t mark = p->terms->n_stack;  // atoms wait here, so that the chain is built from its end
    uint32_t chars_min = 0, chars_max = 0;
    enum status status = OK;
    while (status == OK && p->at < p->end && *p->at != '|' && *p->at != ')') {
        struct regex atom = {0};
        status = parse_atom(p, &atom);
        const char *before = NULL;
        while (status == OK && at_quantifier(p) && p->at != before) {
            before = p->at;
            status = parse_quantifier(p, &atom);
            if (status == OK && p->at != before)
                break;
        }
        if (status != OK)
            break;
        chars_min = add_counts(chars_min, atom.chars_min);
        chars_max = add_counts(chars_max, atom.chars_max);
        if (GROW(p->terms->budget, p->terms->stack, p->terms->stack_capacity,
                 p->terms->n_stack + 1))
            p->terms->stack[p->terms->n_stack++] = atom.term;
    }
    term t = TERM_EMPTY;
    while (p->terms->n_stack > mark) {
        term head = p->terms->stack[--p->terms->n_stack];
        t = term_cat(p->terms, head, t);
    }
    *out = (struct regex){t, chars_min, chars_max};
    return status;
}

static enum status parse_alternatives(struct parser *p, struct regex *out)
{
    *out = (struct regex){TERM_NONE, TERM_ENDLESS, 0};
    for (bool more = true; more;) {
        struct regex branch;
        enum status status = parse_sequence(p, &branch);
        if (status != OK)
            return status;
        if (p->terms->budget->failed != OK)
            return OK;  // the caller reports it
        out->term = term_alt(p->terms, out->term, branch.term);
        if (branch.chars_min < out->chars_min)
            out->chars_min = branch.chars_min;
        if (branch.chars_max > out->chars_max)
            out->chars_max = branch.chars_max;
        more = p->at < p->end && *p->at == '|';
        p->at += more;
    }
    return OK;
}

/* ---- anchors ---- */

/* Texts around which the anchor was taken away; see the head of the file. */
static term take_anchor(struct terms *terms, term t, unsigned anchor, term around, bool at_front,
                        bool *is_anchored)
{
    struct byte_set set = {{0}};
    byte_set_add(&set, anchor, anchor);
    term with = at_front ? term_derive(terms, t, anchor) : term_derive_back(terms, t, anchor);
    with = term_without(terms, with, &set);
    term without = term_without(terms, t, &set);
    *is_anchored = without == TERM_NONE;
    term open = at_front ? term_cat(terms, around, without) : term_cat(terms, without, around);
    return term_alt(terms, with, open);
}

enum status regex_parse(struct terms *terms, const char *pattern, size_t n_bytes,
                        const struct regex_options *options, struct regex *out, struct error *err)
{
    if (n_bytes > REGEX_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "the pattern has %zu bytes, the most is %d", n_bytes,
                         REGEX_BYTES_MAX);
    struct parser p = {
        .terms = terms,
        .start = pattern,
        .at = pattern,
        .end = pattern + n_bytes,
        .form = options->form,
        .is_ecma = options->form == TEXT_JSON,
        .err = err,
    };
    enum status status = parse_alternatives(&p, out);
    if (status != OK)
        return status;
    if (p.at != p.end && terms->budget->failed == OK)
        return fail(&p, ERR_INVALID, "a ) without (");
    term around = TERM_EMPTY;
    if (options->is_search)
        around = term_repeat(terms, chars_any(terms, options->form), 0, TERM_ENDLESS);
    bool at_front, at_back;
    out->term = take_anchor(terms, out->term, ANCHOR_START, around, true, &at_front);
    out->term = take_anchor(terms, out->term, ANCHOR_END, around, false, &at_back);
    if (options->is_search && !(at_front && at_back))
        out->chars_max = TERM_ENDLESS;
    return OK;
}
