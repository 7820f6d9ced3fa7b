/* Limit: how often one address may ask. A bucket for each address holds CA_LIMIT_BURST requests and
 * fills by one in CA_LIMIT_EVERY_MS. The table is bounded: where it is full, the address that was seen
 * longest ago is forgotten.
 *
 * Pure: the time (monotonic milliseconds) is the caller's. */
#pragma once

#include "base/mem.h"

enum { CA_LIMIT_BURST = 20, CA_LIMIT_EVERY_MS = 1000, CA_LIMIT_ADDRESSES = 1024 };

typedef struct ca_limit {
    struct ca_limit_slot {
        char address[48]; /* "": free */
        int64_t credit_ms;
        int64_t seen_ms;
    } slots[CA_LIMIT_ADDRESSES];
} ca_limit;

/* Takes one request of the address ("10.0.0.1:53214": the port doesn't count). False: too many. */
bool ca_limit_take(ca_limit *limit, const char *address, int64_t now_ms);
