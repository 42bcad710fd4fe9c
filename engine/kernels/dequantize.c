/* Stored rows to floats, exactly as each format defines its values.
 *
 * The definition of the formats, one function a type, independent of the panels (pack.c): embedding
 * look-ups read rows as the file stores them, and tests hold both against each other and against
 * gguf-py's results. Products are rounded as written: d * sc is exact, then one product, then one
 * sum where there is a minimum. Source: the GGUF specification's block structures. */
#include <assert.h>
#include <string.h>

#include "engine/kernels/pack.h"

#define PACKED __attribute__((packed))  // rows of a file may lie at odd addresses

struct PACKED half {
    uint16_t bits;
};
struct PACKED block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
};
struct PACKED block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
};
struct PACKED block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct PACKED block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct PACKED block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};
struct PACKED block_q2_k {
    uint8_t scales[16];  // scale in the low nibble, minimum in the high
    uint8_t qs[64];
    uint16_t d, dmin;
};
struct PACKED block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};
struct PACKED block_q4_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};
struct PACKED block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};
struct PACKED block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};
struct PACKED block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};
struct PACKED block_iq4_xs {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};
struct PACKED block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};

_Static_assert(sizeof(struct block_q4_0) == 18, "GGUF layout");
_Static_assert(sizeof(struct block_q4_1) == 20, "GGUF layout");
_Static_assert(sizeof(struct block_q5_0) == 22, "GGUF layout");
_Static_assert(sizeof(struct block_q5_1) == 24, "GGUF layout");
_Static_assert(sizeof(struct block_q8_0) == 34, "GGUF layout");
_Static_assert(sizeof(struct block_q2_k) == 84, "GGUF layout");
_Static_assert(sizeof(struct block_q3_k) == 110, "GGUF layout");
_Static_assert(sizeof(struct block_q4_k) == 144, "GGUF layout");
_Static_assert(sizeof(struct block_q5_k) == 176, "GGUF layout");
_Static_assert(sizeof(struct block_q6_k) == 210, "GGUF layout");
_Static_assert(sizeof(struct block_iq4_nl) == 18, "GGUF layout");
_Static_assert(sizeof(struct block_iq4_xs) == 136, "GGUF layout");
_Static_assert(sizeof(struct block_mxfp4) == 17, "GGUF layout");

static void dequantize_q4_0(const struct block_q4_0 *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)((block->qs[i] & 15) - 8);
        out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
    }
}

static void dequantize_q4_1(const struct block_q4_1 *block, float *out)
{
    float d = f32_from_f16(block->d), m = f32_from_f16(block->m);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)(block->qs[i] & 15) + m;
        out[i + 16] = d * (float)(block->qs[i] >> 4) + m;
    }
}

/* Element i of 32: nibble and fifth bit. */
static int quant_5bit(const uint8_t qs[16], const uint8_t qh[4], size_t i)
{
    int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
    return low | (qh[i / 8] >> (i % 8) & 1) << 4;
}

static void dequantize_q5_0(const struct block_q5_0 *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)(quant_5bit(block->qs, block->qh, i) - 16);
}

static void dequantize_q5_1(const struct block_q5_1 *block, float *out)
{
    float d = f32_from_f16(block->d), m = f32_from_f16(block->m);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)quant_5bit(block->qs, block->qh, i) + m;
}

static void dequantize_q8_0(const struct block_q8_0 *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)block->qs[i];
}

/* Element i of a super-block that keeps 4 times 32 elements at bit pairs of 32 bytes. */
static int quant_2bit(const uint8_t qs[64], size_t i)
{
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void dequantize_q2_k(const struct block_q2_k *block, float *out)
{
    float d = f32_from_f16(block->d), dmin = f32_from_f16(block->dmin);
    for (size_t i = 0; i < 256; i++) {
        float scale = d * (float)(block->scales[i / 16] & 15);
        float min = dmin * (float)(block->scales[i / 16] >> 4);
        out[i] = scale * (float)quant_2bit(block->qs, i) - min;
    }
}

static void dequantize_q3_k(const struct block_q3_k *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 256; i++) {
        size_t sub = i / 16;
        int low = block->scales[sub % 8] >> (sub / 8 * 4) & 15;
        int high = block->scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
        int bit = block->hmask[i % 32] >> (i / 32) & 1;
        float scale = d * (float)((low | high << 4) - 32);
        out[i] = scale * (float)(quant_2bit(block->qs, i) - (bit ? 0 : 4));
    }
}

/* Scale and minimum of sub-block `sub`: eight of six bits each in 12 bytes. */
static void scale_min(const uint8_t packed[12], size_t sub, float *scale, float *min)
{
    int s = sub < 4 ? packed[sub] & 63 : (packed[sub + 4] & 15) | packed[sub - 4] >> 6 << 4;
    int m = sub < 4 ? packed[sub + 4] & 63 : packed[sub + 4] >> 4 | packed[sub] >> 6 << 4;
    *scale = (float)s;
    *min = (float)m;
}

static void dequantize_q4_k(const struct block_q4_k *block, float *out)
{
    for (size_t sub = 0; sub < 8; sub++) {
        float scale, min;
        scale_min(block->scales, sub, &scale, &min);
        float d = f32_from_f16(block->d) * scale, m = f32_from_f16(block->dmin) * min;
        const uint8_t *qs = block->qs + sub / 2 * 32;
        for (size_t i = 0; i < 32; i++)
            out[32 * sub + i] = d * (float)(qs[i] >> (sub % 2 * 4) & 15) - m;
    }
}

static void dequantize_q5_k(const struct block_q5_k *block, float *out)
{
    for (size_t sub = 0; sub < 8; sub++) {
        float scale, min;
        scale_min(block->scales, sub, &scale, &min);
        float d = f32_from_f16(block->d) * scale, m = f32_from_f16(block->dmin) * min;
        const uint8_t *qs = block->qs + sub / 2 * 32;
        for (size_t i = 0; i < 32; i++) {
            int q = (qs[i] >> (sub % 2 * 4) & 15) | (block->qh[i] >> sub & 1) << 4;
            out[32 * sub + i] = d * (float)q - m;
        }
    }
}

static void dequantize_q6_k(const struct block_q6_k *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 256; i++) {
        size_t half = i / 128, part = i % 128 / 32, at = i % 32;
        int low = block->ql[64 * half + 32 * (part % 2) + at] >> (part / 2 * 4) & 15;
        int high = block->qh[32 * half + at] >> (2 * part) & 3;
        float scale = d * (float)block->scales[i / 16];
        out[i] = scale * (float)((low | high << 4) - 32);
    }
}

static const int8_t VALUES_IQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

static void dequantize_iq4_nl(const struct block_iq4_nl *block, float *out)
{
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)VALUES_IQ4[block->qs[i] & 15];
        out[i + 16] = d * (float)VALUES_IQ4[block->qs[i] >> 4];
    }
}

static void dequantize_iq4_xs(const struct block_iq4_xs *block, float *out)
{
    for (size_t sub = 0; sub < 8; sub++) {
        int low = block->scales_l[sub / 2] >> (sub % 2 * 4) & 15;
        int high = block->scales_h >> (2 * sub) & 3;
        float d = f32_from_f16(block->d) * (float)((low | high << 4) - 32);
        const uint8_t *qs = block->qs + 16 * sub;
        for (size_t i = 0; i < 16; i++) {
            out[32 * sub + i] = d * (float)VALUES_IQ4[qs[i] & 15];
            out[32 * sub + i + 16] = d * (float)VALUES_IQ4[qs[i] >> 4];
        }
    }
}

static const int8_t VALUES_E2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void dequantize_mxfp4(const struct block_mxfp4 *block, float *out)
{
    float d = f32_from_e8m0_half(block->e);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)VALUES_E2M1[block->qs[i] & 15];
        out[i + 16] = d * (float)VALUES_E2M1[block->qs[i] >> 4];
    }
}

#define DEQUANTIZE_BLOCKS(type, elements)                                                          \
    for (size_t i = 0; i < n_cols / (elements); i++)                                               \
    dequantize_##type((const struct block_##type *)blocks + i, out + i * (elements))

void dequantize_row(enum dtype dtype, const void *blocks, size_t n_cols, float *out)
{
    assert(pack_panel_bytes(dtype, n_cols) > 0);
    const struct half *halves = blocks;
    switch (dtype) {
    case DTYPE_F32:
        memcpy(out, blocks, n_cols * sizeof *out);
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < n_cols; i++)
            out[i] = f32_from_f16(halves[i].bits);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n_cols; i++)
            out[i] = f32_from_bf16(halves[i].bits);
        break;
    case DTYPE_Q4_0:
        DEQUANTIZE_BLOCKS(q4_0, 32);
        break;
    case DTYPE_Q4_1:
        DEQUANTIZE_BLOCKS(q4_1, 32);
        break;
    case DTYPE_Q5_0:
        DEQUANTIZE_BLOCKS(q5_0, 32);
        break;
    case DTYPE_Q5_1:
        DEQUANTIZE_BLOCKS(q5_1, 32);
        break;
    case DTYPE_Q8_0:
        DEQUANTIZE_BLOCKS(q8_0, 32);
        break;
    case DTYPE_Q4_K:
        DEQUANTIZE_BLOCKS(q4_k, 256);
        break;
    case DTYPE_Q5_K:
        DEQUANTIZE_BLOCKS(q5_k, 256);
        break;
    case DTYPE_Q6_K:
        DEQUANTIZE_BLOCKS(q6_k, 256);
        break;
    case DTYPE_Q2_K:
        DEQUANTIZE_BLOCKS(q2_k, 256);
        break;
    case DTYPE_Q3_K:
        DEQUANTIZE_BLOCKS(q3_k, 256);
        break;
    case DTYPE_IQ4_NL:
        DEQUANTIZE_BLOCKS(iq4_nl, 32);
        break;
    case DTYPE_IQ4_XS:
        DEQUANTIZE_BLOCKS(iq4_xs, 256);
        break;
    case DTYPE_MXFP4:
        DEQUANTIZE_BLOCKS(mxfp4, 32);
        break;
    default:
        assert(!"no product type");
        break;
    }
}
