/* Members: what the gossip agent told of the cluster, remembered for a while. An agent that starts
 * again knows nobody until it has joined: the others are not gone because of that.
 *
 * Pure: no clock, no I/O. Times are milliseconds of the caller's monotonic clock. */
#pragma once

#include "base/json.h"

enum { NODE_MEMBERS_KEEP_MS = 60000 };

typedef struct node_members node_members;

node_members *node_members_open(void);
void node_members_close(node_members **owner);
/* {"members":[…]} of the answer, and those that it no longer lists as they were told last, if that was
 * within NODE_MEMBERS_KEEP_MS. New reference. */
json_t *node_members_merge(node_members *members, const json_t *answer, int64_t now_ms);
