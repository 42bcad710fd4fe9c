/* Python's numbers: text forms, comparison and arithmetic. Integers are 64-bit; longer ones from
 * the request keep their digits and can be printed and compared, not calculated with. */
#ifndef WICARA_TEMPLATE_JINJA_NUMBER_H
#define WICARA_TEMPLATE_JINJA_NUMBER_H

#include "engine/template/jinja_value.h"

enum { NUMBER_TEXT_BYTES = 40 };

enum arithmetic {
    ARITH_ADD,
    ARITH_SUB,
    ARITH_MUL,
    ARITH_DIV,
    ARITH_FLOORDIV,
    ARITH_MOD,
    ARITH_POW
};

/* repr(): the shortest digits that read back as the same double. Returns the length. */
size_t float_repr(double f, char out[NUMBER_TEXT_BYTES]);
/* A JSON or template integer of any length; [-]digits. */
struct value number_from_digits(struct jinja *j, const char *digits, size_t n_digits);
/* int(text, base) and float(text) as Python reads them; false when they would raise ValueError. */
bool number_parse_int(struct jinja *j, const struct text *text, int64_t base, struct value *out);
bool number_parse_float(struct jinja *j, const struct text *text, double *out);
/* int(f): fails for values that are not finite or beyond 64 bits. */
struct value number_from_real(struct jinja *j, double f);

double number_as_real(struct value v);
/* The value of INT and BOOL; false for other kinds. */
bool number_as_int(struct value v, int64_t *out);
/* -1, 0, 1, or 2 when unordered; exact between integers and floats. */
int number_order(struct value a, struct value b);
struct value number_arithmetic(struct jinja *j, enum arithmetic op, struct value a, struct value b);
struct value number_negate(struct jinja *j, struct value v);
struct value number_round(struct jinja *j, struct value v, int64_t digits);

#endif
