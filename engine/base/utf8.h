/* UTF-8: strict decoding and encoding (no overlong forms, no surrogates, up to U+10FFFF). */
#ifndef WICARA_BASE_UTF8_H
#define WICARA_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1-4) of the valid character at the start of `bytes`, its code point in *code_point;
 * 0 when there is none (invalid, cut off or empty). */
size_t utf8_decode(const char *bytes, size_t n_bytes, uint32_t *code_point);

/* Writes 1-4 bytes and returns their number; 0 for a surrogate or a value past U+10FFFF. */
size_t utf8_encode(uint32_t code_point, char out[4]);

/* True when all bytes are valid; else *error_offset (may be NULL) is the first bad byte. */
bool utf8_is_valid(const char *bytes, size_t n_bytes, size_t *error_offset);

/* Length of the longest prefix that does not end inside a character that further bytes could
 * still complete. Bytes that can never become valid count as complete. */
size_t utf8_complete_prefix(const char *bytes, size_t n_bytes);

#endif
