/* Guard: whether a node may be taken out of service, from what the cluster knows of itself.
 *
 * Pure. It refuses when another node is out already, or when fewer than a majority of the expected
 * nodes would be left at work. */
#pragma once

#include "base/json.h"

/* cluster: the document of GET /api/v1/cluster. BUSY or NO_MAJORITY, naming nodes. */
CX_MUST_CHECK bool drain_guard(const json_t *cluster, const char *node_id, cx_err *err);
/* What a node says of its own state is newer than what gossip says of it: into the document's tags. */
void drain_guard_know(json_t *cluster, const char *node_id, const char *state);
