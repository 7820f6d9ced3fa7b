/* cx-drain: what its commands share. */
#pragma once

#include "api/client.h"

extern const cx_command drain_enter, drain_exit, drain_status, drain_wait;

/* Of one call, unless --timeout leaves less. */
enum { DRAIN_CALL_MS = 15000, DRAIN_TURN_MS = 100 };

/* The nodes that the command is about: its argument (an id, an address, `-`), else the own node. */
CX_MUST_CHECK bool drain_open(cx_run *run, bool all, cx_config **config, cx_api **api,
                              cx_api_nodes *nodes, cx_err *err);
/* GET /api/v1/node/drain. */
CX_MUST_CHECK bool drain_look(cx_api *api, const cx_api_node *node, int64_t call_ms,
                              json_t **document, cx_err *err);
/* For one look while something is waited for: a node that hangs doesn't hold it up beyond the deadline, yet has
 * a second. */
int64_t drain_look_ms(int64_t deadline_ms);
const char *drain_name(const cx_api_node *node); /* its id, else its address */
/* Puts before the message what was done to which node ("drain node-2: …"), naming it once. Returns false. */
bool drain_wrap(cx_err *err, const char *verb, const cx_api_node *node);
/* Prints the one document, or {"changed","nodes":[…]} of many. */
CX_MUST_CHECK bool drain_emit(cx_run *run, json_t *documents, cx_err *err);
/* Sleeps a turn; INTERRUPTED when a signal came. */
CX_MUST_CHECK bool drain_pause(cx_err *err);
