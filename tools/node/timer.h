/* Timers of the loop in milliseconds. */
#pragma once

#include <event2/event.h>

#include "base/mem.h"

/* Fires once (or, for EV_PERSIST events, every) after_ms; set again, it starts anew. */
static inline void node_timer_set(struct event *timer, int64_t after_ms)
{
    struct timeval after = {after_ms / 1000, after_ms % 1000 * 1000};

    event_add(timer, &after);
}
