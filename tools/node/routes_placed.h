/* /api/v1/agents for agents with placement any: what an operator says to one node becomes a version of
 * the spec that all nodes get. The handlers of routes_agents.c come here. */
#pragma once

#include "call.h"

/* Takes the spec. */
void node_deploy_placed(node_call *call, node_spec *spec);
/* Refused while messages are queued for it, here or where it runs, unless the query says force=1. */
void node_remove_placed(node_call *call);
void node_suspend_placed(node_call *call, bool suspended);
/* What there is of an agent that does not run here; NULL after an answer that there is none. */
json_t *node_need_placed(node_call *call);
