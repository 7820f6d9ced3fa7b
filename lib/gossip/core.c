#include "gossip/core.h"

#include <string.h>

#include "gossip/events.h"
#include "gossip/exchange.h"
#include "gossip/leave.h"
#include "gossip/look.h"
#include "gossip/out.h"
#include "gossip/probe.h"
#include "gossip/rules.h"
#include "gossip/serf.h"
#include "gossip/spread.h"
#include "gossip/store.h"

enum {
    REAP_INTERVAL_MS = 15000,
    RECONNECT_INTERVAL_MS = 30000,
    QUEUE_MAX = 4096,
    PAST_TRIED = 8, /* addresses of the last run, at the start */
};

/* memberlist 1 to 5, speaking 2; Serf 2 to 5, speaking 5: what the real peer says. */
static const uint8_t OWN_VERSIONS[CX_VERSIONS] = {1, 5, 2, 2, 5, 5};

/* ---- packets */

struct arrival {
    cx_gossip *core;
    const cx_gossip_addr *from;
};

static bool on_alive(cx_gossip *core, cx_bytes body, cx_err *err)
{
    cx_wire_alive alive;
    cx_claim claim;

    if (!cx_wire_read(body, &cx_wire_alive_record, &alive, err) ||
        !cx_claim_of_alive(core, &alive, &claim, err))
        return false;
    cx_rules_alive(core, &claim, false);
    return true;
}

static bool on_accuse(cx_gossip *core, uint8_t type, cx_bytes body, cx_err *err)
{
    char from[CX_GOSSIP_NAME_MAX + 1];
    cx_wire_accuse accuse;

    if (!cx_wire_read(body, &cx_wire_accuse_record, &accuse, err))
        return false;
    if (!cx_member_name_is_good(accuse.from))
        return cx_fail(err, CX_MALFORMED, "an accusation by a name that can't be");
    cx_name_copy(from, accuse.from);

    const cx_charge charge = {.member = cx_members_find_bytes(&core->members, accuse.node),
                              .incarnation = accuse.incarnation,
                              .from = from,
                              .source = CX_GOSSIP_BY_GOSSIP};

    if (charge.member == NULL)
        return true;
    if (type == CX_WIRE_SUSPECT)
        cx_rules_suspect(core, &charge);
    else
        cx_rules_dead(core, &charge);
    return true;
}

static bool on_probing(cx_gossip *core, uint8_t type, cx_bytes body, const cx_gossip_addr *from,
                       cx_err *err)
{
    cx_wire_any any;

    if (!cx_wire_read(body, cx_wire_record(type), &any, err))
        return false;
    if (type == CX_WIRE_PING)
        cx_probe_on_ping(core, &any.ping, from);
    else if (type == CX_WIRE_INDIRECT)
        cx_probe_on_indirect(core, &any.indirect, from);
    else if (type == CX_WIRE_ACK)
        cx_probe_on_ack(core, &any.ack);
    else
        cx_probe_on_nack(core, &any.nack);
    return true;
}

static void on_message(void *context, uint8_t type, cx_bytes body)
{
    const struct arrival *arrival = context;
    cx_gossip *core = arrival->core;
    bool good = true;
    cx_err err;

    switch (type) {
    case CX_WIRE_PING:
    case CX_WIRE_INDIRECT:
    case CX_WIRE_ACK:
    case CX_WIRE_NACK: good = on_probing(core, type, body, arrival->from, &err); break;
    case CX_WIRE_SUSPECT:
    case CX_WIRE_DEAD: good = on_accuse(core, type, body, &err); break;
    case CX_WIRE_ALIVE: good = on_alive(core, body, &err); break;
    case CX_WIRE_USER: cx_serf_message(core, body, arrival->from); break;
    default: good = cx_fail(&err, CX_MALFORMED, "message type %u in a packet", type); break;
    }
    if (!good)
        cx_out_refuse(core, "message_refused", arrival->from, "%s", err.message);
}

static void on_packet(cx_gossip *core, const cx_gossip_event *event)
{
    struct arrival arrival = {core, &event->from};
    const cx_packet_sink sink = {.context = &arrival, .message = on_message};
    cx_err err;

    core->packets_in++;
    core->bytes_in += event->bytes.size;
    if (!cx_packet_read(event->bytes, core->ring, &sink, &err))
        cx_out_refuse(core, "packet_refused", &event->from, "%s", err.message);
}

/* ---- joining again */

/* Up to `wanted` random addresses of the last run. */
static size_t past_addrs(cx_gossip *core, cx_gossip_addr *addrs, size_t wanted)
{
    size_t count = core->past.count < wanted ? core->past.count : wanted;

    for (size_t i = 0; i < count; i++) {
        size_t from = i + (size_t)cx_rng_below(&core->rng, core->past.count - i);
        cx_gossip_addr addr = core->past.addrs[from];

        core->past.addrs[from] = core->past.addrs[i];
        core->past.addrs[i] = addr;
        addrs[i] = addr;
    }
    return count;
}

static void join_the_past(cx_gossip *core)
{
    cx_gossip_addr addrs[PAST_TRIED];
    size_t count = past_addrs(core, addrs, PAST_TRIED);

    if (count > 0)
        cx_exchange_join(core, addrs, count, true, 0);
}

static bool is_there(const cx_gossip_addr *addrs, size_t count, const cx_gossip_addr *addr)
{
    for (size_t i = 0; i < count; i++)
        if (cx_gossip_addr_same(&addrs[i], addr))
            return true;
    return false;
}

/* Those that failed first, then those that are alive, then those of the last run. */
static void on_rejoin(cx_gossip *core, uint64_t ticket)
{
    static const int order[] = {CX_GOSSIP_FAILED, CX_GOSSIP_ALIVE, CX_GOSSIP_LEAVING};
    cx_gossip_addr addrs[CX_JOIN_ADDRS_MAX], past[CX_JOIN_ADDRS_MAX];
    size_t count = 0, past_count = past_addrs(core, past, CX_JOIN_ADDRS_MAX);
    cx_err err;

    for (size_t i = 0; i < CX_COUNT(order); i++)
        for (size_t j = 0; j < core->members.count && count < CX_JOIN_ADDRS_MAX; j++)
            if (core->members.all[j]->status == order[i] && core->members.all[j] != core->self)
                addrs[count++] = core->members.all[j]->addr;
    for (size_t i = 0; i < past_count && count < CX_JOIN_ADDRS_MAX; i++)
        if (!is_there(addrs, count, &past[i]))
            addrs[count++] = past[i];
    if (count == 0) {
        cx_fail(&err, CX_NOT_FOUND, "this node knows nobody that it could join");
        cx_hint(&err, "join ADDR names the address of a member");
        cx_out_answer(core, ticket, &err);
        return;
    }
    cx_exchange_join(core, addrs, count, true, ticket);
}

/* Is one of those that failed back? With many, not all of us ask each time (15.12). */
static void reconnect(cx_gossip *core)
{
    cx_member *chosen = NULL;
    size_t failed = 0, alive = 0;

    core->reconnect_ms = core->now_ms + RECONNECT_INTERVAL_MS;
    for (size_t i = 0; i < core->members.count; i++) {
        cx_member *member = core->members.all[i];

        alive += member->status == CX_GOSSIP_ALIVE && member != core->self;
        if (member->status != CX_GOSSIP_FAILED)
            continue;
        failed++;
        if (cx_rng_below(&core->rng, failed) == 0)
            chosen = member;
    }
    if (alive == 0 && failed == 0) {
        join_the_past(core);
        return;
    }
    if (failed > 0 && cx_rng_real(&core->rng) < (double)failed / (double)(alive == 0 ? 1 : alive))
        cx_exchange_reconnect(core, &chosen->addr);
}

/* ---- commands */

static void on_join(cx_gossip *core, const cx_gossip_event *event)
{
    cx_gossip_addr addrs[CX_JOIN_ADDRS_MAX];
    size_t count = 0;

    /* The same list of seeds is on every host, so ours is often in it. */
    for (size_t i = 0; i < event->addr_count && count < CX_JOIN_ADDRS_MAX; i++)
        if (!cx_gossip_addr_same(&event->addrs[i], &core->addr))
            addrs[count++] = event->addrs[i];
    if (count == 0 && event->addr_count > 0)
        cx_out_answer(core, event->ticket, NULL);
    else
        cx_exchange_join(core, addrs, count, event->replay, event->ticket);
}

static void on_remove(cx_gossip *core, const cx_gossip_event *event)
{
    const cx_member *member = cx_members_find(&core->members, event->node);
    bool changed;
    cx_err err;

    if (member == NULL || member->status == CX_GOSSIP_UNKNOWN) {
        cx_fail(&err, CX_NOT_FOUND, "no member is called %s", event->node);
        cx_out_answer(core, event->ticket, &err);
        return;
    }
    if (member->status == CX_GOSSIP_ALIVE || member->status == CX_GOSSIP_LEAVING) {
        cx_fail(&err, CX_BUSY, "%s is %s: it would come back at once", event->node,
                cx_gossip_status_text(cx_look_at(core, member).status));
        cx_hint(&err, "stop it first, or let it leave");
        cx_out_answer(core, event->ticket, &err);
        return;
    }
    changed = member->status == CX_GOSSIP_FAILED || event->prune;
    if (changed)
        cx_serf_announce_leave(core, event->node, event->prune, NULL);
    cx_out_answer(core, event->ticket, NULL)->changed = changed;
}

static bool is_unset(const cx_gossip_event *event, const char *key)
{
    for (size_t i = 0; i < event->unset_count; i++)
        if (strcmp(event->unset[i], key) == 0)
            return true;
    for (size_t i = 0; i < event->set_count; i++)
        if (strcmp(event->set[i].key, key) == 0)
            return true;
    return false;
}

static void on_tags(cx_gossip *core, const cx_gossip_event *event)
{
    const cx_tags *old = &core->self->tags;
    CX_AUTO(cx_buffer_free) cx_buffer meta = {0};
    CX_AUTO(cx_free)
    cx_gossip_tag *tags = cx_alloc(old->count + event->set_count + 1, sizeof(*tags));
    size_t count = 0;
    bool changed;
    cx_err err;

    for (size_t i = 0; i < old->count; i++)
        if (!is_unset(event, old->items[i].key))
            tags[count++] = old->items[i];
    for (size_t i = 0; i < event->set_count; i++)
        tags[count++] = event->set[i];
    if (!cx_tags_write(tags, count, &meta, &err)) {
        cx_out_answer(core, event->ticket, &err);
        return;
    }
    changed = !cx_bytes_equal(cx_buffer_bytes(&meta),
                              (cx_bytes){core->self->meta, core->self->meta_size});
    if (changed)
        cx_rules_announce(core, cx_buffer_bytes(&meta));
    cx_out_answer(core, event->ticket, NULL)->changed = changed;
}

static bool change_ring(cx_gossip *core, const cx_gossip_event *event, bool *changed, cx_err *err)
{
    switch (event->key_change) {
    case CX_GOSSIP_KEY_INSTALL: return cx_keyring_install(core->ring, event->bytes, changed, err);
    case CX_GOSSIP_KEY_USE: return cx_keyring_use(core->ring, event->bytes, changed, err);
    case CX_GOSSIP_KEY_REMOVE: return cx_keyring_remove(core->ring, event->bytes, changed, err);
    }
    return cx_fail(err, CX_INTERNAL, "key change %d", (int)event->key_change);
}

static void on_key(cx_gossip *core, const cx_gossip_event *event)
{
    bool changed = false, was_plain = core->ring == NULL;
    cx_err err;

    if (was_plain)
        core->ring = cx_keyring_new();
    if (!change_ring(core, event, &changed, &err)) {
        if (was_plain)
            cx_keyring_close(&core->ring);
        cx_out_answer(core, event->ticket, &err);
        return;
    }
    if (cx_keyring_count(core->ring) == 0)
        cx_keyring_close(&core->ring);
    if (changed) {
        cx_keyring_write(core->ring, &core->secret);
        cx_out_add(core, CX_GOSSIP_SAVE_KEYRING)->bytes = cx_buffer_bytes(&core->secret);
    }
    cx_out_answer(core, event->ticket, NULL)->changed = changed;
}

static void on_user_event(cx_gossip *core, const cx_gossip_event *event)
{
    cx_err err;
    bool sent = cx_events_send(core, event->name, event->bytes, event->coalesce, &err);

    cx_out_answer(core, event->ticket, sent ? NULL : &err);
}

/* ---- time */

static void on_start(cx_gossip *core)
{
    CX_AUTO(cx_buffer_free) cx_buffer meta = {0};

    if (core->started)
        return;
    core->started = true;
    core->gossip_ms = core->now_ms + cx_out_jitter(core, core->profile->gossip_interval_ms);
    core->probe_ms = core->now_ms + cx_out_jitter(core, core->profile->probe_interval_ms);
    core->push_pull_ms = core->now_ms + cx_out_jitter(core, core->profile->push_pull_interval_ms);
    core->reap_ms = core->now_ms + REAP_INTERVAL_MS;
    core->reconnect_ms = core->now_ms + RECONNECT_INTERVAL_MS;
    cx_buffer_add(&meta, core->self->meta, core->self->meta_size);
    cx_rules_announce(core, cx_buffer_bytes(&meta));
    cx_store_save(core); /* the incarnation is on disk before others hear of it */
    join_the_past(core);
}

/* We were stopped, or starved. It says nothing about the others. */
static void notice_sleep(cx_gossip *core)
{
    int64_t slept_ms = core->now_ms - core->wake_ms;

    if (!core->started || core->left || slept_ms <= core->profile->probe_timeout_ms)
        return;
    cx_probe_overslept(core, slept_ms);
    cx_exchange_overslept(core, slept_ms);
    cx_out_log(core, CX_WARN, "overslept", NULL, NULL,
               "this process did not run for %lld ms; it accuses nobody for that time",
               (long long)slept_ms);
}

static void run_timers(cx_gossip *core)
{
    if (!core->started || core->left)
        return;
    cx_probe_tick(core);
    cx_rules_tick(core);
    cx_exchange_tick(core);
    if (core->now_ms >= core->reap_ms) {
        core->reap_ms = core->now_ms + REAP_INTERVAL_MS;
        cx_serf_reap(core);
    }
    if (core->now_ms >= core->reconnect_ms && core->leave.phase == CX_LEAVE_NO)
        reconnect(core);
    if (core->now_ms >= core->gossip_ms) {
        core->gossip_ms = core->now_ms + core->profile->gossip_interval_ms;
        cx_spread_tick(core);
    }
    cx_leave_tick(core);
    if (core->now_ms >= core->save_ms)
        cx_store_save(core);
}

static int64_t next_ms(const cx_gossip *core)
{
    const int64_t times[] = {
        cx_probe_next_ms(core),
        cx_exchange_next_ms(core),
        cx_leave_next_ms(core),
        core->suspicion_ms,
        core->reap_ms,
        core->save_ms,
        core->leave.phase == CX_LEAVE_NO ? core->reconnect_ms : INT64_MAX,
        cx_spread_pending(core) ? core->gossip_ms : INT64_MAX,
    };
    int64_t next = times[0];

    for (size_t i = 1; i < CX_COUNT(times); i++)
        if (times[i] < next)
            next = times[i];
    return next;
}

/* What follows from all that happened in this input. */
static void conclude(cx_gossip *core)
{
    cx_gossip_partition was = core->partition;

    if (core->left || !core->started)
        return;
    if (core->partition_stale && cx_look_partition(core)) {
        cx_out_emit(core, CX_GOSSIP_PARTITION_CHANGED, NULL, NULL);
        core->actions[core->action_count - 1].notice.partition = core->partition;
        core->actions[core->action_count - 1].notice.was = was;
    }

    int64_t wake_ms = next_ms(core);

    if (wake_ms == core->wake_ms && wake_ms > core->now_ms)
        return;
    core->wake_ms = wake_ms;
    cx_out_add(core, CX_GOSSIP_WAKE)->wake_at_ms = wake_ms;
}

static void answer_not_running(cx_gossip *core, uint64_t ticket)
{
    cx_err err;

    if (ticket == 0)
        return;
    cx_fail(&err, CX_UNAVAILABLE, core->left ? "this node has left" : "this node is starting");
    cx_out_answer(core, ticket, &err);
}

static void take(cx_gossip *core, const cx_gossip_event *event)
{
    if (event->kind != CX_GOSSIP_ON_START && (!core->started || core->left)) {
        answer_not_running(core, event->ticket);
        return;
    }
    switch (event->kind) {
    case CX_GOSSIP_ON_START: on_start(core); break;
    case CX_GOSSIP_ON_WAKE:
        /* The timers run after every event. The caller's timer is spent, even if it was a moment
         * early: the next WAKE is not left out as the same one again. */
        core->wake_ms = INT64_MIN;
        break;
    case CX_GOSSIP_ON_PACKET: on_packet(core, event); break;
    case CX_GOSSIP_ON_ACCEPT: cx_exchange_on_accept(core, event->stream, &event->from); break;
    case CX_GOSSIP_ON_BYTES: cx_exchange_on_bytes(core, event->stream, event->bytes); break;
    case CX_GOSSIP_ON_END: cx_exchange_on_end(core, event->stream, event->reason); break;
    case CX_GOSSIP_ON_JOIN: on_join(core, event); break;
    case CX_GOSSIP_ON_REJOIN: on_rejoin(core, event->ticket); break;
    case CX_GOSSIP_ON_LEAVE: cx_leave_start(core, event->ticket); break;
    case CX_GOSSIP_ON_REMOVE: on_remove(core, event); break;
    case CX_GOSSIP_ON_PING: cx_probe_ping(core, event->node, event->ticket); break;
    case CX_GOSSIP_ON_TAGS: on_tags(core, event); break;
    case CX_GOSSIP_ON_KEY: on_key(core, event); break;
    case CX_GOSSIP_ON_USER_EVENT: on_user_event(core, event); break;
    }
}

/* ---- opening */

static bool set_up_self(cx_gossip *core, const cx_gossip_options *options, cx_err *err)
{
    CX_AUTO(cx_free) cx_gossip_tag *tags = cx_alloc(options->tag_count + 1, sizeof(*tags));
    CX_AUTO(cx_buffer_free) cx_buffer meta = {0};
    cx_member *self;

    if (options->name == NULL || !cx_member_name_is_good(cx_bytes_of(options->name)))
        return cx_fail(err, CX_CONFIG, "a node's name is 1 to %d bytes without control characters",
                       CX_GOSSIP_NAME_MAX);
    if ((options->advertise.size != 4 && options->advertise.size != 16) ||
        options->advertise.port == 0)
        return cx_fail(err, CX_CONFIG, "a node needs an address that others can send to");
    if (options->tag_count > 0)
        memcpy(tags, options->tags, options->tag_count * sizeof(*tags));
    if (!cx_tags_write(tags, options->tag_count, &meta, err)) {
        err->code = CX_CONFIG;
        return false;
    }
    self = cx_members_add(&core->members, cx_bytes_of(options->name));
    self->addr = options->advertise;
    self->meta_size = meta.size;
    memcpy(self->meta, meta.data, meta.size);
    memcpy(self->versions, OWN_VERSIONS, CX_VERSIONS);
    core->self = self;
    return true;
}

/* ---- public */

bool cx_gossip_open(const cx_gossip_options *options, cx_gossip **core, cx_err *err)
{
    CX_AUTO(cx_gossip_close) cx_gossip *made = cx_alloc(1, sizeof(*made));
    cx_err state_err;

    made->profile = cx_profile_of(options->profile);
    made->addr = options->advertise;
    made->expected = options->expected;
    made->compress = options->compress;
    made->rng = options->rng;
    made->nonces = cx_rng_fork(&made->rng);
    made->seq_no = (uint32_t)cx_rng_next(&made->rng); /* acks can't be guessed */
    made->place = cx_place_start();
    made->first_incarnation = 1;
    made->wake_ms = made->save_ms = made->suspicion_ms = INT64_MAX;
    made->member_clock = made->event_clock = made->query_clock = 1;
    for (int i = 0; i < CX_QUEUES; i++)
        made->queues[i].limit = i == CX_QUEUE_MEMBERS ? 2 * CX_MEMBERS_MAX : QUEUE_MAX;
    if (!set_up_self(made, options, err))
        return false;
    if (options->keyring.size > 0 && !cx_keyring_parse(options->keyring, &made->ring, err))
        return false;
    if (options->state.size > 0 && !cx_store_load(made, options->state, &state_err))
        cx_out_log(made, CX_WARN, "state_ignored", NULL, NULL, "%s", state_err.message);
    cx_look_partition(made);
    *core = CX_TAKE(made);
    return true;
}

void cx_gossip_close(cx_gossip **owner)
{
    cx_gossip *core = *owner;

    if (core == NULL)
        return;
    cx_exchange_free(core);
    for (int i = 0; i < CX_QUEUES; i++)
        cx_broadcasts_free(&core->queues[i]);
    cx_events_free(core);
    cx_members_free(&core->members);
    cx_out_free(core);
    cx_keyring_close(&core->ring);
    cx_free(&core->intents);
    cx_free(&core->past.addrs);
    cx_free(&core->views);
    cx_free(owner);
}

cx_gossip_actions cx_gossip_input(cx_gossip *core, const cx_gossip_event *event, int64_t now_us)
{
    /* What opening had to say comes with the start. */
    if (core->started)
        cx_out_reset(core);
    core->now_us = now_us;
    core->now_ms = now_us / 1000;
    notice_sleep(core);
    take(core, event);
    run_timers(core);
    conclude(core);
    return (cx_gossip_actions){core->actions, core->action_count};
}
