/* What the files of the tenures share. tenures.c: rounds and their turns; tenures_calls.c: the granters,
 * and the requests to them. */
#pragma once

#include "base/http.h"
#include "base/map.h"
#include "claims.h"
#include "tenures.h"

/* A node that grants. This one has no address. */
typedef struct granter {
    char *node_id, *api;
    bool listed; /* in the members' list that is being read */
    bool gone;   /* was forgotten; kept while a round knows it */
    size_t holds;
    int64_t asked_ms;
    int64_t silent_since_ms; /* 0: it answered the last time */
    size_t silent_calls;
    struct bundle *pending; /* what is given back with the next request; NULL: nothing */
} granter;

typedef struct tenure {
    node_tenures *tenures;
    char *agent;
    node_tenure state;
    cx_claim claim;
    bool begins; /* at wake_ms a round begins; else the open one is judged */
    int64_t wake_ms;
    /* The open round. */
    uint64_t round;
    int64_t round_fence;
    granter **granters;
    cx_lease_vote *votes;
    size_t vote_count;
    cx_list texts; /* that votes borrow */
} tenure;

struct node_tenures {
    node_tenures_options options;
    char *owner; /* "node/ID" */
    cx_http_loop *http;
    cx_map *by_agent;
    granter **granters; /* the first one is this node */
    size_t granter_count;
    struct event *tick, *farewell;
    bool watch, ending, closing;
    size_t calls; /* to others, under way */
    uint64_t rounds;
    cx_rng rng;
    void (*ended)(void *arg);
    void *ended_arg;
};

/* What goes to one granter in one request. */
typedef struct bundle {
    node_tenures *tenures;
    granter *to;
    node_claims claims;
    uint64_t *rounds; /* of each claim: an answer that comes too late is none */
    char *url;
    cx_tls_peer tls;
} bundle;

/* ---- tenures_calls.c */

void tenures_drop_granter(granter *dropped);
granter *tenures_add_granter(node_tenures *tenures, const char *node_id);
void tenures_forget_granter(granter *gone); /* it is no member any more */
/* A request to be filled, with what is to be given back already in it. */
bundle *tenures_bundle_for(node_tenures *tenures, granter *to);
void tenures_post(bundle *made); /* takes the bundle */
/* Gives back what one granter has granted: this node's own one at once, others in the next turn. */
void tenures_add_release(node_tenures *tenures, granter *to, const char *agent, int64_t fence);
void tenures_ignore_result(const node_lease_result *result, const cx_err *err, void *arg);
void tenures_tell_if_ended(node_tenures *tenures);

/* ---- tenures.c */

/* A granter's word about a claim of this round; of an earlier round it counts for nothing. */
void tenures_take_vote(node_tenures *tenures, const char *agent, uint64_t round,
                       const granter *from, const cx_lease_vote *vote);
