/* Back-off: how long to wait before the next try, doubling while tries keep failing.
 *
 * Pure: no clock and no PRNG of its own. One fifth of each wait is chance, so that what failed
 * together doesn't come back together. */
#pragma once

#include "base/mem.h"

typedef struct node_backoff {
    int64_t first_ms; /* the wait after the first failure */
    int64_t max_ms;   /* waits don't grow beyond it */
    int64_t
        healthy_ms; /* a try that lasted this long was no failure to start: counting begins anew */
    uint32_t failures; /* in a row */
} node_backoff;

/* A try ended after lasted_ms. Returns the wait before the next one. random: any 32 bits. */
int64_t node_backoff_after(node_backoff *backoff, int64_t lasted_ms, uint32_t random);
void node_backoff_reset(node_backoff *backoff);
