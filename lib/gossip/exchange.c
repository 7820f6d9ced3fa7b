#include "gossip/exchange.h"

#include <math.h>

#include "gossip/out.h"
#include "gossip/probe.h"
#include "gossip/rules.h"
#include "gossip/serf.h"

enum {
    BUFFERS_MAX = 64 * 1024 * 1024, /* bytes, of all streams together */
    SCALE_FROM = 32,                /* members: above, exchanges get rarer */
};

/* ---- the list of streams */

static cx_stream *stream_of(const cx_gossip *core, uint64_t id)
{
    for (size_t i = 0; i < core->stream_count; i++)
        if (core->streams[i]->id == id)
            return core->streams[i];
    return NULL;
}

static cx_stream *add_stream(cx_gossip *core, uint64_t id, cx_stream_purpose purpose,
                             const cx_gossip_addr *addr)
{
    cx_stream *stream = cx_alloc(1, sizeof(*stream));

    *stream = (cx_stream){
        .id = id,
        .purpose = purpose,
        .addr = *addr,
        .until_ms = core->now_ms + core->profile->stream_timeout_ms,
    };
    core->streams[core->stream_count++] = stream;
    return stream;
}

static void drop_stream(cx_gossip *core, cx_stream *stream)
{
    size_t at = 0;

    while (core->streams[at] != stream)
        at++;
    core->streams[at] = core->streams[--core->stream_count];
    core->stream_bytes -= stream->bytes.size;
    cx_buffer_free(&stream->bytes);
    cx_free(&stream);
}

static size_t incoming_count(const cx_gossip *core)
{
    size_t count = 0;

    for (size_t i = 0; i < core->stream_count; i++)
        count += core->streams[i]->purpose == CX_STREAM_INCOMING;
    return count;
}

static void close_action(cx_gossip *core, uint64_t id)
{
    cx_out_add(core, CX_GOSSIP_STREAM_CLOSE)->stream = id;
}

/* ---- joins */

/* Gossip about nodes that join at the same time may miss one of them, and until the next exchange is half
 * a minute. One soon after a join costs little. */
static void exchange_soon(cx_gossip *core)
{
    int64_t at_ms = core->now_ms + core->profile->probe_interval_ms +
                    cx_out_jitter(core, core->profile->probe_interval_ms);

    if (at_ms < core->push_pull_ms)
        core->push_pull_ms = at_ms;
}

/* One address of a join has ended; with the last one the operator gets his answer. */
static void end_join_part(cx_gossip *core, uint64_t number, const cx_err *err)
{
    size_t at = 0;

    while (at < core->join_count && core->joins[at].number != number)
        at++;
    if (at == core->join_count)
        return;

    cx_join *join = &core->joins[at];

    if (err == NULL)
        join->joined++;
    else
        join->err = *err;
    if (--join->open > 0)
        return;
    if (join->joined > 0) {
        cx_serf_announce_join(core);
        exchange_soon(core);
    }
    cx_out_answer(core, join->ticket, join->joined > 0 ? NULL : &join->err)->joined = join->joined;
    core->joins[at] = core->joins[--core->join_count];
}

/* The stream has done its work (err NULL) or failed. */
static void end_stream(cx_gossip *core, cx_stream *stream, const cx_err *err)
{
    cx_stream_purpose purpose = stream->purpose;
    uint64_t join = stream->join;
    cx_gossip_addr addr = stream->addr;

    drop_stream(core, stream);
    if (err != NULL && purpose == CX_STREAM_INCOMING)
        cx_out_refuse(core, "stream_refused", &addr, "%s", err->message);
    else if (err != NULL && purpose != CX_STREAM_PING)
        cx_out_log(core, CX_INFO, "exchange_failed", NULL, &addr, "%s", err->message);
    if (purpose == CX_STREAM_JOIN)
        end_join_part(core, join, err);
}

static void close_stream(cx_gossip *core, cx_stream *stream, const cx_err *err)
{
    close_action(core, stream->id);
    end_stream(core, stream, err);
}

/* ---- writing */

static cx_bytes wrapped(cx_gossip *core, cx_bytes message)
{
    cx_buffer bytes = {0};
    const cx_packet_options options = {.ring = core->ring, .nonces = &core->nonces};

    cx_stream_write(message, &options, &bytes);
    core->bytes_out += bytes.size;
    return cx_out_keep_buffer(core, &bytes);
}

static void write_message(cx_gossip *core, const cx_stream *stream, cx_bytes message)
{
    cx_bytes bytes = wrapped(core, message);
    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_STREAM_WRITE);

    action->stream = stream->id;
    action->bytes = bytes;
}

/* All that we know: nodes of memberlist's list, and Serf's state. */
static void put_push_pull(cx_gossip *core, bool join, cx_buffer *message)
{
    CX_AUTO(cx_buffer_free) cx_buffer state = {0};

    cx_serf_put_state(core, &state);

    const cx_wire_push_header header = {
        .nodes = (int64_t)core->members.listed_count,
        .user_state_len = (int64_t)state.size,
        .join = join,
    };

    cx_wire_put(message, CX_WIRE_PUSH_PULL, &cx_wire_push_header_record, &header);
    for (size_t i = 0; i < core->members.listed_count; i++)
        cx_rules_put_node(core->members.listed[i], message);
    cx_buffer_add(message, state.data, state.size);
}

/* NULL: too many streams. */
static cx_stream *open_stream(cx_gossip *core, cx_stream_purpose purpose,
                              const cx_gossip_addr *addr, cx_bytes message)
{
    if (core->stream_count == CX_GOSSIP_STREAMS_MAX || core->left)
        return NULL;
    core->stream_number += 2;

    cx_bytes bytes = wrapped(core, message);
    cx_stream *stream = add_stream(core, core->stream_number + 1, purpose, addr);
    cx_gossip_action *action = cx_out_add(core, CX_GOSSIP_STREAM_OPEN);

    action->stream = stream->id;
    action->to = *addr;
    action->bytes = bytes;
    return stream;
}

static cx_stream *open_push_pull(cx_gossip *core, cx_stream_purpose purpose,
                                 const cx_gossip_addr *addr)
{
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    put_push_pull(core, purpose == CX_STREAM_JOIN, &message);
    return open_stream(core, purpose, addr, cx_buffer_bytes(&message));
}

/* ---- merging */

struct ranges {
    uint8_t min[2], max[2]; /* of memberlist, of Serf */
};

/* What all members speak that are alive here. */
static struct ranges common_ranges(const cx_gossip *core)
{
    struct ranges ranges = {.max = {UINT8_MAX, UINT8_MAX}};

    for (size_t i = 0; i < core->members.listed_count; i++) {
        const cx_member *member = core->members.listed[i];

        for (size_t j = 0; j < 2 && member->state == CX_WIRE_STATE_ALIVE; j++) {
            const uint8_t *v = member->versions + 3 * j;

            ranges.min[j] = v[0] > ranges.min[j] ? v[0] : ranges.min[j];
            ranges.max[j] = v[1] < ranges.max[j] ? v[1] : ranges.max[j];
        }
    }
    return ranges;
}

/* What it speaks is understood by all, and it understands us. */
static bool versions_fit(const cx_gossip *core, const struct ranges *ranges,
                         const uint8_t versions[CX_VERSIONS])
{
    for (size_t i = 0; i < 2; i++) {
        const uint8_t *theirs = versions + 3 * i, *ours = core->self->versions + 3 * i;

        if (theirs[2] < ranges->min[i] || theirs[2] > ranges->max[i] || ours[2] < theirs[0] ||
            ours[2] > theirs[1])
            return false;
    }
    return true;
}

static void merge_claim(cx_gossip *core, const cx_claim *claim)
{
    cx_member *member = cx_members_find_bytes(&core->members, claim->name);
    cx_charge charge = {.member = member,
                        .incarnation = claim->incarnation,
                        .from = core->self->name,
                        .source = CX_GOSSIP_BY_PUSH_PULL};

    if (claim->state == CX_WIRE_STATE_ALIVE) {
        cx_rules_alive(core, claim, false);
        return;
    }
    if (member == NULL)
        return;
    if (claim->state != CX_WIRE_STATE_LEFT) { /* even a dead one may refute first */
        cx_rules_suspect(core, &charge);
        return;
    }
    charge.from = member->name;
    cx_rules_dead(core, &charge);
}

/* One node of the list; false: it is none that we take. */
static bool take_node(cx_gossip *core, const struct ranges *ranges, cx_bytes *rest, cx_err *err)
{
    cx_wire_push_node node;
    cx_claim claim;
    cx_bytes value;

    /* First over its end, so that what is wrong in it stays in it. */
    if (!cx_msgpack_take_any(rest, &value, err) ||
        !cx_wire_read(value, &cx_wire_push_node_record, &node, err) ||
        !cx_claim_of_node(core, &node, &claim, err))
        return false;
    if (!versions_fit(core, ranges, claim.versions))
        return cx_fail(err, CX_PROTOCOL, "%.*s speaks versions that do not fit the others'",
                       (int)claim.name.size, (const char *)claim.name.data);
    merge_claim(core, &claim);
    return true;
}

/* The peer refuses all nodes for a bad one (12.7), and then nobody can join any more. We leave the bad
 * ones out; only when all are bad the exchange has failed. */
static bool merge(cx_gossip *core, const cx_push_pull *push_pull, bool ignore_old_events,
                  cx_err *err)
{
    const struct ranges ranges = common_ranges(core);
    cx_bytes rest = push_pull->nodes;
    int64_t refused = 0;
    cx_err state_err;

    /* Before the nodes, unlike the peer: then a node that left is not first shown as failed. */
    if (push_pull->state.size > 0 &&
        !cx_serf_merge_state(core, push_pull->state, ignore_old_events, &state_err))
        cx_out_refuse(core, "state_refused", NULL, "%s", state_err.message);
    for (int64_t i = 0; i < push_pull->header.nodes; i++) {
        if (take_node(core, &ranges, &rest, err))
            continue;
        cx_out_refuse(core, "node_refused", NULL, "%s", err->message);
        refused++;
    }
    return refused == 0 || refused < push_pull->header.nodes;
}

/* ---- a whole message has come */

static bool on_push_pull(cx_gossip *core, cx_stream *stream, cx_bytes body, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer answer = {0};
    cx_push_pull push_pull;

    if (!cx_stream_read_push_pull(body, &push_pull, err))
        return false;
    if (stream->purpose == CX_STREAM_INCOMING) { /* the answer does not contain what we learn now */
        put_push_pull(core, push_pull.header.join, &answer);
        write_message(core, stream, cx_buffer_bytes(&answer));
    }
    return merge(core, &push_pull, stream->purpose == CX_STREAM_JOIN && !stream->replay, err);
}

static bool on_stream_ping(cx_gossip *core, const cx_stream *stream, cx_bytes body, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer answer = {0};
    cx_wire_ping ping;

    if (!cx_wire_read(body, &cx_wire_ping_record, &ping, err))
        return false;
    if (ping.node.size > 0 && !cx_bytes_equal(ping.node, cx_bytes_of(core->self->name)))
        return cx_fail(err, CX_PROTOCOL, "a ping for another node");

    const cx_wire_ack ack = {.seq_no = ping.seq_no};

    cx_wire_put(&answer, CX_WIRE_ACK, &cx_wire_ack_record, &ack);
    write_message(core, stream, cx_buffer_bytes(&answer));
    return true;
}

static bool on_user(cx_gossip *core, const cx_stream *stream, cx_bytes body, cx_err *err)
{
    cx_bytes message;

    if (!cx_stream_read_user(body, &message, err))
        return false;
    cx_serf_message(core, message, &stream->addr);
    return true;
}

static bool on_error(cx_bytes body, cx_err *err)
{
    cx_wire_error error;

    if (!cx_wire_read(body, &cx_wire_error_record, &error, err))
        return false;
    return cx_fail(err, CX_PROTOCOL, "the peer says: %.*s",
                   (int)(error.error.size < 200 ? error.error.size : 200),
                   (const char *)error.error.data);
}

static bool on_stream_ack(cx_gossip *core, const cx_stream *stream, cx_bytes body, cx_err *err)
{
    cx_wire_ack ack;

    if (!cx_wire_read(body, &cx_wire_ack_record, &ack, err))
        return false;
    if (ack.seq_no != stream->seq_no)
        return cx_fail(err, CX_PROTOCOL, "an ack of something else");
    cx_probe_on_stream_ack(core, ack.seq_no);
    return true;
}

static bool on_message(cx_gossip *core, cx_stream *stream, const cx_stream_message *message,
                       cx_err *err)
{
    bool incoming = stream->purpose == CX_STREAM_INCOMING;

    if (message->type == CX_WIRE_PUSH_PULL && stream->purpose != CX_STREAM_PING)
        return on_push_pull(core, stream, message->body, err);
    if (message->type == CX_WIRE_PING && incoming)
        return on_stream_ping(core, stream, message->body, err);
    if (message->type == CX_WIRE_USER && incoming)
        return on_user(core, stream, message->body, err);
    if (message->type == CX_WIRE_ACK && stream->purpose == CX_STREAM_PING)
        return on_stream_ack(core, stream, message->body, err);
    if (message->type == CX_WIRE_ERROR && !incoming)
        return on_error(message->body, err);
    return cx_fail(err, CX_PROTOCOL, "message type %u on a stream", message->type);
}

static void refuse_aloud(cx_gossip *core, cx_stream *stream, const cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer answer = {0};
    const cx_wire_error error = {.error = cx_bytes_of(err->message)};

    if (stream->purpose == CX_STREAM_INCOMING) {
        cx_wire_put(&answer, CX_WIRE_ERROR, &cx_wire_error_record, &error);
        write_message(core, stream, cx_buffer_bytes(&answer));
    }
    close_stream(core, stream, err);
}

static void on_whole(cx_gossip *core, cx_stream *stream)
{
    CX_AUTO(cx_stream_message_free) cx_stream_message message = {0};
    CX_AUTO(cx_buffer_free) cx_buffer bytes = stream->bytes;
    cx_err err;

    core->stream_bytes -= bytes.size;
    stream->bytes = (cx_buffer){0};
    if (!cx_stream_open((cx_bytes){bytes.data, stream->frame.size}, core->ring, &message, &err)) {
        refuse_aloud(core, stream, &err);
        return;
    }

    bool done = on_message(core, stream, &message, &err);

    close_stream(core, stream, done ? NULL : &err);
}

/* ---- the periodic exchange */

static bool is_alive(const cx_member *member, const void *context)
{
    const cx_gossip *core = context;

    return member != core->self && member->state == CX_WIRE_STATE_ALIVE;
}

static void end_late_streams(cx_gossip *core)
{
    for (size_t i = core->stream_count; i-- > 0;) {
        cx_err err;

        /* Ending one may have ended others: the list only gets shorter. */
        if (i >= core->stream_count || core->now_ms < core->streams[i]->until_ms)
            continue;
        cx_fail(&err, CX_TIMEOUT, "the exchange took too long");
        close_stream(core, core->streams[i], &err);
    }
}

/* ---- public */

void cx_exchange_on_accept(cx_gossip *core, uint64_t id, const cx_gossip_addr *from)
{
    if (stream_of(core, id) != NULL)
        return;
    if (incoming_count(core) >= CX_INCOMING_MAX || core->stream_count == CX_GOSSIP_STREAMS_MAX ||
        core->left) {
        cx_out_refuse(core, "streams_full", from, "more than %d streams", CX_INCOMING_MAX);
        close_action(core, id);
        return;
    }
    add_stream(core, id, CX_STREAM_INCOMING, from);
}

void cx_exchange_on_bytes(cx_gossip *core, uint64_t id, cx_bytes bytes)
{
    cx_stream *stream = stream_of(core, id);
    cx_err err;

    if (stream == NULL) /* closed already, or never accepted */
        return;
    core->bytes_in += bytes.size;
    if (core->stream_bytes + bytes.size > BUFFERS_MAX) {
        cx_fail(&err, CX_BUSY, "too much is on its way on other streams");
        close_stream(core, stream, &err);
        return;
    }
    cx_buffer_add(&stream->bytes, bytes.data, bytes.size);
    core->stream_bytes += bytes.size;
    switch (
        cx_stream_scan(&stream->frame, cx_buffer_bytes(&stream->bytes), core->ring != NULL, &err)) {
    case CX_STREAM_MORE: break;
    case CX_STREAM_WHOLE: on_whole(core, stream); break;
    case CX_STREAM_REFUSED: close_stream(core, stream, &err); break;
    case CX_STREAM_REFUSED_ALOUD: refuse_aloud(core, stream, &err); break;
    }
}

void cx_exchange_on_end(cx_gossip *core, uint64_t id, const char *reason)
{
    cx_stream *stream = stream_of(core, id);
    char addr[CX_GOSSIP_ADDR_TEXT_SIZE];
    cx_err err;

    if (stream == NULL)
        return;
    cx_fail(&err, CX_UNAVAILABLE, "%s: %s", cx_gossip_addr_text(&stream->addr, addr),
            reason != NULL ? reason : "closed before its answer was whole");
    /* Port scanners and load balancers connect and say nothing: that is no refusal. */
    bool said_nothing = stream->purpose == CX_STREAM_INCOMING && stream->bytes.size == 0;

    end_stream(core, stream, said_nothing ? NULL : &err);
}

void cx_exchange_tick(cx_gossip *core)
{
    cx_member *with = NULL;

    end_late_streams(core);
    if (core->now_ms < core->push_pull_ms)
        return;
    core->push_pull_ms = core->now_ms + cx_exchange_interval_ms(core);
    if (core->leave.phase == CX_LEAVE_NO &&
        cx_members_pick(&core->members, &core->rng, 1, is_alive, core, &with) == 1)
        open_push_pull(core, CX_STREAM_PUSH_PULL, &with->addr);
}

int64_t cx_exchange_next_ms(const cx_gossip *core)
{
    int64_t next_ms = core->push_pull_ms;

    for (size_t i = 0; i < core->stream_count; i++)
        if (core->streams[i]->until_ms < next_ms)
            next_ms = core->streams[i]->until_ms;
    return next_ms;
}

int64_t cx_exchange_interval_ms(const cx_gossip *core)
{
    size_t count = core->members.listed_count;
    double times = count <= SCALE_FROM ? 1 : ceil(log2((double)count) - log2(SCALE_FROM)) + 1;

    return (int64_t)times * core->profile->push_pull_interval_ms;
}

void cx_exchange_reconnect(cx_gossip *core, const cx_gossip_addr *addr)
{
    cx_stream *stream = open_push_pull(core, CX_STREAM_JOIN, addr);

    if (stream != NULL)
        stream->replay = true;
}

void cx_exchange_join(cx_gossip *core, const cx_gossip_addr *addrs, size_t count, bool replay,
                      uint64_t ticket)
{
    cx_err err;

    if (core->join_count == CX_JOINS_MAX || count == 0 || count > CX_JOIN_ADDRS_MAX ||
        core->leave.phase != CX_LEAVE_NO) {
        if (core->leave.phase != CX_LEAVE_NO)
            cx_fail(&err, CX_BUSY, "this node is leaving");
        else if (core->join_count == CX_JOINS_MAX)
            cx_fail(&err, CX_BUSY, "%d joins are under way", CX_JOINS_MAX);
        else
            cx_fail(&err, CX_INVALID, "a join takes 1 to %d addresses", CX_JOIN_ADDRS_MAX);
        cx_out_answer(core, ticket, &err);
        return;
    }

    uint64_t number = ++core->join_number;

    core->joins[core->join_count++] = (cx_join){.number = number, .ticket = ticket, .open = count};
    for (size_t i = 0; i < count; i++) {
        cx_stream *stream = open_push_pull(core, CX_STREAM_JOIN, &addrs[i]);

        if (stream == NULL) {
            cx_fail(&err, CX_BUSY, "too many streams are open");
            end_join_part(core, number, &err);
            continue;
        }
        stream->join = number;
        stream->replay = replay;
    }
}

uint64_t cx_exchange_ping(cx_gossip *core, const cx_gossip_addr *addr, uint32_t seq_no,
                          int64_t until_ms, cx_bytes message)
{
    cx_stream *stream = open_stream(core, CX_STREAM_PING, addr, message);

    if (stream == NULL)
        return 0;
    stream->seq_no = seq_no;
    stream->until_ms = until_ms;
    return stream->id;
}

void cx_exchange_overslept(cx_gossip *core, int64_t slept_ms)
{
    for (size_t i = 0; i < core->stream_count; i++)
        core->streams[i]->until_ms += slept_ms;
}

void cx_exchange_free(cx_gossip *core)
{
    while (core->stream_count > 0)
        drop_stream(core, core->streams[core->stream_count - 1]);
}
