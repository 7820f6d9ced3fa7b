#include <string.h>

#include "watch.h"

/* --policy takes either policy: its top-level key says which it is. */
static bool is_alerts_file(const char *file)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    cx_err ignored;

    return cx_conf_read(file, &conf, &errors, &ignored) &&
           cx_conf_at(cx_conf_root(conf), "alerts") != NULL;
}

/* What alerts are about is looked at, whether or not health.yaml wants it checked. */
static void want_what_alerts_need(watch_policies *policies)
{
    for (size_t i = 0; i < policies->rules.count; i++) {
        const cx_alert_rule *rule = &policies->rules.items[i];

        if (rule->about == CX_ALERT_OF_SPLIT)
            policies->policy.rules[CX_CHECK_PARTITION].wanted = true;
        for (cx_check_kind kind = 0; kind < CX_CHECKS; kind++)
            if (strcmp(cx_check_name(kind), rule->condition.name) == 0)
                policies->policy.rules[kind].wanted = true;
    }
}

bool watch_policies_load(const watch_self *watch, watch_policies *policies, cx_err *err)
{
    const char *folder = watch->config->policy_dir;
    const char *health = NULL, *alerts = watch->alerts_file;

    *policies = (watch_policies){0};
    for (size_t i = 0; i < watch->policy_files.count; i++)
        if (is_alerts_file(watch->policy_files.items[i]))
            alerts = watch->policy_files.items[i];
        else
            health = watch->policy_files.items[i];
    if (!cx_policy_load("health", health, folder, &policies->health, err) ||
        !cx_policy_load("alerts", alerts, folder, &policies->alerts, err) ||
        !cx_health_policy_read(policies->health, policies->alerts, &policies->policy, err) ||
        !cx_alert_rules_read(policies->alerts, &policies->rules, err)) {
        watch_policies_free(policies);
        return false;
    }
    want_what_alerts_need(policies);
    return true;
}

void watch_policies_free(watch_policies *policies)
{
    cx_alert_rules_free(&policies->rules);
    cx_json_free(&policies->health);
    cx_json_free(&policies->alerts);
}
