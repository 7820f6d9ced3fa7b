/* The node's life: built from the configuration, run by the loop, ended by signals. */
#pragma once

#include "node.h"

/* Opens everything in order; on failure what was opened is closed again by node_self_close. */
CX_MUST_CHECK bool node_self_open(const char *config_path, bool verbose, node_self *node,
                                  cx_err *err);
/* The first call ends cleanly: no new work, what is in flight is finished (at most drain_timeout),
 * agents end, the loop ends. The second ends the loop at once. */
void node_self_end(node_self *node, const char *why);
/* Configuration and certificates anew; a bad one is logged and the old one stays. */
void node_self_reload(node_self *node);
void node_self_close(node_self *node);
