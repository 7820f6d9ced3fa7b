/* The timers of memberlist for a local network, a wide one, and one machine (section 12.1). */
#pragma once

#include "gossip/core.h"

typedef struct cx_profile {
    const char *name;
    int64_t probe_interval_ms, probe_timeout_ms;
    size_t helpers; /* asked for an indirect probe */
    int suspicion_mult, suspicion_max_mult;
    unsigned retransmit_mult;
    int64_t gossip_interval_ms;
    size_t gossip_nodes;
    int64_t to_the_dead_ms; /* how long a dead node is still told things, and stays in the list */
    int64_t push_pull_interval_ms;
    int64_t stream_timeout_ms;
    int score_max; /* of the health score: one below memberlist's multiplier */
} cx_profile;

const cx_profile *cx_profile_of(cx_gossip_profile profile);
