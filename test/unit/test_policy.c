#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/policy.h"

/* The findings as "LINE:COLUMN WHERE: MESSAGE" lines. Caller owns. */
static char *check(const char *name, const char *text)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    cx_buffer result = {0};
    cx_err err = {0};

    if (cx_conf_parse(cx_bytes_of(text), "test.yaml", &conf, &errors, &err))
        cx_policy_check_conf(name, conf, &errors);
    cx_buffer_add_text(&result, "");
    for (size_t i = 0; i < errors.count; i++)
        cx_buffer_addf(&result, "%zu:%zu %s: %s\n", errors.items[i].line, errors.items[i].column,
                       errors.items[i].where, errors.items[i].message);
    return cx_buffer_take_text(&result);
}

typedef struct row {
    const char *text;
    const char *findings;
} row;

static void check_rows(const char *name, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CX_AUTO(cx_free) char *result = check(name, rows[i].text);

        if (strcmp(result, rows[i].findings) != 0)
            fail_msg("%s\n%s", rows[i].text, result);
    }
}

#define PHASES "upgrade_strategy:\n  phases:\n"

static void an_upgrade_strategy_has_known_phases_and_steps(void **state)
{
    static const row rows[] = {
        {PHASES "    - {name: canary_deployment, steps: [monitor_canary_30m]}\n", ""},
        {PHASES "    - name: rolling_upgrade\n"
                "      steps: [{foreach_node: [drain_traffic], batch_size: 2, batch_delay: 1m}]\n",
         ""},
        {PHASES "    - {name: canary, steps: []}\n",
         "3:14 upgrade_strategy.phases[0].name: unknown phase \"canary\"\n"},
        {PHASES "    - {name: canary_deployment, steps: [monitor_canary_24x]}\n",
         "3:41 upgrade_strategy.phases[0].steps[0]: '24x' is no duration\n"},
        {PHASES "    - {name: canary_deployment, steps: [upgrade_canry]}\n",
         "3:41 upgrade_strategy.phases[0].steps[0]: unknown step \"upgrade_canry\"\n"},
        {PHASES "    - {name: canary_deployment, steps: [drain_traffic]}\n",
         "3:41 upgrade_strategy.phases[0].steps[0]: step \"drain_traffic\" is done to every "
         "node\n"},
        {PHASES "    - {name: pre_upgrade_validation, steps: [{foreach_node: [health_check]}]}\n",
         "3:46 upgrade_strategy.phases[0].steps[0]: only steps of rolling_upgrade have keys\n"},
        {PHASES "    - name: rolling_upgrade\n"
                "      steps:\n"
                "        - foreach_node: [drain_trafic]\n"
                "        - batch_size: 0\n"
                "        - batch_size: 1\n"
                "        - batch_delay: 5\n"
                "        - batch_delai: 5m\n",
         "5:26 upgrade_strategy.phases[0].steps[0].foreach_node[0]: unknown step \"drain_trafic\"\n"
         "6:23 upgrade_strategy.phases[0].steps[1].batch_size: must be from 1 to 1000\n"
         "7:23 upgrade_strategy.phases[0].steps[2].batch_size: batch_size is there twice\n"
         "8:24 upgrade_strategy.phases[0].steps[3].batch_delay: '5' is no duration\n"
         "9:11 upgrade_strategy.phases[0].steps[4].batch_delai: unknown key \"batch_delai\"\n"},
        {PHASES "    - {name: rolling_upgrade, steps: []}\n"
                "    - {name: rolling_upgrade, steps: []}\n",
         "4:14 upgrade_strategy.phases[1].name: phase \"rolling_upgrade\" is there twice\n"},
        {"upgrade_strategy: {type: blue_green, phases: []}\n",
         "1:26 upgrade_strategy.type: unknown type \"blue_green\"\n"
         "1:46 upgrade_strategy.phases: there must be from 1 to 32 phases\n"},
        {"upgrade_strategy: {}\n", "1:19 upgrade_strategy.phases: \"phases\" is missing\n"},
        {"upgrade_strategy: 5\n", "1:19 upgrade_strategy: must be a group of keys, not a whole "
                                  "number\n"},
        {"upgrade_stratgy: {}\n", "1:1 upgrade_stratgy: unknown key \"upgrade_stratgy\"\n"},
        {"", "1:1 : the top-level key \"upgrade_strategy\" is missing\n"},
        {"[]", "1:1 : must be a group of keys, not a list\n"},
    };

    (void)state;
    check_rows("upgrade", rows, CX_COUNT(rows));
}

#define BACKUP(schedule, destination) \
    "backup:\n  schedule: " schedule "\n  destinations:\n    - " destination "\n"
#define LOCAL "{type: local, path: /b}"
#define DAILY "{full_backup: {frequency: daily}}"

static void a_backup_policy_has_times_places_and_components(void **state)
{
    static const row rows[] = {
        {BACKUP(DAILY, LOCAL), ""},
        {BACKUP("{full_backup: {frequency: weekly, day: friday, time: 23:59}}", LOCAL), ""},
        {BACKUP("{full_backup: {frequency: monthly, day: 28}}", LOCAL), ""},
        {BACKUP("{full_backup: }", LOCAL), ""},
        {BACKUP(DAILY, "{type: s3, bucket: abc, endpoint: 'http://127.0.0.1:1', prefix: a/b}"), ""},
        {BACKUP("{full_backup: {time: 24:00}}", LOCAL),
         "2:34 backup.schedule.full_backup.time: \"24:00\" is no time of day\n"},
        {BACKUP("{full_backup: {time: 7:30}}", LOCAL),
         "2:34 backup.schedule.full_backup.time: \"7:30\" is no time of day\n"},
        {BACKUP("{full_backup: {time: 07:60}}", LOCAL),
         "2:34 backup.schedule.full_backup.time: \"07:60\" is no time of day\n"},
        {BACKUP("{full_backup: {retention: 30}}", LOCAL),
         "2:39 backup.schedule.full_backup.retention: '30' is no duration\n"},
        {BACKUP("{full_backup: {retention: 5m}}", LOCAL),
         "2:39 backup.schedule.full_backup.retention: must be from 1h to 3660d\n"},
        {BACKUP("{full_backup: {frequency: dayly}}", LOCAL),
         "2:39 backup.schedule.full_backup.frequency: unknown frequency \"dayly\"\n"},
        {BACKUP("{full_backup: {frequency: hourly, time: 02:00}}", LOCAL),
         "2:53 backup.schedule.full_backup.time: an hourly backup takes no time\n"},
        {BACKUP("{full_backup: {frequency: daily, day: friday}}", LOCAL),
         "2:51 backup.schedule.full_backup.day: a backup that is daily takes no day\n"},
        {BACKUP("{full_backup: {frequency: monthly, day: 31}}", LOCAL),
         "2:53 backup.schedule.full_backup.day: must be from 1 to 28\n"},
        {BACKUP("{full: {}}", LOCAL),
         "2:13 backup.schedule: neither full_backup nor incremental_backup is there\n"
         "2:14 backup.schedule.full: unknown key \"full\"\n"},
        {BACKUP(DAILY, "{type: local, path: b}"),
         "4:27 backup.destinations[0].path: \"b\" is no absolute path\n"},
        {BACKUP(DAILY, "{type: local, bucket: b}"),
         "4:7 backup.destinations[0].path: \"path\" is missing\n"
         "4:21 backup.destinations[0].bucket: unknown key \"bucket\"\n"},
        {BACKUP(DAILY, "{type: s3, bucket: Caxton}"),
         "4:26 backup.destinations[0].bucket: \"Caxton\" is no bucket's name\n"},
        {BACKUP(DAILY, "{type: s3, bucket: abc, endpoint: 'ftp://h'}"),
         "4:41 backup.destinations[0].endpoint: \"ftp://h\" is no URL\n"},
        {BACKUP(DAILY, "{type: s3, bucket: abc, endpoint: 'http://h/?a&b'}"),
         "4:41 backup.destinations[0].endpoint: \"http://h/?a&b\" has a character that is not "
         "allowed\n"},
        {BACKUP(DAILY, "{type: s3, bucket: abc, prefix: 'a b'}"),
         "4:39 backup.destinations[0].prefix: \"a b\" has a character that is not allowed\n"},
        {BACKUP(DAILY, "{type: s3, bucket: abc, path_style: yes}"),
         "4:43 backup.destinations[0].path_style: must be true or false, not text\n"},
        {BACKUP(DAILY, "{path: /b}"), "4:7 backup.destinations[0].type: \"type\" is missing\n"},
        {BACKUP(DAILY, "text"), "4:7 backup.destinations[0]: must be a group of keys, not text\n"},
        {"backup: {schedule: {full_backup: {}}, destinations: [], components: []}\n",
         "1:53 backup.destinations: there must be from 1 to 16 destinations\n"
         "1:57 backup.components: there must be at least one component\n"},
        {BACKUP(DAILY, LOCAL) "  components: [agent_stat, agent_state, agent_state]\n",
         "5:16 backup.components[0]: unknown component \"agent_stat\"\n"
         "5:41 backup.components[2]: component \"agent_state\" is there twice\n"},
    };

    (void)state;
    check_rows("backup", rows, CX_COUNT(rows));
}

#define NODE(check) "health_checks:\n  node_health:\n    checks:\n      - " check "\n"

static void a_check_has_a_threshold_in_its_own_unit(void **state)
{
    static const row rows[] = {
        {NODE("cpu_usage < 80%"), ""},
        {NODE("agent_count < max_agents"), ""},
        {NODE("cert_expiry > 30d"), ""},
        {NODE("{check: cpu_usage < 80%, critical: < 95%, interval: 1m, timeout: 2s}"), ""},
        {NODE("cpu_usage < 80s"),
         "4:9 health_checks.node_health.checks[0]: cpu_usage is measured in percent, as in 80%\n"},
        {NODE("cpu_usage < 80"),
         "4:9 health_checks.node_health.checks[0]: cpu_usage is measured in percent, as in 80%\n"},
        {NODE("cpu_usage < max_agents"),
         "4:9 health_checks.node_health.checks[0]: cpu_usage is measured in percent, as in 80%\n"},
        {NODE("cert_expiry > 30%"),
         "4:9 health_checks.node_health.checks[0]: cert_expiry is measured in time, as in 60s or "
         "30d\n"},
        {NODE("agent_count < 5s"),
         "4:9 health_checks.node_health.checks[0]: agent_count is a plain number without a unit\n"},
        {NODE("agent_count < max_agent"),
         "4:9 health_checks.node_health.checks[0]: unknown value \"max_agent\"\n"},
        {NODE("cpu_usag < 80%"), "4:9 health_checks.node_health.checks[0]: unknown check "
                                 "\"cpu_usag\"\n"},
        {NODE("error_rate < 1%"), "4:9 health_checks.node_health.checks[0]: \"error_rate\" does "
                                  "not belong to this group\n"},
        {NODE("cpu_usage 80%"), "4:9 health_checks.node_health.checks[0]: \"cpu_usage 80%\": < <= "
                                "> or >= is missing after cpu_usage\n"},
        {NODE("{check: cpu_usage < 80%, critical: memory_usage < 95%}"),
         "4:44 health_checks.node_health.checks[0].critical: must be a threshold of cpu_usage, as "
         "in < 95%\n"},
        {NODE("{critical: < 95%}"), "4:9 health_checks.node_health.checks[0].check: \"check\" is "
                                    "missing\n"},
        {NODE("[a]"), "4:9 health_checks.node_health.checks[0]: must be text, not a list\n"},
        {"health_checks: {node_health: {interval: 10}}\n",
         "1:41 health_checks.node_health.interval: '10' is no duration\n"},
        {"health_checks: {node_helth: {}}\n",
         "1:17 health_checks.node_helth: unknown key \"node_helth\"\n"},
        {"health_checks: {cluster_health: {checks: [partition_detection < 5]}}\n",
         "1:43 health_checks.cluster_health.checks[0]: partition_detection is true or false and "
         "takes no threshold\n"},
    };

    (void)state;
    check_rows("health", rows, CX_COUNT(rows));
}

#define ALERT(keys) "alerts:\n  critical:\n    - {name: a, " keys "}\n"

static void an_alert_has_a_condition_and_a_known_action(void **state)
{
    static const row rows[] = {
        {ALERT("condition: partition_detected, action: page_oncall"), ""},
        {ALERT("condition: error_rate > 5%, for: 5m, action: [page_oncall, send_alert]"), ""},
        {ALERT("condition: error_rate > 5%, action: mine") "  actions:\n    mine: {type: log}\n",
         ""},
        {ALERT("condition: error_rate > 5, action: page_oncall"),
         "3:28 alerts.critical[0].condition: error_rate is measured in percent, as in 80%\n"},
        {ALERT("condition: error_rat > 5%, action: page_oncall"),
         "3:28 alerts.critical[0].condition: unknown check \"error_rat\"\n"},
        {ALERT("condition: error_rate > 5%, action: page_oncal"),
         "3:53 alerts.critical[0].action: unknown action \"page_oncal\"\n"},
        {ALERT("condition: error_rate > 5%"),
         "3:7 alerts.critical[0].action: \"action\" is missing\n"},
        {ALERT("action: page_oncall"),
         "3:7 alerts.critical[0].condition: \"condition\" is missing\n"},
        {ALERT("condition: partition_detected, action: page_oncall, duration: 5"),
         "3:79 alerts.critical[0].duration: '5' is no duration\n"},
        {ALERT("condition: partition_detected, action: page_oncall, duration: 5m, for: 5m"),
         "3:88 alerts.critical[0].for: give either duration or for\n"},
        {ALERT(
             "condition: partition_detected, action: page_oncall") "  warning:\n    - {name: a, "
                                                                   "condition: partition_detected, "
                                                                   "action: send_alert}\n",
         "5:14 alerts.warning[0].name: alert \"a\" is there twice\n"},
        {"alerts: {critcal: []}\n", "1:10 alerts.critcal: unknown key \"critcal\"\n"},
        {"alerts: {actions: {x: {type: exec}}}\n",
         "1:23 alerts.actions.x.command: \"command\" is missing\n"},
        {"alerts: {actions: {x: {type: exec, command: 'page me'}}}\n",
         "1:45 alerts.actions.x.command: \"page me\" is no absolute path of a program\n"},
        {"alerts: {actions: {x: {type: exec, command: [/bin/true, 5], url: x}}}\n",
         "1:61 alerts.actions.x.url: unknown key \"url\"\n"},
        {"alerts: {actions: {x: {type: exce}}}\n",
         "1:30 alerts.actions.x.type: unknown type \"exce\"\n"},
        {"alerts: {actions: {x: {url: y}}}\n", "1:23 alerts.actions.x.type: \"type\" is missing\n"},
        {"alerts: {actions: {x: {type: slack, url_file: /s, timeout: 5}}}\n",
         "1:60 alerts.actions.x.timeout: '5' is no duration\n"},
        {"alerts: {actions: {x: {type: webhook, url: 'https://u:p@h/'}}}\n",
         "1:44 alerts.actions.x.url: a URL without user, spaces, quotes and fragment is wanted\n"},
        {"alerts: {actions: {x: {type: smtp, server: h, from: \"a@b\\r\\nBcc: x@y\", to: "
         "[c@d]}}}\n",
         "1:53 alerts.actions.x.from: \"a@b??Bcc: x@y\" is no mail address\n"},
        {"alerts: {actions: {x: {type: smtp, server: h, from: a@b, to: [c@d, Ops <e@f>]}}}\n",
         "1:68 alerts.actions.x.to: \"Ops <e@f>\" is no mail address\n"},
        {"alerts: {actions: {x: {type: smtp, server: h, from: a@b, to: []}}}\n",
         "1:62 alerts.actions.x.to: there must be at least one address\n"},
        {"alerts: {actions: [x]}\n",
         "1:19 alerts.actions: must be a group of at most 50 actions\n"},
    };

    (void)state;
    check_rows("alerts", rows, CX_COUNT(rows));
}

static void maintenance_has_known_tasks(void **state)
{
    static const row rows[] = {
        {"maintenance: {daily: [rotate_logs], quarterly: [architecture_review]}\n", ""},
        {"maintenance: {daily: }\n", ""},
        {"maintenance: {daily: [rotate_log]}\n",
         "1:23 maintenance.daily[0]: unknown task \"rotate_log\"\n"},
        {"maintenance: {goals: {rpo: 0s, rtp: 1h}, logs: {keep: 0}}\n",
         "1:28 maintenance.goals.rpo: must be from 1s to 366d\n"
         "1:32 maintenance.goals.rtp: unknown key \"rtp\"\n"
         "1:55 maintenance.logs.keep: must be from 1 to 1000\n"},
        {"maintenance: {dayly: []}\n", "1:15 maintenance.dayly: unknown key \"dayly\"\n"},
        {"maintenance: {daily: rotate_logs}\n",
         "1:22 maintenance.daily: must be a list, not text\n"},
        {"maintenance: {daily: [{rotate_logs: 1}]}\n",
         "1:23 maintenance.daily[0]: must be text, not a group of keys\n"},
    };

    (void)state;
    check_rows("maintenance", rows, CX_COUNT(rows));
}

static void a_document_is_what_its_top_level_key_says(void **state)
{
    CX_AUTO(cx_free) char *policy = check(NULL, "maintenance: {daily: [x]}\n");
    CX_AUTO(cx_free) char *config = check(NULL, "cluster: [x]\n");

    (void)state;
    assert_string_equal(policy, "1:23 maintenance.daily[0]: unknown task \"x\"\n");
    assert_string_equal(config, "1:10 cluster: must be a name, not a list\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upgrade_strategy_has_known_phases_and_steps),
        cmocka_unit_test(a_backup_policy_has_times_places_and_components),
        cmocka_unit_test(a_check_has_a_threshold_in_its_own_unit),
        cmocka_unit_test(an_alert_has_a_condition_and_a_known_action),
        cmocka_unit_test(maintenance_has_known_tasks),
        cmocka_unit_test(a_document_is_what_its_top_level_key_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
