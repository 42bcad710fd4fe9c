/* Character properties and case mappings; see jinja_unicode.h.
 *
 * Binary search over ranges generated from the Unicode data of a Python, because the templates'
 * reference behaviour is Python's. ASCII takes a short cut. Nothing here depends on the locale. */
#include "engine/template/jinja_unicode.h"

#include "engine/base/utf8.h"
#include "engine/template/unicode_tables.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool in_ranges(const struct code_range *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && c >= ranges[low].first;
}

bool char_is(enum char_class class, uint32_t c)
{
    switch (class) {
    case CHAR_ALPHA:
        if (c < 0x80)
            return (c | 32) >= 'a' && (c | 32) <= 'z';
        return in_ranges(alpha_ranges, COUNT(alpha_ranges), c);
    case CHAR_DECIMAL:
        return c < 0x80 ? c >= '0' && c <= '9'
                        : in_ranges(decimal_ranges, COUNT(decimal_ranges), c);
    case CHAR_DIGIT:
        return in_ranges(digit_ranges, COUNT(digit_ranges), c);
    case CHAR_NUMERIC:
        return in_ranges(numeric_ranges, COUNT(numeric_ranges), c);
    case CHAR_LOWER:
        return c < 0x80 ? c >= 'a' && c <= 'z' : in_ranges(lower_ranges, COUNT(lower_ranges), c);
    case CHAR_UPPER:
        return c < 0x80 ? c >= 'A' && c <= 'Z' : in_ranges(upper_ranges, COUNT(upper_ranges), c);
    case CHAR_TITLE:
        return in_ranges(title_ranges, COUNT(title_ranges), c);
    case CHAR_HIDDEN:
        return c < 0x80 ? c < 0x20 || c == 0x7f : in_ranges(hidden_ranges, COUNT(hidden_ranges), c);
    case CHAR_IGNORABLE:
        return in_ranges(ignorable_ranges, COUNT(ignorable_ranges), c);
    }
    return false;
}

bool char_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool char_is_cased(uint32_t c)
{
    return char_is(CHAR_LOWER, c) || char_is(CHAR_UPPER, c) || char_is(CHAR_TITLE, c);
}

int char_decimal(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9' ? (int)c - '0' : -1;
    for (size_t i = 0; i < COUNT(decimal_ranges); i++) {
        if (c >= decimal_ranges[i].first && c <= decimal_ranges[i].last)
            return (int)((c - decimal_ranges[i].first) % 10);
    }
    return -1;
}

struct case_table {
    const struct case_range *ranges;
    size_t n_ranges;
    const struct case_special *special;
    size_t n_special;
};
#define CASE_TABLE(name)                                                                           \
    {                                                                                              \
        name, COUNT(name), name##_special, COUNT(name##_special)                                   \
    }
static const struct case_table case_tables[] = {
    [CASE_UPPER] = CASE_TABLE(to_upper),
    [CASE_LOWER] = CASE_TABLE(to_lower),
    [CASE_TITLE] = CASE_TABLE(to_title),
    [CASE_FOLD] = CASE_TABLE(to_fold),
};

size_t char_convert(enum char_case to, uint32_t c, uint32_t out[3])
{
    out[0] = c;
    if (c < 0x80) {
        bool up = to == CASE_UPPER || to == CASE_TITLE;
        if (up ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z')
            out[0] = c ^ 32;
        return 1;
    }
    const struct case_table *table = &case_tables[to];
    for (size_t i = 0; i < table->n_special; i++) {
        if (table->special[i].from != c)
            continue;
        size_t n = 0;
        while (n < 3 && table->special[i].to[n]) {
            out[n] = table->special[i].to[n];
            n++;
        }
        return n;
    }
    size_t low = 0, high = table->n_ranges;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (c > table->ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    /* Ranges of stride 2 interleave, so the match may stand a little further on. */
    for (; low < table->n_ranges && table->ranges[low].first <= c; low++) {
        const struct case_range *range = &table->ranges[low];
        if (c <= range->last && (c - range->first) % (uint32_t)range->stride == 0) {
            out[0] = (uint32_t)((int32_t)c + range->delta);
            break;
        }
    }
    return 1;
}

size_t char_next(const char *bytes, size_t n_bytes, uint32_t *c)
{
    unsigned char first = (unsigned char)bytes[0];
    if (first < 0x80) {
        *c = first;
        return 1;
    }
    size_t n = utf8_decode(bytes, n_bytes, c);
    if (n)
        return n;
    *c = first;
    return 1;
}
