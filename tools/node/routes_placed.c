#include "routes_placed.h"

#include <string.h>

#include "base/text.h"
#include "drain.h"
#include "hosting.h"

/* It is so on disk; where it runs, and since when, the agent's document tells. */
static void answer_placed(node_call *call, bool changed, bool pending)
{
    node_self *node = call->node;
    const node_agent *agent = node_agents_find(node->agents, call->id);
    json_t *document = json_pack("{s:b, s:o, s:I}", "changed", changed, "agent",
                                 agent != NULL ? node_agent_to_json(agent)
                                               : node_hosting_describe(node->hosting, call->id),
                                 "revision", (json_int_t)node_registry_revision(node->registry));

    if (call->dry_run)
        json_object_set_new(document, "dry_run", json_true());
    if (pending)
        json_object_set_new(document, "pending", json_true());
    node_answer_changed(call, changed, pending ? 202 : 200, document);
}

static void on_placed(const cx_err *err, void *arg)
{
    node_call *call = arg;

    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    node_changed(call->node);
    answer_placed(call, true, true);
}

static void answer_plan(node_call *call, const node_spec *spec)
{
    json_t *agent = node_spec_to_json(spec);

    json_object_del(agent, "env"); /* may hold secrets */
    json_object_set_new(agent, "node_id", json_string(call->node->config->node_id));
    node_answer(call, 200,
                json_pack("{s:b, s:b, s:o, s:I}", "changed", 1, "dry_run", 1, "agent", agent,
                          "revision", (json_int_t)node_registry_revision(call->node->registry)));
}

void node_deploy_placed(node_call *call, node_spec *owned)
{
    CX_AUTO(node_spec_free) node_spec *spec = owned;
    node_registry *registry = call->node->registry;
    const node_placed *known = node_registry_placed(registry, spec->id);

    if (node_placed_is_there(known) && node_spec_equal(known->spec, spec)) {
        answer_placed(call, false, false);
        return;
    }
    if (call->dry_run) {
        answer_plan(call, spec);
        return;
    }
    node_registry_place(registry, call->id, CX_TAKE(spec),
                        node_placed_is_there(known) && known->suspended, on_placed, call);
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

static void refuse_busy(node_call *call, const char *node_id, int64_t queued, int64_t in_flight)
{
    cx_err err;

    cx_fail(&err, CX_BUSY, "%s: %lld messages are queued on %s, %lld in flight", call->id,
            (long long)queued, node_id, (long long)in_flight);
    cx_hint(&err, "drain it first, or let them fail with force");
    node_answer_error(call, &err);
}

static void remove_now(node_call *call)
{
    if (call->dry_run)
        node_answer(call, 200,
                    json_pack("{s:b, s:b, s:s}", "changed", 1, "dry_run", 1, "id", call->id));
    else
        node_registry_place(call->node->registry, call->id, NULL, false, on_removed, call);
}

static void on_host_asked(const json_t *agent, const cx_err *err, void *arg)
{
    node_call *call = arg;
    int64_t queued = json_integer_value(json_object_get(agent, "queued"));
    int64_t in_flight = json_integer_value(json_object_get(agent, "in_flight"));

    if (err != NULL && err->code != CX_NOT_FOUND) {
        cx_err told = *err;

        cx_wrap(&told, "%s: whether messages are queued for it", call->id);
        cx_hint(&told, "try again, or remove it with force");
        node_answer_error(call, &told);
    } else if (queued + in_flight > 0) {
        refuse_busy(call, cx_json_text_or_empty(agent, "node_id"), queued, in_flight);
    } else {
        remove_now(call);
    }
}

void node_remove_placed(node_call *call)
{
    const node_self *node = call->node;
    const char *force = cx_exchange_query(call->exchange, "force");
    CX_AUTO(cx_free) char *path = cx_format("/api/v1/agents/%s", call->id);
    CX_AUTO(cx_free) char *out = cx_format(NODE_LANE_OUT "%s", call->id);
    node_counts here = node_queue_counts(node->queue, call->id);
    node_counts leaving = node_queue_counts(node->queue, out);
    const char *host = NULL;

    if (force != NULL && strcmp(force, "1") == 0)
        remove_now(call);
    else if (!node_queue_is_empty(node->queue, call->id) || !node_queue_is_empty(node->queue, out))
        refuse_busy(call, node->config->node_id, here.queued + leaving.queued,
                    here.in_flight + leaving.in_flight);
    else if (node_router_entry(node->router, call->id, &host) != NULL &&
             node_agents_find(node->agents, call->id) == NULL)
        node_router_ask(node->router, host, path, on_host_asked, call);
    else
        remove_now(call);
}

/* ---- suspend, resume */

void node_suspend_placed(node_call *call, bool suspended)
{
    node_self *node = call->node;
    const node_placed *known = node_registry_placed(node->registry, call->id);

    if (known->suspended == suspended && !cx_list_has(&node->mode.suspended, call->id)) {
        answer_placed(call, false, false);
        return;
    }
    if (call->dry_run) {
        answer_placed(call, true, false);
        return;
    }
    node_drain_forget(node, call->id);
    node_registry_place(node->registry, call->id, node_spec_copy(known->spec), suspended, on_placed,
                        call);
}

json_t *node_need_placed(node_call *call)
{
    json_t *found = node_hosting_describe(call->node->hosting, call->id);
    cx_err err;

    if (found != NULL)
        return found;
    cx_fail(&err, CX_NOT_FOUND, "no agent %s on %s", call->id, call->node->config->node_id);
    node_answer_error(call, &err);
    return NULL;
}
