/* Quiet: a node that somebody drained, or put in maintenance, is not well on purpose. While it says
 * so, nobody is told of it; the watcher goes on looking, and what still fires afterwards is told then.
 *
 * Pure. */
#pragma once

#include "health/alert.h"

/* A node that failed while it was quiet, and stays away: somebody has to be told after all. */
static const int64_t HEALTH_QUIET_FAILED_MS = INT64_C(2) * 3600 * 1000;

/* "draining", "drained" or "maintenance", when the member's tag says that; else NULL. */
const char *health_quiet_word(const json_t *member);
/* A silence about all of a member, whose id is that word; false: it is not quiet now. */
bool health_quiet_of(const json_t *member, int64_t wall_ms, cx_silence *silence);
/* Of all members: documents for cx_silence_from_json; new reference. */
json_t *health_quiet_list(const json_t *members, int64_t wall_ms);
