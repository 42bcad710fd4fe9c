/* Loading and looking up the token table; see vocab.h.
 *
 * Everything a file says is checked here once (lengths, counts, kinds, scores, doubles), so that
 * the encoders can index without looking. Texts are copied: the table outlives the file.
 *
 * The hash is a keyed multiply-and-fold over 8-byte words; with a seed drawn at load a file cannot
 * be built so that its tokens collide. */
#include "engine/tokenizer/vocab.h"

#include <math.h>
#include <string.h>

#include "engine/base/hex.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/utf8.h"
#include "engine/formats/model_file.h"

static const char key_tokens[] = "tokenizer.ggml.tokens";
static const char key_kinds[] = "tokenizer.ggml.token_type";
static const char key_scores[] = "tokenizer.ggml.scores";

/* ---- index ---- */

static uint64_t hash_bytes(uint64_t seed, const char *bytes, size_t n_bytes)
{
    uint64_t hash = vocab_mix(seed, n_bytes);
    while (n_bytes >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = vocab_mix(hash ^ seed, word);
        bytes += 8;
        n_bytes -= 8;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < n_bytes; i++)
        rest = rest << 8 | (unsigned char)bytes[i];
    return vocab_mix(hash ^ seed, rest);
}

static enum status index_init(struct vocab_index *index, size_t n_items, struct error *err)
{
    size_t n_slots = 16;
    while (n_slots < 2 * n_items)
        n_slots *= 2;
    index->ids = mem_alloc_array(n_slots, sizeof *index->ids);
    if (!index->ids)
        return error_set(err, ERR_MEMORY, "no memory for an index of %zu tokens", n_items);
    memset(index->ids, 0xff, n_slots * sizeof *index->ids);
    index->mask = n_slots - 1;
    index->seed = rng_seed_from_system();
    return OK;
}

/* The slot that holds the bytes, or the free one where they belong. `table` and `starts` are the
 * texts or the pieces. (A part of the hash beside each id saves no time, measured.) */
static int32_t *index_slot(const struct vocab_index *index, const char *table,
                           const uint32_t *starts, const char *bytes, size_t n_bytes)
{
    for (size_t i = hash_bytes(index->seed, bytes, n_bytes) & index->mask;;
         i = (i + 1) & index->mask) {
        int32_t *slot = &index->ids[i];
        if (*slot < 0)
            return slot;
        const uint32_t *start = &starts[*slot];
        if (start[1] - start[0] == n_bytes && !memcmp(table + start[0], bytes, n_bytes))
            return slot;
    }
}

int32_t vocab_find_text(const struct vocab *vocab, const char *text, size_t n_bytes)
{
    return *index_slot(&vocab->by_text, vocab->texts, vocab->text_starts, text, n_bytes);
}

int32_t vocab_find_piece(const struct vocab *vocab, const char *piece, size_t n_bytes)
{
    if (n_bytes > vocab->piece_bytes_max)
        return -1;
    return *index_slot(&vocab->by_piece, vocab->pieces, vocab->piece_starts, piece, n_bytes);
}

/* ---- loading ---- */

/* Makes room for n_bytes more behind the `used` ones. */
static enum status reserve_texts(struct vocab *vocab, size_t used, size_t n_bytes, size_t *capacity,
                                 struct error *err)
{
    if (used + n_bytes > VOCAB_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "%s has more than %d bytes", key_tokens, VOCAB_BYTES_MAX);
    if (used + n_bytes <= *capacity)
        return OK;
    size_t wanted = 2 * (used + n_bytes) + 8 * vocab->n_tokens;
    char *texts = mem_realloc_array(vocab->texts, wanted, 1);
    if (!texts)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", vocab->n_tokens);
    vocab->texts = texts;
    *capacity = wanted;
    return OK;
}

static enum status load_texts(struct vocab *vocab, const struct model_file *file, struct error *err)
{
    size_t used = 0, capacity = 0;
    vocab->text_starts = mem_alloc_array(vocab->n_tokens + 1, sizeof *vocab->text_starts);
    if (!vocab->text_starts)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", vocab->n_tokens);
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        struct text_view text;
        if (!model_file_array_text(file, key_tokens, i, &text))
            return error_set(err, ERR_FORMAT, "%s[%zu] is no text", key_tokens, i);
        if (text.n_bytes > VOCAB_TOKEN_BYTES_MAX)
            return error_set(err, ERR_LIMIT, "%s[%zu] has %zu bytes, the limit is %d", key_tokens,
                             i, text.n_bytes, VOCAB_TOKEN_BYTES_MAX);
        enum status status = reserve_texts(vocab, used, text.n_bytes, &capacity, err);
        if (status)
            return status;
        vocab->text_starts[i] = (uint32_t)used;
        if (text.n_bytes)
            memcpy(vocab->texts + used, text.bytes, text.n_bytes);
        used += text.n_bytes;
    }
    vocab->text_starts[vocab->n_tokens] = (uint32_t)used;
    return reserve_texts(vocab, used, 1, &capacity, err);  // never NULL, even without any text
}

static enum status index_texts(struct vocab *vocab, struct error *err)
{
    enum status status = index_init(&vocab->by_text, vocab->n_tokens, err);
    for (size_t i = 0; i < vocab->n_tokens && !status; i++) {
        size_t n;
        const char *text = vocab_text(vocab, i, &n);
        if (n == 0)
            continue;
        int32_t *slot = index_slot(&vocab->by_text, vocab->texts, vocab->text_starts, text, n);
        if (*slot >= 0)
            status = error_set(err, ERR_FORMAT, "%s[%zu] has the text of %s[%d]", key_tokens, i,
                               key_tokens, (int)*slot);
        *slot = (int32_t)i;
    }
    return status;
}

/* Length of an array that goes along with the tokens; false when the file has none. */
static enum status check_companion(const struct vocab *vocab, const struct model_file *file,
                                   const char *key, bool *present, struct error *err)
{
    size_t n_items;
    *present = model_file_has(file, key);
    if (!*present)
        return OK;
    if (!model_file_array(file, key, &n_items))
        return error_set(err, ERR_FORMAT, "%s is no array", key);
    if (n_items != vocab->n_tokens)
        return error_set(err, ERR_FORMAT, "%s has %zu items, but there are %zu tokens", key,
                         n_items, vocab->n_tokens);
    return OK;
}

static enum status load_kinds(struct vocab *vocab, const struct model_file *file, struct error *err)
{
    bool present;
    enum status status = check_companion(vocab, file, key_kinds, &present, err);
    if (status)
        return status;
    vocab->kinds = mem_alloc(vocab->n_tokens);
    if (!vocab->kinds)
        return error_set(err, ERR_MEMORY, "no memory for %zu token kinds", vocab->n_tokens);
    memset(vocab->kinds, TOKEN_KIND_NORMAL, vocab->n_tokens);
    for (size_t i = 0; i < vocab->n_tokens && present; i++) {
        int64_t kind;
        if (!model_file_array_i64(file, key_kinds, i, &kind))
            return error_set(err, ERR_FORMAT, "%s[%zu] is no integer", key_kinds, i);
        if (kind < TOKEN_KIND_UNDEFINED || kind >= TOKEN_KINDS)
            return error_set(err, ERR_FORMAT, "%s[%zu] is %lld, the kinds are 0 to %d", key_kinds,
                             i, (long long)kind, TOKEN_KINDS - 1);
        vocab->kinds[i] = (uint8_t)kind;
    }
    return OK;
}

static enum status load_scores(struct vocab *vocab, const struct model_file *file,
                               struct error *err)
{
    bool present;
    enum status status = check_companion(vocab, file, key_scores, &present, err);
    if (status)
        return status;
    if (!present)
        return error_set(err, ERR_FORMAT, "key %s is missing", key_scores);
    vocab->scores = mem_alloc_array(vocab->n_tokens, sizeof *vocab->scores);
    if (!vocab->scores)
        return error_set(err, ERR_MEMORY, "no memory for %zu scores", vocab->n_tokens);
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        double score;
        if (!model_file_array_f64(file, key_scores, i, &score) || !isfinite((float)score))
            return error_set(err, ERR_FORMAT, "%s[%zu] is no finite number", key_scores, i);
        vocab->scores[i] = (float)score;
    }
    return OK;
}

enum status vocab_load(struct vocab *vocab, const struct model_file *file, bool with_scores,
                       struct error *err)
{
    if (!model_file_array(file, key_tokens, &vocab->n_tokens))
        return error_set(err, ERR_FORMAT, "key %s %s", key_tokens,
                         model_file_has(file, key_tokens) ? "is no array" : "is missing");
    if (vocab->n_tokens == 0 || vocab->n_tokens > VOCAB_TOKENS_MAX)
        return error_set(err, vocab->n_tokens ? ERR_LIMIT : ERR_FORMAT,
                         "%s has %zu items, wanted 1 to %d", key_tokens, vocab->n_tokens,
                         VOCAB_TOKENS_MAX);
    enum status status = load_texts(vocab, file, err);
    if (!status)
        status = index_texts(vocab, err);
    if (!status)
        status = load_kinds(vocab, file, err);
    if (!status && with_scores)
        status = load_scores(vocab, file, err);
    return status;
}

void vocab_release(struct vocab *vocab)
{
    mem_free(vocab->texts);
    mem_free(vocab->text_starts);
    mem_free(vocab->pieces);
    mem_free(vocab->piece_starts);
    mem_free(vocab->kinds);
    mem_free(vocab->scores);
    mem_free(vocab->by_text.ids);
    mem_free(vocab->by_piece.ids);
    *vocab = (struct vocab){0};
}

/* ---- pieces ---- */

/* The bytes that stand for themselves in gpt-2's map; the other 68 are U+0100 + n in order. */
static bool byte_is_plain(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

static unsigned byte_to_code(unsigned char byte)
{
    if (byte_is_plain(byte))
        return byte;
    if (byte < 33)
        return 0x100u + byte;
    return byte == 173 ? 0x143u : 0x121u + (byte - 127u);
}

/* The byte that the character stands for, or -1. */
static int code_to_byte(uint32_t code)
{
    if (code < 0x100)
        return byte_is_plain(code) ? (int)code : -1;
    if (code <= 0x120)
        return (int)(code - 0x100);
    if (code <= 0x142)
        return (int)(code - 0x121 + 127);
    return code == 0x143 ? 173 : -1;
}

size_t vocab_byte_text(unsigned char byte, char out[4])
{
    return utf8_encode(byte_to_code(byte), out);
}

int vocab_parse_byte(const char *text, size_t n_bytes)
{
    if (n_bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes of a text in gpt-2's map; false when a character is not in it. */
static bool map_to_bytes(const char *text, size_t n_bytes, char *out, size_t *n_out)
{
    *n_out = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code;
        size_t length = utf8_decode(text + i, n_bytes - i, &code);
        int byte = length ? code_to_byte(code) : -1;
        if (byte < 0)
            return false;
        out[(*n_out)++] = (char)byte;
        i += length;
    }
    return true;
}

size_t vocab_count_spaces(const char *text, size_t n_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += text[i] == ' ';
    return n;
}

size_t vocab_mark_spaces(const char *text, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == ' ') {
            memcpy(out + n, "\xe2\x96\x81", 3);
            n += 3;
        } else {
            out[n++] = text[i];
        }
    }
    return n;
}

static size_t unmark_spaces(const char *text, size_t n_bytes, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        bool mark = n_bytes - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3);
        out[n++] = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    return n;
}

/* Writes the piece of token i (never longer than its text) and tells its length; *mapped when all
 * of it went through the byte-level map. */
static size_t make_piece(const struct vocab *vocab, size_t i, enum vocab_style style, char *out,
                         bool *mapped)
{
    size_t n, n_out;
    const char *text = vocab_text(vocab, i, &n);
    enum token_kind kind = vocab->kinds[i];
    *mapped = false;
    if (kind == TOKEN_KIND_BYTE && vocab_parse_byte(text, n) >= 0) {
        out[0] = (char)vocab_parse_byte(text, n);
        return 1;
    }
    bool literal =
        kind == TOKEN_KIND_CONTROL || kind == TOKEN_KIND_USER_DEFINED || kind == TOKEN_KIND_UNKNOWN;
    if (!literal && style == VOCAB_SPACE_MARK)
        return unmark_spaces(text, n, out);
    if (!literal && map_to_bytes(text, n, out, &n_out)) {
        *mapped = n_out > 0;
        return n_out;
    }
    if (n)
        memcpy(out, text, n);
    return n;
}

enum status vocab_make_pieces(struct vocab *vocab, enum vocab_style style, struct error *err)
{
    vocab->pieces = mem_alloc(vocab->text_starts[vocab->n_tokens]);
    vocab->piece_starts = mem_alloc_array(vocab->n_tokens + 1, sizeof *vocab->piece_starts);
    if (!vocab->pieces || !vocab->piece_starts)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", vocab->n_tokens);
    if (style == VOCAB_BYTE_LEVEL) {
        enum status status = index_init(&vocab->by_piece, vocab->n_tokens, err);
        if (status)
            return status;
    }
    size_t total = 0;
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        bool mapped;
        char *piece = vocab->pieces + total;
        size_t n = make_piece(vocab, i, style, piece, &mapped);
        vocab->piece_starts[i] = (uint32_t)total;
        vocab->piece_starts[i + 1] = (uint32_t)(total += n);
        if (!mapped || vocab->kinds[i] != TOKEN_KIND_NORMAL)
            continue;
        *index_slot(&vocab->by_piece, vocab->pieces, vocab->piece_starts, piece, n) = (int32_t)i;
        vocab->piece_bytes_max = n > vocab->piece_bytes_max ? n : vocab->piece_bytes_max;
    }
    return OK;
}
