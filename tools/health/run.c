#include <string.h>

#include "api/gather.h"
#include "base/text.h"
#include "base/time.h"
#include "health.h"
#include "health/print.h"

enum { CALL_MS = 5000, SETTLE_LOOK_MS = 200 };

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
    int64_t deadline_ms;
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

static int64_t left_ms(const struct session *session)
{
    int64_t left = session->deadline_ms - cx_now_ms();

    return left > 1 ? left : 1;
}

/* Answers of many nodes to one question; each failure is that node's, not the command's. */
struct answers {
    json_t **documents;
    cx_err *errors;
    size_t count;
};

static void answers_free(struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++)
        cx_json_free(&answers->documents[i]);
    cx_free(&answers->documents);
    cx_free(&answers->errors);
    answers->count = 0;
}

static bool ask(struct session *session, const cx_api_nodes *nodes, const char *path,
                struct answers *answers, cx_err *err)
{
    answers_free(answers);
    answers->count = nodes->count;
    answers->documents = cx_alloc(nodes->count + 1, sizeof(json_t *));
    answers->errors = cx_alloc(nodes->count + 1, sizeof *answers->errors);
    return nodes->count == 0 ||
           cx_api_call_all(session->api, nodes, "GET", path, NULL, left_ms(session),
                           answers->documents, answers->errors, err);
}

/* ---- which nodes */

/* --all here means every member that should be there: a failed one is what a check is for. */
static bool members(struct session *session, cx_api_nodes *nodes, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    size_t at;
    json_t *member;

    if (!cx_api_cluster(session->api, left_ms(session), &cluster, err))
        return false;
    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        const char *status = cx_json_text_or_empty(member, "status");

        if (strcmp(status, "left") != 0 && strcmp(status, "leaving") != 0 &&
            cx_api_member_address(member)[0] != '\0')
            cx_api_nodes_add(nodes, cx_json_text_or_empty(member, "node_id"),
                             cx_api_member_address(member), status);
    }
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
    CX_AUTO(answers_free) struct answers node_answers = {0};
    CX_AUTO(answers_free) struct answers agent_answers = {0};
    int64_t wall_ms = cx_wall_ms();

    if (!ask(session, nodes, "/api/v1/node", &node_answers, err) ||
        (parts.agents && !ask(session, nodes, "/api/v1/agents", &agent_answers, err)))
        return false;
    for (size_t i = 0; i < nodes->count; i++) {
        const char *told = cx_json_text_or_empty(node_answers.documents[i], "node_id");
        cx_health_node node = {
            .node_id = told[0] != '\0' ? told : cx_api_node_name(&nodes->items[i]),
            .node = node_answers.documents[i],
            .agents = parts.agents ? agent_answers.documents[i] : NULL,
            .error = node_answers.documents[i] != NULL && parts.agents ? &agent_answers.errors[i]
                                                                       : &node_answers.errors[i],
        };

        if (parts.node)
            cx_health_check_node(&session->policy, &node, session->checks);
        if (parts.agents)
            cx_health_check_agents(&session->policy, &node, session->checks);
        if (parts.certs)
            cx_health_check_certs(&session->policy, &node, wall_ms, session->checks);
        if (parts.backups)
            cx_health_check_backups(&session->policy, &node, wall_ms, session->checks);
    }
    return true;
}

/* The alive members that serve the node API: each is asked for its own view. */
static void alive_nodes(const json_t *cluster, cx_api_nodes *nodes)
{
    size_t at;
    json_t *member;

    json_array_foreach (json_object_get(cluster, "members"), at, member)
        if (strcmp(cx_json_text_or_empty(member, "status"), "alive") == 0 &&
            cx_api_member_address(member)[0] != '\0')
            cx_api_nodes_add(nodes, cx_json_text_or_empty(member, "node_id"),
                             cx_api_member_address(member), "alive");
}

static bool views_differ(const json_t *cluster, const struct answers *answers)
{
    const char *digest = cx_json_text_or_empty(cluster, "digest");

    for (size_t i = 0; i < answers->count; i++)
        if (answers->documents[i] != NULL &&
            strcmp(cx_json_text_or_empty(answers->documents[i], "digest"), digest) != 0)
            return true;
    return false;
}

/* News takes a moment to reach everybody: views that differ are looked at again until settle_ms is
 * over. */
static bool check_cluster(struct session *session, int64_t settle_ms, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *cluster = NULL;
    CX_AUTO(cx_api_nodes_free) cx_api_nodes nodes = {0};
    CX_AUTO(answers_free) struct answers answers = {0};
    CX_AUTO(cx_free) cx_health_node *views = NULL;
    int64_t settled_ms = cx_now_ms() + settle_ms;
    cx_err error = {0};

    for (;;) {
        cx_json_free(&cluster);
        cx_api_nodes_free(&nodes);
        if (!cx_api_cluster(session->api, left_ms(session), &cluster, &error))
            break;
        alive_nodes(cluster, &nodes);
        if (!ask(session, &nodes, "/api/v1/cluster", &answers, err))
            return false;
        if (!views_differ(cluster, &answers) || cx_now_ms() >= settled_ms ||
            left_ms(session) <= SETTLE_LOOK_MS)
            break;
        if (!cx_api_pause(SETTLE_LOOK_MS, err))
            return false;
    }
    if (error.code == CX_INTERRUPTED) {
        *err = error;
        return false;
    }
    views = cx_alloc(nodes.count + 1, sizeof *views);
    for (size_t i = 0; i < nodes.count; i++)
        views[i] = (cx_health_node){.node_id = nodes.items[i].node_id,
                                    .cluster = answers.documents[i],
                                    .error = &answers.errors[i]};
    cx_health_check_cluster(&session->policy, cluster, &error, views, nodes.count, cx_wall_ms(),
                            session->checks);
    return true;
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
    session->deadline_ms = cx_now_ms() + cx_timeout_or(run, CALL_MS);
    if (!cx_api_start(run, &session->config, &session->api, err) ||
        !load_policy(session, options, err) ||
        (parts.cluster && !check_cluster(session, options->settle_ms, err)))
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
    CX_AUTO(cx_free) char *line = cx_format("CX UNKNOWN - %s\n", err->message);

    run->exit_status = cx_health_nagios_status(CX_HEALTH_UNKNOWN);
    return cx_emit_text(run, line, err);
}
