/* A growing byte buffer with a cap set at birth.
 *
 * Invariants: bytes is NULL or has room for n_bytes + 1 and ends with a NUL that is not counted;
 * n_bytes <= bytes_max. A failed append leaves the contents as they were, sets `failed` and makes
 * every later append fail too, so that a chain of appends needs one check at its end. */
#ifndef WICARA_BASE_BUF_H
#define WICARA_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct buf {
    char *bytes;
    size_t n_bytes;
    size_t capacity;
    size_t bytes_max;
    bool failed;     // the cap was reached or memory is out
    bool no_memory;  // it was memory
};

void buf_init(struct buf *buf, size_t bytes_max);
bool buf_append(struct buf *buf, const void *bytes, size_t n_bytes);
bool buf_append_text(struct buf *buf, const char *text);
bool buf_append_char(struct buf *buf, char c);
bool buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
bool buf_append_number(struct buf *buf, uint64_t number);  // decimal; cheaper than buf_printf()
/* The text as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
bool buf_append_json(struct buf *buf, const char *bytes, size_t n_bytes);
void buf_truncate(struct buf *buf, size_t n_bytes);
void buf_clear(struct buf *buf);  // contents gone, memory kept, `failed` reset
void buf_release(struct buf *buf);
/* Hands the NUL-terminated memory (mem_free) to the caller; NULL when empty or failed. */
char *buf_detach(struct buf *buf);
/* OK, or ERR_LIMIT / ERR_MEMORY naming `what` when an append failed. */
enum status buf_status(const struct buf *buf, const char *what, struct error *err) MUST_CHECK;

#endif
