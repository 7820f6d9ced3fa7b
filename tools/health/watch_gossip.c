/* The gossip agent of this host: while we are connected it tells the cluster, by the tag `watch`, that
 * and where a watcher runs here; and it tells us of members that change: who that is, is known at once,
 * and those that come and go are looked at now and not at the next interval. */
#include <string.h>

#include "base/time.h"
#include "gossip/control.h"
#include "watch.h"

enum {
    ASK_MS = 2000,
    RETRY_MS = 2000,
    JOBS_MAX = 8,
    SOON_MS = 100, /* tags change often: what changes together is asked for together */
};

struct watch_gossip {
    watch_self *watch;
    cx_control *control;
    cx_pool *pool; /* of its own: rounds may hang, and this is what tells why */
    char *socket;
    struct event *readable, *retry, *ask;
    bool asking;
};

/* ---- connecting, in a worker */

struct connect_job {
    struct watch_gossip *gossip;
    const char *socket, *address; /* NULL: nobody reaches us, so that nobody is told */
    cx_control *control;
};

static bool introduce(cx_control *control, const char *address, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *tag = json_pack("{s:s, s:{s:s?}, s:b}", "command", "tags_set", "tags", "watch", address,
                            "while_connected", 1);
    CX_AUTO(cx_json_free)
    json_t *monitor = json_pack("{s:s, s:[s, s, s, s, s, s]}", "command", "monitor", "events",
                                "member_joined", "member_suspect", "member_failed", "member_left",
                                "member_updated", "partition_changed");
    CX_AUTO(cx_json_free) json_t *tagged = NULL;
    CX_AUTO(cx_json_free) json_t *monitored = NULL;

    return (address == NULL || cx_control_ask(control, tag, ASK_MS, &tagged, err)) &&
           cx_control_ask(control, monitor, ASK_MS, &monitored, err);
}

static void connect_work(void *data)
{
    struct connect_job *job = data;
    cx_err err = {0};

    if (cx_control_open(job->socket, ASK_MS, &job->control, &err) &&
        !introduce(job->control, job->address, &err))
        cx_control_close(&job->control);
}

/* ---- who is there, asked in the worker */

struct members_job {
    struct watch_gossip *gossip;
    const char *socket;
    int64_t asked_ms;
    json_t *members;
};

static void members_work(void *data)
{
    struct members_job *job = data;
    CX_AUTO(cx_json_free) json_t *question = json_pack("{s:s}", "command", "members");
    cx_err ignored;

    if (!cx_control_once(job->socket, question, ASK_MS, &job->members, &ignored))
        job->members = NULL;
}

static void members_done(void *data)
{
    struct members_job *job = data;
    watch_self *watch = job->gossip->watch;

    job->gossip->asking = false;
    if (job->members != NULL && !watch->stopping &&
        watch_take_membership(watch, job->members, job->asked_ms))
        watch_events_news(watch);
    cx_json_free(&job->members);
    cx_free(&job);
}

static void on_ask(evutil_socket_t fd, short what, void *arg)
{
    struct watch_gossip *gossip = arg;
    struct members_job *job;

    (void)fd;
    (void)what;
    if (gossip->asking) {
        watch_set_timer(gossip->ask, SOON_MS);
        return;
    }
    job = cx_alloc(1, sizeof *job);
    *job =
        (struct members_job){.gossip = gossip, .socket = gossip->socket, .asked_ms = cx_now_ms()};
    gossip->asking = cx_pool_add(gossip->pool, members_work, members_done, job);
    if (!gossip->asking)
        cx_free(&job);
}

/* ---- in the loop */

static void disconnect(struct watch_gossip *gossip)
{
    if (gossip->readable != NULL)
        event_free(gossip->readable);
    gossip->readable = NULL;
    cx_control_close(&gossip->control);
}

/* A suspect may refute, and tags say nothing about health. */
static bool is_to_be_looked_at(const json_t *line)
{
    const char *event = cx_json_text_or_empty(line, "event");

    return strcmp(event, "member_suspect") != 0 && strcmp(event, "member_updated") != 0;
}

/* What the event is about is asked anew: the membership itself counts, not the order of the news. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct watch_gossip *gossip = arg;
    bool news = false, look = false;
    cx_err err = {0};

    (void)fd;
    (void)what;
    for (;;) {
        CX_AUTO(cx_json_free) json_t *line = NULL;

        if (!cx_control_next(gossip->control, 0, &line, &err))
            break;
        news = true;
        look |= is_to_be_looked_at(line);
    }
    if (err.code != CX_TIMEOUT) {
        disconnect(gossip);
        watch_set_timer(gossip->retry, RETRY_MS);
    }
    if (news && !evtimer_pending(gossip->ask, NULL))
        watch_set_timer(gossip->ask, SOON_MS);
    if (look)
        watch_rounds_now(gossip->watch);
}

static void connect_done(void *data)
{
    struct connect_job *job = data;
    struct watch_gossip *gossip = job->gossip;

    gossip->control = CX_TAKE(job->control);
    if (gossip->control != NULL) {
        gossip->readable = event_new(gossip->watch->loop, cx_control_fd(gossip->control),
                                     EV_READ | EV_PERSIST, on_readable, gossip);
        event_add(gossip->readable, NULL);
        /* A line may have come behind the last answer, and much before it. */
        event_active(gossip->readable, EV_READ, 0);
        watch_set_timer(gossip->ask, 0);
    } else if (!gossip->watch->stopping) {
        watch_set_timer(gossip->retry, RETRY_MS);
    }
    cx_free(&job);
}

static void start(struct watch_gossip *gossip)
{
    struct connect_job *job = cx_alloc(1, sizeof *job);

    *job = (struct connect_job){
        .gossip = gossip, .socket = gossip->socket, .address = watch_peers_address(gossip->watch)};
    if (!cx_pool_add(gossip->pool, connect_work, connect_done, job))
        connect_done(job);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    start(arg);
}

bool watch_gossip_open(watch_self *watch, cx_err *err)
{
    struct watch_gossip *gossip;

    if (watch->once)
        return true;
    gossip = cx_alloc(1, sizeof *gossip);
    gossip->watch = watch;
    gossip->socket = cx_config_run(watch->config, "gossip.sock");
    gossip->retry = evtimer_new(watch->loop, on_retry, gossip);
    gossip->ask = evtimer_new(watch->loop, on_ask, gossip);
    watch->gossip = gossip;
    if (!cx_pool_open(watch->loop, 1, JOBS_MAX, &gossip->pool, err))
        return false;
    start(gossip);
    return true;
}

void watch_gossip_close(watch_self *watch)
{
    struct watch_gossip *gossip = watch->gossip;

    if (gossip == NULL)
        return;
    cx_pool_close(&gossip->pool); /* it may have connected until now */
    disconnect(gossip);
    event_free(gossip->retry);
    event_free(gossip->ask);
    cx_free(&gossip->socket);
    cx_free(&watch->gossip);
}
