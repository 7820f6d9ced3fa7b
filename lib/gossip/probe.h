/* Failure detection: probes, answers to those of others, health score (section 12). */
#pragma once

#include "gossip/inside.h"

/* What is due of probes, pings of operators, and probes that we do for others. */
void cx_probe_tick(cx_gossip *core);
/* When the next of those is due. */
int64_t cx_probe_next_ms(const cx_gossip *core);
/* We were not running for a while: what the others failed to do meanwhile says nothing about them. */
void cx_probe_overslept(cx_gossip *core, int64_t slept_ms);

void cx_probe_on_ping(cx_gossip *core, const cx_wire_ping *ping, const cx_gossip_addr *from);
void cx_probe_on_indirect(cx_gossip *core, const cx_wire_indirect *indirect,
                          const cx_gossip_addr *from);
void cx_probe_on_ack(cx_gossip *core, const cx_wire_ack *ack);
void cx_probe_on_nack(cx_gossip *core, const cx_wire_nack *nack);
/* The TCP ping of a probe was answered. */
void cx_probe_on_stream_ack(cx_gossip *core, uint32_t seq_no);

/* An operator's ping; it answers the ticket. */
void cx_probe_ping(cx_gossip *core, const char *node, uint64_t ticket);
