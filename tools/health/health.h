/* cx-health: what its commands share. */
#pragma once

#include "api/client.h"
#include "health/check.h"

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

/* What a command looks at. */
typedef struct health_parts {
    bool node, cluster, agents, certs, backups;
} health_parts;

/* Asks, evaluates, prints. */
CX_MUST_CHECK bool health_run(cx_run *run, const health_options *options, health_parts parts,
                              cx_err *err);
