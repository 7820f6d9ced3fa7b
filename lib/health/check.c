#include "health/check.h"

#include <string.h>

#include "base/time.h"
#include "health/judge.h"

const char *cx_health_word(cx_health health)
{
    switch (health) {
    case CX_HEALTH_OK: return "ok";
    case CX_HEALTH_WARNING: return "warning";
    case CX_HEALTH_UNKNOWN: return "unknown";
    case CX_HEALTH_CRITICAL: return "critical";
    }
    return NULL;
}

int cx_health_nagios_status(cx_health health)
{
    switch (health) {
    case CX_HEALTH_OK: return 0;
    case CX_HEALTH_WARNING: return 1;
    case CX_HEALTH_CRITICAL: return 2;
    case CX_HEALTH_UNKNOWN: return 3;
    }
    return 3;
}

/* The reason why a node can't be reached stands in its own check, once. */
static const char *why_not(const cx_health_node *node)
{
    if (node->node == NULL)
        return "the node can't be reached";
    return node->error != NULL && node->error->message[0] != '\0' ? node->error->message
                                                                  : "the node does not tell";
}

/* A number of the node's document, judged; unknown when it isn't there. */
static void judge_field(const cx_health_policy *policy, cx_judged about, const cx_health_node *node,
                        const json_t *value, double scale, double symbol_value, json_t *checks)
{
    if (json_is_number(value))
        cx_judge(policy, about, json_number_value(value) * scale, symbol_value, NULL, checks);
    else
        cx_judge_unknown(policy, about, why_not(node), checks);
}

static const json_t *at(const json_t *node, const char *object, const char *key)
{
    return json_object_get(json_object_get(node, object), key);
}

/* That a node can't be reached is a finding of its own: critical, beside all that is unknown. */
static void check_reachable(const cx_health_node *node, const char *scope, json_t *checks)
{
    if (node->node != NULL)
        return;
    json_array_append_new(checks, json_pack("{s:s, s:o, s:s, s:n, s:s, s:s, s:s, s:o}", "scope",
                                            scope, "node_id", cx_json_text(node->node_id), "name",
                                            "node_reachable", "value", "unit", "", "threshold", "",
                                            "status", cx_health_word(CX_HEALTH_CRITICAL), "message",
                                            cx_json_text(why_not(node))));
}

void cx_health_check_node(const cx_health_policy *policy, const cx_health_node *node,
                          json_t *checks)
{
    static const struct {
        cx_check_kind kind;
        const char *object, *key;
    } rows[] = {
        {CX_CHECK_CPU, "system", "cpu_percent"},      {CX_CHECK_MEMORY, "system", "memory_percent"},
        {CX_CHECK_DISK, "system", "disk_percent"},    {CX_CHECK_AGENT_COUNT, "agents", "total"},
        {CX_CHECK_QUEUE_DEPTH, "messages", "queued"},
    };
    double max_agents = json_number_value(at(node->node, "agents", "max"));

    check_reachable(node, "node", checks);
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        judge_field(policy, (cx_judged){"node", node->node_id, rows[i].kind}, node,
                    at(node->node, rows[i].object, rows[i].key), 1, max_agents, checks);
}

/* How many agents should work and don't; the first of them is named. */
static size_t count_unresponsive(const json_t *agents, size_t *wanted, const char **first)
{
    size_t count = 0, i;
    json_t *agent;

    json_array_foreach (json_object_get(agents, "agents"), i, agent) {
        const char *state = cx_json_text_or_empty(agent, "state");
        bool failed = strcmp(state, "failed") == 0;
        bool hangs =
            strcmp(state, "running") == 0 && json_is_false(json_object_get(agent, "responsive"));

        *wanted += failed || strcmp(state, "running") == 0;
        if (!failed && !hangs)
            continue;
        if (count++ == 0)
            *first = cx_json_text_or_empty(agent, "id");
    }
    return count;
}

static void check_responsiveness(const cx_health_policy *policy, const cx_health_node *node,
                                 json_t *checks)
{
    cx_judged about = {"agents", node->node_id, CX_CHECK_RESPONSIVENESS};
    const cx_condition *healthy = &policy->rules[CX_CHECK_RESPONSIVENESS].healthy;
    size_t wanted = 0;
    const char *first = "";
    size_t count = count_unresponsive(node->agents, &wanted, &first);
    cx_health health = CX_HEALTH_OK;
    CX_AUTO(cx_free) char *message = NULL;

    if (!json_is_array(json_object_get(node->agents, "agents"))) {
        cx_judge_unknown(policy, about, why_not(node), checks);
        return;
    }
    /* One sick agent is no sick node; when none is well, something common to all is broken. */
    if (!cx_condition_holds(healthy, (double)count, (double)wanted))
        health = count == wanted && count > 1 ? CX_HEALTH_CRITICAL : CX_HEALTH_WARNING;
    message = count == 0 ? cx_format("all %zu agents respond", wanted)
                         : cx_format("%zu of %zu agents failed or don't respond (%s%s)", count,
                                     wanted, first, count > 1 ? ", …" : "");
    cx_judge_as(policy, about, json_integer((json_int_t)count), healthy->threshold, health, message,
                checks);
}

void cx_health_check_agents(const cx_health_policy *policy, const cx_health_node *node,
                            json_t *checks)
{
    cx_judged processing = {"agents", node->node_id, CX_CHECK_PROCESSING_TIME};
    const json_t *p99 = at(node->node, "latency_ms", "p99");

    check_reachable(node, "agents", checks);
    check_responsiveness(policy, node, checks);
    if (node->node != NULL && json_number_value(at(node->node, "latency_ms", "count")) == 0)
        cx_judge_as(policy, processing, NULL, policy->rules[processing.kind].healthy.threshold,
                    CX_HEALTH_OK, "no message was processed lately", checks);
    else
        judge_field(policy, processing, node, p99, 0.001, 0, checks);
    judge_field(policy, (cx_judged){"agents", node->node_id, CX_CHECK_ERROR_RATE}, node,
                json_object_get(node->node, "error_rate_percent"), 1, 0, checks);
}

void cx_health_check_certs(const cx_health_policy *policy, const cx_health_node *node,
                           int64_t wall_ms, json_t *checks)
{
    cx_judged about = {"node", node->node_id, CX_CHECK_CERT_EXPIRY};
    const char *text =
        cx_json_text_or_empty(json_object_get(node->node, "certificate"), "not_after");
    int64_t not_after_ms = 0;
    cx_err error = {0};

    check_reachable(node, "node", checks);
    if (text[0] == '\0')
        cx_judge_unknown(policy, about, why_not(node), checks);
    else if (!cx_time_parse(text, &not_after_ms, &error))
        cx_judge_unknown(policy, about, error.message, checks);
    else
        cx_judge(policy, about, ((double)not_after_ms - (double)wall_ms) / 1000, 0, text, checks);
}

void cx_health_check_backups(const cx_health_policy *policy, const cx_health_node *node,
                             int64_t wall_ms, json_t *checks)
{
    cx_judged about = {"node", node->node_id, CX_CHECK_BACKUP_AGE};
    const json_t *backup = json_object_get(node->node, "backup");
    const char *text = cx_json_text_or_empty(backup, "last_success_at");
    const char *threshold = policy->rules[about.kind].healthy.threshold;
    int64_t made_ms = 0;
    cx_err error = {0};

    if (node->node == NULL)
        cx_judge_unknown(policy, about, why_not(node), checks);
    else if (text[0] == '\0')
        cx_judge_as(policy, about, NULL, threshold, CX_HEALTH_WARNING, "there is no backup yet",
                    checks);
    else if (!cx_time_parse(text, &made_ms, &error))
        cx_judge_unknown(policy, about, error.message, checks);
    else
        cx_judge(policy, about, ((double)wall_ms - (double)made_ms) / 1000, 0, text, checks);
}

cx_health cx_health_of(const json_t *checks)
{
    cx_health worst = CX_HEALTH_OK;
    size_t i;
    json_t *check;

    json_array_foreach (checks, i, check) {
        const char *status = cx_json_text_or_empty(check, "status");

        for (cx_health health = worst; cx_health_word(health) != NULL; health++)
            if (strcmp(cx_health_word(health), status) == 0)
                worst = health;
    }
    return worst;
}
