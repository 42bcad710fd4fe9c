/* Codebooks of the GGUF types IQ1, IQ2 and IQ3 (private to engine/kernels; codebook_tables.c).
 *
 * An entry is a vector of 8 values, or of 4 (IQ3), as indices from the lowest bits on:
 *   IQ2   8 indices of 2 bits into 8, 25, 43; signs are stored beside the entry's number
 *   IQ3   4 indices of 3 bits into 4, 12, 20, 28, 36, 44, 52, 62 (XXS) or 1, 3, .. 15 (S); signs
 *         likewise
 *   IQ1   8 indices of 2 bits into -1, 0, 1 */
#ifndef WICARA_KERNELS_CODEBOOKS_H
#define WICARA_KERNELS_CODEBOOKS_H

#include <stdint.h>

extern const uint16_t codebook_iq2_xxs[256], codebook_iq2_xs[512], codebook_iq2_s[1024];
extern const uint16_t codebook_iq3_xxs[256], codebook_iq3_s[512];
extern const uint16_t codebook_iq1[2048];

/* The eighth sign of a stored group of seven makes their number even. */
static inline unsigned codebook_signs(unsigned seven)
{
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

#endif
