/* Actions: the receivers of alerts.yaml (`alerts.actions`), and how a group of notices reaches one.
 *
 * A definition is as cx_policy_load has it: {"type":"log|exec|webhook|slack|pagerduty|alertmanager|
 * smtp",…,"timeout_seconds","retries","send_resolved"}. Secrets are read from their files at each
 * sending, so that a new one is used without a restart; they are in no message. Answers are bounded.
 *
 * Each notice has its `id` and `key` in all that is sent; a webhook has the first id as
 * Idempotency-Key, too. An exec gets the document of a webhook on stdin, and in its environment
 * CX_ALERT_ID, _KEY, _NAME, _SUBJECT, _STATUS and _SEVERITY of the first. */
#pragma once

#include "base/json.h"
#include "base/log.h"

enum {
    CX_ACTION_GROUP_MAX = 50,
    CX_ACTION_WAIT_FIRST_MS = 1000,
    CX_ACTION_WAIT_MAX_MS = 5 * 60 * 1000,
};

/* How many notices one message may carry. */
size_t cx_action_group_max(const json_t *definition);

typedef struct cx_action_outcome {
    bool passing;      /* the receiver may take it later; else it was refused */
    int status;        /* of the HTTP answer or the program, 0 without one */
    char refused[160]; /* sent, but not to all of a mail's recipients: the server's word; "" else */
} cx_action_outcome;

/* Sends, blocking, at most for the action's time-out. `log` is where an action of type log writes.
 * Passing are: no connection, no answer in time, HTTP 408, 429 and 5xx, a program's exit status 75,
 * SMTP's 4xx. */
CX_MUST_CHECK bool cx_action_send(const char *name, const json_t *definition, const json_t *notices,
                                  const cx_log *log, cx_action_outcome *outcome, cx_err *err);

/* The wait after the given number of failures in a row (1, 2, …), doubling from WAIT_FIRST to
 * WAIT_MAX; a fifth of it is chance (random: any 32 bits). */
int64_t cx_action_wait_ms(int64_t failures, uint32_t random);
