/* Where the bytes of one tensor of the view come from, when they are not simply a stretch of a file
 * in the view's type: rows in another order, one tensor in many parts, a stored type that has to be
 * converted. Everything works row by row, so that any run of rows can be read by itself.
 *
 * A tensor has n_parts parts of part_rows rows of n_columns elements. Row r of the view is row
 * r % part_rows of part r / part_rows; within a part the stored rows lie row_stride bytes apart. */
#ifndef WICARA_FORMATS_TENSOR_SOURCE_H
#define WICARA_FORMATS_TENSOR_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"

/* How a stored row becomes a row of the view's type. */
enum tensor_form {
    TENSOR_ROWS,    // elements of `stored`; converted when the view has another type
    TENSOR_FP8,     // F8_E4M3 elements under scales of tiles, FP8_TILE rows and columns each
    TENSOR_MXFP4,   // 16 bytes a block of 32 (low nibble first) and a scale byte a block elsewhere
    TENSOR_MEMORY,  // the bytes are in `memory`, in the view's type
};

enum { FP8_TILE = 128 };

enum scale_type { SCALE_F32, SCALE_BF16, SCALE_E8M0 };

struct tensor_part {
    uint64_t offset;        // of its first row in the file
    uint64_t scale_offset;  // FP8, MXFP4: of its scales
    uint32_t file;          // number of the shard
    uint32_t scale_file;
};

struct tensor_source {
    enum tensor_form form;
    enum dtype stored;  // TENSOR_ROWS
    enum scale_type scale_type;
    uint64_t n_columns;
    uint64_t part_rows;
    uint64_t row_stride;
    uint64_t column_stride;  // TENSOR_ROWS: bytes between the elements of a row; 0 = side by side
    uint64_t scale_stride;   // MXFP4: bytes from a row's scales to the next row's
    /* Rows of a head of which the first half and the second half are interleaved in the view
     * (GGUF's order of llama's q and k), over its first pair_rows rows; head_rows 0 = rows as
     * stored. */
    uint64_t head_rows;
    uint64_t pair_rows;
    size_t n_parts;
    struct tensor_part *parts;  // owned
    void *memory;               // owned
};

void tensor_source_release(struct tensor_source *source);

/* What turns rows into the view's type; the view's row must hold whole blocks of it. */
bool tensor_source_converts(const struct tensor_source *source, enum dtype to);

/* Reads bytes [first, first + n_bytes) of the tensor as type `to` has it. The range must be whole
 * rows unless the bytes are those of the file. `fds` are the shards'; `name` is for messages.
 * Errors: ERR_IO, ERR_MEMORY, ERR_LIMIT (no whole rows). */
enum status tensor_source_read(const struct tensor_source *source, const int *fds, enum dtype to,
                               const char *name, uint64_t first, size_t n_bytes, void *out,
                               struct error *err) MUST_CHECK;

#endif
