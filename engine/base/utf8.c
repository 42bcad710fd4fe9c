/* Strict UTF-8; see utf8.h.
 *
 * One routine decides how far a character is valid; everything else is built on it, so that the
 * functions cannot disagree. Source: the Unicode standard, table 3-7 (well-formed sequences). */
#include "engine/base/utf8.h"

/* Length of the character that the lead byte starts and the range of its second byte; 0 = none. */
static size_t lead_length(unsigned char lead, unsigned char *second_min, unsigned char *second_max)
{
    *second_min = 0x80;
    *second_max = 0xbf;
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    if (lead < 0xe0)
        return 2;
    if (lead < 0xf0) {
        if (lead == 0xe0)
            *second_min = 0xa0;
        if (lead == 0xed)
            *second_max = 0x9f;
        return 3;
    }
    if (lead == 0xf0)
        *second_min = 0x90;
    if (lead == 0xf4)
        *second_max = 0x8f;
    return 4;
}

/* How many of the bytes are a valid start of the character; *length is what it needs. */
static size_t valid_part(const char *bytes, size_t n_bytes, size_t *length)
{
    unsigned char min, max;
    *length = lead_length((unsigned char)bytes[0], &min, &max);
    if (*length == 0)
        return 0;
    size_t n = 1;
    while (n < *length && n < n_bytes) {
        unsigned char c = (unsigned char)bytes[n];
        if (c < min || c > max)
            break;
        min = 0x80;
        max = 0xbf;
        n++;
    }
    return n;
}

size_t utf8_decode(const char *bytes, size_t n_bytes, uint32_t *code_point)
{
    size_t length;
    if (n_bytes == 0 || valid_part(bytes, n_bytes, &length) != length || length == 0)
        return 0;
    static const unsigned char lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t value = (unsigned char)bytes[0] & lead_mask[length];
    for (size_t i = 1; i < length; i++)
        value = value << 6 | ((unsigned char)bytes[i] & 0x3f);
    *code_point = value;
    return length;
}

size_t utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xc0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        if (code_point >= 0xd800 && code_point < 0xe000)
            return 0;
        out[0] = (char)(0xe0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    if (code_point > 0x10ffff)
        return 0;
    out[0] = (char)(0xf0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code_point & 0x3f));
    return 4;
}

bool utf8_is_valid(const char *bytes, size_t n_bytes, size_t *error_offset)
{
    size_t i = 0;
    while (i < n_bytes) {
        size_t length;
        if ((unsigned char)bytes[i] < 0x80) {
            i++;
            continue;
        }
        if (valid_part(bytes + i, n_bytes - i, &length) != length || length == 0) {
            if (error_offset)
                *error_offset = i;
            return false;
        }
        i += length;
    }
    return true;
}

size_t utf8_complete_prefix(const char *bytes, size_t n_bytes)
{
    size_t back = n_bytes < 3 ? n_bytes : 3;
    for (size_t n = 1; n <= back; n++) {
        size_t length;
        size_t part = valid_part(bytes + n_bytes - n, n, &length);
        if (length > n && part == n)
            return n_bytes - n;
    }
    return n_bytes;
}
