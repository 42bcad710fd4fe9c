/* Unicode normalisation form C of a text, with the provenance of its bytes. Private to
 * engine/tokenizer. */
#ifndef WICARA_TOKENIZER_NFC_H
#define WICARA_TOKENIZER_NFC_H

#include <stdbool.h>

#include "engine/base/buf.h"
#include "engine/base/prompt_text.h"

/* A normalised text; `text` points into the rest. */
struct nfc_text {
    struct prompt_text text;
    struct buf bytes;
    struct text_span *spans;
    size_t n_spans, spans_max;
};

/* True when bytes are the same after normalisation, as far as a look at each character alone tells:
 * nothing from U+0300 on. */
bool nfc_is_plain(const char *bytes, size_t n_bytes);

/* Normalises bytes [first, last) of `in`. A character that came of untrusted bytes, if only in
 * part, is untrusted. Bytes that are not UTF-8 stay as they are. ERR_LIMIT, ERR_MEMORY; release in
 * any case. */
enum status nfc_normalize(struct nfc_text *out, const struct prompt_text *in, size_t first,
                          size_t last, struct error *err) MUST_CHECK;
void nfc_release(struct nfc_text *text);

#endif
