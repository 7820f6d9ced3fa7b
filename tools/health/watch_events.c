/* GET /api/v1/events: server-sent events. Each event is the whole state, so a client that missed some,
 * or connects again (Last-Event-ID or not), is up to date with the next one. Nothing is queued for a
 * client that has not taken the last one: it gets the newest when it has; one that does not for
 * STALE_MS is dropped. */
#include <string.h>

#include "base/httpd.h"
#include "base/time.h"
#include "watch.h"

enum {
    CLIENTS_MAX = 32,
    SOON_MS = 150,    /* what happens together is told together */
    QUIET_MS = 10000, /* told at least so often: a page knows by it that the watcher lives */
    STALE_MS = 20000,
};

struct client {
    watch_self *watch;
    cx_exchange *exchange; /* NULL: a free place */
    bool behind;
    int64_t sent_ms;
};

struct watch_events {
    struct client clients[CLIENTS_MAX];
    size_t count;
    struct event *timer;
    int64_t due_ms;
    uint64_t number;
};

static void on_gone(void *arg)
{
    struct client *client = arg;

    client->exchange = NULL;
    client->watch->events->count--;
}

static void drop(struct client *client)
{
    cx_exchange_end(client->exchange);
    on_gone(client);
}

static void say(struct client *client, cx_bytes event, int64_t now_ms)
{
    client->behind = cx_exchange_pending_bytes(client->exchange) > 0;
    if (!client->behind) {
        cx_exchange_chunk(client->exchange, event);
        client->sent_ms = now_ms;
    } else if (now_ms - client->sent_ms > STALE_MS) {
        drop(client);
    }
}

static void make_event(watch_self *watch, cx_buffer *event)
{
    CX_AUTO(cx_json_free) json_t *state = watch_state(watch);
    CX_AUTO(cx_free) char *line = cx_json_line(state);

    cx_buffer_addf(event,
                   "id: %llu\nevent: state\ndata: ", (unsigned long long)++watch->events->number);
    cx_buffer_add_text(event, line);
    cx_buffer_add_text(event, "\n\n");
}

static void arm(struct watch_events *events, int64_t after_ms)
{
    events->due_ms = cx_now_ms() + after_ms;
    watch_set_timer(events->timer, after_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    watch_self *watch = arg;
    struct watch_events *events = watch->events;
    CX_AUTO(cx_buffer_free) cx_buffer event = {0};
    bool behind = false;

    (void)fd;
    (void)what;
    if (events->count == 0)
        return;
    make_event(watch, &event);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &events->clients[i];

        if (client->exchange != NULL)
            say(client, cx_buffer_bytes(&event), cx_now_ms());
        behind |= client->exchange != NULL && client->behind;
    }
    arm(events, behind ? QUIET_MS / 10 : QUIET_MS);
}

void watch_events_news(watch_self *watch)
{
    struct watch_events *events = watch->events;

    if (events == NULL || events->count == 0)
        return;
    if (!evtimer_pending(events->timer, NULL) || events->due_ms > cx_now_ms() + SOON_MS)
        arm(events, SOON_MS);
}

void watch_events_answer(watch_self *watch, cx_exchange *exchange)
{
    struct watch_events *events = watch->events;
    CX_AUTO(cx_buffer_free) cx_buffer event = {0};
    struct client *client = events->clients;
    cx_err err;

    if (events->count == CLIENTS_MAX) {
        cx_fail(&err, CX_BUSY, "%d clients watch already", CLIENTS_MAX);
        cx_exchange_answer_error(exchange, &err);
        return;
    }
    while (client->exchange != NULL)
        client++;
    *client = (struct client){.watch = watch, .exchange = exchange, .sent_ms = cx_now_ms()};
    events->count++;
    cx_exchange_start(exchange, 200, "text/event-stream");
    cx_exchange_keep(exchange, on_gone, client);
    cx_buffer_add_text(&event, "retry: 1000\n");
    make_event(watch, &event);
    cx_exchange_chunk(exchange, cx_buffer_bytes(&event));
    if (!cx_exchange_wants_body(exchange)) {
        drop(client);
        return;
    }
    if (!evtimer_pending(events->timer, NULL))
        arm(events, QUIET_MS);
}

void watch_events_open(watch_self *watch)
{
    watch->events = cx_alloc(1, sizeof *watch->events);
    watch->events->timer = evtimer_new(watch->loop, on_timer, watch);
}

void watch_events_close(watch_self *watch)
{
    if (watch->events == NULL)
        return;
    event_free(watch->events->timer);
    cx_free(&watch->events);
}
