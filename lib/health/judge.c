#include "health/judge.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is known of each check. `healthy` and `critical` apply where the policy says nothing; one that
 * is `usual` stands in the operators' own policy, so leaving it out there turns it off. */
static const struct {
    const char *name, *unit, *healthy, *critical;
    bool usual;
} known[CX_CHECKS] = {
    [CX_CHECK_MEMBERSHIP] = {"cluster_membership", "members", NULL, NULL, true},
    [CX_CHECK_CONVERGENCE] = {"gossip_convergence", "views", NULL, NULL, true},
    [CX_CHECK_PARTITION] = {"partition_detection", "", NULL, NULL, true},
    [CX_CHECK_VERSIONS] = {"version_consistency", "versions", NULL, NULL, false},
    [CX_CHECK_CPU] = {"cpu_usage", "percent", "< 80%", NULL, true},
    [CX_CHECK_MEMORY] = {"memory_usage", "percent", "< 90%", NULL, true},
    [CX_CHECK_DISK] = {"disk_usage", "percent", "< 85%", NULL, true},
    [CX_CHECK_AGENT_COUNT] = {"agent_count", "agents", "< max_agents", NULL, true},
    [CX_CHECK_QUEUE_DEPTH] = {"queue_depth", "messages", "< 10000", NULL, false},
    [CX_CHECK_RESPONSIVENESS] = {"agent_responsiveness", "agents", "< 1", NULL, true},
    /* Ten seconds is where the operators' runbooks begin to call an agent slow. */
    [CX_CHECK_PROCESSING_TIME] = {"message_processing_time", "seconds", "< 10s", "< 60s", true},
    [CX_CHECK_ERROR_RATE] = {"error_rate", "percent", "< 1%", NULL, true},
    /* Renewal begins with a third of 90 days left; the alert about 30 days makes the warning. */
    [CX_CHECK_CERT_EXPIRY] = {"cert_expiry", "seconds", "> 7d", NULL, false},
    /* A full backup a day: one was missed; two were missed. */
    [CX_CHECK_BACKUP_AGE] = {"backup_age", "seconds", "< 26h", "< 50h", false},
};

const char *cx_check_name(cx_check_kind kind)
{
    return kind < CX_CHECKS ? known[kind].name : NULL;
}

const char *cx_check_unit(cx_check_kind kind)
{
    return known[kind].unit;
}

/* ---- the policy */

static bool parse(const char *name, const char *threshold, cx_condition *condition, cx_err *err)
{
    CX_AUTO(cx_free) char *text = cx_format("%s %s", name, threshold);

    return cx_condition_parse(text, condition, err);
}

/* A condition as the policy's document has it; a bare one leaves *condition as it is. */
static bool read_condition(const json_t *json, cx_condition *condition, cx_err *err)
{
    const char *threshold = cx_json_text_or_empty(json, "threshold");

    return threshold[0] == '\0' ||
           parse(cx_json_text_or_empty(json, "name"), threshold, condition, err);
}

static cx_check_kind kind_of(const char *name)
{
    size_t kind = 0;

    while (kind < CX_CHECKS && strcmp(known[kind].name, name) != 0)
        kind++;
    return (cx_check_kind)kind;
}

static bool read_checks(const json_t *groups, cx_health_policy *policy, cx_err *err)
{
    const char *group_name;
    json_t *group, *condition;
    size_t at;

    json_object_foreach ((json_t *)groups, group_name, group) {
        json_array_foreach (json_object_get(group, "conditions"), at, condition) {
            cx_check_kind kind = kind_of(cx_json_text_or_empty(condition, "name"));

            if (kind == CX_CHECKS)
                continue; /* cx-config check names it; here is nothing to measure it by */

            cx_check_rule *rule = &policy->rules[kind];
            json_t *critical = json_object_get(condition, "critical");

            rule->wanted = true;
            /* A threshold of the policy's own makes the built-in line for critical void. */
            if (cx_json_text_or_empty(condition, "threshold")[0] != '\0')
                rule->critical = (cx_condition){0};
            if (!read_condition(condition, &rule->healthy, err) ||
                !read_condition(critical, &rule->critical, err))
                return cx_wrap(err, "%s", group_name);
        }
    }
    return true;
}

static bool read_alerts(const json_t *alerts, const char *severity, cx_health_policy *policy,
                        cx_err *err)
{
    json_t *alert;
    size_t at;

    json_array_foreach (json_object_get(alerts, severity), at, alert) {
        cx_condition condition = {0};
        bool is_critical = strcmp(severity, "critical") == 0;

        if (!read_condition(json_object_get(alert, "parsed_condition"), &condition, err))
            return cx_wrap(err, "alert %s", cx_json_text_or_empty(alert, "name"));
        if (condition.compare == CX_BARE)
            continue;
        if (strcmp(condition.name, "node_unreachable") == 0)
            policy->unreachable_seconds = condition.value;

        cx_check_kind kind = kind_of(condition.name);

        if (kind == CX_CHECKS)
            continue;
        if (is_critical)
            policy->rules[kind].alarm = condition;
        else
            policy->rules[kind].warning = condition;
    }
    return true;
}

bool cx_health_policy_read(const json_t *health, const json_t *alerts, cx_health_policy *policy,
                           cx_err *err)
{
    const json_t *rules = json_object_get(alerts, "alerts");

    *policy = (cx_health_policy){.unreachable_seconds = 60};
    for (size_t i = 0; i < CX_CHECKS; i++) {
        cx_check_rule *rule = &policy->rules[i];

        rule->wanted = !known[i].usual;
        if (known[i].healthy != NULL &&
            !parse(known[i].name, known[i].healthy, &rule->healthy, err))
            return false;
        if (known[i].critical != NULL &&
            !parse(known[i].name, known[i].critical, &rule->critical, err))
            return false;
    }
    return read_checks(json_object_get(health, "health_checks"), policy, err) &&
           read_alerts(rules, "warning", policy, err) &&
           read_alerts(rules, "critical", policy, err);
}

/* ---- a value */

static cx_health weigh(const cx_check_rule *rule, double value, double symbol_value)
{
    bool has_line = rule->critical.compare != CX_BARE || rule->alarm.compare != CX_BARE;
    bool crossed =
        (rule->critical.compare != CX_BARE &&
         !cx_condition_holds(&rule->critical, value, symbol_value)) ||
        (rule->alarm.compare != CX_BARE && cx_condition_holds(&rule->alarm, value, symbol_value));

    if (crossed)
        return CX_HEALTH_CRITICAL;
    if (!cx_condition_holds(&rule->healthy, value, symbol_value))
        return has_line ? CX_HEALTH_WARNING : CX_HEALTH_CRITICAL;
    if (rule->warning.compare != CX_BARE && cx_condition_holds(&rule->warning, value, symbol_value))
        return CX_HEALTH_WARNING;
    return CX_HEALTH_OK;
}

/* Figures as people say them: 12.5%, 3.2 s, 29.5 days. */
static char *spoken(double value, const char *unit)
{
    static const struct {
        double seconds;
        const char *word;
    } scales[] = {{86400, "days"}, {3600, "hours"}, {60, "minutes"}};

    if (strcmp(unit, "percent") == 0)
        return cx_format("%.1f%%", value);
    if (strcmp(unit, "seconds") != 0)
        return cx_format("%.0f", value);
    for (size_t i = 0; i < CX_COUNT(scales); i++)
        if (fabs(value) >= 2 * scales[i].seconds)
            return cx_format("%.1f %s", value / scales[i].seconds, scales[i].word);
    return cx_format("%.3g s", value);
}

/* Counts are integers. */
static json_t *figure_of(double value, const char *unit)
{
    bool is_count = strcmp(unit, "percent") != 0 && strcmp(unit, "seconds") != 0;

    return is_count && fabs(value) < 1e15 ? json_integer((json_int_t)value) : cx_json_figure(value);
}

void cx_judge(const cx_health_policy *policy, cx_judged about, double value, double symbol_value,
              const char *detail, json_t *checks)
{
    const cx_check_rule *rule = &policy->rules[about.kind];
    cx_health health = weigh(rule, value, symbol_value);
    CX_AUTO(cx_free) char *figure = spoken(value, known[about.kind].unit);
    CX_AUTO(cx_buffer_free) cx_buffer message = {0};

    cx_buffer_addf(&message, "%s is %s", known[about.kind].name, figure);
    if (health == CX_HEALTH_OK)
        ;
    else if (!cx_condition_holds(&rule->healthy, value, symbol_value))
        cx_buffer_addf(&message, ", healthy is %s", rule->healthy.threshold);
    else
        cx_buffer_addf(&message, ", there is an alert for %s",
                       health == CX_HEALTH_CRITICAL && rule->alarm.compare != CX_BARE
                           ? rule->alarm.threshold
                           : rule->warning.threshold);
    if (detail != NULL && detail[0] != '\0')
        cx_buffer_addf(&message, " (%s)", detail);
    cx_judge_as(policy, about, figure_of(value, known[about.kind].unit), rule->healthy.threshold,
                health, (const char *)message.data, checks);
}

void cx_judge_as(const cx_health_policy *policy, cx_judged about, json_t *value,
                 const char *threshold, cx_health health, const char *message, json_t *checks)
{
    if (!policy->rules[about.kind].wanted) {
        json_decref(value);
        return;
    }
    json_array_append_new(
        checks,
        json_pack("{s:s, s:o, s:s, s:o, s:s, s:o, s:s, s:o}", "scope", about.scope, "node_id",
                  about.node_id != NULL ? cx_json_text(about.node_id) : json_null(), "name",
                  known[about.kind].name, "value", value != NULL ? value : json_null(), "unit",
                  known[about.kind].unit, "threshold", cx_json_text(threshold), "status",
                  cx_health_word(health), "message", cx_json_text(message)));
}

void cx_judge_unknown(const cx_health_policy *policy, cx_judged about, const char *why,
                      json_t *checks)
{
    CX_AUTO(cx_free) char *message = cx_format("%s: %s", known[about.kind].name, why);

    cx_judge_as(policy, about, NULL, policy->rules[about.kind].healthy.threshold, CX_HEALTH_UNKNOWN,
                message, checks);
}
