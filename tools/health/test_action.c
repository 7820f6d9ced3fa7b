#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "config/config.h"
#include "health/action.h"
#include "watch.h"

struct test_options {
    const char *alerts;
};

static const cx_option options[] = {
    {"alerts", CX_TEXT(struct test_options, alerts), "FILE", NULL,
     "actions from this file instead of policies/alerts.yaml"},
    {0},
};

static json_t *test_notice(const cx_config *config, const char *status)
{
    char key[CX_ALERT_KEY_SIZE], ulid[CX_ULID_SIZE];
    int64_t wall_ms = cx_wall_ms();

    cx_alert_key(config->cluster, "test", config->node_id, key);
    cx_ulid(wall_ms, ulid);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:n, s:s, s:s, s:s, s:s, "
                     "s:[], s:b}",
                     "id", ulid, "key", key, "name", "test", "severity", "info", "status", status,
                     "subject", config->node_id, "cluster", config->cluster, "watcher",
                     config->node_id, "since", cx_json_time(wall_ms), "at", cx_json_time(wall_ms),
                     "value", "unit", "", "message", "this is a test of cx-health test-action",
                     "description", "", "runbook", "", "actions", "again", 0);
}

static bool find_action(const json_t *policy, const char *name, const json_t **definition,
                        cx_err *err)
{
    json_t *actions = json_object_get(json_object_get(policy, "alerts"), "actions");
    CX_AUTO(cx_buffer_free) cx_buffer names = {0};
    const char *known;
    json_t *unused;

    *definition = json_object_get(actions, name);
    if (*definition != NULL)
        return true;
    json_object_foreach (actions, known, unused)
        cx_buffer_addf(&names, "%s%s", names.size > 0 ? ", " : "", known);
    cx_fail(err, CX_NOT_FOUND, "no action is named \"%.64s\"", name);
    return cx_hint(err, "there are: %s", names.size > 0 ? (const char *)names.data : "none");
}

static bool send_test(const cx_run *run, const cx_config *config, const char *name,
                      const json_t *definition, const char *status, cx_action_outcome *outcome,
                      cx_err *err)
{
    cx_log log = {.program = run->program, .level = CX_INFO, .fd = 2};
    CX_AUTO(cx_json_free) json_t *notices = json_array();

    json_array_append_new(notices, test_notice(config, status));
    return cx_action_send(name, definition, notices, &log, outcome, err);
}

static bool test_action(cx_run *run, const void *parsed, cx_err *err)
{
    const struct test_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    const char *name = run->args[0];
    const json_t *definition = NULL;
    cx_action_outcome outcome = {0};

    if (!cx_config_load(run->config_path, run->config_is_default, &config, err) ||
        !cx_policy_load("alerts", option->alerts, config->policy_dir, &policy, err) ||
        !find_action(policy, name, &definition, err))
        return false;

    bool resolves = json_is_true(json_object_get(definition, "send_resolved"));
    int64_t started_ms = cx_now_ms();

    if (!run->dry_run &&
        (!send_test(run, config, name, definition, "firing", &outcome, err) ||
         (resolves && !send_test(run, config, name, definition, "resolved", &outcome, err))))
        return false;
    document = json_pack(
        "{s:b, s:o, s:s, s:b, s:s, s:o, s:o, s:o}", "changed", !run->dry_run, "action",
        cx_json_text(name), "type", cx_json_text_or_empty(definition, "type"), "resolved",
        resolves && !run->dry_run, "source", cx_json_text_or_empty(policy, "source"),
        "receiver_status", outcome.status > 0 ? json_integer(outcome.status) : json_null(),
        "refused", cx_json_text_or_null(outcome.refused), "duration_ms",
        json_integer((json_int_t)(cx_now_ms() - started_ms)));
    run->answer_no = outcome.refused[0] != '\0';
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    return cx_emit(run, document, err);
}

const cx_command health_test_action = {
    .name = "test-action",
    .arguments = "NAME",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "send a test by an action of the alerts policy, and take it back",
    .description =
        "Sends an alert named `test` about this node by the action NAME of alerts.actions, and "
        "then "
        "that it is resolved (unless send_resolved is false), once each, with the action's "
        "time-out. An action of type log writes to stderr. When a mail was not taken for one of "
        "its "
        "recipients, `refused` says why, and the exit status is 1.",
    .options = options,
    .options_size = sizeof(struct test_options),
    .changes = true,
    .run = test_action,
};
