#include "gossip/serf.h"

#include <stdlib.h>
#include <string.h>

#include "gossip/events.h"
#include "gossip/out.h"
#include "gossip/query.h"
#include "gossip/rules.h"
#include "gossip/spread.h"

#define FORGET_MS        (INT64_C(24) * 3600 * 1000) /* failed and left members alike */
#define INTENT_FORGET_MS (INT64_C(5) * 60 * 1000)

enum {
    NAMES_MAX = 2 * CX_MEMBERS_MAX, /* in the state of a push/pull */
    PRUNE_AHEAD = 16,
};

/* ---- statuses */

static void set_status(cx_gossip *core, cx_member *member, cx_gossip_status_word status)
{
    if (member->status != (int)status) {
        member->since_ms = core->now_ms;
        core->partition_stale = true;
    }
    member->status = status;
    cx_out_save(core, true);
}

static void tell_left(cx_gossip *core, cx_member *member)
{
    set_status(core, member, CX_GOSSIP_LEFT_CLUSTER);
    cx_out_emit(core, CX_GOSSIP_MEMBER_LEFT, member, NULL);
    cx_out_log(core, CX_INFO, "member_left", member->name, &member->addr, "%s", "");
    if (member->prune && member != core->self)
        cx_serf_erase(core, member);
}

/* ---- intents about nodes that are not known yet */

static cx_intent *buffered(const cx_gossip *core, cx_bytes node)
{
    for (size_t i = 0; i < core->intent_count; i++)
        if (cx_bytes_equal(cx_bytes_of(core->intents[i].node), node))
            return &core->intents[i];
    return NULL;
}

static void unbuffer(cx_gossip *core, cx_intent *intent)
{
    *intent = core->intents[--core->intent_count];
}

/* Says whether it was news. */
static bool buffer_intent(cx_gossip *core, cx_bytes node, bool is_leave, uint64_t ltime)
{
    cx_intent *intent = buffered(core, node);

    if (intent != NULL && ltime <= intent->ltime)
        return false;
    if (intent == NULL && core->intent_count == CX_INTENTS_MAX)
        return false;
    if (core->intents == NULL)
        core->intents = cx_alloc(CX_INTENTS_MAX, sizeof(*core->intents));
    if (intent == NULL)
        intent = &core->intents[core->intent_count++];
    cx_name_copy(intent->node, node);
    intent->is_leave = is_leave;
    intent->ltime = ltime;
    intent->at_ms = core->now_ms;
    return true;
}

/* ---- intents */

/* Both return whether others should hear of it. */
static bool apply_leave(cx_gossip *core, cx_bytes node, uint64_t ltime, bool prune)
{
    cx_member *member = cx_members_find_bytes(&core->members, node);

    cx_clock_witness(&core->member_clock, ltime);
    if (member == NULL || member->status == CX_GOSSIP_UNKNOWN)
        return buffer_intent(core, node, true, ltime);
    if (ltime <= member->status_ltime)
        return false;
    if (member == core->self && core->leave.phase == CX_LEAVE_NO) {
        cx_out_log(core, CX_WARN, "leave_refuted", member->name, NULL,
                   "somebody says that this node leaves; it does not");
        cx_serf_announce_join(core);
        return false;
    }
    member->status_ltime = ltime;
    member->prune = prune;
    if (member->status == CX_GOSSIP_ALIVE)
        set_status(core, member, CX_GOSSIP_LEAVING);
    else if (member->status == CX_GOSSIP_FAILED)
        tell_left(core, member); /* which erases it when it is to be pruned */
    else if (member->status == CX_GOSSIP_LEFT_CLUSTER && prune && member != core->self)
        cx_serf_erase(core, member);
    return true;
}

static bool apply_join(cx_gossip *core, cx_bytes node, uint64_t ltime)
{
    cx_member *member = cx_members_find_bytes(&core->members, node);

    cx_clock_witness(&core->member_clock, ltime);
    if (member == NULL || member->status == CX_GOSSIP_UNKNOWN)
        return buffer_intent(core, node, false, ltime);
    if (ltime <= member->status_ltime)
        return false;
    member->status_ltime = ltime;
    member->prune = false;
    if (member->status == CX_GOSSIP_LEAVING)
        set_status(core, member, CX_GOSSIP_ALIVE);
    return true;
}

static bool intent_is_good(cx_bytes node, uint64_t ltime, cx_err *err)
{
    if (!cx_member_name_is_good(node))
        return cx_fail(err, CX_MALFORMED, "an intent about a name that can't be");
    if (ltime > CX_LTIME_MAX)
        return cx_fail(err, CX_MALFORMED, "an intent of an absurd Lamport time");
    return true;
}

static void pass_on(cx_gossip *core, int queue, cx_bytes message)
{
    CX_AUTO(cx_buffer_free) cx_buffer whole = {0};
    const uint8_t user = CX_WIRE_USER;

    cx_buffer_add(&whole, &user, 1);
    cx_buffer_add(&whole, message.data, message.size);
    cx_spread_queue(core, queue, cx_buffer_bytes(&whole), NULL);
}

static bool take_leave(cx_gossip *core, cx_bytes message, cx_err *err)
{
    cx_wire_leave leave;

    if (!cx_wire_read((cx_bytes){message.data + 1, message.size - 1}, &cx_wire_leave_record, &leave,
                      err) ||
        !intent_is_good(leave.node, leave.ltime, err))
        return false;
    if (apply_leave(core, leave.node, leave.ltime, leave.prune))
        pass_on(core, CX_QUEUE_INTENTS, message);
    return true;
}

static bool take_join(cx_gossip *core, cx_bytes message, cx_err *err)
{
    cx_wire_join join;

    if (!cx_wire_read((cx_bytes){message.data + 1, message.size - 1}, &cx_wire_join_record, &join,
                      err) ||
        !intent_is_good(join.node, join.ltime, err))
        return false;
    if (apply_join(core, join.node, join.ltime))
        pass_on(core, CX_QUEUE_INTENTS, message);
    return true;
}

static bool take_message(cx_gossip *core, cx_bytes message, const cx_gossip_addr *from, cx_err *err)
{
    bool is_news = false;

    switch (message.data[0]) {
    case CX_SERF_LEAVE: return take_leave(core, message, err);
    case CX_SERF_JOIN: return take_join(core, message, err);
    case CX_SERF_USER_EVENT:
        if (!cx_events_take(core, message, &is_news, err))
            return false;
        if (is_news)
            pass_on(core, CX_QUEUE_EVENTS, message);
        return true;
    case CX_SERF_QUERY:
        if (!cx_query_take(core, message, &is_news, err))
            return false;
        if (is_news)
            pass_on(core, CX_QUEUE_QUERIES, message);
        return true;
    case CX_SERF_RESPONSE: return cx_query_take_response(core, message, err);
    case CX_SERF_RELAY: return cx_query_relay(core, message, from, err);
    default: return cx_fail(err, CX_MALFORMED, "Serf message of type %u", message.data[0]);
    }
}

/* ---- push/pull */

static void put_ltimes(const cx_gossip *core, cx_buffer *map)
{
    size_t count = 0;

    for (size_t i = 0; i < core->members.count; i++)
        count += core->members.all[i]->status != CX_GOSSIP_UNKNOWN;
    cx_msgpack_put_map(map, count);
    for (size_t i = 0; i < core->members.count; i++) {
        if (core->members.all[i]->status == CX_GOSSIP_UNKNOWN)
            continue;
        cx_msgpack_put_text(map, core->members.all[i]->name);
        cx_msgpack_put_uint(map, core->members.all[i]->status_ltime);
    }
}

static void put_left(const cx_gossip *core, cx_buffer *list)
{
    size_t count = 0;

    for (size_t i = 0; i < core->members.count; i++)
        count += core->members.all[i]->status == CX_GOSSIP_LEFT_CLUSTER;
    cx_msgpack_put_array(list, count);
    for (size_t i = 0; i < core->members.count; i++)
        if (core->members.all[i]->status == CX_GOSSIP_LEFT_CLUSTER)
            cx_msgpack_put_text(list, core->members.all[i]->name);
}

static int by_bytes(const void *a, const void *b)
{
    const cx_bytes *left = a, *right = b;
    size_t size = left->size < right->size ? left->size : right->size;
    int order = size == 0 ? 0 : memcmp(left->data, right->data, size);

    return order != 0 ? order : (left->size > right->size) - (left->size < right->size);
}

/* The names of LeftMembers, sorted. *names belongs to the caller. */
static bool read_left(cx_bytes list, cx_bytes **names, size_t *count, cx_err *err)
{
    CX_AUTO(cx_free) cx_bytes *read = NULL;

    *count = 0;
    if (list.size > 0 && !cx_msgpack_take_array(&list, count, err))
        return false;
    if (*count > NAMES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "%zu left members", *count);
    read = cx_alloc(*count, sizeof(*read));
    for (size_t i = 0; i < *count; i++)
        if (!cx_msgpack_take_text(&list, &read[i], err))
            return false;
    if (*count > 0)
        qsort(read, *count, sizeof(*read), by_bytes);
    *names = CX_TAKE(read);
    return true;
}

/* Whether a map of names and times is one from end to end. */
static bool ltimes_are_good(cx_bytes map, cx_err *err)
{
    size_t count = 0;
    uint64_t ltime;
    cx_bytes name;

    if (map.size > 0 && !cx_msgpack_take_map(&map, &count, err))
        return false;
    if (count > NAMES_MAX)
        return cx_fail(err, CX_TOO_LARGE, "the status times of %zu members", count);
    for (size_t i = 0; i < count; i++)
        if (!cx_msgpack_take_text(&map, &name, err) ||
            !cx_msgpack_take_uint(&map, UINT64_MAX, &ltime, err))
            return false;
    return true;
}

/* One name of StatusLTimes. What comes out is not passed on: the exchange itself spreads it. */
static void merge_one(cx_gossip *core, cx_bytes name, uint64_t ltime, bool is_left)
{
    const cx_member *member = cx_members_find_bytes(&core->members, name);

    if (!cx_member_name_is_good(name) || ltime >= CX_LTIME_MAX)
        return;
    if (!is_left) {
        apply_join(core, name, ltime);
        return;
    }
    /* We know already. The peer takes the higher time even so, and thereby counts all the clocks of
     * a cluster up at each exchange; it always adds one. We only do where it makes a difference. */
    if (member != NULL && member->status == CX_GOSSIP_LEFT_CLUSTER)
        return;
    if (member == NULL || ltime <= member->status_ltime)
        ltime++;
    apply_leave(core, name, ltime, false);
}

static bool merge_members(cx_gossip *core, const cx_wire_serf_state *state, cx_err *err)
{
    CX_AUTO(cx_free) cx_bytes *left = NULL;
    cx_bytes ltimes = state->status_ltimes, name;
    size_t count = 0, left_count = 0;
    uint64_t ltime;

    if (!ltimes_are_good(ltimes, err) || !read_left(state->left_members, &left, &left_count, err))
        return false;
    if (ltimes.size > 0 && !cx_msgpack_take_map(&ltimes, &count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!cx_msgpack_take_text(&ltimes, &name, err) ||
            !cx_msgpack_take_uint(&ltimes, UINT64_MAX, &ltime, err))
            return false;
        merge_one(core, name, ltime,
                  left_count > 0 &&
                      bsearch(&name, left, left_count, sizeof(*left), by_bytes) != NULL);
    }
    return true;
}

static bool read_state(cx_bytes bytes, cx_wire_serf_state *state, cx_err *err)
{
    if (bytes.size == 0 || bytes.data[0] != CX_SERF_STATE)
        return cx_fail(err, CX_MALFORMED, "Serf state without its type byte");
    if (!cx_wire_read((cx_bytes){bytes.data + 1, bytes.size - 1}, &cx_wire_serf_state_record, state,
                      err))
        return false;
    if (state->ltime > CX_LTIME_MAX || state->event_ltime > CX_LTIME_MAX ||
        state->query_ltime > CX_LTIME_MAX)
        return cx_fail(err, CX_MALFORMED, "Serf state with an absurd Lamport time");
    return true;
}

/* ---- public */

void cx_clock_witness(uint64_t *clock, uint64_t ltime)
{
    if (ltime >= *clock)
        *clock = ltime + 1;
}

void cx_serf_on_join(cx_gossip *core, cx_member *member)
{
    cx_intent *intent = buffered(core, cx_bytes_of(member->name));
    cx_gossip_status_word status = CX_GOSSIP_ALIVE;

    if (member->status == CX_GOSSIP_UNKNOWN && intent != NULL) {
        member->status_ltime = intent->ltime;
        if (intent->is_leave && member != core->self)
            status = CX_GOSSIP_LEAVING;
    }
    if (intent != NULL)
        unbuffer(core, intent);
    set_status(core, member, status);
    cx_out_emit(core, CX_GOSSIP_MEMBER_JOINED, member, NULL);
    cx_out_log(core, CX_INFO, "member_joined", member->name, &member->addr, "%s", "");
}

void cx_serf_on_update(cx_gossip *core, cx_member *member)
{
    cx_out_emit(core, CX_GOSSIP_MEMBER_UPDATED, member, NULL);
    cx_out_log(core, CX_INFO, "member_updated", member->name, &member->addr, "incarnation %u",
               member->incarnation);
}

void cx_serf_on_leave(cx_gossip *core, cx_member *member, const char *from)
{
    /* Real peers need the leave intent to tell left from failed. We believe a node's own word too:
     * its intent may be late. */
    if (member->status == CX_GOSSIP_LEAVING ||
        (member->status == CX_GOSSIP_ALIVE && member->state == CX_WIRE_STATE_LEFT)) {
        tell_left(core, member);
    } else if (member->status == CX_GOSSIP_ALIVE) {
        set_status(core, member, CX_GOSSIP_FAILED);
        cx_out_emit(core, CX_GOSSIP_MEMBER_FAILED, member, from);
        cx_out_log(core, CX_WARN, "member_failed", member->name, &member->addr, "says %s", from);
    }
}

void cx_serf_message(cx_gossip *core, cx_bytes message, const cx_gossip_addr *from)
{
    cx_err err;

    if (message.size == 0)
        cx_out_refuse(core, "serf_refused", from, "an empty Serf message");
    else if (!take_message(core, message, from, &err))
        cx_out_refuse(core, "serf_refused", from, "%s", err.message);
}

void cx_serf_announce_join(cx_gossip *core)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    cx_wire_join join = {.ltime = core->member_clock++, .node = cx_bytes_of(core->self->name)};

    apply_join(core, join.node, join.ltime);
    cx_wire_put_serf(&message, CX_SERF_JOIN, &cx_wire_join_record, &join);
    cx_spread_queue(core, CX_QUEUE_INTENTS, cx_buffer_bytes(&message), NULL);
    cx_out_save(core, false);
}

void cx_serf_announce_leave(cx_gossip *core, const char *node, bool prune, cx_broadcast **slot)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    cx_wire_leave leave = {.node = cx_bytes_of(node), .prune = prune};

    /* Peers whose time of a member that left has crept up would not prune it. */
    if (prune)
        core->member_clock += PRUNE_AHEAD;
    leave.ltime = core->member_clock++;

    /* Before it is applied: a member that is pruned takes its name with it. */
    cx_wire_put_serf(&message, CX_SERF_LEAVE, &cx_wire_leave_record, &leave);
    apply_leave(core, leave.node, leave.ltime, prune);
    cx_spread_queue(core, CX_QUEUE_INTENTS, cx_buffer_bytes(&message), slot);
    cx_out_save(core, false);
}

void cx_serf_put_state(cx_gossip *core, cx_buffer *state)
{
    CX_AUTO(cx_buffer_free) cx_buffer ltimes = {0}, left = {0}, events = {0};
    const uint8_t type = CX_SERF_STATE;

    put_ltimes(core, &ltimes);
    put_left(core, &left);
    cx_events_put(core, &events);

    const cx_wire_serf_state record = {
        .ltime = core->member_clock,
        .status_ltimes = cx_buffer_bytes(&ltimes),
        .left_members = cx_buffer_bytes(&left),
        .event_ltime = core->event_clock,
        .events = cx_buffer_bytes(&events),
        .query_ltime = core->query_clock,
    };

    cx_buffer_add(state, &type, 1);
    cx_record_put(state, &cx_wire_serf_state_record, &record);
}

bool cx_serf_merge_state(cx_gossip *core, cx_bytes bytes, bool ignore_old_events, cx_err *err)
{
    cx_wire_serf_state state;

    if (!read_state(bytes, &state, err))
        return false;
    if (state.ltime > 0)
        cx_clock_witness(&core->member_clock, state.ltime - 1);
    if (state.event_ltime > 0)
        cx_clock_witness(&core->event_clock, state.event_ltime - 1);
    if (state.query_ltime > 0)
        cx_clock_witness(&core->query_clock, state.query_ltime - 1);
    if (!merge_members(core, &state, err))
        return false;
    if (ignore_old_events && state.event_ltime > core->event_min)
        core->event_min = state.event_ltime;
    cx_out_save(core, false);
    return cx_events_merge(core, state.events, err);
}

void cx_serf_reap(cx_gossip *core)
{
    for (size_t i = core->members.count; i-- > 0;) {
        cx_member *member = core->members.all[i];
        bool is_gone =
            member->status == CX_GOSSIP_FAILED || member->status == CX_GOSSIP_LEFT_CLUSTER;

        if (is_gone && member != core->self && core->now_ms - member->since_ms >= FORGET_MS)
            cx_serf_erase(core, member);
    }
    for (size_t i = core->intent_count; i-- > 0;)
        if (core->now_ms - core->intents[i].at_ms >= INTENT_FORGET_MS)
            unbuffer(core, &core->intents[i]);
}

void cx_serf_erase(cx_gossip *core, cx_member *member)
{
    cx_out_emit(core, CX_GOSSIP_MEMBER_REAPED, member, NULL);
    cx_out_log(core, CX_INFO, "member_reaped", member->name, &member->addr, "%s", "");
    cx_rules_erase(core, member);
    cx_out_save(core, true);
}
