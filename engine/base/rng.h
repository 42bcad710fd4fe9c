/* Counter-based random numbers: a pure function of (seed, choice, position, draw), so that a token
 * draw depends on nothing but the request (DESIGN, "Numbers"). Choice 0 equals n = 1.
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x32-10). */
#ifndef WICARA_BASE_RNG_H
#define WICARA_BASE_RNG_H

#include <stdint.h>

/* 64 random bits. position = index of the token in its sequence, draw = which draw at it. */
uint64_t rng_bits(uint64_t seed, uint32_t choice, uint32_t position, uint32_t draw);

/* Uniform in [0, 1), a multiple of 2^-53. */
double rng_uniform(uint64_t seed, uint32_t choice, uint32_t position, uint32_t draw);

/* A fresh seed from the operating system, below 2^53: a JavaScript client can repeat it. */
uint64_t rng_seed_from_system(void);

#endif
