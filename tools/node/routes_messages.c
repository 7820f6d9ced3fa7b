/* /api/v1/messages (but for sending: send.c) and /api/v1/queues. */
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "call.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 1000 };

static void on_found(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    node_call *call = arg;
    cx_err missing;

    if (err != NULL) {
        node_answer_error(call, err);
    } else if (count == 0) {
        cx_fail(&missing, CX_NOT_FOUND, "no message %s on %s", call->id,
                call->node->config->node_id);
        cx_hint(&missing, "another node may hold it: cx-debug trace asks all");
        node_answer_error(call, &missing);
    } else {
        node_answer(call, 200, node_message_to_json(messages, call->node->config->node_id));
    }
}

void node_get_message(node_call *call)
{
    cx_err err;

    if (node_check_message_id(call->id, &err))
        node_queue_find(call->node->queue, call->id, on_found, call);
    else
        node_answer_error(call, &err);
}

static void on_listed(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    node_call *call = arg;
    json_t *list;

    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              node_message_to_json(&messages[i], call->node->config->node_id));
    node_answer(call, 200, json_pack("{s:I, s:o}", "count", (json_int_t)count, "messages", list));
}

static bool read_limit(const char *text, int64_t *limit, cx_err *err)
{
    char *end = NULL;

    if (text == NULL)
        return true;
    *limit = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || *limit < 1 || *limit > LIST_MAX)
        return cx_fail(err, CX_INVALID, "limit is not a number from 1 to %d", LIST_MAX);
    return true;
}

void node_get_messages(node_call *call)
{
    node_query query = {.state = cx_exchange_query(call->exchange, "state"),
                        .conversation = cx_exchange_query(call->exchange, "conversation"),
                        .lane = cx_exchange_query(call->exchange, "agent"),
                        .limit = LIST_DEFAULT};
    node_message_state state;
    cx_err err;

    if ((query.state != NULL && !node_message_state_parse(query.state, &state, &err)) ||
        !read_limit(cx_exchange_query(call->exchange, "limit"), &query.limit, &err))
        node_answer_error(call, &err);
    else
        node_queue_list(call->node->queue, &query, on_listed, call);
}

static void on_stats(const cx_list *lanes, const int64_t *oldest_ms, int64_t lost,
                     const cx_err *err, void *arg)
{
    node_call *call = arg;
    const node_self *node = call->node;
    node_counts counts = node_queue_sum(node->queue);
    node_totals totals = node_queue_totals(node->queue);

    (void)lanes;
    (void)oldest_ms;
    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    node_answer(call, 200,
                json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "node_id",
                          node->config->node_id, "queued", (json_int_t)counts.queued, "in_flight",
                          (json_int_t)counts.in_flight, "done", (json_int_t)counts.done, "failed",
                          (json_int_t)counts.failed, "accepted_total", (json_int_t)totals.accepted,
                          "processed_total", (json_int_t)totals.processed, "failed_total",
                          (json_int_t)totals.failed, "duplicates_total",
                          (json_int_t)totals.duplicates, "forwarded_total",
                          (json_int_t)totals.forwarded, "retried_total", (json_int_t)totals.retried,
                          "lost", (json_int_t)lost));
}

void node_get_stats(node_call *call)
{
    node_queue_measure(call->node->queue, on_stats, call);
}

static int64_t oldest_of(const cx_list *lanes, const int64_t *oldest_ms, const char *name)
{
    for (size_t i = 0; i < lanes->count; i++)
        if (strcmp(lanes->items[i], name) == 0)
            return oldest_ms[i];
    return 0;
}

static json_t *queue_json(const char *agent, const node_counts *counts, int64_t oldest_ms)
{
    return json_pack("{s:s, s:I, s:I, s:o, s:I, s:I}", "agent", agent, "queued",
                     (json_int_t)counts->queued, "in_flight", (json_int_t)counts->in_flight,
                     "oldest_seconds", cx_json_figure((double)oldest_ms / 1000), "done",
                     (json_int_t)counts->done, "failed", (json_int_t)counts->failed);
}

static void on_measured(const cx_list *lanes, const int64_t *oldest_ms, int64_t lost,
                        const cx_err *err, void *arg)
{
    node_call *call = arg;
    const node_self *node = call->node;
    node_counts sum = node_queue_sum(node->queue), counts;
    json_t *queues;
    size_t cursor = 0;
    const char *name = NULL;
    const node_agent *agent;

    (void)lost;
    if (err != NULL) {
        node_answer_error(call, err);
        return;
    }
    queues = json_array();
    while ((agent = node_agents_next(node->agents, &cursor)) != NULL) {
        const char *id = node_agent_spec(agent)->id;

        counts = node_queue_counts(node->queue, id);
        json_array_append_new(queues, queue_json(id, &counts, oldest_of(lanes, oldest_ms, id)));
    }
    /* Lanes without an agent: what goes to other nodes, and what a removed agent left. */
    cursor = 0;
    while (node_queue_next(node->queue, &cursor, &name, &counts))
        if (node_agents_find(node->agents, name) == NULL && counts.queued + counts.in_flight > 0)
            json_array_append_new(queues,
                                  queue_json(name, &counts, oldest_of(lanes, oldest_ms, name)));
    node_answer(call, 200,
                json_pack("{s:s, s:o, s:{s:I, s:I, s:I, s:I}}", "node_id", node->config->node_id,
                          "queues", queues, "total", "queued", (json_int_t)sum.queued, "in_flight",
                          (json_int_t)sum.in_flight, "done", (json_int_t)sum.done, "failed",
                          (json_int_t)sum.failed));
}

void node_get_queues(node_call *call)
{
    node_queue_measure(call->node->queue, on_measured, call);
}

static void on_retried(bool changed, const cx_err *err, void *arg)
{
    node_call *call = arg;

    if (err != NULL)
        node_answer_error(call, err);
    else
        node_answer_changed(call, changed, 200,
                            json_pack("{s:b, s:s}", "changed", changed, "message_id", call->id));
}

static void on_plan(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    bool changed = err == NULL && count == 1 && messages->state == NODE_FAILED;

    if (changed)
        on_retried(true, NULL, arg);
    else
        on_found(messages, count, err, arg);
}

void node_retry_message(node_call *call)
{
    cx_err err;

    if (!node_check_message_id(call->id, &err))
        node_answer_error(call, &err);
    else if (call->dry_run)
        node_queue_find(call->node->queue, call->id, on_plan, call);
    else
        node_queue_retry(call->node->queue, call->id, on_retried, call);
}
