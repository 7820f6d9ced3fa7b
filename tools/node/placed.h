/* Placed agents: the specs of agents with placement `any`, which every node of the cluster keeps. Each
 * change, also a removal, is a version; the higher one wins, of two equal ones that of the node with
 * the greater id, so that all nodes end with the same, whatever order they hear of changes in. A new
 * version is above all that its node knows of, and not below the time in milliseconds: the later
 * change wins, also where the earlier one has not been heard of yet, and after a restore.
 *
 * A removal is kept as a version without a spec: else a node that was off would bring the agent
 * back. It is forgotten after NODE_PLACED_KEEP_MS, and not learnt again from a node that still knows
 * it; who was off for longer must not come back with its old data.
 *
 * Pure: no clock, no I/O. */
#pragma once

#include "spec.h"

enum {
    NODE_PLACED_MAX = 2000, /* of a cluster, removed ones too: a granter keeps 4096 names */
    NODE_PLACED_BYTES_MAX = 4 * 1024 * 1024, /* of all specs as JSON: they travel together */
};
#define NODE_PLACED_KEEP_MS     (INT64_C(30) * 24 * 3600 * 1000)
#define NODE_PLACED_VERSION_MAX (INT64_C(1) << 53) /* exact in every JSON reader */

typedef struct node_placed {
    char *id;
    int64_t version;
    char *by;        /* the node that made this version */
    node_spec *spec; /* NULL: removed */
    bool suspended;
    int64_t changed_ms; /* wall, of that node */
} node_placed;

/* than NULL: anything is newer. */
bool node_placed_is_newer(const node_placed *placed, const node_placed *than);
/* A removal that was kept long enough. */
bool node_placed_is_forgotten(const node_placed *placed, int64_t now_ms);
/* The version of a change; the highest one that this node knows of, or made, is `known` (0: none). */
int64_t node_placed_next_version(int64_t known, int64_t now_ms);
/* NULL: nothing is known of it. */
bool node_placed_is_there(const node_placed *placed);
/* {"id","version","by","suspended","changed_at","spec"}; spec null: removed. New reference. */
json_t *node_placed_to_json(const node_placed *placed);
CX_MUST_CHECK bool node_placed_parse(const json_t *json, const char *where, node_placed *placed,
                                     cx_err *err);
node_placed node_placed_copy(const node_placed *placed);
void node_placed_free(node_placed *placed); /* what it points to; leaves {0} */
