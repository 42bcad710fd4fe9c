/* The capped growing buffer; see buf.h for its invariants.
 *
 * Growth doubles, bounded by the cap; the first failure sticks, so writers need no check per
 * call. */
#include "engine/base/buf.h"

#include <stdarg.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void buf_init(struct buf *buf, size_t bytes_max)
{
    /* One less than all there is, so that the byte for the NUL never wraps. */
    *buf = (struct buf){.bytes_max = bytes_max < SIZE_MAX ? bytes_max : SIZE_MAX - 1};
}

/* Room for n_bytes more and the NUL. */
static bool buf_grow(struct buf *buf, size_t n_bytes)
{
    if (buf->failed)
        return false;
    if (n_bytes > buf->bytes_max - buf->n_bytes) {
        buf->failed = true;
        return false;
    }
    size_t wanted = buf->n_bytes + n_bytes + 1;
    if (wanted <= buf->capacity)
        return true;
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < wanted)
        capacity = capacity > SIZE_MAX / 2 ? wanted : capacity * 2;
    if (capacity > buf->bytes_max + 1)
        capacity = buf->bytes_max + 1;
    char *bytes = mem_realloc_array(buf->bytes, capacity, 1);
    if (!bytes) {
        buf->failed = buf->no_memory = true;
        return false;
    }
    buf->bytes = bytes;
    buf->capacity = capacity;
    return true;
}

bool buf_append(struct buf *buf, const void *bytes, size_t n_bytes)
{
    if (!buf_grow(buf, n_bytes))
        return false;
    if (n_bytes)
        memcpy(buf->bytes + buf->n_bytes, bytes, n_bytes);
    buf->n_bytes += n_bytes;
    buf->bytes[buf->n_bytes] = '\0';
    return true;
}

bool buf_append_text(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

bool buf_append_char(struct buf *buf, char c)
{
    return buf_append(buf, &c, 1);
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    bool ok = n >= 0 && buf_grow(buf, (size_t)n);
    if (ok) {
        vsnprintf(buf->bytes + buf->n_bytes, (size_t)n + 1, format, again);
        buf->n_bytes += (size_t)n;
    } else {
        buf->failed = true;
    }
    va_end(again);
    return ok;
}

bool buf_append_number(struct buf *buf, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return buf_append(buf, digits + at, sizeof digits - at);
}

bool buf_append_json(struct buf *buf, const char *bytes, size_t n_bytes)
{
    static const char *const hex = "0123456789abcdef";
    size_t start = buf->n_bytes;
    buf_append_char(buf, '"');
    size_t plain = 0;  // start of the run that needs no escape
    for (size_t i = 0; i < n_bytes;) {
        unsigned char c = (unsigned char)bytes[i];
        uint32_t code_point;
        size_t n = c < 0x80 ? 1 : utf8_decode(bytes + i, n_bytes - i, &code_point);
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            i += n;
            continue;
        }
        buf_append(buf, bytes + plain, i - plain);
        i++;
        plain = i;
        if (n == 0)
            buf_append_text(buf, "\xef\xbf\xbd");
        else if (c == '"' || c == '\\')
            buf_append(buf, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buf_append_text(buf, "\\n");
        else if (c == '\r')
            buf_append_text(buf, "\\r");
        else if (c == '\t')
            buf_append_text(buf, "\\t");
        else
            buf_append(buf, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
    buf_append(buf, bytes + plain, n_bytes - plain);
    buf_append_char(buf, '"');
    if (buf->failed && buf->bytes)
        buf_truncate(buf, start);
    return !buf->failed;
}

void buf_truncate(struct buf *buf, size_t n_bytes)
{
    if (n_bytes < buf->n_bytes) {
        buf->n_bytes = n_bytes;
        buf->bytes[n_bytes] = '\0';
    }
}

void buf_clear(struct buf *buf)
{
    buf_truncate(buf, 0);
    buf->failed = buf->no_memory = false;
}

void buf_release(struct buf *buf)
{
    mem_free(buf->bytes);
    buf->bytes = NULL;
    buf->n_bytes = 0;
    buf->capacity = 0;
}

char *buf_detach(struct buf *buf)
{
    char *bytes = buf->failed ? NULL : buf->bytes;
    if (bytes) {
        buf->bytes = NULL;
        buf->n_bytes = 0;
        buf->capacity = 0;
    }
    return bytes;
}

enum status buf_status(const struct buf *buf, const char *what, struct error *err)
{
    if (!buf->failed)
        return OK;
    if (buf->no_memory)
        return error_set(err, ERR_MEMORY, "no memory for %s", what);
    return error_set(err, ERR_LIMIT, "%s is larger than %zu bytes", what, buf->bytes_max);
}
