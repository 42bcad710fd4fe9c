/* Quantisation at load.
 *
 * Q8_0 is the reference's, bit for bit (gguf-py; tests/golden/quantize): d = max |x| / 127 in
 * float, q = round half away from zero of x * (1 / d), d stored as half.
 *
 * Q4_K has no reference that others would have to match. A block of 256 is 8 groups of 32 with
 * x ~ d * scale * q - dmin * min, q in 0..15, scale and min in 0..63. Each group first looks for
 * the line a * q - b, b >= 0, with the least squared error: from ranges a little wider and narrower
 * than the values', each followed by a least-squares fit of (a, b) to the levels it gave. Then d
 * and dmin are the largest a and b over 63 as halves, the 6-bit scales round to them, and the
 * levels are chosen again for the scales as they will be read.
 *
 * All arithmetic is float in the order written here; no fma (the build forbids contraction). */
#include "engine/formats/quantize.h"

#include <assert.h>
#include <math.h>

bool quantize_supports(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype == DTYPE_Q8_0 ||
           dtype == DTYPE_Q4_K;
}

static void put_half(uint8_t *out, uint16_t half)
{
    memcpy(out, &half, sizeof half);
}

/* ---- q8_0 ---- */

static void quantize_q8_0(const float *in, uint8_t *out)
{
    float largest = 0;
    for (size_t i = 0; i < 32; i++)
        largest = fmaxf(largest, fabsf(in[i]));
    float d = largest / 127;
    float inverse = d != 0 ? 1 / d : 0;
    put_half(out, f16_from_f32(d));
    for (size_t i = 0; i < 32; i++) {
        float scaled = fabsf(in[i] * inverse);
        float whole = floorf(scaled);
        whole += floorf(2 * (scaled - whole));
        whole = whole <= 127 ? whole : whole > 127 ? 127 : 0;  // the last for NaN
        out[2 + i] = (uint8_t)(int8_t)(in[i] < 0 ? -whole : whole);
    }
}

/* ---- q4_k ---- */

enum { GROUP = 32, GROUPS = 8, LEVELS = 15, SCALES = 63 };

static int nearest(float x, int max)
{
    float rounded = floorf(x + 0.5f);
    return !(rounded > 0) ? 0 : rounded > (float)max ? max : (int)rounded;
}

/* Levels of a group for the line a * q - b; returns the squared error. */
static float choose_levels(const float *in, float a, float b, uint8_t *levels)
{
    float inverse = a > 0 ? 1 / a : 0, error = 0;
    for (size_t i = 0; i < GROUP; i++) {
        int level = nearest((in[i] + b) * inverse, LEVELS);
        float miss = a * (float)level - b - in[i];
        levels[i] = (uint8_t)level;
        error += miss * miss;
    }
    return error;
}

/* The line of least squared error through the levels, with b >= 0. */
static void fit_line(const float *in, const uint8_t *levels, float *a, float *b)
{
    float sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
    for (size_t i = 0; i < GROUP; i++) {
        float q = levels[i];
        sum_q += q;
        sum_qq += q * q;
        sum_x += in[i];
        sum_qx += q * in[i];
    }
    float determinant = GROUP * sum_qq - sum_q * sum_q;
    if (determinant > 0) {
        *a = (GROUP * sum_qx - sum_q * sum_x) / determinant;
        *b = (sum_q * sum_qx - sum_qq * sum_x) / determinant;
    }
    if (*b < 0) {
        *b = 0;
        *a = sum_qq > 0 ? sum_qx / sum_qq : 0;
    }
    if (!(*a > 0))
        *a = 0;
}

/* The best line of a group. */
static void find_line(const float *in, float *best_a, float *best_b)
{
    float low = 0, high = in[0];
    for (size_t i = 0; i < GROUP; i++) {
        low = fminf(low, in[i]);
        high = fmaxf(high, in[i]);
    }
    *best_a = *best_b = 0;
    if (!(high > low)) {  // all zero, or all the same negative value
        *best_b = -low;
        return;
    }
    float best = INFINITY;
    for (int step = -4; step <= 8; step++) {
        uint8_t levels[GROUP];
        float a = (high - low) / ((float)LEVELS + 0.25f * (float)step), b = -low;
        choose_levels(in, a, b, levels);
        fit_line(in, levels, &a, &b);
        float error = choose_levels(in, a, b, levels);
        if (error < best) {
            best = error;
            *best_a = a;
            *best_b = b;
        }
    }
}

/* Eight pairs of 6 bits in 12 bytes: the first four plain, the others split. */
static void pack_scales(const uint8_t *scales, const uint8_t *mins, uint8_t *out)
{
    for (size_t j = 0; j < 4; j++) {
        out[j] = (uint8_t)(scales[j] | (scales[j + 4] >> 4) << 6);
        out[j + 4] = (uint8_t)(mins[j] | (mins[j + 4] >> 4) << 6);
        out[j + 8] = (uint8_t)((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
    }
}

static void quantize_q4_k(const float *in, uint8_t *out)
{
    float a[GROUPS], b[GROUPS], a_max = 0, b_max = 0;
    uint8_t scales[GROUPS], mins[GROUPS], levels[GROUPS * GROUP];
    for (size_t g = 0; g < GROUPS; g++) {
        find_line(in + g * GROUP, &a[g], &b[g]);
        a_max = fmaxf(a_max, a[g]);
        b_max = fmaxf(b_max, b[g]);
    }
    uint16_t d_half = f16_from_f32(a_max / SCALES), dmin_half = f16_from_f32(b_max / SCALES);
    float d = f32_from_f16(d_half), dmin = f32_from_f16(dmin_half);
    for (size_t g = 0; g < GROUPS; g++) {
        scales[g] = (uint8_t)(d > 0 ? nearest(a[g] / d, SCALES) : 0);
        mins[g] = (uint8_t)(dmin > 0 ? nearest(b[g] / dmin, SCALES) : 0);
        choose_levels(in + g * GROUP, d * scales[g], dmin * mins[g], levels + g * GROUP);
    }
    put_half(out, d_half);
    put_half(out + 2, dmin_half);
    pack_scales(scales, mins, out + 4);
    for (size_t pair = 0; pair < GROUPS / 2; pair++) {
        const uint8_t *low = levels + 2 * pair * GROUP, *high = low + GROUP;
        for (size_t i = 0; i < GROUP; i++)
            out[16 + pair * GROUP + i] = (uint8_t)(low[i] | high[i] << 4);
    }
}

void quantize_row(enum dtype dtype, const float *in, size_t n, void *out)
{
    const struct dtype_info *info = dtype_info(dtype);
    uint8_t *to = out;
    assert(quantize_supports(dtype) && n % info->block_elements == 0);
    for (size_t i = 0; i < n; i += info->block_elements, to += info->block_bytes) {
        switch (dtype) {
        case DTYPE_Q8_0:
            quantize_q8_0(in + i, to);
            break;
        case DTYPE_Q4_K:
            quantize_q4_k(in + i, to);
            break;
        case DTYPE_F16:
            put_half(to, f16_from_f32(in[i]));
            break;
        case DTYPE_BF16:
            put_half(to, bf16_from_f32(in[i]));
            break;
        default:
            memcpy(to, in + i, sizeof *in);
        }
    }
}
