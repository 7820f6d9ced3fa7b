#include "outbox.h"

#include <string.h>

#include "backoff.h"
#include "base/map.h"
#include "base/text.h"
#include "base/time.h"
#include "timer.h"

enum {
    BATCH_MAX = 50, /* messages of one lane in one request: at most 13 MiB, usually some kB */
    BATCH_BYTES_MAX = 4 * 1024 * 1024,
    FORWARD_MS = 15000,
    RETRY_FIRST_MS = 250,
    RETRY_MAX_MS = 10000,
};

/* Without any node that takes it, a message fails after a day. */
static const int64_t expiry_ms = INT64_C(24) * 60 * 60 * 1000;

typedef struct lane_out {
    node_outbox *outbox;
    char *lane;
    const char *receiver; /* within lane */
    struct event *timer;
    node_backoff backoff;
    bool busy;
    bool away; /* the last try found nobody */
    node_message *messages;
    size_t count;
    size_t sent;        /* of these, how many are in the request */
    char *node, *agent; /* where it goes */
    size_t unsettled;   /* queue calls under way */
} lane_out;

struct node_outbox {
    node_outbox_options options;
    cx_map *lanes;
    bool stopping;
};

static void pump(lane_out *lane);

static void free_lane(lane_out *lane)
{
    event_free(lane->timer);
    node_messages_free(lane->messages, lane->count);
    cx_free(&lane->node);
    cx_free(&lane->agent);
    cx_free(&lane->lane);
    cx_free(&lane);
}

/* One message's fate is in the queue; after the last of the batch comes the next batch. */
static void on_settled(bool changed, const cx_err *err, void *arg)
{
    lane_out *lane = arg;
    uint32_t random = 0;

    (void)changed;
    if (err != NULL)
        cx_log_error(lane->outbox->options.log, CX_ERROR, "outbox_failed", err);
    if (--lane->unsettled > 0)
        return;
    node_messages_free(lane->messages, lane->count);
    lane->messages = NULL;
    lane->count = 0;
    lane->busy = false;
    if (!lane->away) {
        node_backoff_reset(&lane->backoff);
        pump(lane);
        return;
    }
    cx_random(&random, sizeof random);
    node_timer_set(lane->timer, node_backoff_after(&lane->backoff, 0, random));
}

static void settle(lane_out *lane, const node_message *message, node_message_state state,
                   bool aimed, const char *error)
{
    node_queue_finish(lane->outbox->options.queue,
                      &(node_outcome){.id = message->id,
                                      .lane = lane->lane,
                                      .state = state,
                                      .error = error,
                                      .forwarded = true,
                                      .aimed = aimed,
                                      .durable = true},
                      on_settled, lane);
}

/* It goes back to its place, unless it has waited long enough. */
static void put_back(lane_out *lane, const node_message *message, bool aimed, const char *why)
{
    bool expired = cx_wall_ms() - message->accepted_at_ms > expiry_ms;

    lane->away = true;
    settle(lane, message, expired ? NODE_FAILED : NODE_QUEUED, aimed, why);
}

/* Of those that were sent nobody knows what became of them, when `unknown`. */
static void put_all_back(lane_out *lane, size_t from, bool unknown, const char *why)
{
    for (size_t i = from; i < lane->count; i++)
        put_back(lane, &lane->messages[i],
                 lane->messages[i].node != NULL || (unknown && i < lane->sent), why);
}

/* Worth another try: the peer is busy or draining, or does not host it any more. */
static bool is_passing(cx_code code)
{
    return cx_code_to_http(code) >= 500 || code == CX_NOT_FOUND;
}

static void on_redirected(bool changed, const cx_err *err, void *arg)
{
    (void)changed;
    if (err != NULL)
        cx_log_error(((node_outbox *)arg)->options.log, CX_ERROR, "outbox_failed", err);
}

/* The peer had it and gave it away: perhaps back to us. */
static void redirect(lane_out *lane, const node_message *message, const char *node)
{
    node_outbox *outbox = lane->outbox;
    bool is_ours = strcmp(node, outbox->options.node_id) == 0;

    put_back(lane, message, !is_ours, "it was moved on");
    if (!is_ours)
        node_queue_redirect(outbox->options.queue, message->id, node, on_redirected, outbox);
}

static void take_result(lane_out *lane, const node_message *message, const json_t *result)
{
    const node_outbox_options *options = &lane->outbox->options;
    const char *moved_to = cx_json_text_or_empty(result, "moved_to");
    cx_err err;

    if (json_is_object(result) && json_object_get(result, "error") == NULL) {
        settle(lane, message, NODE_DONE, true, NULL);
        options->gone(message->id, lane->node, options->arg);
        return;
    }
    cx_err_from_json(result, &err);
    if (cx_check_id("node", moved_to, &(cx_err){0}))
        redirect(lane, message, moved_to);
    else if (!is_passing(err.code))
        settle(lane, message, NODE_FAILED, false, err.message);
    else
        put_back(lane, message,
                 message->node != NULL && !json_is_false(json_object_get(result, "known")),
                 err.message);
}

static void ignore_refresh(void *arg)
{
    (void)arg;
}

static void on_forwarded(const cx_http_answer *answer, void *arg)
{
    lane_out *lane = arg;
    cx_bytes rest = cx_buffer_bytes(&answer->body);
    size_t i = 0;
    bool away;
    cx_err err;

    lane->unsettled = lane->count;
    if (answer->status != 200) {
        put_all_back(lane, 0, answer->status == 0 && answer->sent,
                     answer->status == 0 ? answer->error.message : "the peer refused the batch");
        return;
    }
    for (; i < lane->sent; i++) {
        const uint8_t *end = rest.size == 0 ? NULL : memchr(rest.data, '\n', rest.size);
        CX_AUTO(cx_json_free) json_t *result = NULL;
        size_t size = end == NULL ? rest.size : (size_t)(end - rest.data);

        if (!cx_json_parse((cx_bytes){rest.data, size}, NODE_REPLY_MAX, "peer", &result, &err))
            break;
        take_result(lane, &lane->messages[i], result);
        rest.data += size + (end != NULL);
        rest.size -= size + (end != NULL);
    }
    /* What was not sent, or has no answer, waits for the next batch: its place is kept. */
    away = lane->away || i < lane->sent;
    put_all_back(lane, i, true, "not forwarded yet");
    lane->away = away;
}

static bool goes_along(const lane_out *lane, const node_message *message)
{
    const char *first = lane->messages[0].node;

    return first == NULL ? message->node == NULL || strcmp(message->node, lane->node) == 0
                         : message->node != NULL && strcmp(message->node, first) == 0;
}

static void forward(lane_out *lane)
{
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};

    lane->sent = 0;
    while (lane->sent < lane->count && body.size < BATCH_BYTES_MAX &&
           goes_along(lane, &lane->messages[lane->sent]))
        node_message_forward(&lane->messages[lane->sent++], lane->agent,
                             lane->outbox->options.node_id, cx_wall_ms(), &body);
    node_router_forward(lane->outbox->options.router,
                        &(node_forward){.node = lane->node,
                                        .content_type = "application/x-ndjson",
                                        .query = "",
                                        .body = cx_buffer_bytes(&body),
                                        .timeout_ms = FORWARD_MS},
                        on_forwarded, lane);
}

static void on_aimed(bool changed, const cx_err *err, void *arg)
{
    lane_out *lane = arg;

    (void)changed;
    if (err == NULL) {
        forward(lane);
        return;
    }
    lane->unsettled = lane->count;
    lane->sent = 0;
    put_all_back(lane, 0, false, err->message);
}

/* Where they go is on disk before they go. */
static void aim(lane_out *lane, const node_target *target)
{
    CX_AUTO(cx_free) const char **ids = cx_alloc(lane->count, sizeof *ids);
    size_t count = 0;

    cx_free(&lane->node);
    cx_free(&lane->agent);
    lane->node = cx_strdup(target->node);
    lane->agent = cx_strdup(target->agent);
    for (size_t i = 0; i < lane->count; i++)
        if (lane->messages[i].node == NULL)
            ids[count++] = lane->messages[i].id;
    if (lane->messages[0].node != NULL)
        forward(lane);
    else
        node_queue_aim(lane->outbox->options.queue, ids, count, target->node, on_aimed, lane);
}

/* Another node may have it. */
static bool is_bound(const lane_out *lane, const node_message *message)
{
    if (message->node == NULL)
        return false;
    switch (node_router_reach(lane->outbox->options.router, message->node)) {
    case NODE_REACH_THERE:
    case NODE_REACH_AWAY: return true;
    case NODE_REACH_SELF:
    case NODE_REACH_GONE: break;
    }
    return false;
}

/* An agent of ours has the name now. */
static void bring_home(lane_out *lane, const char *agent)
{
    lane->unsettled = lane->count;
    for (size_t i = 0; i < lane->count; i++) {
        const node_message *message = &lane->messages[i];

        if (is_bound(lane, message))
            put_back(lane, message, true, "another node may have it");
        else
            node_queue_move(lane->outbox->options.queue, message->id, lane->lane, agent, on_settled,
                            lane);
    }
}

/* Where the first of the batch goes; the others go along or wait. */
static node_target find_target(const lane_out *lane)
{
    const node_router *router = lane->outbox->options.router;
    const node_message *first = &lane->messages[0];
    node_target target =
        node_router_find(router, lane->receiver,
                         first->conversation_id != NULL ? first->conversation_id : first->id);

    if (first->node == NULL)
        return target;
    switch (node_router_reach(router, first->node)) {
    case NODE_REACH_AWAY: return (node_target){.kind = NODE_TARGET_AWAY, .node = first->node};
    case NODE_REACH_THERE:
        return (node_target){
            .kind = NODE_TARGET_PEER, .agent = lane->receiver, .node = first->node};
    case NODE_REACH_SELF:
    case NODE_REACH_GONE: break; /* it can't have it */
    }
    return target;
}

static const char *why_not(const node_target *target)
{
    switch (target->kind) {
    case NODE_TARGET_AWAY: return "the node that hosts it, or may have it, is away";
    case NODE_TARGET_BETWEEN: return "it is on its way to another node";
    case NODE_TARGET_LOCAL:
    case NODE_TARGET_PEER:
    case NODE_TARGET_UNKNOWN: break;
    }
    return "no node hosts it";
}

static void on_taken(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    lane_out *lane = arg;
    node_target target;

    lane->busy = count > 0;
    if (err != NULL)
        node_timer_set(lane->timer, RETRY_MAX_MS);
    if (count == 0)
        return;
    lane->messages = cx_alloc(count, sizeof *messages);
    memcpy(lane->messages, messages, count * sizeof *messages);
    memset(messages, 0, count * sizeof *messages);
    lane->count = count;
    lane->away = false;
    target = find_target(lane);
    switch (target.kind) {
    case NODE_TARGET_LOCAL: bring_home(lane, target.agent); return;
    case NODE_TARGET_PEER: aim(lane, &target); return;
    case NODE_TARGET_AWAY:
    case NODE_TARGET_BETWEEN:
    case NODE_TARGET_UNKNOWN: break;
    }
    lane->unsettled = count;
    lane->sent = 0;
    put_all_back(lane, 0, false, why_not(&target));
    node_router_refresh(lane->outbox->options.router, ignore_refresh, NULL);
}

static void pump(lane_out *lane)
{
    node_outbox *outbox = lane->outbox;

    if (lane->busy || outbox->stopping)
        return;
    event_del(lane->timer);
    if (node_queue_counts(outbox->options.queue, lane->lane).queued <= 0) {
        cx_map_remove(outbox->lanes, lane->lane);
        free_lane(lane);
        return;
    }
    lane->busy = true;
    /* Messages to a capability may go to different agents: each finds its own way. */
    node_queue_take(outbox->options.queue, lane->lane,
                    node_capability_of(lane->receiver) == NULL ? BATCH_MAX : 1, on_taken, lane);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pump(arg);
}

node_outbox *node_outbox_open(const node_outbox_options *options)
{
    node_outbox *outbox = cx_alloc(1, sizeof *outbox);

    outbox->options = *options;
    outbox->lanes = cx_map_open();
    return outbox;
}

void node_outbox_close(node_outbox **owner)
{
    node_outbox *outbox = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (outbox == NULL)
        return;
    while (cx_map_next(outbox->lanes, &cursor, NULL, &value))
        free_lane(value);
    cx_map_close(&outbox->lanes);
    cx_free(owner);
}

bool node_outbox_owns(const char *lane)
{
    return strncmp(lane, NODE_LANE_OUT, strlen(NODE_LANE_OUT)) == 0;
}

void node_outbox_queued(node_outbox *outbox, const char *lane)
{
    lane_out *found = cx_map_get(outbox->lanes, lane);

    if (found == NULL) {
        found = cx_alloc(1, sizeof *found);
        found->outbox = outbox;
        found->lane = cx_strdup(lane);
        found->receiver = found->lane + strlen(NODE_LANE_OUT);
        found->timer = evtimer_new(outbox->options.loop, on_timer, found);
        found->backoff = (node_backoff){
            .first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS, .healthy_ms = RETRY_MAX_MS};
        cx_map_put(outbox->lanes, lane, found);
    }
    /* While it backs off, what is new waits with the rest. */
    if (!evtimer_pending(found->timer, NULL))
        pump(found);
}

void node_outbox_stop(node_outbox *outbox)
{
    outbox->stopping = true;
}

void node_outbox_wake(node_outbox *outbox)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(outbox->lanes, &cursor, NULL, &value)) {
        lane_out *lane = value;

        if (!lane->busy)
            node_timer_set(lane->timer, 0);
    }
}
