/* maintenance: the regular tasks, by how often they are done. */
#include "config/policy_rules.h"

static const char *const periods[] = {"daily", "weekly", "monthly", "quarterly", NULL};

static const char *const tasks[] = {
    "rotate_logs",
    "cleanup_temp_files",
    "verify_backups",
    "compact_database",
    "analyze_performance_trends",
    "review_error_logs",
    "certificate_rotation_check",
    "security_audit",
    "capacity_planning_review",
    "disaster_recovery_drill",
    "upgrade_planning",
    "architecture_review",
    NULL,
};

enum { MINUTE_MS = 60000, DAY_MS = 86400000, COPIES_MAX = 1000 };

static const int64_t year_ms = INT64_C(366) * DAY_MS;

/* When the timers of scripts/schedule go off; month days that every month has. */
static void read_schedule(const cx_rule_map *maintenance, json_t *out)
{
    static const char *const known[] = {"time", "weekday", "day", NULL};
    static const char *const days[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday",    NULL};
    json_t *schedule = json_object();
    cx_rule_map map = cx_rule_enter(maintenance->rules, cx_rule_at(maintenance, "schedule", false),
                                    "maintenance.schedule", known);

    cx_rule_put_time(&map, "time", "04:00", schedule);
    cx_rule_put_word(&map, "weekday", false, "sunday", days, schedule);
    cx_rule_put_count(&map, "day", 1, 1, 28, schedule);
    json_object_set_new(out, "schedule", schedule);
}

static void read_logs(const cx_rule_map *maintenance, json_t *out)
{
    static const char *const known[] = {"max_age", "max_megabytes", "keep", NULL};
    json_t *logs = json_object();
    cx_rule_map map = cx_rule_enter(maintenance->rules, cx_rule_at(maintenance, "logs", false),
                                    "maintenance.logs", known);

    cx_rule_put_duration(&map, "max_age", "1d", MINUTE_MS, year_ms, logs);
    cx_rule_put_count(&map, "max_megabytes", 64, 1, 1024 * 1024, logs);
    cx_rule_put_count(&map, "keep", 14, 1, COPIES_MAX, logs);
    json_object_set_new(out, "logs", logs);
}

static void read_leftovers(const cx_rule_map *maintenance, json_t *out)
{
    static const char *const known[] = {"temp_age", "old_data_age", NULL};
    json_t *leftovers = json_object();
    cx_rule_map map = cx_rule_enter(maintenance->rules, cx_rule_at(maintenance, "leftovers", false),
                                    "maintenance.leftovers", known);

    cx_rule_put_duration(&map, "temp_age", "1d", 0, year_ms, leftovers);
    cx_rule_put_duration(&map, "old_data_age", "30d", 0, year_ms, leftovers);
    json_object_set_new(out, "leftovers", leftovers);
}

static void read_certificates(const cx_rule_map *maintenance, json_t *out)
{
    static const char *const known[] = {"before_expiry", "renew", NULL};
    json_t *certificates = json_object();
    cx_rule_map map =
        cx_rule_enter(maintenance->rules, cx_rule_at(maintenance, "certificates", false),
                      "maintenance.certificates", known);

    cx_rule_put_duration(&map, "before_expiry", "30d", 0, year_ms, certificates);
    cx_rule_put_flag(&map, "renew", true, certificates);
    json_object_set_new(out, "certificates", certificates);
}

/* What a disaster may cost: data of the last `rpo`, and `rto` until a node works again. */
static void read_goals(const cx_rule_map *maintenance, json_t *out)
{
    static const char *const known[] = {"rpo", "rto", NULL};
    json_t *goals = json_object();
    cx_rule_map map = cx_rule_enter(maintenance->rules, cx_rule_at(maintenance, "goals", false),
                                    "maintenance.goals", known);

    cx_rule_put_duration(&map, "rpo", "2h", 1000, year_ms, goals);
    cx_rule_put_duration(&map, "rto", "1h", 1000, year_ms, goals);
    json_object_set_new(out, "goals", goals);
}

json_t *cx_policy_read_maintenance(const cx_rules *rules, const cx_conf_node *node,
                                   json_t *document)
{
    static const char *const known[] = {
        "daily",     "weekly",       "monthly", "quarterly",        "schedule", "logs",
        "leftovers", "certificates", "goals",   "report_retention", NULL};
    json_t *maintenance = json_object();
    cx_rule_map map = cx_rule_enter(rules, node, "maintenance", known);

    (void)document;
    for (size_t i = 0; periods[i] != NULL; i++)
        cx_rule_put_words(&map, periods[i], "task", tasks, false, maintenance);
    read_schedule(&map, maintenance);
    read_logs(&map, maintenance);
    read_leftovers(&map, maintenance);
    read_certificates(&map, maintenance);
    read_goals(&map, maintenance);
    cx_rule_put_duration(&map, "report_retention", "400d", DAY_MS, 10 * year_ms, maintenance);
    return maintenance;
}
