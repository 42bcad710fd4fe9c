/* Numbers: bounds and multiples as terms over digits; see schema.h.
 *
 * A bound splits the numbers by their digits: those longer than the bound, and those of its length
 * that part from it at some digit. A multiple is a remainder that each digit moves on. Numbers with
 * a bound or a multiple are written without an exponent, others as JSON allows, with bounded digits
 * so that they stay finite. Near a bound a number has at most 15 digits, so that it stays on its
 * side of the bound also as a double. */
#include <cjson/cJSON.h>
#include <math.h>

#include "engine/grammar/schema.h"

enum { DIGITS_MAX = 16, NUMBER_BYTES = 48, PRECISE_DIGITS = 15, MULTIPLE_MAX = 1 << 30 };

/* A magnitude without sign in decimal digits, leading zeros and trailing zeros of the fraction
 * gone: 12.5 is "12" and "5". */
struct decimal {
    char whole[NUMBER_BYTES];
    char fraction[NUMBER_BYTES];
};

struct bound {
    bool is_given, is_excluded;
    double value;
};

static term digit(struct terms *terms, char first, char last)
{
    return first > last ? TERM_NONE : term_range(terms, (uint8_t)first, (uint8_t)last);
}

static term digits(struct terms *terms, uint32_t min, uint32_t max)
{
    return term_repeat(terms, digit(terms, '0', '9'), min, max);
}

/* Texts of as many digits as `low`, at least (or at most) its number. */
static term same_length(struct terms *terms, const char *bound, bool at_least)
{
    if (*bound == '\0')
        return TERM_EMPTY;
    uint32_t rest = (uint32_t)strlen(bound + 1);
    term part =
        at_least ? digit(terms, (char)(*bound + 1), '9') : digit(terms, '0', (char)(*bound - 1));
    return term_alt(
        terms,
        term_cat(terms, digit(terms, *bound, *bound), same_length(terms, bound + 1, at_least)),
        term_cat(terms, part, digits(terms, rest, rest)));
}

static term between_same_length(struct terms *terms, const char *low, const char *high)
{
    if (*low == '\0')
        return TERM_EMPTY;
    if (*low == *high)
        return term_cat(terms, digit(terms, *low, *low),
                        between_same_length(terms, low + 1, high + 1));
    uint32_t rest = (uint32_t)strlen(low + 1);
    term middle = digit(terms, (char)(*low + 1), (char)(*high - 1));
    term t = term_cat(terms, digit(terms, *low, *low), same_length(terms, low + 1, true));
    t = term_alt(terms, t, term_cat(terms, middle, digits(terms, rest, rest)));
    return term_alt(
        terms, t, term_cat(terms, digit(terms, *high, *high), same_length(terms, high + 1, false)));
}

static int compare_whole(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    return n != m ? (n > m) - (n < m) : strcmp(a, b);
}

/* Whole numbers without leading zeros in [low, high]; high NULL = as long as DIGITS_MAX. */
static term whole_between(struct terms *terms, const char *low, const char *high)
{
    char nines[NUMBER_BYTES];
    if (high == NULL) {
        size_t n = strlen(low) > DIGITS_MAX ? strlen(low) : DIGITS_MAX;
        memset(nines, '9', n);
        nines[n] = '\0';
        high = nines;
    }
    if (compare_whole(low, high) > 0)
        return TERM_NONE;
    size_t n = strlen(low), m = strlen(high);
    if (n == m)
        return between_same_length(terms, low, high);
    term t = same_length(terms, low, true);
    if (n + 1 < m)
        t = term_alt(
            terms, t,
            term_cat(terms, digit(terms, '1', '9'), digits(terms, (uint32_t)n, (uint32_t)m - 2)));
    char one[NUMBER_BYTES];
    memset(one, '0', m);
    one[0] = '1';
    one[m] = '\0';
    return term_alt(terms, t, between_same_length(terms, one, high));
}

/* ---- fractions: the point and the digits behind it, or nothing ---- */

static term positive_digits(struct terms *terms, uint32_t left)
{
    term t = TERM_NONE;
    for (uint32_t i = 1; i <= left; i++)
        t = term_alt(terms, term_cat(terms, digit(terms, '1', '9'), digits(terms, 0, i - 1)),
                     term_cat(terms, digit(terms, '0', '0'), t));
    return t;
}

/* Up to `left` digits whose value as a fraction is at least / above `bound`. */
static term fraction_from(struct terms *terms, const char *bound, uint32_t left, bool excluded)
{
    if (*bound == '\0')
        return excluded ? positive_digits(terms, left) : digits(terms, 0, left);
    if (left == 0)
        return TERM_NONE;
    return term_alt(
        terms,
        term_cat(terms, digit(terms, *bound, *bound),
                 fraction_from(terms, bound + 1, left - 1, excluded)),
        term_cat(terms, digit(terms, (char)(*bound + 1), '9'), digits(terms, 0, left - 1)));
}

/* ... at most / below `bound`, which has no trailing zeros. */
static term fraction_to(struct terms *terms, const char *bound, uint32_t left, bool excluded)
{
    if (*bound == '\0')
        return excluded ? TERM_NONE : term_repeat(terms, digit(terms, '0', '0'), 0, left);
    term t = TERM_EMPTY;
    if (left == 0)
        return t;
    t = term_alt(terms, t,
                 term_cat(terms, digit(terms, *bound, *bound),
                          fraction_to(terms, bound + 1, left - 1, excluded)));
    return term_alt(
        terms, t,
        term_cat(terms, digit(terms, '0', (char)(*bound - 1)), digits(terms, 0, left - 1)));
}

/* With the point; without digits there is none. */
static term with_point(struct terms *terms, term fraction)
{
    term some = TERM_NONE, behind = TERM_NONE;
    struct byte_set first = {{0}};
    for (unsigned b = '0'; b <= '9' + 1; b++) {  // neighbours with the same rest go together
        term rest = b <= '9' ? term_derive(terms, fraction, b) : TERM_NONE;
        if (rest != behind || b > '9') {
            some = term_alt(terms, some, term_cat(terms, term_class(terms, &first), behind));
            first = (struct byte_set){{0}};
        }
        behind = rest;
        byte_set_add(&first, b, b);
    }
    term point = term_cat(terms, digit(terms, '.', '.'), some);
    return term_at(terms, fraction)->is_nullable ? term_optional(terms, point) : point;
}

/* ---- magnitudes ---- */

static void to_decimal(double value, struct decimal *out)
{
    char text[400];
    value = fabs(value);
    // The shortest spelling that gives the same double, with all its digits written out.
    int precision = 0;
    for (; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    int decimals = precision - exponent > 0 ? precision - exponent : 0;
    snprintf(text, sizeof text, "%.*f", decimals > 40 ? 40 : decimals, value);
    char *point = strchr(text, '.');
    snprintf(out->fraction, sizeof out->fraction, "%s", point == NULL ? "" : point + 1);
    if (point != NULL)
        *point = '\0';
    snprintf(out->whole, sizeof out->whole, "%.47s", text);
    for (size_t n = strlen(out->fraction); n > 0 && out->fraction[n - 1] == '0'; n--)
        out->fraction[n - 1] = '\0';
}

static void step_whole(char *whole, int by)
{
    char *end = whole + strlen(whole) - 1;
    for (char *at = end; at >= whole; at--) {
        if (by > 0 ? *at < '9' : *at > '0') {
            *at = (char)(*at + by);
            if (at == whole && *at == '0' && whole[1] != '\0')
                memmove(whole, whole + 1, strlen(whole));
            return;
        }
        *at = by > 0 ? '0' : '9';
    }
    if (by > 0) {
        memmove(whole + 1, whole, strlen(whole) + 1);
        *whole = '1';
    }
}

/* Digits behind the point that keep a number near the bound exact. */
static uint32_t fraction_digits(const struct decimal *d)
{
    size_t whole = strlen(d->whole), fraction = strlen(d->fraction);
    size_t n = whole < PRECISE_DIGITS ? PRECISE_DIGITS - whole : 0;
    n = n < fraction ? fraction : n;
    return (uint32_t)(n > DIGITS_MAX ? DIGITS_MAX : n);
}

/* Magnitudes in [low, high], either may be absent. */
static term magnitude(struct terms *terms, const struct bound *low, const struct bound *high)
{
    struct decimal l = {"0", ""}, h = {"", ""};
    if (low->is_given)
        to_decimal(low->value, &l);
    bool low_excluded = low->is_given && low->is_excluded;
    term any = with_point(terms, digits(terms, 0, PRECISE_DIGITS - 5));
    term from =
        with_point(terms, fraction_from(terms, l.fraction, fraction_digits(&l), low_excluded));
    struct decimal above = l;
    step_whole(above.whole, 1);
    term at_low = term_literal(terms, l.whole, strlen(l.whole));
    if (!high->is_given)
        return term_alt(terms, term_cat(terms, at_low, from),
                        term_cat(terms, whole_between(terms, above.whole, NULL), any));
    to_decimal(high->value, &h);
    int order = compare_whole(l.whole, h.whole);
    if (order > 0)
        return TERM_NONE;
    term to =
        with_point(terms, fraction_to(terms, h.fraction, fraction_digits(&h), high->is_excluded));
    if (order == 0)
        return term_cat(terms, at_low, term_and(terms, from, to));
    struct decimal below = h;
    step_whole(below.whole, -1);
    term t = term_alt(terms, term_cat(terms, at_low, from),
                      term_cat(terms, term_literal(terms, h.whole, strlen(h.whole)), to));
    return term_alt(terms, t, term_cat(terms, whole_between(terms, above.whole, below.whole), any));
}

static term signed_numbers(struct terms *terms, const struct bound *low, const struct bound *high)
{
    static const struct bound zero = {.is_given = true};
    struct bound none = {.is_given = false};
    term t = TERM_NONE;
    if (!high->is_given || high->value > 0 || (high->value == 0 && !high->is_excluded))
        t = magnitude(terms, low->is_given && low->value >= 0 ? low : &zero, high);
    if (low->is_given && low->value >= 0)
        return t;
    struct bound far = *low, near = *high;
    far.value = -far.value;
    near.value = -near.value;
    if (!high->is_given || high->value > 0)
        near = zero;
    term negative = magnitude(terms, &near, low->is_given ? &far : &none);
    return term_alt(terms, t, term_cat(terms, digit(terms, '-', '-'), negative));
}

static term integers(struct terms *terms, const struct bound *low, const struct bound *high)
{
    double l = low->is_given ? low->value : -INFINITY, h = high->is_given ? high->value : INFINITY;
    if (low->is_given)
        l = low->is_excluded ? floor(l) + 1 : ceil(l);
    if (high->is_given)
        h = high->is_excluded ? ceil(h) - 1 : floor(h);
    static const double exact_max = 9007199254740992.0;  // beyond it a double has gaps
    if (high->is_given && h > exact_max)
        h = exact_max;
    if (low->is_given && l < -exact_max)
        l = -exact_max;
    if (l > h || l > exact_max || h < -exact_max)
        return TERM_NONE;
    term t = TERM_NONE;
    struct decimal a, b;
    if (h >= 0) {
        to_decimal(l > 0 ? l : 0, &a);
        to_decimal(high->is_given ? h : 0, &b);
        t = whole_between(terms, a.whole, high->is_given ? b.whole : NULL);
    }
    if (l >= 0)
        return t;
    to_decimal(h < 0 ? h : 1, &a);
    to_decimal(low->is_given ? l : 0, &b);
    return term_alt(terms, t,
                    term_cat(terms, digit(terms, '-', '-'),
                             whole_between(terms, a.whole, low->is_given ? b.whole : NULL)));
}

static term free_number(struct terms *terms)
{
    term sign = term_optional(terms, digit(terms, '-', '-'));
    term whole = whole_between(terms, "0", NULL);
    term fraction = with_point(terms, digits(terms, 0, DIGITS_MAX));
    struct byte_set e = {{0}}, plus_minus = {{0}};
    byte_set_add(&e, 'e', 'e');
    byte_set_add(&e, 'E', 'E');
    byte_set_add(&plus_minus, '+', '+');
    byte_set_add(&plus_minus, '-', '-');
    term exponent = term_cat(
        terms, term_class(terms, &e),
        term_cat(terms, term_optional(terms, term_class(terms, &plus_minus)), digits(terms, 1, 2)));
    return term_cat(
        terms, sign,
        term_cat(terms, whole, term_cat(terms, fraction, term_optional(terms, exponent))));
}

/* ---- keywords ---- */

static enum status read_number(struct schema *schema, const cJSON *at, const char *keyword,
                               double *out, bool *is_given)
{
    const cJSON *value = schema_get(at, keyword);
    *is_given = value != NULL && !cJSON_IsBool(value);
    if (!*is_given)
        return OK;
    if (!cJSON_IsNumber(value) || !isfinite(value->valuedouble))
        return schema_fail(schema, ERR_INVALID, at, keyword, "must be a number");
    *out = value->valuedouble;
    return OK;
}

/* Of two bounds the tighter one; sign 1 for lower ones. */
static void tighten(struct bound *bound, double value, bool is_excluded, int sign)
{
    double difference = (value - bound->value) * sign;
    if (bound->is_given && (difference < 0 || (difference == 0 && !is_excluded)))
        return;
    *bound = (struct bound){true, is_excluded, value};
}

static enum status read_bounds(struct schema *schema, const cJSON *at, struct bound *low,
                               struct bound *high)
{
    double value = 0;
    bool is_given;
    enum status status = read_number(schema, at, "minimum", &value, &is_given);
    if (status == OK && is_given)  // draft 4: a boolean beside it
        tighten(low, value, cJSON_IsTrue(schema_get(at, "exclusiveMinimum")), 1);
    if (status == OK)
        status = read_number(schema, at, "maximum", &value, &is_given);
    if (status == OK && is_given)
        tighten(high, value, cJSON_IsTrue(schema_get(at, "exclusiveMaximum")), -1);
    if (status == OK)
        status = read_number(schema, at, "exclusiveMinimum", &value, &is_given);
    if (status == OK && is_given)
        tighten(low, value, true, 1);
    if (status == OK)
        status = read_number(schema, at, "exclusiveMaximum", &value, &is_given);
    if (status == OK && is_given)
        tighten(high, value, true, -1);
    return status;
}

static enum status add_multiple(struct schema *schema, const cJSON *at, term *t, bool *has_multiple)
{
    struct terms *terms = schema->build->terms;
    double value = 0;
    bool is_given;
    enum status status = read_number(schema, at, "multipleOf", &value, &is_given);
    if (status != OK || !is_given)
        return status;
    if (value <= 0)
        return schema_fail(schema, ERR_INVALID, at, "multipleOf", "must be above 0");
    struct decimal d;
    to_decimal(value, &d);
    unsigned decimals = (unsigned)strlen(d.fraction);
    char all[2 * NUMBER_BYTES];
    snprintf(all, sizeof all, "%s%s", d.whole, d.fraction);
    double divisor = strtod(all, NULL);
    if (decimals > 9 || divisor > MULTIPLE_MAX)
        return schema_fail(schema, ERR_LIMIT, at, "multipleOf",
                           "must have at most 9 decimals and 9 digits");
    term multiple = term_cat(terms, term_optional(terms, digit(terms, '-', '-')),
                             term_multiple(terms, (uint32_t)divisor, decimals));
    *t = *has_multiple ? term_and(terms, *t, multiple) : multiple;
    *has_multiple = true;
    return OK;
}

enum status schema_number(struct schema *schema, const struct conjunction *c, bool integer,
                          term *out)
{
    struct terms *terms = schema->build->terms;
    struct bound low = {0}, high = {0};
    term multiples = TERM_NONE;
    bool has_multiple = false;
    for (size_t i = 0; i < c->n; i++) {
        enum status status = read_bounds(schema, c->items[i].at, &low, &high);
        if (status == OK)
            status = add_multiple(schema, c->items[i].at, &multiples, &has_multiple);
        if (status != OK)
            return status;
    }
    double largest = fmax(low.is_given ? fabs(low.value) : 0, high.is_given ? fabs(high.value) : 0);
    if (largest > 1e30 || (!integer && largest > 1e15)) {
        // So far out a double has gaps and a number more digits than it can keep.
        if (low.is_given && low.value < -1e15)
            low = (struct bound){true, false, -1e15};
        if (high.is_given && high.value > 1e15)
            high = (struct bound){true, false, 1e15};
        if ((low.is_given && low.value > 1e15) || (high.is_given && high.value < -1e15))
            return schema_fail(schema, ERR_LIMIT, c->items[0].at, "minimum",
                               "a bound is beyond 1e15");
    }
    if (integer)
        *out = integers(terms, &low, &high);
    else if (low.is_given || high.is_given || has_multiple || largest > 0)
        *out = signed_numbers(terms, &low, &high);
    else
        *out = free_number(terms);
    if (has_multiple)
        *out = term_and(terms, *out, multiples);
    return OK;
}
