#include "health.h"

#define DESCRIPTION                                                                               \
    "A violated threshold is critical, or a warning where a line is drawn for critical; what "    \
    "could not be measured is unknown. Thresholds are those of policies/health.yaml, warnings "   \
    "those of policies/alerts.yaml. Exit status 0: all is ok, 1: it is not; with --nagios 0 ok, " \
    "1 warning, 2 critical, 3 unknown."

static bool check_node(cx_run *run, const void *parsed, cx_err *err)
{
    return health_run(run, parsed, (health_parts){.node = true}, err);
}

static bool check_cluster(cx_run *run, const void *parsed, cx_err *err)
{
    return health_run(run, parsed, (health_parts){.cluster = true}, err);
}

static bool check_agents(cx_run *run, const void *parsed, cx_err *err)
{
    return health_run(run, parsed, (health_parts){.agents = true}, err);
}

static bool check_certs(cx_run *run, const void *parsed, cx_err *err)
{
    return health_run(run, parsed, (health_parts){.certs = true}, err);
}

static bool check_all(cx_run *run, const void *parsed, cx_err *err)
{
    health_parts parts = {
        .node = true, .cluster = true, .agents = true, .certs = true, .backups = true};

    return health_run(run, parsed, parts, err);
}

const cx_command health_node = {
    .name = "node",
    .arguments = "[NODE…|-]",
    .summary = "load of nodes: CPU, memory, disk, agents, queues",
    .description = DESCRIPTION,
    .options = health_option_table,
    .options_size = sizeof(health_options),
    .run = check_node,
};

const cx_command health_cluster = {
    .name = "cluster",
    .summary = "membership: who is there, does everybody see the same, is it whole",
    .description = DESCRIPTION,
    .options = health_option_table,
    .options_size = sizeof(health_options),
    .run = check_cluster,
};

const cx_command health_agents = {
    .name = "agents",
    .arguments = "[NODE…|-]",
    .summary = "agents of nodes: do they respond, how fast, how often do they fail",
    .description = DESCRIPTION,
    .options = health_option_table,
    .options_size = sizeof(health_options),
    .run = check_agents,
};

const cx_command health_certs = {
    .name = "certs",
    .arguments = "[NODE…|-]",
    .summary = "how long the nodes' certificates are valid",
    .description = DESCRIPTION,
    .options = health_option_table,
    .options_size = sizeof(health_options),
    .run = check_certs,
};

const cx_command health_all = {
    .name = "all",
    .arguments = "[NODE…|-]",
    .summary = "all of the above, and the age of the last backup",
    .description = DESCRIPTION,
    .options = health_option_table,
    .options_size = sizeof(health_options),
    .run = check_all,
};
