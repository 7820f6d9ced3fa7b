#include <string.h>

#include "agents.h"
#include "base/text.h"
#include "base/time.h"

enum { LOOK_MS = 50, LOOK_MS_MAX = 500 };

static void start(agents_change *change)
{
    if (change->agents != NULL)
        return;
    change->agents = json_array();
    change->errors = json_array();
}

void agents_change_free(agents_change *change)
{
    cx_json_free(&change->agents);
    cx_json_free(&change->errors);
}

void agents_change_add(agents_change *change, const cx_api_node *node, const char *id,
                       json_t *agent, bool changed)
{
    json_t *item =
        json_pack("{s:o, s:o}", "id", cx_json_text(id), "node_id", cx_json_text(node->node_id));

    start(change);
    if (agent != NULL)
        json_object_update(item, agent);
    json_object_set_new(item, "changed", json_boolean(changed));
    json_array_append_new(change->agents, item);
    change->changed |= changed;
}

void agents_change_fail(agents_change *change, const cx_api_node *node, const char *id,
                        const cx_err *error)
{
    json_t *failure = cx_api_failure(node, error);

    start(change);
    if (change->first.code == CX_OK)
        change->first = *error;
    json_object_set_new(failure, "id", cx_json_text(id));
    json_array_append_new(change->errors, failure);
}

static const cx_api_node *node_of(const agents_scope *scope, const json_t *agent)
{
    const char *node_id = cx_json_text_or_empty(agent, "node_id");

    for (size_t i = 0; i < scope->nodes.count; i++)
        if (strcmp(scope->nodes.items[i].node_id, node_id) == 0)
            return &scope->nodes.items[i];
    /* A node that was named by its address alone is the only one. */
    return &scope->nodes.items[0];
}

/* No further look will change it. */
static bool is_settled(const json_t *agent, const char *state)
{
    const char *now = cx_json_text_or_empty(agent, "state");

    return strcmp(now, state) == 0 || strcmp(now, "failed") == 0;
}

static bool is_well(const json_t *agent, const char *state)
{
    return is_settled(agent, state) &&
           (strcmp(cx_json_text_or_empty(agent, "state"), "failed") != 0);
}

/* Looks at one agent again. */
static bool look(agents_scope *scope, json_t *agent, cx_err *err)
{
    CX_AUTO(cx_free)
    char *path = cx_format("/api/v1/agents/%s", cx_json_text_or_empty(agent, "id"));
    CX_AUTO(cx_json_free) json_t *now = NULL;

    if (!cx_api_call(scope->api, node_of(scope, agent), "GET", path, NULL, scope->timeout_ms, &now,
                     err))
        return false;
    json_object_update(agent, now);
    return true;
}

bool agents_wait(cx_run *run, agents_scope *scope, agents_change *change, const char *state,
                 int64_t wait_ms, cx_err *err)
{
    int64_t deadline_ms = cx_now_ms() + wait_ms;
    int64_t pause_ms = LOOK_MS;
    size_t at, waiting;
    json_t *agent;

    do {
        waiting = 0;
        json_array_foreach (change->agents, at, agent) {
            if (is_settled(agent, state))
                continue;
            if (!look(scope, agent, err))
                return cx_wrap(err, "wait until %s is %s", cx_json_text_or_empty(agent, "id"),
                               state);
            waiting += !is_settled(agent, state);
        }
        if (waiting == 0 || cx_now_ms() >= deadline_ms)
            break;
        if (!cx_api_pause(pause_ms, err))
            return false;
        pause_ms = pause_ms * 2 < LOOK_MS_MAX ? pause_ms * 2 : LOOK_MS_MAX;
    } while (true);

    json_array_foreach (change->agents, at, agent) {
        if (is_well(agent, state))
            continue;
        run->answer_no = true;
        cx_remark(run, "%s is %s, not %s%s%s", cx_json_text_or_empty(agent, "id"),
                  cx_json_text_or_empty(agent, "state"), state,
                  cx_json_text_or_empty(agent, "last_error")[0] != '\0' ? ": " : "",
                  cx_json_text_or_empty(agent, "last_error"));
    }
    return true;
}

bool agents_change_emit(cx_run *run, agents_change *change, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *document = NULL;

    start(change);
    if (change->first.code != CX_OK && json_array_size(change->agents) == 0) {
        *err = change->first;
        return false;
    }
    document = json_pack("{s:b}", "changed", change->changed);
    if (run->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    json_object_set(document, "agents", change->agents);
    json_object_set_new(document, "count",
                        json_integer((json_int_t)json_array_size(change->agents)));
    if (json_array_size(change->errors) > 0) {
        json_object_set(document, "errors", change->errors);
        run->answer_no = true;
    }
    return agents_emit(run, document, err);
}

static bool all_there(const cx_agent_selection *selection, const json_t *agents,
                      const cx_target *target, cx_err *err)
{
    for (size_t i = 0; i < selection->id_count; i++) {
        bool there = false;
        size_t at;
        json_t *agent;

        json_array_foreach (agents, at, agent)
            there |= strcmp(cx_json_text_or_empty(agent, "id"), selection->ids[i]) == 0;
        if (there)
            continue;
        cx_fail(err, CX_NOT_FOUND, "no agent %s there", selection->ids[i]);
        return target->all
                   ? false
                   : cx_hint(err, "--all looks on every member; cx-agents list shows what is here");
    }
    return true;
}

/* What the node would answer: a restart always changes, the others when the state differs. */
static bool would_change(const json_t *agent, const char *verb, const char *state)
{
    const char *now = cx_json_text_or_empty(agent, "state");

    if (strcmp(verb, "restart") == 0)
        return true;
    if (strcmp(verb, "resume") == 0)
        return strcmp(now, "suspended") == 0;
    return strcmp(now, state) != 0;
}

static void post_one(agents_scope *scope, const json_t *agent, const char *verb,
                     agents_change *change)
{
    const char *id = cx_json_text_or_empty(agent, "id");
    const cx_api_node *node = node_of(scope, agent);
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/agents/%s/%s", id, verb);
    CX_AUTO(cx_json_free) json_t *answer = NULL;
    bool changed = false;
    cx_err error = {0};

    if (!cx_check_id("agent", id, &error) ||
        !cx_api_call(scope->api, node, "POST", path, NULL, scope->timeout_ms, &answer, &error) ||
        !cx_json_get_bool(answer, "answer", "changed", &changed, &error))
        agents_change_fail(change, node, id, &error);
    else
        agents_change_add(change, node, id, json_object_get(answer, "agent"), changed);
}

bool agents_post(cx_run *run, const cx_target *target, cx_agent_selection selection,
                 const char *verb, const char *state, int64_t wait_ms, cx_err *err)
{
    CX_AUTO(agents_close) agents_scope scope = {0};
    CX_AUTO(cx_gathered_free) cx_gathered gathered = {0};
    CX_AUTO(cx_json_free) json_t *agents = NULL;
    CX_AUTO(agents_change_free) agents_change change = {0};
    size_t at;
    json_t *agent;

    if (!agents_open(run, target, true, &scope, err))
        return false;
    selection.ids = scope.ids;
    selection.id_count = scope.id_count;
    if (selection.id_count == 0 && selection.priority == NULL && selection.state == NULL &&
        selection.inactive_for_ms == 0 && selection.slow_threshold_ms == 0)
        return cx_fail(err, CX_USAGE, "name the agents, or say which ones by an option");
    if (!agents_gather(&scope, &selection, &gathered, &agents, err))
        return false;
    for (size_t i = 0; i < gathered.count; i++)
        if (gathered.answers[i] == NULL)
            agents_change_fail(&change, &scope.nodes.items[i], "", &gathered.errors[i]);
    if (gathered.failed == 0 && !all_there(&selection, agents, target, err))
        return false;
    start(&change);
    json_array_foreach (agents, at, agent) {
        if (run->dry_run)
            agents_change_add(&change, node_of(&scope, agent), cx_json_text_or_empty(agent, "id"),
                              agent, would_change(agent, verb, state));
        else
            post_one(&scope, agent, verb, &change);
    }
    if (!run->dry_run && !agents_wait(run, &scope, &change, state, wait_ms, err))
        return false;
    return agents_change_emit(run, &change, err);
}
