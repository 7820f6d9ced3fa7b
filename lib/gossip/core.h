/* The gossip core: one member of a memberlist and Serf cluster as a state machine.
 *
 * cx_gossip_input(core, event, now) takes one event (a packet came, a stream brought bytes, it is
 * time, the operator wants to leave) and returns the actions that follow (send this packet, open a
 * stream, wake me at, tell the operator that node-3 failed). The caller owns sockets, clock, files
 * and name service: tools/gossip wires a core to libevent, the simulator thousands of them to a
 * virtual network, the fuzzers feed bytes.
 *
 * Protocol: memberlist as Debian's serf 0.9.4 speaks it, with Lifeguard; section numbers in the
 * sources (13.2) are those of reference/memberlist-protocol.md.
 *
 * Pure: no clock, no system calls; randomness is in the options. Nothing that comes from outside
 * makes an input fail: what is malformed, forged or too much is dropped, counted (status.refused)
 * and named in a log action, at most one of a kind a second.
 *
 * Times: `now_us` is microseconds of the caller's monotonic clock (round trips need that much), all
 * other times are milliseconds of the same clock (now_us / 1000). It must not run backwards. */
#pragma once

#include "base/log.h"
#include "base/rng.h"
#include "gossip/addr.h"

enum {
    CX_GOSSIP_NAME_MAX = 128,       /* bytes of a member's name */
    CX_GOSSIP_TAGS_BYTES_MAX = 512, /* all tags of a member as encoded */
    CX_GOSSIP_PACKET_MAX = 65536,   /* bytes of a datagram; what we send is below 1500 */
    CX_GOSSIP_STREAM_MAX = 20 * 1024 * 1024 + 5, /* bytes of one message on a stream */
    CX_GOSSIP_STREAMS_MAX = 256,   /* open at once, both directions; more are closed unread */
    CX_GOSSIP_ACCUSATIONS_MAX = 8, /* kept of each member, the newest */
    CX_GOSSIP_CONFIRMERS_MAX = 8,  /* kept of each accusation */
    CX_GOSSIP_HELPERS_MAX = 4,     /* asked for an indirect probe */
};

typedef struct cx_gossip cx_gossip;

typedef struct cx_gossip_tag {
    const char *key, *value;
} cx_gossip_tag;

/* ---- what goes in */

typedef enum cx_gossip_event_kind {
    CX_GOSSIP_ON_START,  /* first of all: announces itself, starts the timers */
    CX_GOSSIP_ON_WAKE,   /* the time of the last WAKE has come; early or extra ones do no harm */
    CX_GOSSIP_ON_PACKET, /* from, bytes: one datagram */

    /* Streams. The caller numbers the connections that it accepts (even numbers, never used twice),
     * the core those that it opens (odd numbers). The core sets the deadlines and closes. */
    CX_GOSSIP_ON_ACCEPT, /* stream, from */
    CX_GOSSIP_ON_BYTES,  /* stream, bytes: as they come, in any pieces; the core finds the frames */
    CX_GOSSIP_ON_END, /* stream: the peer closed it, it broke, or it could not be opened (reason);
                            not for one that the core closed */

    /* Commands. Each gets exactly one ANSWER with its ticket, now or in a later input. */
    CX_GOSSIP_ON_JOIN,       /* addrs, addr_count; replay: take events from before the join */
    CX_GOSSIP_ON_REJOIN,     /* tries all members that it knows or knew (options.state) */
    CX_GOSSIP_ON_LEAVE,      /* answered with LEFT after it */
    CX_GOSSIP_ON_REMOVE,     /* node; prune: forget it at once */
    CX_GOSSIP_ON_PING,       /* node; the answer has rtt_us */
    CX_GOSSIP_ON_TAGS,       /* set, set_count, unset, unset_count; answered with `changed` */
    CX_GOSSIP_ON_KEY,        /* key_change, bytes (the key): the own ring only */
    CX_GOSSIP_ON_USER_EVENT, /* name, bytes (payload), coalesce */
} cx_gossip_event_kind;

typedef enum cx_gossip_key_change {
    CX_GOSSIP_KEY_INSTALL, /* adds it; to a core without a ring it becomes the primary key */
    CX_GOSSIP_KEY_USE,     /* makes it the primary key; NOT_FOUND when it is not in the ring */
    CX_GOSSIP_KEY_REMOVE,  /* BUSY for the primary key; no error when it is absent */
} cx_gossip_key_change;

/* Everything in it is borrowed for the call. Fields that the kind does not name are ignored. */
typedef struct cx_gossip_event {
    cx_gossip_event_kind kind;
    cx_gossip_addr from;
    cx_bytes bytes;
    uint64_t stream;
    const char *reason; /* NULL: closed in order */
    uint64_t ticket; /* commands: chosen by the caller, not 0; 0 means that no answer is wanted */
    const cx_gossip_addr *addrs;
    size_t addr_count;
    const char *node, *name;
    const cx_gossip_tag *set;
    size_t set_count;
    const char *const *unset;
    size_t unset_count;
    cx_gossip_key_change key_change;
    bool prune, replay, coalesce;
} cx_gossip_event;

/* ---- what comes out */

typedef enum cx_gossip_action_kind {
    CX_GOSSIP_SEND,         /* to, bytes: one datagram from the bound socket */
    CX_GOSSIP_STREAM_OPEN,  /* stream, to, bytes: connect, then write them */
    CX_GOSSIP_STREAM_WRITE, /* stream, bytes */
    CX_GOSSIP_STREAM_CLOSE, /* stream: when all is written, with a deadline of the caller's own */
    CX_GOSSIP_WAKE,   /* wake_at_ms: replaces the one before; at most one per input, the last */
    CX_GOSSIP_EMIT,   /* notice: for monitors and the operator */
    CX_GOSSIP_ANSWER, /* ticket, err (CX_OK: done), joined, rtt_us, changed */
    CX_GOSSIP_LEFT,   /* the leave is complete: end the process; nothing more is sent */
    CX_GOSSIP_SAVE_KEYRING, /* bytes: the whole key ring file (mode 0600) */
    CX_GOSSIP_SAVE_STATE,   /* bytes: the whole state file; comes back as options.state */
    CX_GOSSIP_LOG,          /* level, log_event, node, to (may be empty), detail */
} cx_gossip_action_kind;

typedef enum cx_gossip_notice_kind {
    CX_GOSSIP_MEMBER_JOINED,  /* new, or back from failed or left */
    CX_GOSSIP_MEMBER_SUSPECT, /* by: who suspects it */
    CX_GOSSIP_MEMBER_FAILED,  /* by: who says so */
    CX_GOSSIP_MEMBER_LEFT,
    CX_GOSSIP_MEMBER_UPDATED,    /* other tags, versions or address, or a suspect that is alive */
    CX_GOSSIP_MEMBER_REAPED,     /* forgotten: failed or left for long, or pruned */
    CX_GOSSIP_USER_EVENT,        /* name, payload, ltime, coalesce */
    CX_GOSSIP_PARTITION_CHANGED, /* partition, was */
} cx_gossip_notice_kind;

typedef enum cx_gossip_status_word {
    CX_GOSSIP_ALIVE,
    CX_GOSSIP_SUSPECT, /* counts as alive for partition and placement */
    CX_GOSSIP_FAILED,
    CX_GOSSIP_LEAVING,
    CX_GOSSIP_LEFT_CLUSTER,
} cx_gossip_status_word;

/* From the expected size (the larger of options.expected and the members that have not left):
 * majority: more than half of them are alive here; isolated: nobody else is. */
typedef enum cx_gossip_partition {
    CX_GOSSIP_ISOLATED,
    CX_GOSSIP_MINORITY,
    CX_GOSSIP_MAJORITY,
} cx_gossip_partition;

/* One member as this node sees it. Texts live until the next input. */
typedef struct cx_gossip_member {
    const char *name;
    cx_gossip_addr addr;
    cx_gossip_status_word status;
    const cx_gossip_tag *tags; /* ascending keys */
    size_t tag_count;
    uint32_t incarnation;
    int64_t since_ms;    /* of the status */
    double rtt_ms;       /* from pings when there were any, else from coordinates; < 0: unknown */
    uint8_t versions[6]; /* memberlist min, max, current; Serf's min, max, current */
    uint64_t ltime;      /* Lamport time of the last intent about it */
    bool self;
} cx_gossip_member;

typedef struct cx_gossip_notice {
    cx_gossip_notice_kind kind;
    cx_gossip_member member; /* MEMBER_*: after the change */
    const char *by;          /* NULL: nobody in particular */
    const char *name;
    cx_bytes payload;
    uint64_t ltime;
    bool coalesce;
    cx_gossip_partition partition, was;
} cx_gossip_notice;

typedef struct cx_gossip_action {
    cx_gossip_action_kind kind;
    cx_gossip_addr to;
    cx_bytes bytes;
    uint64_t stream;
    int64_t wake_at_ms;
    cx_gossip_notice notice;
    uint64_t ticket;
    const cx_err *err; /* never NULL for ANSWER */
    size_t joined;     /* JOIN, REJOIN: how many of the addresses answered */
    int64_t rtt_us;    /* PING */
    bool changed;      /* TAGS, KEY, REMOVE */
    cx_level level;
    const char *log_event, *node, *detail; /* LOG: a word, a name or "", text for people or "" */
} cx_gossip_action;

/* In the order in which they are to be done. Owned by the core, valid until the next input. */
typedef struct cx_gossip_actions {
    const cx_gossip_action *items;
    size_t count;
} cx_gossip_actions;

/* ---- life */

typedef enum cx_gossip_profile {
    CX_GOSSIP_LAN,
    CX_GOSSIP_WAN,
    CX_GOSSIP_LOCAL,
} cx_gossip_profile;

typedef struct cx_gossip_options {
    const char *name;
    cx_gossip_addr
        advertise; /* what others are told to send to; its port is also the default port */
    cx_gossip_profile profile;
    const cx_gossip_tag *tags;
    size_t tag_count;
    size_t expected;  /* of the cluster; 0: whatever is there */
    cx_rng rng;       /* filled by cx_random, or cx_rng_seed in tests */
    cx_bytes keyring; /* text of the key ring file (JSON list of base64, primary first); empty: the
                         cluster is not encrypted */
    cx_bytes state; /* text of the last SAVE_STATE; empty on the first start. With it the node comes
                         back with a higher incarnation and tries the members that it knew */
    bool
        compress; /* packets, when they get shorter (streams never are); receiving needs no option */
} cx_gossip_options;

/* Copies all that it needs of the options. CONFIG when a name, a tag or a key is not acceptable; a
 * state that can't be read is ignored but for a log line. */
CX_MUST_CHECK bool cx_gossip_open(const cx_gossip_options *options, cx_gossip **core, cx_err *err);
void cx_gossip_close(cx_gossip **owner);

cx_gossip_actions cx_gossip_input(cx_gossip *core, const cx_gossip_event *event, int64_t now_us);

/* ---- looking in: all results live until the next input */

/* All members, by name. */
const cx_gossip_member *cx_gossip_members(cx_gossip *core, size_t *count);
const cx_gossip_member *cx_gossip_find(cx_gossip *core, const char *name); /* NULL: unknown */

enum { CX_GOSSIP_DIGEST_SIZE = 17 };

typedef struct cx_gossip_status {
    const char *name;
    cx_gossip_addr addr;
    const char *profile;
    uint32_t incarnation;
    size_t members, alive, suspect, failed, leaving, left; /* alive: without suspect */
    size_t expected;
    cx_gossip_partition partition;
    int health_score;                                /* 0 healthy .. 7 (Lifeguard's awareness) */
    uint64_t member_clock, event_clock, query_clock; /* Lamport */
    char digest
        [CX_GOSSIP_DIGEST_SIZE]; /* of name, incarnation and tags of all alive members, sorted:
                                           two nodes with the same one agree */
    bool encrypted;
    size_t keys;
    size_t queued; /* broadcasts that wait */
    size_t streams;
    uint64_t packets_in, packets_out, bytes_in, bytes_out, refused;
    bool leaving_now, left_now;
    uint8_t versions[6];
} cx_gossip_status;

cx_gossip_status cx_gossip_look(cx_gossip *core);

typedef enum cx_gossip_source {
    CX_GOSSIP_BY_PROBE,     /* our own probe got no answer */
    CX_GOSSIP_BY_GOSSIP,    /* somebody's suspect or dead message */
    CX_GOSSIP_BY_PUSH_PULL, /* a state exchange */
} cx_gossip_source;

typedef enum cx_gossip_verdict {
    CX_GOSSIP_OPEN,
    CX_GOSSIP_REFUTED,   /* it said that it is alive, with a higher incarnation */
    CX_GOSSIP_CONVICTED, /* counted as failed */
    CX_GOSSIP_EXCUSED,   /* it left */
} cx_gossip_verdict;

/* One suspicion from its start to its end. */
typedef struct cx_gossip_accusation {
    uint32_t incarnation;
    char by[CX_GOSSIP_NAME_MAX + 1];
    cx_gossip_source source;
    int64_t started_ms, ended_ms; /* ended: 0 while it is open */
    cx_gossip_verdict verdict;
    char convicted_by[CX_GOSSIP_NAME_MAX + 1]; /* "" else */
    struct {
        char name[CX_GOSSIP_NAME_MAX + 1];
        int64_t at_ms;
    } confirmers[CX_GOSSIP_CONFIRMERS_MAX];
    size_t confirmer_count; /* all that came, also those above the limit that are not kept */
    struct {                /* BY_PROBE only */
        int64_t started_ms;
        char helpers[CX_GOSSIP_HELPERS_MAX][CX_GOSSIP_NAME_MAX + 1];
        size_t helper_count, nacks;
        bool stream_tried;
    } probe;
} cx_gossip_accusation;

/* Newest last; also those of failed and left members, as long as they are known. */
const cx_gossip_accusation *cx_gossip_accusations(cx_gossip *core, const char *name, size_t *count);

/* Words for JSON and logs; each ends with NULL above its last value. */
const char *cx_gossip_status_text(cx_gossip_status_word status);     /* "alive", "left" */
const char *cx_gossip_partition_text(cx_gossip_partition partition); /* "majority" */
const char *cx_gossip_notice_text(cx_gossip_notice_kind kind);       /* "member_failed" */
const char *cx_gossip_profile_text(cx_gossip_profile profile);       /* "lan" */
const char *cx_gossip_source_text(cx_gossip_source source);          /* "probe" */
const char *cx_gossip_verdict_text(cx_gossip_verdict verdict);       /* "refuted" */
