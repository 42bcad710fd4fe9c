/* Element types of stored tensors: GGUF's numbers, block shapes and names, and the conversions
 * of half-width floats. Source: the GGUF specification. */
#ifndef WICARA_BASE_DTYPE_H
#define WICARA_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* name, GGUF id, elements a block, bytes a block */
#define DTYPE_LIST(X)                                                                              \
    X(F32, 0, 1, 4)                                                                                \
    X(F16, 1, 1, 2)                                                                                \
    X(Q4_0, 2, 32, 18)                                                                             \
    X(Q4_1, 3, 32, 20)                                                                             \
    X(Q5_0, 6, 32, 22)                                                                             \
    X(Q5_1, 7, 32, 24)                                                                             \
    X(Q8_0, 8, 32, 34)                                                                             \
    X(Q2_K, 10, 256, 84)                                                                           \
    X(Q3_K, 11, 256, 110)                                                                          \
    X(Q4_K, 12, 256, 144)                                                                          \
    X(Q5_K, 13, 256, 176)                                                                          \
    X(Q6_K, 14, 256, 210)                                                                          \
    X(IQ2_XXS, 16, 256, 66)                                                                        \
    X(IQ2_XS, 17, 256, 74)                                                                         \
    X(IQ3_XXS, 18, 256, 98)                                                                        \
    X(IQ1_S, 19, 256, 50)                                                                          \
    X(IQ4_NL, 20, 32, 18)                                                                          \
    X(IQ3_S, 21, 256, 110)                                                                         \
    X(IQ2_S, 22, 256, 82)                                                                          \
    X(IQ4_XS, 23, 256, 136)                                                                        \
    X(I8, 24, 1, 1)                                                                                \
    X(I16, 25, 1, 2)                                                                               \
    X(I32, 26, 1, 4)                                                                               \
    X(I64, 27, 1, 8)                                                                               \
    X(F64, 28, 1, 8)                                                                               \
    X(IQ1_M, 29, 256, 56)                                                                          \
    X(BF16, 30, 1, 2)                                                                              \
    X(TQ1_0, 34, 256, 54)                                                                          \
    X(TQ2_0, 35, 256, 66)                                                                          \
    X(MXFP4, 39, 32, 17)                                                                           \
    X(NVFP4, 40, 64, 36)

enum dtype {
#define X(name, id, elements, bytes) DTYPE_##name = id,
    DTYPE_LIST(X)
#undef X
};

enum { DTYPE_SLOTS = 64 };  // more than any number in the list: bounds of tables by type

struct dtype_info {
    const char *name;       // "Q4_K"
    size_t block_elements;  // elements a block
    size_t block_bytes;     // bytes a block
};

/* NULL for a number that is not in the list. */
const struct dtype_info *dtype_info(uint32_t id);

static inline float f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t f32_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
/* Exact widening; narrowing rounds to nearest even as the F16C instructions do. */
float f32_from_f16(uint16_t half);
uint16_t f16_from_f32(float value);
static inline float f32_from_bf16(uint16_t half)
{
    return f32_from_bits((uint32_t)half << 16);
}
uint16_t bf16_from_f32(float value);
/* 2^(exponent - 128): half of what OCP's e8m0 means, for formats whose values are stored doubled.
 * No value of the byte is special. */
static inline float f32_from_e8m0_half(uint8_t exponent)
{
    return f32_from_bits(exponent < 2 ? 0x00200000u << exponent : (exponent - 1u) << 23);
}
/* Half of what the 7 bits of an unsigned OCP e4m3 mean, for the same reason; 0x7f, not a number in
 * OCP's terms, counts on: 240. */
static inline float f32_from_e4m3_half(uint8_t bits)
{
    return f32_from_f16((uint16_t)((bits & 0x7f) << 7)) * 128.0f;
}

#endif
