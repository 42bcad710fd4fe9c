/* Bounded cursor over little-endian bytes, from memory or from a file read with pread.
 *
 * Every read checks what is left first. The first failure is kept (in `err`, naming `what` and the
 * offset) and every later read returns zero, so a parser checks once per record. Nothing is mapped:
 * a file that shrinks while it is read is an error, not a SIGBUS. */
#ifndef WICARA_BASE_READER_H
#define WICARA_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { READER_WINDOW_BYTES = 1 << 16 };

struct reader {
    const uint8_t *memory;  // whole input, or NULL for a file
    int fd;                 // borrowed, -1 for memory
    uint64_t bytes;         // size of the whole input
    uint64_t offset;        // of the next byte to read
    uint8_t *window;        // file only: READER_WINDOW_BYTES of the file at window_offset
    uint64_t window_offset;
    size_t window_bytes;
    struct error *err;
    bool failed;
};

void reader_init_memory(struct reader *reader, const void *memory, size_t bytes, struct error *err);
enum status reader_init_file(struct reader *reader, int fd, uint64_t bytes,
                             struct error *err) MUST_CHECK;
void reader_release(struct reader *reader);

uint64_t reader_left(const struct reader *reader);
uint8_t reader_u8(struct reader *reader, const char *what);
uint16_t reader_u16(struct reader *reader, const char *what);
uint32_t reader_u32(struct reader *reader, const char *what);
uint64_t reader_u64(struct reader *reader, const char *what);
float reader_f32(struct reader *reader, const char *what);
double reader_f64(struct reader *reader, const char *what);
bool reader_bytes(struct reader *reader, void *out, size_t n_bytes, const char *what);
bool reader_skip(struct reader *reader, uint64_t n_bytes, const char *what);

/* pread until all is there; a short file or an I/O error is ERR_IO naming `what`. */
enum status read_exactly(int fd, void *out, size_t n_bytes, uint64_t offset, const char *what,
                         struct error *err) MUST_CHECK;

#endif
