/* Leaving so that all others know it was meant: first Serf's intent, then memberlist's dead message from
 * ourselves, then some time to answer (sections 13.7, 15.4). */
#pragma once

#include "gossip/inside.h"

void cx_leave_start(cx_gossip *core, uint64_t ticket);
void cx_leave_tick(cx_gossip *core);
int64_t cx_leave_next_ms(const cx_gossip *core);
