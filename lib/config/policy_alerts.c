/* alerts: who is told what, by severity, and what an action's name stands for. */
#include <string.h>

#include "base/text.h"
#include "config/policy_rules.h"

enum { ALERTS_MAX = 200, ACTIONS_MAX = 50, ARGUMENTS_MAX = 64, DAY_MS = 86400000 };

static const char *const severities[] = {"critical", "warning", "info", NULL};

/* Names that the operators' policy uses without defining them: they log until somebody does. */
static const char *const built_in_actions[] = {"page_oncall", "send_alert", NULL};

/* ---- definitions of actions */

/* A program and its arguments: a list, or the program alone. No shell. */
static void put_command(const cx_rule_map *map, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, "command", true);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "command");
    json_t *command = json_array();

    json_object_set_new(out, "command", command);
    if (node == NULL)
        return;
    if (node->kind == CX_CONF_LIST && (node->count == 0 || node->count > ARGUMENTS_MAX)) {
        cx_rule_blame(map->rules, node, where, NULL, "must have from 1 to %d words", ARGUMENTS_MAX);
        return;
    }
    for (size_t i = 0; i < (node->kind == CX_CONF_LIST ? node->count : 1); i++) {
        const cx_conf_node *word = node->kind == CX_CONF_LIST ? &node->items[i] : node;
        const char *text = cx_rule_text_of(map->rules, word, where);

        if (i == 0 && text != NULL && text[0] != '/')
            cx_rule_blame(map->rules, word, where, "begin with /; arguments are items of a list",
                          "\"%.64s\" is no absolute path of a program", text);
        json_array_append_new(command, cx_json_text(text != NULL ? text : ""));
    }
}

static void read_exec(const cx_rule_map *map, json_t *out)
{
    put_command(map, out);
}

static void read_webhook(const cx_rule_map *map, json_t *out)
{
    bool from_file = cx_rule_at(map, "url_file", false) != NULL;

    cx_rule_put_path(map, "url_file", false, out);
    cx_rule_put_url(map, "url", !from_file, out);
    cx_rule_put_path(map, "token_file", false, out);
}

/* The URL of a Slack webhook is a secret, so it is read from a file. */
static void read_slack(const cx_rule_map *map, json_t *out)
{
    cx_rule_put_path(map, "url_file", true, out);
    cx_rule_put_text(map, "channel", false, NULL, out);
}

static void read_pagerduty(const cx_rule_map *map, json_t *out)
{
    cx_rule_put_path(map, "routing_key_file", true, out);
    cx_rule_put_url(map, "url", false, out);
    if (json_object_get(out, "url") == NULL)
        json_object_set_new(out, "url", json_string("https://events.pagerduty.com/v2/enqueue"));
}

static void read_alertmanager(const cx_rule_map *map, json_t *out)
{
    cx_rule_put_url(map, "url", true, out);
    cx_rule_put_path(map, "token_file", false, out);
}

/* Blamed here, and not when somebody is to be paged. */
static void check_address(const cx_rule_map *map, const cx_conf_node *node, const char *where,
                          const char *address)
{
    if (!cx_is_mail_address(address))
        cx_rule_blame(map->rules, node, where, "as in ops@example.org, the address alone",
                      "\"%.64s\" is no mail address", address);
}

static void read_smtp(const cx_rule_map *map, json_t *out)
{
    static const char *const modes[] = {"starttls", "tls", "none", NULL};
    const cx_conf_node *list = cx_rule_list(map, "to", true);
    const cx_conf_node *from = cx_rule_at(map, "from", false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "to");
    CX_AUTO(cx_free) char *from_where = cx_rule_path(map, "from");
    json_t *to = json_array();

    cx_rule_put_text(map, "server", true, NULL, out);
    cx_rule_put_text(map, "from", true, NULL, out);
    if (from != NULL && json_object_get(out, "from") != NULL)
        check_address(map, from, from_where, cx_json_text_or_empty(out, "from"));
    cx_rule_put_word(map, "tls", false, "starttls", modes, out);
    cx_rule_put_text(map, "username", false, NULL, out);
    cx_rule_put_path(map, "password_file", false, out);
    json_object_set_new(out, "to", to);
    for (size_t i = 0; list != NULL && i < list->count && i < ARGUMENTS_MAX; i++) {
        const char *address = cx_rule_text_of(map->rules, &list->items[i], where);

        if (address == NULL)
            continue;
        check_address(map, &list->items[i], where, address);
        json_array_append_new(to, cx_json_text(address));
    }
    if (list != NULL && list->count > ARGUMENTS_MAX)
        cx_rule_blame(map->rules, list, where, NULL, "more than %d addresses", ARGUMENTS_MAX);
    if (list != NULL && list->count == 0)
        cx_rule_blame(map->rules, list, where, NULL, "there must be at least one address");
}

static void read_log(const cx_rule_map *map, json_t *out)
{
    (void)map;
    (void)out;
}

#define COMMON_KEYS "type", "timeout", "retries", "send_resolved"

static const struct action_type {
    const char *name;
    void (*read)(const cx_rule_map *map, json_t *out);
    const char *const keys[12];
} action_types[] = {
    {"log", read_log, {COMMON_KEYS}},
    {"exec", read_exec, {COMMON_KEYS, "command"}},
    {"webhook", read_webhook, {COMMON_KEYS, "url", "url_file", "token_file"}},
    {"slack", read_slack, {COMMON_KEYS, "url_file", "channel"}},
    {"pagerduty", read_pagerduty, {COMMON_KEYS, "routing_key_file", "url"}},
    {"alertmanager", read_alertmanager, {COMMON_KEYS, "url", "token_file"}},
    {"smtp", read_smtp, {COMMON_KEYS, "server", "from", "to", "tls", "username", "password_file"}},
};

static const struct action_type *find_type(const char *name)
{
    for (size_t i = 0; i < CX_COUNT(action_types); i++)
        if (strcmp(action_types[i].name, name) == 0)
            return &action_types[i];
    return NULL;
}

static json_t *read_action(const cx_rules *rules, const cx_conf_node *node, const char *where)
{
    static const char *const any_keys[] = {"type", NULL};
    const char *names[CX_COUNT(action_types) + 1] = {0};
    const cx_conf_node *type_node = cx_conf_at(node, "type");
    const struct action_type *type = type_node != NULL ? find_type(type_node->text) : NULL;
    json_t *action = json_object();

    for (size_t i = 0; i < CX_COUNT(action_types); i++)
        names[i] = action_types[i].name;
    if (type == NULL) { /* no word about other keys: which are right depends on the type */
        cx_rule_map map = {.rules = rules, .node = node, .where = where};

        if (node->kind != CX_CONF_MAP)
            map = cx_rule_enter(rules, node, where, any_keys);
        cx_rule_put_word(&map, "type", true, NULL, names, action);
        return action;
    }

    cx_rule_map map = cx_rule_enter(rules, node, where, type->keys);

    json_object_set_new(action, "type", json_string(type->name));
    type->read(&map, action);
    cx_rule_put_duration(&map, "timeout", "10s", 100, DAY_MS, action);
    cx_rule_put_count(&map, "retries", 3, 0, 100, action);
    cx_rule_put_flag(&map, "send_resolved", true, action);
    return action;
}

static json_t *read_actions(const cx_rule_map *alerts)
{
    const cx_conf_node *node = cx_rule_at(alerts, "actions", false);
    json_t *actions = json_object();

    for (size_t i = 0; built_in_actions[i] != NULL; i++)
        json_object_set_new(actions, built_in_actions[i],
                            json_pack("{s:s, s:s, s:i, s:i, s:b}", "type", "log", "timeout", "10s",
                                      "timeout_seconds", 10, "retries", 3, "send_resolved", 1));
    if (node != NULL && (node->kind != CX_CONF_MAP || node->count > ACTIONS_MAX)) {
        cx_rule_blame(alerts->rules, node, "alerts.actions", NULL,
                      "must be a group of at most %d actions", ACTIONS_MAX);
        return actions;
    }
    for (size_t i = 0; node != NULL && i < node->count; i++) {
        CX_AUTO(cx_free) char *where = cx_format("alerts.actions.%s", node->keys[i].name);
        cx_err err = {0};

        if (!cx_check_id("action", node->keys[i].name, &err))
            cx_rule_blame(alerts->rules, &node->items[i], where, err.hint, "%s", err.message);
        json_object_set_new(actions, node->keys[i].name,
                            read_action(alerts->rules, &node->items[i], where));
    }
    return actions;
}

/* ---- alerts */

static void check_action(const cx_rules *rules, const cx_conf_node *node, const char *where,
                         const json_t *defined, json_t *names)
{
    const char *known[ACTIONS_MAX + CX_COUNT(built_in_actions) + 1] = {0};
    const char *text = cx_rule_text_of(rules, node, where);
    size_t count = 0;
    const char *name = NULL;
    json_t *unused = NULL;

    if (text == NULL)
        return;
    if (json_object_get(defined, text) != NULL) {
        json_array_append_new(names, cx_json_text(text));
        return;
    }
    json_object_foreach ((json_t *)defined, name, unused)
        if (count < CX_COUNT(known) - 1)
            known[count++] = name;

    const char *nearest = cx_nearest(text, known, count);
    CX_AUTO(cx_free)
    char *hint = nearest != NULL ? cx_format("did you mean \"%s\"?", nearest)
                                 : cx_strdup("define it under alerts.actions");

    cx_rule_blame(rules, node, where, hint, "unknown action \"%.64s\"", text);
}

/* One name or a list of them; the list is put under `actions`, what was written under `action`. */
static void put_actions(const cx_rule_map *map, const json_t *defined, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, "action", true);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "action");
    json_t *names = json_array();

    json_object_set_new(out, "actions", names);
    if (node == NULL)
        return;
    json_object_set_new(out, "action", cx_conf_to_json(node));
    if (node->kind != CX_CONF_LIST)
        check_action(map->rules, node, where, defined, names);
    for (size_t i = 0; node->kind == CX_CONF_LIST && i < node->count; i++)
        check_action(map->rules, &node->items[i], where, defined, names);
}

static void put_condition(const cx_rule_map *map, json_t *out)
{
    const cx_conf_node *node = cx_rule_at(map, "condition", true);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "condition");
    const char *text = node != NULL ? cx_rule_text_of(map->rules, node, where) : NULL;
    cx_condition condition = {0};

    if (text == NULL ||
        !cx_rule_condition_of(map->rules, node, where, text, CX_SUBJECT_ANY, &condition))
        return;
    json_object_set_new(out, "condition", cx_json_text(text));
    json_object_set_new(out, "parsed_condition", cx_condition_to_json(&condition));
}

/* `duration` and Prometheus' word for it, `for`, are the same. */
static void put_duration(const cx_rule_map *map, json_t *out)
{
    const cx_conf_node *other = cx_rule_at(map, "for", false);
    CX_AUTO(cx_free) char *where = cx_rule_path(map, "for");

    if (other != NULL && cx_rule_at(map, "duration", false) != NULL) {
        cx_rule_blame(map->rules, other, where, "they are the same", "give either duration or for");
        return;
    }
    if (other == NULL) {
        cx_rule_put_duration(map, "duration", "0s", 0, 30 * INT64_C(86400000), out);
        return;
    }
    cx_rule_put_duration(map, "for", "0s", 0, 30 * INT64_C(86400000), out);
    json_object_set(out, "duration", json_object_get(out, "for"));
    json_object_set(out, "duration_seconds", json_object_get(out, "for_seconds"));
}

static json_t *read_alert(const cx_rules *rules, const cx_conf_node *node, const char *where,
                          const json_t *actions, cx_list *seen)
{
    static const char *const known[] = {"name",        "condition", "duration", "for", "action",
                                        "description", "runbook",   "repeat",   NULL};
    cx_rule_map map = cx_rule_enter(rules, node, where, known);
    const cx_conf_node *name_node = NULL;
    CX_AUTO(cx_free) char *name_where = cx_rule_path(&map, "name");
    json_t *alert = json_object();
    const char *name = NULL;
    cx_err err = {0};

    cx_rule_put_text(&map, "name", true, NULL, alert);
    name = cx_json_text_or_empty(alert, "name");
    name_node = cx_conf_at(map.node, "name");
    if (name_node != NULL && !cx_check_id("alert", name, &err))
        cx_rule_blame(rules, name_node, name_where, err.hint, "%s", err.message);
    if (name_node != NULL && cx_list_has(seen, name))
        cx_rule_blame(rules, name_node, name_where, "remove one of the two",
                      "alert \"%s\" is there twice", name);
    cx_list_add(seen, name);
    put_condition(&map, alert);
    put_duration(&map, alert);
    put_actions(&map, actions, alert);
    cx_rule_put_text(&map, "description", false, NULL, alert);
    cx_rule_put_text(&map, "runbook", false, NULL, alert);
    cx_rule_put_duration(&map, "repeat", NULL, 60000, 30 * INT64_C(86400000), alert);
    return alert;
}

static json_t *read_severity(const cx_rule_map *alerts, const char *severity, const json_t *actions,
                             cx_list *seen)
{
    const cx_conf_node *list = cx_rule_list(alerts, severity, false);
    json_t *out = json_array();

    if (list != NULL && list->count > ALERTS_MAX)
        cx_rule_blame(alerts->rules, list, severity, NULL, "more than %d alerts", ALERTS_MAX);
    for (size_t i = 0; list != NULL && i < list->count && i < ALERTS_MAX; i++) {
        CX_AUTO(cx_free) char *where = cx_format("alerts.%s[%zu]", severity, i);

        json_array_append_new(out,
                              read_alert(alerts->rules, &list->items[i], where, actions, seen));
    }
    return out;
}

json_t *cx_policy_read_alerts(const cx_rules *rules, const cx_conf_node *node, json_t *document)
{
    static const char *const known[] = {"critical", "warning", "info", "actions", NULL};
    cx_rule_map map = cx_rule_enter(rules, node, "alerts", known);
    json_t *actions = read_actions(&map);
    json_t *alerts = json_object();
    CX_AUTO(cx_list_free) cx_list seen = {0};

    (void)document;
    for (size_t i = 0; severities[i] != NULL; i++)
        json_object_set_new(alerts, severities[i],
                            read_severity(&map, severities[i], actions, &seen));
    json_object_set_new(alerts, "actions", actions);
    return alerts;
}
