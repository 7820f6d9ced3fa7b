/* The node: one struct that owns all state of `cx-node run`. One loop, in whose thread everything here
 * happens; only the storage thread writes to disk.
 *
 * From a message to its code: server.c (who may) -> send.c (read, route) -> queue.h (durable) ->
 * agents.c (deliver, answer) -> waiters.c (tell the sender). */
#pragma once

#include "agents.h"
#include "audit.h"
#include "base/httpd.h"
#include "config/config.h"
#include "gossip_link.h"
#include "leases.h"
#include "members.h"
#include "mode.h"
#include "outbox.h"
#include "pki/tls.h"
#include "registry.h"
#include "router.h"
#include "sampler.h"
#include "tenures.h"
#include "waiters.h"
#include "window.h"

typedef struct node_hosting node_hosting; /* hosting.h */

typedef struct node_self {
    struct event_base *loop;
    cx_config *config;
    cx_log log;
    char *log_place; /* of its file, which a rotation may move; NULL: it goes to no file */
    int lock_fd;     /* of data_dir/node.lock */
    char *data_dir;
    node_mode mode;
    bool stopping;
    int64_t started_ms, started_wall_ms;

    cx_tls *tls;
    node_storage *storage;
    node_audit *audit;
    node_queue *queue;
    node_registry *registry;
    node_leases *leases;
    node_agents *agents;
    cx_http_loop *http;
    node_router *router;
    node_outbox *outbox;
    node_tenures *tenures;
    node_hosting *hosting;
    node_waiters *waiters;
    node_gossip *gossip;
    node_members *members;
    char *gossip_socket;
    node_sampler *sampler;
    cx_httpd *httpd;

    node_latency latency;
    node_rate rate;
    node_histogram histogram;
    uint64_t requests, refused;

    struct event *cert_timer, *drain_timer, *mode_timer;
    bool mode_saving;                        /* a change of mode is not on disk yet */
    int64_t drain_base, drain_completed;     /* messages processed: before this drain, and by it */
    int64_t drain_handed_base, drain_handed; /* and those that were handed over */
    char serial[64];                         /* of the certificate that the log knows */
    cx_err cert_error;                       /* and what it knows to be wrong with the files */
} node_self;

/* What other nodes see of this one changed: the tags are told anew. */
void node_changed(node_self *node);
