/* Client of the gossip agent's control socket (RUN_DIR/gossip.sock): one JSON line a request, one
 * JSON line an answer, the same JSON as the tools print.
 *
 * Requests: {"command":"members"}, {"command":"status"}, {"command":"join","addresses":[…]},
 * {"command":"leave"}, {"command":"rejoin"}, {"command":"remove","node":…,"prune":bool},
 * {"command":"ping","node":…}, {"command":"tags_set","tags":{…},"while_connected":bool} (then they
 * go when the connection ends, however it ends), {"command":"tags_unset","keys":[…]},
 * {"command":"monitor","events":[…]} (answers {"ok":true} and then streams one event a line).
 * A refusal is {"error":{…}} as in json.h. */
#pragma once

#include "base/json.h"

enum { CX_CONTROL_LINE_MAX = 8 * 1024 * 1024 };

typedef struct cx_control cx_control;

/* UNAVAILABLE when no agent listens there: the message names the socket, the hint how to start one. */
CX_MUST_CHECK bool cx_control_open(const char *socket_path, int64_t timeout_ms,
                                   cx_control **control, cx_err *err);
void cx_control_close(cx_control **owner);
/* Sends a request and takes its answer; an {"error"} answer becomes err. */
CX_MUST_CHECK bool cx_control_ask(cx_control *control, const json_t *request, int64_t timeout_ms,
                                  json_t **answer, cx_err *err);
/* The next line of a stream; TIMEOUT when none came, UNAVAILABLE when the agent went away. */
CX_MUST_CHECK bool cx_control_next(cx_control *control, int64_t timeout_ms, json_t **line,
                                   cx_err *err);
int cx_control_fd(const cx_control *control); /* for a loop; do not read from it */
/* open, ask, close. */
CX_MUST_CHECK bool cx_control_once(const char *socket_path, const json_t *request,
                                   int64_t timeout_ms, json_t **answer, cx_err *err);
