/* The messages of memberlist (section 4) and Serf (section 15.2): their structs and tables.
 *
 * Field order of the structs is that of the declarations in the peer's sources, which only matters
 * for a record that comes as an array. Texts and bytes are views. Pure. */
#pragma once

#include "gossip/record.h"

/* First byte of every message. */
typedef enum cx_wire_type {
    CX_WIRE_PING,
    CX_WIRE_INDIRECT,
    CX_WIRE_ACK,
    CX_WIRE_SUSPECT,
    CX_WIRE_ALIVE,
    CX_WIRE_DEAD,
    CX_WIRE_PUSH_PULL,
    CX_WIRE_COMPOUND,
    CX_WIRE_USER,
    CX_WIRE_COMPRESS,
    CX_WIRE_ENCRYPT,
    CX_WIRE_NACK,
    CX_WIRE_CRC,
    CX_WIRE_ERROR,
    CX_WIRE_LABEL = 244, /* of newer peers; refused */
} cx_wire_type;

/* First byte of a user message. */
typedef enum cx_serf_type {
    CX_SERF_LEAVE,
    CX_SERF_JOIN,
    CX_SERF_STATE,
    CX_SERF_USER_EVENT,
    CX_SERF_QUERY,
    CX_SERF_RESPONSE,
    CX_SERF_CONFLICT,
    CX_SERF_KEY_REQUEST,
    CX_SERF_KEY_RESPONSE,
    CX_SERF_RELAY,
} cx_serf_type;

/* State of a node in a push/pull. */
typedef enum cx_wire_state {
    CX_WIRE_STATE_ALIVE,
    CX_WIRE_STATE_SUSPECT,
    CX_WIRE_STATE_DEAD,
    CX_WIRE_STATE_LEFT,
} cx_wire_state;

enum { CX_SERF_FLAG_ACK = 1, CX_SERF_FLAG_NO_BROADCAST = 2 };

typedef struct cx_wire_ping {
    uint32_t seq_no;
    cx_bytes node;
    cx_bytes source_addr;
    uint16_t source_port;
    cx_bytes source_node;
} cx_wire_ping;

typedef struct cx_wire_indirect {
    uint32_t seq_no;
    cx_bytes target;
    uint16_t port;
    cx_bytes node;
    bool nack;
    cx_bytes source_addr;
    uint16_t source_port;
    cx_bytes source_node;
} cx_wire_indirect;

typedef struct cx_wire_ack {
    uint32_t seq_no;
    cx_bytes payload;
} cx_wire_ack;

typedef struct cx_wire_nack {
    uint32_t seq_no;
} cx_wire_nack;

/* Suspect and dead alike. */
typedef struct cx_wire_accuse {
    uint32_t incarnation;
    cx_bytes node;
    cx_bytes from;
} cx_wire_accuse;

typedef struct cx_wire_alive {
    uint32_t incarnation;
    cx_bytes node;
    cx_bytes addr;
    uint16_t port;
    cx_bytes meta;
    cx_bytes vsn;
} cx_wire_alive;

typedef struct cx_wire_compress {
    uint8_t algo;
    cx_bytes buf;
} cx_wire_compress;

typedef struct cx_wire_error {
    cx_bytes error;
} cx_wire_error;

typedef struct cx_wire_push_header {
    int64_t nodes;
    int64_t user_state_len;
    bool join;
} cx_wire_push_header;

typedef struct cx_wire_push_node {
    cx_bytes name;
    cx_bytes addr;
    uint16_t port;
    cx_bytes meta;
    uint32_t incarnation;
    int64_t state;
    cx_bytes vsn;
} cx_wire_push_node;

typedef struct cx_wire_user_header {
    int64_t user_msg_len;
} cx_wire_user_header;

/* Payload of an ack, after a version byte. */
typedef struct cx_wire_coordinate {
    cx_bytes vec;
    double error;
    double adjustment;
    double height;
} cx_wire_coordinate;

typedef struct cx_wire_leave {
    uint64_t ltime;
    cx_bytes node;
    bool prune;
} cx_wire_leave;

typedef struct cx_wire_join {
    uint64_t ltime;
    cx_bytes node;
} cx_wire_join;

typedef struct cx_wire_serf_state {
    uint64_t ltime;
    cx_bytes status_ltimes;
    cx_bytes left_members;
    uint64_t event_ltime;
    cx_bytes events;
    uint64_t query_ltime;
} cx_wire_serf_state;

/* One slot of serf_state's events. */
typedef struct cx_wire_past_events {
    uint64_t ltime;
    cx_bytes events;
} cx_wire_past_events;

typedef struct cx_wire_past_event {
    cx_bytes name;
    cx_bytes payload;
} cx_wire_past_event;

typedef struct cx_wire_user_event {
    uint64_t ltime;
    cx_bytes name;
    cx_bytes payload;
    bool coalesce;
} cx_wire_user_event;

typedef struct cx_wire_query {
    uint64_t ltime;
    uint32_t id;
    cx_bytes addr;
    uint16_t port;
    cx_bytes source_node;
    cx_bytes filters;
    uint32_t flags;
    uint8_t relay_factor;
    int64_t timeout_ns;
    cx_bytes name;
    cx_bytes payload;
} cx_wire_query;

typedef struct cx_wire_tag_filter {
    cx_bytes tag;
    cx_bytes expr;
} cx_wire_tag_filter;

typedef struct cx_wire_response {
    uint64_t ltime;
    uint32_t id;
    cx_bytes from;
    uint32_t flags;
    cx_bytes payload;
} cx_wire_response;

typedef struct cx_wire_key_request {
    cx_bytes key;
} cx_wire_key_request;

typedef struct cx_wire_key_response {
    bool result;
    cx_bytes message;
    cx_bytes keys;
    cx_bytes primary_key;
} cx_wire_key_response;

typedef struct cx_wire_conflict {
    cx_bytes name;
    cx_bytes addr;
    uint16_t port;
    cx_bytes tags;
    int64_t status;
    uint8_t protocol_min;
    uint8_t protocol_max;
    uint8_t protocol_cur;
    uint8_t delegate_min;
    uint8_t delegate_max;
    uint8_t delegate_cur;
} cx_wire_conflict;

typedef struct cx_wire_relay_header {
    cx_bytes dest_addr;
    cx_bytes dest_name;
} cx_wire_relay_header;

typedef struct cx_wire_relay_addr {
    cx_bytes ip;
    int64_t port;
    cx_bytes zone;
} cx_wire_relay_addr;

extern const cx_record cx_wire_ping_record;
extern const cx_record cx_wire_indirect_record;
extern const cx_record cx_wire_ack_record;
extern const cx_record cx_wire_nack_record;
extern const cx_record cx_wire_accuse_record;
extern const cx_record cx_wire_alive_record;
extern const cx_record cx_wire_compress_record;
extern const cx_record cx_wire_error_record;
extern const cx_record cx_wire_push_header_record;
extern const cx_record cx_wire_push_node_record;
extern const cx_record cx_wire_user_header_record;
extern const cx_record cx_wire_coordinate_record;
extern const cx_record cx_wire_leave_record;
extern const cx_record cx_wire_join_record;
extern const cx_record cx_wire_serf_state_record;
extern const cx_record cx_wire_past_events_record;
extern const cx_record cx_wire_past_event_record;
extern const cx_record cx_wire_user_event_record;
extern const cx_record cx_wire_query_record;
extern const cx_record cx_wire_tag_filter_record;
extern const cx_record cx_wire_response_record;
extern const cx_record cx_wire_key_request_record;
extern const cx_record cx_wire_key_response_record;
extern const cx_record cx_wire_conflict_record;
extern const cx_record cx_wire_relay_header_record;
extern const cx_record cx_wire_relay_addr_record;

/* The table of a memberlist message that is one record, NULL for any other type. */
const cx_record *cx_wire_record(uint8_t type);
/* The table of a Serf message, NULL for an unknown type and for relay, which has more than a record. */
const cx_record *cx_wire_serf_record(uint8_t type);
/* Large enough for the struct of every table. */
typedef union cx_wire_any {
    cx_wire_ping ping;
    cx_wire_indirect indirect;
    cx_wire_ack ack;
    cx_wire_nack nack;
    cx_wire_accuse accuse;
    cx_wire_alive alive;
    cx_wire_compress compress;
    cx_wire_error error;
    cx_wire_push_header push_header;
    cx_wire_push_node push_node;
    cx_wire_user_header user_header;
    cx_wire_coordinate coordinate;
    cx_wire_leave leave;
    cx_wire_join join;
    cx_wire_serf_state serf_state;
    cx_wire_past_events past_events;
    cx_wire_past_event past_event;
    cx_wire_user_event user_event;
    cx_wire_query query;
    cx_wire_tag_filter tag_filter;
    cx_wire_response response;
    cx_wire_key_request key_request;
    cx_wire_key_response key_response;
    cx_wire_conflict conflict;
    cx_wire_relay_header relay_header;
    cx_wire_relay_addr relay_addr;
} cx_wire_any;

/* Reads a message whose type byte is known; bytes after the record are ignored, as the peer does. */
CX_MUST_CHECK bool cx_wire_read(cx_bytes body, const cx_record *record, void *values, cx_err *err);
/* Appends type byte and record. */
void cx_wire_put(cx_buffer *buffer, uint8_t type, const cx_record *record, const void *values);
/* The same within a user message: 08, the Serf type, the record. */
void cx_wire_put_serf(cx_buffer *buffer, cx_serf_type type, const cx_record *record,
                      const void *values);
