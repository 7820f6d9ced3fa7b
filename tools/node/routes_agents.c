/* /api/v1/agents: what is deployed here, and how it is told to run. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "call.h"
#include "drain.h"
#include "hosting.h"
#include "program.h"
#include "routes_placed.h"

enum {
    SETTLE_MS = 5000, /* how long an answer waits for the process to do what was asked */
};

static bool check_id(node_call *call)
{
    cx_err err;

    if (cx_check_id("agent id", call->id, &err))
        return true;
    node_answer_error(call, &err);
    return false;
}

/* The agent of the path, or NULL after an answer that it isn't there. */
static node_agent *need_agent(node_call *call)
{
    node_agent *agent = node_agents_find(call->node->agents, call->id);
    CX_AUTO(cx_json_free) json_t *elsewhere = NULL;
    cx_err err;

    if (agent != NULL)
        return agent;
    elsewhere = node_need_placed(call);
    if (elsewhere == NULL)
        return NULL;
    cx_fail(&err, CX_UNAVAILABLE, "%s runs on %s", call->id,
            cx_json_text_or_empty(elsewhere, "node_id"));
    cx_hint(&err, "ask that node, or try again when it has started");
    node_answer_error(call, &err);
    return NULL;
}

static void answer_agent(node_call *call, node_agent *agent, bool changed, bool reached)
{
    json_t *document =
        json_pack("{s:b, s:o, s:I}", "changed", changed, "agent", node_agent_to_json(agent),
                  "revision", (json_int_t)node_registry_revision(call->node->registry));

    if (call->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    if (!reached) /* it is under way: the agent's state says how far */
        json_object_set_new(document, "pending", json_true());
    node_answer_changed(call, changed, reached ? 200 : 202, document);
}

static void on_reached(node_agent *agent, bool reached, void *arg)
{
    node_changed(((node_call *)arg)->node);
    answer_agent(arg, agent, true, reached);
}

/* ---- list and show */

static int by_id(const void *a, const void *b)
{
    const node_agent *const *left = a, *const *right = b;

    return strcmp(node_agent_spec(*left)->id, node_agent_spec(*right)->id);
}

void node_get_agents(node_call *call)
{
    const node_self *node = call->node;
    const char *state = cx_exchange_query(call->exchange, "state");
    size_t count = node_agents_count(node->agents), cursor = 0, at = 0;
    CX_AUTO(cx_free) node_agent **sorted = cx_alloc(count + 1, sizeof *sorted);
    json_t *agents = json_array();
    node_agent *agent;

    while ((agent = node_agents_next(node->agents, &cursor)) != NULL)
        sorted[at++] = agent;
    qsort(sorted, count, sizeof *sorted, by_id);
    for (size_t i = 0; i < count; i++)
        if (state == NULL ||
            strcmp(state, node_agent_state_word(node_agent_state_of(sorted[i]))) == 0)
            json_array_append_new(agents, node_agent_to_json(sorted[i]));
    if (state == NULL || strcmp(state, node_agent_state_word(NODE_AGENT_STARTING)) == 0)
        node_hosting_add_waiting(node->hosting, agents);
    node_answer(call, 200,
                json_pack("{s:s, s:I, s:I, s:o}", "node_id", node->config->node_id, "count",
                          (json_int_t)json_array_size(agents), "revision",
                          (json_int_t)node_registry_revision(node->registry), "agents", agents));
}

void node_get_agent(node_call *call)
{
    const node_agent *agent = node_agents_find(call->node->agents, call->id);
    json_t *json = agent != NULL ? node_agent_to_json(agent) : node_need_placed(call);

    if (json != NULL)
        node_answer(call, 200, json);
}

/* ---- deploy */

typedef struct deployment {
    node_call *call;
    node_spec *spec;
} deployment;

/* It was placed, and is pinned here now: the others stop. */
static void on_unplaced(const cx_err *err, void *arg)
{
    node_call *call = arg;
    node_agent *agent = node_agents_find(call->node->agents, call->id);
    cx_err gone;

    node_changed(call->node);
    if (err == NULL && agent != NULL) {
        node_agent_settle(agent, SETTLE_MS, on_reached, call);
        return;
    }
    cx_fail(&gone, CX_BUSY, "%s: it was changed at the same time", call->id);
    node_answer_error(call, err != NULL ? err : &gone);
}

static void on_put(const cx_err *err, void *arg)
{
    deployment *ended = arg;
    node_call *call = ended->call;
    node_agent *agent;

    if (err != NULL) {
        node_spec_free(&ended->spec);
        node_answer_error(call, err);
    } else if (node_placed_is_there(node_registry_placed(call->node->registry, call->id))) {
        node_agents_put(call->node->agents, CX_TAKE(ended->spec), false);
        node_hosting_disown(call->node->hosting, call->id);
        node_registry_place(call->node->registry, call->id, NULL, false, on_unplaced, call);
    } else {
        agent = node_agents_put(call->node->agents, CX_TAKE(ended->spec), false);
        node_changed(call->node);
        node_agent_settle(agent, SETTLE_MS, on_reached, call);
    }
    cx_free(&ended);
}

static bool read_spec(node_call *call, node_spec **spec, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *body = NULL;
    CX_AUTO(cx_free) char *program = NULL;

    return cx_json_parse(cx_exchange_body(call->exchange), NODE_SPEC_BYTES_MAX, "spec", &body,
                         err) &&
           node_spec_parse(body, call->id, spec, err) &&
           node_program_find((*spec)->command.items[0], &program, err);
}

static bool has_room(const node_self *node, const char *id, cx_err *err)
{
    if (node_agents_is_leaving(node->agents, id))
        return cx_fail(err, CX_BUSY, "%s is being removed", id);
    if ((int64_t)node_agents_count(node->agents) >= node->config->max_agents)
        return cx_fail(err, CX_BUSY, "%s has %lld agents already", node->config->node_id,
                       (long long)node->config->max_agents) ||
               cx_hint(err, "the limit is max_agents of its config.yaml");
    return true;
}

static void answer_plan(node_call *call, const node_spec *spec)
{
    json_t *agent = node_spec_to_json(spec);

    json_object_set_new(agent, "node_id", json_string(call->node->config->node_id));
    json_object_del(agent, "env"); /* may hold secrets */
    node_answer(call, 200,
                json_pack("{s:b, s:b, s:o, s:I}", "changed", 1, "dry_run", 1, "agent", agent,
                          "revision", (json_int_t)node_registry_revision(call->node->registry)));
}

void node_put_agent(node_call *call)
{
    node_self *node = call->node;
    CX_AUTO(node_spec_free) node_spec *spec = NULL;
    node_agent *agent;
    deployment *started;
    cx_err err;

    if (!read_spec(call, &spec, &err)) {
        node_answer_error(call, &err);
        return;
    }
    if (spec->placement == NODE_ANY) {
        node_deploy_placed(call, CX_TAKE(spec));
        return;
    }
    agent = node_agents_find(node->agents, spec->id);
    if (agent != NULL && node_spec_equal(node_agent_spec(agent), spec)) {
        answer_agent(call, agent, false, true);
        return;
    }
    if (agent == NULL && !has_room(node, spec->id, &err)) {
        node_answer_error(call, &err);
        return;
    }
    if (call->dry_run) {
        answer_plan(call, spec);
        return;
    }
    started = cx_alloc(1, sizeof *started);
    started->call = call;
    started->spec = CX_TAKE(spec);
    node_registry_put(node->registry, started->spec, on_put, started);
}

/* ---- remove */

static void on_removed(const cx_err *err, void *arg)
{
    node_call *call = arg;

    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    node_changed(call->node);
    node_answer(call, 200,
                json_pack("{s:b, s:s, s:I}", "changed", 1, "id", call->id, "revision",
                          (json_int_t)node_registry_revision(call->node->registry)));
}

static void on_dropped(bool changed, const cx_err *err, void *arg)
{
    node_call *call = arg;

    (void)changed;
    if (err != NULL)
        node_answer_error(call, err);
    else
        node_registry_remove(call->node->registry, call->id, on_removed, call);
}

static void on_agent_gone(node_agent *agent, bool reached, void *arg)
{
    node_call *call = arg;

    (void)agent;
    (void)reached; /* a process that SIGKILL can't end doesn't hold up the registry */
    node_queue_drop(call->node->queue, call->id, "the agent was removed", on_dropped, call);
}

void node_delete_agent(node_call *call)
{
    node_self *node = call->node;
    node_agent *agent = node_agents_find(node->agents, call->id);
    const char *force = cx_exchange_query(call->exchange, "force");
    cx_err err;

    if (!check_id(call))
        return;
    if (node_placed_is_there(node_registry_placed(node->registry, call->id))) {
        node_remove_placed(call);
        return;
    }
    if (agent == NULL) {
        node_answer_changed(call, false, 200,
                            json_pack("{s:b, s:s}", "changed", 0, "id", call->id));
        return;
    }
    if (!node_queue_is_empty(node->queue, call->id) && (force == NULL || strcmp(force, "1") != 0)) {
        node_counts counts = node_queue_counts(node->queue, call->id);

        cx_fail(&err, CX_BUSY, "%s: %lld messages are queued, %lld in flight", call->id,
                (long long)counts.queued, (long long)counts.in_flight);
        cx_hint(&err, "drain it first, or let them fail with force");
        node_answer_error(call, &err);
        return;
    }
    if (call->dry_run) {
        node_answer(call, 200,
                    json_pack("{s:b, s:b, s:s}", "changed", 1, "dry_run", 1, "id", call->id));
        return;
    }
    node_agent_remove(agent, on_agent_gone, call);
}

/* ---- restart, suspend, resume */

void node_restart_agent(node_call *call)
{
    node_agent *agent = need_agent(call);
    cx_err err;

    if (agent == NULL)
        return;
    if (node_agent_is_suspended(agent)) {
        cx_fail(&err, CX_BUSY, "%s is suspended", call->id);
        cx_hint(&err, "resume it instead");
        node_answer_error(call, &err);
        return;
    }
    if (call->dry_run)
        answer_agent(call, agent, true, true);
    else
        node_agent_restart(agent, SETTLE_MS, on_reached, call);
}

static void on_suspend_kept(const cx_err *err, void *arg)
{
    node_call *call = arg;
    node_agent *agent;

    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    agent = need_agent(call);
    if (agent == NULL)
        return;
    if (call->route->action == NODE_SUSPEND_AGENT)
        node_agent_suspend(agent, SETTLE_MS, on_reached, call);
    else
        node_agent_resume(agent, SETTLE_MS, on_reached, call);
}

static void change_suspended(node_call *call, bool suspended)
{
    node_agent *agent;

    if (node_placed_is_there(node_registry_placed(call->node->registry, call->id))) {
        node_suspend_placed(call, suspended);
        return;
    }
    agent = need_agent(call);
    if (agent == NULL)
        return;

    bool by_drain = cx_list_has(&call->node->mode.suspended, call->id);

    if (node_agent_is_suspended(agent) == suspended && !by_drain) {
        answer_agent(call, agent, false, true);
        return;
    }
    if (call->dry_run) {
        answer_agent(call, agent, true, true);
        return;
    }
    node_drain_forget(call->node, call->id);
    node_registry_suspend(call->node->registry, call->id, suspended, on_suspend_kept, call);
}

void node_suspend_agent(node_call *call)
{
    change_suspended(call, true);
}

void node_resume_agent(node_call *call)
{
    change_suspended(call, false);
}
