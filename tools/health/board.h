/* Board: what the dashboard shows of each node: its last figures, those of its agents that matter,
 * and how its latency went. Bounded in nodes, agents, samples and the size of each text, since all of
 * it is what nodes and agents say of themselves.
 *
 * Pure: wall time (milliseconds) and documents of the node API are arguments. */
#pragma once

#include "base/json.h"

enum {
    HEALTH_BOARD_NODES_MAX = 500,   /* more are left out */
    HEALTH_BOARD_AGENTS_MAX = 50,   /* a node: those in trouble first, then the busiest */
    HEALTH_BOARD_SAMPLES_MAX = 720, /* a node: an hour, when it is looked at often enough */
    HEALTH_BOARD_SAMPLE_MS = 5000,  /* at least so far apart */
};

typedef struct health_board health_board;

health_board *health_board_open(void);
void health_board_close(health_board **owner);

/* What a node said: GET /api/v1/node; a NULL document: it did not answer, which keeps what it said
 * last. */
void health_board_see(health_board *board, const char *node_id, const json_t *node,
                      int64_t wall_ms);
/* GET /api/v1/agents of it; NULL: not known, which keeps what was. */
void health_board_see_agents(health_board *board, const char *node_id, const json_t *agents);
/* Forgets all other nodes. */
void health_board_keep(health_board *board, const cx_list *node_ids);

/* A list, in the order in which they were first seen: {"node_id","at","answers","state","version",
 * "uptime_seconds","agents","messages","latency_ms","error_rate_percent","system","certificate",
 * "backup","agent_list","agent_count"}; what a node does not say is null. New reference. */
json_t *health_board_nodes(const health_board *board);
/* {"NODE":[[UNIX_SECONDS,P50_MS,P99_MS,QUEUED],…]}, oldest first; null where nothing was measured.
 * New reference. */
json_t *health_board_samples(const health_board *board);
