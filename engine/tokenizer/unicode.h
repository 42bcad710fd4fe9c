/* Character classes, as the regular expressions of the `tokenizers` library see them, and text as
 * an array of units (one a character) that the pre-tokenizers walk over. */
#ifndef WICARA_TOKENIZER_UNICODE_H
#define WICARA_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Disjoint; every code point has exactly one. The numbers stand in unicode_tables.c. */
enum char_class {
    CHAR_OTHER,
    CHAR_LU,
    CHAR_LL,
    CHAR_LT,
    CHAR_LM,
    CHAR_LO,
    CHAR_M,
    CHAR_N,
    CHAR_P,
    CHAR_S,
    CHAR_SPACE,    // \s: White_Space
    CHAR_N_NEWER,  // unassigned for the regular expressions, a digit for `Digits`
    CHAR_CLASSES,
    CHAR_CLASS_MASK = 0x0f,
    CHAR_HAN = 0x10,  // flag beside the class: \p{Han}
};

extern const uint8_t unicode_index[8704];
extern const uint8_t unicode_classes[][128];

/* Class and flag of a code point up to U+10FFFF. */
static inline unsigned unicode_class(uint32_t code_point)
{
    return unicode_classes[unicode_index[code_point >> 7]][code_point & 127];
}

/* A unit is a character with its class: bits 0-20 the code point, 24-31 the class and flag. A byte
 * that is not part of valid UTF-8 is a unit of its own, of class CHAR_OTHER, with the code point
 * UNIT_BAD_BYTE + byte. */
enum { UNIT_CODE_MASK = 0x1fffff, UNIT_CLASS_SHIFT = 24, UNIT_BAD_BYTE = 0x110000 };

static inline uint32_t unit_code(uint32_t unit)
{
    return unit & UNIT_CODE_MASK;
}
static inline enum char_class unit_class(uint32_t unit)
{
    return (enum char_class)(unit >> UNIT_CLASS_SHIFT & CHAR_CLASS_MASK);
}
static inline bool unit_is_han(uint32_t unit)
{
    return unit >> UNIT_CLASS_SHIFT & CHAR_HAN;
}
/* How many bytes of the text the unit stands for. */
static inline size_t unit_bytes(uint32_t unit)
{
    uint32_t code = unit_code(unit);
    if (code < 0x80 || code >= UNIT_BAD_BYTE)
        return 1;
    return code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/* Decodes any bytes; `out` has room for n_bytes units. Returns how many came out. */
size_t unicode_units(const char *bytes, size_t n_bytes, uint32_t *out);

#endif
