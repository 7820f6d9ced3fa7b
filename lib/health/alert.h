/* Alerts: which of the policy's conditions hold, for whom, since when, and who was told of it.
 *
 * An alert is a rule of alerts.yaml about one subject: a node's id, or the cluster's name. It is
 * pending while its condition holds for less than the rule's duration, then firing, and resolved when
 * the condition was clear CX_ALERT_CLEARS looks in a row, a number by CX_ALERT_MARGIN of its
 * threshold at least, so that a value on the line does not flap. What nobody could measure changes
 * nothing: it neither fires nor resolves.
 *
 * What follows from another alert is inhibited, that is, kept and not told: from a split that one
 * side sees, all that is down on the other; from a node that is down (or about to be), its own
 * figures and the cluster's complaint about it. When the cause is over, what followed stays quiet
 * until it has been looked at again.
 *
 * Many watchers hold the same state; the subject of an alert is assigned to one of them by
 * rendezvous hashing; who told the beginning tells the end. A notice is what they tell each other: that somebody has been told, of which
 * alert, and by whom. The key of an alert is the same on all of them, in every episode: it is the
 * deduplication key of each page.
 *
 * Pure: wall time (milliseconds) and inputs are arguments; documents go in and out as JSON. */
#pragma once

#include "config/policy.h"

enum {
    CX_ALERT_KEY_SIZE = 33,
    CX_ALERT_NAME_SIZE = 65, /* of rules, nodes and clusters: cx_check_id */
    CX_ALERT_CLEARS = 2,
    CX_ALERTS_MAX = 10000,             /* at the limit new ones are dropped */
    CX_ALERT_GAP_MS = 3 * 60 * 1000,   /* nobody saw anything for so long, and for two
                                        looks more: a duration begins anew */
    CX_ALERT_LOOK_MS = 10 * 1000,      /* the longest look */
    CX_ALERT_KEEP_MS = 15 * 60 * 1000, /* a resolved one is shown for so long */
};
/* A notice about what nobody looks at any more is dropped after this time: a week. */
static const int64_t CX_ALERT_FORGET_MS = INT64_C(7) * 86400 * 1000;
#define CX_ALERT_MARGIN 0.02

/* ---- rules */

typedef enum cx_alert_about {
    CX_ALERT_OF_CHECK,
    CX_ALERT_OF_SPLIT,
    CX_ALERT_OF_NODE
} cx_alert_about;

typedef struct cx_alert_rule {                           /* texts live as long as the rules */
    const char *name, *severity, *description, *runbook; /* the last two may be "" */
    cx_alert_about about; /* SPLIT: partition_detected; NODE: node_unreachable */
    cx_condition condition;
    const json_t *actions; /* a list of names */
    int64_t duration_ms;
    int64_t repeat_ms; /* 0: told once */
    int64_t every_ms;  /* how often the caller looks; 0 until it says so */
} cx_alert_rule;

typedef struct cx_alert_rules {
    cx_alert_rule *items;
    size_t count;
    json_t *policy;
} cx_alert_rules;

/* From the document of cx_policy_load("alerts"). */
CX_MUST_CHECK bool cx_alert_rules_read(json_t *policy, cx_alert_rules *rules, cx_err *err);
void cx_alert_rules_free(cx_alert_rules *rules);
const cx_alert_rule *cx_alert_rule_find(const cx_alert_rules *rules, const char *name);

/* ---- state */

typedef enum cx_alert_state { CX_ALERT_PENDING, CX_ALERT_FIRING, CX_ALERT_RESOLVED } cx_alert_state;
const char *cx_alert_state_word(cx_alert_state state); /* NULL after the last */

typedef struct cx_alert {
    char key[CX_ALERT_KEY_SIZE];
    char name[CX_ALERT_NAME_SIZE], subject[CX_ALERT_NAME_SIZE];
    char severity[16], unit[16];
    cx_alert_state state;
    int64_t since_ms;              /* what it is about began */
    int64_t holds_ms;              /* the condition holds since; 0: it is only on its way */
    int64_t observed_ms;           /* the last look that saw something */
    int64_t fired_ms, resolved_ms; /* 0: not yet */
    int clears;
    bool unknown; /* the last look saw nothing */
    bool has_value;
    double value;
    char *message;
    bool muted;                            /* it was silenced when it was last looked through */
    char silence_id[CX_ALERT_NAME_SIZE];   /* by which it is silenced now, "" else */
    char inhibited_by[CX_ALERT_NAME_SIZE]; /* the name of the alert that it follows from, "" else */
} cx_alert;

/* Somebody was told. `by` is the watcher that tells, `delivered` that at least its first action was
 * done. */
typedef struct cx_alert_notice {
    char key[CX_ALERT_KEY_SIZE];
    char by[CX_ALERT_NAME_SIZE];
    bool firing; /* else: resolved */
    bool delivered;
    int64_t at_ms;
} cx_alert_notice;

typedef struct cx_alerts {
    char cluster[CX_ALERT_NAME_SIZE];
    char self[CX_ALERT_NAME_SIZE]; /* this watcher: its node's id */
    cx_alert **items;
    size_t count;
    cx_alert_notice **notices;
    size_t notice_count;
    struct cx_map *by_key, *notice_by_key;
    int64_t nodes_looked_ms, split_looked_ms; /* cx_alerts_looked_for, 0: not since the start */
} cx_alerts;

cx_alerts *cx_alerts_open(const char *cluster, const char *self);
void cx_alerts_close(cx_alerts **owner);
void cx_alert_key(const char *cluster, const char *name, const char *subject,
                  char key[CX_ALERT_KEY_SIZE]);
const cx_alert *cx_alerts_find(const cx_alerts *alerts, const char *name, const char *subject);

/* ---- looks: each change of a state is appended to `changes` as cx_alert_to_json prints it, with
 * "at" and, for a pending one that went away, the state "cleared" */

/* Check objects (health/check.h) of one look. max_agents: what the conditions' symbol stands for. Gossip
 * takes any text for a node's name; one that is no id (cx_check_id) has no alerts of its own. */
void cx_alerts_look(cx_alerts *alerts, const cx_alert_rules *rules, const json_t *checks,
                    double max_agents, int64_t wall_ms, json_t *changes);
/* Whether a node could be reached. down_since_ms: since when it can't, when somebody knows better
 * than these looks (0 else). */
void cx_alerts_look_at_node(cx_alerts *alerts, const cx_alert_rules *rules, const char *node_id,
                            bool down, int64_t down_since_ms, const char *why, int64_t wall_ms,
                            json_t *changes);
/* A look at all nodes (or for a split) is complete, whatever it saw: what would follow from them waits
 * for it, so that the cause is told and not its consequences. */
void cx_alerts_looked_for(cx_alerts *alerts, cx_alert_about cause, int64_t wall_ms);
/* Resolves what is about no subject of the list (it left the cluster) or of a rule that is gone. */
void cx_alerts_forget(cx_alerts *alerts, const cx_alert_rules *rules, const cx_list *subjects,
                      int64_t wall_ms, json_t *changes);

/* ---- silences */

typedef struct cx_silence {
    char id[CX_ALERT_NAME_SIZE];
    char name[CX_ALERT_NAME_SIZE];    /* the alert's, or "*": all */
    char subject[CX_ALERT_NAME_SIZE]; /* "": any */
    int64_t from_ms, until_ms;
} cx_silence;

/* From a silence's document; times as RFC 3339. */
CX_MUST_CHECK bool cx_silence_from_json(const json_t *json, const char *where, cx_silence *silence,
                                        cx_err *err);
/* Sets silence_id of each alert. */
void cx_alerts_mute(cx_alerts *alerts, const cx_silence *silences, size_t count, int64_t wall_ms);
/* Sets silence_id and inhibited_by of each alert, and drops what was resolved long ago. */
void cx_alerts_sift(cx_alerts *alerts, const cx_alert_rules *rules, const cx_silence *silences,
                    size_t count, int64_t wall_ms);

/* ---- telling */

/* What this watcher has to tell now, appended to `notices`, causes first; after cx_alerts_sift. Once
 * returned, a notice counts as told: the caller keeps it and the state in one transaction.
 * `watchers`: the node ids of all alive watchers; this one counts always. A notice:
 * {"id","key","name","severity","status":"firing|resolved","subject","cluster","watcher","since",
 * "at","value","unit","message","description","runbook","actions","again"}. The id names this notice
 * for ever, the key all of one alert; again: the same was told before. */
void cx_alerts_tell(cx_alerts *alerts, const cx_alert_rules *rules, const cx_list *watchers,
                    int64_t wall_ms, json_t *notices);
/* The one of the watchers that tells about a subject. */
const char *cx_alerts_teller(const cx_alerts *alerts, const cx_list *watchers, const char *subject);
/* Takes over a notice of a peer, or of the own outbox; the newer one counts. Returns whether it said
 * anything new. */
bool cx_alerts_heard(cx_alerts *alerts, const cx_alert_notice *notice);
/* A notice that cx_alerts_tell returned has reached somebody. One that was told before the last about the
 * same alert says nothing of that one. */
void cx_alerts_delivered(cx_alerts *alerts, const json_t *notice);
const cx_alert_notice *cx_alerts_notice(const cx_alerts *alerts, const char *key);

/* ---- documents */

/* {"name","severity","state":"pending|firing|resolved|silenced","subject","since","value","unit",
 * "message","key","fired_at","resolved_at","silence_id","inhibited_by"}. */
json_t *cx_alert_to_json(const cx_alert *alert);
json_t *cx_alert_notice_to_json(const cx_alert_notice *notice);
CX_MUST_CHECK bool cx_alert_notice_from_json(const json_t *json, const char *where,
                                             cx_alert_notice *notice, cx_err *err);
/* The whole state, for a restart; its parts are bounded and checked. */
json_t *cx_alerts_to_json(const cx_alerts *alerts);
CX_MUST_CHECK bool cx_alerts_from_json(cx_alerts *alerts, const json_t *json, cx_err *err);
