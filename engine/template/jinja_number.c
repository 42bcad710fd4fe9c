/* Python's numbers; see jinja_number.h.
 *
 * A float prints as the shortest digits that read back as the same value, found by trying 1 to 17
 * digits: a render prints few floats, and the C library converts both ways exactly. Integers that
 * leave 64 bits are an error that says so, never a wrapped value. Doubles compare with integers
 * through x87 long double, whose 64-bit significand holds every int64. */
#include "engine/template/jinja_number.h"

#include <ctype.h>
#include <math.h>

#include "engine/template/jinja.h"
#include "engine/template/jinja_text.h"
#include "engine/template/jinja_unicode.h"

size_t float_repr(double f, char out[NUMBER_TEXT_BYTES])
{
    if (isnan(f))
        return (size_t)snprintf(out, NUMBER_TEXT_BYTES, "nan");
    if (isinf(f))
        return (size_t)snprintf(out, NUMBER_TEXT_BYTES, f > 0 ? "inf" : "-inf");
    char e_form[NUMBER_TEXT_BYTES];
    int digits = 1;
    for (; digits <= 17; digits++) {
        snprintf(e_form, sizeof e_form, "%.*e", digits - 1, f);
        if (strtod(e_form, NULL) == f)
            break;
    }
    long exponent = strtol(strchr(e_form, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        char *e = strchr(e_form, 'e');
        *e = '\0';
        return (size_t)snprintf(out, NUMBER_TEXT_BYTES, "%se%c%02ld", e_form,
                                exponent < 0 ? '-' : '+', labs(exponent));
    }
    int decimals = digits - 1 - (int)exponent;
    return (size_t)snprintf(out, NUMBER_TEXT_BYTES, "%.*f", decimals > 0 ? decimals : 1, f);
}

struct value number_from_digits(struct jinja *j, const char *digits, size_t n_digits)
{
    bool negative = n_digits && digits[0] == '-';
    size_t at = negative ? 1 : 0;
    while (at + 1 < n_digits && digits[at] == '0')
        at++;
    int64_t sum = 0;
    bool fits = true;
    for (size_t i = at; i < n_digits && fits; i++) {
        int digit = digits[i] - '0';
        fits = !__builtin_mul_overflow(sum, (int64_t)10, &sum) &&
               !__builtin_add_overflow(sum, negative ? -digit : digit, &sum);
    }
    if (fits)
        return value_int(sum);
    char *copy = jinja_alloc(j, n_digits - at + 2);  // ends with a NUL, for strtod
    copy[0] = '-';
    memcpy(copy + negative, digits + at, n_digits - at);
    const struct text *text = text_borrow(j, copy, n_digits - at + negative, false);
    text_chars(text);
    return (struct value){.kind = VALUE_BIG, .text = text};
}

/* Strips white space (without the separators 0x1c-0x1f, as int() and float() do) and turns any
 * Unicode decimal digit into ASCII. */
static char *number_text(struct jinja *j, const struct text *text, size_t *n)
{
    char *out = jinja_alloc(j, (size_t)text->n_bytes + 1);
    size_t at = 0, length = 0, behind = 0;
    jinja_step(j, (size_t)text->n_bytes * JINJA_WALK_COST);
    while (at < text->n_bytes) {
        uint32_t c;
        at += char_next(text->bytes + at, text->n_bytes - at, &c);
        int digit = char_decimal(c);
        bool space = char_is_space(c) && (c < 0x1c || c > 0x1f);
        if (space && length == 0)
            continue;
        out[length++] = digit >= 0 ? (char)('0' + digit) : c < 0x80 && c ? (char)c : '?';
        if (!space)
            behind = length;
    }
    out[behind] = '\0';
    *n = behind;
    return out;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* Drops single underscores between digits; false where Python refuses them. */
static bool drop_underscores(char *text, size_t *n)
{
    size_t to = 0;
    for (size_t i = 0; i < *n; i++) {
        if (text[i] != '_') {
            text[to++] = text[i];
            continue;
        }
        bool left = i > 0 && isalnum((unsigned char)text[i - 1]);
        bool right = i + 1 < *n && isalnum((unsigned char)text[i + 1]);
        if (!left || !right)
            return false;
    }
    text[to] = '\0';
    *n = to;
    return true;
}

bool number_parse_int(struct jinja *j, const struct text *text, int64_t base, struct value *out)
{
    if (base != 0 && (base < 2 || base > 36))
        return false;
    size_t n;
    char *digits = number_text(j, text, &n);
    size_t sign = n && (digits[0] == '-' || digits[0] == '+') ? 1 : 0;
    bool negative = sign && digits[0] == '-';
    if (n > sign + 1 && digits[sign] == '0' && base != 10) {
        int kind = digits[sign + 1] | 32;
        int64_t named = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
        if (named && (base == 0 || base == named)) {
            base = named;
            sign += digits[sign + 2] == '_' ? 3 : 2;
        }
    }
    bool any_base = base == 0;
    if (base == 0)
        base = 10;
    if (sign > n)
        return false;
    char *start = digits + sign;
    size_t length = n - sign;
    if (!drop_underscores(start, &length) || length == 0)
        return false;
    bool zeros = true;
    for (size_t i = 0; i < length; i++) {
        if (digit_value(start[i]) >= base)
            return false;
        zeros = zeros && start[i] == '0';
    }
    if (any_base && start[0] == '0' && !zeros)
        return false;
    if (base == 10) {
        if (length > 4300)  // Python's own limit
            return false;
        *out = number_from_digits(j, start, length);
        if (negative && out->kind == VALUE_INT) {
            out->integer = -out->integer;
        } else if (negative) {
            char *copy = jinja_alloc(j, length + 1);
            copy[0] = '-';
            memcpy(copy + 1, start, length);
            *out = number_from_digits(j, copy, length + 1);
        }
    } else {
        int64_t sum = 0;
        for (size_t i = 0; i < length; i++) {
            if (__builtin_mul_overflow(sum, base, &sum) ||
                __builtin_add_overflow(sum, digit_value(start[i]), &sum))
                jinja_fail(j, ERR_LIMIT, "an integer does not fit 64 bits");
        }
        *out = value_int(negative ? -sum : sum);
    }
    out->untrusted = text_untrusted(text);
    return true;
}

static size_t scan_digits(const char *p)
{
    size_t n = 0;
    while (p[n] >= '0' && p[n] <= '9')
        n++;
    return n;
}

bool number_parse_float(struct jinja *j, const struct text *text, double *out)
{
    size_t n;
    char *s = number_text(j, text, &n);
    if (!drop_underscores(s, &n) || strlen(s) != n)
        return false;
    const char *p = s + (s[0] == '+' || s[0] == '-');
    if (strcasecmp(p, "inf") == 0 || strcasecmp(p, "infinity") == 0) {
        *out = s[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (strcasecmp(p, "nan") == 0) {
        *out = NAN;
        return true;
    }
    size_t whole = scan_digits(p), part = 0;
    p += whole;
    if (*p == '.')
        part = scan_digits(++p);
    p += part;
    if (whole + part == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '+' || p[1] == '-');
        size_t exponent = scan_digits(p);
        if (exponent == 0)
            return false;
        p += exponent;
    }
    if (*p)
        return false;
    *out = strtod(s, NULL);
    return true;
}

struct value number_from_real(struct jinja *j, double f)
{
    if (isnan(f))
        jinja_fail(j, ERR_INVALID, "cannot convert float NaN to integer");
    if (isinf(f))
        jinja_fail(j, ERR_INVALID, "cannot convert float infinity to integer");
    f = trunc(f);
    if (f < -0x1p63 || f >= 0x1p63)
        jinja_fail(j, ERR_LIMIT, "an integer does not fit 64 bits");
    return value_int((int64_t)f);
}

double number_as_real(struct value v)
{
    switch (v.kind) {
    case VALUE_BOOL:
        return v.boolean;
    case VALUE_INT:
        return (double)v.integer;
    case VALUE_FLOAT:
        return v.real;
    default:
        return strtod(v.text->bytes, NULL);  // BIG: NUL-terminated
    }
}

bool number_as_int(struct value v, int64_t *out)
{
    if (v.kind == VALUE_BOOL)
        *out = v.boolean;
    else if (v.kind == VALUE_INT)
        *out = v.integer;
    else
        return false;
    return true;
}

static int big_order(struct value a, struct value b)
{
    bool a_negative = a.text->bytes[0] == '-', b_negative = b.text->bytes[0] == '-';
    if (a_negative != b_negative)
        return a_negative ? -1 : 1;
    int sign = a_negative ? -1 : 1;
    if (a.text->n_bytes != b.text->n_bytes)
        return a.text->n_bytes < b.text->n_bytes ? -sign : sign;
    int c = memcmp(a.text->bytes, b.text->bytes, a.text->n_bytes);
    return c == 0 ? 0 : c < 0 ? -sign : sign;
}

int number_order(struct value a, struct value b)
{
    if (a.kind == VALUE_BIG && b.kind == VALUE_BIG)
        return big_order(a, b);
    if (a.kind == VALUE_BIG && b.kind != VALUE_FLOAT)
        return a.text->bytes[0] == '-' ? -1 : 1;
    if (b.kind == VALUE_BIG && a.kind != VALUE_FLOAT)
        return b.text->bytes[0] == '-' ? 1 : -1;
    int64_t x, y;
    if (number_as_int(a, &x) && number_as_int(b, &y))
        return x < y ? -1 : x > y;
    long double p = number_as_int(a, &x) ? (long double)x : number_as_real(a);
    long double q = number_as_int(b, &y) ? (long double)y : number_as_real(b);
    if (isnan(p) || isnan(q))
        return 2;
    return p < q ? -1 : p > q;
}

static _Noreturn void fail_range(struct jinja *j)
{
    jinja_fail(j, ERR_LIMIT, "an integer does not fit 64 bits");
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static int64_t int_power(struct jinja *j, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            fail_range(j);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            fail_range(j);
    }
    return result;
}

static struct value int_arithmetic(struct jinja *j, enum arithmetic op, int64_t a, int64_t b)
{
    int64_t r;
    switch (op) {
    case ARITH_ADD:
        if (__builtin_add_overflow(a, b, &r))
            fail_range(j);
        return value_int(r);
    case ARITH_SUB:
        if (__builtin_sub_overflow(a, b, &r))
            fail_range(j);
        return value_int(r);
    case ARITH_MUL:
        if (__builtin_mul_overflow(a, b, &r))
            fail_range(j);
        return value_int(r);
    case ARITH_POW:
        return b < 0 ? value_float(pow((double)a, (double)b)) : value_int(int_power(j, a, b));
    default:
        break;
    }
    if (b == 0)
        jinja_fail(j, ERR_INVALID,
                   op == ARITH_DIV ? "division by zero" : "integer division or modulo by zero");
    if (op == ARITH_DIV && llabs(a) <= 1LL << 53 && llabs(b) <= 1LL << 53)
        return value_float((double)a / (double)b);
    if (op == ARITH_DIV)
        return value_float((double)((long double)a / (long double)b));
    if (b == -1) {  // INT64_MIN / -1 traps
        if (op == ARITH_MOD)
            return value_int(0);
        return int_arithmetic(j, ARITH_SUB, 0, a);
    }
    return value_int(op == ARITH_FLOORDIV ? floor_div(a, b) : a - b * floor_div(a, b));
}

static double float_mod(double a, double b)
{
    double r = fmod(a, b);
    if (r == 0)
        return copysign(0.0, b);
    return (r < 0) != (b < 0) ? r + b : r;
}

static double float_floordiv(double a, double b)
{
    double mod = fmod(a, b);
    double div = (a - mod) / b;
    if (mod != 0 && (mod < 0) != (b < 0))
        div -= 1;
    if (div == 0)
        return copysign(0.0, a / b);
    double floored = floor(div);
    return div - floored > 0.5 ? floored + 1 : floored;
}

static struct value float_arithmetic(struct jinja *j, enum arithmetic op, double a, double b)
{
    switch (op) {
    case ARITH_ADD:
        return value_float(a + b);
    case ARITH_SUB:
        return value_float(a - b);
    case ARITH_MUL:
        return value_float(a * b);
    case ARITH_POW:
        if (a == 0 && b < 0)
            jinja_fail(j, ERR_INVALID, "0.0 cannot be raised to a negative power");
        if (a < 0 && isfinite(a) && isfinite(b) && b != floor(b))
            jinja_fail(j, ERR_UNSUPPORTED, "complex numbers are not supported");
        if (isfinite(a) && isfinite(b) && isinf(pow(a, b)))
            jinja_fail(j, ERR_INVALID, "numerical result out of range");
        return value_float(pow(a, b));
    default:
        break;
    }
    if (b == 0)
        jinja_fail(j, ERR_INVALID, "float division by zero");
    if (op == ARITH_DIV)
        return value_float(a / b);
    return value_float(op == ARITH_MOD ? float_mod(a, b) : float_floordiv(a, b));
}

struct value number_arithmetic(struct jinja *j, enum arithmetic op, struct value a, struct value b)
{
    int64_t x, y;
    struct value out;
    if (a.kind == VALUE_BIG || b.kind == VALUE_BIG)
        fail_range(j);
    if (number_as_int(a, &x) && number_as_int(b, &y)) {
        if (op == ARITH_POW && x == 0 && y < 0)
            jinja_fail(j, ERR_INVALID, "0.0 cannot be raised to a negative power");
        out = int_arithmetic(j, op, x, y);
    } else {
        out = float_arithmetic(j, op, number_as_real(a), number_as_real(b));
    }
    out.untrusted = a.untrusted || b.untrusted;
    return out;
}

struct value number_negate(struct jinja *j, struct value v)
{
    struct value out = v;
    if (v.kind == VALUE_FLOAT) {
        out.real = -v.real;
        return out;
    }
    if (v.kind == VALUE_BIG)
        fail_range(j);
    out = int_arithmetic(j, ARITH_SUB, 0, v.kind == VALUE_BOOL ? v.boolean : v.integer);
    out.untrusted = v.untrusted;
    return out;
}

/* Python's round(): decimal digits of the exact value, ties to even; ints stay ints. */
struct value number_round(struct jinja *j, struct value v, int64_t digits)
{
    int64_t i;
    if (number_as_int(v, &i)) {
        struct value out = value_int(i);
        out.untrusted = v.untrusted;
        if (digits >= 0)
            return out;
        if (digits < -18) {
            out.integer = 0;
            return out;
        }
        int64_t unit = int_power(j, 10, -digits);
        int64_t low = floor_div(i, unit), rest = i - low * unit;
        if (rest > unit - rest || (rest == unit - rest && (low & 1)))
            low++;
        out.integer = int_arithmetic(j, ARITH_MUL, low, unit).integer;
        return out;
    }
    if (v.kind != VALUE_FLOAT)
        fail_range(j);
    if (!isfinite(v.real) || digits > 323)
        return v;
    if (digits < -308) {
        v.real = copysign(0.0, v.real);
        return v;
    }
    if (digits < 0) {
        /* As CPython: scale down, round half to even, scale up. */
        double unit = pow(10.0, (double)-digits);
        double scaled = v.real / unit, rounded = round(scaled);
        if (fabs(scaled - rounded) == 0.5)
            rounded = 2.0 * round(scaled / 2.0);
        v.real = rounded * unit;
        return v;
    }
    char out[400];
    snprintf(out, sizeof out, "%.*f", (int)digits, v.real);
    if (strlen(out) + 1 < sizeof out)
        v.real = strtod(out, NULL);
    return v;
}
