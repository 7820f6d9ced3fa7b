/* cx-health watch and the commands around it: what they share. */
#pragma once

#include "base/cli.h"
#include "health/alert.h"

extern const cx_command health_test_action;
