/* A Hugging Face checkpoint directory as a model file: which files there are, what each gives.
 *
 *   config.json                         numbers             hf_config.c
 *   model.safetensors, or               weights             safetensors.c, hf_tensors.c
 *   model.safetensors.index.json + its shards
 *   tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja
 *                                       tokenizer, template hf_tokenizer.c
 *
 * Files are opened relative to the directory. Names of shards come from the index and must be plain
 * names. Symbolic links are followed, since the hub's cache consists of them; a loop of them is an
 * error of opening. */
#include "engine/formats/hf_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"
#include "engine/formats/gguf.h"
#include "engine/formats/hf_config.h"
#include "engine/formats/hf_tensors.h"
#include "engine/formats/hf_tokenizer.h"
#include "engine/formats/model_file_private.h"
#include "engine/formats/safetensors.h"

enum {
    CONFIG_BYTES_MAX = 16 << 20,
    INDEX_BYTES_MAX = 64 << 20,
    JSON_NODES_MAX = 1 << 23,
    FILE_NAME_BYTES = 256,
};

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* ---- small files ---- */

enum status hf_text_read(struct hf_text *text, int dir_fd, const char *name, uint64_t bytes_max,
                         struct error *err)
{
    int fd = -1;
    uint64_t n_bytes = 0;
    struct error own = {0};
    *text = (struct hf_text){0};
    enum status status = open_regular(dir_fd, name, &fd, &n_bytes, &own);
    if (status == ERR_NOT_FOUND)
        return OK;
    if (!status && n_bytes > bytes_max)
        status = error_set(&own, ERR_LIMIT, "%llu bytes, the limit is %llu",
                           (unsigned long long)n_bytes, (unsigned long long)bytes_max);
    if (!status && !(text->bytes = mem_alloc((size_t)n_bytes + 1)))
        status =
            error_set(&own, ERR_MEMORY, "no memory for %llu bytes", (unsigned long long)n_bytes);
    if (!status)
        status = read_exactly(fd, text->bytes, (size_t)n_bytes, 0, "the file", &own);
    if (fd >= 0)
        close(fd);
    if (status) {
        hf_text_release(text);
        return error_set(err, status, "%s: %s", name, own.text);
    }
    text->n_bytes = (size_t)n_bytes;
    text->bytes[n_bytes] = '\0';
    return OK;
}

enum status hf_json_read(struct hf_text *text, int dir_fd, const char *name, uint64_t bytes_max,
                         struct error *err)
{
    enum status status = hf_text_read(text, dir_fd, name, bytes_max, err);
    if (status || !text->bytes)
        return status;
    status = json_doc_parse(&text->doc, text->bytes, text->n_bytes, JSON_NODES_MAX, err);
    if (status) {
        error_prefix(err, "%s", name);
        hf_text_release(text);
    }
    return status;
}

void hf_text_release(struct hf_text *text)
{
    json_doc_release(&text->doc);
    mem_free(text->bytes);
    *text = (struct hf_text){0};
}

/* ---- which directory is this ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && !strcmp(name + n - n_end, end);
}

/* A file of the directory whose name ends so; "" when there is none. */
static void find_file(int dir_fd, const char *end, char found[FILE_NAME_BYTES])
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    found[0] = '\0';
    if (!dir && fd >= 0)
        close(fd);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        bool earlier = found[0] == '\0' || strcmp(entry->d_name, found) < 0;
        if (ends_with(entry->d_name, end) && earlier)
            snprintf(found, FILE_NAME_BYTES, "%s", entry->d_name);
    }
    if (dir)
        closedir(dir);
}

static enum status no_checkpoint(int dir_fd, struct error *err)
{
    char found[FILE_NAME_BYTES], quoted[GGUF_QUOTE_BYTES];
    find_file(dir_fd, ".gguf", found);
    if (found[0])
        return error_set(err, ERR_NOT_FOUND,
                         "a directory without config.json; to serve %s give the path of that file",
                         gguf_quote(quoted, found, strlen(found)));
    return error_set(err, ERR_NOT_FOUND,
                     "a directory without config.json: neither a GGUF file nor a Hugging Face "
                     "checkpoint");
}

static enum status no_weights(int dir_fd, struct error *err)
{
    char found[FILE_NAME_BYTES], quoted[GGUF_QUOTE_BYTES];
    find_file(dir_fd, ".bin", found);
    if (!found[0])
        find_file(dir_fd, ".safetensors", found);
    return error_set(err, ERR_NOT_FOUND, "neither %s nor %s is there%s%s%s", single_name,
                     index_name, found[0] ? " (only " : "",
                     found[0] ? gguf_quote(quoted, found, strlen(found)) : "", found[0] ? ")" : "");
}

/* ---- weights ---- */

/* Names of the shards, each once, in the order of their first tensor. */
struct shard_names {
    char (*names)[FILE_NAME_BYTES];  // [MODEL_SHARDS_MAX]
    size_t n;
};

static enum status add_shard_name(struct shard_names *shards, const struct json_doc *doc,
                                  const struct json_node *value, struct error *err)
{
    char name[FILE_NAME_BYTES];
    size_t n_bytes = json_is(value, JSON_STRING) ? value->last - value->first : 0;
    if (n_bytes == 0 || n_bytes >= sizeof name)
        return error_set(err, ERR_FORMAT, "weight_map holds something else than file names");
    size_t n = json_string(doc, value, name);
    name[n] = '\0';
    if (strchr(name, '/') || !ends_with(name, ".safetensors")) {
        char quoted[GGUF_QUOTE_BYTES];
        return error_set(err, ERR_FORMAT,
                         "weight_map: '%s' is no plain name of a .safetensors file",
                         gguf_quote(quoted, name, n));
    }
    for (size_t i = 0; i < shards->n; i++) {
        if (!strcmp(shards->names[i], name))
            return OK;
    }
    if (shards->n == MODEL_SHARDS_MAX)
        return error_set(err, ERR_LIMIT, "more than %d shards", MODEL_SHARDS_MAX);
    memcpy(shards->names[shards->n++], name, n + 1);
    return OK;
}

static enum status read_shard_names(struct shard_names *shards, const struct json_doc *doc,
                                    struct error *err)
{
    const struct json_node *map = json_find(doc, doc->nodes, "weight_map");
    if (!json_is(map, JSON_OBJECT) || !json_first(map))
        return error_set(err, ERR_FORMAT, "weight_map is %s",
                         map ? "no object with tensors" : "missing");
    for (const struct json_node *name = json_first(map); name; name = json_next(map, name + 1)) {
        enum status status = add_shard_name(shards, doc, name + 1, err);
        if (status)
            return status;
    }
    return OK;
}

static enum status open_shard(struct model_file *file, int dir_fd, size_t i, const char *name,
                              struct safetensors *out, struct error *err)
{
    struct reader reader;
    uint64_t bytes = 0;
    enum status status = open_regular(dir_fd, name, &file->fds[i], &bytes, err);
    if (!status)
        status = reader_init_file(&reader, file->fds[i], bytes, err);
    if (!status) {
        file->bytes += bytes;
        status = safetensors_read(out, &reader, err);
        reader_release(&reader);
    }
    return path_prefixed(status, name, err);
}

static int by_name(const void *a, const void *b)
{
    const struct safetensors_entry *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

/* Every tensor of the index must be in the shard that it names. */
static enum status check_index(const struct json_doc *doc, const struct shard_names *names,
                               const struct safetensors *shards, struct error *err)
{
    const struct json_node *map = json_find(doc, doc->nodes, "weight_map");
    for (size_t i = 0; i < names->n; i++) {
        const struct safetensors *shard = &shards[i];
        size_t n = shard->n_entries;
        const struct safetensors_entry **sorted = mem_alloc_array(n + 1, sizeof *sorted);
        if (!sorted)
            return error_set(err, ERR_MEMORY, "no memory for the index");
        for (size_t j = 0; j < n; j++)
            sorted[j] = &shard->entries[j];
        qsort(sorted, n, sizeof *sorted, by_name);
        enum status status = OK;
        for (const struct json_node *name = json_first(map); name && !status;
             name = json_next(map, name + 1)) {
            char text[SAFETENSORS_NAME_BYTES_MAX + 1], quoted[GGUF_QUOTE_BYTES];
            if (!json_equals(doc, name + 1, names->names[i]))
                continue;
            size_t n_bytes = name->last - name->first;
            n_bytes = n_bytes < sizeof text ? json_string(doc, name, text) : 0;
            text[n_bytes] = '\0';
            struct safetensors_entry wanted = {.name = text};
            const struct safetensors_entry *key = &wanted;
            if (!bsearch(&key, sorted, n, sizeof *sorted, by_name))
                status = error_set(err, ERR_FORMAT, "weight_map: tensor %s is not in %s",
                                   gguf_quote(quoted, text, n_bytes), names->names[i]);
        }
        mem_free(sorted);
        if (status)
            return status;
    }
    return OK;
}

static enum status open_weights(struct model_file *file, int dir_fd, const struct hf_text *index,
                                struct shard_names *names, const struct hf_facts *facts,
                                struct error *err)
{
    enum status status = model_file_reserve_shards(file, names->n, err);
    struct safetensors *shards = mem_calloc(names->n, sizeof *shards);
    if (!shards)
        return error_set(err, ERR_MEMORY, "no memory for %zu shards", names->n);
    for (size_t i = 0; i < names->n && !status; i++)
        status = open_shard(file, dir_fd, i, names->names[i], &shards[i], err);
    if (!status && index->bytes) {
        status = check_index(&index->doc, names, shards, err);
        status = path_prefixed(status, index_name, err);
    }
    if (!status)
        status = hf_tensors_map(file, shards, facts, err);
    for (size_t i = 0; i < names->n; i++)
        safetensors_release(&shards[i]);
    mem_free(shards);
    return status;
}

static enum status find_weights(struct model_file *file, int dir_fd, const struct hf_facts *facts,
                                struct error *err)
{
    struct hf_text index = {0};
    struct shard_names names = {.names = mem_alloc_array(MODEL_SHARDS_MAX, sizeof *names.names)};
    if (!names.names)
        return error_set(err, ERR_MEMORY, "no memory for the names of shards");
    enum status status = hf_json_read(&index, dir_fd, index_name, INDEX_BYTES_MAX, err);
    if (!status && index.bytes)
        status = path_prefixed(read_shard_names(&names, &index.doc, err), index_name, err);
    if (!status && !index.bytes) {
        memcpy(names.names[0], single_name, sizeof single_name);
        names.n = 1;
        if (faccessat(dir_fd, single_name, F_OK, 0) && errno == ENOENT)
            status = no_weights(dir_fd, err);
    }
    if (!status)
        status = open_weights(file, dir_fd, &index, &names, facts, err);
    hf_text_release(&index);
    mem_free(names.names);
    return status;
}

/* ---- all ---- */

static enum status read_directory(struct model_file *file, int dir_fd, struct hf_facts *facts,
                                  struct error *err)
{
    struct hf_text config;
    enum status status = hf_json_read(&config, dir_fd, "config.json", CONFIG_BYTES_MAX, err);
    if (!status && !config.bytes)
        return no_checkpoint(dir_fd, err);
    if (!status)
        status = path_prefixed(hf_config_read(facts, &file->metadata, &config.doc, err),
                               "config.json", err);
    if (!status)
        status = hf_tokenizer_read(&file->metadata, &config.doc, dir_fd, err);
    hf_text_release(&config);
    if (!status)
        status = find_weights(file, dir_fd, facts, err);
    return status ? status : metadata_finish(&file->metadata, err);
}

enum status hf_directory_open(struct model_file *file, struct error *err)
{
    struct hf_facts *facts = mem_calloc(1, sizeof *facts);
    int dir_fd = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum status status = OK;
    if (!facts)
        status = error_set(err, ERR_MEMORY, "no memory for a model file");
    else if (dir_fd < 0)
        status = error_set(err, ERR_IO, "cannot open: %s", strerror(errno));
    else
        status = read_directory(file, dir_fd, facts, err);
    if (dir_fd >= 0)
        close(dir_fd);
    mem_free(facts);
    file->keys = &file->metadata.gguf;
    return path_prefixed(status, file->path, err);
}
