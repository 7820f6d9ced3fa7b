/* POST /api/v1/messages: one message, or many as NDJSON. Each is routed to the queue here or to the
 * node that hosts its receiver; the answer is given when all are durably accepted, or refused.
 *
 * A receiver with placement any may have been here, or may have got the message on another node
 * before. So its message is looked for in this node's queue by its id before it goes anywhere else,
 * and a node that may have it is the only one that it goes to (router.h, "not twice"). */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "hosting.h"
#include "send_parts.h"

enum {
    LINES_MAX = 1000,
    WAIT_MAX_MS = 10 * 60 * 1000,
    FORWARD_MS = 15000,
    TURNS_MAX = 4, /* a message that is sent on and on */
};

/* A part of the items that goes the same way. */
typedef struct group {
    sending *whole;
    char *node; /* NULL: the own queue */
    size_t *places;
    size_t count;
    cx_buffer body;
} group;

static void route(sending *whole);

/* ---- groups */

/* One part of the work is over; with the last one, what is still open is routed anew. */
static void end_part(sending *whole)
{
    bool again = false;

    if (--whole->outstanding > 0)
        return;
    for (size_t i = 0; i < whole->count; i++)
        again |= whole->items[i].open;
    if (again)
        route(whole);
    else
        send_give_answer(whole);
}

static void end_group(group *ended)
{
    sending *whole = ended->whole;

    cx_free(&ended->node);
    cx_free(&ended->places);
    cx_buffer_free(&ended->body);
    cx_free(&ended);
    end_part(whole);
}

static void on_accepted(node_acceptance *results, size_t count, void *arg)
{
    group *ended = arg;

    for (size_t i = 0; i < count; i++)
        send_take_acceptance(ended->whole, &ended->whole->items[ended->places[i]], &results[i]);
    end_group(ended);
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
            send_take_line(ended->whole, item, ended->node, by_lines ? next_line(&rest) : rest);
            continue;
        }
        if (answer->sent)
            node_router_set_may_have(ended->whole->call->node->router, item->id, ended->node);
        cx_fail(&err, CX_UNAVAILABLE, "%s: %s", ended->node, answer->error.message);
        cx_hint(&err, "%s", answer->error.hint);
        send_fail(item, &err);
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
        if (whole->call->is_peer) {
            message->node = cx_strdup(whole->call->who.name);
            message->left_ms = node_message_left_ms(message, whole->call->node->config->node_id);
        }
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

/* ---- was it here before? */

typedef struct looking {
    sending *whole;
    size_t at;
} looking;

static void on_looked(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    looking *look = arg;
    sending *whole = look->whole;
    send_item *item = &whole->items[look->at];

    cx_free(&look);
    if (err != NULL) {
        send_fail(item, err); /* not looked: nobody may take that for "not here" */
    } else {
        item->looked = true;
        item->known = count > 0;
        if (count > 0)
            send_take_known(whole, item, &messages[0]);
        if (item->moved_to != NULL && !whole->call->is_peer) { /* go after it */
            item->err = (cx_err){0};
            cx_free(&item->moved_to);
            item->open = true;
        }
    }
    end_part(whole);
}

/* An agent that never moves has its messages where it is; for the others, and for peers that want to
 * know what became of a message, it counts. */
static bool needs_look(const sending *whole, const send_item *item, const node_target *target)
{
    const node_self *node = whole->call->node;

    if (item->looked || !item->given || target->kind == NODE_TARGET_LOCAL)
        return item->given && !item->looked && whole->closed.code != CX_OK;
    return whole->call->is_peer || target->kind == NODE_TARGET_BETWEEN ||
           node_capability_of(item->message.receiver) != NULL ||
           node_registry_placed(node->registry, item->message.receiver) != NULL;
}

static void look(sending *whole, size_t at)
{
    looking *started = cx_alloc(1, sizeof *started);

    *started = (looking){whole, at};
    node_queue_find(whole->call->node->queue, whole->items[at].id, on_looked, started);
}

/* ---- routing */

/* A peer forwarded it: it is for an agent of ours or for nobody, so nothing goes in circles. */
static node_target find_target(const sending *whole, const send_item *item)
{
    const node_call *call = whole->call;
    const node_message *message = &item->message;
    const node_router *router = call->node->router;
    const char *holder = call->is_peer ? NULL : node_router_may_have(router, item->id);
    node_target target =
        node_router_find(router, message->receiver,
                         message->conversation_id != NULL ? message->conversation_id : message->id);

    if (call->is_peer && target.kind == NODE_TARGET_PEER)
        target.kind = NODE_TARGET_BETWEEN; /* whoever sent it here will learn where it is */
    if (call->is_peer && target.kind == NODE_TARGET_BETWEEN &&
        !node_placed_is_there(node_registry_placed(call->node->registry, message->receiver)))
        target.kind = NODE_TARGET_UNKNOWN;
    if (holder == NULL)
        return target;
    switch (node_router_reach(router, holder)) {
    case NODE_REACH_THERE:
        return (node_target){.kind = NODE_TARGET_PEER, .agent = message->receiver, .node = holder};
    case NODE_REACH_AWAY: return (node_target){.kind = NODE_TARGET_AWAY, .node = holder};
    case NODE_REACH_SELF:
    case NODE_REACH_GONE: break;
    }
    return target;
}

static void refuse_target(const sending *whole, send_item *item, const node_target *target)
{
    const node_self *node = whole->call->node;
    const char *receiver = item->message.receiver;
    const char *unasked = whole->call->is_peer ? NULL : node_router_unasked(node->router);
    cx_err err;

    switch (target->kind) {
    case NODE_TARGET_AWAY:
        cx_fail(&err, CX_UNAVAILABLE,
                node_router_may_have(node->router, item->id) != NULL
                    ? "%s may be on %s already, which can't be reached"
                    : "%s is on %s, which can't be reached",
                node_router_may_have(node->router, item->id) != NULL ? item->id : receiver,
                target->node);
        cx_hint(&err, "try again when %s is back", target->node);
        break;
    case NODE_TARGET_BETWEEN:
        if (node_hosting_has_majority(node->hosting)) {
            cx_fail(&err, CX_UNAVAILABLE, "%s is on its way to another node", receiver);
            cx_hint(&err, "try again in a moment");
        } else {
            cx_fail(&err, CX_UNAVAILABLE, "%s: %s sees no majority of the cluster", receiver,
                    node->config->node_id);
            cx_hint(&err, "send to a node of the majority");
        }
        break;
    case NODE_TARGET_LOCAL:
    case NODE_TARGET_PEER:
    case NODE_TARGET_UNKNOWN:
        if (unasked != NULL) {
            cx_fail(&err, CX_UNAVAILABLE, "no agent %s is known, and %s could not be asked yet",
                    receiver, unasked);
            cx_hint(&err, "try again in a moment");
            break;
        }
        cx_fail(&err, CX_NOT_FOUND, "no agent %s", receiver);
        cx_hint(&err, "cx-agents list --all shows what is deployed; this is %s",
                node->config->node_id);
        break;
    }
    send_fail(item, &err);
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
             find_target(whole, &whole->items[i]).kind == NODE_TARGET_UNKNOWN))
            return true;
    return false;
}

static void start_groups(sending *whole, group **groups, size_t count)
{
    whole->outstanding += count;
    for (size_t i = 0; i < count; i++)
        if (groups[i]->node == NULL)
            start_local(groups[i]);
        else
            start_peer(groups[i]);
}

/* Starts looking for those that may have been here before; they are routed again after that. */
static bool start_looks(sending *whole)
{
    size_t count = 0;

    whole->outstanding = 1;
    for (size_t i = 0; i < whole->count; i++) {
        node_target target;

        if (!whole->items[i].open)
            continue;
        target = find_target(whole, &whole->items[i]);
        if (!needs_look(whole, &whole->items[i], &target))
            continue;
        count++;
        whole->outstanding++;
        look(whole, i);
    }
    if (count == 0)
        whole->outstanding = 0;
    else
        end_part(whole);
    return count > 0;
}

/* Chooses one item's way; false: it has none. */
static bool choose(sending *whole, send_item *item, node_target *target)
{
    if (whole->closed.code != CX_OK) {
        send_fail(item, &whole->closed);
        return false;
    }
    *target = find_target(whole, item);
    item->moved = false;
    if (++item->turns > TURNS_MAX)
        target->kind = NODE_TARGET_BETWEEN;
    if (target->kind == NODE_TARGET_LOCAL || target->kind == NODE_TARGET_PEER)
        return true;
    refuse_target(whole, item, target);
    return false;
}

static void route(sending *whole)
{
    CX_AUTO(cx_free) group **groups = cx_alloc(whole->count + 1, sizeof *groups);
    size_t group_count = 0;

    if (needs_refresh(whole)) {
        whole->refreshed = true;
        node_router_refresh(whole->call->node->router, on_refreshed, whole);
        return;
    }
    if (start_looks(whole))
        return;
    for (size_t i = 0; i < whole->count; i++) {
        send_item *item = &whole->items[i];
        node_target target;
        group *chosen;

        if (!item->open || !choose(whole, item, &target))
            continue;
        chosen = group_of(whole, groups, &group_count, target.node);
        chosen->places[chosen->count++] = i;
        cx_free(&item->agent);
        cx_free(&item->message.lane);
        item->agent = cx_strdup(target.agent);
        item->message.lane = cx_strdup(target.agent);
    }
    if (group_count == 0)
        send_give_answer(whole);
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
    item->given = item->message.id != NULL;
    if (!item->given) {
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
    call->gone = send_on_client_gone;
    call->gone_arg = whole;
    if (!is_open(call->node, &whole->closed))
        err = whole->closed;
    else
        whole->closed = (cx_err){0};
    /* A peer learns of each message whether it is here; that answer it can count on. */
    if ((whole->closed.code != CX_OK && !call->is_peer) || !read_wait(whole, &err) ||
        (whole->bulk && !read_lines(whole, &err))) {
        node_answer_error(call, &err);
        send_free(whole);
        return;
    }
    if (!whole->bulk) {
        whole->items = cx_alloc(1, sizeof *whole->items);
        whole->count = 1;
        read_item(whole, cx_exchange_body(call->exchange), "message", whole->items);
    }
    route(whole);
}
