/* Hosting: what placement (placement.h) decides becomes so: leases are claimed and given back, agents
 * with placement any start here, move away and end, and what is still queued for one that runs
 * elsewhere now is handed over to that node, in order.
 *
 * An agent's state folder belongs to the node: what moves is the agent and its messages, not its
 * files. */
#pragma once

#include "node.h"

node_hosting *node_hosting_open(node_self *node);
void node_hosting_close(node_hosting **owner); /* after the storage and the agents */
/* The members (members.h). */
void node_hosting_members(node_hosting *hosting, const json_t *members);
/* Something changed: looks soon. */
void node_hosting_look(node_hosting *hosting);
/* What a peer knows of placed agents, the list "placed" of its registry. */
void node_hosting_learn(node_hosting *hosting, const char *node_id, const json_t *placed);
/* It is pinned here from now on, and the version that is known is done with: its copy, if it runs here,
 * is no longer hosting's. */
void node_hosting_disown(node_hosting *hosting, const char *agent);
/* Whether this node sees most of the cluster: else nothing is placed here. */
bool node_hosting_has_majority(const node_hosting *hosting);
/* How many agents still have to leave this node, which does not work any more. */
size_t node_hosting_leaving(const node_hosting *hosting);
json_t *node_hosting_to_json(const node_hosting *hosting); /* for debugging; new reference */
/* AGENT of the API for a placed agent that does not run here, as the node that hosts it told last; NULL:
 * there is none of this name. New reference. */
json_t *node_hosting_describe(const node_hosting *hosting, const char *agent);
/* Placed agents that nobody hosts and that this node should: they would be in no node's list. */
void node_hosting_add_waiting(const node_hosting *hosting, json_t *agents);
