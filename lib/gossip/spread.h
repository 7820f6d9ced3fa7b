/* Sending: packets with gossip piggybacked on them, and the gossip tick (sections 10 and 14). */
#pragma once

#include "gossip/inside.h"

/* Sends one message. to_member (may be NULL: a stranger) decides about checksum and gossip: strangers get
 * none, since whoever forges a sender's address would have us send him much for little. */
void cx_spread_send(cx_gossip *core, const cx_gossip_addr *to, const cx_member *to_member,
                    cx_bytes message);
/* Sends these parts and nothing else. */
void cx_spread_send_bare(cx_gossip *core, const cx_gossip_addr *to, const cx_member *to_member,
                         const cx_bytes *parts, size_t count);
/* Whether anything waits to be gossiped. */
bool cx_spread_pending(const cx_gossip *core);
/* Some messages of the queues to some random members. */
void cx_spread_tick(cx_gossip *core);

/* Queues a message for everybody; slot: see broadcast.h. */
void cx_spread_queue(cx_gossip *core, int queue, cx_bytes message, cx_broadcast **slot);
/* How often each message is sent. */
unsigned cx_spread_transmissions(const cx_gossip *core, int queue);
