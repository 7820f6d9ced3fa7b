/* What the files of the router share. router_peers.c: the other nodes and what they host; router.c:
 * where a message goes, and its way there. */
#pragma once

#include "backoff.h"
#include "base/map.h"
#include "router.h"

enum {
    ROUTER_CONNECT_MS = 1000,
    ROUTER_FORGET_MS = 60000, /* a gossip agent that starts again lists nobody at first */
    ROUTER_REFRESH_PAUSE_MS =
        500, /* strangers' names must not make us ask the cluster all the time */
};

typedef struct peer {
    node_router *router;
    char *node_id, *api;
    bool alive, left;
    int64_t revision; /* what its tag says */
    int64_t fetched;  /* the revision of `agents`; -1: none */
    json_t *agents;   /* array of the registry's entries, or NULL */
    bool fetching;
    bool again;      /* somebody wants to know what is so now: the fetch under way began before */
    bool seen;       /* in the members' list that is being read */
    int64_t seen_ms; /* when it was in a list last */
    struct event *retry_timer;
    node_backoff backoff;
} peer;

typedef struct refresh {
    struct refresh *next;
    node_router *router;
    struct event *timer;
    bool asked; /* its fetches are under way */
    void (*done)(void *arg);
    void *arg;
} refresh;

struct node_router {
    node_router_options options;
    cx_map *peers;
    /* Where an agent's id leads: a list of {"node","entry"}, rebuilt when a registry changes. */
    json_t *hosts;
    json_t *listed;   /* the ids of all members, those without a node too */
    cx_map *may_have; /* message ids to node ids; see node_router_set_may_have */
    char **may_have_ids;
    size_t may_have_at;
    refresh *refreshes;
    int64_t refreshed_ms, opened_ms;
    struct event *refresh_timer;
    size_t fetches;
    bool stopping;
};

void router_close_peers(node_router *router);
void router_end_refreshes(node_router *router);
void router_on_refresh(evutil_socket_t fd, short what, void *arg);
