#include "base/rng.h"

#include <string.h>

static uint64_t rotate(uint64_t value, int by)
{
    return (value << by) | (value >> (64 - by));
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

cx_rng cx_rng_seed(uint64_t seed)
{
    cx_rng rng;

    for (size_t i = 0; i < CX_COUNT(rng.state); i++)
        rng.state[i] = splitmix(&seed);
    return rng;
}

cx_rng cx_rng_fork(cx_rng *rng)
{
    cx_rng fork;

    for (size_t i = 0; i < CX_COUNT(fork.state); i++) {
        uint64_t seed = cx_rng_next(rng);

        fork.state[i] = splitmix(&seed);
    }
    return fork;
}

uint64_t cx_rng_next(cx_rng *rng)
{
    uint64_t *s = rng->state;

    /* Zeroes alone would stay zeroes. */
    if ((s[0] | s[1] | s[2] | s[3]) == 0)
        s[0] = 1;

    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t cx_rng_below(cx_rng *rng, uint64_t bound)
{
    if (bound < 2)
        return 0;

    /* The lowest 2^64 mod bound numbers would make the small results more likely. */
    uint64_t skip = -bound % bound;
    uint64_t value = cx_rng_next(rng);

    while (value < skip)
        value = cx_rng_next(rng);
    return value % bound;
}

double cx_rng_real(cx_rng *rng)
{
    return (double)(cx_rng_next(rng) >> 11) * 0x1.0p-53;
}

void cx_rng_fill(cx_rng *rng, void *data, size_t size)
{
    uint8_t *bytes = data;

    while (size > 0) {
        uint64_t value = cx_rng_next(rng);
        size_t part = size < sizeof(value) ? size : sizeof(value);

        memcpy(bytes, &value, part);
        bytes += part;
        size -= part;
    }
}
