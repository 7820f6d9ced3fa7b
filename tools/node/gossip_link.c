#include "gossip_link.h"

#include <string.h>
#include <sys/un.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "backoff.h"
#include "base/text.h"
#include "base/time.h"
#include "gossip/control.h"
#include "lines.h"
#include "timer.h"

enum {
    RECONNECT_FIRST_MS = 200,
    RECONNECT_MAX_MS = 5000,
    ANSWER_MS = 5000,   /* an agent that takes longer is as good as gone */
    SETTLE_MS = 50,     /* changes within it are told at once */
    REFRESH_MS = 30000, /* members are asked for again, even when nothing was heard */
    QUESTIONS_MAX = 256,
};

typedef struct question {
    struct question *next;
    node_gossip_answered *answered;
    void *arg;
} question;

/* One connection: questions and their answers in order, or the stream of events. */
typedef struct line {
    node_gossip *gossip;
    struct bufferevent *socket;
    node_lines lines;
    bool up;
} line;

struct node_gossip {
    node_gossip_options options;
    line asks, events;
    question *first, **last;
    size_t question_count;
    struct event *connect_timer, *answer_timer, *members_timer, *tags_timer;
    node_backoff backoff;
    bool told_missing; /* the log knows that there is no agent */
    bool closing;
};

static void fail_questions(node_gossip *gossip, const char *why)
{
    cx_err err;

    cx_fail(&err, CX_UNAVAILABLE, "the gossip agent at %s: %s", gossip->options.socket_path, why);
    cx_hint(&err, "start cx-gossip agent on this host");
    while (gossip->first != NULL) {
        question *each = gossip->first;

        gossip->first = each->next;
        if (gossip->first == NULL)
            gossip->last = &gossip->first;
        gossip->question_count--;
        each->answered(NULL, &err, each->arg);
        cx_free(&each);
    }
}

static void close_line(line *end)
{
    if (end->socket != NULL)
        bufferevent_free(end->socket);
    end->socket = NULL;
    end->up = false;
    node_lines_free(&end->lines);
}

static void disconnect(node_gossip *gossip, const char *why)
{
    bool was_up = gossip->asks.up;
    uint32_t random = 0;

    if (was_up || !gossip->told_missing)
        cx_log_write(gossip->options.log, CX_WARN, "gossip_disconnected", "{s:s, s:s}", "socket",
                     gossip->options.socket_path, "reason", why);
    gossip->told_missing = true;
    close_line(&gossip->asks);
    close_line(&gossip->events);
    event_del(gossip->answer_timer);
    event_del(gossip->members_timer);
    event_del(gossip->tags_timer);
    fail_questions(gossip, why);
    if (was_up)
        gossip->options.members(NULL, gossip->options.arg);
    cx_random(&random, sizeof random);
    node_timer_set(gossip->connect_timer,
                   node_backoff_after(&gossip->backoff, was_up ? RECONNECT_MAX_MS : 0, random));
}

static void send_line(line *end, const json_t *json)
{
    CX_AUTO(cx_free) char *text = cx_json_line(json);

    bufferevent_write(end->socket, text, strlen(text));
    bufferevent_write(end->socket, "\n", 1);
}

static void on_members(const json_t *answer, const cx_err *err, void *arg)
{
    node_gossip *gossip = arg;

    node_timer_set(gossip->members_timer, REFRESH_MS);
    if (err == NULL)
        gossip->options.members(answer, gossip->options.arg);
    else if (!gossip->closing)
        cx_log_error(gossip->options.log, CX_WARN, "gossip_members_failed", err);
}

static void on_tags_set(const json_t *answer, const cx_err *err, void *arg)
{
    node_gossip *gossip = arg;

    (void)answer;
    /* Ours is the end of the asking: nothing is wrong with the agent. */
    if (err != NULL && !gossip->closing)
        cx_log_error(gossip->options.log, CX_WARN, "gossip_tags_failed", err);
}

static void on_members_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    node_gossip_ask(arg, json_pack("{s:s}", "command", "members"), on_members, arg);
}

static void on_tags_timer(evutil_socket_t fd, short what, void *arg)
{
    node_gossip *gossip = arg;

    (void)fd;
    (void)what;
    node_gossip_ask(gossip,
                    json_pack("{s:s, s:o}", "command", "tags_set", "tags",
                              gossip->options.tags(gossip->options.arg)),
                    on_tags_set, gossip);
}

static void take_answer(node_gossip *gossip, const json_t *answer)
{
    question *answered = gossip->first;
    cx_err err;

    if (answered == NULL) {
        disconnect(gossip, "an answer that nobody asked for");
        return;
    }
    gossip->first = answered->next;
    if (gossip->first == NULL) {
        gossip->last = &gossip->first;
        event_del(gossip->answer_timer);
    } else {
        node_timer_set(gossip->answer_timer, ANSWER_MS);
    }
    gossip->question_count--;
    if (json_object_get(answer, "error") != NULL) {
        cx_err_from_json(answer, &err);
        answered->answered(NULL, &err, answered->arg);
    } else {
        answered->answered(answer, NULL, answered->arg);
    }
    cx_free(&answered);
}

/* Takes one line; false when the connection is gone afterwards. */
static bool take_line(line *end, cx_bytes text)
{
    node_gossip *gossip = end->gossip;
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_err err;

    if (!cx_json_parse(text, CX_CONTROL_LINE_MAX, "gossip agent", &json, &err)) {
        disconnect(gossip, err.message);
        return false;
    }
    if (end == &gossip->asks)
        take_answer(gossip, json);
    else if (gossip->asks.up)
        node_timer_set(gossip->members_timer, SETTLE_MS);
    return end->socket != NULL;
}

static void on_read(struct bufferevent *socket, void *arg)
{
    line *end = arg;
    struct evbuffer *input = bufferevent_get_input(socket);
    cx_bytes text = {0};

    for (;;) {
        size_t size = evbuffer_get_contiguous_space(input);
        node_line_kind kind;

        if (size == 0)
            return;
        node_lines_add(&end->lines, (cx_bytes){evbuffer_pullup(input, (ev_ssize_t)size), size});
        evbuffer_drain(input, size);
        while ((kind = node_lines_next(&end->lines, &text)) != NODE_LINE_NONE) {
            if (kind == NODE_LINE_TOO_LONG) {
                disconnect(end->gossip, "a line is too long");
                return;
            }
            if (!take_line(end, text))
                return;
        }
    }
}

static void greet(node_gossip *gossip)
{
    CX_AUTO(cx_json_free)
    json_t *monitor = json_pack("{s:s, s:[]}", "command", "monitor", "events");

    gossip->told_missing = false;
    node_backoff_reset(&gossip->backoff);
    cx_log_write(gossip->options.log, CX_INFO, "gossip_connected", "{s:s}", "socket",
                 gossip->options.socket_path);
    send_line(&gossip->events, monitor);
    node_timer_set(gossip->tags_timer, 0);
    node_timer_set(gossip->members_timer, 0);
}

static void on_event(struct bufferevent *socket, short what, void *arg)
{
    line *end = arg;

    (void)socket;
    if (what & BEV_EVENT_CONNECTED) {
        end->up = true;
        if (end->gossip->asks.up && end->gossip->events.up)
            greet(end->gossip);
        return;
    }
    disconnect(end->gossip, what & BEV_EVENT_EOF
                                ? "it closed the connection"
                                : evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

/* False when it failed at once; disconnect() was called then. */
static bool connect_line(line *end)
{
    node_gossip *gossip = end->gossip;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(gossip->options.socket_path) >= sizeof address.sun_path) {
        disconnect(gossip, "the path is too long");
        return false;
    }
    strcpy(address.sun_path, gossip->options.socket_path);
    end->lines.line_max = CX_CONTROL_LINE_MAX;
    end->socket = bufferevent_socket_new(gossip->options.loop, -1,
                                         BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(end->socket, on_read, NULL, on_event, end);
    bufferevent_enable(end->socket, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(end->socket, (struct sockaddr *)&address, sizeof address) == 0)
        return true;
    disconnect(gossip, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    return false;
}

static void on_connect_timer(evutil_socket_t fd, short what, void *arg)
{
    node_gossip *gossip = arg;

    (void)fd;
    (void)what;
    if (connect_line(&gossip->asks))
        (void)!connect_line(&gossip->events);
}

static void on_answer_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    disconnect(arg, "no answer in time");
}

node_gossip *node_gossip_open(const node_gossip_options *options)
{
    node_gossip *gossip = cx_alloc(1, sizeof *gossip);

    gossip->options = *options;
    gossip->asks.gossip = gossip->events.gossip = gossip;
    gossip->last = &gossip->first;
    gossip->backoff = (node_backoff){
        .first_ms = RECONNECT_FIRST_MS, .max_ms = RECONNECT_MAX_MS, .healthy_ms = RECONNECT_MAX_MS};
    gossip->connect_timer = evtimer_new(options->loop, on_connect_timer, gossip);
    gossip->answer_timer = evtimer_new(options->loop, on_answer_timer, gossip);
    gossip->members_timer = evtimer_new(options->loop, on_members_timer, gossip);
    gossip->tags_timer = evtimer_new(options->loop, on_tags_timer, gossip);
    node_timer_set(gossip->connect_timer, 0);
    return gossip;
}

void node_gossip_close(node_gossip **owner)
{
    node_gossip *gossip = *owner;

    if (gossip == NULL)
        return;
    gossip->closing = true;
    close_line(&gossip->asks);
    close_line(&gossip->events);
    fail_questions(gossip, "the node is stopping");
    event_free(gossip->connect_timer);
    event_free(gossip->answer_timer);
    event_free(gossip->members_timer);
    event_free(gossip->tags_timer);
    cx_free(owner);
}

bool node_gossip_is_connected(const node_gossip *gossip)
{
    return gossip->asks.up && gossip->events.up;
}

void node_gossip_tags_changed(node_gossip *gossip)
{
    if (node_gossip_is_connected(gossip) && !evtimer_pending(gossip->tags_timer, NULL))
        node_timer_set(gossip->tags_timer, SETTLE_MS);
}

void node_gossip_ask(node_gossip *gossip, json_t *asked, node_gossip_answered *answered, void *arg)
{
    CX_AUTO(cx_json_free) json_t *json = asked;
    question *added;
    cx_err err;

    if (!node_gossip_is_connected(gossip) || gossip->question_count >= QUESTIONS_MAX) {
        cx_fail(&err, CX_UNAVAILABLE, "no gossip agent at %s", gossip->options.socket_path);
        cx_hint(&err, "start cx-gossip agent on this host");
        answered(NULL, &err, arg);
        return;
    }
    added = cx_alloc(1, sizeof *added);
    added->answered = answered;
    added->arg = arg;
    *gossip->last = added;
    gossip->last = &added->next;
    if (gossip->question_count++ == 0)
        node_timer_set(gossip->answer_timer, ANSWER_MS);
    send_line(&gossip->asks, json);
}
