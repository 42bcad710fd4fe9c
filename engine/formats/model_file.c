/* A model on disk: one GGUF file or the shards of a split one, behind one table of tensors.
 *
 * The first shard carries the metadata; the later ones only add tensors. Everything is checked at
 * opening: that each shard says which one it is and of how many, that together they hold the number
 * of tensors that the first one announces, and that no name is there twice. Afterwards nothing
 * changes any more, so any thread may read; the files stay open and are read with pread, hence a
 * shard that is cut while the server runs is an error of that read and never a SIGBUS.
 *
 * Source: the GGUF specification; names of shards as gguf-split of llama.cpp writes them. */
#include "engine/formats/model_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"
#include "engine/formats/gguf.h"
#include "engine/formats/name_index.h"

enum {
    SHARDS_MAX = 1024,       // each holds a file descriptor
    SHOWN_NAME_BYTES = 100,  // of a file name in a message
    SUFFIX_BYTES = sizeof "-00001-of-00002.gguf" - 1,
};

struct shard {
    struct gguf gguf;
    uint64_t bytes;
    int fd;  // -1 when closed
};

/* tensors is the table of the only shard, or merged (owned) when there are several. */
struct model_file {
    char *path;
    struct shard *shards;  // [n_shards]
    size_t n_shards;
    uint64_t bytes;
    const struct tensor_info *tensors;  // [n_tensors]
    size_t n_tensors;
    struct tensor_info *merged;  // owned, or NULL
    struct name_index names;     // over tensors
};

static unsigned long long ull(uint64_t value)
{
    return value;
}

/* Last part of the path, from its start or, when it is long, its end. */
static const char *shown_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash && slash[1] ? slash + 1 : path;
    size_t n = strlen(name);
    return n > SHOWN_NAME_BYTES ? name + n - SHOWN_NAME_BYTES : name;
}

/* Puts the file's name in front of a failure's text. */
static enum status prefixed(enum status status, const char *path, struct error *err)
{
    if (status)
        error_prefix(err, "%s", shown_name(path));
    return status;
}

/* ---- opening one file ---- */

static enum status open_regular(const char *path, struct shard *shard, struct error *err)
{
    struct stat stat;
    /* O_NONBLOCK: a FIFO must give an error, not wait for a writer. */
    shard->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (shard->fd < 0)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open: %s",
                         strerror(errno));
    if (fstat(shard->fd, &stat) != 0)
        return error_set(err, ERR_IO, "cannot get its size: %s", strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return error_set(err, ERR_FORMAT, "%s, not a file",
                         S_ISDIR(stat.st_mode) ? "a directory" : "a device or pipe");
    shard->bytes = (uint64_t)stat.st_size;
    return OK;
}

static enum status shard_open(struct shard *shard, const char *path, struct error *err)
{
    struct reader reader;
    enum status status = open_regular(path, shard, err);
    if (!status)
        status = reader_init_file(&reader, shard->fd, shard->bytes, err);
    if (status)
        return prefixed(status, path, err);
    status = gguf_read(&shard->gguf, &reader, err);
    reader_release(&reader);
    return prefixed(status, path, err);
}

static void shard_close(struct shard *shard)
{
    gguf_release(&shard->gguf);
    if (shard->fd >= 0)
        close(shard->fd);
    shard->fd = -1;
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
    enum status status = read_split_key(gguf, "split.count", SHARDS_MAX, &count, err);
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
    assert(shard < n_shards && n_shards <= SHARDS_MAX);
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
    const struct gguf *gguf = &file->shards[i].gguf;
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
    const struct gguf_entry *first_entry = gguf_find(&file->shards[0].gguf, "general.architecture");
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
        sum += file->shards[i].gguf.n_tensors;
    if (sum > GGUF_TENSORS_MAX)
        return error_set(err, ERR_LIMIT, "the shards hold %llu tensors, the limit is %d", ull(sum),
                         GGUF_TENSORS_MAX);
    enum status status = read_split_key(&file->shards[0].gguf, "split.tensors.count",
                                        UINT64_MAX - 1, &announced, err);
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
        enum status status = shard_open(&file->shards[i], path, err);
        if (!status)
            status = prefixed(check_shard(file, i, err), path, err);
        mem_free(path);
        if (status)
            return status;
    }
    return OK;
}

static enum status open_split(struct model_file *file, size_t n_shards, struct error *err)
{
    enum status status = prefixed(check_first_name(file->path, n_shards, err), file->path, err);
    if (status)
        return status;
    struct shard *shards = mem_realloc_array(file->shards, n_shards, sizeof *shards);
    if (!shards)
        return error_set(err, ERR_MEMORY, "no memory for %zu shards", n_shards);
    file->shards = shards;
    for (size_t i = 1; i < n_shards; i++)
        shards[i] = (struct shard){.fd = -1};
    file->n_shards = n_shards;
    status = open_later_shards(file, err);
    return status ? status : prefixed(check_tensor_sum(file, err), file->path, err);
}

/* ---- the view ---- */

/* Points the table at the only shard's, or merges those of several. */
static enum status collect_tensors(struct model_file *file, struct error *err)
{
    for (size_t i = 0; i < file->n_shards; i++) {
        file->bytes += file->shards[i].bytes;
        file->n_tensors += file->shards[i].gguf.n_tensors;
    }
    file->tensors = file->shards[0].gguf.tensors;
    if (file->n_shards == 1)
        return OK;
    file->merged = mem_alloc_array(file->n_tensors, sizeof *file->merged);
    if (!file->merged)
        return error_set(err, ERR_MEMORY, "no memory for %zu tensors", file->n_tensors);
    file->tensors = file->merged;
    struct tensor_info *to = file->merged;
    for (size_t i = 0; i < file->n_shards; i++) {
        const struct gguf *gguf = &file->shards[i].gguf;
        for (size_t j = 0; j < gguf->n_tensors; j++) {
            *to = gguf->tensors[j];
            to++->file = (uint32_t)i;
        }
    }
    return OK;
}

static enum status index_tensors(struct model_file *file, struct error *err)
{
    if (!name_index_init(&file->names, file->tensors, sizeof *file->tensors, file->n_tensors))
        return error_set(err, ERR_MEMORY, "no memory for the index of tensors");
    ptrdiff_t twice = name_index_duplicate(&file->names);
    if (twice == NAME_INDEX_NONE)
        return OK;
    char quoted[GGUF_QUOTE_BYTES];
    const char *name = file->tensors[twice].name;
    return error_set(err, ERR_FORMAT, "tensor %s is in two shards",
                     gguf_quote(quoted, name, strlen(name)));
}

enum status model_file_open(struct model_file **out, const char *path, struct error *err)
{
    enum status status;
    size_t n_shards = 1;
    *out = NULL;
    struct model_file *file = mem_calloc(1, sizeof *file);
    if (!file)
        return error_set(err, ERR_MEMORY, "no memory for a model file");
    file->path = mem_strdup(path);
    file->shards = mem_calloc(1, sizeof *file->shards);
    if (!file->path || !file->shards) {
        status = error_set(err, ERR_MEMORY, "no memory for a model file");
        goto fail;
    }
    file->n_shards = 1;
    file->shards[0].fd = -1;
    status = shard_open(&file->shards[0], path, err);
    if (status)
        goto fail;
    status = prefixed(split_count(&file->shards[0].gguf, &n_shards, err), path, err);
    if (!status && n_shards > 1)
        status = open_split(file, n_shards, err);
    if (!status)
        status = prefixed(collect_tensors(file, err), path, err);
    if (!status)
        status = prefixed(index_tensors(file, err), path, err);
    if (status)
        goto fail;
    *out = file;
    return OK;
fail:
    model_file_close(file);
    return status;
}

void model_file_close(struct model_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->n_shards; i++)
        shard_close(&file->shards[i]);
    name_index_release(&file->names);
    mem_free(file->merged);
    mem_free(file->shards);
    mem_free(file->path);
    mem_free(file);
}

const char *model_file_path(const struct model_file *file)
{
    return file->path;
}

uint64_t model_file_bytes(const struct model_file *file)
{
    return file->bytes;
}

/* ---- metadata ---- */

static const struct gguf_entry *find(const struct model_file *file, const char *key)
{
    return gguf_find(&file->shards[0].gguf, key);
}

/* The entry when it is there and holds one value, else NULL. */
static const struct gguf_entry *find_single(const struct model_file *file, const char *key)
{
    const struct gguf_entry *entry = find(file, key);
    return entry && entry->kind != GGUF_ARRAY ? entry : NULL;
}

/* The entry when it is an array with an item i, else NULL. */
static const struct gguf_entry *find_item(const struct model_file *file, const char *key, size_t i)
{
    const struct gguf_entry *entry = find(file, key);
    return entry && entry->kind == GGUF_ARRAY && i < entry->n_items ? entry : NULL;
}

bool model_file_has(const struct model_file *file, const char *key)
{
    return find(file, key) != NULL;
}

bool model_file_u64(const struct model_file *file, const char *key, uint64_t *out)
{
    const struct gguf_entry *entry = find_single(file, key);
    return entry && gguf_item_u64(entry, 0, out);
}

bool model_file_i64(const struct model_file *file, const char *key, int64_t *out)
{
    const struct gguf_entry *entry = find_single(file, key);
    return entry && gguf_item_i64(entry, 0, out);
}

bool model_file_f64(const struct model_file *file, const char *key, double *out)
{
    const struct gguf_entry *entry = find_single(file, key);
    return entry && gguf_item_f64(entry, 0, out);
}

bool model_file_bool(const struct model_file *file, const char *key, bool *out)
{
    const struct gguf_entry *entry = find_single(file, key);
    if (!entry || entry->kind != GGUF_BOOL)
        return false;
    *out = entry->number[0] != 0;
    return true;
}

bool model_file_text(const struct model_file *file, const char *key, struct text_view *out)
{
    const struct gguf_entry *entry = find_single(file, key);
    return entry && gguf_item_text(entry, 0, out);
}

bool model_file_array(const struct model_file *file, const char *key, size_t *n_items)
{
    const struct gguf_entry *entry = find(file, key);
    if (!entry || entry->kind != GGUF_ARRAY)
        return false;
    *n_items = entry->n_items;
    return true;
}

bool model_file_array_i64(const struct model_file *file, const char *key, size_t i, int64_t *out)
{
    const struct gguf_entry *entry = find_item(file, key, i);
    return entry && gguf_item_i64(entry, i, out);
}

bool model_file_array_f64(const struct model_file *file, const char *key, size_t i, double *out)
{
    const struct gguf_entry *entry = find_item(file, key, i);
    return entry && gguf_item_f64(entry, i, out);
}

bool model_file_array_text(const struct model_file *file, const char *key, size_t i,
                           struct text_view *out)
{
    const struct gguf_entry *entry = find_item(file, key, i);
    return entry && gguf_item_text(entry, i, out);
}

enum status model_file_require_u64(const struct model_file *file, const char *key, uint64_t min,
                                   uint64_t max, uint64_t *out, struct error *err)
{
    const struct gguf_entry *entry = find(file, key);
    int64_t negative;
    uint64_t value;
    if (!entry)
        return error_set(err, ERR_FORMAT, "key %s is missing", key);
    if (entry->kind != GGUF_ARRAY && gguf_item_u64(entry, 0, &value)) {
        if (value < min || value > max)
            return error_set(err, ERR_FORMAT, "key %s is %llu, the limits are %llu..%llu", key,
                             ull(value), ull(min), ull(max));
        *out = value;
        return OK;
    }
    if (entry->kind != GGUF_ARRAY && gguf_item_i64(entry, 0, &negative))
        return error_set(err, ERR_FORMAT, "key %s is %lld, the limits are %llu..%llu", key,
                         (long long)negative, ull(min), ull(max));
    return error_set(err, ERR_FORMAT, "key %s is %s, an integer is needed", key,
                     gguf_kind_text(entry->kind));
}

size_t model_file_keys(const struct model_file *file)
{
    return file->shards[0].gguf.n_entries;
}

const char *model_file_key_at(const struct model_file *file, size_t i, uint32_t *kind)
{
    assert(i < file->shards[0].gguf.n_entries);
    const struct gguf_entry *entry = &file->shards[0].gguf.entries[i];
    if (kind)
        *kind = entry->kind;
    return entry->key;
}

/* ---- tensors ---- */

size_t model_file_tensors(const struct model_file *file)
{
    return file->n_tensors;
}

const struct tensor_info *model_file_tensor_at(const struct model_file *file, size_t i)
{
    assert(i < file->n_tensors);
    return &file->tensors[i];
}

const struct tensor_info *model_file_tensor(const struct model_file *file, const char *name)
{
    ptrdiff_t i = name_index_find(&file->names, name);
    return i == NAME_INDEX_NONE ? NULL : &file->tensors[i];
}

enum status model_file_read(const struct model_file *file, const struct tensor_info *tensor,
                            uint64_t first, size_t n_bytes, void *out, struct error *err)
{
    char quoted[GGUF_QUOTE_BYTES];
    assert(tensor->file < file->n_shards);
    gguf_quote(quoted, tensor->name, strlen(tensor->name));
    if (first > tensor->bytes || n_bytes > tensor->bytes - first)
        return error_set(err, ERR_LIMIT, "tensor %s: bytes %llu + %zu are past its %llu", quoted,
                         ull(first), n_bytes, ull(tensor->bytes));
    return read_exactly(file->shards[tensor->file].fd, out, n_bytes, tensor->offset + first, quoted,
                        err);
}
