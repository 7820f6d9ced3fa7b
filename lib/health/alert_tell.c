/* Who is told what, by whom: silences, inhibition, assignment, notices. */
#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "base/rendezvous.h"
#include "base/time.h"
#include "health/alert_inside.h"
#include "health/check.h"

/* ---- what is quiet, and why */

static bool is_silenced_by(const cx_alert *alert, const cx_silence *silence, int64_t wall_ms)
{
    bool all = strcmp(silence->name, "*") == 0;

    return silence->from_ms <= wall_ms && wall_ms < silence->until_ms &&
           (all || strcmp(silence->name, alert->name) == 0) &&
           (silence->subject[0] == '\0' || strcmp(silence->subject, alert->subject) == 0);
}

static cx_alert_about about_of(const cx_alert_rules *rules, const cx_alert *alert)
{
    const cx_alert_rule *rule = cx_alert_rule_find(rules, alert->name);

    return rule != NULL ? rule->about : CX_ALERT_OF_CHECK;
}

/* The cluster's own complaints about a node that is down. */
static bool is_about_members(const cx_alert_rules *rules, const cx_alert *alert)
{
    const cx_alert_rule *rule = cx_alert_rule_find(rules, alert->name);
    const char *name = rule != NULL ? rule->condition.name : "";

    return strcmp(name, cx_check_name(CX_CHECK_MEMBERSHIP)) == 0 ||
           strcmp(name, cx_check_name(CX_CHECK_CONVERGENCE)) == 0;
}

static bool follows_from(const cx_alert_rules *rules, const cx_alert *alert, const cx_alert *cause)
{
    bool members = is_about_members(rules, alert);

    switch (about_of(rules, cause)) {
    case CX_ALERT_OF_SPLIT: return members || about_of(rules, alert) == CX_ALERT_OF_NODE;
    case CX_ALERT_OF_NODE:
        return about_of(rules, alert) == CX_ALERT_OF_CHECK &&
               (members || strcmp(alert->subject, cause->subject) == 0);
    case CX_ALERT_OF_CHECK: return false;
    }
    return false;
}

/* A cause that is over still counts for what has not been looked at since; a look that was under way
 * then ends within its deadline. */
static bool is_in_force(const cx_alert *cause, const cx_alert *alert)
{
    return cause->state != CX_ALERT_RESOLVED ||
           alert->observed_ms <= cause->resolved_ms + CX_ALERT_LOOK_MS;
}

static void find_cause(const cx_alerts *alerts, const cx_alert_rules *rules, cx_alert *alert)
{
    alert->inhibited_by[0] = '\0';
    for (size_t i = 0; i < alerts->count && alert->inhibited_by[0] == '\0'; i++) {
        const cx_alert *cause = alerts->items[i];

        if (cause != alert && follows_from(rules, alert, cause) && is_in_force(cause, alert))
            cx_alert_copy(alert->inhibited_by, sizeof alert->inhibited_by, cause->name);
    }
}

static const cx_alert_rule *rule_about(const cx_alert_rules *rules, cx_alert_about about)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->items[i].about == about)
            return &rules->items[i];
    return NULL;
}

/* A cause may be there and not seen yet: what could follow waits until somebody has looked for it
 * since. Else the first look after a failure, or after a restart, would tell everything but it. */
static void wait_for_cause(const cx_alerts *alerts, const cx_alert_rules *rules, cx_alert *alert)
{
    const cx_alert_rule *node = rule_about(rules, CX_ALERT_OF_NODE);
    const cx_alert_rule *split = rule_about(rules, CX_ALERT_OF_SPLIT);
    bool members = is_about_members(rules, alert);
    const cx_alert_rule *cause = NULL;

    if (node != NULL && members && alerts->nodes_looked_ms < alert->since_ms)
        cause = node;
    if (split != NULL && (members || about_of(rules, alert) == CX_ALERT_OF_NODE) &&
        alerts->split_looked_ms < alert->since_ms)
        cause = split;
    if (cause != NULL)
        cx_alert_copy(alert->inhibited_by, sizeof alert->inhibited_by, cause->name);
}

static void find_silence(cx_alert *alert, const cx_silence *silences, size_t count, int64_t wall_ms)
{
    alert->silence_id[0] = '\0';
    for (size_t i = 0; i < count && alert->silence_id[0] == '\0'; i++)
        if (is_silenced_by(alert, &silences[i], wall_ms))
            cx_alert_copy(alert->silence_id, sizeof alert->silence_id, silences[i].id);
}

/* What was resolved long ago is dropped, with its notice: had this watcher had to tell the end, it
 * has; another one has told it else. */
static void drop_old(cx_alerts *alerts, int64_t wall_ms)
{
    for (size_t i = alerts->count; i-- > 0;) {
        cx_alert *alert = alerts->items[i];

        /* A clock that was set back: what is over must not inhibit until then. */
        if (alert->resolved_ms > wall_ms)
            alert->resolved_ms = wall_ms;
        if (alert->state != CX_ALERT_RESOLVED || wall_ms - alert->resolved_ms < CX_ALERT_KEEP_MS)
            continue;
        cx_alerts_notice_remove(alerts, alert->key);
        cx_alerts_remove(alerts, alert);
    }
    for (size_t i = alerts->notice_count; i-- > 0;) {
        cx_alert_notice *notice = alerts->notices[i];
        int64_t keep_ms = notice->firing ? CX_ALERT_FORGET_MS : CX_ALERT_KEEP_MS;

        /* A clock that was ahead, here or at a peer, must not make it newer than what comes. */
        if (notice->at_ms > wall_ms)
            notice->at_ms = wall_ms;
        if (wall_ms - notice->at_ms >= keep_ms && cx_alerts_at(alerts, notice->key) == NULL)
            cx_alerts_notice_remove(alerts, notice->key);
    }
}

void cx_alerts_looked_for(cx_alerts *alerts, cx_alert_about cause, int64_t wall_ms)
{
    switch (cause) {
    case CX_ALERT_OF_NODE: alerts->nodes_looked_ms = wall_ms; return;
    case CX_ALERT_OF_SPLIT: alerts->split_looked_ms = wall_ms; return;
    case CX_ALERT_OF_CHECK: return;
    }
}

void cx_alerts_mute(cx_alerts *alerts, const cx_silence *silences, size_t count, int64_t wall_ms)
{
    for (size_t i = 0; i < alerts->count; i++)
        find_silence(alerts->items[i], silences, count, wall_ms);
}

void cx_alerts_sift(cx_alerts *alerts, const cx_alert_rules *rules, const cx_silence *silences,
                    size_t count, int64_t wall_ms)
{
    drop_old(alerts, wall_ms);
    cx_alerts_mute(alerts, silences, count, wall_ms);
    for (size_t i = 0; i < alerts->count; i++) {
        find_cause(alerts, rules, alerts->items[i]);
        if (alerts->items[i]->inhibited_by[0] == '\0')
            wait_for_cause(alerts, rules, alerts->items[i]);
    }
}

/* ---- who tells */

static bool is_watching(const cx_alerts *alerts, const cx_list *watchers, const char *node_id)
{
    return strcmp(node_id, alerts->self) == 0 || cx_list_has(watchers, node_id);
}

const char *cx_alerts_teller(const cx_alerts *alerts, const cx_list *watchers, const char *subject)
{
    CX_AUTO(cx_free) const char **names = cx_alloc(watchers->count + 1, sizeof *names);
    size_t count = 0;

    names[count++] = alerts->self;
    for (size_t i = 0; i < watchers->count; i++)
        names[count++] = watchers->items[i];
    return names[cx_rendezvous(subject, names, count)];
}

enum telling { TELL_NOTHING, TELL_FIRING, TELL_AGAIN, TELL_RESOLVED };

/* What a firing alert needs. */
static enum telling telling_of_firing(const cx_alerts *alerts, cx_alert *alert,
                                      const cx_alert_rule *rule, const cx_alert_notice *notice,
                                      const cx_list *watchers, int64_t wall_ms)
{
    bool was_muted = alert->muted;
    bool told = notice != NULL &&
                (notice->firing || alert->fired_ms <= notice->at_ms); /* else an earlier episode */
    bool lost = notice != NULL && notice->firing && !notice->delivered &&
                !is_watching(alerts, watchers, notice->by);

    alert->muted = alert->silence_id[0] != '\0';
    if (alert->muted || alert->inhibited_by[0] != '\0')
        return TELL_NOTHING;
    /* What is about to resolve, and was kept quiet until now, need not be told at all. */
    if (!told || lost)
        return alert->clears > 0 ? TELL_NOTHING : TELL_FIRING;
    if (!notice->firing)
        return TELL_NOTHING;
    /* A silence that ends leaves nobody in the belief that all is well. */
    if (was_muted || (rule->repeat_ms > 0 && wall_ms - notice->at_ms >= rule->repeat_ms))
        return TELL_AGAIN;
    return TELL_NOTHING;
}

static enum telling telling_of(const cx_alerts *alerts, cx_alert *alert, const cx_alert_rule *rule,
                               const cx_list *watchers, int64_t wall_ms)
{
    const cx_alert_notice *notice = cx_alerts_notice(alerts, alert->key);

    switch (alert->state) {
    case CX_ALERT_PENDING: return TELL_NOTHING;
    case CX_ALERT_FIRING:
        return rule == NULL ? TELL_NOTHING
                            : telling_of_firing(alerts, alert, rule, notice, watchers, wall_ms);
    case CX_ALERT_RESOLVED: return notice != NULL && notice->firing ? TELL_RESOLVED : TELL_NOTHING;
    }
    return TELL_NOTHING;
}

static json_t *describe(const cx_alerts *alerts, const cx_alert *alert, const cx_alert_rule *rule,
                        enum telling telling, int64_t wall_ms)
{
    bool resolved = telling == TELL_RESOLVED;
    CX_AUTO(cx_free)
    char *id = cx_format("%s-%" PRIx64 "-%c", alert->key, (uint64_t)wall_ms, resolved ? 'r' : 'f');
    json_t *actions = rule != NULL ? json_deep_copy(rule->actions) : json_array();

    return json_pack("{s:s, s:s, s:o, s:o, s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o, "
                     "s:o, s:b}",
                     "id", id, "key", alert->key, "name", cx_json_text(alert->name), "severity",
                     cx_json_text(alert->severity), "status", resolved ? "resolved" : "firing",
                     "subject", cx_json_text(alert->subject), "cluster", alerts->cluster, "watcher",
                     alerts->self, "since", cx_json_time(alert->since_ms), "at",
                     cx_json_time(wall_ms), "value",
                     alert->has_value ? cx_json_figure(alert->value) : json_null(), "unit",
                     alert->unit, "message", cx_json_text(alert->message), "description",
                     cx_json_text(rule != NULL ? rule->description : ""), "runbook",
                     cx_json_text(rule != NULL ? rule->runbook : ""), "actions",
                     actions != NULL ? actions : json_array(), "again", telling == TELL_AGAIN);
}

/* The end is told by who told the beginning, while that one is there: what a side of a split alone
 * had seen, the others do not know of. */
static bool is_teller(const cx_alerts *alerts, const cx_alert *alert, const cx_list *watchers)
{
    const cx_alert_notice *notice = cx_alerts_notice(alerts, alert->key);

    if (alert->state == CX_ALERT_RESOLVED && notice != NULL && notice->firing &&
        is_watching(alerts, watchers, notice->by))
        return strcmp(notice->by, alerts->self) == 0;
    return strcmp(cx_alerts_teller(alerts, watchers, alert->subject), alerts->self) == 0;
}

static void tell(cx_alerts *alerts, const cx_alert_rules *rules, cx_alert *alert,
                 const cx_list *watchers, int64_t wall_ms, json_t *notices)
{
    const cx_alert_rule *rule = cx_alert_rule_find(rules, alert->name);
    enum telling telling;
    cx_alert_notice *notice;

    if (!is_teller(alerts, alert, watchers)) {
        alert->muted = alert->silence_id[0] != '\0';
        return;
    }
    telling = telling_of(alerts, alert, rule, watchers, wall_ms);
    if (telling == TELL_NOTHING)
        return;
    notice = cx_alerts_notice_of(alerts, alert->key);
    if (notice == NULL)
        return;
    notice->firing = telling != TELL_RESOLVED;
    notice->delivered = false;
    notice->at_ms = wall_ms;
    cx_alert_copy(notice->by, sizeof notice->by, alerts->self);
    json_array_append_new(notices, describe(alerts, alert, rule, telling, wall_ms));
}

void cx_alerts_tell(cx_alerts *alerts, const cx_alert_rules *rules, const cx_list *watchers,
                    int64_t wall_ms, json_t *notices)
{
    /* A split explains the nodes, and a node its figures: who reads from the top reads the cause. */
    static const cx_alert_about order[] = {CX_ALERT_OF_SPLIT, CX_ALERT_OF_NODE, CX_ALERT_OF_CHECK};

    for (size_t pass = 0; pass < CX_COUNT(order); pass++)
        for (size_t i = 0; i < alerts->count; i++)
            if (about_of(rules, alerts->items[i]) == order[pass])
                tell(alerts, rules, alerts->items[i], watchers, wall_ms, notices);
}

void cx_alerts_delivered(cx_alerts *alerts, const json_t *notice)
{
    const cx_alert_notice *told = cx_alerts_notice(alerts, cx_json_text_or_empty(notice, "key"));
    bool firing = strcmp(cx_json_text_or_empty(notice, "status"), "firing") == 0;
    cx_alert_notice delivered;
    int64_t at_ms = 0;

    if (told == NULL || strcmp(told->by, alerts->self) != 0 || told->firing != firing ||
        !cx_time_parse(cx_json_text_or_empty(notice, "at"), &at_ms, &(cx_err){0}) ||
        told->at_ms != at_ms)
        return;
    delivered = *told;
    delivered.delivered = true;
    cx_alerts_heard(alerts, &delivered);
}

bool cx_alerts_heard(cx_alerts *alerts, const cx_alert_notice *notice)
{
    bool is_new = cx_alerts_notice(alerts, notice->key) == NULL;
    cx_alert_notice *own = cx_alerts_notice_of(alerts, notice->key);
    bool same =
        own != NULL && !is_new && own->at_ms == notice->at_ms && own->firing == notice->firing;

    if (own == NULL || notice->at_ms < own->at_ms || (same && own->delivered == notice->delivered))
        return false;
    /* Two told of the same: ours is on its way, whatever becomes of the other's. Else we would tell
     * again when that one is lost. */
    if (!is_new && own->firing == notice->firing && strcmp(own->by, alerts->self) == 0 &&
        !notice->delivered)
        return false;
    if (same) {
        own->delivered |= notice->delivered;
        return true;
    }
    *own = *notice;
    return true;
}
