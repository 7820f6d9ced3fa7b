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

json_t *cx_policy_read_maintenance(const cx_rules *rules, const cx_conf_node *node,
                                   json_t *document)
{
    json_t *maintenance = json_object();
    cx_rule_map map = cx_rule_enter(rules, node, "maintenance", periods);

    (void)document;
    for (size_t i = 0; periods[i] != NULL; i++)
        cx_rule_put_words(&map, periods[i], "task", tasks, false, maintenance);
    return maintenance;
}
