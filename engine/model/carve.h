/* Cutting one mapping into aligned buffers: a layout function runs twice, once without memory to
 * learn the size, once with it to set the pointers. */
#ifndef WICARA_MODEL_CARVE_H
#define WICARA_MODEL_CARVE_H

#include <stdint.h>

#include "engine/base/mem.h"

struct carve {
    uint8_t *memory;  // NULL: only count
    size_t used;
    bool overflow;  // a size did not fit; pointers are NULL from there on
};

/* The next piece of count * bytes, 64-byte aligned. */
static inline void *carve(struct carve *from, size_t count, size_t bytes)
{
    size_t n;
    if (from->overflow || !size_mul(count, bytes, &n) || !size_add(n, 63, &n) ||
        !size_add(from->used, n & ~(size_t)63, &n)) {
        from->overflow = true;
        return NULL;
    }
    void *piece = from->memory ? from->memory + from->used : NULL;
    from->used = n;
    return piece;
}

#endif
