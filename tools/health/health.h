/* cx-health: what its commands share. */
#pragma once

#include "collect.h"

extern const cx_command health_node, health_cluster, health_agents, health_certs, health_all;

typedef struct health_options {
    cx_target target;
    const char *policy;
    const char *alerts;
    bool nagios;
    bool prometheus;
    int64_t settle_ms;
} health_options;

extern const cx_option health_option_table[];

/* Asks, evaluates, prints. */
CX_MUST_CHECK bool health_run(cx_run *run, const health_options *options, health_parts parts,
                              cx_err *err);
