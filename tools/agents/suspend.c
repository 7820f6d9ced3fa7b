#include "agents.h"

struct suspend_options {
    cx_target target;
    int64_t inactive_for_ms;
    const char *priority;
    int64_t wait_ms;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct suspend_options, target),
    {"inactive-for", CX_DURATION(struct suspend_options, inactive_for_ms), "DUR", NULL,
     "those that had nothing to do for this long"},
    {"priority", CX_CHOICE(struct suspend_options, priority), "low|normal|critical", NULL,
     "those of this priority"},
    {"wait", CX_DURATION(struct suspend_options, wait_ms), "DUR", "30s",
     "wait this long for their work in hand to end"},
    {0},
};

static bool suspend(cx_run *run, const void *parsed, cx_err *err)
{
    const struct suspend_options *option = parsed;
    cx_agent_selection selection = {.priority = option->priority,
                                    .inactive_for_ms = option->inactive_for_ms};

    return agents_post(run, &option->target, selection, "suspend", "suspended", option->wait_ms,
                       err);
}

const cx_command agents_suspend = {
    .name = "suspend",
    .arguments = "[ID…] [-]",
    .summary = "stop agents without losing what is queued for them",
    .description = "An agent finishes the messages that it has in work and is then stopped by "
                   "SIGSTOP. All selections that are given must hold. Exit status 1: some were "
                   "not suspended in time.",
    .options = options,
    .options_size = sizeof(struct suspend_options),
    .changes = true,
    .run = suspend,
};
