/* Random numbers from a state that the caller keeps: same state, same numbers. For protocols and
 * simulations (probe order, jitter); keys and tokens come from cx_random in text.h.
 *
 * The generator is xoshiro256** (Blackman, Vigna), seeded through splitmix64. Pure. */
#pragma once

#include "base/mem.h"

typedef struct cx_rng {
    uint64_t state[4];
} cx_rng;

/* A generator from one number, for tests (CX_SEED). */
cx_rng cx_rng_seed(uint64_t seed);
/* A second generator whose numbers have nothing to do with the rest of the first one's. */
cx_rng cx_rng_fork(cx_rng *rng);
uint64_t cx_rng_next(cx_rng *rng);
/* 0 .. bound - 1, each as likely; 0 for a bound of 0 or 1. */
uint64_t cx_rng_below(cx_rng *rng, uint64_t bound);
double cx_rng_real(cx_rng *rng); /* 0 <= x < 1 */
void cx_rng_fill(cx_rng *rng, void *data, size_t size);
