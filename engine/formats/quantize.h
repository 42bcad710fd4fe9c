/* Quantising rows of floats when a model is loaded. Each function is its own specification: the
 * order of all operations is written down, so the bytes are the same on every machine. */
#ifndef WICARA_FORMATS_QUANTIZE_H
#define WICARA_FORMATS_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"

/* Whether quantize_row makes this type; F32, F16 and BF16 count as types that can be made. */
bool quantize_supports(enum dtype dtype);

/* n elements (whole blocks) of `in` as `dtype` into `out`. */
void quantize_row(enum dtype dtype, const float *in, size_t n, void *out);

#endif
