/* Hexadecimal digits of texts. */
#ifndef WICARA_BASE_HEX_H
#define WICARA_BASE_HEX_H

/* 0..15 of a digit in either case, -1 of anything else. */
static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
