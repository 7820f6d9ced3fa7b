/* Leases: this node's granter (lease/grant.h) with its memory on disk (leases.db). What was promised is
 * durable before anybody is told. leases.db is no part of a backup: an old copy of it would forget
 * promises. */
#pragma once

#include "audit.h"
#include "lease/claim.h"
#include "lease/grant.h"

typedef struct node_leases node_leases;

typedef struct node_leases_options {
    struct event_base *loop;
    const cx_log *log;
    node_storage *storage;
    node_audit *audit;        /* told of leases that expire */
    int64_t bootstrap_expect; /* the least number of nodes that the cluster counts as */
} node_leases_options;

/* Reads what was granted, before the loop runs. */
CX_MUST_CHECK bool node_leases_open(const node_leases_options *options, node_leases **leases,
                                    cx_err *err);
void node_leases_close(node_leases **owner); /* after the storage is closed */

/* The members (members.h). */
void node_leases_members(node_leases *leases, const json_t *members);
/* How many nodes the cluster has, at least bootstrap_expect: a majority of these makes a lease. The
 * number survives a restart, and is not believed to be smaller for a minute after it, so that a node
 * whose gossip agent has not joined yet doesn't take itself for the whole cluster. */
int64_t node_leases_expected(const node_leases *leases);

typedef struct node_lease_result {
    cx_lease_outcome outcome;
    cx_lease lease; /* as it was when the event was taken; name NULL: nothing is known of it */
    int64_t last_fence;
    bool confirmed; /* see cx_lease_answer */
} node_lease_result;

/* Told once, now or later, from the loop; err: it could not be made durable, so it does not count.
 * The result lives until it returns. */
typedef void node_leases_done(const node_lease_result *result, const cx_err *err, void *arg);
void node_leases_input(node_leases *leases, const cx_lease_event *event, node_leases_done *done,
                       void *arg);

/* The lease of an agent with placement any is called "agent/ID": no name that a client may use. It is
 * taken and given up by placement all day, so it is neither audited nor listed unless asked for. */
#define NODE_AGENT_LEASE "agent/"
bool node_leases_is_agent(const char *name);
/* For such a lease: asks (fence 0), confirms or renews it; gives it back. owner: "node/ID". */
void node_leases_claim_agent(node_leases *leases, const char *agent, const char *owner,
                             int64_t fence, int64_t ttl_ms, node_leases_done *done, void *arg);
void node_leases_release_agent(node_leases *leases, const char *agent, const char *owner,
                               int64_t fence, node_leases_done *done, void *arg);
/* A claim's result as its owner counts it; texts live as long as the result. */
cx_lease_vote node_leases_vote(const node_lease_result *result);

/* What is held now, each handed to `found`, in no order. */
void node_leases_each(const node_leases *leases,
                      void (*found)(const cx_lease *lease, int64_t expires_in_ms, void *arg),
                      void *arg);
