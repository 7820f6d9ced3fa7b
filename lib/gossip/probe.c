#include "gossip/probe.h"

#include <string.h>

#include "gossip/exchange.h"
#include "gossip/out.h"
#include "gossip/rules.h"
#include "gossip/spread.h"

enum {
    NACK_SINCE = 4, /* the protocol versions that know nacks, and pings on streams */
    STREAM_SINCE = 3,
    NACK_PERCENT = 80, /* of the time-out, so that it arrives before the asker's own ends */
};

static cx_bytes own_addr(const cx_gossip *core)
{
    return (cx_bytes){core->addr.bytes, core->addr.size};
}

static void put_ping(const cx_gossip *core, uint32_t seq_no, const char *node, cx_buffer *message)
{
    const cx_wire_ping ping = {
        .seq_no = seq_no,
        .node = cx_bytes_of(node),
        .source_addr = own_addr(core),
        .source_port = core->addr.port,
        .source_node = cx_bytes_of(core->self->name),
    };

    cx_wire_put(message, CX_WIRE_PING, &cx_wire_ping_record, &ping);
}

static void add_score(cx_gossip *core, int change)
{
    core->score += change;
    if (core->score < 0)
        core->score = 0;
    if (core->score > core->profile->score_max)
        core->score = core->profile->score_max;
}

/* ---- the probe */

/* The next member to probe; NULL when there is nobody. */
static cx_member *next_target(cx_gossip *core)
{
    size_t checked = 0;

    while (checked <= core->members.listed_count) {
        if (core->probe_at >= core->members.listed_count) {
            cx_rules_forget_dead(core);
            cx_members_shuffle(&core->members, &core->rng);
            core->probe_at = 0;
        }

        cx_member *member = core->members.listed[core->probe_at++];

        checked++;
        if (member != core->self &&
            (member->state == CX_WIRE_STATE_ALIVE || member->state == CX_WIRE_STATE_SUSPECT))
            return member;
    }
    return NULL;
}

/* Sends a message to a member; one that is suspect or dead here is told so along with it, so that it
 * can refute at once. */
static void send_and_tell(cx_gossip *core, const cx_gossip_addr *to, const cx_member *member,
                          cx_bytes message)
{
    CX_AUTO(cx_buffer_free) cx_buffer charge = {0};

    if (member == NULL || member == core->self || !member->listed ||
        (member->state != CX_WIRE_STATE_SUSPECT && member->state != CX_WIRE_STATE_DEAD)) {
        cx_spread_send(core, to, member, message);
        return;
    }

    const cx_wire_accuse accuse = {
        .incarnation = member->incarnation,
        .node = cx_bytes_of(member->name),
        .from = cx_bytes_of(core->self->name),
    };
    bool is_dead = member->state == CX_WIRE_STATE_DEAD;

    cx_wire_put(&charge, is_dead ? CX_WIRE_DEAD : CX_WIRE_SUSPECT, &cx_wire_accuse_record, &accuse);

    const cx_bytes parts[] = {message, cx_buffer_bytes(&charge)};

    cx_spread_send_bare(core, to, member, parts, CX_COUNT(parts));
}

static void start_probe(cx_gossip *core)
{
    CX_AUTO(cx_buffer_free) cx_buffer ping = {0};
    const cx_member *target = next_target(core);
    cx_probe *probe = &core->probe;

    if (target == NULL)
        return;
    *probe = (cx_probe){
        .phase = CX_PROBE_DIRECT,
        .seq_no = core->seq_no++,
        .incarnation = target->incarnation,
        .started_us = core->now_us,
        .direct_until_ms = core->now_ms + core->profile->probe_timeout_ms,
        .until_ms = core->now_ms + core->profile->probe_interval_ms * (core->score + 1),
    };
    cx_name_copy(probe->target, cx_bytes_of(target->name));
    put_ping(core, probe->seq_no, target->name, &ping);
    send_and_tell(core, &target->addr, target, cx_buffer_bytes(&ping));
}

static bool helps(const cx_member *member, const void *context)
{
    const cx_gossip *core = context;

    return member != core->self && member->state == CX_WIRE_STATE_ALIVE &&
           strcmp(member->name, core->probe.target) != 0;
}

static void ask_helper(cx_gossip *core, const cx_member *target, const cx_member *helper)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    cx_probe *probe = &core->probe;
    const cx_wire_indirect indirect = {
        .seq_no = probe->seq_no,
        .target = {target->addr.bytes, target->addr.size},
        .port = target->addr.port,
        .node = cx_bytes_of(target->name),
        .nack = helper->versions[1] >= NACK_SINCE,
        .source_addr = own_addr(core),
        .source_port = core->addr.port,
        .source_node = cx_bytes_of(core->self->name),
    };

    cx_wire_put(&message, CX_WIRE_INDIRECT, &cx_wire_indirect_record, &indirect);
    cx_spread_send(core, &helper->addr, helper, cx_buffer_bytes(&message));
    if (indirect.nack)
        probe->nacks_wanted++;
    cx_name_copy(probe->helpers[probe->helper_count++], cx_bytes_of(helper->name));
}

/* Others try, and a stream does, while a late answer still counts. */
static void go_indirect(cx_gossip *core)
{
    cx_member *helpers[CX_GOSSIP_HELPERS_MAX];
    cx_probe *probe = &core->probe;
    cx_member *target = cx_members_find(&core->members, probe->target);
    size_t count;

    probe->phase = CX_PROBE_INDIRECT;
    if (target == NULL || !target->listed) {
        probe->phase = CX_PROBE_IDLE;
        return;
    }
    count =
        cx_members_pick(&core->members, &core->rng, core->profile->helpers, helps, core, helpers);
    for (size_t i = 0; i < count; i++)
        ask_helper(core, target, helpers[i]);
    if (target->versions[1] >= STREAM_SINCE) {
        CX_AUTO(cx_buffer_free) cx_buffer ping = {0};

        put_ping(core, probe->seq_no, target->name, &ping);
        probe->stream = cx_exchange_ping(core, &target->addr, probe->seq_no, probe->until_ms,
                                         cx_buffer_bytes(&ping));
    }
}

static void succeed(cx_gossip *core)
{
    core->probe.phase = CX_PROBE_IDLE;
    add_score(core, -1);
}

static void fail(cx_gossip *core)
{
    cx_probe *probe = &core->probe;
    cx_member *target = cx_members_find(&core->members, probe->target);

    probe->phase = CX_PROBE_IDLE;
    if (probe->stream_answered) {
        add_score(core, -1);
        cx_out_log(core, CX_WARN, "packets_lost", probe->target, NULL,
                   "answers on streams and not to packets: is UDP blocked?");
        return;
    }
    if (probe->nacks_wanted > 0)
        add_score(core, (int)(probe->nacks_wanted - probe->nacks));
    else
        add_score(core, 1);
    if (target == NULL)
        return;

    const cx_charge charge = {.member = target,
                              .incarnation = probe->incarnation,
                              .from = core->self->name,
                              .source = CX_GOSSIP_BY_PROBE};

    cx_rules_suspect(core, &charge);
}

/* One probe at a time; one that takes longer than the interval skips ticks. */
static void tick_probe(cx_gossip *core)
{
    cx_probe *probe = &core->probe;

    if (probe->phase == CX_PROBE_DIRECT && core->now_ms >= probe->direct_until_ms)
        go_indirect(core);
    if (probe->phase == CX_PROBE_INDIRECT && core->now_ms >= probe->until_ms)
        fail(core);
    if (core->now_ms < core->probe_ms)
        return;

    int64_t interval_ms = core->profile->probe_interval_ms;

    core->probe_ms += interval_ms * ((core->now_ms - core->probe_ms) / interval_ms + 1);
    if (probe->phase == CX_PROBE_IDLE && core->leave.phase == CX_LEAVE_NO)
        start_probe(core);
}

/* ---- pings of operators, probes for others */

static void end_ping(cx_gossip *core, size_t at)
{
    core->pings[at] = core->pings[--core->ping_count];
}

static void tick_pings(cx_gossip *core)
{
    for (size_t i = core->ping_count; i-- > 0;) {
        cx_err err;

        if (core->now_ms < core->pings[i].until_ms)
            continue;
        cx_fail(&err, CX_TIMEOUT, "ping %s: no answer", core->pings[i].target);
        cx_out_answer(core, core->pings[i].ticket, &err);
        end_ping(core, i);
    }
}

static void answer_asker(cx_gossip *core, const cx_relay *relay, bool got_ack)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_wire_ack ack = {.seq_no = relay->asked};
    const cx_wire_nack nack = {.seq_no = relay->asked};

    if (got_ack)
        cx_wire_put(&message, CX_WIRE_ACK, &cx_wire_ack_record, &ack);
    else
        cx_wire_put(&message, CX_WIRE_NACK, &cx_wire_nack_record, &nack);
    cx_spread_send(core, &relay->asker, NULL, cx_buffer_bytes(&message));
}

static void tick_relays(cx_gossip *core)
{
    for (size_t i = core->relay_count; i-- > 0;) {
        cx_relay *relay = &core->relays[i];

        if (relay->wants_nack && core->now_ms >= relay->nack_at_ms) {
            answer_asker(core, relay, false);
            relay->wants_nack = false;
        }
        if (core->now_ms >= relay->until_ms)
            *relay = core->relays[--core->relay_count];
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- answering */

/* Where the answer to a ping goes: to its source fields if those name a member or the packet's sender,
 * to the sender without them. Else we would send packets to whomever a stranger names.
 * *member: whom it reaches, NULL for a stranger. */
static bool answer_addr(const cx_gossip *core, cx_bytes source, uint16_t port, cx_bytes node,
                        const cx_gossip_addr *from, cx_gossip_addr *to, const cx_member **member)
{
    *to = *from;
    if (source.size > 0 && port > 0) {
        if (source.size != 4 && source.size != 16)
            return false;
        to->size = (uint8_t)source.size;
        to->port = port;
        memcpy(to->bytes, source.data, source.size);
    }
    *member = cx_members_find_bytes(&core->members, node);
    if (*member == NULL || !cx_gossip_addr_same(&(*member)->addr, to))
        *member = cx_members_at_addr(&core->members, to);
    return *member != NULL || cx_gossip_addr_same(to, from);
}

/* ---- public */

void cx_probe_tick(cx_gossip *core)
{
    tick_pings(core);
    tick_relays(core);
    tick_probe(core);
}

int64_t cx_probe_next_ms(const cx_gossip *core)
{
    int64_t next_ms = core->probe_ms;

    if (core->probe.phase == CX_PROBE_DIRECT)
        next_ms = earlier(next_ms, core->probe.direct_until_ms);
    if (core->probe.phase == CX_PROBE_INDIRECT)
        next_ms = earlier(next_ms, core->probe.until_ms);
    for (size_t i = 0; i < core->ping_count; i++)
        next_ms = earlier(next_ms, core->pings[i].until_ms);
    for (size_t i = 0; i < core->relay_count; i++) {
        next_ms = earlier(next_ms, core->relays[i].until_ms);
        if (core->relays[i].wants_nack)
            next_ms = earlier(next_ms, core->relays[i].nack_at_ms);
    }
    return next_ms;
}

void cx_probe_overslept(cx_gossip *core, int64_t slept_ms)
{
    core->probe.phase = CX_PROBE_IDLE;
    add_score(core, 1);
    for (size_t i = 0; i < core->members.listed_count; i++)
        core->members.listed[i]->suspicion.started_ms += slept_ms;
    if (core->suspicion_ms != INT64_MAX)
        core->suspicion_ms += slept_ms;
}

void cx_probe_on_ping(cx_gossip *core, const cx_wire_ping *ping, const cx_gossip_addr *from)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0}, payload = {0};
    const cx_member *member = NULL;
    cx_gossip_addr to;

    if (ping->node.size > 0 && !cx_bytes_equal(ping->node, cx_bytes_of(core->self->name))) {
        cx_out_refuse(core, "ping_for_another", from, "a ping for another node");
        return;
    }
    if (!answer_addr(core, ping->source_addr, ping->source_port, ping->source_node, from, &to,
                     &member)) {
        cx_out_refuse(core, "ping_for_stranger", from, "a ping with somebody else's address");
        return;
    }
    cx_coordinate_put(&core->place.at, &payload);

    const cx_wire_ack ack = {.seq_no = ping->seq_no, .payload = cx_buffer_bytes(&payload)};

    cx_wire_put(&message, CX_WIRE_ACK, &cx_wire_ack_record, &ack);
    /* Gossip that somebody is back may have missed us: who pings is not dead. */
    send_and_tell(core, &to, member, cx_buffer_bytes(&message));
}

void cx_probe_on_indirect(cx_gossip *core, const cx_wire_indirect *indirect,
                          const cx_gossip_addr *from)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_member *target = cx_members_find_bytes(&core->members, indirect->node);
    const cx_member *asker = NULL;
    cx_relay relay = {.asked = indirect->seq_no, .wants_nack = indirect->nack};
    cx_gossip_addr addr = {.size = (uint8_t)indirect->target.size, .port = indirect->port};

    if (indirect->target.size == 4 || indirect->target.size == 16)
        memcpy(addr.bytes, indirect->target.data, indirect->target.size);
    if (addr.port == 0)
        addr.port = core->addr.port;
    if (target == NULL || !target->listed || !cx_gossip_addr_same(&addr, &target->addr)) {
        cx_out_refuse(core, "probe_of_stranger", from, "an indirect ping for no member of ours");
        return;
    }
    if (!answer_addr(core, indirect->source_addr, indirect->source_port, indirect->source_node,
                     from, &relay.asker, &asker)) {
        cx_out_refuse(core, "ping_for_stranger", from, "a ping with somebody else's address");
        return;
    }
    if (core->relay_count == CX_RELAYS_MAX) {
        cx_out_refuse(core, "relays_full", from, "more than %d indirect pings", CX_RELAYS_MAX);
        return;
    }
    relay.seq_no = core->seq_no++;
    relay.until_ms = core->now_ms + core->profile->probe_timeout_ms;
    relay.nack_at_ms = core->now_ms + core->profile->probe_timeout_ms * NACK_PERCENT / 100;
    core->relays[core->relay_count++] = relay;
    put_ping(core, relay.seq_no, target->name, &message);
    cx_spread_send(core, &target->addr, target, cx_buffer_bytes(&message));
}

/* The round trip and the coordinate of whoever answered directly. */
static void learn(cx_gossip *core, const char *name, int64_t sent_us, cx_bytes payload)
{
    cx_member *member = cx_members_find(&core->members, name);
    cx_coordinate coordinate;
    cx_err err;

    if (member == NULL)
        return;
    cx_member_add_rtt(member, (double)(core->now_us - sent_us) / 1e6);
    if (payload.size == 0 || !cx_coordinate_read(payload, &coordinate, &err))
        return;
    member->coordinate = coordinate;
    member->has_coordinate = true;
    cx_place_update(&core->place, &coordinate, cx_member_rtt(member), &core->rng);
}

void cx_probe_on_ack(cx_gossip *core, const cx_wire_ack *ack)
{
    cx_probe *probe = &core->probe;

    if (probe->phase != CX_PROBE_IDLE && ack->seq_no == probe->seq_no) {
        if (probe->phase == CX_PROBE_DIRECT)
            learn(core, probe->target, probe->started_us, ack->payload);
        succeed(core);
        return;
    }
    for (size_t i = 0; i < core->ping_count; i++) {
        const cx_ping *ping = &core->pings[i];

        if (ping->seq_no != ack->seq_no)
            continue;
        learn(core, ping->target, ping->sent_us, ack->payload);
        cx_out_answer(core, ping->ticket, NULL)->rtt_us = core->now_us - ping->sent_us;
        end_ping(core, i);
        return;
    }
    for (size_t i = 0; i < core->relay_count; i++) {
        if (core->relays[i].seq_no != ack->seq_no)
            continue;
        answer_asker(core, &core->relays[i], true);
        core->relays[i] = core->relays[--core->relay_count];
        return;
    }
}

void cx_probe_on_nack(cx_gossip *core, const cx_wire_nack *nack)
{
    cx_probe *probe = &core->probe;

    if (probe->phase == CX_PROBE_INDIRECT && nack->seq_no == probe->seq_no &&
        probe->nacks < probe->nacks_wanted)
        probe->nacks++;
}

void cx_probe_on_stream_ack(cx_gossip *core, uint32_t seq_no)
{
    if (core->probe.phase == CX_PROBE_INDIRECT && core->probe.seq_no == seq_no)
        core->probe.stream_answered = true;
}

void cx_probe_ping(cx_gossip *core, const char *node, uint64_t ticket)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_member *target = cx_members_find(&core->members, node);
    cx_ping *ping = &core->pings[core->ping_count];
    cx_err err;

    if (target == NULL || target->status == CX_GOSSIP_UNKNOWN) {
        cx_fail(&err, CX_NOT_FOUND, "no member is called %s", node);
        cx_out_answer(core, ticket, &err);
        return;
    }
    if (core->ping_count == CX_PINGS_MAX) {
        cx_fail(&err, CX_BUSY, "%d pings are under way", CX_PINGS_MAX);
        cx_out_answer(core, ticket, &err);
        return;
    }
    core->ping_count++;
    *ping = (cx_ping){
        .seq_no = core->seq_no++,
        .ticket = ticket,
        .sent_us = core->now_us,
        .until_ms = core->now_ms + core->profile->probe_interval_ms,
    };
    cx_name_copy(ping->target, cx_bytes_of(target->name));
    put_ping(core, ping->seq_no, target->name, &message);
    cx_spread_send(core, &target->addr, target, cx_buffer_bytes(&message));
}
