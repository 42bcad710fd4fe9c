/* One view of a checkpoint: typed metadata and a table of tensors, whatever the format on disk.
 *
 * Nothing is mapped and no weight is read here; tensors are read on demand with pread. The view is
 * immutable after opening and may be used from several threads. Strings and arrays belong to it. */
#ifndef WICARA_FORMATS_MODEL_FILE_H
#define WICARA_FORMATS_MODEL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"

enum { TENSOR_DIMS_MAX = 4 };

struct tensor_info {
    const char *name;
    enum dtype dtype;
    uint32_t n_dims;                 // 1..TENSOR_DIMS_MAX
    uint64_t dims[TENSOR_DIMS_MAX];  // dims[0] = contiguous (input) dimension; unused ones are 1
    uint32_t file;                   // which shard; 0 when in several
    uint64_t offset;                 // of the data in that shard (GGUF)
    uint64_t bytes;                  // computed from dims and dtype
};

struct text_view {
    const char *bytes;  // not NUL-terminated in general; may hold any bytes
    size_t n_bytes;
};

struct model_file;

/* Bits of the array tokenizer.huggingface.token_flags, which directories carry: how the added token
 * is found in a text. */
enum {
    HF_TOKEN_LSTRIP = 1,       // takes the white space in front of it
    HF_TOKEN_RSTRIP = 2,       // and behind it
    HF_TOKEN_SINGLE_WORD = 4,  // only where no word goes on
    HF_TOKEN_NORMALIZED = 8,   // in the normalised text
};

/* Opens a .gguf file (with its other shards when it is the first of a split set), or a directory
 * with a Hugging Face checkpoint (config.json, safetensors, tokenizer.json ...), which is shown
 * with the keys and tensors that a converted file would have.
 * Errors: ERR_NOT_FOUND, ERR_IO, ERR_FORMAT naming the field or tensor, ERR_LIMIT, ERR_MEMORY,
 * ERR_UNSUPPORTED (version, tensor type, model type). */
enum status model_file_open(struct model_file **out, const char *path,
                            struct error *err) MUST_CHECK;
void model_file_close(struct model_file *file);

/* Shows the matrices of floats as quantised ones (DTYPE_Q8_0 or DTYPE_Q4_K; model_file.c says which
 * tensors get which type); each read converts. Before anybody reads tensors. ERR_MEMORY. */
enum status model_file_quantize(struct model_file *file, enum dtype dtype,
                                struct error *err) MUST_CHECK;

const char *model_file_path(const struct model_file *file);
uint64_t model_file_bytes(const struct model_file *file);  // of all shards

/* Metadata. `key` is the full key ("llama.block_count"). The getters return false when the key is
 * absent; a present key of another kind is also false, and model_file_require_* says which it was.
 * Integers of every width and signedness are accepted where the value fits. */
bool model_file_has(const struct model_file *file, const char *key);
bool model_file_u64(const struct model_file *file, const char *key, uint64_t *out);
bool model_file_i64(const struct model_file *file, const char *key, int64_t *out);
bool model_file_f64(const struct model_file *file, const char *key, double *out);
bool model_file_bool(const struct model_file *file, const char *key, bool *out);
bool model_file_text(const struct model_file *file, const char *key, struct text_view *out);
/* Arrays: length, then items. Numeric items convert as above; booleans are the integers 0 and 1. */
bool model_file_array(const struct model_file *file, const char *key, size_t *n_items);
bool model_file_array_i64(const struct model_file *file, const char *key, size_t i, int64_t *out);
bool model_file_array_f64(const struct model_file *file, const char *key, size_t i, double *out);
bool model_file_array_text(const struct model_file *file, const char *key, size_t i,
                           struct text_view *out);

/* As above, an absent key or a value out of [min, max] is ERR_FORMAT naming the key. */
enum status model_file_require_u64(const struct model_file *file, const char *key, uint64_t min,
                                   uint64_t max, uint64_t *out, struct error *err) MUST_CHECK;

size_t model_file_tensors(const struct model_file *file);
const struct tensor_info *model_file_tensor_at(const struct model_file *file, size_t i);
const struct tensor_info *model_file_tensor(const struct model_file *file, const char *name);

/* Reads bytes [first, first + n_bytes) of the tensor's data; ERR_IO when the file has shrunk. Where
 * the view converts or reorders rows the range must be whole rows, else ERR_LIMIT. */
enum status model_file_read(const struct model_file *file, const struct tensor_info *tensor,
                            uint64_t first, size_t n_bytes, void *out,
                            struct error *err) MUST_CHECK;

/* Metadata iteration, for `inspect` and for tests. Kind is GGUF's value type number. */
size_t model_file_keys(const struct model_file *file);
const char *model_file_key_at(const struct model_file *file, size_t i, uint32_t *kind);

#endif
