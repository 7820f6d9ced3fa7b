/* How a value becomes a check object: shared by the checks of nodes and of the cluster. Pure. */
#pragma once

#include "health/check.h"

typedef struct cx_judged {
    const char *scope;   /* "cluster", "node", "agents" */
    const char *node_id; /* NULL: the cluster */
    cx_check_kind kind;
} cx_judged;

/* Judges a number by the kind's rule; `detail` (NULL: none) is added to the message. */
void cx_judge(const cx_health_policy *policy, cx_judged about, double value, double symbol_value,
              const char *detail, json_t *checks);
/* A status that the caller has found, with its own words. value is taken over (NULL: null). */
void cx_judge_as(const cx_health_policy *policy, cx_judged about, json_t *value,
                 const char *threshold, cx_health health, const char *message, json_t *checks);
/* Unknown: what could not be measured, and why. */
void cx_judge_unknown(const cx_health_policy *policy, cx_judged about, const char *why,
                      json_t *checks);
const char *cx_check_unit(cx_check_kind kind);
