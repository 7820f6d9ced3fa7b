#include "gossip/profile.h"

static const cx_profile lan = {
    .name = "lan",
    .probe_interval_ms = 1000,
    .probe_timeout_ms = 500,
    .helpers = 3,
    .suspicion_mult = 4,
    .suspicion_max_mult = 6,
    .retransmit_mult = 4,
    .gossip_interval_ms = 200,
    .gossip_nodes = 3,
    .to_the_dead_ms = 30000,
    .push_pull_interval_ms = 30000,
    .stream_timeout_ms = 10000,
    .score_max = 7,
};

static const cx_profile wan = {
    .name = "wan",
    .probe_interval_ms = 5000,
    .probe_timeout_ms = 3000,
    .helpers = 3,
    .suspicion_mult = 6,
    .suspicion_max_mult = 6,
    .retransmit_mult = 4,
    .gossip_interval_ms = 500,
    .gossip_nodes = 4,
    .to_the_dead_ms = 60000,
    .push_pull_interval_ms = 60000,
    .stream_timeout_ms = 30000,
    .score_max = 7,
};

static const cx_profile local = {
    .name = "local",
    .probe_interval_ms = 1000,
    .probe_timeout_ms = 200,
    .helpers = 1,
    .suspicion_mult = 3,
    .suspicion_max_mult = 6,
    .retransmit_mult = 2,
    .gossip_interval_ms = 100,
    .gossip_nodes = 3,
    .to_the_dead_ms = 15000,
    .push_pull_interval_ms = 15000,
    .stream_timeout_ms = 1000,
    .score_max = 7,
};

const cx_profile *cx_profile_of(cx_gossip_profile profile)
{
    switch (profile) {
    case CX_GOSSIP_LAN: return &lan;
    case CX_GOSSIP_WAN: return &wan;
    case CX_GOSSIP_LOCAL: return &local;
    }
    return &lan;
}
