/* Mode: whether the node takes new work, and why not. Active, draining (refuses new messages, finishes
 * what it has), drained, or in maintenance (drained, with an end and a list of what is allowed).
 *
 * It is a mark as the architecture wants it: it stores who set it, why and since when, is on disk
 * before anything acts on it, and survives a restart. Maintenance ends by itself.
 *
 * Pure: no clock, no files. Times are wall milliseconds, since they outlive the process. */
#pragma once

#include "base/json.h"
#include "spec.h"

typedef enum node_state { NODE_ACTIVE, NODE_DRAINING, NODE_DRAINED, NODE_MAINTENANCE } node_state;

const char *node_state_word(node_state state);

enum { NODE_ALLOW_MAX = 32, NODE_REASON_MAX = 512 };

typedef struct node_mode {
    node_state state;
    bool maintenance; /* where draining leads: NODE_MAINTENANCE, else NODE_DRAINED */
    int64_t entered_ms;
    int64_t until_ms; /* maintenance ends then; 0: when somebody ends it */
    node_priority suspend_below;
    char *reason, *owner;           /* NULL while active */
    cx_list allow;                  /* operations during maintenance; empty: all but send */
    cx_list suspended;              /* agents that the drain suspended, and that its end resumes */
    int64_t handed_over, completed; /* of this drain */
    int64_t waited_ms;              /* from entering to drained; 0 before */
} node_mode;

/* What an operator asks for. */
typedef struct node_drain_request {
    bool maintenance;
    int64_t duration_ms; /* 0: none */
    node_priority suspend_below;
    const char *reason;
    cx_list allow;
} node_drain_request;

/* Reads the body of POST /api/v1/node/drain. Unknown keys, operations and priorities are INVALID, with
 * the nearest known one in the hint. The request's lists are freed by node_drain_request_free. */
CX_MUST_CHECK bool node_drain_request_parse(const json_t *json, node_drain_request *request,
                                            cx_err *err);
void node_drain_request_free(node_drain_request *request);

/* Enters draining; *changed is false when the node is in this mode already (its end and reason stay).
 * A drained node may go on to maintenance at once. BUSY: in maintenance, and a plain drain is asked. */
CX_MUST_CHECK bool node_mode_enter(node_mode *mode, const node_drain_request *request,
                                   const char *owner, int64_t now_ms, bool *changed, cx_err *err);
/* Nothing is queued or in flight any more. */
void node_mode_drained(node_mode *mode, int64_t now_ms);
void node_mode_exit(node_mode *mode); /* active, and empty */
/* Whether maintenance is over by itself. */
bool node_mode_is_over(const node_mode *mode, int64_t now_ms);

/* PERMISSION of the mode, not of the person: DRAINING when this operation (a route's verb, or "send")
 * is not allowed now. */
CX_MUST_CHECK bool node_mode_check(const node_mode *mode, const char *node_id,
                                   const char *operation, cx_err *err);

/* The document of the API and of the file. New reference. */
json_t *node_mode_to_json(const node_mode *mode);
/* The file's document. INVALID when it can't be one of ours. */
CX_MUST_CHECK bool node_mode_from_json(const json_t *json, node_mode *mode, cx_err *err);
void node_mode_free(node_mode *mode);
