#include <string.h>

#include "base/time.h"
#include "health.h"
#include "health/print.h"

enum { CALL_MS = 5000 };

const cx_option health_option_table[] = {
    CX_TARGET_OPTIONS(health_options, target),
    {"policy", CX_TEXT(health_options, policy), "FILE", NULL,
     "thresholds from this file instead of policies/health.yaml"},
    {"alerts", CX_TEXT(health_options, alerts), "FILE", NULL,
     "warnings from this file instead of policies/alerts.yaml"},
    {"settle", CX_DURATION(health_options, settle_ms), "DUR", "2s",
     "members may differ in their view of the cluster for this long"},
    {"nagios", CX_FLAG(health_options, nagios), NULL, NULL, "a Nagios plugin's lines and statuses"},
    {"prometheus", CX_FLAG(health_options, prometheus), NULL, NULL, "Prometheus text"},
    {0},
};

/* All that is known, for one run. */
struct session {
    cx_config *config;
    cx_api *api;
    cx_health_policy policy;
    health_session ask;
    json_t *checks;
};

static void session_close(struct session *session)
{
    cx_json_free(&session->checks);
    cx_api_close(&session->api);
    cx_config_free(&session->config);
}

static bool load_policy(struct session *session, const health_options *options, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *health = NULL;
    CX_AUTO(cx_json_free) json_t *alerts = NULL;
    const char *folder = session->config->policy_dir;

    return cx_policy_load("health", options->policy, folder, &health, err) &&
           cx_policy_load("alerts", options->alerts, folder, &alerts, err) &&
           cx_health_policy_read(health, alerts, &session->policy, err);
}

/* ---- which nodes */

/* --all here means every member that should be there. */
static bool members(struct session *session, cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    int64_t left_ms = session->ask.deadline_ms - cx_now_ms();

    if (!cx_api_cluster(session->api, left_ms > 1 ? left_ms : 1, &cluster, err))
        return false;
    health_members(cluster, nodes);
    return nodes->count > 0 || cx_fail(err, CX_UNAVAILABLE, "no member has a node API");
}

static bool find_nodes(struct session *session, const cx_run *run, const health_options *options,
                       cx_api_nodes *nodes, cx_err *err)
{
    bool from_stdin = run->arg_count == 1 && strcmp(run->args[0], "-") == 0;

    if (run->arg_count > 0 && !from_stdin) {
        if (options->target.node != NULL || options->target.all)
            return cx_fail(err, CX_USAGE, "nodes are arguments, or --node, or --all");
        return cx_api_named(session->api, run->args, run->arg_count, nodes, err);
    }
    if (options->target.all && !from_stdin && options->target.node == NULL)
        return members(session, nodes, err);
    return cx_api_targets(session->api, &options->target, from_stdin, nodes, err);
}

/* ---- the checks */

static bool check_nodes(struct session *session, const cx_api_nodes *nodes, health_parts parts,
                        cx_err *err)
{
    CX_AUTO(health_answers_free) health_answers answers = {0};
    int64_t wall_ms = cx_wall_ms();

    if (!health_ask(&session->ask, nodes, parts.agents, &answers, err))
        return false;
    for (size_t i = 0; i < nodes->count; i++) {
        cx_health_node node = health_answer(&answers, i);

        health_check_one(&session->ask, &node, parts, wall_ms, session->checks);
    }
    return true;
}

static bool check_cluster(struct session *session, int64_t settle_ms, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;

    return health_check_cluster(&session->ask, settle_ms, &cluster, session->checks, err);
}

/* ---- printing */

static bool print(cx_run *run, const health_options *options, json_t *checks, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    cx_health health = cx_health_of(checks);

    run->answer_no = health != CX_HEALTH_OK;
    if (options->nagios) {
        run->exit_status = cx_health_nagios_status(health);
        run->answer_no = false;
        cx_health_nagios(checks, &text);
        return cx_emit_text(run, (const char *)text.data, err);
    }
    if (options->prometheus) {
        cx_health_prometheus(checks, &text);
        return cx_emit_text(run, (const char *)text.data, err);
    }
    document = json_pack("{s:s, s:O, s:I}", "status", cx_health_word(health), "checks", checks,
                         "count", (json_int_t)json_array_size(checks));
    return cx_emit(run, document, err);
}

static bool check(cx_run *run, const health_options *options, health_parts parts,
                  struct session *session, cx_err *err)
{
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};

    session->checks = json_array();
    if (!cx_api_start(run, &session->config, &session->api, err) ||
        !load_policy(session, options, err))
        return false;
    session->ask = (health_session){.api = session->api,
                                    .policy = &session->policy,
                                    .deadline_ms = cx_now_ms() + cx_timeout_or(run, CALL_MS)};
    if ((parts.cluster && !check_cluster(session, options->settle_ms, err)))
        return false;
    if (!parts.node && !parts.agents && !parts.certs)
        return true;
    return find_nodes(session, run, options, &nodes, err) &&
           check_nodes(session, &nodes, parts, err);
}

bool health_run(cx_run *run, const health_options *options, health_parts parts, cx_err *err)
{
    CX_AUTO(session_close) struct session session = {0};

    if (options->nagios && options->prometheus)
        return cx_fail(err, CX_USAGE, "--nagios and --prometheus exclude each other");
    if (check(run, options, parts, &session, err))
        return print(run, options, session.checks, err);
    if (!options->nagios || err->code == CX_INTERRUPTED)
        return false;

    /* A monitoring system reads stdout and four statuses: whatever went wrong is UNKNOWN there. */
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};

    cx_health_nagios_unknown(err->message, &line);
    run->exit_status = cx_health_nagios_status(CX_HEALTH_UNKNOWN);
    return cx_emit_text(run, (const char *)line.data, err);
}
