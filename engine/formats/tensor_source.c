/* Reading rows that are not stored as the view shows them; see tensor_source.h.
 *
 * Stored rows are fetched in runs: where the view's next rows lie close together in the file, one
 * read takes all from the first to the last of them, so that a bias of single elements costs as few
 * system calls as a matrix. Scratch memory is one block a call, no larger than WINDOW_BYTES and
 * what one row needs. Immutable, so any number of threads may read.
 *
 * Values: E4M3 and E8M0 as in the OCP specifications of 8-bit and microscaling formats; the order
 * of an MXFP4 block's nibbles as gpt-oss stores it and as GGUF wants it. */
#include "engine/formats/tensor_source.h"

#include <assert.h>
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/reader.h"
#include "engine/formats/quantize.h"

enum {
    WINDOW_BYTES = 1 << 18,
    TURNED_BYTES = 1 << 20,  // a matrix that is stored the other way round is turned in such pieces
    MX_BLOCK = 32,
    MX_STORED_BYTES = 16,
    MX_BLOCK_BYTES = 17
};

void tensor_source_release(struct tensor_source *source)
{
    mem_free(source->parts);
    mem_free(source->memory);
    *source = (struct tensor_source){0};
}

bool tensor_source_converts(const struct tensor_source *source, enum dtype to)
{
    bool from_float =
        source->stored == DTYPE_F32 || source->stored == DTYPE_F16 || source->stored == DTYPE_BF16;
    switch (source->form) {
    case TENSOR_ROWS:
        return to == source->stored || (from_float && quantize_supports(to));
    case TENSOR_FP8:
        return quantize_supports(to);
    case TENSOR_MXFP4:
        return to == DTYPE_MXFP4;
    case TENSOR_MEMORY:
        return true;
    }
    return false;
}

/* Bytes of a stored row. */
static size_t stored_row_bytes(const struct tensor_source *source)
{
    size_t n = (size_t)source->n_columns;
    if (source->form == TENSOR_FP8)
        return n;
    if (source->form == TENSOR_MXFP4)
        return n / MX_BLOCK * MX_STORED_BYTES;
    const struct dtype_info *info = dtype_info(source->stored);
    return n / info->block_elements * info->block_bytes;
}

/* Number of the stored row, within its part, that is row `row` of the view's part. */
static uint64_t stored_row(const struct tensor_source *source, uint64_t row)
{
    if (source->head_rows == 0)
        return row;
    uint64_t in_head = row % source->head_rows;
    if (in_head >= source->pair_rows)
        return row;
    return row - in_head + in_head / 2 + in_head % 2 * (source->pair_rows / 2);
}

/* ---- conversion of one row ---- */

static float f32_from_e4m3(uint8_t byte)
{
    uint32_t exponent = byte >> 3 & 15, mantissa = byte & 7;
    float value = exponent ? f32_from_bits((exponent + 120) << 23 | mantissa << 20)
                           : (float)mantissa * 0x1p-9f;
    if ((byte & 0x7f) == 0x7f)
        value = NAN;
    return byte & 0x80 ? -value : value;
}

static float scale_at(enum scale_type type, const uint8_t *scales, size_t i)
{
    float value;
    uint16_t half;
    switch (type) {
    case SCALE_F32:
        memcpy(&value, scales + i * sizeof value, sizeof value);
        return value;
    case SCALE_BF16:
        memcpy(&half, scales + i * sizeof half, sizeof half);
        return f32_from_bf16(half);
    case SCALE_E8M0:
        return ldexpf(1, (int)scales[i] - 127);
    }
    return 0;
}

static size_t scale_bytes(enum scale_type type)
{
    return type == SCALE_F32 ? sizeof(float) : type == SCALE_BF16 ? sizeof(uint16_t) : 1;
}

/* Low nibbles of a GGUF block are its first half, those of the stored one its even elements. */
static void convert_mxfp4(const uint8_t *blocks, const uint8_t *scales, size_t n_blocks,
                          uint8_t *out)
{
    for (size_t b = 0; b < n_blocks; b++, out += MX_BLOCK_BYTES) {
        const uint8_t *in = blocks + b * MX_STORED_BYTES;
        out[0] = scales[b];
        for (size_t i = 0; i < MX_STORED_BYTES; i++) {
            uint8_t low = in[i / 2] >> (i % 2 ? 4 : 0) & 15;
            uint8_t high = in[8 + i / 2] >> (i % 2 ? 4 : 0) & 15;
            out[1 + i] = (uint8_t)(low | high << 4);
        }
    }
}

static void widen_row(const struct tensor_source *source, const uint8_t *stored,
                      const uint8_t *scales, float *out)
{
    uint16_t half;
    for (size_t i = 0; i < source->n_columns; i++) {
        if (source->form == TENSOR_FP8) {
            out[i] = f32_from_e4m3(stored[i]) * scale_at(source->scale_type, scales, i / FP8_TILE);
        } else if (source->stored == DTYPE_F32) {
            memcpy(&out[i], stored + i * sizeof *out, sizeof *out);
        } else {
            memcpy(&half, stored + i * sizeof half, sizeof half);
            out[i] = source->stored == DTYPE_F16 ? f32_from_f16(half) : f32_from_bf16(half);
        }
    }
}

/* ---- reading ---- */

/* One call: its scratch memory and where it stands. */
struct row_reader {
    const struct tensor_source *source;
    const int *fds;
    enum dtype to;
    const char *name;
    size_t stored_bytes;  // of a row
    size_t view_bytes;    // of a row
    size_t n_scale_bytes;
    uint8_t *memory;  // window, then scales, then a row of floats
    uint8_t *window;
    size_t window_bytes;
    uint8_t *scales;
    float *floats;
    uint64_t scales_of;  // stored row group (FP8) that `scales` belong to, plus the part's number
};

static enum status row_reader_init(struct row_reader *reader, struct error *err)
{
    const struct tensor_source *source = reader->source;
    const struct dtype_info *info = dtype_info(reader->to);
    size_t n = (size_t)source->n_columns, total;
    reader->stored_bytes = stored_row_bytes(source);
    reader->view_bytes = n / info->block_elements * info->block_bytes;
    if (source->form == TENSOR_FP8)
        reader->n_scale_bytes = (n + FP8_TILE - 1) / FP8_TILE * scale_bytes(source->scale_type);
    if (source->form == TENSOR_MXFP4)
        reader->n_scale_bytes = n / MX_BLOCK;
    reader->scales_of = UINT64_MAX;
    size_t window_bytes = source->column_stride ? TURNED_BYTES : WINDOW_BYTES;
    reader->window_bytes =
        reader->stored_bytes > window_bytes ? reader->stored_bytes : window_bytes;
    size_t window = (reader->window_bytes + 63) & ~(size_t)63;
    size_t scales = (reader->n_scale_bytes + 63) & ~(size_t)63;
    if (!size_mul(n, sizeof(float), &total) || !size_add(total, window + scales, &total))
        return error_set(err, ERR_LIMIT, "tensor %s: a row of %zu elements", reader->name, n);
    reader->memory = mem_alloc(total);
    if (!reader->memory)
        return error_set(err, ERR_MEMORY, "no memory to read tensor %s", reader->name);
    reader->window = reader->memory;
    reader->scales = reader->memory + window;
    reader->floats = (float *)(void *)(reader->memory + window + scales);
    return OK;
}

static enum status read_scales(struct row_reader *reader, size_t part, uint64_t row,
                               struct error *err)
{
    const struct tensor_source *source = reader->source;
    const struct tensor_part *from = &source->parts[part];
    uint64_t group = source->form == TENSOR_FP8 ? row / FP8_TILE : row;
    uint64_t stride = source->form == TENSOR_FP8 ? reader->n_scale_bytes : source->scale_stride;
    uint64_t id = part * source->part_rows + group;
    if (id == reader->scales_of)
        return OK;
    reader->scales_of = id;
    return read_exactly(reader->fds[from->scale_file], reader->scales, reader->n_scale_bytes,
                        from->scale_offset + group * stride, reader->name, err);
}

static enum status convert_row(struct row_reader *reader, size_t part, uint64_t row,
                               const uint8_t *stored, uint8_t *out, struct error *err)
{
    const struct tensor_source *source = reader->source;
    if (reader->n_scale_bytes) {
        enum status status = read_scales(reader, part, row, err);
        if (status)
            return status;
    }
    if (source->form == TENSOR_MXFP4) {
        convert_mxfp4(stored, reader->scales, (size_t)source->n_columns / MX_BLOCK, out);
    } else if (source->form == TENSOR_ROWS && source->stored == reader->to) {
        memcpy(out, stored, reader->stored_bytes);
    } else {
        widen_row(source, stored, reader->scales, reader->floats);
        quantize_row(reader->to, reader->floats, (size_t)source->n_columns, out);
    }
    return OK;
}

/* How many of the view's rows from `row` on lie in one window, and the lowest stored row of them.
 * */
static size_t rows_of_window(const struct row_reader *reader, uint64_t row, size_t n_rows,
                             uint64_t *low)
{
    const struct tensor_source *source = reader->source;
    uint64_t high = *low = stored_row(source, row);
    size_t n = 1;
    for (; n < n_rows; n++) {
        uint64_t next = stored_row(source, row + n);
        uint64_t lowest = next < *low ? next : *low, highest = next > high ? next : high;
        uint64_t span = (highest - lowest) * source->row_stride + reader->stored_bytes;
        /* A window that is mostly other rows would read more than it saves. */
        if (span > reader->window_bytes ||
            (reader->stored_bytes > 2048 && span > 2 * (n + 1) * reader->stored_bytes))
            break;
        *low = lowest;
        high = highest;
    }
    return n;
}

/* Rows [row, row + n_rows) of a part whose rows are stored as columns: one read a column of as many
 * rows as the window holds. */
static enum status read_turned_rows(struct row_reader *reader, size_t part, uint64_t row,
                                    size_t n_rows, uint8_t *out, struct error *err)
{
    const struct tensor_source *source = reader->source;
    const struct tensor_part *from = &source->parts[part];
    size_t element = dtype_info(source->stored)->block_bytes;
    while (n_rows > 0) {
        size_t n = reader->window_bytes / reader->stored_bytes;
        uint8_t column[WINDOW_BYTES / 64];
        if (n > n_rows)
            n = n_rows;
        if (n > (sizeof column - element) / source->row_stride + 1)
            n = (sizeof column - element) / (size_t)source->row_stride + 1;
        size_t span = (n - 1) * (size_t)source->row_stride + element;
        for (uint64_t c = 0; c < source->n_columns; c++) {
            uint64_t at = from->offset + c * source->column_stride + row * source->row_stride;
            enum status status =
                read_exactly(reader->fds[from->file], column, span, at, reader->name, err);
            if (status)
                return status;
            for (size_t i = 0; i < n; i++)
                memcpy(reader->window + i * reader->stored_bytes + c * element,
                       column + i * source->row_stride, element);
        }
        for (size_t i = 0; i < n; i++, out += reader->view_bytes) {
            enum status status = convert_row(reader, part, row + i,
                                             reader->window + i * reader->stored_bytes, out, err);
            if (status)
                return status;
        }
        row += n;
        n_rows -= n;
    }
    return OK;
}

/* Rows [row, row + n_rows) of one part. */
static enum status read_part_rows(struct row_reader *reader, size_t part, uint64_t row,
                                  size_t n_rows, uint8_t *out, struct error *err)
{
    const struct tensor_source *source = reader->source;
    const struct tensor_part *from = &source->parts[part];
    if (source->column_stride)
        return read_turned_rows(reader, part, row, n_rows, out, err);
    while (n_rows > 0) {
        uint64_t low, high = 0;
        size_t n = rows_of_window(reader, row, n_rows, &low);
        for (size_t i = 0; i < n; i++) {
            uint64_t stored = stored_row(source, row + i);
            high = stored > high ? stored : high;
        }
        size_t span = (size_t)((high - low) * source->row_stride) + reader->stored_bytes;
        enum status status =
            read_exactly(reader->fds[from->file], reader->window, span,
                         from->offset + low * source->row_stride, reader->name, err);
        for (size_t i = 0; i < n && !status; i++, out += reader->view_bytes) {
            uint64_t stored = stored_row(source, row + i);
            status = convert_row(reader, part, stored,
                                 reader->window + (stored - low) * source->row_stride, out, err);
        }
        if (status)
            return status;
        row += n;
        n_rows -= n;
    }
    return OK;
}

/* The bytes of the view are the bytes of the parts, one part behind the other. */
static bool is_plain(const struct tensor_source *source, enum dtype to)
{
    return source->form == TENSOR_ROWS && source->stored == to && source->head_rows == 0 &&
           source->column_stride == 0 && source->row_stride == stored_row_bytes(source);
}

static enum status read_plain(const struct tensor_source *source, const int *fds, const char *name,
                              uint64_t first, size_t n_bytes, uint8_t *out, struct error *err)
{
    uint64_t part_bytes = source->part_rows * source->row_stride;
    while (n_bytes > 0) {
        const struct tensor_part *part = &source->parts[first / part_bytes];
        uint64_t at = first % part_bytes, left = part_bytes - at;
        size_t n = n_bytes < left ? n_bytes : (size_t)left;
        enum status status = read_exactly(fds[part->file], out, n, part->offset + at, name, err);
        if (status)
            return status;
        first += n;
        out += n;
        n_bytes -= n;
    }
    return OK;
}

enum status tensor_source_read(const struct tensor_source *source, const int *fds, enum dtype to,
                               const char *name, uint64_t first, size_t n_bytes, void *out,
                               struct error *err)
{
    if (source->form == TENSOR_MEMORY) {
        memcpy(out, (const uint8_t *)source->memory + first, n_bytes);
        return OK;
    }
    if (is_plain(source, to))
        return read_plain(source, fds, name, first, n_bytes, out, err);
    struct row_reader reader = {.source = source, .fds = fds, .to = to, .name = name};
    enum status status = row_reader_init(&reader, err);
    if (!status && (first % reader.view_bytes || n_bytes % reader.view_bytes))
        status = error_set(err, ERR_LIMIT, "tensor %s: bytes %llu + %zu are no whole rows", name,
                           (unsigned long long)first, n_bytes);
    uint64_t row = status ? 0 : first / reader.view_bytes;
    uint8_t *to_bytes = out;
    for (size_t left = status ? 0 : n_bytes / reader.view_bytes; left > 0 && !status;) {
        uint64_t in_part = row % source->part_rows, rest = source->part_rows - in_part;
        size_t n = left < rest ? left : (size_t)rest;
        status =
            read_part_rows(&reader, (size_t)(row / source->part_rows), in_part, n, to_bytes, err);
        row += n;
        left -= n;
        to_bytes += n * reader.view_bytes;
    }
    mem_free(reader.memory);
    return status;
}
