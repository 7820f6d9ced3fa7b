/* health_checks: three groups of checks, each with its interval. */
#include <string.h>

#include "config/policy_rules.h"

enum { CHECKS_MAX = 100, DAY_MS = 86400000 };

static const struct group {
    const char *name;
    cx_subjects subjects;
    const char *interval;
} groups[] = {
    {"cluster_health", CX_SUBJECT_CLUSTER, "30s"},
    {"node_health", CX_SUBJECT_NODE, "10s"},
    {"agent_health", CX_SUBJECT_AGENT, "60s"},
};

/* `critical: < 95%`, about the same subject as the check. */
static json_t *read_critical(const cx_rule_map *map, const cx_condition *check,
                             cx_subjects subjects)
{
    const cx_conf_node *node = cx_rule_at(map, "critical", false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "critical");
    const char *text = node != NULL ? cx_rule_text_of(map->rules, node, where) : NULL;
    CX_AUTO(cx_free) char *condition_text = NULL;
    cx_condition critical = {0};

    if (text == NULL)
        return json_null();
    condition_text =
        text[0] == '<' || text[0] == '>' ? cx_format("%s %s", check->name, text) : cx_strdup(text);
    if (!cx_rule_condition_of(map->rules, node, where, condition_text, subjects, &critical))
        return json_null();
    if (strcmp(critical.name, check->name) != 0 || critical.compare == CX_BARE)
        cx_rule_blame(map->rules, node, where, NULL, "must be a threshold of %s, as in < 95%%",
                      check->name);
    return cx_condition_to_json(&critical);
}

/* A condition's text, or a map that has it under `check`. Returns what was written. */
static json_t *read_check(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          cx_subjects subjects, json_t *conditions)
{
    static const char *const known[] = {"check", "critical", "interval", "timeout", NULL};
    bool is_map = node->kind == CX_CONF_MAP;
    cx_rule_map map = cx_rule_enter(rules, is_map ? node : NULL, where, known);
    CX_AUTO(cx_free) char *check_where = is_map ? cx_rule_path(&map, "check") : cx_strdup(where);
    const cx_conf_node *check = is_map ? cx_rule_at(&map, "check", true) : node;
    const char *text = check != NULL ? cx_rule_text_of(rules, check, check_where) : NULL;
    cx_condition condition = {0};
    json_t *parsed = NULL;

    if (text == NULL ||
        !cx_rule_condition_of(rules, check, check_where, text, subjects, &condition))
        return json_null();
    parsed = cx_condition_to_json(&condition);
    json_object_set_new(parsed, "critical", read_critical(&map, &condition, subjects));
    cx_rule_put_duration(&map, "interval", NULL, 1000, DAY_MS, parsed);
    cx_rule_put_duration(&map, "timeout", NULL, 100, DAY_MS, parsed);
    json_array_append_new(conditions, parsed);
    return cx_conf_to_json(node);
}

static json_t *read_group(const cx_rule_map *health, const struct group *group)
{
    static const char *const known[] = {"interval", "timeout", "checks", NULL};
    CX_AUTO(cx_free) char *where = cx_rule_path(health, group->name);
    cx_rule_map map =
        cx_rule_enter(health->rules, cx_rule_at(health, group->name, false), where, known);
    const cx_conf_node *list = cx_rule_list(&map, "checks", false);
    json_t *out = json_object();
    json_t *checks = json_array();
    json_t *conditions = json_array();

    cx_rule_put_duration(&map, "interval", group->interval, 1000, DAY_MS, out);
    cx_rule_put_duration(&map, "timeout", "5s", 100, DAY_MS, out);
    json_object_set_new(out, "checks", checks);
    json_object_set_new(out, "conditions", conditions);
    if (list != NULL && list->count > CHECKS_MAX)
        cx_rule_blame(health->rules, list, where, NULL, "more than %d checks", CHECKS_MAX);
    for (size_t i = 0; list != NULL && i < list->count && i < CHECKS_MAX; i++) {
        CX_AUTO(cx_free) char *item = cx_format("%s.checks[%zu]", where, i);

        json_array_append_new(
            checks, read_check(health->rules, &list->items[i], item, group->subjects, conditions));
    }
    return out;
}

json_t *cx_policy_read_health(const cx_rules *rules, const cx_conf_node *node, json_t *document)
{
    const char *known[CX_COUNT(groups) + 1] = {0};
    json_t *health = json_object();

    (void)document;
    for (size_t i = 0; i < CX_COUNT(groups); i++)
        known[i] = groups[i].name;

    cx_rule_map map = cx_rule_enter(rules, node, "health_checks", known);

    for (size_t i = 0; i < CX_COUNT(groups); i++)
        json_object_set_new(health, groups[i].name, read_group(&map, &groups[i]));
    return health;
}
