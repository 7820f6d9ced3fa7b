/* Streams: push/pull of whole states, pings by stream, joins (section 11). */
#pragma once

#include "gossip/inside.h"

void cx_exchange_on_accept(cx_gossip *core, uint64_t id, const cx_gossip_addr *from);
void cx_exchange_on_bytes(cx_gossip *core, uint64_t id, cx_bytes bytes);
void cx_exchange_on_end(cx_gossip *core, uint64_t id, const char *reason);

/* The periodic exchange with a random member, and the end of streams that take too long. */
void cx_exchange_tick(cx_gossip *core);
int64_t cx_exchange_next_ms(const cx_gossip *core);
/* When the next periodic one is to be, from now. */
int64_t cx_exchange_interval_ms(const cx_gossip *core);

/* One exchange with a member that failed: is it back? */
void cx_exchange_reconnect(cx_gossip *core, const cx_gossip_addr *addr);
/* A join with some addresses: answers the ticket when all have ended. */
void cx_exchange_join(cx_gossip *core, const cx_gossip_addr *addrs, size_t count, bool replay,
                      uint64_t ticket);
/* A ping by stream; returns the stream, 0 if there are too many. */
uint64_t cx_exchange_ping(cx_gossip *core, const cx_gossip_addr *addr, uint32_t seq_no,
                          int64_t until_ms, cx_bytes message);
void cx_exchange_overslept(cx_gossip *core, int64_t slept_ms);
void cx_exchange_free(cx_gossip *core);
