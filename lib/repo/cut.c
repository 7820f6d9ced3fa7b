#include "repo/cut.h"

#include <string.h>

#include "base/rng.h"

/* 20 bits make a cut every mean bytes; 2 more before the mean and 2 fewer after it bring the sizes
 * together (the paper's normalisation level 2). The upper bits, since they depend on the last 64
 * bytes and not on the last 20 only. */
#define MASK(bits) (~UINT64_C(0) << (64 - (bits)))
#define MASK_EARLY MASK(22)
#define MASK_LATE  MASK(18)

cx_cutter cx_cutter_from(const uint8_t seed[CX_CUT_SEED_SIZE])
{
    cx_cutter cutter;
    cx_rng rng;

    _Static_assert(sizeof rng.state == CX_CUT_SEED_SIZE, "the seed is the generator's state");
    memcpy(rng.state, seed, sizeof rng.state);
    for (size_t i = 0; i < 256; i++)
        cutter.gear[i] = cx_rng_next(&rng);
    cutter.salt = cx_rng_next(&rng);
    return cutter;
}

static uint64_t mix(uint64_t x) /* splitmix64's finaliser */
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

bool cx_cut_after(const cx_cutter *cutter, const char *path, size_t tar_size)
{
    uint64_t hash = cutter->salt;

    if (tar_size >= CX_CUT_GROUP)
        return true;
    for (; *path != '\0'; path++)
        hash = mix(hash + cutter->gear[(uint8_t)*path]);
    return hash < tar_size * (UINT64_MAX / CX_CUT_GROUP);
}

size_t cx_cut_content(const cx_cutter *cutter, cx_bytes data)
{
    size_t end = data.size < CX_CUT_MAX ? data.size : CX_CUT_MAX;
    size_t mean = end < CX_CUT_MEAN ? end : CX_CUT_MEAN;
    uint64_t hash = 0;
    size_t at = CX_CUT_MIN;

    if (data.size <= CX_CUT_MIN)
        return data.size;
    for (; at < mean; at++) {
        hash = (hash << 1) + cutter->gear[data.data[at]];
        if ((hash & MASK_EARLY) == 0)
            return at + 1;
    }
    for (; at < end; at++) {
        hash = (hash << 1) + cutter->gear[data.data[at]];
        if ((hash & MASK_LATE) == 0)
            return at + 1;
    }
    return end;
}
