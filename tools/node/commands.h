/* The commands of cx-node, one file each. */
#pragma once

#include "base/cli.h"

extern const cx_command node_run;
extern const cx_command node_status;
extern const cx_command node_checkpoint;
extern const cx_command node_compact;
extern const cx_command node_schema;
extern const cx_command node_check;
extern const cx_command node_audit_verify;
