/* Opening a tokenizer and encoding a text; see tokenizer.h.
 *
 * A text is cut at its special tokens (special.c); each stretch between two of them is tokenized on
 * its own, by pre-tokenizer and BPE (pretokenize.c, bpe.c) or by SPM (spm.c). Where user text ends
 * and template text begins does not cut: it only decides which special tokens count.
 *
 * Threads: immutable after opening, but for a cache of bytes written with relaxed atomics. */
#include "engine/tokenizer/tokenizer.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file.h"
#include "engine/tokenizer/nfc.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/pretokenize_shapes.h"
#include "engine/tokenizer/token_list.h"
#include "engine/tokenizer/tokenizer_private.h"
#include "engine/tokenizer/unicode.h"

enum { TEXT_BYTES_MAX = 1 << 30 };

/* ---- opening ---- */

static enum status read_model(struct tokenizer *tokenizer, const struct model_file *file,
                              struct error *err)
{
    static const char key[] = "tokenizer.ggml.model";
    struct text_view name;
    if (!model_file_text(file, key, &name))
        return error_set(err, ERR_FORMAT, "key %s %s", key,
                         model_file_has(file, key)
                             ? "is no text"
                             : "is missing: the model has no tokenizer (in a directory it is "
                               "tokenizer.json)");
    if (name.n_bytes == 11 && !memcmp(name.bytes, "huggingface", 11)) {
        tokenizer->model = TOKENIZER_BPE;
        tokenizer->pretokenizer = &tokenizer->pipeline.pretokenizer;
        enum status status = pipeline_read(&tokenizer->pipeline, file, err);
        tokenizer->pipeline.pretokenizer.stages = tokenizer->pipeline.stages;
        return status;
    }
    if (name.n_bytes == 4 && !memcmp(name.bytes, "gpt2", 4)) {
        tokenizer->model = TOKENIZER_BPE;
        return OK;
    }
    if (name.n_bytes == 6 && !memcmp(name.bytes, "gemma4", 6)) {
        tokenizer->model = TOKENIZER_BPE;
        tokenizer->pretokenizer = pretokenizer_find("gemma4", 6);
        return OK;
    }
    if (name.n_bytes == 5 && !memcmp(name.bytes, "llama", 5)) {
        tokenizer->model = TOKENIZER_SPM;
        return OK;
    }
    char quoted[GGUF_QUOTE_BYTES];
    return error_set(err, ERR_UNSUPPORTED, "%s is \"%s\"; supported are gpt2, llama and gemma4",
                     key, gguf_quote(quoted, name.bytes, name.n_bytes));
}

static enum status read_pretokenizer(struct tokenizer *tokenizer, const struct model_file *file,
                                     struct error *err)
{
    static const char key[] = "tokenizer.ggml.pre";
    struct text_view name = {"default", 7};
    if (tokenizer->pretokenizer)  // the model has decided
        return OK;
    if (model_file_has(file, key) && !model_file_text(file, key, &name))
        return error_set(err, ERR_FORMAT, "key %s is no text", key);
    tokenizer->pretokenizer = pretokenizer_find(name.bytes, name.n_bytes);
    return tokenizer->pretokenizer ? OK : pretokenizer_unknown(name.bytes, name.n_bytes, err);
}

/* The id under a key; without the key the default, when it is a token at all. */
static enum status read_id(const struct tokenizer *tokenizer, const struct model_file *file,
                           const char *key, int32_t without_key, int32_t *out, struct error *err)
{
    uint64_t id;
    bool in_vocab = without_key >= 0 && (size_t)without_key < tokenizer->vocab.n_tokens;
    *out = in_vocab ? without_key : TOKEN_NONE;
    if (!model_file_has(file, key))
        return OK;
    enum status status =
        model_file_require_u64(file, key, 0, tokenizer->vocab.n_tokens - 1, &id, err);
    if (!status)
        *out = (int32_t)id;
    return status;
}

/* SPM files may leave out the ids of Llama's vocabulary. */
static enum status read_ids(struct tokenizer *tokenizer, const struct model_file *file,
                            struct error *err)
{
    bool spm = tokenizer->model == TOKENIZER_SPM;
    const struct {
        const char *key;
        int32_t without_key;
        int32_t *out;
    } ids[] = {
        {"tokenizer.ggml.unknown_token_id", spm ? 0 : TOKEN_NONE, &tokenizer->unknown},
        {"tokenizer.ggml.bos_token_id", spm ? 1 : TOKEN_NONE, &tokenizer->bos},
        {"tokenizer.ggml.eos_token_id", spm ? 2 : TOKEN_NONE, &tokenizer->eos},
        {"tokenizer.ggml.eot_token_id", TOKEN_NONE, &tokenizer->eot},
        {"tokenizer.ggml.eom_token_id", TOKEN_NONE, &tokenizer->eom},
        {"tokenizer.ggml.fim_pre_token_id", TOKEN_NONE, &tokenizer->fim.prefix},
        {"tokenizer.ggml.fim_suf_token_id", TOKEN_NONE, &tokenizer->fim.suffix},
        {"tokenizer.ggml.fim_mid_token_id", TOKEN_NONE, &tokenizer->fim.middle},
    };
    enum status status = OK;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && !status; i++)
        status = read_id(tokenizer, file, ids[i].key, ids[i].without_key, ids[i].out, err);
    return status;
}

static enum status read_flag(const struct model_file *file, const char *key, bool without_key,
                             bool *out, struct error *err)
{
    *out = without_key;
    if (model_file_has(file, key) && !model_file_bool(file, key, out))
        return error_set(err, ERR_FORMAT, "key %s is no truth value", key);
    return OK;
}

/* add_bos_token or add_eos_token; asked for in the file, the token must be there. */
static enum status read_adds(const struct model_file *file, const char *key, bool without_key,
                             int32_t id, const char *id_key, bool *out, struct error *err)
{
    enum status status = read_flag(file, key, without_key, out, err);
    if (status || !*out || id != TOKEN_NONE)
        return status;
    *out = false;
    if (model_file_has(file, key))
        return error_set(err, ERR_FORMAT, "key %s is true, but %s is missing", key, id_key);
    return OK;
}

static enum status read_flags(struct tokenizer *tokenizer, const struct model_file *file,
                              struct error *err)
{
    static const char key_extra[] = "tokenizer.ggml.remove_extra_whitespaces";
    bool spm = tokenizer->model == TOKENIZER_SPM, removes_extra;
    bool adds_bos = spm || tokenizer->pretokenizer->adds_bos;
    enum status status = read_adds(file, "tokenizer.ggml.add_bos_token", adds_bos, tokenizer->bos,
                                   "tokenizer.ggml.bos_token_id", &tokenizer->adds_bos, err);
    if (!status)
        status = read_adds(file, "tokenizer.ggml.add_eos_token", false, tokenizer->eos,
                           "tokenizer.ggml.eos_token_id", &tokenizer->adds_eos, err);
    if (!status)
        status = read_flag(file, "tokenizer.ggml.add_space_prefix", spm,
                           &tokenizer->adds_space_prefix, err);
    if (!status)
        status = read_flag(file, "tokenizer.huggingface.prefix_at_start", false,
                           &tokenizer->prefix_at_start, err);
    if (!status)
        status = read_flag(file, key_extra, false, &removes_extra, err);
    if (!status && spm && removes_extra)
        return error_set(err, ERR_UNSUPPORTED, "key %s is true; supported is false", key_extra);
    return status;
}

/* No token reaches from a character into U+2581 behind it, and that is a token by itself: then no
 * merge does either, and a text may be cut there without a change. It makes short pieces of a long
 * text (1.5 MB/s become 7). */
static bool words_apart(const struct vocab *vocab)
{
    static const char mark[] = "\xe2\x96\x81";
    int32_t mark_id = vocab_find_text(vocab, mark, 3);
    if (mark_id < 0 || vocab->kinds[mark_id] != TOKEN_KIND_NORMAL)
        return false;
    for (size_t i = 0; i < vocab->n_tokens; i++) {
        size_t n, at = 0;
        const char *text = vocab_text(vocab, i, &n);
        while (n - at >= 3 && !memcmp(text + at, mark, 3))
            at += 3;
        if (vocab->kinds[i] == TOKEN_KIND_NORMAL && memmem(text + at, n - at, mark, 3))
            return false;
    }
    return true;
}

static enum status init_bpe(struct tokenizer *tokenizer, const struct model_file *file,
                            struct error *err)
{
    bool raw = tokenizer->pretokenizer->raw, has_bytes = true;
    enum status status = bpe_init(&tokenizer->bpe, &tokenizer->vocab, file,
                                  tokenizer->pretokenizer->ignore_merges, raw, err);
    if (status || tokenizer->pretokenizer != &tokenizer->pipeline.pretokenizer)
        return status;
    tokenizer->bpe.unknown = tokenizer->unknown;
    (void)model_file_bool(file, "tokenizer.huggingface.fuse_unk", &tokenizer->bpe.fuse_unknown);
    (void)model_file_bool(file, "tokenizer.huggingface.byte_fallback", &has_bytes);
    for (size_t i = 0; i < 256 && raw && !has_bytes; i++)
        tokenizer->bpe.byte_ids[i] = i < 0x80 ? tokenizer->bpe.byte_ids[i] : -1;
    if (tokenizer->pipeline.stages[0] == pretokenize_cut_nowhere && words_apart(&tokenizer->vocab))
        tokenizer->pipeline.stages[0] = pretokenize_cut_words;
    return OK;
}

static enum status load(struct tokenizer *tokenizer, const struct model_file *file,
                        struct error *err)
{
    enum status status = read_model(tokenizer, file, err);
    if (status)
        return status;
    bool spm = tokenizer->model == TOKENIZER_SPM;
    if (!spm)
        status = read_pretokenizer(tokenizer, file, err);
    if (!status)
        status = vocab_load(&tokenizer->vocab, file, spm, err);
    if (!status)
        status = read_ids(tokenizer, file, err);
    if (!status)
        status = read_flags(tokenizer, file, err);
    if (status)
        return status;
    tokenizer->flags = mem_calloc(tokenizer->vocab.n_tokens, 1);
    if (!tokenizer->flags)
        return error_set(err, ERR_MEMORY, "no memory for the tokenizer");
    token_flags_set(tokenizer, file);
    status = token_flags_added(tokenizer, file, err);
    if (status)
        return status;
    tokenizer->strips_space = spm ? tokenizer->adds_space_prefix : tokenizer->pipeline.strips_space;
    token_flags_find_fim(tokenizer);
    bool marks = spm || tokenizer->pretokenizer->raw;
    status = vocab_make_pieces(&tokenizer->vocab, marks ? VOCAB_SPACE_MARK : VOCAB_BYTE_LEVEL, err);
    if (!status)
        status = special_init(&tokenizer->special, &tokenizer->vocab, tokenizer->flags,
                              TOKEN_NORMALIZED, 0, err);
    if (!status)
        status = special_init(&tokenizer->normalized_special, &tokenizer->vocab, tokenizer->flags,
                              TOKEN_NORMALIZED, TOKEN_NORMALIZED, err);
    if (status)
        return status;
    return spm ? spm_init(&tokenizer->spm, &tokenizer->vocab, tokenizer->unknown, err)
               : init_bpe(tokenizer, file, err);
}

enum status tokenizer_open(struct tokenizer **out, const struct model_file *file, struct error *err)
{
    *out = NULL;
    struct tokenizer *tokenizer = mem_calloc(1, sizeof *tokenizer);
    if (!tokenizer)
        return error_set(err, ERR_MEMORY, "no memory for the tokenizer");
    enum status status = load(tokenizer, file, err);
    if (status) {
        tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return OK;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    bpe_release(&tokenizer->bpe);
    special_release(&tokenizer->special);
    special_release(&tokenizer->normalized_special);
    vocab_release(&tokenizer->vocab);
    mem_free(tokenizer->flags);
    mem_free(tokenizer);
}

/* ---- facts ---- */

size_t tokenizer_vocab(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.n_tokens;
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}

bool tokenizer_is_eog(const struct tokenizer *tokenizer, int32_t id)
{
    return tokenizer->flags[id] & TOKEN_ENDS;
}

bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id)
{
    enum token_kind kind = tokenizer->vocab.kinds[id];
    return kind == TOKEN_KIND_CONTROL || kind == TOKEN_KIND_UNKNOWN;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer->vocab.n_tokens &&
           (tokenizer->vocab.kinds[id] == TOKEN_KIND_CONTROL ||
            tokenizer->vocab.kinds[id] == TOKEN_KIND_USER_DEFINED);
}

const char *tokenizer_piece(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    return vocab_piece(&tokenizer->vocab, (size_t)id, n_bytes);
}

const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    return vocab_text(&tokenizer->vocab, (size_t)id, n_bytes);
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *text, size_t n_bytes)
{
    return vocab_find_text(&tokenizer->vocab, text, n_bytes);
}

/* ---- encoding ---- */

void token_list_release(struct token_list *list)
{
    mem_free(list->ids);
    *list = (struct token_list){0};
}

enum status token_list_grow(struct token_list *list, struct error *err)
{
    size_t capacity = list->capacity ? 2 * list->capacity : 64;
    int32_t *ids = mem_realloc_array(list->ids, capacity, sizeof *ids);
    if (!ids)
        return error_set(err, ERR_MEMORY, "no memory for %zu tokens", capacity);
    list->ids = ids;
    list->capacity = capacity;
    return OK;
}

/* One call of tokenizer_encode. */
struct encoding {
    const struct tokenizer *tokenizer;
    const struct prompt_text *text;
    struct token_list *out;
    size_t n_before;  // ids in `out` that were there
    size_t tokens_max;
    uint32_t *units;  // BPE: room for all of the stretch
    char *marked;     // raw BPE: the stretch with U+2581 for its spaces and the prefix
    size_t room;      // bytes of a stretch that the two are made for
    struct bpe_scratch scratch;
};

static enum status check_tokens(const struct encoding *encoding, struct error *err)
{
    if (encoding->tokens_max == 0 ||
        encoding->out->n_ids - encoding->n_before <= encoding->tokens_max)
        return OK;
    return error_set(err, ERR_LIMIT, "the text has more than %zu tokens", encoding->tokens_max);
}

/* Room for a stretch of n bytes. */
static enum status reserve_stretch(struct encoding *encoding, size_t n, struct error *err)
{
    const size_t mark_bytes = 3;
    size_t room = n > 2 * encoding->room ? n : 2 * encoding->room, n_marked;
    if (n <= encoding->room && encoding->units)
        return OK;
    bool raw = encoding->tokenizer->pretokenizer->raw;
    uint32_t *units = mem_realloc_array(encoding->units, room + 1, sizeof *units);
    if (units)
        encoding->units = units;
    bool fits = units && size_mul(room + 1, mark_bytes, &n_marked);
    char *marked = fits && raw ? mem_realloc_array(encoding->marked, n_marked, 1) : NULL;
    if (marked)
        encoding->marked = marked;
    if (!units || (raw && !marked))
        return error_set(err, ERR_MEMORY, "no memory to tokenize %zu bytes", n);
    encoding->room = room;
    return OK;
}

/* The stretch with its spaces marked, and with the prefix that a tokenizer.json asks for. */
static size_t mark_stretch(const struct encoding *encoding, const char *bytes, size_t n_bytes,
                           bool at_start)
{
    static const char mark[] = "\xe2\x96\x81";
    enum prefix prefix = encoding->tokenizer->pipeline.prefix;
    bool marked = bytes[0] == ' ' || (n_bytes >= 3 && !memcmp(bytes, mark, 3));
    bool adds = prefix == PREFIX_EACH || (prefix == PREFIX_EACH_UNMARKED && !marked) ||
                (prefix == PREFIX_FIRST && at_start && !marked);
    size_t n = adds ? 3 : 0;
    if (adds)
        memcpy(encoding->marked, mark, 3);
    return n + vocab_mark_spaces(bytes, n_bytes, encoding->marked + n);
}

static enum status encode_bpe(struct encoding *encoding, const char *bytes, size_t n_bytes,
                              bool at_start, struct error *err)
{
    struct piece_walk walk;
    size_t first, last;
    enum status status = reserve_stretch(encoding, n_bytes, err);
    if (status)
        return status;
    if (encoding->tokenizer->pretokenizer->raw) {
        n_bytes = mark_stretch(encoding, bytes, n_bytes, at_start);
        bytes = encoding->marked;
    }
    size_t n_units = unicode_units(bytes, n_bytes, encoding->units);
    piece_walk_init(&walk, encoding->tokenizer->pretokenizer, encoding->units, n_units);
    while (piece_walk_next(&walk, &first, &last)) {
        size_t piece_bytes = 0;
        for (size_t i = first; i < last; i++)
            piece_bytes += unit_bytes(encoding->units[i]);
        status = bpe_encode(&encoding->tokenizer->bpe, bytes, piece_bytes, &encoding->scratch,
                            encoding->out, err);
        if (!status)
            status = check_tokens(encoding, err);
        if (status)
            return status;
        bytes += piece_bytes;
    }
    return OK;
}

/* A stretch without special tokens, at the start of the text or behind one. */
static enum status encode_plain(struct encoding *encoding, const struct prompt_text *text,
                                size_t first, size_t last, bool at_start, struct error *err)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    const char *bytes = text->bytes + first;
    if (first >= last)
        return OK;
    if (tokenizer->model == TOKENIZER_BPE)
        return encode_bpe(encoding, bytes, last - first, at_start, err);
    bool prefix = tokenizer->adds_space_prefix && (at_start || !tokenizer->prefix_at_start);
    enum status status =
        spm_encode(&tokenizer->spm, bytes, last - first, prefix, encoding->out, err);
    return status ? status : check_tokens(encoding, err);
}

static bool is_space_at(const struct prompt_text *text, size_t at, size_t last, size_t *length)
{
    uint32_t code;
    *length = utf8_decode(text->bytes + at, last - at, &code);
    return *length > 0 && (unicode_class(code) & CHAR_CLASS_MASK) == CHAR_SPACE;
}

/* Where the text goes on behind a special token. */
static size_t behind_special(const struct encoding *encoding, const struct prompt_text *text,
                             const struct special_match *match)
{
    size_t at = match->last, length;
    if (encoding->tokenizer->flags[match->id] & TOKEN_STRIPS_RIGHT) {
        while (at < text->n_bytes && is_space_at(text, at, text->n_bytes, &length))
            at += length;
    }
    return at;
}

/* Where the text in front of a special token ends. */
static size_t before_special(const struct encoding *encoding, const struct prompt_text *text,
                             size_t at, const struct special_match *match)
{
    size_t last = match->first;
    if (!(encoding->tokenizer->flags[match->id] & TOKEN_STRIPS_LEFT))
        return last;
    for (size_t start = last; start > at; last = start) {
        size_t length;
        do
            start--;
        while (start > at && (text->bytes[start] & 0xc0) == 0x80);
        if (!is_space_at(text, start, last, &length) || start + length != last)
            break;
    }
    return last;
}

/* What encode_tokens does with a stretch between two tokens. */
typedef enum status encode_stretch(struct encoding *encoding, const struct prompt_text *text,
                                   size_t first, size_t last, bool at_start, struct error *err);

/* Bytes [at, text->n_bytes): finds the tokens of `special`, hands on what lies between them. */
static enum status encode_tokens(struct encoding *encoding, const struct special *special,
                                 const struct prompt_text *text, size_t at, bool at_start,
                                 encode_stretch *stretch, struct error *err)
{
    struct special_cursor cursor = {0};
    struct special_match match;
    size_t first = at;
    enum status status = OK;
    while (!status && special_next(special, text, at, &cursor, &match)) {
        status = stretch(encoding, text, at, before_special(encoding, text, at, &match),
                         at_start && at == first, err);
        if (!status)
            status = token_list_push(encoding->out, match.id, err);
        if (!status)
            status = check_tokens(encoding, err);
        at = behind_special(encoding, text, &match);
    }
    return status ? status
                  : stretch(encoding, text, at, text->n_bytes, at_start && at == first, err);
}

/* A stretch between tokens of the text as it is: normalised, then cut at further tokens. */
static enum status encode_normalized(struct encoding *encoding, const struct prompt_text *text,
                                     size_t first, size_t last, bool at_start, struct error *err)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    const struct special *special = &tokenizer->normalized_special;
    struct nfc_text normal = {0};
    if (first >= last)
        return OK;
    if (tokenizer->model != TOKENIZER_BPE)
        return encode_plain(encoding, text, first, last, at_start, err);
    bool changes = tokenizer->pretokenizer->nfc && !nfc_is_plain(text->bytes + first, last - first);
    if (!changes && special->n_nodes <= 1)
        return encode_plain(encoding, text, first, last, at_start, err);
    struct prompt_text part = *text;
    part.n_bytes = last;
    enum status status = OK;
    if (changes) {
        status = nfc_normalize(&normal, text, first, last, err);
        part = normal.text;
        first = 0;
    }
    if (!status)
        status = encode_tokens(encoding, special, &part, first, at_start, encode_plain, err);
    nfc_release(&normal);
    return status;
}

static enum status encode_all(struct encoding *encoding, bool add_special, struct error *err)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    const struct prompt_text *text = encoding->text;
    struct special_cursor cursor = {0};
    struct special_match match;
    enum status status = OK;
    if (text->n_bytes > TEXT_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "the text has %zu bytes, the limit is %d", text->n_bytes,
                         TEXT_BYTES_MAX);
    if (add_special && tokenizer->adds_bos) {
        const struct special *special = tokenizer->flags[tokenizer->bos] & TOKEN_NORMALIZED
                                            ? &tokenizer->normalized_special
                                            : &tokenizer->special;
        bool found = special_next(special, text, 0, &cursor, &match);
        if (!found || match.first != 0 || match.id != tokenizer->bos)
            status = token_list_push(encoding->out, tokenizer->bos, err);
    }
    if (!status)
        status =
            encode_tokens(encoding, &tokenizer->special, text, 0, true, encode_normalized, err);
    if (!status && add_special && tokenizer->adds_eos)
        status = token_list_push(encoding->out, tokenizer->eos, err);
    return status ? status : check_tokens(encoding, err);
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const struct prompt_text *text,
                             bool add_special, size_t tokens_max, struct token_list *out,
                             struct error *err)
{
    struct encoding encoding = {.tokenizer = tokenizer,
                                .text = text,
                                .out = out,
                                .n_before = out->n_ids,
                                .tokens_max = tokens_max};
    enum status status = encode_all(&encoding, add_special, err);
    if (status)
        out->n_ids = encoding.n_before;
    mem_free(encoding.units);
    mem_free(encoding.marked);
    bpe_scratch_release(&encoding.scratch);
    return status;
}

bool tokenizer_fim(const struct tokenizer *tokenizer, struct fim_tokens *out)
{
    *out = tokenizer->fim;
    return out->prefix != TOKEN_NONE && out->suffix != TOKEN_NONE && out->middle != TOKEN_NONE;
}
