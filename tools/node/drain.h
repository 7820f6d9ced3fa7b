/* Drain: the node's mode in action. The mode is saved before it is acted on; then what is queued and in
 * flight is waited for, agents of low priority are suspended, and at the end they are resumed. */
#pragma once

#include "node.h"

/* Reads the mode of the last run (before the loop); a file that can't be read is CONFIG: nobody knows
 * whether this node should work. */
CX_MUST_CHECK bool node_drain_open(node_self *node, cx_err *err);
void node_drain_close(node_self *node);

/* An operator suspends or resumes this agent by hand: the drain's end leaves it alone. */
void node_drain_forget(node_self *node, const char *agent);

/* The document of GET /api/v1/node/drain: the mode, "node_id" and "remaining". New reference. */
json_t *node_drain_to_json(const node_self *node);
