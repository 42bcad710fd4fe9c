/* Token ids to text, token by token, never half a UTF-8 character.
 *
 * Bytes that cannot become valid come out as U+FFFD, one for each maximal invalid part (as Python's
 * errors="replace" does), so the emitted text is always valid UTF-8 and does not depend on how the
 * tokens were grouped. */
#ifndef WICARA_TOKENIZER_STREAM_DECODER_H
#define WICARA_TOKENIZER_STREAM_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"

struct tokenizer;

struct stream_decoder {
    const struct tokenizer *tokenizer;
    char pending[4];  // start of a character that is not complete yet
    size_t n_pending;
    bool show_control;  // control tokens are text too (for /detokenize); else they are silent
    bool strip_space;   // SPM: the next piece loses one leading space
};

/* at_start: the tokens are the start of a text (SPM then drops the prefix space). */
void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer,
                         bool show_control, bool at_start);
/* Appends to `out` what the token completes. False when `out` failed. */
bool stream_decoder_push(struct stream_decoder *decoder, int32_t id, struct buf *out);
/* Appends what is still pending, as U+FFFD. */
bool stream_decoder_finish(struct stream_decoder *decoder, struct buf *out);

#endif
