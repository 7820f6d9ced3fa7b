/* POST /api/v1/messages: one message, or many as NDJSON. Each is routed to the queue here or to the
 * node that hosts its receiver; the answer is given when all are durably accepted, or refused. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "call.h"

enum {
    LINES_MAX = 1000,
    WAIT_MAX_MS = 10 * 60 * 1000,
    FORWARD_MS = 15000,
};

typedef struct send_item {
    node_message message;
    char *id, *agent; /* what is left of the message when it was handed on */
    cx_err err;
    json_t *result;
    bool open;  /* neither result nor error yet */
    bool moved; /* a peer said that it is not there: look again, once */
} send_item;

typedef struct sending {
    node_call *call;
    bool bulk;
    int64_t wait_ms; /* of a single message; 0: don't */
    send_item *items;
    size_t count;
    size_t outstanding; /* groups under way */
    bool refreshed;
    bool waiting;
} sending;

/* A part of the items that goes the same way. */
typedef struct group {
    sending *whole;
    char *node; /* NULL: the own queue */
    size_t *places;
    size_t count;
    cx_buffer body;
} group;

static void route(sending *whole);

static void free_send(sending *whole)
{
    for (size_t i = 0; i < whole->count; i++) {
        node_message_free(&whole->items[i].message);
        cx_free(&whole->items[i].id);
        cx_free(&whole->items[i].agent);
        cx_json_free(&whole->items[i].result);
    }
    cx_free(&whole->items);
    cx_free(&whole);
}

/* ---- the answer */

static void answer_bulk(sending *whole)
{
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};

    for (size_t i = 0; i < whole->count; i++) {
        send_item *item = &whole->items[i];
        CX_AUTO(cx_json_free) json_t *line = NULL;
        CX_AUTO(cx_free) char *text = NULL;

        if (item->result != NULL) {
            line = json_incref(item->result);
        } else {
            line = cx_err_to_json(&item->err);
            if (item->id != NULL)
                json_object_set_new(line, "message_id", json_string(item->id));
        }
        text = cx_json_line(line);
        cx_buffer_add_text(&body, text);
        cx_buffer_add_text(&body, "\n");
    }
    node_answer_bytes(whole->call, 200, "application/x-ndjson", cx_buffer_bytes(&body));
    free_send(whole);
}

static void answer_single(sending *whole)
{
    send_item *item = &whole->items[0];
    const char *status = cx_json_text_or_empty(item->result, "status");

    if (item->result == NULL)
        node_answer_error(whole->call, &item->err);
    else
        node_answer(whole->call, strcmp(status, "accepted") == 0 ? 202 : 200,
                    CX_TAKE(item->result));
    free_send(whole);
}

static json_t *accepted_json(const char *id, bool duplicate)
{
    return json_pack("{s:s, s:s, s:b}", "message_id", id, "status", "accepted", "duplicate",
                     duplicate);
}

static json_t *finished_json(const char *id, node_message_state state, const char *reply,
                             const char *error, int64_t latency_ms, bool duplicate)
{
    json_t *value = reply == NULL ? NULL : json_loads(reply, JSON_DECODE_ANY, NULL);

    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:I}", "message_id", id, "status",
                     node_message_state_word(state), "duplicate", duplicate, "reply",
                     value == NULL ? json_null() : value, "error", cx_json_text(error),
                     "latency_ms", (json_int_t)latency_ms);
}

/* ---- waiting for the reply */

static void on_waited(const node_finished *finished, void *arg)
{
    sending *whole = arg;
    send_item *item = &whole->items[0];
    bool duplicate = json_is_true(json_object_get(item->result, "duplicate"));

    whole->waiting = false;
    if (finished != NULL) {
        cx_json_free(&item->result);
        item->result = finished_json(finished->id, finished->state, finished->reply,
                                     finished->error, finished->latency_ms, duplicate);
    }
    answer_single(whole);
}

static void on_client_gone(node_call *call)
{
    sending *whole = call->gone_arg;

    if (!whole->waiting)
        return;
    node_waiters_cancel(call->node->waiters, whole->items[0].id, whole);
    answer_single(whole);
}

static void give_answer(sending *whole)
{
    const send_item *item = whole->items;

    if (whole->bulk) {
        answer_bulk(whole);
        return;
    }
    /* A peer that was asked to wait has waited; its answer is the result. */
    if (whole->wait_ms == 0 || item->result == NULL || item->agent == NULL ||
        whole->call->exchange == NULL ||
        strcmp(cx_json_text_or_empty(item->result, "status"), "accepted") != 0) {
        answer_single(whole);
        return;
    }
    whole->waiting = true;
    node_waiters_add(whole->call->node->waiters, item->id, whole->wait_ms, on_waited, whole);
}

/* ---- groups */

static void end_group(group *ended)
{
    sending *whole = ended->whole;
    bool again = false;

    cx_free(&ended->node);
    cx_free(&ended->places);
    cx_buffer_free(&ended->body);
    cx_free(&ended);
    if (--whole->outstanding > 0)
        return;
    for (size_t i = 0; i < whole->count; i++)
        again |= whole->items[i].open;
    if (again)
        route(whole);
    else
        give_answer(whole);
}

static void fail_item(send_item *item, const cx_err *err)
{
    item->err = *err;
    item->open = false;
}

static void take_acceptance(const sending *whole, send_item *item, const node_acceptance *accepted)
{
    const node_message *first = &accepted->message;
    bool is_over = first->state == NODE_DONE || first->state == NODE_FAILED;

    item->open = false;
    if (accepted->err.code != CX_OK) {
        item->err = accepted->err;
    } else if (accepted->duplicate && is_over && !whole->bulk) {
        item->result = finished_json(item->id, first->state, first->reply, first->error,
                                     first->done_at_ms - first->accepted_at_ms, true);
    } else {
        item->result = accepted_json(item->id, accepted->duplicate);
        if (accepted->duplicate)
            json_object_set_new(item->result, "state",
                                json_string(node_message_state_word(first->state)));
    }
}

static void on_accepted(node_acceptance *results, size_t count, void *arg)
{
    group *ended = arg;

    for (size_t i = 0; i < count; i++)
        take_acceptance(ended->whole, &ended->whole->items[ended->places[i]], &results[i]);
    end_group(ended);
}

static void take_line(sending *whole, send_item *item, cx_bytes line)
{
    CX_AUTO(cx_json_free) json_t *result = NULL;
    cx_err err;

    if (!cx_json_parse(line, NODE_REPLY_MAX * 2, "peer", &result, &err)) {
        fail_item(item, &err);
    } else if (json_object_get(result, "error") != NULL &&
               json_is_object(json_object_get(result, "error"))) {
        cx_err_from_json(result, &err);
        if (err.code == CX_NOT_FOUND && !whole->refreshed)
            item->moved = true; /* it lived there: ask everybody again */
        else
            fail_item(item, &err);
    } else {
        item->open = false;
        item->result = CX_TAKE(result);
        cx_free(&item->agent); /* the peer has waited: nobody here finishes it */
    }
}

static cx_bytes next_line(cx_bytes *rest)
{
    const uint8_t *end = rest->size == 0 ? NULL : memchr(rest->data, '\n', rest->size);
    cx_bytes line = {rest->data, end == NULL ? rest->size : (size_t)(end - rest->data)};

    rest->data += line.size + (end != NULL);
    rest->size -= line.size + (end != NULL);
    return line;
}

static void on_forwarded(const cx_http_answer *answer, void *arg)
{
    group *ended = arg;
    cx_bytes rest = cx_buffer_bytes(&answer->body);
    bool by_lines = answer->status == 200 && ended->whole->bulk;

    for (size_t i = 0; i < ended->count; i++) {
        send_item *item = &ended->whole->items[ended->places[i]];
        cx_err err;

        if (answer->status != 0) {
            take_line(ended->whole, item, by_lines ? next_line(&rest) : rest);
            continue;
        }
        cx_fail(&err, CX_UNAVAILABLE, "%s: %s", ended->node, answer->error.message);
        cx_hint(&err, "%s", answer->error.hint);
        fail_item(item, &err);
    }
    end_group(ended);
}

static void start_local(group *started)
{
    sending *whole = started->whole;
    node_message *messages = cx_alloc(started->count, sizeof *messages);

    for (size_t i = 0; i < started->count; i++) {
        node_message *message = &whole->items[started->places[i]].message;

        message->accepted_at_ms = cx_wall_ms();
        messages[i] = *message;
        *message = (node_message){0};
    }
    node_queue_accept(whole->call->node->queue, messages, started->count, on_accepted, started);
}

static void start_peer(group *started)
{
    sending *whole = started->whole;
    node_self *node = whole->call->node;
    char query[64] = "";

    for (size_t i = 0; i < started->count; i++) {
        const send_item *item = &whole->items[started->places[i]];

        node_message_forward(&item->message, item->agent, node->config->node_id, cx_wall_ms(),
                             &started->body);
    }
    if (whole->wait_ms > 0)
        snprintf(query, sizeof query, "?wait=%lldms", (long long)whole->wait_ms);
    node_router_forward(
        node->router,
        &(node_forward){.node = started->node,
                        .content_type = whole->bulk ? "application/x-ndjson" : "application/json",
                        .query = query,
                        .body = cx_buffer_bytes(&started->body),
                        .timeout_ms = FORWARD_MS + whole->wait_ms},
        on_forwarded, started);
}

static group *group_of(sending *whole, group **groups, size_t *count, const char *node_id)
{
    for (size_t i = 0; i < *count; i++)
        if ((groups[i]->node == NULL) == (node_id == NULL) &&
            (node_id == NULL || strcmp(groups[i]->node, node_id) == 0))
            return groups[i];
    groups[*count] = cx_alloc(1, sizeof **groups);
    groups[*count]->whole = whole;
    groups[*count]->node = cx_strdup(node_id);
    groups[*count]->places = cx_alloc(whole->count, sizeof *groups[*count]->places);
    return groups[(*count)++];
}

/* ---- routing */

/* A peer forwarded it: it is for an agent of ours or for nobody, so nothing goes in circles. */
static node_target find_target(const sending *whole, const node_message *message)
{
    const node_call *call = whole->call;
    node_target target =
        node_router_find(call->node->router, message->receiver,
                         message->conversation_id != NULL ? message->conversation_id : message->id);

    if (call->is_peer && target.kind != NODE_TARGET_LOCAL)
        return (node_target){.kind = NODE_TARGET_UNKNOWN};
    return target;
}

static void refuse_target(const node_call *call, send_item *item, const node_target *target)
{
    const node_self *node = call->node;
    const char *unasked = call->is_peer ? NULL : node_router_unasked(node->router);
    cx_err err;

    if (target->kind == NODE_TARGET_AWAY) {
        cx_fail(&err, CX_UNAVAILABLE, "%s is on %s, which can't be reached", item->message.receiver,
                target->node);
        cx_hint(&err, "try again when %s is back", target->node);
    } else if (unasked != NULL) {
        cx_fail(&err, CX_UNAVAILABLE, "no agent %s is known, and %s could not be asked yet",
                item->message.receiver, unasked);
        cx_hint(&err, "try again in a moment");
    } else {
        cx_fail(&err, CX_NOT_FOUND, "no agent %s", item->message.receiver);
        cx_hint(&err, "cx-agents list --all shows what is deployed; this is %s",
                node->config->node_id);
    }
    fail_item(item, &err);
}

static void on_refreshed(void *arg)
{
    route(arg);
}

static bool needs_refresh(const sending *whole)
{
    if (whole->refreshed || whole->call->is_peer)
        return false;
    for (size_t i = 0; i < whole->count; i++)
        if (whole->items[i].open &&
            (whole->items[i].moved ||
             find_target(whole, &whole->items[i].message).kind == NODE_TARGET_UNKNOWN))
            return true;
    return false;
}

static void start_groups(sending *whole, group **groups, size_t count)
{
    whole->outstanding = count;
    for (size_t i = 0; i < count; i++)
        if (groups[i]->node == NULL)
            start_local(groups[i]);
        else
            start_peer(groups[i]);
}

static void route(sending *whole)
{
    node_self *node = whole->call->node;
    CX_AUTO(cx_free) group **groups = cx_alloc(whole->count + 1, sizeof *groups);
    size_t group_count = 0;

    if (needs_refresh(whole)) {
        whole->refreshed = true;
        node_router_refresh(node->router, on_refreshed, whole);
        return;
    }
    for (size_t i = 0; i < whole->count; i++) {
        send_item *item = &whole->items[i];
        node_target target;
        group *chosen;

        if (!item->open)
            continue;
        target = find_target(whole, &item->message);
        if (target.kind != NODE_TARGET_LOCAL && target.kind != NODE_TARGET_PEER) {
            refuse_target(whole->call, item, &target);
            continue;
        }
        chosen = group_of(whole, groups, &group_count, target.node);
        chosen->places[chosen->count++] = i;
        cx_free(&item->agent);
        cx_free(&item->message.lane);
        item->agent = cx_strdup(target.agent);
        item->message.lane = cx_strdup(target.agent);
    }
    if (group_count == 0)
        give_answer(whole);
    else
        start_groups(whole, groups, group_count);
}

/* ---- reading */

static void read_item(const sending *whole, cx_bytes text, const char *where, send_item *item)
{
    const node_call *call = whole->call;
    CX_AUTO(cx_json_free) json_t *json = NULL;
    char id[CX_ULID_SIZE];

    if (!cx_json_parse(text, NODE_MESSAGE_MAX, where, &json, &item->err) ||
        !node_message_parse(json, call->who_text, call->is_peer, &item->message, &item->err)) {
        const char *given = cx_json_text_or_empty(json, "message_id");

        if (given[0] != '\0')
            item->id = cx_strdup(given);
        return;
    }
    if (item->message.id == NULL) {
        cx_ulid(cx_wall_ms(), id);
        item->message.id = cx_strdup(id);
    }
    item->id = cx_strdup(item->message.id);
    item->open = true;
}

static bool read_lines(sending *whole, cx_err *err)
{
    cx_bytes rest = cx_exchange_body(whole->call->exchange);
    char where[32];

    whole->items = cx_alloc(LINES_MAX, sizeof *whole->items);
    while (rest.size > 0) {
        cx_bytes line = next_line(&rest);

        if (line.size == 0 || (line.size == 1 && line.data[0] == '\r'))
            continue;
        if (whole->count == LINES_MAX)
            return cx_fail(err, CX_TOO_LARGE, "more than %d messages in one request", LINES_MAX);
        snprintf(where, sizeof where, "line %zu", whole->count + 1);
        read_item(whole, line, where, &whole->items[whole->count++]);
    }
    return true;
}

static bool read_wait(sending *whole, cx_err *err)
{
    const char *wait = cx_exchange_query(whole->call->exchange, "wait");

    if (wait == NULL || whole->bulk)
        return true;
    if (!cx_duration_parse(wait, &whole->wait_ms, err))
        return cx_wrap(err, "wait");
    if (whole->wait_ms > WAIT_MAX_MS)
        return cx_fail(err, CX_INVALID, "wait: more than %d s", WAIT_MAX_MS / 1000);
    return true;
}

static bool is_open(const node_self *node, cx_err *err)
{
    if (!node->stopping)
        return node_mode_check(&node->mode, node->config->node_id, "send", err);
    cx_fail(err, CX_DRAINING, "%s is stopping", node->config->node_id);
    return cx_hint(err, "send to another node");
}

void node_post_messages(node_call *call)
{
    const char *type = cx_exchange_header(call->exchange, "Content-Type");
    sending *whole = cx_alloc(1, sizeof *whole);
    cx_err err;

    whole->call = call;
    whole->bulk = type != NULL && strncmp(type, "application/x-ndjson", 20) == 0;
    call->gone = on_client_gone;
    call->gone_arg = whole;
    if (!is_open(call->node, &err) || !read_wait(whole, &err) ||
        (whole->bulk && !read_lines(whole, &err))) {
        node_answer_error(call, &err);
        free_send(whole);
        return;
    }
    if (!whole->bulk) {
        whole->items = cx_alloc(1, sizeof *whole->items);
        whole->count = 1;
        read_item(whole, cx_exchange_body(call->exchange), "message", whole->items);
    }
    route(whole);
}
