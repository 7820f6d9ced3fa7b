/* Policies: upgrade, backup, health, alerts, maintenance. The operators' own YAML, validated and
 * completed: durations gain a `_seconds` twin, defaults are filled in. */
#pragma once

#include "base/conf.h"

/* Names of the policies, NULL-terminated. */
extern const char *const cx_policy_names[];

/* Finds NAME.yaml: file if given, else policy_dir (may be NULL), else share/policies; `source` in
 * the document says which. The document is as `cx-config policy NAME` prints it:
 * {"policy","source",ROOT:{…}}, where ROOT is the file's top-level key. Scalars that are left out
 * have their defaults, lists that are left out are empty. Beside that stand
 * - upgrade: at the top level canary_duration (of that key, else of the step monitor_canary_24h),
 *   batch_size and batch_delay; 0 or 1 when the policy has no such step;
 * - backup: for each destination `dest`, as cx-backup --repo takes it;
 * - health: for each group `conditions`, its checks as cx_condition_to_json prints them, with
 *   `critical` (such an object or null), `interval` and `timeout`;
 * - alerts: for each alert `parsed_condition`, `duration` (also where the file says `for`), and
 *   `actions`, the list of names; `alerts.actions` has a definition for each.
 * Findings are CONFIG with file, line, column. */
CX_MUST_CHECK bool cx_policy_load(const char *name, const char *file, const char *policy_dir,
                                  json_t **policy, cx_err *err);
/* Every finding, for `cx-config check`; true when the file could be read at all. With name NULL the
 * file is what its top-level key says, else what its name says (backup.yaml), else a node's
 * configuration. */
CX_MUST_CHECK bool cx_policy_check(const char *name, const char *file, cx_conf_errors *errors,
                                   cx_err *err);

/* The same of a document that was read. */
void cx_policy_check_conf(const char *name, const cx_conf *conf, cx_conf_errors *errors);

/* A condition in the policy's own words: `cpu_usage < 80%`, `node_unreachable > 60s`,
 * `agent_count < max_agents`, or a bare check's name. */
typedef enum cx_compare {
    CX_BARE,
    CX_BELOW,
    CX_BELOW_OR_EQUAL,
    CX_ABOVE,
    CX_ABOVE_OR_EQUAL
} cx_compare;
typedef struct cx_condition {
    char name[64];
    cx_compare compare;
    double value;    /* percent, seconds, bytes or a plain number; of `symbol` when that is set */
    char unit[16];   /* "percent", "seconds", "bytes", "" */
    char symbol[64]; /* a name on the right-hand side (max_agents), "" else */
    char threshold[64]; /* the right-hand part as written: "< 80%" */
} cx_condition;
CX_MUST_CHECK bool cx_condition_parse(const char *text, cx_condition *condition, cx_err *err);
/* Whether value satisfies it (a bare one: always). symbol_value stands for the symbol. */
bool cx_condition_holds(const cx_condition *condition, double value, double symbol_value);
/* {"name","operator","value","unit","symbol","threshold"}; value is null where there is none. */
json_t *cx_condition_to_json(const cx_condition *condition);
