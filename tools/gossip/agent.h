/* The gossip agent: lib/gossip's core wired to sockets, files and a control socket, in one libevent
 * loop. All state is in struct agent; nothing on the loop blocks (names are resolved and files are
 * saved in a worker thread). */
#pragma once

#include <sys/queue.h>

#include <event2/event.h>

#include "base/log.h"
#include "base/pool.h"
#include "gossip/core.h"

enum {
    CLIENTS_MAX = 64,                    /* of the control socket; more are closed */
    CLIENT_LINE_MAX = 64 * 1024,         /* bytes of a request */
    CLIENT_OUTPUT_MAX = 8 * 1024 * 1024, /* a monitor that doesn't read is dropped above it */
    ADDRESSES_MAX = 64,                  /* of one join */
    LEAVE_TIMEOUT_MS = 10000,            /* then the agent ends without having been heard */
};

struct agent;

struct agent_settings {
    const char *node_id;
    const char *bind;      /* host:port */
    const char *advertise; /* host:port or NULL */
    const char *run_dir;
    const char *state_path;
    const char *keyring_path; /* NULL: not encrypted */
    const cx_list *join;      /* host[:port] */
    const cx_list *tags;      /* K=V */
    cx_gossip_profile profile;
    int64_t expected;
};

/* agent_net.c: packets and streams. */
struct agent_net;
CX_MUST_CHECK bool agent_net_open(struct agent *agent, const char *bind, struct agent_net **net,
                                  cx_err *err);
void agent_net_close(struct agent_net **owner);
void agent_net_send(struct agent_net *net, const cx_gossip_addr *to, cx_bytes packet);
void agent_net_stream_open(struct agent_net *net, uint64_t stream, const cx_gossip_addr *to,
                           cx_bytes bytes);
void agent_net_stream_write(struct agent_net *net, uint64_t stream, cx_bytes bytes);
void agent_net_stream_close(struct agent_net *net, uint64_t stream);
/* The address to announce when none was given: the bound one, or the first of an interface. */
CX_MUST_CHECK bool agent_net_own_address(const struct agent_net *net, cx_gossip_addr *addr,
                                         cx_err *err);

/* agent_control.c: the control socket. */
struct agent_control;
CX_MUST_CHECK bool agent_control_open(struct agent *agent, const char *path,
                                      struct agent_control **control, cx_err *err);
void agent_control_close(struct agent_control **owner);
/* Streams a notice to the monitors. */
void agent_control_notice(struct agent_control *control, const cx_gossip_notice *notice);
/* An answer of the core; those of tickets that nobody waits for are dropped. */
void agent_control_answer(struct agent_control *control, const cx_gossip_action *answer);
/* True when nothing waits to be written to a client. */
bool agent_control_is_idle(const struct agent_control *control);

/* agent_json.c: what the tools print. New references. since_offset_ms leads from the core's clock
 * to wall time. */
json_t *agent_member_json(const cx_gossip_member *member, int64_t since_offset_ms);
json_t *agent_members_json(cx_gossip *core, int64_t since_offset_ms);
json_t *agent_status_json(cx_gossip *core);
json_t *agent_notice_json(const cx_gossip_notice *notice, int64_t since_offset_ms);
/* MEMBER with its accusations, newest last; NULL when it is unknown. */
json_t *agent_why_json(cx_gossip *core, const char *node, int64_t since_offset_ms);

/* agent_resolve.c: names to addresses, in the worker. */
struct agent_resolved {
    cx_gossip_addr addrs[ADDRESSES_MAX];
    size_t count;
    char failed[256]; /* the first name that could not be resolved, and why; "" else */
};
typedef void agent_resolved_function(struct agent *agent, const struct agent_resolved *resolved,
                                     uint64_t ticket);
/* False when the worker is too busy. */
CX_MUST_CHECK bool agent_resolve(struct agent *agent, const cx_list *names, uint64_t ticket,
                                 agent_resolved_function *done);

struct agent {
    struct event_base *loop;
    cx_log log;
    char *log_place; /* of its file, which a rotation may move; NULL: it goes to no file */
    cx_gossip *core;
    cx_pool *pool; /* one thread: files are saved in order */
    struct agent_net *net;
    struct agent_control *control;
    struct event *wake, *terminate, *interrupt, *hangup, *retry, *deadline;
    const struct agent_settings *settings;
    uint16_t port; /* default for names without one */
    int64_t retry_ms, flush_until_ms;
    bool ended; /* the core has left; only answers are still written */
    bool leaving;
    bool joined; /* some seed answered, or somebody came to us */
    uint64_t next_ticket;
    uint64_t seed_ticket; /* of the join to the seeds that is under way; 0: none */
};

/* agent.c: the only door between the core and the world. */
void agent_input(struct agent *agent, const cx_gossip_event *event);
/* Begins a graceful leave; ticket 0: nobody waits for its answer. */
void agent_leave(struct agent *agent, uint64_t ticket);
int64_t agent_since_offset_ms(void);
