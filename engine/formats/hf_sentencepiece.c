/* tokenizer.model and the files beside it to metadata; see hf_sentencepiece.h.
 *
 * The pieces are the vocabulary; added tokens stand behind them or take the place of one. Where a
 * space is put in front of a text follows tokenizer_config.json: with "legacy": false only at the
 * start of the text, else behind every special token too, which GGUF files mean as well.
 *
 * Source: which files and fields count follows transformers and the converters to GGUF. */
#include "engine/formats/hf_sentencepiece.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/hf_directory.h"
#include "engine/formats/model_file.h"
#include "engine/formats/sentencepiece.h"

static const char model_name[] = "tokenizer.model";

enum {
    MODEL_BYTES_MAX = 64 << 20,
    ADDED_BYTES_MAX = 16 << 20,
    PAD_BYTES = 24,  // of the text of an unused id
    KIND_CONTROL = 3,
    KIND_USER_DEFINED = 4,
    KIND_UNUSED = 5,
};

struct added {
    const struct json_doc *doc;
    const struct json_node *text;  // NULL = the piece stays
    uint8_t kind, flags;
};

struct table {
    const struct hf_tokenizer_files *files;
    struct sentencepiece model;
    struct hf_text added_file;  // added_tokens.json
    struct added *added;        // [n_tokens]
    size_t n_tokens;
    struct error *err;
};

static bool is_true(const struct json_doc *doc, const struct json_node *object, const char *name)
{
    return json_is(json_find(doc, object, name), JSON_TRUE);
}

/* ---- added tokens ---- */

/* The name of an entry of added_tokens_decoder is its id. */
static bool read_name_id(const struct json_doc *doc, const struct json_node *name, uint64_t *id)
{
    const char *text = doc->text + name->first;
    size_t n = name->last - name->first;
    *id = 0;
    if (n == 0 || n > 9)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *id = 10 * *id + (uint64_t)(text[i] - '0');
    }
    return true;
}

static const struct json_node *decoder_of(const struct table *table)
{
    const struct json_doc *settings = &table->files->settings.doc;
    return settings->nodes ? json_find(settings, settings->nodes, "added_tokens_decoder") : NULL;
}

static enum status bad_added(const struct table *table, const char *file)
{
    return error_set(table->err, ERR_FORMAT, "%s: an added token without a text or an id below %d",
                     file, HF_TOKENS_MAX);
}

/* What is done with each added token of the two files. */
typedef void take_added(struct table *table, uint64_t id, const struct added *added);

static bool is_named_special(const struct table *table, const struct json_node *text)
{
    static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
    const struct json_doc *settings = &table->files->settings.doc;
    char own[512], other[512];
    if (!settings->nodes || text->last - text->first >= sizeof own)
        return false;
    size_t n = json_string(&table->added_file.doc, text, own);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct json_node *token = json_find(settings, settings->nodes, names[i]);
        if (json_is(token, JSON_OBJECT))
            token = json_find(settings, token, "content");
        if (json_is(token, JSON_STRING) && token->last - token->first < sizeof other &&
            json_string(settings, token, other) == n && !memcmp(own, other, n))
            return true;
    }
    return false;
}

static enum status walk_decoder(struct table *table, take_added *take)
{
    const struct json_doc *doc = &table->files->settings.doc;
    const struct json_node *decoder = decoder_of(table);
    for (const struct json_node *name = decoder ? json_first(decoder) : NULL; name;
         name = json_next(decoder, name + 1)) {
        const struct json_node *token = name + 1;
        struct added added = {.doc = doc, .text = json_find(doc, token, "content")};
        uint64_t id;
        if (!read_name_id(doc, name, &id) || id >= HF_TOKENS_MAX ||
            !json_is(added.text, JSON_STRING))
            return bad_added(table, "tokenizer_config.json");
        added.kind = is_true(doc, token, "special") ? KIND_CONTROL : KIND_USER_DEFINED;
        added.flags |= is_true(doc, token, "lstrip") ? HF_TOKEN_LSTRIP : 0;
        added.flags |= is_true(doc, token, "rstrip") ? HF_TOKEN_RSTRIP : 0;
        added.flags |= is_true(doc, token, "single_word") ? HF_TOKEN_SINGLE_WORD : 0;
        take(table, id, &added);
    }
    return OK;
}

static enum status walk_added(struct table *table, take_added *take)
{
    const struct json_doc *doc = &table->added_file.doc;
    for (const struct json_node *name = doc->nodes ? json_first(doc->nodes) : NULL; name;
         name = json_next(doc->nodes, name + 1)) {
        struct added added = {.doc = doc, .text = name};
        uint64_t id;
        if (doc->nodes->kind != JSON_OBJECT || !json_u64(doc, name + 1, &id) || id >= HF_TOKENS_MAX)
            return bad_added(table, "added_tokens.json");
        added.kind = is_named_special(table, name) ? KIND_CONTROL : KIND_USER_DEFINED;
        take(table, id, &added);
    }
    return OK;
}

static void count_added(struct table *table, uint64_t id, const struct added *added)
{
    (void)added;
    if (id >= table->n_tokens)
        table->n_tokens = (size_t)id + 1;
}

/* The first file that names an id wins. */
static void keep_added(struct table *table, uint64_t id, const struct added *added)
{
    if (!table->added[id].text)
        table->added[id] = *added;
}

static enum status read_added(struct table *table)
{
    uint64_t n_rows;
    const struct json_node *rows =
        json_find(table->files->config, table->files->config_root, "vocab_size");
    table->n_tokens = table->model.n_pieces;
    if (json_u64(table->files->config, rows, &n_rows) && n_rows <= HF_TOKENS_MAX &&
        n_rows > table->n_tokens)
        table->n_tokens = (size_t)n_rows;
    enum status status = walk_decoder(table, count_added);
    if (!status)
        status = walk_added(table, count_added);
    if (status)
        return status;
    table->added = mem_calloc(table->n_tokens, sizeof *table->added);
    if (!table->added)
        return error_set(table->err, ERR_MEMORY, "no memory for %zu tokens", table->n_tokens);
    status = walk_decoder(table, keep_added);
    return status ? status : walk_added(table, keep_added);
}

/* ---- keys ---- */

/* Text of a token: an added one, a piece, or of an unused id. Writes and returns its length; with
 * a NULL `out` the room that it needs. */
static size_t write_text(const struct table *table, size_t id, char *out)
{
    const struct added *added = &table->added[id];
    if (added->text)
        return out ? json_string(added->doc, added->text, out)
                   : added->text->last - added->text->first;
    if (id >= table->model.n_pieces)
        return out ? (size_t)snprintf(out, PAD_BYTES, "[PAD%zu]", id) : PAD_BYTES;
    size_t first = table->model.starts[id], n = table->model.starts[id + 1] - first;
    if (out)
        memcpy(out, table->model.bytes + first, n);
    return n;
}

static enum status put_tokens(struct table *table, struct metadata *out)
{
    size_t n = table->n_tokens, n_bytes = 1, at = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += write_text(table, i, NULL);
    char *bytes = mem_alloc(n_bytes);
    size_t *starts = mem_alloc_array(n + 1, sizeof *starts);
    float *scores = mem_calloc(n, sizeof *scores);
    uint8_t *kinds = mem_alloc(n), *flags = mem_alloc(n);
    if (!bytes || !starts || !scores || !kinds || !flags) {
        mem_free(bytes);
        mem_free(starts);
        mem_free(scores);
        mem_free(kinds);
        mem_free(flags);
        return error_set(table->err, ERR_MEMORY, "no memory for %zu tokens", n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct added *added = &table->added[i];
        bool is_piece = i < table->model.n_pieces;
        starts[i] = at;
        at += write_text(table, i, bytes + at);
        scores[i] = is_piece ? table->model.scores[i] : 0;
        kinds[i] = added->text ? added->kind : is_piece ? table->model.kinds[i] : KIND_UNUSED;
        flags[i] = added->flags;
    }
    starts[n] = at;
    bytes[at] = '\0';
    metadata_texts_take(out, "tokenizer.ggml.tokens", bytes, starts, n);
    metadata_numbers_take(out, "tokenizer.ggml.scores", GGUF_F32, scores, n, sizeof *scores);
    metadata_numbers_take(out, "tokenizer.ggml.token_type", GGUF_U8, kinds, n, 1);
    metadata_numbers_take(out, "tokenizer.huggingface.token_flags", GGUF_U8, flags, n, 1);
    return OK;
}

/* The id of a token that tokenizer_config.json names, else the model's own. */
static int32_t special_id(const struct table *table, const char *name, int32_t of_model)
{
    const struct json_doc *settings = &table->files->settings.doc;
    const struct json_node *token =
        settings->nodes ? json_find(settings, settings->nodes, name) : NULL;
    char wanted[512], text[512];
    if (json_is(token, JSON_OBJECT))
        token = json_find(settings, token, "content");
    if (!json_is(token, JSON_STRING) || token->last - token->first >= sizeof wanted)
        return of_model;
    size_t n = json_string(settings, token, wanted);
    for (size_t i = 0; i < table->n_tokens; i++) {
        if (write_text(table, i, NULL) < sizeof text && write_text(table, i, text) == n &&
            !memcmp(text, wanted, n))
            return (int32_t)i;
    }
    return of_model;
}

static bool setting(const struct table *table, const char *name, bool without)
{
    const struct json_doc *settings = &table->files->settings.doc;
    const struct json_node *node =
        settings->nodes ? json_find(settings, settings->nodes, name) : NULL;
    return json_is(node, JSON_TRUE) || (without && !json_is(node, JSON_FALSE));
}

static enum status put_settings(const struct table *table, struct metadata *out)
{
    const struct sentencepiece *model = &table->model;
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {
        {"tokenizer.ggml.unknown_token_id", model->unknown},
        {"tokenizer.ggml.bos_token_id", special_id(table, "bos_token", model->bos)},
        {"tokenizer.ggml.eos_token_id", special_id(table, "eos_token", model->eos)},
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].id >= 0)
            metadata_u64(out, ids[i].key, (uint64_t)ids[i].id);
    int32_t bos = ids[1].id, eos = ids[2].id;
    metadata_text(out, "tokenizer.ggml.model", "llama", strlen("llama"));
    metadata_bool(out, "tokenizer.ggml.add_bos_token",
                  bos >= 0 && setting(table, "add_bos_token", true));
    metadata_bool(out, "tokenizer.ggml.add_eos_token",
                  eos >= 0 && setting(table, "add_eos_token", false));
    metadata_bool(out, "tokenizer.ggml.add_space_prefix",
                  setting(table, "add_prefix_space", model->adds_prefix));
    metadata_bool(out, "tokenizer.huggingface.prefix_at_start", !setting(table, "legacy", true));
    return hf_tokenizer_put_ends(out, table->files, table->n_tokens, eos >= 0,
                                 eos >= 0 ? (uint64_t)eos : 0, table->err);
}

static enum status read_model(struct table *table, int dir_fd)
{
    struct hf_text file;
    enum status status = hf_text_read(&file, dir_fd, model_name, MODEL_BYTES_MAX, table->err);
    if (!status && file.bytes) {
        status = sentencepiece_parse(&table->model, file.bytes, file.n_bytes, table->err);
        if (status)
            error_prefix(table->err, "%s", model_name);
    }
    hf_text_release(&file);
    return status;
}

enum status hf_sentencepiece_read(struct metadata *out, const struct hf_tokenizer_files *files,
                                  int dir_fd, struct error *err)
{
    struct table table = {.files = files, .err = err};
    enum status status = read_model(&table, dir_fd);
    if (!status && table.model.n_pieces) {
        status = hf_json_read(&table.added_file, dir_fd, "added_tokens.json", ADDED_BYTES_MAX, err);
        if (!status)
            status = read_added(&table);
        if (!status)
            status = put_tokens(&table, out);
        if (!status)
            status = put_settings(&table, out);
    }
    sentencepiece_release(&table.model);
    hf_text_release(&table.added_file);
    mem_free(table.added);
    return status;
}
