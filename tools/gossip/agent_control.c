#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "agent.h"
#include "base/io.h"
#include "base/listener.h"
#include "base/text.h"

enum { TAGS_MAX = 64, PENDING_MAX = 256, BACKLOG = 16 };

struct client {
    struct agent_control *control;
    struct bufferevent *io;
    uint64_t id;
    bool monitor, ending;
    bool dropped;   /* is freed by on_sweep: callbacks further up may still hold it */
    cx_list lent;   /* keys of tags that are there while it is connected */
    cx_list events; /* monitor: only these; empty: all */
    TAILQ_ENTRY(client) next;
};

/* A request that waits for the core. A rejoin has two parts: the members known and the seeds. */
struct pending {
    uint64_t client, ticket;
    size_t parts, joined;
    cx_gossip_event_kind kind;
    char *node;
    cx_err err;
    bool any_done, changed;
    int64_t rtt_us;
    TAILQ_ENTRY(pending) next;
};

struct agent_control {
    struct agent *agent;
    char *path;
    cx_listener *listener;
    struct event *sweep;
    uint64_t next_client;
    size_t client_count, pending_count;
    bool closing;
    TAILQ_HEAD(, client) clients;
    TAILQ_HEAD(, pending) pending;
};

/* ---- clients */

/* Its tags go with it, but for those that somebody else lends as well (it reconnected, and its old
 * connection ends only now). */
static void take_tags_back(struct client *client)
{
    struct agent *agent = client->control->agent;
    const char *keys[TAGS_MAX];
    cx_gossip_event event = {.kind = CX_GOSSIP_ON_TAGS, .unset = keys};

    for (size_t i = 0; i < client->lent.count; i++) {
        struct client *other;
        bool kept = false;

        TAILQ_FOREACH (other, &client->control->clients, next)
            kept |= cx_list_has(&other->lent, client->lent.items[i]);
        if (!kept)
            keys[event.unset_count++] = client->lent.items[i];
    }
    if (event.unset_count == 0 || agent->ended || client->control->closing)
        return;
    event.ticket = agent->next_ticket++;
    agent_input(agent, &event);
}

static void client_free(struct client *client)
{
    TAILQ_REMOVE(&client->control->clients, client, next);
    client->control->client_count--;
    take_tags_back(client);
    cx_list_free(&client->lent);
    bufferevent_free(client->io);
    cx_list_free(&client->events);
    cx_free(&client);
}

static void on_sweep(evutil_socket_t fd, short what, void *data)
{
    struct agent_control *control = data;
    struct client *client = TAILQ_FIRST(&control->clients);

    (void)fd, (void)what;
    for (struct client *next; client; client = next) {
        next = TAILQ_NEXT(client, next);
        if (client->dropped)
            client_free(client);
    }
}

/* A client that doesn't read what it asked for. */
static void drop_if_full(struct client *client)
{
    if (client->dropped ||
        evbuffer_get_length(bufferevent_get_output(client->io)) <= CLIENT_OUTPUT_MAX)
        return;
    cx_log_write(&client->control->agent->log, CX_WARN, "control_client_dropped", "{s:s}", "reason",
                 "it does not read");
    client->dropped = true;
    bufferevent_disable(client->io, EV_READ | EV_WRITE);
    event_active(client->control->sweep, EV_TIMEOUT, 0);
}

static struct client *find_client(struct agent_control *control, uint64_t id)
{
    struct client *client;

    TAILQ_FOREACH (client, &control->clients, next)
        if (client->id == id && !client->dropped)
            return client;
    return NULL;
}

/* Takes the document. */
static void reply(struct client *client, json_t *document)
{
    CX_AUTO(cx_json_free) json_t *owned = document;
    CX_AUTO(cx_free) char *line = cx_json_line(owned);

    bufferevent_write(client->io, line, strlen(line));
    bufferevent_write(client->io, "\n", 1);
}

static void reply_error(struct client *client, const cx_err *err)
{
    reply(client, cx_err_to_json(err));
}

/* ---- answers of the core */

static void pending_free(struct agent_control *control, struct pending *pending)
{
    TAILQ_REMOVE(&control->pending, pending, next);
    control->pending_count--;
    cx_free(&pending->node);
    cx_free(&pending);
}

static json_t *pending_json(const struct pending *pending)
{
    json_t *json = json_object();

    switch (pending->kind) {
    case CX_GOSSIP_ON_JOIN:
    case CX_GOSSIP_ON_REJOIN:
        json_object_set_new(json, "changed", json_boolean(pending->joined > 0));
        json_object_set_new(json, "joined", json_integer((json_int_t)pending->joined));
        break;
    case CX_GOSSIP_ON_LEAVE: json_object_set_new(json, "changed", json_true()); break;
    case CX_GOSSIP_ON_PING:
        json_object_set_new(json, "node_id", cx_json_text(pending->node));
        json_object_set_new(json, "rtt_ms", cx_json_figure((double)pending->rtt_us / 1000.0));
        break;
    default: json_object_set_new(json, "changed", json_boolean(pending->changed)); break;
    }
    if (pending->kind == CX_GOSSIP_ON_REMOVE)
        json_object_set_new(json, "node_id", cx_json_text(pending->node));
    return json;
}

static void pending_part_done(struct agent_control *control, struct pending *pending,
                              const cx_err *err)
{
    if (err->code == CX_OK)
        pending->any_done = true;
    else
        pending->err = *err;
    if (--pending->parts > 0)
        return;

    struct client *client = find_client(control, pending->client);

    if (client && (pending->any_done || pending->err.code == CX_OK))
        reply(client, pending_json(pending));
    else if (client)
        reply_error(client, &pending->err);
    pending_free(control, pending);
}

static struct pending *find_pending(struct agent_control *control, uint64_t ticket)
{
    struct pending *pending;

    TAILQ_FOREACH (pending, &control->pending, next)
        if (pending->ticket == ticket)
            return pending;
    return NULL;
}

void agent_control_answer(struct agent_control *control, const cx_gossip_action *answer)
{
    struct pending *pending = control ? find_pending(control, answer->ticket) : NULL;

    if (!pending)
        return;
    pending->joined += answer->joined;
    pending->rtt_us = answer->rtt_us;
    pending->changed |= answer->changed;
    pending_part_done(control, pending, answer->err);
}

static struct pending *expect_answer(struct client *client, cx_gossip_event_kind kind,
                                     const char *node)
{
    struct agent_control *control = client->control;
    struct pending *pending = cx_alloc(1, sizeof *pending);

    pending->client = client->id;
    pending->ticket = control->agent->next_ticket++;
    pending->kind = kind;
    pending->parts = 1;
    pending->node = cx_strdup(node);
    TAILQ_INSERT_TAIL(&control->pending, pending, next);
    control->pending_count++;
    return pending;
}

/* ---- requests */

static void joined_resolved(struct agent *agent, const struct agent_resolved *resolved,
                            uint64_t ticket)
{
    struct pending *pending = find_pending(agent->control, ticket);

    if (!pending)
        return;
    if (resolved->count > 0) {
        agent_input(agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_JOIN,
                                              .ticket = ticket,
                                              .addrs = resolved->addrs,
                                              .addr_count = resolved->count});
        return;
    }

    cx_err err = {0};

    cx_fail(&err, CX_UNAVAILABLE, "%s", resolved->failed);
    pending_part_done(agent->control, pending, &err);
}

static bool read_names(const json_t *request, const char *key, cx_list *names, cx_err *err)
{
    const json_t *list = json_object_get(request, key);

    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > ADDRESSES_MAX)
        return cx_fail(err, CX_INVALID, "%s: a list of 1 to %d texts is needed", key,
                       ADDRESSES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (!text)
            return cx_fail(err, CX_INVALID, "%s[%zu]: not a text", key, i);
        cx_list_add(names, text);
    }
    return true;
}

static bool on_join(struct client *client, const json_t *request, cx_err *err)
{
    struct agent *agent = client->control->agent;
    CX_AUTO(cx_list_free) cx_list names = {0};

    if (!read_names(request, "addresses", &names, err))
        return false;
    if (json_is_true(json_object_get(request, "dry_run"))) {
        reply(client, json_pack("{s:b, s:b}", "changed", 0, "dry_run", 1));
        return true;
    }

    struct pending *pending = expect_answer(client, CX_GOSSIP_ON_JOIN, NULL);

    if (agent_resolve(agent, &names, pending->ticket, joined_resolved))
        return true;
    pending_free(client->control, pending);
    return cx_fail(err, CX_BUSY, "too many joins are under way");
}

static bool on_rejoin(struct client *client, const json_t *request, cx_err *err)
{
    struct agent *agent = client->control->agent;

    (void)err;
    if (json_is_true(json_object_get(request, "dry_run"))) {
        reply(client, json_pack("{s:b, s:b}", "changed", 0, "dry_run", 1));
        return true;
    }

    struct pending *pending = expect_answer(client, CX_GOSSIP_ON_REJOIN, NULL);
    uint64_t ticket = pending->ticket;

    if (agent->settings->join->count > 0) {
        pending->parts++;
        if (!agent_resolve(agent, agent->settings->join, ticket, joined_resolved))
            pending->parts--;
    }
    agent_input(agent, &(cx_gossip_event){.kind = CX_GOSSIP_ON_REJOIN, .ticket = ticket});
    return true;
}

static bool on_leave(struct client *client, const json_t *request, cx_err *err)
{
    struct agent *agent = client->control->agent;

    if (agent->leaving)
        return cx_fail(err, CX_BUSY, "the agent is leaving already");
    if (json_is_true(json_object_get(request, "dry_run"))) {
        reply(client, json_pack("{s:b, s:b}", "changed", 0, "dry_run", 1));
        return true;
    }
    agent_leave(agent, expect_answer(client, CX_GOSSIP_ON_LEAVE, NULL)->ticket);
    return true;
}

static bool need_member(struct client *client, const json_t *request, const char **node,
                        cx_err *err)
{
    if (!cx_json_need_text(request, "request", "node", node, err))
        return false;
    if (cx_gossip_find(client->control->agent->core, *node))
        return true;
    cx_fail(err, CX_NOT_FOUND, "no member is named %s", *node);
    return cx_hint(err, "cx-gossip members lists them");
}

static bool on_remove(struct client *client, const json_t *request, cx_err *err)
{
    const char *node = NULL;
    bool prune = false;

    if (!need_member(client, request, &node, err) ||
        !cx_json_get_bool(request, "request", "prune", &prune, err))
        return false;
    if (json_is_true(json_object_get(request, "dry_run"))) {
        reply(client, json_pack("{s:b, s:b, s:s}", "changed", 0, "dry_run", 1, "node_id", node));
        return true;
    }
    agent_input(
        client->control->agent,
        &(cx_gossip_event){.kind = CX_GOSSIP_ON_REMOVE,
                           .ticket = expect_answer(client, CX_GOSSIP_ON_REMOVE, node)->ticket,
                           .node = node,
                           .prune = prune});
    return true;
}

static bool on_ping(struct client *client, const json_t *request, cx_err *err)
{
    const char *node = NULL;

    if (!need_member(client, request, &node, err))
        return false;
    agent_input(client->control->agent,
                &(cx_gossip_event){.kind = CX_GOSSIP_ON_PING,
                                   .ticket = expect_answer(client, CX_GOSSIP_ON_PING, node)->ticket,
                                   .node = node});
    return true;
}

/* What set and unset would make of the own tags. */
static bool tags_would_change(const cx_gossip_member *self, const cx_gossip_event *event)
{
    for (size_t i = 0; i < event->set_count; i++) {
        bool same = false;

        for (size_t j = 0; self && j < self->tag_count; j++)
            same |= strcmp(self->tags[j].key, event->set[i].key) == 0 &&
                    strcmp(self->tags[j].value, event->set[i].value) == 0;
        if (!same)
            return true;
    }
    for (size_t i = 0; i < event->unset_count; i++)
        for (size_t j = 0; self && j < self->tag_count; j++)
            if (strcmp(self->tags[j].key, event->unset[i]) == 0)
                return true;
    return false;
}

static bool give_tags(struct client *client, const json_t *request, cx_gossip_event *event,
                      cx_err *err)
{
    struct agent *agent = client->control->agent;

    (void)err;
    if (json_is_true(json_object_get(request, "dry_run"))) {
        const cx_gossip_member *self = cx_gossip_find(agent->core, agent->settings->node_id);

        reply(client,
              json_pack("{s:b, s:b}", "changed", tags_would_change(self, event), "dry_run", 1));
        return true;
    }
    event->kind = CX_GOSSIP_ON_TAGS;
    event->ticket = expect_answer(client, CX_GOSSIP_ON_TAGS, NULL)->ticket;
    agent_input(agent, event);
    return true;
}

static bool on_tags_set(struct client *client, const json_t *request, cx_err *err)
{
    json_t *object = json_object_get(request, "tags");
    cx_gossip_tag tags[TAGS_MAX];
    cx_gossip_event event = {.set = tags};
    bool lent = false;
    const char *key;
    json_t *value;

    if (!cx_json_get_bool(request, "request", "while_connected", &lent, err))
        return false;

    if (!json_is_object(object) || json_object_size(object) > TAGS_MAX)
        return cx_fail(err, CX_INVALID, "tags: an object of at most %d texts is needed", TAGS_MAX);
    json_object_foreach (object, key, value) {
        if (!cx_check_id("tag", key, err))
            return false;
        if (!json_is_string(value))
            return cx_fail(err, CX_INVALID, "tags.%s: not a text", key);
        tags[event.set_count++] = (cx_gossip_tag){key, json_string_value(value)};
    }
    for (size_t i = 0; lent && i < event.set_count && client->lent.count < TAGS_MAX; i++)
        if (!cx_list_has(&client->lent, tags[i].key))
            cx_list_add(&client->lent, tags[i].key);
    return give_tags(client, request, &event, err);
}

static bool on_tags_unset(struct client *client, const json_t *request, cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list keys = {0};

    if (!read_names(request, "keys", &keys, err))
        return false;

    cx_gossip_event event = {.unset = (const char *const *)keys.items, .unset_count = keys.count};

    return give_tags(client, request, &event, err);
}

static bool on_monitor(struct client *client, const json_t *request, cx_err *err)
{
    cx_list_free(&client->events);
    if (json_array_size(json_object_get(request, "events")) > 0 &&
        !read_names(request, "events", &client->events, err))
        return false;
    client->monitor = true;
    reply(client, json_pack("{s:b}", "ok", 1));
    return true;
}

static bool on_members(struct client *client, const json_t *request, cx_err *err)
{
    struct agent *agent = client->control->agent;
    const char *why = NULL;

    if (!cx_json_get_text(request, "request", "why", &why, err))
        return false;
    if (!why) {
        reply(client, agent_members_json(agent->core, agent_since_offset_ms()));
        return true;
    }

    json_t *json = agent_why_json(agent->core, why, agent_since_offset_ms());

    if (!json)
        return cx_fail(err, CX_NOT_FOUND, "no member is named %s", why);
    reply(client, json);
    return true;
}

static bool on_status(struct client *client, const json_t *request, cx_err *err)
{
    (void)request, (void)err;
    reply(client, agent_status_json(client->control->agent->core));
    return true;
}

static const struct {
    const char *name;
    bool (*run)(struct client *client, const json_t *request, cx_err *err);
} requests[] = {
    {"members", on_members}, {"status", on_status},     {"join", on_join},
    {"rejoin", on_rejoin},   {"leave", on_leave},       {"remove", on_remove},
    {"ping", on_ping},       {"tags_set", on_tags_set}, {"tags_unset", on_tags_unset},
    {"monitor", on_monitor},
};

static bool serve(struct client *client, cx_bytes line, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *request = NULL;
    const char *command = NULL;

    if (!cx_json_parse(line, CLIENT_LINE_MAX, "request", &request, err) ||
        !cx_json_need_text(request, "request", "command", &command, err))
        return false;
    if (client->control->pending_count >= PENDING_MAX)
        return cx_fail(err, CX_BUSY, "%d requests wait for their answers", PENDING_MAX);
    if (client->control->agent->ended)
        return cx_fail(err, CX_UNAVAILABLE, "the agent has left the cluster");
    for (size_t i = 0; i < CX_COUNT(requests); i++)
        if (strcmp(command, requests[i].name) == 0)
            return requests[i].run(client, request, err);
    return cx_fail(err, CX_USAGE, "unknown command '%s'", command);
}

static void on_client_readable(struct bufferevent *io, void *data)
{
    struct client *client = data;
    struct evbuffer *input = bufferevent_get_input(io);
    size_t size;
    char *line;

    while (!client->dropped && (line = evbuffer_readln(input, &size, EVBUFFER_EOL_LF))) {
        cx_err err = {0};

        if (!serve(client, (cx_bytes){(uint8_t *)line, size}, &err))
            reply_error(client, &err);
        free(line);
        drop_if_full(client);
    }
    if (!client->dropped && evbuffer_get_length(input) >= CLIENT_LINE_MAX) {
        cx_err err = {0};

        cx_fail(&err, CX_TOO_LARGE, "a request of more than %d bytes", CLIENT_LINE_MAX);
        reply_error(client, &err);
        client->ending = true;
        bufferevent_disable(io, EV_READ);
    }
}

static void on_client_written(struct bufferevent *io, void *data)
{
    struct client *client = data;

    if (client->ending && evbuffer_get_length(bufferevent_get_output(io)) == 0)
        client_free(client);
}

static void on_client_event(struct bufferevent *io, short what, void *data)
{
    (void)io, (void)what;
    client_free(data);
}

static void on_client(int fd, const struct sockaddr *from, socklen_t from_size, void *data)
{
    struct agent_control *control = data;

    (void)from, (void)from_size;
    if (control->client_count >= CLIENTS_MAX) {
        evutil_closesocket(fd);
        return;
    }

    struct client *client = cx_alloc(1, sizeof *client);

    client->control = control;
    client->id = ++control->next_client;
    client->io = bufferevent_socket_new(control->agent->loop, fd,
                                        BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    bufferevent_setcb(client->io, on_client_readable, on_client_written, on_client_event, client);
    bufferevent_setwatermark(client->io, EV_READ, 0, CLIENT_LINE_MAX);
    bufferevent_enable(client->io, EV_READ | EV_WRITE);
    TAILQ_INSERT_TAIL(&control->clients, client, next);
    control->client_count++;
}

/* ---- the agent's side */

void agent_control_notice(struct agent_control *control, const cx_gossip_notice *notice)
{
    CX_AUTO(cx_json_free) json_t *json = NULL;
    struct client *client = control ? TAILQ_FIRST(&control->clients) : NULL;

    for (; client; client = TAILQ_NEXT(client, next)) {
        if (!client->monitor || client->dropped ||
            (client->events.count &&
             !cx_list_has(&client->events, cx_gossip_notice_text(notice->kind))))
            continue;
        if (!json)
            json = agent_notice_json(notice, agent_since_offset_ms());
        reply(client, json_incref(json));
        drop_if_full(client);
    }
}

bool agent_control_is_idle(const struct agent_control *control)
{
    struct client *client;

    TAILQ_FOREACH (client, &control->clients, next)
        if (!client->dropped && evbuffer_get_length(bufferevent_get_output(client->io)) > 0)
            return false;
    return true;
}

bool agent_control_open(struct agent *agent, const char *path, struct agent_control **owner,
                        cx_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct agent_control *control = cx_alloc(1, sizeof *control);

    control->agent = agent;
    control->path = cx_strdup(path);
    TAILQ_INIT(&control->clients);
    TAILQ_INIT(&control->pending);
    control->sweep = event_new(agent->loop, -1, 0, on_sweep, control);
    *owner = control;
    if (strlen(path) >= sizeof address.sun_path)
        return cx_fail(err, CX_CONFIG, "control socket %s: the path is longer than %zu bytes", path,
                       sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    /* The lock on the run folder is held: a socket that is there is a dead agent's. */
    if (!cx_remove_file(path, err))
        return false;

    mode_t before = umask(0117); /* 0660 from its first moment */

    control->listener = cx_listener_bind(agent->loop, (struct sockaddr *)&address, sizeof address,
                                         BACKLOG, on_client, control);
    umask(before);
    if (!control->listener)
        return cx_fail_errno(err, "listen on %s", path);
    return true;
}

void agent_control_close(struct agent_control **owner)
{
    struct agent_control *control = *owner;
    struct client *client;
    struct pending *pending;

    if (!control)
        return;
    control->closing = true;
    while ((client = TAILQ_FIRST(&control->clients)))
        client_free(client);
    while ((pending = TAILQ_FIRST(&control->pending)))
        pending_free(control, pending);
    if (control->listener) {
        cx_listener_close(&control->listener);
        unlink(control->path);
    }
    event_free(control->sweep);
    cx_free(&control->path);
    cx_free(owner);
}
