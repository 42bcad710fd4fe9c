/* Philox 4x32 with ten rounds; see rng.h.
 *
 * Counter words: draw, position, choice, 0. Key: the seed. Source: Salmon et al. 2011, section 3.3;
 * the multipliers and key increments are the paper's. */
#include "engine/base/rng.h"

#include <sys/random.h>

#include "engine/base/clock.h"

static uint32_t multiply(uint32_t a, uint32_t b, uint32_t *high)
{
    uint64_t product = (uint64_t)a * b;
    *high = (uint32_t)(product >> 32);
    return (uint32_t)product;
}

uint64_t rng_bits(uint64_t seed, uint32_t choice, uint32_t position, uint32_t draw)
{
    uint32_t c[4] = {draw, position, choice, 0};
    uint32_t k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint32_t high0, high1;
        uint32_t low0 = multiply(0xD2511F53u, c[0], &high0);
        uint32_t low1 = multiply(0xCD9E8D57u, c[2], &high1);
        uint32_t next[4] = {high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0};
        c[0] = next[0];
        c[1] = next[1];
        c[2] = next[2];
        c[3] = next[3];
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    return (uint64_t)c[1] << 32 | c[0];
}

double rng_uniform(uint64_t seed, uint32_t choice, uint32_t position, uint32_t draw)
{
    return (double)(rng_bits(seed, choice, position, draw) >> 11) * 0x1p-53;
}

uint64_t rng_seed_from_system(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = rng_bits((uint64_t)clock_ns(), 0, 0, 0);  // no entropy device: still no constant
    return seed >> 11;
}
