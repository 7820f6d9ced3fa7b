#include "gossip/query.h"

#include <string.h>

#include "gossip/out.h"
#include "gossip/serf.h"
#include "gossip/spread.h"

enum { FILTER_NODES, FILTER_TAG };

/* ---- filters */

static bool names_us(const cx_gossip *core, cx_bytes list)
{
    size_t count = 0;
    cx_bytes name;
    cx_err err;

    if (!cx_msgpack_take_array(&list, &count, &err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (cx_msgpack_take_text(&list, &name, &err) &&
            cx_bytes_equal(name, cx_bytes_of(core->self->name)))
            return true;
    return false;
}

static cx_bytes own_tag(const cx_gossip *core, cx_bytes key)
{
    for (size_t i = 0; i < core->self->tags.count; i++)
        if (cx_bytes_equal(cx_bytes_of(core->self->tags.items[i].key), key))
            return cx_bytes_of(core->self->tags.items[i].value);
    return cx_bytes_of("");
}

/* Of the regular expressions that a filter may hold: plain text, anchored or not. One with operators
 * matches nothing, as a bad one does: no engine for hostile expressions is in the core. */
static bool matches(cx_bytes value, cx_bytes expression)
{
    bool from_start = expression.size > 0 && expression.data[0] == '^';
    bool to_end = false;

    if (from_start)
        expression = (cx_bytes){expression.data + 1, expression.size - 1};
    if (expression.size > 0 && expression.data[expression.size - 1] == '$') {
        to_end = true;
        expression.size--;
    }
    for (size_t i = 0; i < expression.size; i++)
        if (expression.data[i] == '\0' || strchr("\\^$.|?*+()[]{}", expression.data[i]) != NULL)
            return false;
    if (expression.size > value.size)
        return false;
    if (from_start && to_end)
        return cx_bytes_equal(value, expression);
    if (from_start)
        return cx_bytes_equal((cx_bytes){value.data, expression.size}, expression);
    if (to_end)
        return cx_bytes_equal(
            (cx_bytes){value.data + value.size - expression.size, expression.size}, expression);
    return expression.size == 0 ||
           memmem(value.data, value.size, expression.data, expression.size) != NULL;
}

static bool filter_takes_us(const cx_gossip *core, cx_bytes filter)
{
    cx_bytes rest = {filter.data + 1, filter.size - 1};
    cx_wire_tag_filter tag;
    cx_err err;

    if (filter.data[0] == FILTER_NODES)
        return names_us(core, rest);
    return filter.data[0] == FILTER_TAG &&
           cx_wire_read(rest, &cx_wire_tag_filter_record, &tag, &err) &&
           matches(own_tag(core, tag.tag), tag.expr);
}

/* Reads the filters. An empty one stops real peers: such a query goes no further than here. */
static bool read_filters(const cx_gossip *core, cx_bytes filters, bool *take_us, cx_err *err)
{
    size_t count = 0;

    *take_us = true;
    if (filters.size == 0)
        return true;
    if (!cx_msgpack_take_array(&filters, &count, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        cx_bytes filter;

        if (!cx_msgpack_take_bytes(&filters, &filter, err))
            return false;
        if (filter.size == 0)
            return cx_fail(err, CX_MALFORMED, "a query with an empty filter");
        *take_us = *take_us && filter_takes_us(core, filter);
    }
    return true;
}

/* ---- receiving */

/* Serf's own queries, but for the one that carries nothing. Real peers stop at an empty payload. */
static bool needs_payload(cx_bytes name)
{
    static const char prefix[] = "_serf_";

    return name.size >= strlen(prefix) && memcmp(name.data, prefix, strlen(prefix)) == 0 &&
           !cx_bytes_equal(name, cx_bytes_of("_serf_ping"));
}

static bool check(const cx_wire_query *query, cx_err *err)
{
    if (query->ltime > CX_LTIME_MAX)
        return cx_fail(err, CX_MALFORMED, "a query of an absurd Lamport time");
    if (query->name.size + query->payload.size > CX_QUERY_RECEIVE_MAX)
        return cx_fail(err, CX_TOO_LARGE, "a query of %zu bytes",
                       query->name.size + query->payload.size);
    if (needs_payload(query->name) && query->payload.size == 0)
        return cx_fail(err, CX_MALFORMED, "an internal query without payload");
    return true;
}

static bool is_new(cx_gossip *core, const cx_wire_query *query)
{
    cx_query_slot *slot = &core->queries[query->ltime % CX_SLOTS];

    cx_clock_witness(&core->query_clock, query->ltime);
    if (query->ltime < core->query_min ||
        (core->query_clock > CX_SLOTS && query->ltime < core->query_clock - CX_SLOTS))
        return false;
    if (slot->ltime != query->ltime)
        *slot = (cx_query_slot){.ltime = query->ltime};
    for (size_t i = 0; i < slot->count; i++)
        if (slot->ids[i] == query->id)
            return false;
    if (slot->count == CX_SLOT_ITEMS_MAX)
        return false;
    slot->ids[slot->count++] = query->id;
    return true;
}

/* ---- answering */

/* Where answers go: the asker, if it is a member; else anybody could have us answer anybody. */
static cx_member *asker_of(cx_gossip *core, const cx_wire_query *query)
{
    cx_gossip_addr addr = {.size = (uint8_t)query->addr.size, .port = query->port};

    if (query->addr.size != 4 && query->addr.size != 16)
        return NULL;
    memcpy(addr.bytes, query->addr.data, query->addr.size);

    cx_member *named = cx_members_find_bytes(&core->members, query->source_node);

    if (named != NULL && cx_gossip_addr_same(&named->addr, &addr))
        return named;
    return cx_members_at_addr(&core->members, &addr);
}

static void respond(cx_gossip *core, const cx_wire_query *query, uint32_t flags, cx_bytes payload)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};
    const cx_member *asker = asker_of(core, query);
    const cx_wire_response response = {
        .ltime = query->ltime,
        .id = query->id,
        .from = cx_bytes_of(core->self->name),
        .flags = flags,
        .payload = payload,
    };

    if (asker == NULL) {
        cx_out_refuse(core, "query_from_stranger", NULL, "a query whose asker is no member");
        return;
    }
    cx_wire_put_serf(&message, CX_SERF_RESPONSE, &cx_wire_response_record, &response);
    if (message.size - 1 > CX_RESPONSE_SEND_MAX)
        return;

    cx_bytes part = cx_buffer_bytes(&message);

    cx_spread_send_bare(core, &asker->addr, NULL, &part, 1);
}

/* Who do we believe has this name? */
static void answer_conflict(cx_gossip *core, const cx_wire_query *query)
{
    CX_AUTO(cx_buffer_free) cx_buffer payload = {0}, tags = {0};
    const cx_member *member = cx_members_find_bytes(&core->members, query->payload);
    const uint8_t type = CX_SERF_CONFLICT;

    if (member == core->self)
        return;
    cx_buffer_add(&payload, &type, 1);
    if (member == NULL || member->status == CX_GOSSIP_UNKNOWN) {
        cx_msgpack_put_nil(&payload);
        respond(core, query, 0, cx_buffer_bytes(&payload));
        return;
    }
    cx_msgpack_put_map(&tags, member->tags.count);
    for (size_t i = 0; i < member->tags.count; i++) {
        cx_msgpack_put_text(&tags, member->tags.items[i].key);
        cx_msgpack_put_text(&tags, member->tags.items[i].value);
    }

    /* Serf's own numbers of a status: none, alive, leaving, left, failed. */
    static const int64_t numbers[] = {[CX_GOSSIP_ALIVE] = 1,
                                      [CX_GOSSIP_SUSPECT] = 1,
                                      [CX_GOSSIP_LEAVING] = 2,
                                      [CX_GOSSIP_LEFT_CLUSTER] = 3,
                                      [CX_GOSSIP_FAILED] = 4};
    const cx_wire_conflict conflict = {
        .name = cx_bytes_of(member->name),
        .addr = {member->addr.bytes, member->addr.size},
        .port = member->addr.port,
        .tags = cx_buffer_bytes(&tags),
        .status = numbers[member->status],
        .protocol_min = member->versions[0],
        .protocol_max = member->versions[1],
        .protocol_cur = member->versions[2],
        .delegate_min = member->versions[3],
        .delegate_max = member->versions[4],
        .delegate_cur = member->versions[5],
    };

    cx_record_put(&payload, &cx_wire_conflict_record, &conflict);
    respond(core, query, 0, cx_buffer_bytes(&payload));
}

/* ---- public */

bool cx_query_take(cx_gossip *core, cx_bytes message, bool *is_news, cx_err *err)
{
    cx_wire_query query;
    bool takes_us = false;

    *is_news = false;
    if (!cx_wire_read((cx_bytes){message.data + 1, message.size - 1}, &cx_wire_query_record, &query,
                      err) ||
        !check(&query, err) || !read_filters(core, query.filters, &takes_us, err))
        return false;
    if (!is_new(core, &query))
        return true;
    *is_news = (query.flags & CX_SERF_FLAG_NO_BROADCAST) == 0;
    if (!takes_us)
        return true;
    if ((query.flags & CX_SERF_FLAG_ACK) != 0)
        respond(core, &query, CX_SERF_FLAG_ACK, (cx_bytes){0});
    if (cx_bytes_equal(query.name, cx_bytes_of("_serf_conflict")))
        answer_conflict(core, &query);
    return true;
}

bool cx_query_take_response(cx_gossip *core, cx_bytes message, cx_err *err)
{
    cx_wire_response response;

    (void)core; /* we ask nothing, so whatever this answers, it was not our question */
    return cx_wire_read((cx_bytes){message.data + 1, message.size - 1}, &cx_wire_response_record,
                        &response, err);
}

bool cx_query_relay(cx_gossip *core, cx_bytes message, const cx_gossip_addr *from, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer whole = {0};
    cx_bytes rest = {message.data + 1, message.size - 1};
    const uint8_t user = CX_WIRE_USER;
    cx_wire_relay_header header;
    cx_wire_relay_addr addr;
    cx_wire_response response;
    cx_gossip_addr to = {0};

    if (!cx_record_take(&rest, &cx_wire_relay_header_record, &header, err) ||
        !cx_wire_read(header.dest_addr, &cx_wire_relay_addr_record, &addr, err))
        return false;
    if (rest.size < 2 || rest.data[0] != CX_SERF_RESPONSE || rest.size > CX_RESPONSE_SEND_MAX)
        return cx_fail(err, CX_MALFORMED, "a relay of something that is no query response");
    if (!cx_wire_read((cx_bytes){rest.data + 1, rest.size - 1}, &cx_wire_response_record, &response,
                      err))
        return false;
    if ((addr.ip.size != 4 && addr.ip.size != 16) || addr.port < 1 || addr.port > UINT16_MAX)
        return cx_fail(err, CX_MALFORMED, "a relay to an address that can't be");
    to.size = (uint8_t)addr.ip.size;
    to.port = (uint16_t)addr.port;
    memcpy(to.bytes, addr.ip.data, addr.ip.size);
    /* The peer forwards to anybody; we do only among members. */
    if (cx_members_at_addr(&core->members, &to) == NULL ||
        cx_members_at_addr(&core->members, from) == NULL)
        return cx_fail(err, CX_PERMISSION, "a relay from or to somebody who is no member");
    cx_buffer_add(&whole, &user, 1);
    cx_buffer_add(&whole, rest.data, rest.size);

    cx_bytes part = cx_buffer_bytes(&whole);

    cx_spread_send_bare(core, &to, NULL, &part, 1);
    return true;
}
