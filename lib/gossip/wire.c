#include "gossip/wire.h"

/* Refuses to compile when the field has another type than its kind reads. */
#define FIELD(message, field, wanted)                                                              \
    offsetof(cx_wire_##message, field) +                                                           \
        0 * sizeof(struct {                                                                        \
            _Static_assert(                                                                        \
                __builtin_types_compatible_p(__typeof__(((cx_wire_##message *)0)->field), wanted), \
                "the field has another type");                                                     \
            int unused;                                                                            \
        })
#define U8(message, field)     CX_RECORD_U8, FIELD(message, field, uint8_t)
#define U16(message, field)    CX_RECORD_U16, FIELD(message, field, uint16_t)
#define U32(message, field)    CX_RECORD_U32, FIELD(message, field, uint32_t)
#define U64(message, field)    CX_RECORD_U64, FIELD(message, field, uint64_t)
#define I64(message, field)    CX_RECORD_I64, FIELD(message, field, int64_t)
#define BOOL(message, field)   CX_RECORD_BOOL, FIELD(message, field, bool)
#define DOUBLE(message, field) CX_RECORD_DOUBLE, FIELD(message, field, double)
#define TEXT(message, field)   CX_RECORD_TEXT, FIELD(message, field, cx_bytes)
#define BYTES(message, field)  CX_RECORD_BYTES, FIELD(message, field, cx_bytes)
#define ANY(message, field)    CX_RECORD_ANY, FIELD(message, field, cx_bytes)

#define RECORD(message, label)                                                      \
    const cx_record cx_wire_##message##_record = {label, sizeof(cx_wire_##message), \
                                                  message##_fields, CX_COUNT(message##_fields)}

enum { OPTIONAL = 1 };

/* Name (ascending), kind and field, place in the declaration. */
static const cx_record_field ping_fields[] = {
    {"Node", TEXT(ping, node), 1, 0},
    {"SeqNo", U32(ping, seq_no), 0, 0},
    {"SourceAddr", BYTES(ping, source_addr), 2, OPTIONAL},
    {"SourceNode", TEXT(ping, source_node), 4, OPTIONAL},
    {"SourcePort", U16(ping, source_port), 3, OPTIONAL},
};
RECORD(ping, "ping");

static const cx_record_field indirect_fields[] = {
    {"Nack", BOOL(indirect, nack), 4, 0},
    {"Node", TEXT(indirect, node), 3, 0},
    {"Port", U16(indirect, port), 2, 0},
    {"SeqNo", U32(indirect, seq_no), 0, 0},
    {"SourceAddr", BYTES(indirect, source_addr), 5, OPTIONAL},
    {"SourceNode", TEXT(indirect, source_node), 7, OPTIONAL},
    {"SourcePort", U16(indirect, source_port), 6, OPTIONAL},
    {"Target", BYTES(indirect, target), 1, 0},
};
RECORD(indirect, "indirect ping");

static const cx_record_field ack_fields[] = {
    {"Payload", BYTES(ack, payload), 1, 0},
    {"SeqNo", U32(ack, seq_no), 0, 0},
};
RECORD(ack, "ack");

static const cx_record_field nack_fields[] = {
    {"SeqNo", U32(nack, seq_no), 0, 0},
};
RECORD(nack, "nack");

static const cx_record_field accuse_fields[] = {
    {"From", TEXT(accuse, from), 2, 0},
    {"Incarnation", U32(accuse, incarnation), 0, 0},
    {"Node", TEXT(accuse, node), 1, 0},
};
RECORD(accuse, "suspect or dead");

static const cx_record_field alive_fields[] = {
    {"Addr", BYTES(alive, addr), 2, 0}, {"Incarnation", U32(alive, incarnation), 0, 0},
    {"Meta", BYTES(alive, meta), 4, 0}, {"Node", TEXT(alive, node), 1, 0},
    {"Port", U16(alive, port), 3, 0},   {"Vsn", BYTES(alive, vsn), 5, 0},
};
RECORD(alive, "alive");

static const cx_record_field compress_fields[] = {
    {"Algo", U8(compress, algo), 0, 0},
    {"Buf", BYTES(compress, buf), 1, 0},
};
RECORD(compress, "compress");

static const cx_record_field error_fields[] = {
    {"Error", TEXT(error, error), 0, 0},
};
RECORD(error, "error");

static const cx_record_field push_header_fields[] = {
    {"Join", BOOL(push_header, join), 2, 0},
    {"Nodes", I64(push_header, nodes), 0, 0},
    {"UserStateLen", I64(push_header, user_state_len), 1, 0},
};
RECORD(push_header, "push/pull header");

static const cx_record_field push_node_fields[] = {
    {"Addr", BYTES(push_node, addr), 1, 0}, {"Incarnation", U32(push_node, incarnation), 4, 0},
    {"Meta", BYTES(push_node, meta), 3, 0}, {"Name", TEXT(push_node, name), 0, 0},
    {"Port", U16(push_node, port), 2, 0},   {"State", I64(push_node, state), 5, 0},
    {"Vsn", BYTES(push_node, vsn), 6, 0},
};
RECORD(push_node, "push/pull node");

static const cx_record_field user_header_fields[] = {
    {"UserMsgLen", I64(user_header, user_msg_len), 0, 0},
};
RECORD(user_header, "user header");

static const cx_record_field coordinate_fields[] = {
    {"Adjustment", DOUBLE(coordinate, adjustment), 2, 0},
    {"Error", DOUBLE(coordinate, error), 1, 0},
    {"Height", DOUBLE(coordinate, height), 3, 0},
    {"Vec", ANY(coordinate, vec), 0, 0},
};
RECORD(coordinate, "coordinate");

static const cx_record_field leave_fields[] = {
    {"LTime", U64(leave, ltime), 0, 0},
    {"Node", TEXT(leave, node), 1, 0},
    {"Prune", BOOL(leave, prune), 2, 0},
};
RECORD(leave, "leave intent");

static const cx_record_field join_fields[] = {
    {"LTime", U64(join, ltime), 0, 0},
    {"Node", TEXT(join, node), 1, 0},
};
RECORD(join, "join intent");

static const cx_record_field serf_state_fields[] = {
    {"EventLTime", U64(serf_state, event_ltime), 3, 0},
    {"Events", ANY(serf_state, events), 4, 0},
    {"LTime", U64(serf_state, ltime), 0, 0},
    {"LeftMembers", ANY(serf_state, left_members), 2, 0},
    {"QueryLTime", U64(serf_state, query_ltime), 5, 0},
    {"StatusLTimes", ANY(serf_state, status_ltimes), 1, 0},
};
RECORD(serf_state, "Serf state");

static const cx_record_field past_events_fields[] = {
    {"Events", ANY(past_events, events), 1, 0},
    {"LTime", U64(past_events, ltime), 0, 0},
};
RECORD(past_events, "events of one time");

static const cx_record_field past_event_fields[] = {
    {"Name", TEXT(past_event, name), 0, 0},
    {"Payload", BYTES(past_event, payload), 1, 0},
};
RECORD(past_event, "past event");

static const cx_record_field user_event_fields[] = {
    {"CC", BOOL(user_event, coalesce), 3, 0},
    {"LTime", U64(user_event, ltime), 0, 0},
    {"Name", TEXT(user_event, name), 1, 0},
    {"Payload", BYTES(user_event, payload), 2, 0},
};
RECORD(user_event, "user event");

static const cx_record_field query_fields[] = {
    {"Addr", BYTES(query, addr), 2, 0},
    {"Filters", ANY(query, filters), 5, 0},
    {"Flags", U32(query, flags), 6, 0},
    {"ID", U32(query, id), 1, 0},
    {"LTime", U64(query, ltime), 0, 0},
    {"Name", TEXT(query, name), 9, 0},
    {"Payload", BYTES(query, payload), 10, 0},
    {"Port", U16(query, port), 3, 0},
    {"RelayFactor", U8(query, relay_factor), 7, 0},
    {"SourceNode", TEXT(query, source_node), 4, 0},
    {"Timeout", I64(query, timeout_ns), 8, 0},
};
RECORD(query, "query");

static const cx_record_field tag_filter_fields[] = {
    {"Expr", TEXT(tag_filter, expr), 1, 0},
    {"Tag", TEXT(tag_filter, tag), 0, 0},
};
RECORD(tag_filter, "tag filter");

static const cx_record_field response_fields[] = {
    {"Flags", U32(response, flags), 3, 0},
    {"From", TEXT(response, from), 2, 0},
    {"ID", U32(response, id), 1, 0},
    {"LTime", U64(response, ltime), 0, 0},
    {"Payload", BYTES(response, payload), 4, 0},
};
RECORD(response, "query response");

static const cx_record_field key_request_fields[] = {
    {"Key", BYTES(key_request, key), 0, 0},
};
RECORD(key_request, "key request");

static const cx_record_field key_response_fields[] = {
    {"Keys", ANY(key_response, keys), 2, 0},
    {"Message", TEXT(key_response, message), 1, 0},
    {"PrimaryKey", TEXT(key_response, primary_key), 3, 0},
    {"Result", BOOL(key_response, result), 0, 0},
};
RECORD(key_response, "key response");

static const cx_record_field conflict_fields[] = {
    {"Addr", BYTES(conflict, addr), 1, 0},
    {"DelegateCur", U8(conflict, delegate_cur), 10, 0},
    {"DelegateMax", U8(conflict, delegate_max), 9, 0},
    {"DelegateMin", U8(conflict, delegate_min), 8, 0},
    {"Name", TEXT(conflict, name), 0, 0},
    {"Port", U16(conflict, port), 2, 0},
    {"ProtocolCur", U8(conflict, protocol_cur), 7, 0},
    {"ProtocolMax", U8(conflict, protocol_max), 6, 0},
    {"ProtocolMin", U8(conflict, protocol_min), 5, 0},
    {"Status", I64(conflict, status), 4, 0},
    {"Tags", ANY(conflict, tags), 3, 0},
};
RECORD(conflict, "conflict response");

static const cx_record_field relay_header_fields[] = {
    {"DestAddr", ANY(relay_header, dest_addr), 0, 0},
    {"DestName", TEXT(relay_header, dest_name), 1, 0},
};
RECORD(relay_header, "relay header");

static const cx_record_field relay_addr_fields[] = {
    {"IP", BYTES(relay_addr, ip), 0, 0},
    {"Port", I64(relay_addr, port), 1, 0},
    {"Zone", TEXT(relay_addr, zone), 2, 0},
};
RECORD(relay_addr, "relay address");

const cx_record *cx_wire_record(uint8_t type)
{
    switch (type) {
    case CX_WIRE_PING: return &cx_wire_ping_record;
    case CX_WIRE_INDIRECT: return &cx_wire_indirect_record;
    case CX_WIRE_ACK: return &cx_wire_ack_record;
    case CX_WIRE_SUSPECT:
    case CX_WIRE_DEAD: return &cx_wire_accuse_record;
    case CX_WIRE_ALIVE: return &cx_wire_alive_record;
    case CX_WIRE_NACK: return &cx_wire_nack_record;
    case CX_WIRE_ERROR: return &cx_wire_error_record;
    case CX_WIRE_COMPRESS: return &cx_wire_compress_record;
    default: return NULL;
    }
}

const cx_record *cx_wire_serf_record(uint8_t type)
{
    switch (type) {
    case CX_SERF_LEAVE: return &cx_wire_leave_record;
    case CX_SERF_JOIN: return &cx_wire_join_record;
    case CX_SERF_STATE: return &cx_wire_serf_state_record;
    case CX_SERF_USER_EVENT: return &cx_wire_user_event_record;
    case CX_SERF_QUERY: return &cx_wire_query_record;
    case CX_SERF_RESPONSE: return &cx_wire_response_record;
    case CX_SERF_CONFLICT: return &cx_wire_conflict_record;
    case CX_SERF_KEY_REQUEST: return &cx_wire_key_request_record;
    case CX_SERF_KEY_RESPONSE: return &cx_wire_key_response_record;
    default: return NULL;
    }
}

bool cx_wire_read(cx_bytes body, const cx_record *record, void *values, cx_err *err)
{
    return cx_record_take(&body, record, values, err);
}

void cx_wire_put(cx_buffer *buffer, uint8_t type, const cx_record *record, const void *values)
{
    cx_buffer_add(buffer, &type, 1);
    cx_record_put(buffer, record, values);
}

void cx_wire_put_serf(cx_buffer *buffer, cx_serf_type type, const cx_record *record,
                      const void *values)
{
    const uint8_t head[] = {CX_WIRE_USER, (uint8_t)type};

    cx_buffer_add(buffer, head, sizeof(head));
    cx_record_put(buffer, record, values);
}
