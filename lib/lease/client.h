/* One lease of the cluster from the client's side: asks the granters (the nodes' API), renews while a
 * loop runs, tells when the lease is lost, gives it back. The decisions are claim.h's, the protocol is
 * explained in grant.h. */
#pragma once

#include "api/client.h"
#include "base/mark.h"
#include "lease/claim.h"

enum {
    CX_LEASE_CALL_MS = 3000, /* of one call that is no claim: lists, releases */
};

/* The nodes that grant leases: every member that has a node API and has not left. expected: how many
 * nodes the cluster counts as, at least bootstrap_expect. */
CX_MUST_CHECK bool cx_lease_granters(cx_api *api, int64_t timeout_ms, cx_api_nodes *nodes,
                                     int64_t *expected, cx_err *err);

typedef struct cx_lease_request {
    const char *name;   /* an id */
    const char *owner;  /* tells this holder from every other of the same certificate: 1 to 128
                           printable characters without space, quote, slash */
    const char *reason; /* control characters become spaces; cut at 500 bytes */
    int64_t ttl_ms;
    cx_mark mark; /* the process whose lease it is */
} cx_lease_request;

typedef struct cx_lease_client cx_lease_client;

/* Copies all but the api, which outlives the client. */
CX_MUST_CHECK bool cx_lease_open(cx_api *api, const cx_api_nodes *nodes, int64_t expected,
                                 const cx_lease_request *request, cx_lease_client **client,
                                 cx_err *err);
/* Does not release: what is held then expires. */
void cx_lease_close(cx_lease_client **owner);

/* Blocks until the lease is held or wait_ms is over. BUSY names the holder, NO_MAJORITY the nodes
 * that did not answer; then nothing is held. `remark` (may be NULL) is told now and then whom we wait
 * for. */
typedef void cx_lease_remark(const char *text, void *arg);
CX_MUST_CHECK bool cx_lease_acquire(cx_lease_client *client, int64_t wait_ms,
                                    cx_lease_remark *remark, void *arg, cx_err *err);
int64_t cx_lease_fence(const cx_lease_client *client);
int64_t cx_lease_valid_ms(const cx_lease_client *client); /* from now; 0: not held */
/* {"name","owner","fence","expires_at","valid_seconds","granted_by",…}; new reference. */
json_t *cx_lease_describe(const cx_lease_client *client);

/* A held lease is renewed while the client's loop runs: by event_base_dispatch of the caller, or by
 * cx_lease_tend, which a caller without a loop calls often (ten times in a ttl) and which seldom
 * blocks, and never for longer than a third of the ttl. It fails once the lease is lost. */
struct event_base *cx_lease_loop(cx_lease_client *client);
CX_MUST_CHECK bool cx_lease_tend(cx_lease_client *client, cx_err *err);
/* Called once, from the loop, when the lease is lost or can't be renewed in time: what works under it
 * must end by itself at once, and be over in stop_within_ms. */
typedef void cx_lease_lost(const cx_err *why, int64_t stop_within_ms, void *arg);
void cx_lease_on_lost(cx_lease_client *client, cx_lease_lost *lost, void *arg);

/* Gives it back; blocks for CX_LEASE_CALL_MS at most. NO_MAJORITY: too few nodes know of it, the rest
 * waits for the lease to expire. */
CX_MUST_CHECK bool cx_lease_release(cx_lease_client *client, cx_err *err);
