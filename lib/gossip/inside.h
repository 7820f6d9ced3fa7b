/* Inside of the core: the one struct that its rooms share. Outside, core.h is all there is.
 *
 *   core.c      events, timers, commands      rules.c   alive, suspect, dead (section 13)
 *   look.c      what others may see           probe.c   failure detection (12)
 *   out.c       actions, log, limits          spread.c  packets, gossip (10, 14)
 *   store.c     the state file                exchange.c streams, push/pull (11)
 *   leave.c     graceful leave (15.4)         serf.c    statuses and intents (15.4)
 *   events.c    user events (15.5)            query.c   queries (15.7 to 15.10) */
#pragma once

#include "gossip/crypt.h"
#include "gossip/members.h"
#include "gossip/profile.h"
#include "gossip/stream.h"

enum {
    CX_QUEUE_MEMBERS, /* in the order in which they fill a packet */
    CX_QUEUE_INTENTS,
    CX_QUEUE_QUERIES,
    CX_QUEUE_EVENTS,
    CX_QUEUES,

    CX_PINGS_MAX = 64,   /* pings of operators under way */
    CX_RELAYS_MAX = 256, /* indirect pings that we do for others at once */
    CX_INCOMING_MAX = 127,
    CX_JOINS_MAX = 32,                     /* join commands under way */
    CX_JOIN_ADDRS_MAX = 64,                /* addresses of one */
    CX_INTENTS_MAX = 1024,                 /* about nodes that we don't know yet */
    CX_SLOTS = 512,                        /* of the buffers of events and queries */
    CX_SLOT_ITEMS_MAX = 64,                /* with one Lamport time */
    CX_EVENTS_BYTES_MAX = 4 * 1024 * 1024, /* in the whole buffer */
    CX_REFUSALS = 16,
};

/* What is running against one member, one at a time. */
typedef struct cx_probe {
    enum { CX_PROBE_IDLE, CX_PROBE_DIRECT, CX_PROBE_INDIRECT } phase;
    uint32_t seq_no;
    char target[CX_GOSSIP_NAME_MAX + 1];
    uint32_t incarnation; /* of the target when it started */
    int64_t started_us;
    int64_t direct_until_ms, until_ms;
    char helpers[CX_GOSSIP_HELPERS_MAX][CX_GOSSIP_NAME_MAX + 1];
    size_t helper_count;
    size_t nacks_wanted, nacks;
    uint64_t stream; /* 0: none was tried */
    bool stream_answered;
} cx_probe;

/* An operator's ping. */
typedef struct cx_ping {
    uint32_t seq_no;
    uint64_t ticket;
    int64_t sent_us, until_ms;
    char target[CX_GOSSIP_NAME_MAX + 1];
} cx_ping;

/* An indirect ping that we do for another node. */
typedef struct cx_relay {
    uint32_t seq_no; /* ours */
    uint32_t asked;  /* theirs */
    cx_gossip_addr asker;
    bool wants_nack;
    int64_t nack_at_ms, until_ms;
} cx_relay;

typedef enum cx_stream_purpose {
    CX_STREAM_INCOMING,
    CX_STREAM_PUSH_PULL,
    CX_STREAM_JOIN,
    CX_STREAM_PING,
} cx_stream_purpose;

typedef struct cx_stream {
    uint64_t id;
    cx_stream_purpose purpose;
    cx_gossip_addr addr;
    int64_t until_ms;
    cx_buffer bytes;
    cx_stream_frame frame;
    uint64_t join;   /* JOIN: which one */
    bool replay;     /* JOIN: take old events */
    uint32_t seq_no; /* PING */
} cx_stream;

/* A join command, until all its streams have ended. */
typedef struct cx_join {
    uint64_t number, ticket;
    size_t open, joined;
    cx_err err; /* of the last one that failed */
} cx_join;

/* An intent about a node that is not known yet. */
typedef struct cx_intent {
    char node[CX_GOSSIP_NAME_MAX + 1];
    bool is_leave;
    uint64_t ltime;
    int64_t at_ms;
} cx_intent;

typedef struct cx_slot_event {
    cx_bytes name, payload; /* of one block that begins at name.data */
} cx_slot_event;

typedef struct cx_event_slot {
    uint64_t ltime;
    cx_slot_event *items;
    size_t count;
} cx_event_slot;

typedef struct cx_query_slot {
    uint64_t ltime;
    uint32_t ids[CX_SLOT_ITEMS_MAX];
    size_t count;
} cx_query_slot;

typedef struct cx_leave {
    enum { CX_LEAVE_NO, CX_LEAVE_INTENT, CX_LEAVE_DEAD, CX_LEAVE_PROPAGATE } phase;
    uint64_t ticket;
    int64_t until_ms;
    cx_broadcast *intent; /* while it waits to be sent */
} cx_leave;

typedef struct cx_refusal {
    const char *event; /* a literal */
    int64_t logged_ms;
    uint64_t unlogged;
} cx_refusal;

struct cx_gossip {
    const cx_profile *profile;
    cx_gossip_addr addr;
    size_t expected;
    bool compress;
    cx_rng rng, nonces;
    cx_keyring *ring; /* NULL: not encrypted */

    int64_t now_us, now_ms;
    int64_t wake_ms; /* announced by the last WAKE */
    bool started, left;

    cx_members members;
    cx_member *self;
    uint32_t first_incarnation;
    int score;            /* awareness: 0 healthy */
    cx_place place;       /* the own coordinate */
    int64_t reminded_ms;  /* when we last told an accuser that he is late */
    int64_t suspicion_ms; /* no suspicion ends before */

    cx_broadcasts queues[CX_QUEUES];
    int64_t gossip_ms, probe_ms, push_pull_ms, reap_ms, reconnect_ms;
    size_t probe_at; /* in members.listed */
    uint32_t seq_no;
    cx_probe probe;
    cx_ping pings[CX_PINGS_MAX];
    size_t ping_count;
    cx_relay relays[CX_RELAYS_MAX];
    size_t relay_count;

    cx_stream *streams[CX_GOSSIP_STREAMS_MAX];
    size_t stream_count;
    size_t stream_bytes; /* in all their buffers */
    uint64_t stream_number;
    cx_join joins[CX_JOINS_MAX];
    size_t join_count;
    uint64_t join_number;

    uint64_t member_clock, event_clock, query_clock;
    uint64_t event_min, query_min; /* older ones are not news */
    cx_intent *intents;
    size_t intent_count;
    cx_event_slot events[CX_SLOTS];
    size_t events_bytes;
    cx_query_slot queries[CX_SLOTS];
    cx_leave leave;

    struct { /* of the last run */
        cx_gossip_addr *addrs;
        size_t count;
    } past;
    int64_t save_ms; /* when the state is to be saved; INT64_MAX: as it is */
    bool partition_stale;
    cx_gossip_partition partition;

    uint64_t packets_in, packets_out, bytes_in, bytes_out, refused;
    cx_refusal refusals[CX_REFUSALS];

    cx_gossip_action *actions;
    size_t action_count, action_capacity;
    cx_buffer secret; /* likewise, but wiped: a key ring's text */
    void **garbage;   /* freed at the next input */
    size_t garbage_count, garbage_capacity;
    cx_member **gone; /* likewise */
    size_t gone_count, gone_capacity;
    cx_gossip_member *views; /* of cx_gossip_members */
    cx_gossip_member view;   /* of cx_gossip_find */
};
