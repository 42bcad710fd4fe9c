/* Stored weights made from a seed, for the checks of products and packing. */
#ifndef WICARA_TESTS_KERNELS_WEIGHTS_H
#define WICARA_TESTS_KERNELS_WEIGHTS_H

#include "engine/kernels/pack.h"
#include "tests/kernels/check.h"

#define EACH(i, array)                                                                             \
    size_t i = 0;                                                                                  \
    i < sizeof(array) / sizeof(array)[0];                                                          \
    i++

static const enum dtype product_types[] = {
    DTYPE_Q4_0,    DTYPE_Q4_1,  DTYPE_Q5_0,    DTYPE_Q5_1,   DTYPE_Q8_0,   DTYPE_Q2_K,  DTYPE_Q3_K,
    DTYPE_Q4_K,    DTYPE_Q5_K,  DTYPE_Q6_K,    DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4, DTYPE_NVFP4,
    DTYPE_IQ3_XXS, DTYPE_IQ3_S, DTYPE_IQ2_XXS, DTYPE_IQ2_XS, DTYPE_IQ2_S,  DTYPE_IQ1_S, DTYPE_IQ1_M,
    DTYPE_TQ1_0,   DTYPE_TQ2_0, DTYPE_F16,     DTYPE_BF16,   DTYPE_F32};

static inline bool is_quantised(enum dtype dtype)
{
    return dtype != DTYPE_F16 && dtype != DTYPE_BF16 && dtype != DTYPE_F32;
}

static inline uint64_t weight_bits(uint32_t stream, size_t i, enum fill fill)
{
    return rng_bits(11, stream, (uint32_t)i, (uint32_t)fill);
}

/* Bytes of the two f16 fields of a block; -1 where there is none. */
static inline void scale_fields(enum dtype dtype, int at[2])
{
    at[0] = at[1] = -1;
    switch (dtype) {
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        at[0] = 0, at[1] = 2;
        break;
    case DTYPE_Q2_K:
        at[0] = 80, at[1] = 82;
        break;
    case DTYPE_Q3_K:
        at[0] = 108;
        break;
    case DTYPE_Q6_K:
        at[0] = 208;
        break;
    case DTYPE_TQ1_0:
        at[0] = 52;
        break;
    case DTYPE_TQ2_0:
        at[0] = 64;
        break;
    case DTYPE_MXFP4:
    case DTYPE_NVFP4:
    case DTYPE_IQ1_M:
        break;
    default:
        at[0] = 0;
        break;
    }
}

/* The exponent of MXFP4: near 2^-7, or its ends, the first two of which are denormals. */
static inline uint8_t exponent_value(enum fill fill, uint64_t bits)
{
    static const uint8_t extremes[] = {0, 1, 2, 255};
    if (fill == FILL_RANDOM)
        return (uint8_t)(118 + bits % 6);
    return fill == FILL_DENORMALS ? (uint8_t)(bits % 4) : extremes[bits % 4];
}

static inline uint16_t scale_value(enum fill fill, uint64_t bits)
{
    static const uint16_t extremes[] = {0x7bff, 0xfbff, 0x3c00, 0x8000};  // +-65504, 1, -0
    static const uint16_t specials[] = {0x7c00, 0xfc00, 0x7e00, 0x3c00};  // +-infinity, NaN, 1
    switch (fill) {
    case FILL_EXTREMES:
        return extremes[bits % 4];
    case FILL_SPECIALS:
        return specials[bits % 4];
    case FILL_DENORMALS:
        return (uint16_t)(bits & 0x83ff);
    default:
        return (uint16_t)((bits & 0x83ff) | (0x20 + bits % 7) << 8);  // 2^-7 .. 2^-5
    }
}

/* One row as a file stores it. Extreme quants are all bits set, none, or the sign bit (-128). */
static inline void make_row(enum dtype dtype, size_t n_cols, enum fill fill, uint32_t stream,
                            uint8_t *out)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t n_bytes = n_cols / info->block_elements * info->block_bytes;
    static const uint8_t extremes[] = {0x00, 0xff, 0x80, 0x7f};
    memset(out, 0, n_bytes);
    if (fill == FILL_ZEROS)
        return;
    if (!is_quantised(dtype)) {
        for (size_t i = 0; i < n_cols; i++) {
            float value = fill_value(fill, stream, i);
            uint16_t half = dtype == DTYPE_F16 ? f16_from_f32(value) : bf16_from_f32(value);
            if (dtype == DTYPE_F32)
                memcpy(out + 4 * i, &value, 4);
            else
                memcpy(out + 2 * i, &half, 2);
        }
        return;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        uint64_t bits = weight_bits(stream, i / 8, fill);
        out[i] = (uint8_t)(bits >> (i % 8 * 8));
        if (fill == FILL_EXTREMES)
            out[i] = extremes[weight_bits(stream + 1000, i / info->block_bytes, fill) % 4];
    }
    int at[2];
    scale_fields(dtype, at);
    for (size_t block = 0; block < n_bytes / info->block_bytes; block++) {
        for (int i = 0; i < 2; i++) {
            uint64_t bits = weight_bits(stream + 2000 + (uint32_t)i, block, fill);
            uint16_t half = scale_value(fill, bits);
            if (at[i] >= 0)
                memcpy(out + block * info->block_bytes + at[i], &half, 2);
            /* Four bits in each u16 of the scales. */
            for (size_t j = 0; dtype == DTYPE_IQ1_M && i == 0 && j < 4; j++) {
                uint8_t *at_j = out + block * info->block_bytes + 49 + 2 * j;
                *at_j = (uint8_t)((*at_j & 15) | (half >> (4 * j) & 15) << 4);
            }
            if (dtype == DTYPE_MXFP4)
                out[block * info->block_bytes] = exponent_value(fill, bits);
        }
    }
}

/* n_panels panels into `panels`; row i of the matrix is make_row of stream first_stream + i. */
static inline void make_panels(enum dtype dtype, size_t n_cols, size_t n_panels, enum fill fill,
                               uint32_t first_stream, uint8_t *panels)
{
    const struct dtype_info *info = dtype_info(dtype);
    size_t row_bytes = n_cols / info->block_elements * info->block_bytes;
    uint8_t *rows = malloc(PANEL_ROWS * row_bytes);
    for (size_t panel = 0; rows && panel < n_panels; panel++) {
        const void *pointers[PANEL_ROWS];
        for (size_t i = 0; i < PANEL_ROWS; i++) {
            uint32_t stream = first_stream + (uint32_t)(panel * PANEL_ROWS + i);
            make_row(dtype, n_cols, fill, stream, rows + i * row_bytes);
            pointers[i] = rows + i * row_bytes;
        }
        pack_panel(dtype, n_cols, pointers, panels + panel * pack_panel_bytes(dtype, n_cols));
    }
    free(rows);
}

#endif
