/* SHA-256, a thin layer over nettle (its only user). */
#ifndef WICARA_BASE_SHA256_H
#define WICARA_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

/* Digest of up to three spans one after the other (a span may be NULL with 0 bytes). */
void sha256(uint8_t out[SHA256_BYTES], const void *a, size_t a_bytes, const void *b, size_t b_bytes,
            const void *c, size_t c_bytes);

#endif
