/* Programs of agents: where a command's first word leads. */
#pragma once

#include "base/err.h"

/* An absolute path stays; a bare name is looked up in share/agents, then in PATH. NOT_FOUND names
 * the folders that were searched. */
CX_MUST_CHECK bool node_program_find(const char *word, char **path, cx_err *err);
/* PATH of the agents: ours, or the system's usual one when we have none. */
const char *node_program_path(void);
