/* Stored rows to floats, exactly as each format defines its values.
 *
 * The definition of the formats, one function a type, independent of the panels (pack.c): embedding
 * look-ups read rows as the file stores them, and tests hold both against each other and against
 * gguf-py's results. Products are rounded as written: d * sc is exact, then one product, then one
 * sum where there is a minimum. Source: the GGUF specification's block structures. */
#include <assert.h>
#include <string.h>

#include "engine/kernels/dequantize.h"
#include "engine/kernels/pack.h"
#include "engine/kernels/panel_layout.h"

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
struct PACKED block_nvfp4 {
    uint8_t scales[4];
    uint8_t qs[32];
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
_Static_assert(sizeof(struct block_nvfp4) == 36, "GGUF layout");

static void dequantize_q4_0(const void *stored, float *out)
{
    const struct block_q4_0 *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)((block->qs[i] & 15) - 8);
        out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
    }
}

static void dequantize_q4_1(const void *stored, float *out)
{
    const struct block_q4_1 *block = stored;
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

static void dequantize_q5_0(const void *stored, float *out)
{
    const struct block_q5_0 *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)(quant_5bit(block->qs, block->qh, i) - 16);
}

static void dequantize_q5_1(const void *stored, float *out)
{
    const struct block_q5_1 *block = stored;
    float d = f32_from_f16(block->d), m = f32_from_f16(block->m);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)quant_5bit(block->qs, block->qh, i) + m;
}

static void dequantize_q8_0(const void *stored, float *out)
{
    const struct block_q8_0 *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 32; i++)
        out[i] = d * (float)block->qs[i];
}

/* Element i of a super-block that keeps 4 times 32 elements at bit pairs of 32 bytes. */
static int quant_2bit(const uint8_t qs[64], size_t i)
{
    return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

static void dequantize_q2_k(const void *stored, float *out)
{
    const struct block_q2_k *block = stored;
    float d = f32_from_f16(block->d), dmin = f32_from_f16(block->dmin);
    for (size_t i = 0; i < 256; i++) {
        float scale = d * (float)(block->scales[i / 16] & 15);
        float min = dmin * (float)(block->scales[i / 16] >> 4);
        out[i] = scale * (float)quant_2bit(block->qs, i) - min;
    }
}

static void dequantize_q3_k(const void *stored, float *out)
{
    const struct block_q3_k *block = stored;
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

static void dequantize_q4_k(const void *stored, float *out)
{
    const struct block_q4_k *block = stored;
    for (size_t sub = 0; sub < 8; sub++) {
        float scale, min;
        scale_min(block->scales, sub, &scale, &min);
        float d = f32_from_f16(block->d) * scale, m = f32_from_f16(block->dmin) * min;
        const uint8_t *qs = block->qs + sub / 2 * 32;
        for (size_t i = 0; i < 32; i++)
            out[32 * sub + i] = d * (float)(qs[i] >> (sub % 2 * 4) & 15) - m;
    }
}

static void dequantize_q5_k(const void *stored, float *out)
{
    const struct block_q5_k *block = stored;
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

static void dequantize_q6_k(const void *stored, float *out)
{
    const struct block_q6_k *block = stored;
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

static void dequantize_iq4_nl(const void *stored, float *out)
{
    const struct block_iq4_nl *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)VALUES_IQ4[block->qs[i] & 15];
        out[i + 16] = d * (float)VALUES_IQ4[block->qs[i] >> 4];
    }
}

static void dequantize_iq4_xs(const void *stored, float *out)
{
    const struct block_iq4_xs *block = stored;
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

static void dequantize_mxfp4(const void *stored, float *out)
{
    const struct block_mxfp4 *block = stored;
    float d = f32_from_e8m0_half(block->e);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)VALUES_E2M1[block->qs[i] & 15];
        out[i + 16] = d * (float)VALUES_E2M1[block->qs[i] >> 4];
    }
}

/* Nibbles j and j + 8 of each 16. The scale has no sign; the code that is not a number means 0. */
static void dequantize_nvfp4(const void *stored, float *out)
{
    const struct block_nvfp4 *block = stored;
    for (size_t i = 0; i < 64; i++) {
        uint8_t scale = block->scales[i / 16];
        float d = scale == 0x7f ? 0.0f : f32_from_e4m3_half(scale);
        uint8_t both = block->qs[i / 16 * 8 + i % 8];
        out[i] = d * (float)VALUES_E2M1[i % 16 < 8 ? both & 15 : both >> 4];
    }
}

/* One block of each type. */
static dequantize_fn *const BLOCK_OF[DTYPE_SLOTS] = {
#define X(name, type) [DTYPE_##type] = dequantize_##name,
    GEMM_Q8_TYPES(X)
#undef X
        [DTYPE_IQ2_S] = dequantize_iq2_s,
    [DTYPE_TQ1_0] = dequantize_tq1_0};

void dequantize_row(enum dtype dtype, const void *blocks, size_t n_cols, float *out)
{
    assert(pack_panel_bytes(dtype, n_cols) > 0);
    const struct half *halves = blocks;
    const struct dtype_info *info = dtype_info(dtype);
    if (dtype == DTYPE_F32) {
        memcpy(out, blocks, n_cols * sizeof *out);
        return;
    }
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16) {
        for (size_t i = 0; i < n_cols; i++)
            out[i] =
                dtype == DTYPE_F16 ? f32_from_f16(halves[i].bits) : f32_from_bf16(halves[i].bits);
        return;
    }
    const uint8_t *stored = blocks;
    for (size_t col = 0; col < n_cols; col += info->block_elements, stored += info->block_bytes)
        BLOCK_OF[dtype](stored, out + col);
}
