#include "health/alert.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/text.h"
#include "health/alert_inside.h"
#include "health/check.h"

/* ---- rules */

static int64_t seconds_to_ms(const json_t *json, const char *key)
{
    return (int64_t)(json_number_value(json_object_get(json, key)) * 1000);
}

static bool read_rule(const json_t *json, const char *severity, cx_alert_rule *rule, cx_err *err)
{
    const json_t *condition = json_object_get(json, "parsed_condition");
    const char *about = cx_json_text_or_empty(condition, "name");
    CX_AUTO(cx_free)
    char *text = cx_format("%s %s", about, cx_json_text_or_empty(condition, "threshold"));

    *rule = (cx_alert_rule){
        .name = cx_json_text_or_empty(json, "name"),
        .severity = severity,
        .description = cx_json_text_or_empty(json, "description"),
        .runbook = cx_json_text_or_empty(json, "runbook"),
        .about = strcmp(about, "partition_detected") == 0 ? CX_ALERT_OF_SPLIT
                 : strcmp(about, "node_unreachable") == 0 ? CX_ALERT_OF_NODE
                                                          : CX_ALERT_OF_CHECK,
        .actions = json_object_get(json, "actions"),
        .duration_ms = seconds_to_ms(json, "duration_seconds"),
        .repeat_ms = seconds_to_ms(json, "repeat_seconds"),
    };
    return cx_condition_parse(text, &rule->condition, err) || cx_wrap(err, "alert %s", rule->name);
}

bool cx_alert_rules_read(json_t *policy, cx_alert_rules *rules, cx_err *err)
{
    static const char *const severities[] = {"critical", "warning", "info"};
    const json_t *lists = json_object_get(policy, "alerts");
    size_t room = 1, at;
    json_t *item;

    *rules = (cx_alert_rules){.policy = json_incref(policy)};
    for (size_t i = 0; i < CX_COUNT(severities); i++)
        room += json_array_size(json_object_get(lists, severities[i]));
    rules->items = cx_alloc(room, sizeof *rules->items);
    for (size_t i = 0; i < CX_COUNT(severities); i++)
        json_array_foreach (json_object_get(lists, severities[i]), at, item)
            if (!read_rule(item, severities[i], &rules->items[rules->count++], err)) {
                cx_alert_rules_free(rules);
                return false;
            }
    return true;
}

void cx_alert_rules_free(cx_alert_rules *rules)
{
    cx_free(&rules->items);
    cx_json_free(&rules->policy);
    rules->count = 0;
}

const cx_alert_rule *cx_alert_rule_find(const cx_alert_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->count; i++)
        if (strcmp(rules->items[i].name, name) == 0)
            return &rules->items[i];
    return NULL;
}

/* ---- the set */

const char *cx_alert_state_word(cx_alert_state state)
{
    switch (state) {
    case CX_ALERT_PENDING: return "pending";
    case CX_ALERT_FIRING: return "firing";
    case CX_ALERT_RESOLVED: return "resolved";
    }
    return NULL;
}

void cx_alert_copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

void cx_alert_key(const char *cluster, const char *name, const char *subject,
                  char key[CX_ALERT_KEY_SIZE])
{
    /* Ids have no space in them, so that two triples are never one text. */
    CX_AUTO(cx_free) char *text = cx_format("%s %s %s", cluster, name, subject);
    CX_AUTO(cx_free) char *hex = NULL;
    uint8_t digest[CX_SHA256_SIZE];

    cx_sha256(cx_bytes_of(text), digest);
    hex = cx_hex((cx_bytes){digest, (CX_ALERT_KEY_SIZE - 1) / 2});
    cx_alert_copy(key, CX_ALERT_KEY_SIZE, hex);
}

cx_alert *cx_alerts_at(const cx_alerts *alerts, const char *key)
{
    return cx_map_get(alerts->by_key, key);
}

cx_alert *cx_alerts_add(cx_alerts *alerts, const char *name, const char *subject)
{
    cx_alert *alert;

    if (alerts->count >= CX_ALERTS_MAX)
        return NULL;
    alert = cx_alloc(1, sizeof *alert);
    cx_alert_key(alerts->cluster, name, subject, alert->key);
    cx_alert_copy(alert->name, sizeof alert->name, name);
    cx_alert_copy(alert->subject, sizeof alert->subject, subject);
    alerts->items[alerts->count++] = alert;
    cx_map_put(alerts->by_key, alert->key, alert);
    return alert;
}

static void free_alert(cx_alert *alert)
{
    cx_free(&alert->message);
    cx_free(&alert);
}

void cx_alerts_remove(cx_alerts *alerts, cx_alert *alert)
{
    size_t at = 0;

    while (alerts->items[at] != alert)
        at++;
    memmove(&alerts->items[at], &alerts->items[at + 1],
            (alerts->count - at - 1) * sizeof(cx_alert *));
    alerts->count--;
    cx_map_remove(alerts->by_key, alert->key);
    free_alert(alert);
}

void cx_alert_say(cx_alert *alert, const char *message)
{
    char *copy = cx_strndup(message, 500);

    cx_free(&alert->message);
    alert->message = copy;
}

cx_alert_notice *cx_alerts_notice_of(cx_alerts *alerts, const char *key)
{
    cx_alert_notice *notice = cx_map_get(alerts->notice_by_key, key);

    if (notice != NULL)
        return notice;
    if (alerts->notice_count >= CX_ALERTS_MAX)
        return NULL;
    notice = cx_alloc(1, sizeof *notice);
    cx_alert_copy(notice->key, sizeof notice->key, key);
    alerts->notices[alerts->notice_count++] = notice;
    cx_map_put(alerts->notice_by_key, key, notice);
    return notice;
}

void cx_alerts_notice_remove(cx_alerts *alerts, const char *key)
{
    cx_alert_notice *notice = cx_map_remove(alerts->notice_by_key, key);
    size_t at = 0;

    if (notice == NULL)
        return;
    while (alerts->notices[at] != notice)
        at++;
    alerts->notices[at] = alerts->notices[--alerts->notice_count];
    cx_free(&notice);
}

cx_alerts *cx_alerts_open(const char *cluster, const char *self)
{
    cx_alerts *alerts = cx_alloc(1, sizeof *alerts);

    cx_alert_copy(alerts->cluster, sizeof alerts->cluster, cluster);
    cx_alert_copy(alerts->self, sizeof alerts->self, self);
    alerts->items = cx_alloc(CX_ALERTS_MAX, sizeof(cx_alert *));
    alerts->notices = cx_alloc(CX_ALERTS_MAX, sizeof(cx_alert_notice *));
    alerts->by_key = cx_map_open();
    alerts->notice_by_key = cx_map_open();
    return alerts;
}

void cx_alerts_close(cx_alerts **owner)
{
    cx_alerts *alerts = *owner;

    if (alerts == NULL)
        return;
    for (size_t i = 0; i < alerts->count; i++)
        free_alert(alerts->items[i]);
    for (size_t i = 0; i < alerts->notice_count; i++)
        cx_free(&alerts->notices[i]);
    cx_map_close(&alerts->by_key);
    cx_map_close(&alerts->notice_by_key);
    cx_free(&alerts->items);
    cx_free(&alerts->notices);
    cx_free(owner);
}

const cx_alert *cx_alerts_find(const cx_alerts *alerts, const char *name, const char *subject)
{
    char key[CX_ALERT_KEY_SIZE];

    cx_alert_key(alerts->cluster, name, subject, key);
    return cx_alerts_at(alerts, key);
}

const cx_alert_notice *cx_alerts_notice(const cx_alerts *alerts, const char *key)
{
    return cx_map_get(alerts->notice_by_key, key);
}

/* ---- looks */

/* What one look saw of one rule about one subject. */
enum seen {
    SEEN_NOTHING,
    SEEN_CLEAR,
    SEEN_NEAR,   /* clear, but within the margin of the threshold */
    SEEN_COMING, /* not yet, but it began */
    SEEN_HOLDS,
};

struct look {
    const cx_alert_rule *rule;
    const char *subject, *message, *unit;
    enum seen seen;
    bool has_value;
    double value;
    int64_t since_ms; /* 0: now */
    int64_t wall_ms;
};

static void note_change(const cx_alert *alert, const char *state, int64_t wall_ms, json_t *changes)
{
    json_t *change = cx_alert_to_json(alert);

    if (state != NULL)
        json_object_set_new(change, "state", json_string(state));
    json_object_set_new(change, "at", cx_json_time(wall_ms));
    json_array_append_new(changes, change);
}

static void resolve(cx_alert *alert, const char *message, int64_t wall_ms, json_t *changes)
{
    alert->state = CX_ALERT_RESOLVED;
    alert->resolved_ms = wall_ms;
    cx_alert_say(alert, message);
    note_change(alert, NULL, wall_ms, changes);
}

/* A clock that was set back must not hold an alert up. */
static int64_t not_after(int64_t ms, int64_t wall_ms)
{
    return ms < wall_ms ? ms : wall_ms;
}

static void begin(cx_alert *alert, const struct look *look)
{
    alert->state = CX_ALERT_PENDING;
    alert->since_ms = not_after(look->since_ms > 0 ? look->since_ms : look->wall_ms, look->wall_ms);
    alert->holds_ms = alert->fired_ms = alert->resolved_ms = 0;
    alert->clears = 0;
    alert->observed_ms = look->wall_ms;
}

static void take_values(cx_alert *alert, const struct look *look)
{
    alert->unknown = false;
    alert->has_value = look->has_value;
    alert->value = look->value;
    cx_alert_copy(alert->unit, sizeof alert->unit, look->unit);
    cx_alert_copy(alert->severity, sizeof alert->severity, look->rule->severity);
    cx_alert_say(alert, look->message);
}

static int64_t gap_ms(const cx_alert_rule *rule)
{
    return CX_ALERT_GAP_MS + 2 * rule->every_ms;
}

/* The end of an earlier episode is not that of this one, though a clock that was ahead told of it. */
static void put_before(cx_alerts *alerts, const char *key, int64_t wall_ms)
{
    cx_alert_notice *notice = cx_map_get(alerts->notice_by_key, key);

    if (notice != NULL && !notice->firing && notice->at_ms >= wall_ms)
        notice->at_ms = wall_ms - 1;
}

/* The condition holds or is about to. */
static void see_trouble(cx_alerts *alerts, cx_alert *alert, const struct look *look,
                        json_t *changes)
{
    bool began = alert == NULL || alert->state == CX_ALERT_RESOLVED;

    if (alert == NULL)
        alert = cx_alerts_add(alerts, look->rule->name, look->subject);
    if (alert == NULL)
        return;
    if (began)
        begin(alert, look);
    take_values(alert, look);
    alert->clears = 0;
    if (alert->state == CX_ALERT_FIRING) {
        alert->observed_ms = look->wall_ms;
        return;
    }
    if (look->wall_ms - alert->observed_ms > gap_ms(look->rule))
        alert->holds_ms = 0;
    alert->observed_ms = look->wall_ms;
    if (look->seen == SEEN_COMING)
        alert->holds_ms = 0;
    else if (alert->holds_ms == 0 || alert->holds_ms > look->wall_ms)
        alert->holds_ms = look->wall_ms;
    if (look->seen == SEEN_HOLDS && look->wall_ms - alert->holds_ms >= look->rule->duration_ms) {
        alert->state = CX_ALERT_FIRING;
        alert->fired_ms = look->wall_ms;
        put_before(alerts, alert->key, look->wall_ms);
    }
    if (began || alert->state == CX_ALERT_FIRING)
        note_change(alert, NULL, look->wall_ms, changes);
}

static void see_clear(cx_alerts *alerts, cx_alert *alert, const struct look *look, json_t *changes)
{
    const cx_alert_notice *notice;
    char key[CX_ALERT_KEY_SIZE];

    cx_alert_key(alerts->cluster, look->rule->name, look->subject, key);
    notice = cx_alerts_notice(alerts, key);
    /* Somebody was told, by a watcher whose state we don't have: the end is to be told as well. */
    if (alert == NULL && notice != NULL && notice->firing) {
        alert = cx_alerts_add(alerts, look->rule->name, look->subject);
        if (alert == NULL)
            return;
        alert->state = CX_ALERT_FIRING;
        alert->since_ms = alert->holds_ms = alert->fired_ms =
            not_after(notice->at_ms, look->wall_ms);
    }
    if (alert == NULL)
        return;
    take_values(alert, look);
    alert->observed_ms = look->wall_ms;
    switch (alert->state) {
    case CX_ALERT_PENDING:
        note_change(alert, "cleared", look->wall_ms, changes);
        cx_alerts_remove(alerts, alert);
        return;
    case CX_ALERT_FIRING:
        alert->clears = look->seen == SEEN_NEAR ? 0 : alert->clears + 1;
        if (alert->clears >= CX_ALERT_CLEARS)
            resolve(alert, look->message, look->wall_ms, changes);
        return;
    case CX_ALERT_RESOLVED: return;
    }
}

static void see_nothing(cx_alerts *alerts, cx_alert *alert, const struct look *look,
                        json_t *changes)
{
    if (alert == NULL)
        return;
    alert->unknown = true;
    if (alert->state != CX_ALERT_PENDING ||
        look->wall_ms - alert->observed_ms <= gap_ms(look->rule) + look->rule->duration_ms)
        return;
    note_change(alert, "cleared", look->wall_ms, changes);
    cx_alerts_remove(alerts, alert);
}

static void take_look(cx_alerts *alerts, const struct look *look, json_t *changes)
{
    char key[CX_ALERT_KEY_SIZE];
    cx_alert *alert;
    cx_err ignored;

    if (!cx_check_id("subject", look->subject, &ignored))
        return;
    cx_alert_key(alerts->cluster, look->rule->name, look->subject, key);
    alert = cx_alerts_at(alerts, key);
    switch (look->seen) {
    case SEEN_NOTHING: see_nothing(alerts, alert, look, changes); return;
    case SEEN_CLEAR:
    case SEEN_NEAR: see_clear(alerts, alert, look, changes); return;
    case SEEN_COMING:
    case SEEN_HOLDS: see_trouble(alerts, alert, look, changes); return;
    }
}

/* Whether it would still hold with the threshold moved by the margin. */
static bool is_near(const cx_condition *condition, double value, double symbol_value)
{
    bool below = condition->compare == CX_BELOW || condition->compare == CX_BELOW_OR_EQUAL;
    double factor = below ? 1 + CX_ALERT_MARGIN : 1 - CX_ALERT_MARGIN;
    cx_condition moved = *condition;

    moved.value *= factor;
    return cx_condition_holds(&moved, value, symbol_value * factor);
}

static enum seen judge_check(const cx_alert_rule *rule, const json_t *check, double max_agents)
{
    const json_t *value = json_object_get(check, "value");
    const char *status = cx_json_text_or_empty(check, "status");
    bool is_ok = strcmp(status, cx_health_word(CX_HEALTH_OK)) == 0;

    if (strcmp(status, cx_health_word(CX_HEALTH_UNKNOWN)) == 0)
        return SEEN_NOTHING;
    if (rule->about == CX_ALERT_OF_SPLIT)
        return strcmp(status, cx_health_word(CX_HEALTH_CRITICAL)) == 0 ? SEEN_HOLDS : SEEN_CLEAR;
    /* Without a number the check has judged: nothing to process is well, no backup at all is not. */
    if (rule->condition.compare == CX_BARE || !json_is_number(value))
        return is_ok ? SEEN_CLEAR : SEEN_HOLDS;
    if (cx_condition_holds(&rule->condition, json_number_value(value), max_agents))
        return SEEN_HOLDS;
    return is_near(&rule->condition, json_number_value(value), max_agents) ? SEEN_NEAR : SEEN_CLEAR;
}

static bool is_about(const cx_alert_rule *rule, const json_t *check)
{
    const char *name = cx_json_text_or_empty(check, "name");

    if (rule->about == CX_ALERT_OF_NODE)
        return false;
    return strcmp(name, rule->about == CX_ALERT_OF_SPLIT ? cx_check_name(CX_CHECK_PARTITION)
                                                         : rule->condition.name) == 0;
}

void cx_alerts_look(cx_alerts *alerts, const cx_alert_rules *rules, const json_t *checks,
                    double max_agents, int64_t wall_ms, json_t *changes)
{
    size_t at;
    json_t *check;

    json_array_foreach ((json_t *)checks, at, check) {
        const char *node_id = cx_json_text_or_empty(check, "node_id");
        const json_t *value = json_object_get(check, "value");

        for (size_t i = 0; i < rules->count; i++)
            if (is_about(&rules->items[i], check))
                take_look(alerts,
                          &(struct look){
                              .rule = &rules->items[i],
                              .subject = node_id[0] != '\0' ? node_id : alerts->cluster,
                              .message = cx_json_text_or_empty(check, "message"),
                              .unit = cx_json_text_or_empty(check, "unit"),
                              .seen = judge_check(&rules->items[i], check, max_agents),
                              .has_value = json_is_number(value),
                              .value = json_number_value(value),
                              .wall_ms = wall_ms,
                          },
                          changes);
    }
}

void cx_alerts_look_at_node(cx_alerts *alerts, const cx_alert_rules *rules, const char *node_id,
                            bool down, int64_t down_since_ms, const char *why, int64_t wall_ms,
                            json_t *changes)
{
    for (size_t i = 0; i < rules->count; i++) {
        const cx_alert_rule *rule = &rules->items[i];
        const cx_alert *alert = cx_alerts_find(alerts, rule->name, node_id);
        int64_t since_ms = wall_ms;

        if (rule->about != CX_ALERT_OF_NODE)
            continue;
        if (down && down_since_ms > 0)
            since_ms = not_after(down_since_ms, wall_ms);
        if (down && alert != NULL && alert->state != CX_ALERT_RESOLVED &&
            alert->since_ms < since_ms)
            since_ms = alert->since_ms;

        double seconds = (double)(wall_ms - since_ms) / 1000;
        bool holds =
            rule->condition.compare == CX_BARE || cx_condition_holds(&rule->condition, seconds, 0);

        take_look(alerts,
                  &(struct look){
                      .rule = rule,
                      .subject = node_id,
                      .message = why,
                      .unit = "seconds",
                      .seen = !down   ? SEEN_CLEAR
                              : holds ? SEEN_HOLDS
                                      : SEEN_COMING,
                      .has_value = true,
                      .value = seconds,
                      .since_ms = since_ms,
                      .wall_ms = wall_ms,
                  },
                  changes);
    }
}

void cx_alerts_forget(cx_alerts *alerts, const cx_alert_rules *rules, const cx_list *subjects,
                      int64_t wall_ms, json_t *changes)
{
    for (size_t i = alerts->count; i-- > 0;) {
        cx_alert *alert = alerts->items[i];
        bool has_rule = cx_alert_rule_find(rules, alert->name) != NULL;

        if (has_rule &&
            (strcmp(alert->subject, alerts->cluster) == 0 || cx_list_has(subjects, alert->subject)))
            continue;
        if (alert->state == CX_ALERT_FIRING) {
            resolve(alert,
                    has_rule ? "it is no member of the cluster any more"
                             : "the policy has no such alert any more",
                    wall_ms, changes);
        } else if (alert->state == CX_ALERT_PENDING) {
            note_change(alert, "cleared", wall_ms, changes);
            cx_alerts_remove(alerts, alert);
        }
    }
}
