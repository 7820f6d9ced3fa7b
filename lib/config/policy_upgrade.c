/* upgrade_strategy: phases of steps. The steps that a procedure can run are known by name, and each
 * belongs to a kind of phase: what is done to the canary, to every node, to the cluster. */
#include <string.h>

#include "base/time.h"
#include "config/policy_rules.h"

enum { PHASES_MAX = 32, STEPS_MAX = 100, BATCH_MAX = 1000, DAY_MS = 86400000 };

static const char canary_phase[] = "canary_deployment";
static const char rolling_phase[] = "rolling_upgrade";
static const char monitor_prefix[] = "monitor_canary_"; /* monitor_canary_24h */

static const char *const phases[] = {
    "pre_upgrade_validation", canary_phase, rolling_phase, "post_upgrade_validation", NULL,
};
static const char *const cluster_steps[] = {
    "verify_cluster_health",
    "backup_critical_state",
    "verify_version_compatibility",
    "verify_cluster_consistency",
    "run_integration_tests",
    "update_documentation",
    NULL,
};
static const char *const canary_steps[] = {
    "select_canary_node",
    "drain_canary_traffic",
    "upgrade_canary",
    "validate_canary",
    "monitor_canary_24h",
    "verify_cluster_health",
    "backup_critical_state",
    "verify_version_compatibility",
    "verify_cluster_consistency",
    "run_integration_tests",
    NULL,
};
static const char *const node_steps[] = {
    "drain_traffic", "checkpoint_state", "perform_upgrade", "health_check", "restore_traffic", NULL,
};

/* What the steps say once for the whole strategy. */
struct strategy {
    const cx_rules *rules;
    json_t *document;
    const char *monitored; /* the step's duration as written */
    bool has_foreach, has_batch_size, has_batch_delay;
};

/* monitor_canary_30m and its kin; false: some other step. */
static bool take_monitor(struct strategy *strategy, const cx_conf_node *node, const char *where,
                         const char *step)
{
    size_t size = sizeof monitor_prefix - 1;
    int64_t ms = 0;
    cx_err err = {0};

    if (strncmp(step, monitor_prefix, size) != 0)
        return false;
    if (strategy->monitored != NULL)
        cx_rule_blame(strategy->rules, node, where, NULL, "the canary is watched twice");
    strategy->monitored = "0s";
    if (!cx_duration_parse(step + size, &ms, &err))
        cx_rule_blame(strategy->rules, node, where,
                      "monitor_canary_DURATION, as in monitor_canary_24h", "%s", err.message);
    else if (ms > INT64_C(30) * DAY_MS)
        cx_rule_blame(strategy->rules, node, where, NULL, "a canary is watched for at most 30d");
    else
        strategy->monitored = step + size;
    return true;
}

static json_t *read_node_steps(const struct strategy *strategy, const cx_conf_node *list,
                               const char *where)
{
    json_t *steps = json_array();

    if (list->kind != CX_CONF_LIST || list->count == 0 || list->count > STEPS_MAX) {
        cx_rule_blame(strategy->rules, list, where, NULL, "must be a list of 1 to %d steps",
                      STEPS_MAX);
        return steps;
    }
    for (size_t i = 0; i < list->count; i++) {
        CX_AUTO(cx_free) char *item = cx_format("%s[%zu]", where, i);
        const char *step =
            cx_rule_word_of(strategy->rules, &list->items[i], item, "step", node_steps);

        if (step != NULL)
            json_array_append_new(steps, json_string(step));
    }
    return steps;
}

static void once(struct strategy *strategy, const cx_rule_map *map, const char *key, bool *seen)
{
    const cx_conf_node *node = cx_rule_at(map, key, false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, key);

    if (node != NULL && *seen)
        cx_rule_blame(strategy->rules, node, where, "remove one of the two", "%s is there twice",
                      key);
    *seen = *seen || node != NULL;
}

/* `- foreach_node: [...]`, `- batch_size: 1`, `- batch_delay: 5m`, each an item of its own or
 * together in one. */
static json_t *read_group(struct strategy *strategy, const cx_conf_node *node, const char *where)
{
    static const char *const known[] = {"foreach_node", "batch_size", "batch_delay", NULL};
    cx_rule_map map = cx_rule_enter(strategy->rules, node, where, known);
    const cx_conf_node *foreach = cx_rule_at(&map, "foreach_node", false);
    CX_AUTO(cx_free) char *foreach_where = cx_rule_path(&map, "foreach_node");
    json_t *group = json_object();

    once(strategy, &map, "foreach_node", &strategy->has_foreach);
    once(strategy, &map, "batch_size", &strategy->has_batch_size);
    once(strategy, &map, "batch_delay", &strategy->has_batch_delay);
    if (foreach != NULL)
        json_object_set_new(group, "foreach_node",
                            read_node_steps(strategy, foreach, foreach_where));
    cx_rule_put_count(&map, "batch_size", -1, 1, BATCH_MAX, group);
    cx_rule_put_duration(&map, "batch_delay", NULL, 0, 7 * DAY_MS, group);
    json_object_update(strategy->document, group);
    json_object_del(strategy->document, "foreach_node");
    return group;
}

static bool is_node_step(const char *step)
{
    for (size_t i = 0; node_steps[i] != NULL; i++)
        if (strcmp(node_steps[i], step) == 0)
            return true;
    return false;
}

static json_t *read_step(struct strategy *strategy, const char *phase, const cx_conf_node *node,
                         const char *where)
{
    bool is_canary = strcmp(phase, canary_phase) == 0;
    const char *step = NULL;

    if (node->kind == CX_CONF_MAP && strcmp(phase, rolling_phase) == 0)
        return read_group(strategy, node, where);
    if (node->kind == CX_CONF_MAP) {
        cx_rule_blame(strategy->rules, node, where, NULL, "only steps of %s have keys",
                      rolling_phase);
        return json_object();
    }
    if (is_canary && take_monitor(strategy, node, where, node->text))
        return cx_json_text(node->text);
    if (is_node_step(node->text)) {
        cx_rule_blame(strategy->rules, node, where, "put it below foreach_node",
                      "step \"%.64s\" is done to every node", node->text);
        return json_string("");
    }
    step = cx_rule_word_of(strategy->rules, node, where, "step",
                           is_canary ? canary_steps : cluster_steps);
    return cx_json_text(step != NULL ? step : "");
}

static json_t *read_phase(struct strategy *strategy, const cx_conf_node *node, const char *where,
                          cx_list *seen)
{
    static const char *const known[] = {"name", "steps", NULL};
    cx_rule_map map = cx_rule_enter(strategy->rules, node, where, known);
    const cx_conf_node *name_node = cx_rule_at(&map, "name", true);
    CX_AUTO(cx_free) char *name_where = cx_rule_path(&map, "name");
    const char *name =
        name_node != NULL ? cx_rule_word_of(strategy->rules, name_node, name_where, "phase", phases)
                          : NULL;
    const cx_conf_node *list = cx_rule_list(&map, "steps", true);
    json_t *steps = json_array();

    if (name != NULL && cx_list_has(seen, name))
        cx_rule_blame(strategy->rules, name_node, name_where, "remove one of the two",
                      "phase \"%s\" is there twice", name);
    if (name != NULL)
        cx_list_add(seen, name);
    if (list != NULL && list->count > STEPS_MAX)
        cx_rule_blame(strategy->rules, list, where, NULL, "more than %d steps", STEPS_MAX);
    for (size_t i = 0; name != NULL && list != NULL && i < list->count && i < STEPS_MAX; i++) {
        CX_AUTO(cx_free) char *item = cx_format("%s.steps[%zu]", where, i);

        json_array_append_new(steps, read_step(strategy, name, &list->items[i], item));
    }
    return json_pack("{s:s, s:o}", "name", name != NULL ? name : "", "steps", steps);
}

/* What a script asks for without looking for the step that says it. */
static void put_figures(struct strategy *strategy, const cx_rule_map *map, json_t *upgrade)
{
    const char *fallback = strategy->monitored != NULL ? strategy->monitored : "0s";

    cx_rule_put_duration(map, "canary_duration", fallback, 0, INT64_C(30) * DAY_MS, upgrade);
    json_object_set(strategy->document, "canary_duration",
                    json_object_get(upgrade, "canary_duration"));
    json_object_set(strategy->document, "canary_duration_seconds",
                    json_object_get(upgrade, "canary_duration_seconds"));
    if (!strategy->has_batch_size)
        json_object_set_new(strategy->document, "batch_size", json_integer(1));
    if (!strategy->has_batch_delay)
        cx_rule_set_duration(strategy->document, "batch_delay", 0);
}

json_t *cx_policy_read_upgrade(const cx_rules *rules, const cx_conf_node *node, json_t *document)
{
    static const char *const known[] = {"type", "phases", "canary_duration", NULL};
    static const char *const types[] = {"rolling", NULL};
    struct strategy strategy = {.rules = rules, .document = document};
    cx_rule_map map = cx_rule_enter(rules, node, "upgrade_strategy", known);
    const cx_conf_node *list = cx_rule_list(&map, "phases", true);
    json_t *upgrade = json_object();
    json_t *read = json_array();
    CX_AUTO(cx_list_free) cx_list seen = {0};

    cx_rule_put_word(&map, "type", false, "rolling", types, upgrade);
    json_object_set_new(upgrade, "phases", read);
    if (list != NULL && (list->count == 0 || list->count > PHASES_MAX))
        cx_rule_blame(rules, list, "upgrade_strategy.phases", NULL,
                      "there must be from 1 to %d phases", PHASES_MAX);
    for (size_t i = 0; list != NULL && i < list->count && i < PHASES_MAX; i++) {
        CX_AUTO(cx_free) char *where = cx_format("upgrade_strategy.phases[%zu]", i);

        json_array_append_new(read, read_phase(&strategy, &list->items[i], where, &seen));
    }
    put_figures(&strategy, &map, upgrade);
    return upgrade;
}
