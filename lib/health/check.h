/* Health checks: what the cluster and its nodes say about themselves, against the operators' policy.
 *
 * A check that violates its threshold is critical, unless a line is drawn for critical (by `critical`
 * in health.yaml, or by a critical alert about the same value): then it is a warning until that line
 * is crossed. A check within its threshold that meets a warning of alerts.yaml is a warning. What
 * nobody could measure is unknown, which weighs more than a warning: it may be anything.
 *
 * Pure: no clock, no I/O; documents of the node API go in, check objects come out:
 * {"scope","node_id","name","value","unit","threshold","status","message"}. */
#pragma once

#include "config/policy.h"

typedef enum cx_health { /* in order of gravity */
                         CX_HEALTH_OK,
                         CX_HEALTH_WARNING,
                         CX_HEALTH_UNKNOWN,
                         CX_HEALTH_CRITICAL,
} cx_health;
const char *cx_health_word(cx_health health);  /* NULL after the last */
int cx_health_nagios_status(cx_health health); /* 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN */

typedef enum cx_check_kind {
    CX_CHECK_MEMBERSHIP,
    CX_CHECK_CONVERGENCE,
    CX_CHECK_PARTITION,
    CX_CHECK_VERSIONS,
    CX_CHECK_CPU,
    CX_CHECK_MEMORY,
    CX_CHECK_DISK,
    CX_CHECK_AGENT_COUNT,
    CX_CHECK_QUEUE_DEPTH,
    CX_CHECK_RESPONSIVENESS,
    CX_CHECK_PROCESSING_TIME,
    CX_CHECK_ERROR_RATE,
    CX_CHECK_CERT_EXPIRY,
    CX_CHECK_BACKUP_AGE,
    CX_CHECKS, /* how many there are */
} cx_check_kind;
const char *cx_check_name(cx_check_kind kind); /* "cpu_usage"; NULL after the last */

typedef struct cx_check_rule {
    bool wanted;           /* false: the policy left it out */
    cx_condition healthy;  /* must hold; CX_BARE where the check itself knows */
    cx_condition critical; /* must hold, else critical; CX_BARE: no such line */
    cx_condition alarm;    /* a critical alert: critical when it holds; CX_BARE: none */
    cx_condition warning;  /* an alert: warning when it holds; CX_BARE: none */
} cx_check_rule;

typedef struct cx_health_policy {
    cx_check_rule rules[CX_CHECKS];
    double unreachable_seconds; /* a member that failed longer ago is critical (node_down) */
} cx_health_policy;

/* From the documents of cx_policy_load; alerts may be NULL. A check that the operators' policy
 * usually has and that is left out of it is not evaluated. */
CX_MUST_CHECK bool cx_health_policy_read(const json_t *health, const json_t *alerts,
                                         cx_health_policy *policy, cx_err *err);

/* What one node said. A document is NULL when it could not be had; error says why. */
typedef struct cx_health_node {
    const char *node_id;
    const json_t *node;    /* GET /api/v1/node */
    const json_t *agents;  /* GET /api/v1/agents */
    const json_t *cluster; /* GET /api/v1/cluster: its own view of the membership */
    const cx_err *error;
} cx_health_node;

/* Each appends check objects to the JSON array `checks`. */
void cx_health_check_node(const cx_health_policy *policy, const cx_health_node *node,
                          json_t *checks);
void cx_health_check_agents(const cx_health_policy *policy, const cx_health_node *node,
                            json_t *checks);
void cx_health_check_certs(const cx_health_policy *policy, const cx_health_node *node,
                           int64_t wall_ms, json_t *checks);
void cx_health_check_backups(const cx_health_policy *policy, const cx_health_node *node,
                             int64_t wall_ms, json_t *checks);
/* `cluster` is the membership as seen from here (NULL with error when there is none), nodes are the
 * alive members that were asked for their view. */
void cx_health_check_cluster(const cx_health_policy *policy, const json_t *cluster,
                             const cx_err *error, const cx_health_node *nodes, size_t count,
                             int64_t wall_ms, json_t *checks);

/* The gravest status of all. */
cx_health cx_health_of(const json_t *checks);
