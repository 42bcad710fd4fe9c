/* Rotary position embedding: the angles. The rotation itself is kernels->rope. */
#ifndef WICARA_MODEL_ROPE_H
#define WICARA_MODEL_ROPE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/model/config.h"

/* Smallest divisor of a frequency that a file may carry. */
#define ROPE_DIVISOR_MIN 0.125f

struct rope {
    size_t n_rot;
    float *frequencies;  // [n_rot / 2] angle a position, divisors and scaling applied
    double amplitude;    // of cos and sin, 1 but for yarn and longrope
};

/* `divisors` ([n_rot / 2], >= ROPE_DIVISOR_MIN) are the file's rope_freqs, of longrope the set in
 * use, or NULL; `frequencies` is
 * caller's memory for n_rot / 2 floats. */
void rope_init(struct rope *rope, const struct rope_config *config, const float *divisors,
               float *frequencies);
/* cos_sin [n_rot] = pairs (cos, sin) of one position: a pure function of it, in every phase. */
void rope_angles(const struct rope *rope, int32_t position, float *cos_sin);

/* Sine and cosine to double precision for |x| < 2^27 by basic arithmetic alone, so that every
 * machine and libc gives the same bits. */
void rope_sin_cos(double x, double *sin_x, double *cos_x);

#endif
