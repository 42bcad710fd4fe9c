/* The bounded cursor; see reader.h. All file formats are read through it.
 *
 * A file is read through a window, so that thousands of small fields cost few system calls; a large
 * field goes straight to its place. */
#include "engine/base/reader.h"

#include <errno.h>
#include <unistd.h>

#include "engine/base/mem.h"

enum status read_exactly(int fd, void *out, size_t n_bytes, uint64_t offset, const char *what,
                         struct error *err)
{
    char *to = out;
    while (n_bytes > 0) {
        if (offset > INT64_MAX)
            return error_set(err, ERR_IO, "%s: offset %llu is too large", what,
                             (unsigned long long)offset);
        ssize_t n = pread(fd, to, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERR_IO, "%s: read at byte %llu failed: %s", what,
                             (unsigned long long)offset, strerror(errno));
        if (n == 0)
            return error_set(err, ERR_IO, "%s: the file ends at byte %llu, %zu more were expected",
                             what, (unsigned long long)offset, n_bytes);
        to += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return OK;
}

void reader_init_memory(struct reader *reader, const void *memory, size_t bytes, struct error *err)
{
    *reader = (struct reader){.memory = memory, .fd = -1, .bytes = bytes, .err = err};
}

enum status reader_init_file(struct reader *reader, int fd, uint64_t bytes, struct error *err)
{
    *reader = (struct reader){.fd = fd, .bytes = bytes, .err = err};
    reader->window = mem_alloc(READER_WINDOW_BYTES);
    if (!reader->window) {
        reader->failed = true;
        return error_set(err, ERR_MEMORY, "no memory for the read window");
    }
    return OK;
}

void reader_release(struct reader *reader)
{
    mem_free(reader->window);
    reader->window = NULL;
}

uint64_t reader_left(const struct reader *reader)
{
    return reader->failed ? 0 : reader->bytes - reader->offset;
}

/* True when n_bytes are left; else records the failure. */
static bool reader_check(struct reader *reader, uint64_t n_bytes, const char *what)
{
    if (reader->failed)
        return false;
    if (n_bytes <= reader->bytes - reader->offset)
        return true;
    reader->failed = true;
    error_set(reader->err, ERR_FORMAT, "%s at byte %llu needs %llu bytes, %llu are left", what,
              (unsigned long long)reader->offset, (unsigned long long)n_bytes,
              (unsigned long long)(reader->bytes - reader->offset));
    return false;
}

/* Copies from the file through the window; large reads go straight to their place. */
static bool reader_copy_file(struct reader *reader, uint8_t *out, size_t n_bytes, const char *what)
{
    while (n_bytes > 0) {
        uint64_t skip = reader->offset - reader->window_offset;
        if (reader->offset < reader->window_offset || skip >= reader->window_bytes) {
            if (n_bytes >= READER_WINDOW_BYTES) {
                if (read_exactly(reader->fd, out, n_bytes, reader->offset, what, reader->err))
                    return false;
                reader->offset += n_bytes;
                return true;
            }
            uint64_t left = reader->bytes - reader->offset;
            size_t fill = left < READER_WINDOW_BYTES ? (size_t)left : READER_WINDOW_BYTES;
            reader->window_bytes = 0;
            if (read_exactly(reader->fd, reader->window, fill, reader->offset, what, reader->err))
                return false;
            reader->window_offset = reader->offset;
            reader->window_bytes = fill;
            skip = 0;
        }
        size_t n = reader->window_bytes - (size_t)skip;
        if (n > n_bytes)
            n = n_bytes;
        memcpy(out, reader->window + skip, n);
        out += n;
        n_bytes -= n;
        reader->offset += n;
    }
    return true;
}

bool reader_bytes(struct reader *reader, void *out, size_t n_bytes, const char *what)
{
    if (!reader_check(reader, n_bytes, what)) {
        if (n_bytes)
            memset(out, 0, n_bytes);
        return false;
    }
    if (reader->memory) {
        if (n_bytes)
            memcpy(out, reader->memory + reader->offset, n_bytes);
        reader->offset += n_bytes;
        return true;
    }
    if (!reader_copy_file(reader, out, n_bytes, what)) {
        reader->failed = true;
        memset(out, 0, n_bytes);
        return false;
    }
    return true;
}

bool reader_skip(struct reader *reader, uint64_t n_bytes, const char *what)
{
    if (!reader_check(reader, n_bytes, what))
        return false;
    reader->offset += n_bytes;
    return true;
}

static uint64_t reader_little_endian(struct reader *reader, size_t n_bytes, const char *what)
{
    uint8_t bytes[8];
    uint64_t value = 0;
    reader_bytes(reader, bytes, n_bytes, what);
    for (size_t i = n_bytes; i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

uint8_t reader_u8(struct reader *reader, const char *what)
{
    return (uint8_t)reader_little_endian(reader, 1, what);
}

uint16_t reader_u16(struct reader *reader, const char *what)
{
    return (uint16_t)reader_little_endian(reader, 2, what);
}

uint32_t reader_u32(struct reader *reader, const char *what)
{
    return (uint32_t)reader_little_endian(reader, 4, what);
}

uint64_t reader_u64(struct reader *reader, const char *what)
{
    return reader_little_endian(reader, 8, what);
}

float reader_f32(struct reader *reader, const char *what)
{
    uint32_t bits = reader_u32(reader, what);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double reader_f64(struct reader *reader, const char *what)
{
    uint64_t bits = reader_u64(reader, what);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
