/* Super-blocks of 256 weights to floats, the types in dequantize_codebook.c (private to
 * engine/kernels). `stored` is one block as a file holds it, at any address. */
#ifndef WICARA_KERNELS_DEQUANTIZE_H
#define WICARA_KERNELS_DEQUANTIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/dtype.h"

typedef void dequantize_fn(const void *stored, float *out);
dequantize_fn dequantize_iq2_xxs, dequantize_iq2_xs, dequantize_iq2_s;
dequantize_fn dequantize_iq3_xxs, dequantize_iq3_s, dequantize_iq1_s, dequantize_iq1_m;
dequantize_fn dequantize_tq1_0, dequantize_tq2_0;

#endif
