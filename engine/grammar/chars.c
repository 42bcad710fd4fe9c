/* Character sets and their bytes; see chars.h.
 *
 * A range of code points becomes a few sequences of byte ranges: it is cut where a continuation
 * byte would have to start or end in the middle. Surrogates have no UTF-8 and are left out. */
#include "engine/grammar/chars.h"

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void chars_init(struct char_set *set, struct budget *budget)
{
    *set = (struct char_set){.budget = budget};
}

void chars_release(struct char_set *set)
{
    if (set->budget != NULL)
        DROP(set->budget, set->ranges, set->capacity);
    set->n_ranges = 0;
}

bool chars_add(struct char_set *set, uint32_t first, uint32_t last)
{
    if (!GROW(set->budget, set->ranges, set->capacity, set->n_ranges + 1))
        return false;
    set->ranges[set->n_ranges++] = (struct char_range){first, last};
    return true;
}

bool chars_add_set(struct char_set *set, const struct char_set *other)
{
    for (size_t i = 0; i < other->n_ranges; i++)
        if (!chars_add(set, other->ranges[i].first, other->ranges[i].last))
            return false;
    return true;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct char_range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

void chars_normalize(struct char_set *set)
{
    if (set->n_ranges < 2)
        return;
    qsort(set->ranges, set->n_ranges, sizeof *set->ranges, compare_ranges);
    size_t n = 0;
    for (size_t i = 1; i < set->n_ranges; i++) {
        if (set->ranges[i].first > set->ranges[n].last + 1)
            set->ranges[++n] = set->ranges[i];
        else if (set->ranges[i].last > set->ranges[n].last)
            set->ranges[n].last = set->ranges[i].last;
    }
    set->n_ranges = n + 1;
}

bool chars_invert(struct char_set *set)
{
    chars_normalize(set);
    uint32_t next = 0;
    size_t n = 0;
    for (size_t i = 0; i < set->n_ranges; i++) {
        struct char_range range = set->ranges[i];
        if (range.first > next)
            set->ranges[n++] = (struct char_range){next, range.first - 1};
        next = range.last + 1;
    }
    set->n_ranges = n;
    return next > CHARS_LAST || chars_add(set, next, CHARS_LAST);
}

/* ---- terms ---- */

static term sequence(struct terms *terms, uint32_t first, uint32_t last, size_t n_bytes)
{
    char low[4], high[4];
    utf8_encode(first, low);
    utf8_encode(last, high);
    term t = TERM_EMPTY;
    for (size_t i = n_bytes; i-- > 0;)
        t = term_cat(terms, term_range(terms, (uint8_t)low[i], (uint8_t)high[i]), t);
    return t;
}

/* Code points of the same number of bytes. Depth of the recursion: a cut for each byte and end. */
static term sequences(struct terms *terms, uint32_t first, uint32_t last, size_t n_bytes)
{
    for (size_t i = 1; i < n_bytes; i++) {
        uint32_t below = (UINT32_C(1) << 6 * i) - 1;
        if ((first & ~below) == (last & ~below))
            continue;
        if ((first & below) != 0)
            return term_alt(terms, sequences(terms, first, first | below, n_bytes),
                            sequences(terms, (first | below) + 1, last, n_bytes));
        if ((last & below) != below)
            return term_alt(terms, sequences(terms, first, (last & ~below) - 1, n_bytes),
                            sequences(terms, last & ~below, last, n_bytes));
    }
    return sequence(terms, first, last, n_bytes);
}

static term utf8_range(struct terms *terms, uint32_t first, uint32_t last)
{
    static const struct {
        uint32_t first, last;
        size_t n_bytes;
    } parts[] = {{0, 0x7F, 1},
                 {0x80, 0x7FF, 2},
                 {0x800, 0xD7FF, 3},
                 {0xE000, 0xFFFF, 3},
                 {0x10000, CHARS_LAST, 4}};
    term t = TERM_NONE;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint32_t low = first > parts[i].first ? first : parts[i].first;
        uint32_t high = last < parts[i].last ? last : parts[i].last;
        if (low <= high)
            t = term_alt(terms, t, sequences(terms, low, high, parts[i].n_bytes));
    }
    return t;
}

/* The one spelling of a character that cannot stand in a JSON string as it is; bytes written. */
static size_t json_escape(uint32_t c, char out[8])
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; letters[i] != '\0'; i += 2)
        if ((uint32_t)(uint8_t)letters[i] == c) {
            out[0] = '\\';
            out[1] = letters[i + 1];
            return 2;
        }
    return (size_t)snprintf(out, 8, "\\u%04x", (unsigned)c);
}

static bool needs_escape(uint32_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static term json_range(struct terms *terms, uint32_t first, uint32_t last)
{
    term t = TERM_NONE;
    uint32_t start = first;
    for (uint32_t c = first; c <= last && c <= '\\'; c++) {
        if (!needs_escape(c))
            continue;
        char escape[8];
        if (c > start)
            t = term_alt(terms, t, utf8_range(terms, start, c - 1));
        if (c != 0)
            t = term_alt(terms, t, term_literal(terms, escape, json_escape(c, escape)));
        start = c + 1;
    }
    return start <= last ? term_alt(terms, t, utf8_range(terms, start, last)) : t;
}

term chars_term(struct terms *terms, struct char_set *set, enum text_form form)
{
    chars_normalize(set);
    term t = TERM_NONE;
    for (size_t i = 0; i < set->n_ranges; i++) {
        struct char_range range = set->ranges[i];
        t = term_alt(terms, t,
                     form == TEXT_JSON
                         ? json_range(terms, range.first, range.last)
                         : utf8_range(terms, range.first > 0 ? range.first : 1, range.last));
    }
    return t;
}

term chars_any(struct terms *terms, enum text_form form)
{
    return form == TEXT_JSON ? json_range(terms, 0, CHARS_LAST) : utf8_range(terms, 1, CHARS_LAST);
}

static term class_of(struct terms *terms, const char *pairs)
{
    struct byte_set set = {{0}};
    for (; *pairs != '\0'; pairs += 2)
        byte_set_add(&set, (uint8_t)pairs[0], (uint8_t)pairs[1]);
    return term_class(terms, &set);
}

/* Three classes, one after the other. */
static term three(struct terms *terms, term a, term b, term c)
{
    return term_cat(terms, a, term_cat(terms, b, c));
}

term chars_json_free(struct terms *terms)
{
    term hex = class_of(terms, "09afAF"), zero = class_of(terms, "00");
    term nonzero = class_of(terms, "19afAF"), d = class_of(terms, "ddDD");
    term hex2 = term_cat(terms, hex, hex), hex3 = term_cat(terms, hex, hex2);
    term unit = term_cat(terms, class_of(terms, "19acefACEF"), hex3);
    unit = term_alt(terms, unit, three(terms, zero, nonzero, hex2));
    unit = term_alt(terms, unit, three(terms, zero, zero, term_cat(terms, nonzero, hex)));
    unit = term_alt(terms, unit, three(terms, zero, zero, term_cat(terms, zero, nonzero)));
    unit = term_alt(terms, unit, three(terms, d, class_of(terms, "07"), hex2));
    term low =
        term_cat(terms, term_text(terms, "\\u"), three(terms, d, class_of(terms, "cfCF"), hex2));
    term pair = three(terms, d, class_of(terms, "89abAB"), term_cat(terms, hex2, low));
    term escaped = term_alt(terms, class_of(terms, "\"\"\\\\//bbffnnrrtt"),
                            term_cat(terms, class_of(terms, "uu"), term_alt(terms, unit, pair)));
    term plain = term_alt(terms, utf8_range(terms, 0x20, '"' - 1),
                          term_alt(terms, utf8_range(terms, '"' + 1, '\\' - 1),
                                   utf8_range(terms, '\\' + 1, CHARS_LAST)));
    return term_alt(terms, plain, term_cat(terms, class_of(terms, "\\\\"), escaped));
}

term chars_json_literal(struct terms *terms, const char *text, size_t n_bytes)
{
    term t = TERM_EMPTY;
    while (n_bytes > 0) {
        uint32_t c = (uint8_t)text[--n_bytes];
        char escape[8];
        term head = needs_escape(c) ? term_literal(terms, escape, json_escape(c, escape))
                                    : term_range(terms, c, c);
        t = term_cat(terms, head, t);
    }
    return t;
}
