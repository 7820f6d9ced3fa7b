/* cx-agents: what its commands share. */
#pragma once

#include "api/gather.h"
#include "api/selection.h"

extern const cx_command agents_list, agents_count, agents_show, agents_slow, agents_deploy,
    agents_remove, agents_suspend, agents_resume, agents_restart;

/* What a command works on: the client, the nodes, and the agent ids among its arguments. */
typedef struct agents_scope {
    cx_config *config;
    cx_api *api;
    cx_api_nodes nodes;
    const char **ids; /* borrowed from the run's arguments */
    size_t id_count;
    int64_t timeout_ms; /* of one call */
} agents_scope;

/* `-` among the arguments means nodes from stdin, unless the command reads something else there. */
CX_MUST_CHECK bool agents_open(const cx_run *run, const cx_target *target, bool dash_is_nodes,
                               agents_scope *scope, cx_err *err);
void agents_close(agents_scope *scope);

/* Each agent's object of all nodes, those that the selection names; and the answers, for errors. */
CX_MUST_CHECK bool agents_gather(agents_scope *scope, const cx_agent_selection *selection,
                                 cx_gathered *gathered, json_t **agents, cx_err *err);
/* Prints {"agents","count",…}; for people only the columns that fit a line. */
CX_MUST_CHECK bool agents_emit(cx_run *run, json_t *document, cx_err *err);

/* ---- changes, one agent at a time */

/* The result of a change under way: what was done, and what failed. */
typedef struct agents_change {
    json_t *agents; /* agent objects with "changed" */
    json_t *errors;
    cx_err first; /* the first failure */
    bool changed;
} agents_change;

void agents_change_free(agents_change *change);
/* Takes one call's answer: the agent (may be NULL) and whether anything changed. */
void agents_change_add(agents_change *change, const cx_api_node *node, const char *id,
                       json_t *agent, bool changed);
void agents_change_fail(agents_change *change, const cx_api_node *node, const char *id,
                        const cx_err *error);
/* Waits until every agent of the change is in the state, or failed, or the time is over: then the
 * answer is no. */
CX_MUST_CHECK bool agents_wait(cx_run *run, agents_scope *scope, agents_change *change,
                               const char *state, int64_t wait_ms, cx_err *err);
/* Prints the change; a change of which nothing was done is its first error. */
CX_MUST_CHECK bool agents_change_emit(cx_run *run, agents_change *change, cx_err *err);

/* POST /api/v1/agents/ID/VERB for each selected agent, then waits for the state. */
CX_MUST_CHECK bool agents_post(cx_run *run, const cx_target *target, cx_agent_selection selection,
                               const char *verb, const char *state, int64_t wait_ms, cx_err *err);
