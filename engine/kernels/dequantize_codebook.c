/* Stored rows to floats, the types of codebooks and of base-3 digits; see dequantize.c.
 *
 * A group of 8 (IQ3: 4) weights is an entry of the type's codebook, and groups of 16 or 32 share a
 * scale. Every product here is exact: the halves and eighths of the formats are powers of two and
 * all integers small. Source: gguf-py's quants.py; the codebooks are data of the formats. */
#include <string.h>

#include "engine/kernels/codebooks.h"
#include "engine/kernels/dequantize.h"

#define PACKED __attribute__((packed))  // rows of a file may lie at odd addresses

struct PACKED block_iq2_xxs {
    uint16_t d;
    struct PACKED {
        uint8_t entries[4];
        uint32_t signs;  // four times seven signs, and four bits of scale
    } groups[8];
};
struct PACKED block_iq2_xs {
    uint16_t d;
    uint16_t entries[32];  // nine bits, and seven signs
    uint8_t scales[8];
};
struct PACKED block_iq2_s {
    uint16_t d;
    uint8_t entries[32], signs[32];
    uint8_t high[8];  // two more bits of each entry
    uint8_t scales[8];
};
struct PACKED block_iq3_xxs {
    uint16_t d;
    uint8_t entries[64];
    uint32_t signs[8];  // four times seven signs, and four bits of scale
};
struct PACKED block_iq3_s {
    uint16_t d;
    uint8_t entries[64];
    uint8_t high[8];  // a ninth bit of each entry
    uint8_t signs[32];
    uint8_t scales[4];
};
struct PACKED block_iq1_s {
    uint16_t d;
    uint8_t entries[32];
    uint16_t high[8];  // four times three bits of entry, three of scale, one of delta
};
struct PACKED block_iq1_m {
    uint8_t entries[32];
    uint8_t high[16];    // twice three bits of entry and one of delta
    uint16_t scales[4];  // four times three bits, and four bits of d
};
struct PACKED block_tq1_0 {
    uint8_t fives[48], fours[4];  // base-3 digits as fractions of 256
    uint16_t d;
};
struct PACKED block_tq2_0 {
    uint8_t pairs[64];
    uint16_t d;
};
_Static_assert(sizeof(struct block_iq2_xxs) == 66, "GGUF layout");
_Static_assert(sizeof(struct block_iq2_xs) == 74, "GGUF layout");
_Static_assert(sizeof(struct block_iq2_s) == 82, "GGUF layout");
_Static_assert(sizeof(struct block_iq3_xxs) == 98, "GGUF layout");
_Static_assert(sizeof(struct block_iq3_s) == 110, "GGUF layout");
_Static_assert(sizeof(struct block_iq1_s) == 50, "GGUF layout");
_Static_assert(sizeof(struct block_iq1_m) == 56, "GGUF layout");
_Static_assert(sizeof(struct block_tq1_0) == 54, "GGUF layout");
_Static_assert(sizeof(struct block_tq2_0) == 66, "GGUF layout");

static const float VALUES_IQ2[4] = {8, 25, 43, 0};
static const float VALUES_IQ3_XXS[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float VALUES_IQ3_S[8] = {1, 3, 5, 7, 9, 11, 13, 15};
static const float VALUES_IQ1[4] = {-1, 0, 1, 0};

static void signed_eight(uint16_t entry, unsigned signs, float d, float out[8])
{
    for (size_t i = 0; i < 8; i++)
        out[i] = d * VALUES_IQ2[entry >> (2 * i) & 3] * (signs >> i & 1 ? -1.0f : 1.0f);
}

static void signed_four(const float values[8], uint16_t entry, unsigned signs, float d,
                        float out[4])
{
    for (size_t i = 0; i < 4; i++)
        out[i] = d * values[entry >> (3 * i) & 7] * (signs >> i & 1 ? -1.0f : 1.0f);
}

void dequantize_iq2_xxs(const void *stored, float *out)
{
    const struct block_iq2_xxs *block = stored;
    for (size_t i = 0; i < 32; i++) {
        uint32_t signs = block->groups[i / 4].signs;
        float d = f32_from_f16(block->d) * (0.5f + (float)(signs >> 28)) * 0.25f;
        uint16_t entry = codebook_iq2_xxs[block->groups[i / 4].entries[i % 4]];
        signed_eight(entry, codebook_signs(signs >> (i % 4 * 7) & 127), d, out + 8 * i);
    }
}

void dequantize_iq2_xs(const void *stored, float *out)
{
    const struct block_iq2_xs *block = stored;
    for (size_t i = 0; i < 32; i++) {
        int scale = block->scales[i / 4] >> (i / 2 % 2 * 4) & 15;
        float d = f32_from_f16(block->d) * (0.5f + (float)scale) * 0.25f;
        unsigned both = block->entries[i];
        signed_eight(codebook_iq2_xs[both & 511], codebook_signs(both >> 9), d, out + 8 * i);
    }
}

void dequantize_iq2_s(const void *stored, float *out)
{
    const struct block_iq2_s *block = stored;
    for (size_t i = 0; i < 32; i++) {
        int scale = block->scales[i / 4] >> (i / 2 % 2 * 4) & 15;
        float d = f32_from_f16(block->d) * (0.5f + (float)scale) * 0.25f;
        unsigned entry = block->entries[i] | (block->high[i / 4] >> (i % 4 * 2) & 3u) << 8;
        signed_eight(codebook_iq2_s[entry], block->signs[i], d, out + 8 * i);
    }
}

void dequantize_iq3_xxs(const void *stored, float *out)
{
    const struct block_iq3_xxs *block = stored;
    for (size_t i = 0; i < 64; i++) {
        uint32_t signs = block->signs[i / 8];
        float d = f32_from_f16(block->d) * (0.5f + (float)(signs >> 28)) * 0.5f;
        unsigned eight = codebook_signs(signs >> (i / 2 % 4 * 7) & 127);
        signed_four(VALUES_IQ3_XXS, codebook_iq3_xxs[block->entries[i]], eight >> (i % 2 * 4), d,
                    out + 4 * i);
    }
}

void dequantize_iq3_s(const void *stored, float *out)
{
    const struct block_iq3_s *block = stored;
    for (size_t i = 0; i < 64; i++) {
        int scale = block->scales[i / 16] >> (i / 8 % 2 * 4) & 15;
        float d = f32_from_f16(block->d) * (float)(1 + 2 * scale);
        unsigned entry = block->entries[i] | (block->high[i / 8] >> (i % 8) & 1u) << 8;
        signed_four(VALUES_IQ3_S, codebook_iq3_s[entry],
                    (unsigned)block->signs[i / 2] >> (i % 2 * 4), d, out + 4 * i);
    }
}

/* All values of a group are moved by an eighth. */
static void moved_eight(unsigned entry, bool down, float d, float out[8])
{
    for (size_t i = 0; i < 8; i++)
        out[i] = d * (VALUES_IQ1[codebook_iq1[entry] >> (2 * i) & 3] + (down ? -0.125f : 0.125f));
}

void dequantize_iq1_s(const void *stored, float *out)
{
    const struct block_iq1_s *block = stored;
    for (size_t i = 0; i < 32; i++) {
        unsigned high = block->high[i / 4];
        float d = f32_from_f16(block->d) * (float)(2 * (high >> 12 & 7) + 1);
        unsigned entry = block->entries[i] | (high >> (i % 4 * 3) & 7) << 8;
        moved_eight(entry, high & 0x8000, d, out + 8 * i);
    }
}

void dequantize_iq1_m(const void *stored, float *out)
{
    const struct block_iq1_m *block = stored;
    unsigned half = 0;
    for (size_t i = 0; i < 4; i++)
        half |= (unsigned)(block->scales[i] >> 12) << (4 * i);
    for (size_t i = 0; i < 32; i++) {
        unsigned high = block->high[i / 2] >> (i % 2 * 4) & 15u;
        int scale = block->scales[i / 8] >> (i / 2 % 4 * 3) & 7;
        float d = f32_from_f16((uint16_t)half) * (float)(2 * scale + 1);
        moved_eight(block->entries[i] | (high & 7) << 8, high & 8, d, out + 8 * i);
    }
}

/* Digit `digit` of a byte, from the top: the byte is the fraction 0.ddddd in base 3, times 256. */
static float ternary(uint8_t byte, size_t digit)
{
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    uint8_t rest = (uint8_t)(byte * powers[digit]);
    return (float)((rest * 3 >> 8) - 1);
}

void dequantize_tq1_0(const void *stored, float *out)
{
    const struct block_tq1_0 *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 160; i++)
        out[i] = d * ternary(block->fives[i % 32], i / 32);
    for (size_t i = 0; i < 80; i++)
        out[160 + i] = d * ternary(block->fives[32 + i % 16], i / 16);
    for (size_t i = 0; i < 16; i++)
        out[240 + i] = d * ternary(block->fours[i % 4], i / 4);
}

void dequantize_tq2_0(const void *stored, float *out)
{
    const struct block_tq2_0 *block = stored;
    float d = f32_from_f16(block->d);
    for (size_t i = 0; i < 256; i++)
        out[i] = d * (float)((block->pairs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
}
