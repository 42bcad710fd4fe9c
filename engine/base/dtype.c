/* The table of element types and the half-width float conversions; see dtype.h.
 *
 * Conversions are plain integer code, equal to the F16C instructions for every input, so that the
 * scalar kernels and the loaders need no instruction set. */
#include "engine/base/dtype.h"

#include <math.h>

static const struct {
    uint32_t id;
    struct dtype_info info;
} dtype_table[] = {
#define X(name, id, elements, bytes) {id, {#name, elements, bytes}},
    DTYPE_LIST(X)
#undef X
};

const struct dtype_info *dtype_info(uint32_t id)
{
    for (size_t i = 0; i < sizeof dtype_table / sizeof dtype_table[0]; i++) {
        if (dtype_table[i].id == id)
            return &dtype_table[i].info;
    }
    return NULL;
}

float f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31;
    uint32_t mantissa = half & 1023;
    if (exponent == 31) {
        uint32_t quiet = mantissa ? 0x400000 : 0;  // as the hardware: a NaN comes out quiet
        return f32_from_bits(sign | 0x7f800000 | mantissa << 13 | quiet);
    }
    if (exponent == 0) {
        float value = (float)mantissa * 0x1p-24f;
        return f32_from_bits(f32_bits(value) | sign);
    }
    return f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t f16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)  // NaN: quiet, top mantissa bits kept
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000)  // rounds to 65536 or more
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) {  // below 2^-14: denormal or zero, rounded by the addition
        float shifted = f32_from_bits(magnitude) + 0.5f;  // ulp of 0.5 is 2^-24
        return (uint16_t)(sign | (f32_bits(shifted) - f32_bits(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

uint16_t bf16_from_f32(float value)
{
    uint32_t bits = f32_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
