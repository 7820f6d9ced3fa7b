/* What became of messages that were sent: results, waiting for a reply, the answer. */
#include <string.h>

#include "base/text.h"
#include "send_parts.h"

void send_free(sending *whole)
{
    for (size_t i = 0; i < whole->count; i++) {
        node_message_free(&whole->items[i].message);
        cx_free(&whole->items[i].id);
        cx_free(&whole->items[i].agent);
        cx_free(&whole->items[i].moved_to);
        cx_json_free(&whole->items[i].result);
    }
    cx_free(&whole->items);
    cx_free(&whole);
}

/* ---- the answer */

/* The error of one message. A peer believes only "known": false, or "moved_to": anything else may be
 * said by a node that has the message. */
static json_t *error_json(const sending *whole, const send_item *item)
{
    json_t *json = cx_err_to_json(&item->err);

    if (whole->bulk && item->id != NULL)
        json_object_set_new(json, "message_id", json_string(item->id));
    if (!whole->call->is_peer)
        return json;
    if (item->moved_to != NULL)
        json_object_set_new(json, "moved_to", json_string(item->moved_to));
    else if (item->looked)
        json_object_set_new(json, "known", json_boolean(item->known));
    return json;
}

static void answer_bulk(sending *whole)
{
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};

    for (size_t i = 0; i < whole->count; i++) {
        send_item *item = &whole->items[i];
        CX_AUTO(cx_json_free)
        json_t *line = item->result != NULL ? json_incref(item->result) : error_json(whole, item);
        CX_AUTO(cx_free) char *text = cx_json_line(line);

        cx_buffer_add_text(&body, text);
        cx_buffer_add_text(&body, "\n");
    }
    node_answer_bytes(whole->call, 200, "application/x-ndjson", cx_buffer_bytes(&body));
    send_free(whole);
}

static void answer_single(sending *whole)
{
    send_item *item = &whole->items[0];
    const char *status = cx_json_text_or_empty(item->result, "status");

    if (item->result == NULL)
        node_answer(whole->call, cx_code_to_http(item->err.code), error_json(whole, item));
    else
        node_answer(whole->call, strcmp(status, "accepted") == 0 ? 202 : 200,
                    CX_TAKE(item->result));
    send_free(whole);
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

/* ---- results */

void send_fail(send_item *item, const cx_err *err)
{
    item->err = *err;
    item->open = false;
}

static void fail_moved(const sending *whole, send_item *item, const char *node)
{
    cx_err err;

    cx_fail(&err, CX_UNAVAILABLE, "%s was moved on to %s", item->id, node);
    cx_hint(&err, "try again with the same message_id");
    cx_free(&item->moved_to);
    item->moved_to = cx_strdup(node);
    item->known = true;
    if (!whole->call->is_peer)
        node_router_set_may_have(whole->call->node->router, item->id, node);
    send_fail(item, &err);
}

static bool was_given_away(const node_message *kept)
{
    return kept->state == NODE_DONE && kept->node != NULL && node_outbox_owns(kept->lane);
}

void send_take_known(const sending *whole, send_item *item, const node_message *kept)
{
    bool is_over = kept->state == NODE_DONE || kept->state == NODE_FAILED;

    item->open = false;
    item->known = true;
    if (was_given_away(kept)) {
        fail_moved(whole, item, kept->node);
        return;
    }
    if (is_over && !whole->bulk) {
        item->result = finished_json(item->id, kept->state, kept->reply, kept->error,
                                     kept->done_at_ms - kept->accepted_at_ms, true);
        return;
    }
    item->result = accepted_json(item->id, true);
    json_object_set_new(item->result, "state", json_string(node_message_state_word(kept->state)));
    cx_free(&item->agent);
    item->agent = cx_strdup(kept->lane); /* it will be finished here */
}

void send_take_acceptance(const sending *whole, send_item *item, const node_acceptance *accepted)
{
    if (accepted->err.code != CX_OK) {
        send_fail(item, &accepted->err);
    } else if (accepted->duplicate) {
        send_take_known(whole, item, &accepted->message);
    } else {
        item->open = false;
        item->result = accepted_json(item->id, false);
    }
}

/* A peer did not take it. */
static void take_refusal(const sending *whole, send_item *item, const json_t *result)
{
    node_router *router = whole->call->node->router;
    const char *moved_to = cx_json_text_or_empty(result, "moved_to");
    cx_err err;

    cx_err_from_json(result, &err);
    if (cx_check_id("node", moved_to, &(cx_err){0})) {
        node_router_set_may_have(router, item->id, moved_to);
        return; /* and on to that one */
    }
    if (json_is_false(json_object_get(result, "known")))
        node_router_set_may_have(router, item->id, NULL);
    if (err.code == CX_NOT_FOUND && !whole->refreshed)
        item->moved = true; /* it lived there: ask everybody again */
    else
        send_fail(item, &err);
}

void send_take_line(const sending *whole, send_item *item, const char *node, cx_bytes line)
{
    CX_AUTO(cx_json_free) json_t *result = NULL;
    cx_err err;

    if (!cx_json_parse(line, NODE_REPLY_MAX * 2, node, &result, &err)) {
        /* Whatever it did, it is its message now. */
        node_router_set_may_have(whole->call->node->router, item->id, node);
        send_fail(item, &err);
        return;
    }
    if (json_is_object(json_object_get(result, "error"))) {
        take_refusal(whole, item, result);
        return;
    }
    node_router_set_may_have(whole->call->node->router, item->id, NULL);
    item->open = false;
    item->result = CX_TAKE(result);
    cx_free(&item->agent); /* the peer has waited: nobody here finishes it */
}

/* ---- waiting for the reply */

static void on_waited(const node_finished *finished, void *arg)
{
    sending *whole = arg;
    send_item *item = &whole->items[0];
    bool duplicate = json_is_true(json_object_get(item->result, "duplicate"));

    whole->waiting = false;
    if (finished != NULL && finished->moved_to == NULL) {
        cx_json_free(&item->result);
        item->result = finished_json(finished->id, finished->state, finished->reply,
                                     finished->error, finished->latency_ms, duplicate);
    } else if (finished != NULL && item->given) {
        /* Who gave no id can't ask again: "accepted" is what is left to say. */
        cx_json_free(&item->result);
        fail_moved(whole, item, finished->moved_to);
    }
    answer_single(whole);
}

void send_on_client_gone(node_call *call)
{
    sending *whole = call->gone_arg;

    if (!whole->waiting)
        return;
    node_waiters_cancel(call->node->waiters, whole->items[0].id, whole);
    answer_single(whole);
}

void send_give_answer(sending *whole)
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
