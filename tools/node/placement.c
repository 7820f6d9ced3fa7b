#include "placement.h"

#include "base/rendezvous.h"

const char *node_placement_owner(const char *agent, const cx_list *candidates)
{
    if (candidates->count == 0)
        return NULL;
    return candidates
        ->items[cx_rendezvous(agent, (const char *const *)candidates->items, candidates->count)];
}

/* Whether the agent belongs here: to the owner, and to whoever has it while there is none. */
static bool belongs_here(const node_facts *now)
{
    return now->placed && now->majority &&
           (now->owned || (now->ownerless && now->lease == NODE_LEASE_HELD));
}

static node_placement_step with_lease(const node_facts *now)
{
    switch (now->copy) {
    case NODE_COPY_NONE: return belongs_here(now) ? NODE_PLACE_START : NODE_PLACE_RELEASE;
    case NODE_COPY_RUNS: return belongs_here(now) ? NODE_PLACE_REST : NODE_PLACE_LEAVE;
    case NODE_COPY_LEAVING: return NODE_PLACE_REST; /* and is renewed until the process is gone */
    }
    return NODE_PLACE_REST;
}

node_placement_step node_placement_next(const node_facts *now)
{
    if (!now->placed && now->copy == NODE_COPY_RUNS)
        return NODE_PLACE_REMOVE;
    if (now->lease == NODE_LEASE_HELD)
        return with_lease(now);
    if (now->copy != NODE_COPY_NONE)
        return NODE_PLACE_END;
    switch (now->lease) {
    case NODE_LEASE_NONE:
        return belongs_here(now) && now->ready ? NODE_PLACE_CLAIM : NODE_PLACE_REST;
    case NODE_LEASE_ASKED: return belongs_here(now) ? NODE_PLACE_REST : NODE_PLACE_RELEASE;
    case NODE_LEASE_LOST: return NODE_PLACE_RELEASE;
    case NODE_LEASE_HELD: break;
    }
    return NODE_PLACE_REST;
}
