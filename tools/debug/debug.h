/* cx-debug: what its commands share. */
#pragma once

#include "api/gather.h"

extern const cx_command debug_trace, debug_profile, debug_dump;

typedef struct debug_scope {
    cx_config *config;
    cx_api *api;
    cx_api_nodes nodes;
    json_t *absent;     /* members that are not asked: {"node_id","status"} */
    int64_t timeout_ms; /* of one call */
} debug_scope;

/* Opens the client and finds the nodes: every alive member. What the cluster counts as failed is in
 * `absent`, not asked. Without a word of the cluster, the own node alone. */
CX_MUST_CHECK bool debug_open_all(const cx_run *run, debug_scope *scope, cx_err *err);
/* The same with one node: an id or an address, NULL: the own one. */
CX_MUST_CHECK bool debug_open_one(const cx_run *run, const char *node, debug_scope *scope,
                                  cx_err *err);
void debug_close(debug_scope *scope);
