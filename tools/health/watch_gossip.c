/* The gossip agent of this host: while we are connected it tells the cluster, by the tag `watch`, that
 * and where a watcher runs here; and it tells us of members that come and go, so that they are looked
 * at now and not at the next interval. */
#include <string.h>

#include "gossip/control.h"
#include "watch.h"

enum { ASK_MS = 2000, RETRY_MS = 2000 };

struct watch_gossip {
    watch_self *watch;
    cx_control *control;
    struct event *readable, *retry;
    bool connecting;
};

/* ---- connecting, in a worker */

struct connect_job {
    struct watch_gossip *gossip;
    char *socket, *address;
    cx_control *control;
};

static bool introduce(cx_control *control, const char *address, cx_err *err)
{
    CX_AUTO(cx_json_free)
    json_t *tag = json_pack("{s:s, s:{s:s}, s:b}", "command", "tags_set", "tags", "watch", address,
                            "while_connected", 1);
    CX_AUTO(cx_json_free)
    json_t *monitor =
        json_pack("{s:s, s:[s, s, s, s]}", "command", "monitor", "events", "member_joined",
                  "member_failed", "member_left", "partition_changed");
    CX_AUTO(cx_json_free) json_t *tagged = NULL;
    CX_AUTO(cx_json_free) json_t *monitored = NULL;

    return cx_control_ask(control, tag, ASK_MS, &tagged, err) &&
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

/* ---- in the loop */

static void disconnect(struct watch_gossip *gossip)
{
    if (gossip->readable != NULL)
        event_free(gossip->readable);
    gossip->readable = NULL;
    cx_control_close(&gossip->control);
}

/* What the event is about is asked anew: the membership itself counts, not the order of the news. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct watch_gossip *gossip = arg;
    bool news = false;
    cx_err err = {0};

    (void)fd;
    (void)what;
    for (;;) {
        CX_AUTO(cx_json_free) json_t *line = NULL;

        if (!cx_control_next(gossip->control, 0, &line, &err))
            break;
        news = true;
    }
    if (err.code != CX_TIMEOUT) {
        disconnect(gossip);
        watch_set_timer(gossip->retry, RETRY_MS);
    }
    if (news)
        watch_rounds_now(gossip->watch);
}

static void connect_done(void *data)
{
    struct connect_job *job = data;
    struct watch_gossip *gossip = job->gossip;

    gossip->connecting = false;
    gossip->control = CX_TAKE(job->control);
    if (gossip->control != NULL) {
        gossip->readable = event_new(gossip->watch->loop, cx_control_fd(gossip->control),
                                     EV_READ | EV_PERSIST, on_readable, gossip);
        event_add(gossip->readable, NULL);
        /* A line may have come behind the last answer. */
        event_active(gossip->readable, EV_READ, 0);
    } else if (!gossip->watch->stopping) {
        watch_set_timer(gossip->retry, RETRY_MS);
    }
    cx_free(&job->socket);
    cx_free(&job->address);
    cx_free(&job);
}

static void start(struct watch_gossip *gossip)
{
    struct connect_job *job = cx_alloc(1, sizeof *job);
    const char *address = watch_peers_address(gossip->watch);

    job->gossip = gossip;
    job->socket = cx_config_run(gossip->watch->config, "gossip.sock");
    job->address = cx_strdup(address);
    gossip->connecting = cx_pool_add(gossip->watch->askers, connect_work, connect_done, job);
    if (!gossip->connecting)
        connect_done(job);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    start(arg);
}

void watch_gossip_open(watch_self *watch)
{
    struct watch_gossip *gossip;

    if (watch_peers_address(watch) == NULL || watch->once)
        return;
    gossip = cx_alloc(1, sizeof *gossip);
    gossip->watch = watch;
    gossip->retry = evtimer_new(watch->loop, on_retry, gossip);
    watch->gossip = gossip;
    start(gossip);
}

void watch_gossip_close(watch_self *watch)
{
    struct watch_gossip *gossip = watch->gossip;

    if (gossip == NULL)
        return;
    disconnect(gossip);
    event_free(gossip->retry);
    cx_free(&watch->gossip);
}
