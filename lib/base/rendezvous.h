/* Rendezvous hashing: all who know the same names agree who is responsible for a key, and when a
 * name goes, only its keys move. Source: Thaler and Ravishankar, "Using name-based mappings to
 * increase hit rates" (1998), highest random weight.
 *
 * Pure: the weight is the first 8 bytes (big endian) of SHA-256(name, NUL, key), so that every node
 * of every version agrees. */
#pragma once

#include "base/mem.h"

/* Place of the name with the highest weight for key; count is not 0. Equal names are equal. */
size_t cx_rendezvous(const char *key, const char *const *names, size_t count);
