/* Text to units; see unicode.h.
 *
 * The reference tokenizers take valid text only. Here every byte string has a meaning: what is not
 * UTF-8 becomes one unit a byte, of the class that unassigned characters have, so that it splits
 * like any other symbol and its bytes reach the byte-level map unchanged. */
#include "engine/tokenizer/unicode.h"

#include "engine/base/utf8.h"

size_t unicode_units(const char *bytes, size_t n_bytes, uint32_t *out)
{
    size_t n_units = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code = (unsigned char)bytes[i];
        size_t length = 1;
        if (code >= 0x80) {
            length = utf8_decode(bytes + i, n_bytes - i, &code);
            if (length == 0) {
                out[n_units++] = UNIT_BAD_BYTE + (unsigned char)bytes[i++];
                continue;
            }
        }
        out[n_units++] = code | (uint32_t)unicode_class(code) << UNIT_CLASS_SHIFT;
        i += length;
    }
    return n_units;
}
