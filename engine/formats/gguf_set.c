/* A model in GGUF: one file or the shards of a split one.
 *
 * The first shard carries the metadata; the later ones only add tensors. Everything is checked at
 * opening: that each shard says which one it is and of how many, and that together they hold the
 * number of tensors that the first one announces.
 *
 * Source: the GGUF specification; names of shards as gguf-split of llama.cpp writes them. */
#include <assert.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file_private.h"

enum { SUFFIX_BYTES = sizeof "-00001-of-00002.gguf" - 1 };

static unsigned long long ull(uint64_t value)
{
    return value;
}

/* ---- one file ---- */

static enum status shard_open(struct model_file *file, size_t shard, const char *path,
                              struct error *err)
{
    struct reader reader;
    uint64_t bytes = 0;
    enum status status = open_regular(-1, path, &file->fds[shard], &bytes, err);
    if (!status)
        status = reader_init_file(&reader, file->fds[shard], bytes, err);
    if (status)
        return path_prefixed(status, path, err);
    file->bytes += bytes;
    status = gguf_read(&file->headers[shard], &reader, err);
    reader_release(&reader);
    return path_prefixed(status, path, err);
}

/* ---- split sets ---- */

/* An optional small number; absent leaves *out as it is. */
static enum status read_split_key(const struct gguf *gguf, const char *key, uint64_t max,
                                  uint64_t *out, struct error *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, key);
    if (!entry)
        return OK;
    if (entry->kind == GGUF_ARRAY || !gguf_item_u64(entry, 0, out))
        return error_set(err, ERR_FORMAT, "key %s is no unsigned integer", key);
    if (*out > max)
        return error_set(err, ERR_LIMIT, "key %s is %llu, the limit is %llu", key, ull(*out),
                         ull(max));
    return OK;
}

/* How many shards the first file announces. A merged file keeps the keys with a count of 0. */
static enum status split_count(const struct gguf *gguf, size_t *out, struct error *err)
{
    uint64_t count = 0, number = 0;
    enum status status = read_split_key(gguf, "split.count", MODEL_SHARDS_MAX, &count, err);
    if (!status)
        status = read_split_key(gguf, "split.no", UINT16_MAX, &number, err);
    if (status)
        return status;
    *out = count ? (size_t)count : 1;
    if (count && number >= count)
        return error_set(err, ERR_FORMAT, "key split.no is %llu, but split.count is %llu",
                         ull(number), ull(count));
    if (count && number != 0)
        return error_set(err, ERR_INVALID, "this is shard %llu of %zu, open the first shard",
                         ull(number + 1), *out);
    return OK;
}

/* The end of the name of shard number `shard`, from 0. */
static void shard_suffix(char out[SUFFIX_BYTES + 1], size_t shard, size_t n_shards)
{
    assert(shard < n_shards && n_shards <= MODEL_SHARDS_MAX);
    snprintf(out, SUFFIX_BYTES + 1, "-%05u-of-%05u.gguf", (unsigned)(shard + 1) % 100000,
             (unsigned)n_shards % 100000);
}

/* Path of a shard, made from the path of the first. */
static char *shard_path(const char *first_path, size_t shard, size_t n_shards)
{
    char suffix[SUFFIX_BYTES + 1];
    size_t n = strlen(first_path);
    char *path = mem_memdup0(first_path, n);
    shard_suffix(suffix, shard, n_shards);
    if (path)
        memcpy(path + n - SUFFIX_BYTES, suffix, SUFFIX_BYTES);
    return path;
}

static enum status check_first_name(const char *path, size_t n_shards, struct error *err)
{
    char suffix[SUFFIX_BYTES + 1];
    size_t n = strlen(path);
    shard_suffix(suffix, 0, n_shards);
    if (n > SUFFIX_BYTES && !strcmp(path + n - SUFFIX_BYTES, suffix))
        return OK;
    return error_set(err, ERR_FORMAT, "the first of %zu shards must have a name that ends in %s",
                     n_shards, suffix);
}

/* Holds a later shard against the first. */
static enum status check_shard(const struct model_file *file, size_t i, struct error *err)
{
    const struct gguf *gguf = &file->headers[i];
    uint64_t number = UINT64_MAX, count = UINT64_MAX;
    enum status status = read_split_key(gguf, "split.no", UINT16_MAX, &number, err);
    if (!status)
        status = read_split_key(gguf, "split.count", UINT16_MAX, &count, err);
    if (status)
        return status;
    if (number == UINT64_MAX || count == UINT64_MAX)
        return error_set(err, ERR_FORMAT, "key %s is missing in a shard",
                         number == UINT64_MAX ? "split.no" : "split.count");
    if (number != i)
        return error_set(err, ERR_FORMAT, "key split.no is %llu, but its name says %zu",
                         ull(number), i);
    if (count != file->n_shards)
        return error_set(err, ERR_FORMAT, "key split.count is %llu, in the first shard it is %zu",
                         ull(count), file->n_shards);
    struct text_view first, own;
    const struct gguf_entry *first_entry = gguf_find(&file->headers[0], "general.architecture");
    const struct gguf_entry *own_entry = gguf_find(gguf, "general.architecture");
    if (first_entry && own_entry && gguf_item_text(first_entry, 0, &first) &&
        gguf_item_text(own_entry, 0, &own) &&
        (first.n_bytes != own.n_bytes || memcmp(first.bytes, own.bytes, own.n_bytes)))
        return error_set(err, ERR_FORMAT, "its general.architecture is not the first shard's");
    return OK;
}

/* The first shard announces the number of tensors of all. */
static enum status check_tensor_sum(const struct model_file *file, struct error *err)
{
    uint64_t sum = 0, announced = UINT64_MAX;
    for (size_t i = 0; i < file->n_shards; i++)
        sum += file->headers[i].n_tensors;
    if (sum > GGUF_TENSORS_MAX)
        return error_set(err, ERR_LIMIT, "the shards hold %llu tensors, the limit is %d", ull(sum),
                         GGUF_TENSORS_MAX);
    enum status status =
        read_split_key(&file->headers[0], "split.tensors.count", UINT64_MAX - 1, &announced, err);
    if (status)
        return status;
    if (announced == UINT64_MAX)
        return error_set(err, ERR_FORMAT, "key split.tensors.count is missing");
    if (announced != sum)
        return error_set(err, ERR_FORMAT,
                         "key split.tensors.count is %llu, but the shards hold %llu tensors",
                         ull(announced), ull(sum));
    return OK;
}

static enum status open_later_shards(struct model_file *file, struct error *err)
{
    for (size_t i = 1; i < file->n_shards; i++) {
        char *path = shard_path(file->path, i, file->n_shards);
        if (!path)
            return error_set(err, ERR_MEMORY, "no memory for a path");
        enum status status = shard_open(file, i, path, err);
        if (!status)
            status = path_prefixed(check_shard(file, i, err), path, err);
        mem_free(path);
        if (status)
            return status;
    }
    return OK;
}

static enum status open_split(struct model_file *file, size_t n_shards, struct error *err)
{
    enum status status =
        path_prefixed(check_first_name(file->path, n_shards, err), file->path, err);
    if (status)
        return status;
    struct gguf *headers = mem_realloc_array(file->headers, n_shards, sizeof *headers);
    if (!headers)
        return error_set(err, ERR_MEMORY, "no memory for %zu shards", n_shards);
    file->headers = headers;
    memset(headers + 1, 0, (n_shards - 1) * sizeof *headers);
    status = model_file_reserve_shards(file, n_shards, err);
    if (status)
        return status;
    status = open_later_shards(file, err);
    return status ? status : path_prefixed(check_tensor_sum(file, err), file->path, err);
}

/* The tensors of all shards in one table. */
static enum status collect_tensors(struct model_file *file, struct error *err)
{
    for (size_t i = 0; i < file->n_shards; i++)
        file->n_tensors += file->headers[i].n_tensors;
    file->tensors = mem_alloc_array(file->n_tensors ? file->n_tensors : 1, sizeof *file->tensors);
    if (!file->tensors)
        return error_set(err, ERR_MEMORY, "no memory for %zu tensors", file->n_tensors);
    struct tensor_info *to = file->tensors;
    for (size_t i = 0; i < file->n_shards; i++) {
        const struct gguf *gguf = &file->headers[i];
        for (size_t j = 0; j < gguf->n_tensors; j++) {
            *to = gguf->tensors[j];
            to++->file = (uint32_t)i;
        }
    }
    return OK;
}

enum status gguf_set_open(struct model_file *file, struct error *err)
{
    size_t n_shards = 1;
    file->headers = mem_calloc(1, sizeof *file->headers);
    if (!file->headers)
        return error_set(err, ERR_MEMORY, "no memory for a model file");
    enum status status = model_file_reserve_shards(file, 1, err);
    if (!status)
        status = shard_open(file, 0, file->path, err);
    if (status)
        return status;
    status = path_prefixed(split_count(&file->headers[0], &n_shards, err), file->path, err);
    if (!status && n_shards > 1)
        status = open_split(file, n_shards, err);
    if (!status)
        status = path_prefixed(collect_tensors(file, err), file->path, err);
    file->keys = &file->headers[0];
    return status;
}
