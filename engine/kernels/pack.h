/* Weights in panels of 16 output rows.
 *
 * A packed matrix is n_rows padded up to 16 (zero rows) by n_cols; panel p holds rows 16p..16p+15
 * as one contiguous, 64-byte aligned span of panel_bytes. The layout inside is the business of the
 * gemm kernels of its type and is described in panel_layout.h. */
#ifndef WICARA_KERNELS_PACK_H
#define WICARA_KERNELS_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"

/* True for the types that have gemm kernels: F32 F16 BF16, Q4_0 Q4_1 Q5_0 Q5_1 Q8_0, Q2_K to Q6_K,
 * IQ4_NL IQ4_XS, MXFP4 NVFP4, IQ3_S IQ3_XXS, IQ2_S IQ2_XS IQ2_XXS, IQ1_M IQ1_S, TQ1_0 TQ2_0. */
bool pack_supports(enum dtype dtype);
/* Bytes of one panel of n_cols columns; 0 when the type or n_cols does not fit together. 16 rows as
 * the file stores them and at most 63 bytes more, but for types that panels hold wider
 * (panel_layout.h): Q3_K and IQ4_XS take 4 and 1.5 % more, IQ3 25 to 41 %, IQ2 39 to 61 %, IQ1
 * and TQ1_0 22 to 112 %. */
size_t pack_panel_bytes(enum dtype dtype, size_t n_cols);
/* Packs one panel from up to 16 source rows as the file stores them (rows[i] NULL = zero row). */
void pack_panel(enum dtype dtype, size_t n_cols, const void *const rows[16], void *panel);
/* One row of stored blocks to floats, exactly as the format defines it (embedding look-ups, tests).
 * */
void dequantize_row(enum dtype dtype, const void *blocks, size_t n_cols, float *out);
/* One row out of a packed panel to floats: equal to dequantize_row of the source. */
void unpack_row(enum dtype dtype, size_t n_cols, const void *panel, size_t lane, float *out);

#endif
