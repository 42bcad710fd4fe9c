/* The header of one GGUF file: metadata and tensor table, checked and copied into memory.
 *
 * Works on any `struct reader`, so that tests and the fuzzer can feed it from memory. Which shards
 * make up a model and who may ask for what is model_file.h's business. */
#ifndef WICARA_FORMATS_GGUF_H
#define WICARA_FORMATS_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/reader.h"
#include "engine/formats/model_file.h"
#include "engine/formats/name_index.h"

/* name, number in the file, least bytes of a value in the file, text for messages */
#define GGUF_KIND_LIST(X)                                                                          \
    X(U8, 0, 1, "an 8-bit unsigned integer")                                                       \
    X(I8, 1, 1, "an 8-bit integer")                                                                \
    X(U16, 2, 2, "a 16-bit unsigned integer")                                                      \
    X(I16, 3, 2, "a 16-bit integer")                                                               \
    X(U32, 4, 4, "a 32-bit unsigned integer")                                                      \
    X(I32, 5, 4, "a 32-bit integer")                                                               \
    X(F32, 6, 4, "a 32-bit float")                                                                 \
    X(BOOL, 7, 1, "a truth value")                                                                 \
    X(STRING, 8, 8, "a string")                                                                    \
    X(ARRAY, 9, 12, "an array")                                                                    \
    X(U64, 10, 8, "a 64-bit unsigned integer")                                                     \
    X(I64, 11, 8, "a 64-bit integer")                                                              \
    X(F64, 12, 8, "a 64-bit float")

enum gguf_kind {
#define X(name, id, bytes, text) GGUF_##name = id,
    GGUF_KIND_LIST(X)
#undef X
};

/* Limits; each is an error at limit + 1. */
enum {
    GGUF_KEYS_MAX = 100000,
    GGUF_TENSORS_MAX = 100000,
    GGUF_KEY_BYTES_MAX = 65535,
    GGUF_TENSOR_NAME_BYTES_MAX = 255,
    GGUF_STRING_BYTES_MAX = 16 << 20,
    GGUF_ALIGNMENT_MIN = 8,
    GGUF_ALIGNMENT_DEFAULT = 32,
    GGUF_ALIGNMENT_MAX = 65536,
};
#define GGUF_DIM_MAX          (UINT64_C(1) << 40)
#define GGUF_HEADER_BYTES_MAX (UINT64_C(256) << 20)  // all up to the tensor data

/* One key and its value. A number stands in `number` as the file has it; an array of numbers is
 * its bytes in `items`; strings are their bytes in `items`, item i of an array from starts[i] up
 * to starts[i + 1], a single string from 0 up to n_bytes. */
struct gguf_entry {
    const char *key;  // first field, for name_index; UTF-8 without NUL, not empty
    uint8_t *items;   // n_bytes bytes and a NUL, or NULL for a single number
    size_t *starts;   // [n_items + 1], arrays of strings only
    size_t n_bytes;
    size_t n_items;      // 1 unless an array
    uint32_t kind;       // enum gguf_kind
    uint32_t item_kind;  // of the items; equals kind unless an array
    uint8_t number[8];   // little-endian
};

struct gguf {
    uint32_t version;
    uint32_t alignment;
    uint64_t data_offset;        // of the tensor data in the file
    struct gguf_entry *entries;  // [n_entries], in the file's order
    size_t n_entries;
    struct tensor_info *tensors;  // [n_tensors], in the file's order; names are owned
    size_t n_tensors;
    struct name_index keys;  // over entries
};

/* Reads and checks all up to the tensor data. On failure *out is empty.
 * Every allocation is bounded by a small multiple of the bytes that the input really has.
 * Errors: ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT, ERR_IO, ERR_MEMORY; text from the file is
 * escaped and cut. */
enum status gguf_read(struct gguf *out, struct reader *reader, struct error *err) MUST_CHECK;
void gguf_release(struct gguf *gguf);

const struct gguf_entry *gguf_find(const struct gguf *gguf, const char *key);  // NULL: absent
const char *gguf_kind_text(uint32_t kind);  // "a string"; for unknown numbers "of an unknown kind"

/* Item i (< n_items) as a number. The integer forms take integers that fit, the float form takes
 * floats and the integers up to 2^53; false for anything else. */
bool gguf_item_u64(const struct gguf_entry *entry, size_t i, uint64_t *out);
bool gguf_item_i64(const struct gguf_entry *entry, size_t i, int64_t *out);
bool gguf_item_f64(const struct gguf_entry *entry, size_t i, double *out);
bool gguf_item_text(const struct gguf_entry *entry, size_t i, struct text_view *out);

/* Text from a file for a message: printable ASCII stays, the rest becomes \xNN, what is too long
 * ends in "...". Returns out. */
enum { GGUF_QUOTE_BYTES = 84 };
const char *gguf_quote(char out[GGUF_QUOTE_BYTES], const char *bytes, size_t n_bytes);

#endif
