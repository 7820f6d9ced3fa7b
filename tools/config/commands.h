/* The commands of cx-config, one file each. */
#pragma once

#include "base/cli.h"
#include "config/config.h"

extern const cx_command config_show;
extern const cx_command config_get;
extern const cx_command config_check;
extern const cx_command config_policy;
extern const cx_command config_keys;

/* The node's configuration; the default file may be missing, one that was named may not. */
CX_MUST_CHECK bool config_load(const cx_run *run, cx_config **config, cx_err *err);
