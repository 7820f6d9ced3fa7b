#include "agents.h"

struct resume_options {
    cx_target target;
    const char *priority;
    bool suspended;
    int64_t wait_ms;
};

static const cx_option options[] = {
    CX_TARGET_OPTIONS(struct resume_options, target),
    {"priority", CX_CHOICE(struct resume_options, priority), "low|normal|critical", NULL,
     "those of this priority"},
    {"suspended", CX_FLAG(struct resume_options, suspended), NULL, NULL, "all that are suspended"},
    {"wait", CX_DURATION(struct resume_options, wait_ms), "DUR", "10s",
     "wait this long until they run"},
    {0},
};

static bool resume(cx_run *run, const void *parsed, cx_err *err)
{
    const struct resume_options *option = parsed;
    cx_agent_selection selection = {.priority = option->priority,
                                    .state = option->suspended ? "suspended" : NULL};

    return agents_post(run, &option->target, selection, "resume", "running", option->wait_ms, err);
}

const cx_command agents_resume = {
    .name = "resume",
    .arguments = "[ID…] [-]",
    .summary = "let suspended agents work again",
    .options = options,
    .options_size = sizeof(struct resume_options),
    .changes = true,
    .run = resume,
};
