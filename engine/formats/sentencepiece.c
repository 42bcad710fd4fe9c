/* Reading a tokenizer.model; see sentencepiece.h.
 *
 * Two passes over the top-level message, one that counts and one that fills, so that every array is
 * made once and is no larger than the file. A message is walked field by field; fields with numbers
 * that are not known are passed over, as protocol buffers are meant to be read, and of a field that
 * comes twice the last one counts. Nothing is trusted: each length is held against what is left of
 * the message that it stands in.
 *
 * Source: sentencepiece_model.proto of SentencePiece and the wire format of protocol buffers. */
#include "engine/formats/sentencepiece.h"

#include <string.h>

#include "engine/base/mem.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ModelProto */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
/* SentencePiece */
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
/* TrainerSpec */
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SUFFIX = 24,
    TRAINER_UNK_ID = 40,
    TRAINER_BOS_ID = 41,
    TRAINER_EOS_ID = 42
};
/* NormalizerSpec */
enum {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_PREFIX = 3,
    NORMALIZER_EXTRA = 4,
    NORMALIZER_ESCAPE = 5
};

enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2, KIND_NORMAL = 1, KIND_MAX = 6 };

struct message {
    const uint8_t *at, *end;
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;        // varint, 32 or 64 bits
    struct message bytes;  // WIRE_BYTES
};

static enum status broken(struct error *err)
{
    return error_set(err, ERR_FORMAT, "it is no SentencePiece model, or cut off");
}

static bool read_varint(struct message *message, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && message->at < message->end; shift += 7) {
        uint8_t byte = *message->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(struct message *message, size_t n_bytes, uint64_t *out)
{
    *out = 0;
    if ((size_t)(message->end - message->at) < n_bytes)
        return false;
    for (size_t i = 0; i < n_bytes; i++)
        *out |= (uint64_t)message->at[i] << 8 * i;
    message->at += n_bytes;
    return true;
}

/* The next field of a message that is not at its end. */
static bool read_field(struct message *message, struct field *field)
{
    uint64_t tag;
    if (!read_varint(message, &tag))
        return false;
    *field = (struct field){.number = tag >> 3, .wire = (enum wire)(tag & 7)};
    switch (tag & 7) {
    case WIRE_VARINT:
        return read_varint(message, &field->value);
    case WIRE_64:
        return read_fixed(message, 8, &field->value);
    case WIRE_32:
        return read_fixed(message, 4, &field->value);
    case WIRE_BYTES:
        if (!read_varint(message, &field->value) ||
            field->value > (uint64_t)(message->end - message->at))
            return false;
        field->bytes = (struct message){message->at, message->at + field->value};
        message->at += field->value;
        return true;
    default:
        return false;  // groups, which the file has none of
    }
}

static bool is_field(const struct field *field, uint64_t number, enum wire wire)
{
    return field->number == number && field->wire == wire;
}

/* ---- settings ---- */

struct settings {
    uint64_t model_type;
    int32_t unknown, bos, eos;
    bool suffix, charsmap, adds_prefix, removes_extra, escapes;
};

static bool read_trainer(struct message message, struct settings *out)
{
    struct field field;
    while (message.at < message.end) {
        if (!read_field(&message, &field))
            return false;
        if (is_field(&field, TRAINER_MODEL_TYPE, WIRE_VARINT))
            out->model_type = field.value;
        if (is_field(&field, TRAINER_SUFFIX, WIRE_VARINT))
            out->suffix = field.value != 0;
        int32_t id = field.value <= INT32_MAX ? (int32_t)field.value : -1;
        if (is_field(&field, TRAINER_UNK_ID, WIRE_VARINT))
            out->unknown = id;
        if (is_field(&field, TRAINER_BOS_ID, WIRE_VARINT))
            out->bos = id;
        if (is_field(&field, TRAINER_EOS_ID, WIRE_VARINT))
            out->eos = id;
    }
    return true;
}

static bool read_normalizer(struct message message, struct settings *out)
{
    struct field field;
    while (message.at < message.end) {
        if (!read_field(&message, &field))
            return false;
        if (is_field(&field, NORMALIZER_CHARSMAP, WIRE_BYTES))
            out->charsmap = field.bytes.at < field.bytes.end;
        if (is_field(&field, NORMALIZER_PREFIX, WIRE_VARINT))
            out->adds_prefix = field.value != 0;
        if (is_field(&field, NORMALIZER_EXTRA, WIRE_VARINT))
            out->removes_extra = field.value != 0;
        if (is_field(&field, NORMALIZER_ESCAPE, WIRE_VARINT))
            out->escapes = field.value != 0;
    }
    return true;
}

static enum status check_settings(const struct settings *settings, struct error *err)
{
    if (settings->model_type != TYPE_BPE)
        return error_set(err, ERR_UNSUPPORTED, "model type %s is not supported (supported: BPE)",
                         settings->model_type == TYPE_UNIGRAM ? "Unigram" : "words or characters");
    const struct {
        bool is_so;
        const char *name;
    } rules[] = {{settings->charsmap, "a normalisation of characters (precompiled_charsmap)"},
                 {settings->removes_extra, "remove_extra_whitespaces"},
                 {!settings->escapes, "escape_whitespaces = false"},
                 {settings->suffix, "treat_whitespace_as_suffix"}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i].is_so)
            return error_set(err, ERR_UNSUPPORTED, "%s is not supported", rules[i].name);
    return OK;
}

/* ---- pieces ---- */

struct piece {
    struct message text;
    float score;
    uint64_t kind;
};

static bool read_piece(struct message message, struct piece *out)
{
    struct field field;
    *out = (struct piece){.kind = KIND_NORMAL};
    while (message.at < message.end) {
        if (!read_field(&message, &field))
            return false;
        uint32_t bits = (uint32_t)field.value;
        if (is_field(&field, PIECE_TEXT, WIRE_BYTES))
            out->text = field.bytes;
        if (is_field(&field, PIECE_SCORE, WIRE_32))
            memcpy(&out->score, &bits, sizeof bits);
        if (is_field(&field, PIECE_TYPE, WIRE_VARINT))
            out->kind = field.value;
    }
    return out->kind >= KIND_NORMAL && out->kind <= KIND_MAX;
}

/* Pass one: how many pieces, how many bytes of text, the settings. */
static enum status count(struct message message, struct settings *settings, size_t *n_pieces,
                         size_t *n_bytes, struct error *err)
{
    struct field field;
    struct piece piece;
    *n_pieces = *n_bytes = 0;
    while (message.at < message.end) {
        bool good = read_field(&message, &field);
        if (good && is_field(&field, MODEL_PIECE, WIRE_BYTES)) {
            good = read_piece(field.bytes, &piece);
            *n_pieces += 1;
            *n_bytes += good ? (size_t)(piece.text.end - piece.text.at) : 0;
        } else if (good && is_field(&field, MODEL_TRAINER, WIRE_BYTES)) {
            good = read_trainer(field.bytes, settings);
        } else if (good && is_field(&field, MODEL_NORMALIZER, WIRE_BYTES)) {
            good = read_normalizer(field.bytes, settings);
        }
        if (!good)
            return broken(err);
    }
    if (*n_pieces == 0)
        return broken(err);
    if (*n_pieces > SENTENCEPIECE_PIECES_MAX)
        return error_set(err, ERR_LIMIT, "%zu pieces, the limit is %d", *n_pieces,
                         SENTENCEPIECE_PIECES_MAX);
    return OK;
}

/* Pass two; what pass one has read is well formed. */
static void fill(struct message message, struct sentencepiece *out)
{
    struct field field;
    struct piece piece;
    size_t at = 0, i = 0;
    while (message.at < message.end && read_field(&message, &field)) {
        if (!is_field(&field, MODEL_PIECE, WIRE_BYTES) || !read_piece(field.bytes, &piece))
            continue;
        size_t n = (size_t)(piece.text.end - piece.text.at);
        if (n)
            memcpy(out->bytes + at, piece.text.at, n);
        out->starts[i] = at;
        out->scores[i] = piece.score;
        out->kinds[i++] = (uint8_t)piece.kind;
        at += n;
    }
    out->starts[i] = at;
    out->bytes[at] = '\0';
}

static int32_t in_range(int32_t id, size_t n_pieces)
{
    return id >= 0 && (size_t)id < n_pieces ? id : -1;
}

enum status sentencepiece_parse(struct sentencepiece *out, const void *bytes, size_t n_bytes,
                                struct error *err)
{
    struct message message = {bytes, (const uint8_t *)bytes + n_bytes};
    /* The defaults of the .proto. */
    struct settings settings = {.model_type = TYPE_UNIGRAM,
                                .bos = 1,
                                .eos = 2,
                                .adds_prefix = true,
                                .removes_extra = true,
                                .escapes = true};
    size_t n_pieces, n_text;
    *out = (struct sentencepiece){0};
    enum status status = count(message, &settings, &n_pieces, &n_text, err);
    if (!status)
        status = check_settings(&settings, err);
    if (status)
        return status;
    out->bytes = mem_alloc(n_text + 1);
    out->starts = mem_alloc_array(n_pieces + 1, sizeof *out->starts);
    out->scores = mem_alloc_array(n_pieces, sizeof *out->scores);
    out->kinds = mem_alloc(n_pieces);
    if (!out->bytes || !out->starts || !out->scores || !out->kinds) {
        sentencepiece_release(out);
        return error_set(err, ERR_MEMORY, "no memory for %zu pieces", n_pieces);
    }
    out->n_pieces = n_pieces;
    out->unknown = in_range(settings.unknown, n_pieces);
    out->bos = in_range(settings.bos, n_pieces);
    out->eos = in_range(settings.eos, n_pieces);
    out->adds_prefix = settings.adds_prefix;
    fill(message, out);
    return OK;
}

void sentencepiece_release(struct sentencepiece *model)
{
    mem_free(model->bytes);
    mem_free(model->starts);
    mem_free(model->scores);
    mem_free(model->kinds);
    *model = (struct sentencepiece){0};
}
