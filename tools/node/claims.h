/* Claims: the leases of many agents with placement any in one request, POST /api/v1/leases, which one
 * node sends to another. The owner is who the certificate says. Releases go before claims.
 *
 * {"ttl","claims":[{"agent","fence"}],"releases":[{"agent","fence"}]} is answered by {"node_id",
 * "expected","claims":[{"agent","granted","fence","last_fence","holder","holder_fence",
 * "expires_in_seconds"}]}, one for each claim in the same order. An empty request asks whether the
 * node is there.
 *
 * Pure: what travels, read and written. */
#pragma once

#include "base/json.h"
#include "lease/claim.h"

enum {
    NODE_CLAIMS_MAX = 4096, /* claims, and releases, of one request */
    NODE_CLAIMS_BYTES_MAX = 1024 * 1024,
};

typedef struct node_claim {
    char *agent;
    int64_t fence;
} node_claim;

typedef struct node_claims {
    int64_t ttl_ms;
    node_claim *claims, *releases;
    size_t claim_count, release_count;
} node_claims;

void node_claims_add(node_claims *claims, const char *agent, int64_t fence);
void node_claims_add_release(node_claims *claims, const char *agent, int64_t fence);
bool node_claims_is_empty(const node_claims *claims);
json_t *node_claims_to_json(const node_claims *claims); /* new reference */
CX_MUST_CHECK bool node_claims_parse(const json_t *json, node_claims *claims, cx_err *err);
void node_claims_free(node_claims *claims); /* leaves {0} */

/* One claim's part of the answer. Texts are borrowed. */
json_t *node_vote_to_json(const char *agent, const cx_lease_vote *vote);
CX_MUST_CHECK bool node_vote_parse(const json_t *json, const char *where, const char *agent,
                                   cx_lease_vote *vote, cx_err *err);
