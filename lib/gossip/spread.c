#include "gossip/spread.h"

#include <math.h>

#include "gossip/out.h"

enum {
    PART_OVERHEAD = 2,      /* its length in the compound */
    SERF_PART_OVERHEAD = 3, /* as the peer counts it */
    CRC_SINCE = 5,          /* the protocol version that knows checksums */
};

static size_t budget(const cx_gossip *core)
{
    size_t seal = core->ring != NULL ? CX_CRYPT_OVERHEAD : 0;

    return CX_PACKET_BUDGET - 2 - seal;
}

static void take_gossip(cx_gossip *core, size_t room, cx_parts *parts)
{
    for (int i = 0; i < CX_QUEUES; i++)
        cx_broadcasts_take(&core->queues[i],
                           i == CX_QUEUE_MEMBERS ? PART_OVERHEAD : SERF_PART_OVERHEAD, &room,
                           cx_spread_transmissions(core, i), parts);
}

static bool hears_gossip(const cx_member *member, const void *context)
{
    const cx_gossip *core = context;

    if (member == core->self || member->state == CX_WIRE_STATE_LEFT)
        return false;
    return member->state != CX_WIRE_STATE_DEAD ||
           core->now_ms - member->state_since_ms < core->profile->to_the_dead_ms;
}

static void send_parts(cx_gossip *core, const cx_gossip_addr *to, const cx_member *to_member,
                       const cx_parts *parts)
{
    cx_bytes views[CX_BROADCAST_PARTS_MAX];

    for (size_t i = 0; i < parts->count; i++)
        views[i] = cx_parts_at(parts, i);
    cx_spread_send_bare(core, to, to_member, views, parts->count);
}

/* ---- public */

void cx_spread_send(cx_gossip *core, const cx_gossip_addr *to, const cx_member *to_member,
                    cx_bytes message)
{
    CX_AUTO(cx_parts_free) cx_parts parts = {0};
    size_t room = budget(core);

    cx_parts_add(&parts, message);
    if (to_member != NULL && message.size + PART_OVERHEAD < room)
        take_gossip(core, room - message.size - PART_OVERHEAD, &parts);
    send_parts(core, to, to_member, &parts);
}

void cx_spread_send_bare(cx_gossip *core, const cx_gossip_addr *to, const cx_member *to_member,
                         const cx_bytes *parts, size_t count)
{
    CX_AUTO(cx_buffer_free) cx_buffer datagram = {0};
    const cx_packet_options options = {
        .ring = core->ring,
        .nonces = &core->nonces,
        .compress = core->compress,
        .crc = to_member != NULL && to_member->versions[1] >= CRC_SINCE,
    };

    if (core->left)
        return;
    cx_packet_write(parts, count, &options, &datagram);
    core->packets_out++;
    core->bytes_out += datagram.size;

    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_SEND);

    action->to = *to;
    action->bytes = cx_out_keep_buffer(core, &datagram);
}

bool cx_spread_pending(const cx_gossip *core)
{
    for (int i = 0; i < CX_QUEUES; i++)
        if (core->queues[i].count > 0)
            return true;
    return false;
}

void cx_spread_tick(cx_gossip *core)
{
    cx_member *targets[8];
    size_t count;

    if (!cx_spread_pending(core))
        return;
    count = cx_members_pick(&core->members, &core->rng, core->profile->gossip_nodes, hears_gossip,
                            core, targets);
    for (size_t i = 0; i < count && cx_spread_pending(core); i++) {
        CX_AUTO(cx_parts_free) cx_parts parts = {0};

        take_gossip(core, budget(core), &parts);
        if (parts.count > 0)
            send_parts(core, &targets[i]->addr, targets[i], &parts);
    }
}

void cx_spread_queue(cx_gossip *core, int queue, cx_bytes message, cx_broadcast **slot)
{
    if (!cx_broadcasts_put(&core->queues[queue], message, slot))
        cx_out_log(core, CX_WARN, "message_too_long", NULL, NULL,
                   "a message of %zu bytes does not fit a packet and is not passed on",
                   message.size);
}

unsigned cx_spread_transmissions(const cx_gossip *core, int queue)
{
    size_t count = queue == CX_QUEUE_MEMBERS ? core->members.listed_count : core->members.count;

    return core->profile->retransmit_mult * (unsigned)ceil(log10((double)count + 1));
}
