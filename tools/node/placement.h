/* Placement: where an agent with placement `any` runs, and what this node does about it now.
 *
 * Every node works out the same owner by rendezvous hashing over those that can host: alive, active
 * (not draining, drained or in maintenance) and answering. Views differ for a while, so hashing only
 * says who asks; that there is one copy at a time is the work of a lease for each agent
 * (lease/grant.h). A node runs its copy only while it holds the lease, and has ended it before the
 * lease runs out. In a minority nothing starts, and what runs is stopped: its lease can't be renewed
 * there. When nobody can host, who has the agent keeps it, as a drain of the last node does.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "base/mem.h"

/* Whom hashing picks for the agent; NULL: there are no candidates. The order of the list is of no
 * matter. */
const char *node_placement_owner(const char *agent, const cx_list *candidates);

typedef struct node_facts {
    bool placed;    /* its spec says `any`; false: it was removed, or is pinned now */
    bool owned;     /* the owner is this node */
    bool ownerless; /* there are no candidates */
    bool majority;  /* this node sees most of the cluster */
    bool ready;     /* this node knows what its peers know: before that it asks for nothing */
    enum {
        NODE_LEASE_NONE,
        NODE_LEASE_ASKED,
        NODE_LEASE_HELD,
        NODE_LEASE_LOST, /* over, or so near its end that the copy must be gone now */
    } lease;
    enum {
        NODE_COPY_NONE,
        NODE_COPY_RUNS,    /* or is suspended here */
        NODE_COPY_LEAVING, /* takes no more, its process is there still */
    } copy;
} node_facts;

typedef enum node_placement_step {
    NODE_PLACE_REST,    /* all is as it should be, or under way */
    NODE_PLACE_CLAIM,   /* ask for the lease, and again until it is held */
    NODE_PLACE_START,   /* run the copy */
    NODE_PLACE_LEAVE,   /* take no more, finish what is in flight, end the process */
    NODE_PLACE_END,     /* end the process now */
    NODE_PLACE_REMOVE,  /* end it and fail what is queued: it was removed */
    NODE_PLACE_RELEASE, /* give the lease back, or stop asking */
} node_placement_step;

node_placement_step node_placement_next(const node_facts *now);
