/* Serf's view of the members: statuses, Lamport clocks, join and leave intents (sections 15.3, 15.4,
 * 15.6, 15.12). */
#pragma once

#include "gossip/inside.h"

/* Lamport times above this come from nobody honest: near 2^64 they would wrap the clocks. */
#define CX_LTIME_MAX (UINT64_MAX / 2)

/* t was seen: the clock is above it from now on. */
void cx_clock_witness(uint64_t *clock, uint64_t ltime);

/* What memberlist's rules report. `from`: who says that it is dead, or itself when it leaves. */
void cx_serf_on_join(cx_gossip *core, cx_member *member);
void cx_serf_on_update(cx_gossip *core, cx_member *member);
void cx_serf_on_leave(cx_gossip *core, cx_member *member, const char *from);

/* A Serf message that came, without the memberlist type byte; `from` is for the log. */
void cx_serf_message(cx_gossip *core, cx_bytes message, const cx_gossip_addr *from);

/* Intents of our own: told to everybody and applied here. slot: see broadcast.h, may be NULL. */
void cx_serf_announce_join(cx_gossip *core);
void cx_serf_announce_leave(cx_gossip *core, const char *node, bool prune, cx_broadcast **slot);

/* The user state of a push/pull. What comes before a fault in it has been merged. */
void cx_serf_put_state(cx_gossip *core, cx_buffer *state);
CX_MUST_CHECK bool cx_serf_merge_state(cx_gossip *core, cx_bytes state, bool ignore_old_events,
                                       cx_err *err);

/* Forgets members that failed or left long ago, and intents about nodes that never came. */
void cx_serf_reap(cx_gossip *core);
/* Takes a member out, and tells so. */
void cx_serf_erase(cx_gossip *core, cx_member *member);
