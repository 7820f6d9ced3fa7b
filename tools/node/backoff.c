#include "backoff.h"

/* The wait before chance is added. Stops doubling before it could overflow. */
static int64_t plain_wait(const node_backoff *backoff)
{
    int64_t wait_ms = backoff->first_ms;

    for (uint32_t i = 1; i < backoff->failures && wait_ms < backoff->max_ms; i++)
        wait_ms = wait_ms > backoff->max_ms / 2 ? backoff->max_ms : wait_ms * 2;
    return wait_ms < backoff->max_ms ? wait_ms : backoff->max_ms;
}

int64_t node_backoff_after(node_backoff *backoff, int64_t lasted_ms, uint32_t random)
{
    if (lasted_ms >= backoff->healthy_ms)
        backoff->failures = 0;
    if (backoff->failures < UINT32_MAX)
        backoff->failures++;

    int64_t wait_ms = plain_wait(backoff);

    return wait_ms - wait_ms / 5 + (int64_t)(random % (uint32_t)(wait_ms / 5 + 1));
}

void node_backoff_reset(node_backoff *backoff)
{
    backoff->failures = 0;
}
