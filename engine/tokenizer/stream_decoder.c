/* Token ids to valid UTF-8; see stream_decoder.h.
 *
 * Bytes wait in `pending` while they can still become a character. Whether they can is decided byte
 * by byte, so the text is the same however the bytes are grouped into tokens.
 *
 * Source: the Unicode standard, "U+FFFD substitution of maximal subparts". */
#include "engine/tokenizer/stream_decoder.h"

#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_private.h"

static const char replacement[] = "\xef\xbf\xbd";

void stream_decoder_init(struct stream_decoder *decoder, const struct tokenizer *tokenizer,
                         bool show_control, bool at_start)
{
    *decoder = (struct stream_decoder){
        .tokenizer = tokenizer,
        .show_control = show_control,
        .strip_space = at_start && tokenizer->strips_space,
    };
}

static bool flush_as_replacement(struct stream_decoder *decoder, struct buf *out)
{
    if (decoder->n_pending == 0)
        return true;
    decoder->n_pending = 0;
    return buf_append(out, replacement, 3);
}

static bool push_byte(struct stream_decoder *decoder, char byte, struct buf *out)
{
    for (;;) {
        uint32_t code;
        decoder->pending[decoder->n_pending++] = byte;
        if (utf8_decode(decoder->pending, decoder->n_pending, &code) > 0) {
            size_t n = decoder->n_pending;
            decoder->n_pending = 0;
            return buf_append(out, decoder->pending, n);
        }
        if (utf8_complete_prefix(decoder->pending, decoder->n_pending) == 0)
            return true;
        /* What was there before can no longer become a character; the byte may start one. */
        bool alone = decoder->n_pending == 1;
        if (!flush_as_replacement(decoder, out) || alone)
            return !out->failed;
    }
}

bool stream_decoder_push(struct stream_decoder *decoder, int32_t id, struct buf *out)
{
    size_t n;
    const char *piece = tokenizer_piece(decoder->tokenizer, id, &n);
    if (!decoder->show_control && tokenizer_is_control(decoder->tokenizer, id))
        return !out->failed;
    if (decoder->strip_space && n > 0) {
        decoder->strip_space = false;
        n -= piece[0] == ' ';
        piece += piece[0] == ' ';
    }
    if (decoder->n_pending == 0 && utf8_is_valid(piece, n, NULL))
        return buf_append(out, piece, n);
    for (size_t i = 0; i < n; i++) {
        if (!push_byte(decoder, piece[i], out))
            return false;
    }
    return true;
}

bool stream_decoder_finish(struct stream_decoder *decoder, struct buf *out)
{
    return flush_as_replacement(decoder, out);
}
