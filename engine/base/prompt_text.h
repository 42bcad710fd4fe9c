/* Text on its way from the template to the tokenizer, with the provenance of its bytes.
 *
 * Only template text may become special tokens. The template interpreter marks the bytes that came
 * from the request; the tokenizer matches a control token only where all of its bytes are
 * trusted. */
#ifndef WICARA_BASE_PROMPT_TEXT_H
#define WICARA_BASE_PROMPT_TEXT_H

#include <stddef.h>

struct text_span {
    size_t first;  // byte offset, inclusive
    size_t last;   // exclusive
};

struct prompt_text {
    const char *bytes;
    size_t n_bytes;
    const struct text_span *untrusted;  // ascending, disjoint, non-empty
    size_t n_untrusted;
};

#endif
