/* tokenizer.json and the files beside it to metadata; see hf_tokenizer.h.
 *
 * Only tables are turned over here: which id has which text, which tokens are added ones, which
 * merges there are. What the sections normalizer, pre_tokenizer and decoder mean is the tokenizer's
 * business, so those go on as text. Ids without a text, up to the rows of the embedding, become
 * unused tokens, as converters do it.
 *
 * Sources: the serialisation of the `tokenizers` library; which files and which of their fields win
 * follows transformers. */
#include "engine/formats/hf_tokenizer.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/formats/hf_sentencepiece.h"
#include "engine/formats/model_file.h"

enum {
    TOKENIZER_BYTES_MAX = 256 << 20,
    SMALL_BYTES_MAX = 16 << 20,
    PAD_BYTES = 24,  // of the text of an unused id
    END_IDS_MAX = 64,
    TEMPLATES_MAX = 16,
};

/* Numbers of tokenizer.ggml.token_type. */
enum { KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_USER_DEFINED = 4, KIND_UNUSED = 5, KIND_BYTE = 6 };

struct reading {
    struct hf_tokenizer_files *files;
    const struct json_doc *doc;  // tokenizer.json
    const struct json_node *root;
    const struct json_node *model;
    struct metadata *out;
    struct error *err;
    const struct json_node **texts;  // [n_tokens] the string that is the token's text, or NULL
    uint8_t *kinds;                  // [n_tokens]
    uint8_t *flags;                  // [n_tokens] HF_TOKEN_*
    size_t n_tokens;
};

static enum status bad_file(const struct reading *reading, const char *what)
{
    return error_set(reading->err, ERR_FORMAT, "tokenizer.json: %s", what);
}

static bool is_true(const struct json_doc *doc, const struct json_node *object, const char *name)
{
    return json_is(json_find(doc, object, name), JSON_TRUE);
}

/* ---- tokens ---- */

static enum status read_id(const struct reading *reading, const struct json_node *node,
                           uint64_t *id)
{
    if (!json_u64(reading->doc, node, id))
        return bad_file(reading, "the id of a token is no whole number");
    if (*id >= HF_TOKENS_MAX)
        return error_set(reading->err, ERR_LIMIT,
                         "tokenizer.json: token id %llu, ids must be below %d",
                         (unsigned long long)*id, HF_TOKENS_MAX);
    return OK;
}

/* One more than the largest id, and no less than the rows that config.json states. */
static enum status count_tokens(struct reading *reading, const struct json_node *vocab,
                                const struct json_node *added)
{
    uint64_t id, n = 0;
    const struct json_node *rows =
        json_find(reading->files->config, reading->files->config_root, "vocab_size");
    if (json_u64(reading->files->config, rows, &id) && id <= HF_TOKENS_MAX)
        n = id;
    for (const struct json_node *name = json_first(vocab); name;
         name = json_next(vocab, name + 1)) {
        enum status status = read_id(reading, name + 1, &id);
        if (status)
            return status;
        n = id >= n ? id + 1 : n;
    }
    for (const struct json_node *token = added ? json_first(added) : NULL; token;
         token = json_next(added, token)) {
        enum status status = read_id(reading, json_find(reading->doc, token, "id"), &id);
        if (status)
            return status;
        n = id >= n ? id + 1 : n;
    }
    if (n == 0)
        return bad_file(reading, "no tokens");
    reading->n_tokens = (size_t)n;
    reading->texts = mem_calloc(n, sizeof *reading->texts);
    reading->kinds = mem_calloc(n, 1);
    reading->flags = mem_calloc(n, 1);
    if (!reading->texts || !reading->kinds || !reading->flags)
        return error_set(reading->err, ERR_MEMORY, "no memory for %zu tokens", reading->n_tokens);
    memset(reading->kinds, KIND_UNUSED, n);
    return OK;
}

static bool same_text(const struct reading *reading, const struct json_node *a,
                      const struct json_node *b)
{
    size_t n_a = a->last - a->first, n_b = b->last - b->first;
    char left[512], right[512];
    if (!a->escaped && !b->escaped)
        return n_a == n_b &&
               !memcmp(reading->doc->text + a->first, reading->doc->text + b->first, n_a);
    if (n_a > sizeof left || n_b > sizeof right)
        return false;
    n_a = json_string(reading->doc, a, left);
    n_b = json_string(reading->doc, b, right);
    return n_a == n_b && !memcmp(left, right, n_a);
}

static enum status set_text(struct reading *reading, uint64_t id, const struct json_node *text)
{
    if (!json_is(text, JSON_STRING))
        return bad_file(reading, "the text of a token is no string");
    if (reading->texts[id] && !same_text(reading, reading->texts[id], text))
        return error_set(reading->err, ERR_FORMAT, "tokenizer.json: two tokens have the id %llu",
                         (unsigned long long)id);
    reading->texts[id] = text;
    return OK;
}

static enum status read_vocab(struct reading *reading, const struct json_node *vocab)
{
    bool bytes = is_true(reading->doc, reading->model, "byte_fallback");
    for (const struct json_node *name = json_first(vocab); name;
         name = json_next(vocab, name + 1)) {
        uint64_t id = 0;
        enum status status = read_id(reading, name + 1, &id);
        if (!status)
            status = set_text(reading, id, name);
        if (status)
            return status;
        const char *text = reading->doc->text + name->first;
        bool is_byte = bytes && name->last - name->first == 6 && !memcmp(text, "<0x", 3) &&
                       text[5] == '>' && memchr("0123456789ABCDEF", text[3], 16) &&
                       memchr("0123456789ABCDEF", text[4], 16);
        reading->kinds[id] = is_byte ? KIND_BYTE : KIND_NORMAL;
    }
    return OK;
}

static enum status read_added(struct reading *reading, const struct json_node *added)
{
    static const struct {
        const char *name;
        uint8_t flag;
    } flags[] = {{"lstrip", HF_TOKEN_LSTRIP},
                 {"rstrip", HF_TOKEN_RSTRIP},
                 {"single_word", HF_TOKEN_SINGLE_WORD},
                 {"normalized", HF_TOKEN_NORMALIZED}};
    for (const struct json_node *token = added ? json_first(added) : NULL; token;
         token = json_next(added, token)) {
        uint64_t id = 0;
        enum status status = read_id(reading, json_find(reading->doc, token, "id"), &id);
        if (!status)
            status = set_text(reading, id, json_find(reading->doc, token, "content"));
        if (status)
            return status;
        bool special = is_true(reading->doc, token, "special");
        reading->kinds[id] = special ? KIND_CONTROL : KIND_USER_DEFINED;
        for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
            reading->flags[id] |= is_true(reading->doc, token, flags[i].name) ? flags[i].flag : 0;
    }
    return OK;
}

/* Texts by id, one behind the other; takes over kinds and flags. */
static enum status put_tokens(struct reading *reading)
{
    size_t n_bytes = 1, at = 0;
    for (size_t i = 0; i < reading->n_tokens; i++) {
        const struct json_node *text = reading->texts[i];
        n_bytes += text ? text->last - text->first : PAD_BYTES;
    }
    char *bytes = mem_alloc(n_bytes);
    size_t *starts = mem_alloc_array(reading->n_tokens + 1, sizeof *starts);
    if (!bytes || !starts) {
        mem_free(bytes);
        mem_free(starts);
        return error_set(reading->err, ERR_MEMORY, "no memory for %zu tokens", reading->n_tokens);
    }
    for (size_t i = 0; i < reading->n_tokens; i++) {
        const struct json_node *text = reading->texts[i];
        starts[i] = at;
        at += text ? json_string(reading->doc, text, bytes + at)
                   : (size_t)snprintf(bytes + at, PAD_BYTES, "[PAD%zu]", i);
    }
    starts[reading->n_tokens] = at;
    bytes[at] = '\0';
    metadata_texts_take(reading->out, "tokenizer.ggml.tokens", bytes, starts, reading->n_tokens);
    metadata_numbers_take(reading->out, "tokenizer.ggml.token_type", GGUF_U8, reading->kinds,
                          reading->n_tokens, 1);
    metadata_numbers_take(reading->out, "tokenizer.huggingface.token_flags", GGUF_U8,
                          reading->flags, reading->n_tokens, 1);
    reading->kinds = reading->flags = NULL;
    return OK;
}

/* ---- merges ---- */

/* Writes "left right"; false for anything that this form cannot say. */
static bool write_merge(const struct reading *reading, const struct json_node *merge, char *bytes,
                        size_t *at)
{
    if (merge->kind == JSON_STRING) {
        *at += json_string(reading->doc, merge, bytes + *at);
        return true;
    }
    const struct json_node *left = merge->kind == JSON_ARRAY ? json_first(merge) : NULL;
    const struct json_node *right = left ? json_next(merge, left) : NULL;
    if (!json_is(left, JSON_STRING) || !json_is(right, JSON_STRING) || json_next(merge, right))
        return false;
    size_t n_left = json_string(reading->doc, left, bytes + *at);
    bool spaced = memchr(bytes + *at, ' ', n_left);
    *at += n_left;
    bytes[(*at)++] = ' ';
    *at += json_string(reading->doc, right, bytes + *at);
    return !spaced;
}

static enum status put_merges(struct reading *reading)
{
    const struct json_node *merges = json_find(reading->doc, reading->model, "merges");
    if (!json_is(merges, JSON_ARRAY))
        return bad_file(reading, "model.merges is no array");
    size_t n = json_count(merges), at = 0, i = 0;
    /* Brackets, quotes and commas of the file leave room for the space. */
    char *bytes = mem_alloc(merges->last - merges->first + 1);
    size_t *starts = mem_alloc_array(n + 1, sizeof *starts);
    enum status status = OK;
    if (!bytes || !starts)
        status = error_set(reading->err, ERR_MEMORY, "no memory for %zu merges", n);
    for (const struct json_node *merge = json_first(merges); merge && !status;
         merge = json_next(merges, merge)) {
        starts[i++] = at;
        if (!write_merge(reading, merge, bytes, &at))
            status = error_set(reading->err, ERR_FORMAT,
                               "tokenizer.json: model.merges[%zu] is no pair of tokens without "
                               "spaces",
                               i - 1);
    }
    if (status) {
        mem_free(bytes);
        mem_free(starts);
        return status;
    }
    starts[n] = at;
    bytes[at] = '\0';
    metadata_texts_take(reading->out, "tokenizer.ggml.merges", bytes, starts, n);
    return OK;
}

/* ---- model ---- */

static enum status check_model(const struct reading *reading)
{
    const struct json_node *type = json_find(reading->doc, reading->model, "type");
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    char quoted[GGUF_QUOTE_BYTES];
    if (!json_is(reading->model, JSON_OBJECT))
        return bad_file(reading, "model is no object");
    if (type && !json_equals(reading->doc, type, "BPE"))
        return error_set(
            reading->err, ERR_UNSUPPORTED,
            "tokenizer.json: model.type '%s' is not supported (supported: BPE)",
            gguf_quote(quoted, reading->doc->text + type->first, type->last - type->first));
    for (size_t i = 0; i < sizeof affixes / sizeof affixes[0]; i++) {
        const struct json_node *affix = json_find(reading->doc, reading->model, affixes[i]);
        if (affix && affix->kind != JSON_NULL && !json_equals(reading->doc, affix, ""))
            return error_set(reading->err, ERR_UNSUPPORTED,
                             "tokenizer.json: model.%s is not supported", affixes[i]);
    }
    return OK;
}

static void put_sections(const struct reading *reading)
{
    static const char *const names[] = {"normalizer", "pre_tokenizer", "decoder"};
    static const char *const truths[] = {"byte_fallback", "fuse_unk", "ignore_merges"};
    char key[64];
    for (size_t i = 0; i < 3; i++) {
        const struct json_node *section = json_find(reading->doc, reading->root, names[i]);
        snprintf(key, sizeof key, "tokenizer.huggingface.%s", names[i]);
        if (section && section->kind != JSON_NULL)
            metadata_text(reading->out, key, reading->doc->text + section->first,
                          section->last - section->first);
        snprintf(key, sizeof key, "tokenizer.huggingface.%s", truths[i]);
        metadata_bool(reading->out, key, is_true(reading->doc, reading->model, truths[i]));
    }
}

/* ---- ids of special tokens ---- */

/* The id of a token by its text, which stands in another file: a string or {"content": ...}. */
static bool find_token(const struct reading *reading, const struct json_doc *doc,
                       const struct json_node *token, uint64_t *id)
{
    char text[512];
    if (json_is(token, JSON_OBJECT))
        token = json_find(doc, token, "content");
    if (!json_is(token, JSON_STRING) || token->last - token->first >= sizeof text)
        return false;
    text[json_string(doc, token, text)] = '\0';
    for (size_t i = 0; i < reading->n_tokens; i++) {
        if (reading->texts[i] && json_equals(reading->doc, reading->texts[i], text)) {
            *id = i;
            return true;
        }
    }
    return false;
}

/* The template that puts special tokens around a text: itself or in a Sequence. */
static const struct json_node *find_template(const struct reading *reading,
                                             const struct json_node *processor)
{
    const struct json_node *inner = json_find(reading->doc, processor, "processors");
    if (json_equals(reading->doc, json_find(reading->doc, processor, "type"), "TemplateProcessing"))
        return processor;
    for (const struct json_node *one = json_is(inner, JSON_ARRAY) ? json_first(inner) : NULL; one;
         one = json_next(inner, one)) {
        if (json_equals(reading->doc, json_find(reading->doc, one, "type"), "TemplateProcessing"))
            return one;
    }
    return NULL;
}

/* What a text is put between: at most one token on each side. */
struct around {
    bool before, after;
    uint64_t before_id, after_id;
};

static enum status read_template(const struct reading *reading, struct around *out)
{
    const struct json_doc *doc = reading->doc;
    const struct json_node *processor =
        find_template(reading, json_find(doc, reading->root, "post_processor"));
    const struct json_node *single = json_find(doc, processor, "single");
    bool behind = false;
    *out = (struct around){0};
    for (const struct json_node *part = json_is(single, JSON_ARRAY) ? json_first(single) : NULL;
         part; part = json_next(single, part)) {
        const struct json_node *token = json_find(doc, part, "SpecialToken");
        if (!token) {
            behind = true;
            continue;
        }
        uint64_t id = 0;
        bool *has = behind ? &out->after : &out->before;
        if (*has || !find_token(reading, doc, json_find(doc, token, "id"), &id))
            return error_set(reading->err, ERR_UNSUPPORTED,
                             "tokenizer.json: post_processor puts several or unknown tokens around "
                             "a text");
        *has = true;
        *(behind ? &out->after_id : &out->before_id) = id;
    }
    return OK;
}

/* The classes of Llama's tokenizers rebuild the template from their settings. */
static bool follows_settings(const struct reading *reading)
{
    const struct json_doc *doc = &reading->files->settings.doc;
    const struct json_node *name =
        doc->nodes ? json_find(doc, doc->nodes, "tokenizer_class") : NULL;
    return json_equals(doc, name, "LlamaTokenizer") ||
           json_equals(doc, name, "LlamaTokenizerFast") ||
           json_equals(doc, name, "CodeLlamaTokenizer") ||
           json_equals(doc, name, "CodeLlamaTokenizerFast");
}

static void put_added(const struct reading *reading, const char *setting, const char *key,
                      bool adds)
{
    const struct json_doc *doc = &reading->files->settings.doc;
    const struct json_node *node =
        doc->nodes && follows_settings(reading) ? json_find(doc, doc->nodes, setting) : NULL;
    if (json_is(node, JSON_TRUE) || json_is(node, JSON_FALSE))
        adds = node->kind == JSON_TRUE;
    metadata_bool(reading->out, key, adds);
}

/* Whole numbers under a name of a configuration, one or a list. */
static size_t read_ids(const struct json_doc *doc, const struct json_node *object, const char *name,
                       uint64_t *ids, size_t n_ids)
{
    const struct json_node *node = doc->nodes ? json_find(doc, object, name) : NULL;
    const struct json_node *one = json_is(node, JSON_ARRAY) ? json_first(node) : node;
    for (; one; one = json_is(node, JSON_ARRAY) ? json_next(node, one) : NULL) {
        if (n_ids < END_IDS_MAX && json_u64(doc, one, &ids[n_ids]))
            n_ids++;
    }
    return n_ids;
}

enum status hf_tokenizer_put_ends(struct metadata *out, const struct hf_tokenizer_files *files,
                                  size_t n_tokens, bool has_eos, uint64_t eos, struct error *err)
{
    uint64_t ids[END_IDS_MAX];
    size_t n =
        read_ids(&files->generation.doc, files->generation.doc.nodes, "eos_token_id", ids, 0);
    n = read_ids(files->config, files->config_root, "eos_token_id", ids, n);
    if (has_eos && n < END_IDS_MAX)
        ids[n++] = eos;
    int64_t *items = mem_alloc_array(n + 1, sizeof *items);
    if (!items)
        return error_set(err, ERR_MEMORY, "no memory for the ids of end tokens");
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < n_tokens)
            items[n_kept++] = (int64_t)ids[i];
    }
    if (!has_eos && n_kept > 0)
        metadata_u64(out, "tokenizer.ggml.eos_token_id", (uint64_t)items[0]);
    metadata_numbers_take(out, "tokenizer.huggingface.eos_token_ids", GGUF_I64, items, n_kept,
                          sizeof *items);
    return OK;
}

static enum status put_special_ids(const struct reading *reading)
{
    const struct json_doc *settings = &reading->files->settings.doc;
    const struct json_node *root = settings->nodes;
    uint64_t bos = 0, eos = 0, unknown = 0;
    struct around around;
    enum status status = read_template(reading, &around);
    if (status)
        return status;
    bool has_bos =
        root && find_token(reading, settings, json_find(settings, root, "bos_token"), &bos);
    bool has_eos =
        root && find_token(reading, settings, json_find(settings, root, "eos_token"), &eos);
    if (around.before) {
        has_bos = true;
        bos = around.before_id;
    }
    if (around.after && has_eos && around.after_id != eos)
        return error_set(reading->err, ERR_UNSUPPORTED,
                         "tokenizer.json: post_processor ends a text with another token than EOS");
    if (around.after)
        eos = around.after_id;
    has_eos |= around.after;
    if (!has_bos && !root)  // without settings config.json is all there is
        has_bos = read_ids(reading->files->config, reading->files->config_root, "bos_token_id",
                           &bos, 0) > 0 &&
                  bos < reading->n_tokens;
    if (has_bos)
        metadata_u64(reading->out, "tokenizer.ggml.bos_token_id", bos);
    if (has_eos)
        metadata_u64(reading->out, "tokenizer.ggml.eos_token_id", eos);
    if (find_token(reading, reading->doc, json_find(reading->doc, reading->model, "unk_token"),
                   &unknown))
        metadata_u64(reading->out, "tokenizer.ggml.unknown_token_id", unknown);
    put_added(reading, "add_bos_token", "tokenizer.ggml.add_bos_token", has_bos && around.before);
    put_added(reading, "add_eos_token", "tokenizer.ggml.add_eos_token", has_eos && around.after);
    return hf_tokenizer_put_ends(reading->out, reading->files, reading->n_tokens, has_eos, eos,
                                 reading->err);
}

/* ---- chat template ---- */

static enum status put_template_text(struct metadata *out, const struct json_doc *doc,
                                     const struct json_node *text, const char *key,
                                     struct error *err)
{
    char *bytes = mem_alloc(text->last - text->first + 1);
    if (!bytes)
        return error_set(err, ERR_MEMORY, "no memory for the chat template");
    metadata_text(out, key, bytes, json_string(doc, text, bytes));
    mem_free(bytes);
    return OK;
}

/* A list of {"name", "template"}: the one called default is the model's. */
static enum status put_templates(struct metadata *out, const struct json_doc *doc,
                                 const struct json_node *list, struct error *err)
{
    enum status status = OK;
    size_t n = 0;
    for (const struct json_node *one = json_first(list); one && !status && n < TEMPLATES_MAX;
         one = json_next(list, one), n++) {
        const struct json_node *name = json_find(doc, one, "name");
        const struct json_node *text = json_find(doc, one, "template");
        char key[96] = "tokenizer.chat_template", plain[64];
        if (!json_is(name, JSON_STRING) || !json_is(text, JSON_STRING) ||
            name->last - name->first >= sizeof plain)
            return error_set(err, ERR_FORMAT,
                             "tokenizer_config.json: chat_template[%zu] has no name and template",
                             n);
        plain[json_string(doc, name, plain)] = '\0';
        if (strcmp(plain, "default"))
            snprintf(key, sizeof key, "tokenizer.chat_template.%s", plain);
        status = put_template_text(out, doc, text, key, err);
    }
    return status;
}

static enum status put_chat_template(struct metadata *out, const struct json_doc *settings,
                                     int dir_fd, struct error *err)
{
    struct hf_text file;
    enum status status = hf_text_read(&file, dir_fd, "chat_template.jinja", SMALL_BYTES_MAX, err);
    if (status)
        return status;
    if (file.bytes)
        metadata_text(out, "tokenizer.chat_template", file.bytes, file.n_bytes);
    hf_text_release(&file);
    const struct json_node *node =
        settings->nodes ? json_find(settings, settings->nodes, "chat_template") : NULL;
    if (json_is(node, JSON_STRING))
        return put_template_text(out, settings, node, "tokenizer.chat_template", err);
    return json_is(node, JSON_ARRAY) ? put_templates(out, settings, node, err) : OK;
}

/* ---- all ---- */

static enum status read_tables(struct reading *reading)
{
    const struct json_node *vocab = json_find(reading->doc, reading->model, "vocab");
    const struct json_node *added = json_find(reading->doc, reading->root, "added_tokens");
    enum status status = check_model(reading);
    if (status)
        return status;
    if (!json_is(vocab, JSON_OBJECT))
        return bad_file(reading, "model.vocab is no object");
    if (added && added->kind != JSON_ARRAY)
        return bad_file(reading, "added_tokens is no array");
    status = count_tokens(reading, vocab, added);
    if (!status)
        status = read_vocab(reading, vocab);
    if (!status)
        status = read_added(reading, added);
    if (!status)
        status = put_special_ids(reading);
    if (!status)
        status = put_tokens(reading);
    return status ? status : put_merges(reading);
}

/* generation_config.json's sampling, under the keys of a GGUF file. */
static void put_sampling(struct metadata *out, const struct json_doc *doc)
{
    static const char *const names[][2] = {
        {"temperature", "general.sampling.temp"},
        {"top_p", "general.sampling.top_p"},
        {"top_k", "general.sampling.top_k"},
        {"min_p", "general.sampling.min_p"},
        {"repetition_penalty", "general.sampling.penalty_repeat"},
    };
    for (size_t i = 0; doc->nodes && i < sizeof names / sizeof names[0]; i++) {
        double value;
        if (json_f64(doc, json_find(doc, doc->nodes, names[i][0]), &value))
            metadata_f64(out, names[i][1], value);
    }
}

static enum status read_files(struct metadata *out, struct hf_tokenizer_files *files, int dir_fd,
                              struct error *err)
{
    static const char name[] = "tokenizer.json";
    enum status status = hf_json_read(&files->tokenizer, dir_fd, name, TOKENIZER_BYTES_MAX, err);
    if (!status)
        status =
            hf_json_read(&files->settings, dir_fd, "tokenizer_config.json", SMALL_BYTES_MAX, err);
    if (!status)
        status = hf_json_read(&files->generation, dir_fd, "generation_config.json", SMALL_BYTES_MAX,
                              err);
    if (!status)
        put_sampling(out, &files->generation.doc);
    if (!status)
        status = put_chat_template(out, &files->settings.doc, dir_fd, err);
    if (status)
        return status;
    if (!files->tokenizer.bytes)
        return hf_sentencepiece_read(out, files, dir_fd, err);
    struct reading reading = {.files = files,
                              .doc = &files->tokenizer.doc,
                              .root = files->tokenizer.doc.nodes,
                              .out = out,
                              .err = err};
    reading.model = json_find(reading.doc, reading.root, "model");
    status = read_tables(&reading);
    if (!status) {
        metadata_text(out, "tokenizer.ggml.model", "huggingface", strlen("huggingface"));
        put_sections(&reading);
    }
    mem_free((void *)reading.texts);
    mem_free(reading.kinds);
    mem_free(reading.flags);
    return status;
}

enum status hf_tokenizer_read(struct metadata *out, const struct json_doc *config, int dir_fd,
                              struct error *err)
{
    const struct json_node *inner = json_find(config, config->nodes, "text_config");
    struct hf_tokenizer_files files = {
        .config = config, .config_root = json_is(inner, JSON_OBJECT) ? inner : config->nodes};
    enum status status = read_files(out, &files, dir_fd, err);
    hf_text_release(&files.tokenizer);
    hf_text_release(&files.settings);
    hf_text_release(&files.generation);
    return status;
}
