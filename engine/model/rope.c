/* Angles of rotary embedding (Su et al. 2021), with the scalings that GGUF files carry: linear
 * (positions divided), per-pair divisors (the llama3 scaling, precomputed by converters; longrope,
 * which has two sets), and yarn (Peng et al. 2023: slow pairs are interpolated, fast ones left
 * alone, a ramp between).
 *
 * Frequencies are rounded to float once, as the reference implementations hold them; position times
 * frequency is then exact in double (24 + 24 bits). The library's sin and cos may differ in the
 * last bit between processors, so they are computed here from +, - and * only. The cost is 10 ns a
 * pair and step, so no table of all positions is kept. */
#include "engine/model/rope.h"

#include <assert.h>
#include <math.h>

/* Angle reduced by multiples of pi/2 in three parts of pi/2 (the first two of 33 bits, so n * part
 * is exact for n < 2^20 and the error stays below 2^-25 up to 2^27), then Taylor series on
 * [-pi/4, pi/4] whose first omitted term is below 2^-50. */
void rope_sin_cos(double x, double *sin_x, double *cos_x)
{
    static const double HALF_PI_1 = 0x1.921fb544p+0, HALF_PI_2 = 0x1.0b4611a6p-34,
                        HALF_PI_3 = 0x1.3198a2e037073p-69, TWO_OVER_PI = 0x1.45f306dc9c883p-1;
    assert(x > -0x1p27 && x < 0x1p27);
    double n = floor(x * TWO_OVER_PI + 0.5);
    double r = ((x - n * HALF_PI_1) - n * HALF_PI_2) - n * HALF_PI_3;
    double z = r * r;
    double sin_r = 0, cos_r = 0;
    static const double SIN[] = {
        1.0,          -1.0 / 6,        1.0 / 120,        -1.0 / 5040,
        1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
    static const double COS[] = {1.0,
                                 -1.0 / 2,
                                 1.0 / 24,
                                 -1.0 / 720,
                                 1.0 / 40320,
                                 -1.0 / 3628800,
                                 1.0 / 479001600,
                                 -1.0 / 87178291200,
                                 1.0 / 20922789888000};
    for (size_t i = sizeof SIN / sizeof *SIN; i-- > 0;)
        sin_r = sin_r * z + SIN[i];
    for (size_t i = sizeof COS / sizeof *COS; i-- > 0;)
        cos_r = cos_r * z + COS[i];
    sin_r *= r;
    switch ((int64_t)n & 3) {
    case 0:
        *sin_x = sin_r, *cos_x = cos_r;
        break;
    case 1:
        *sin_x = cos_r, *cos_x = -sin_r;
        break;
    case 2:
        *sin_x = -sin_r, *cos_x = -cos_r;
        break;
    default:
        *sin_x = -cos_r, *cos_x = sin_r;
    }
}

/* Pair index at which a wave of `turns` full turns fits the original context. */
static double yarn_pair(const struct rope_config *config, double turns)
{
    return (double)config->n_rot * log(config->original_ctx / (turns * 2 * M_PI)) /
           (2 * log(config->base));
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

/* How far pair i is interpolated: 0 = left alone, 1 = positions divided by the factor. */
static double yarn_ramp(const struct rope_config *config, size_t i)
{
    double last = (double)config->n_rot - 1;
    double low = yarn_pair(config, config->beta_fast), high = yarn_pair(config, config->beta_slow);
    low = clamp(config->smooth ? low : floor(low), 0, last);
    high = clamp(config->smooth ? high : ceil(high), 0, last);
    double width = high - low > 0.001 ? high - low : 0.001;
    return clamp(((double)i - low) / width, 0, 1);
}

void rope_init(struct rope *rope, const struct rope_config *config, const float *divisors,
               float *frequencies)
{
    rope->n_rot = config->n_rot;
    rope->frequencies = frequencies;
    rope->amplitude = 1;
    if (config->scaling == ROPE_YARN)
        rope->amplitude = config->attention_factor * (1 + 0.1 * log(config->factor));
    bool longrope = config->scaling == ROPE_LONG || config->scaling == ROPE_SHORT;
    if (longrope)
        rope->amplitude = config->attention_factor;
    for (size_t i = 0; i < config->n_rot / 2; i++) {
        double frequency = pow(config->base, -2.0 * (double)i / (double)config->n_rot);
        if (divisors)
            frequency /= divisors[i];
        double share = config->scaling == ROPE_LINEAR ? 1
                       : config->scaling == ROPE_YARN ? yarn_ramp(config, i)
                                                      : 0;
        frequency = frequency / config->factor * share + frequency * (1 - share);
        frequencies[i] = (float)frequency;
    }
}

void rope_angles(const struct rope *rope, int32_t position, float *cos_sin)
{
    for (size_t i = 0; i < rope->n_rot / 2; i++) {
        double sin_x, cos_x;
        rope_sin_cos((double)position * rope->frequencies[i], &sin_x, &cos_x);
        cos_sin[2 * i] = (float)(cos_x * rope->amplitude);
        cos_sin[2 * i + 1] = (float)(sin_x * rope->amplitude);
    }
}
