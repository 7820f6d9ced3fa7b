/* cx-queue: what its commands share. */
#pragma once

#include "api/batch.h"
#include "api/gather.h"

extern const cx_command queue_send, queue_stats, queue_drain, queue_messages_stats,
    queue_messages_list, queue_messages_show, queue_messages_retry;

typedef struct queue_scope {
    cx_config *config;
    cx_api *api;
    cx_api_nodes nodes;
    int64_t timeout_ms; /* of one call */
} queue_scope;

CX_MUST_CHECK bool queue_open(const cx_run *run, const cx_target *target, bool from_stdin,
                              queue_scope *scope, cx_err *err);
void queue_close(queue_scope *scope);
/* True when the last argument is `-`: nodes on stdin. */
bool queue_dash(const cx_run *run);

/* ---- how often and how long sending tries again */

typedef struct queue_patience {
    const cx_run *run; /* whose remarks tell a person whom we wait for */
    int64_t remark_ms; /* the next one's time */
    int64_t deadline_ms;
    bool through_outage; /* a node that can't be reached is tried again too */
    int64_t pause_ms;    /* the next one; doubles */
} queue_patience;

queue_patience queue_patience_start(const cx_run *run);
/* Whether this answer (or, with status 0, this failure) is worth another try. */
bool queue_may_retry(const queue_patience *patience, const cx_api_answer *answer,
                     const cx_err *error);
/* Waits as the node asked or for the next pause, and after a while says why (*err); false with *err as it was
 * when that would pass the deadline, false with INTERRUPTED when a signal came. */
bool queue_wait_retry(queue_patience *patience, int64_t retry_after_ms, cx_err *err);

/* NDJSON on stdin, results on stdout. */
CX_MUST_CHECK bool queue_send_bulk(cx_run *run, queue_scope *scope, const char *receiver,
                                   cx_err *err);
