/* Cuts: where one segment of a component's tar stream ends and the next begins.
 *
 * Small files are grouped; whether a group ends after a file depends on this file's path and size
 * only, so that an insert moves no other cut. A large file has segments of its own: cut by content
 * (FastCDC: Xia et al., USENIX ATC 2016, with normalised chunking), or, a SQLite file, on blocks that
 * hold whole pages, so that a page that changes moves nothing.
 *
 * The gear table comes from a secret seed: the sizes of segments, which anybody who sees the
 * repository sees, then tell nothing of the content.
 *
 * Pure: no I/O, no allocation. */
#pragma once

#include "base/mem.h"

enum {
    CX_CUT_LARGE = 1024 * 1024,         /* bytes: files from here on have segments of their own */
    CX_CUT_GROUP = 512 * 1024,          /* mean bytes of a group */
    CX_CUT_GROUP_MAX = 8 * 1024 * 1024, /* reached once in e^16 groups */
    CX_CUT_MIN = 512 * 1024,
    CX_CUT_MEAN = 1024 * 1024,
    CX_CUT_MAX = 4 * 1024 * 1024,
    CX_CUT_BLOCK = 512 * 1024, /* of a SQLite file: a multiple of every page size */
    CX_CUT_SEED_SIZE = 32,
};

typedef struct cx_cutter {
    uint64_t gear[256];
    uint64_t salt;
} cx_cutter;

cx_cutter cx_cutter_from(const uint8_t seed[CX_CUT_SEED_SIZE]);

/* Whether a group ends after the entry of this path that takes tar_size bytes of the stream. */
bool cx_cut_after(const cx_cutter *cutter, const char *path, size_t tar_size);
/* The length of the first piece of data, which holds CX_CUT_MAX bytes or all the rest of the file. */
size_t cx_cut_content(const cx_cutter *cutter, cx_bytes data);
