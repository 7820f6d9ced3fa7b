#include "agents.h"

struct restart_options {
    cx_target target;
    int64_t slow_threshold_ms;
    const char *priority;
    int64_t wait_ms;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct restart_options, target),
    {"slow-threshold", CX_DURATION(struct restart_options, slow_threshold_ms), "DUR", NULL,
     "those that cx-agents slow --threshold DUR lists"},
    {"priority", CX_CHOICE(struct restart_options, priority), "low|normal|critical", NULL,
     "those of this priority"},
    {"wait", CX_DURATION(struct restart_options, wait_ms), "DUR", "10s",
     "wait this long until they run again"},
    {0},
};

static bool restart(cx_run *run, const void *parsed, cx_err *err)
{
    const struct restart_options *option = parsed;
    cx_agent_selection selection = {.priority = option->priority,
                                    .slow_threshold_ms = option->slow_threshold_ms};

    return agents_post(run, &option->target, selection, "restart", "running", option->wait_ms, err);
}

const cx_command agents_restart = {
    .name = "restart",
    .arguments = "[ID…] [-]",
    .summary = "end agents' processes and start them anew",
    .description = "Messages that were in work are delivered again. Exit status 1: some did not "
                   "run again in time.",
    .options = options,
    .options_size = sizeof(struct restart_options),
    .changes = true,
    .run = restart,
};
