/* A model on disk behind one table of metadata and one of tensors: a GGUF file or split set
 * (gguf_set.c), or a checkpoint directory (hf_directory.c).
 *
 * After opening nothing changes any more (but for model_file_quantize before the first reader), so
 * any thread may read; the files stay open and are read with pread, hence a file that is cut while
 * the server runs is an error of that read and never a SIGBUS. */
#include "engine/formats/model_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"
#include "engine/formats/gguf.h"
#include "engine/formats/model_file_private.h"

enum { SHOWN_NAME_BYTES = 100 };  // of a file name in a message

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

enum status path_prefixed(enum status status, const char *path, struct error *err)
{
    if (status)
        error_prefix(err, "%s", shown_name(path));
    return status;
}

/* ---- opening ---- */

enum status open_regular(int dir_fd, const char *path, int *fd, uint64_t *bytes, struct error *err)
{
    struct stat stat;
    /* O_NONBLOCK: a FIFO must give an error, not wait for a writer. */
    *fd = openat(dir_fd < 0 ? AT_FDCWD : dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return error_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open: %s",
                         strerror(errno));
    if (fstat(*fd, &stat) != 0)
        return error_set(err, ERR_IO, "cannot get its size: %s", strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return error_set(err, ERR_FORMAT, "%s, not a file",
                         S_ISDIR(stat.st_mode) ? "a directory" : "a device or pipe");
    *bytes = (uint64_t)stat.st_size;
    return OK;
}

enum status model_file_reserve_shards(struct model_file *file, size_t n_shards, struct error *err)
{
    int *fds = mem_realloc_array(file->fds, n_shards, sizeof *fds);
    if (!fds)
        return error_set(err, ERR_MEMORY, "no memory for %zu shards", n_shards);
    file->fds = fds;
    for (; file->n_shards < n_shards; file->n_shards++)
        fds[file->n_shards] = -1;
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
    struct stat stat_of;
    *out = NULL;
    struct model_file *file = mem_calloc(1, sizeof *file);
    if (!file)
        return error_set(err, ERR_MEMORY, "no memory for a model file");
    enum status status = OK;
    file->path = mem_strdup(path);
    if (!file->path)
        status = error_set(err, ERR_MEMORY, "no memory for a model file");
    bool is_directory = stat(path, &stat_of) == 0 && S_ISDIR(stat_of.st_mode);
    if (!status)
        status = is_directory ? hf_directory_open(file, err) : gguf_set_open(file, err);
    if (!status)
        status = path_prefixed(index_tensors(file, err), path, err);
    if (status) {
        model_file_close(file);
        return status;
    }
    *out = file;
    return OK;
}

void model_file_close(struct model_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->n_shards; i++) {
        if (file->fds[i] >= 0)
            close(file->fds[i]);
        if (file->headers)
            gguf_release(&file->headers[i]);
    }
    for (size_t i = 0; i < file->n_tensors && file->sources; i++)
        tensor_source_release(&file->sources[i]);
    name_index_release(&file->names);
    metadata_release(&file->metadata);
    mem_free(file->sources);
    mem_free(file->tensors);
    mem_free(file->tensor_names);
    mem_free(file->headers);
    mem_free(file->fds);
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
    return gguf_find(file->keys, key);
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
    if (entry && entry->item_kind == GGUF_BOOL) {
        *out = entry->items[i] != 0;
        return true;
    }
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
    return file->keys->n_entries;
}

const char *model_file_key_at(const struct model_file *file, size_t i, uint32_t *kind)
{
    assert(i < file->keys->n_entries);
    const struct gguf_entry *entry = &file->keys->entries[i];
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
    size_t i = (size_t)(tensor - file->tensors);
    assert(i < file->n_tensors && tensor->file < file->n_shards);
    gguf_quote(quoted, tensor->name, strlen(tensor->name));
    if (first > tensor->bytes || n_bytes > tensor->bytes - first)
        return error_set(err, ERR_LIMIT, "tensor %s: bytes %llu + %zu are past its %llu", quoted,
                         ull(first), n_bytes, ull(tensor->bytes));
    if (file->sources)
        return tensor_source_read(&file->sources[i], file->fds, tensor->dtype, quoted, first,
                                  n_bytes, out, err);
    return read_exactly(file->fds[tensor->file], out, n_bytes, tensor->offset + first, quoted, err);
}

/* ---- quantising ---- */

/* Every tensor as one part of rows, for a file whose tensors had no sources yet. */
static enum status make_sources(struct model_file *file, struct error *err)
{
    file->sources = mem_calloc(file->n_tensors ? file->n_tensors : 1, sizeof *file->sources);
    if (!file->sources)
        return error_set(err, ERR_MEMORY, "no memory for %zu tensors", file->n_tensors);
    for (size_t i = 0; i < file->n_tensors; i++) {
        const struct tensor_info *tensor = &file->tensors[i];
        struct tensor_source *source = &file->sources[i];
        *source = (struct tensor_source){.form = TENSOR_ROWS,
                                         .stored = tensor->dtype,
                                         .n_columns = tensor->dims[0],
                                         .n_parts = 1};
        source->part_rows = tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
        source->row_stride = tensor->bytes / source->part_rows;
        source->parts = mem_calloc(1, sizeof *source->parts);
        if (!source->parts)
            return error_set(err, ERR_MEMORY, "no memory for %zu tensors", file->n_tensors);
        source->parts[0] = (struct tensor_part){.offset = tensor->offset, .file = tensor->file};
    }
    return OK;
}

/* The type that a tensor gets: the one asked for, a type of 32-blocks where rows do not hold whole
 * 256-blocks, and eight bits for the two matrices that every token meets. Vectors, routers (whose
 * products choose the experts) and what is quantised already stay as they are. */
static enum dtype quantized_type(const struct tensor_info *tensor, enum dtype wanted)
{
    bool is_float =
        tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16;
    size_t n = strlen(tensor->name);
    if (!is_float || tensor->n_dims < 2 || n < 7 || strcmp(tensor->name + n - 7, ".weight") ||
        strstr(tensor->name, "ffn_gate_inp") || tensor->dims[0] % 32)
        return tensor->dtype;
    bool is_outer =
        !strcmp(tensor->name, "token_embd.weight") || !strcmp(tensor->name, "output.weight");
    return is_outer || tensor->dims[0] % dtype_info(wanted)->block_elements ? DTYPE_Q8_0 : wanted;
}

enum status model_file_quantize(struct model_file *file, enum dtype dtype, struct error *err)
{
    assert(dtype == DTYPE_Q8_0 || dtype == DTYPE_Q4_K);
    enum status status = file->sources ? OK : make_sources(file, err);
    for (size_t i = 0; i < file->n_tensors && !status; i++) {
        struct tensor_info *tensor = &file->tensors[i];
        enum dtype to = quantized_type(tensor, dtype);
        if (to == tensor->dtype || !tensor_source_converts(&file->sources[i], to))
            continue;
        const struct dtype_info *was = dtype_info(tensor->dtype), *now = dtype_info(to);
        tensor->bytes = tensor->bytes / was->block_bytes / now->block_elements * now->block_bytes;
        tensor->dtype = to;
    }
    return status;
}
