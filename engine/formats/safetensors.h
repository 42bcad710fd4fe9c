/* The header of one safetensors file: 8 bytes of length, JSON, then the tensors' bytes.
 *
 * Works on any `struct reader`. Shapes keep the file's order (rows first); turning them into the
 * view's order, and what a tensor is for, is hf_tensors.h's business.
 *
 * Source: the format description of the safetensors project. */
#ifndef WICARA_FORMATS_SAFETENSORS_H
#define WICARA_FORMATS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/reader.h"

/* name in the file, bytes an element */
#define SAFETENSORS_TYPE_LIST(X)                                                                   \
    X(BOOL, 1)                                                                                     \
    X(U8, 1)                                                                                       \
    X(I8, 1)                                                                                       \
    X(F8_E5M2, 1)                                                                                  \
    X(F8_E4M3, 1)                                                                                  \
    X(F8_E8M0, 1)                                                                                  \
    X(I16, 2)                                                                                      \
    X(U16, 2)                                                                                      \
    X(F16, 2)                                                                                      \
    X(BF16, 2)                                                                                     \
    X(I32, 4)                                                                                      \
    X(U32, 4)                                                                                      \
    X(F32, 4)                                                                                      \
    X(I64, 8)                                                                                      \
    X(U64, 8)                                                                                      \
    X(F64, 8)

enum safetensors_type {
#define X(name, bytes) SAFETENSORS_##name,
    SAFETENSORS_TYPE_LIST(X)
#undef X
};

/* Limits; each is an error at limit + 1. */
enum {
    SAFETENSORS_TENSORS_MAX = 200000,
    SAFETENSORS_NAME_BYTES_MAX = 255,
    SAFETENSORS_DIMS_MAX = 8,
};
#define SAFETENSORS_HEADER_BYTES_MAX (UINT64_C(100) << 20)
#define SAFETENSORS_DIM_MAX          (UINT64_C(1) << 40)

struct safetensors_entry {
    const char *name;  // owned; first field, for name_index
    enum safetensors_type type;
    uint32_t n_dims;                      // 0 = a single number
    uint64_t dims[SAFETENSORS_DIMS_MAX];  // rows first, as in the file; unused ones are 1
    uint64_t offset;                      // in the file
    uint64_t bytes;
};

struct safetensors {
    struct safetensors_entry *entries;  // [n_entries], in the order of their bytes
    size_t n_entries;
    char *names;  // all of them
};

const char *safetensors_type_name(enum safetensors_type type);
size_t safetensors_type_bytes(enum safetensors_type type);

/* Reads and checks the header: every size against shape and type, and that the tensors' bytes fill
 * the file without a gap or an overlap. On failure *out is empty. Errors: ERR_FORMAT naming the
 * tensor, ERR_UNSUPPORTED (type), ERR_LIMIT, ERR_IO, ERR_MEMORY. */
enum status safetensors_read(struct safetensors *out, struct reader *reader,
                             struct error *err) MUST_CHECK;
void safetensors_release(struct safetensors *file);

#endif
