/* Writes SentencePiece models for tests: protocol buffers field by field, right ones and wrong
 * ones. */
#ifndef WICARA_TESTS_SPM_BUILD_H
#define WICARA_TESTS_SPM_BUILD_H

#include <stdint.h>
#include <string.h>

#include "engine/base/buf.h"

static inline void spm_varint(struct buf *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        buf_append_char(out, (char)(value | 128));
    buf_append_char(out, (char)value);
}

static inline void spm_number(struct buf *out, unsigned field, uint64_t value)
{
    spm_varint(out, field << 3);
    spm_varint(out, value);
}

static inline void spm_bytes(struct buf *out, unsigned field, const void *bytes, size_t n_bytes)
{
    spm_varint(out, field << 3 | 2);
    spm_varint(out, n_bytes);
    buf_append(out, bytes, n_bytes);
}

static inline void spm_piece(struct buf *out, const char *text, float score, unsigned kind)
{
    struct buf piece;
    buf_init(&piece, 1 << 12);
    spm_bytes(&piece, 1, text, strlen(text));
    spm_varint(&piece, 2 << 3 | 5);
    buf_append(&piece, &score, sizeof score);
    spm_number(&piece, 3, kind);
    spm_bytes(out, 1, piece.bytes, piece.n_bytes);
    buf_release(&piece);
}

/* Fields of the trainer (2) or normaliser (3), given as pairs that end with a field of 0. */
static inline void spm_settings(struct buf *out, unsigned field, const uint64_t (*pairs)[2])
{
    struct buf settings;
    buf_init(&settings, 1 << 12);
    for (; (*pairs)[0]; pairs++)
        spm_number(&settings, (unsigned)(*pairs)[0], (*pairs)[1]);
    spm_bytes(out, field, settings.bytes, settings.n_bytes);
    buf_release(&settings);
}

/* <unk> <s> </s>, U+2581 with and without a, a, b, ab, and the 256 bytes. */
static inline void spm_small(struct buf *out)
{
    static const char *const texts[] = {"<unk>",
                                        "<s>",
                                        "</s>",
                                        "\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "ab",
                                        "\xe2\x96\x81"
                                        "a"};
    static const uint64_t trainer[][2] = {{3, 2}, {35, 1}, {0, 0}};
    static const uint64_t normalizer[][2] = {{4, 0}, {0, 0}};
    for (unsigned i = 0; i < 8; i++)
        spm_piece(out, texts[i], -(float)i, i == 0 ? 2 : i < 3 ? 3 : 1);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        spm_piece(out, text, 0, 6);
    }
    spm_settings(out, 2, trainer);
    spm_settings(out, 3, normalizer);
}

#endif
