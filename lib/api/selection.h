/* Which agents an operator means: by id, state, priority, idleness, slowness. All that is given must
 * hold.
 *
 * Pure: works on the agent objects of the node API and a time that the caller passes in. */
#pragma once

#include "base/json.h"

typedef struct cx_agent_selection {
    const char *const *ids; /* NULL with count 0: any */
    size_t id_count;
    const char *state;         /* NULL: any */
    const char *priority;      /* NULL: any */
    int64_t inactive_for_ms;   /* 0: any; else idle at least that long */
    int64_t slow_threshold_ms; /* 0: any; else at least that slow */
} cx_agent_selection;

bool cx_agent_selected(const json_t *agent, const cx_agent_selection *selection, int64_t wall_ms);

/* How slow it is: the larger of its p99 latency and the age of the oldest message that it has in
 * work (one that hangs completes nothing, so its latency alone would look well). */
double cx_agent_slowness_ms(const json_t *agent);
/* How long nothing was done or waited for, since its last activity, else since it was started. 0
 * while it has work, -1 when nothing is known about when it was active. */
int64_t cx_agent_idle_ms(const json_t *agent, int64_t wall_ms);
