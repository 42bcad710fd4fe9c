/* Reads the golden files of tests/golden/tokenizer, records of counted fields (make_goldens.py). */
#ifndef WICARA_TESTS_GOLDEN_RECORDS_H
#define WICARA_TESTS_GOLDEN_RECORDS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct golden_field {
    uint32_t count;
    union {
        const char *bytes;
        const int32_t *numbers;  // copied, aligned
    };
};

struct golden_file {
    char *bytes;
    size_t n_bytes;
    size_t at;
    int32_t numbers[512];
};

static inline bool golden_open(struct golden_file *out, const char *path)
{
    enum { BYTES_MAX = 4 << 20 };
    *out = (struct golden_file){.bytes = malloc(BYTES_MAX)};
    gzFile file = gzopen(path, "rb");
    if (!file || !out->bytes)
        return false;
    int n = gzread(file, out->bytes, BYTES_MAX);
    gzclose(file);
    out->n_bytes = n > 0 ? (size_t)n : 0;
    return n > 0 && n < BYTES_MAX;
}

/* The next field; false at the end. item_bytes is 1 or 4. */
static inline bool golden_next(struct golden_file *file, size_t item_bytes,
                               struct golden_field *out)
{
    if (file->n_bytes - file->at < 4)
        return false;
    memcpy(&out->count, file->bytes + file->at, 4);
    size_t n = out->count * item_bytes;
    if (file->n_bytes - file->at - 4 < n || (item_bytes == 4 && n > sizeof file->numbers))
        return false;
    out->bytes = file->bytes + file->at + 4;
    if (item_bytes == 4) {
        memcpy(file->numbers, out->bytes, n);
        out->numbers = file->numbers;
    }
    file->at += 4 + n;
    return true;
}

static inline void golden_close(struct golden_file *file)
{
    free(file->bytes);
}

#endif
