#include "router.h"

#include <string.h>

#include "base/rendezvous.h"
#include "base/text.h"
#include "base/time.h"
#include "router_parts.h"
#include "timer.h"

enum { ANSWER_MAX = 4 * 1024 * 1024, ASK_MS = 3000 };

/* ---- finding */

/* One whose lease was granted later has the higher fence: an earlier host's registry is out of date. */
static const peer *find_host(const node_router *router, const char *id, const json_t **entry)
{
    const json_t *each;
    const peer *found = NULL;
    json_int_t fence = -1;
    size_t i;

    json_array_foreach (json_object_get(router->hosts, id), i, each) {
        const json_t *told = json_object_get(each, "entry");
        json_int_t its = json_integer_value(json_object_get(told, "fence"));
        const peer *host = cx_map_get(router->peers, cx_json_text_or_empty(each, "node"));

        if (host == NULL || (found != NULL && found->alive && !host->alive) ||
            (found != NULL && found->alive == host->alive && its <= fence))
            continue;
        found = host;
        fence = its;
        *entry = told;
    }
    return found;
}

static node_target find_agent(const node_router *router, const char *id)
{
    const node_agent *own = node_agents_find(router->options.agents, id);
    const json_t *entry = NULL;
    const peer *host;

    if (own != NULL)
        return (node_target){.kind = NODE_TARGET_LOCAL, .agent = node_agent_spec(own)->id};
    host = find_host(router, id, &entry);
    if (host != NULL && host->alive)
        return (node_target){.kind = NODE_TARGET_PEER,
                             .agent = cx_json_text_or_empty(entry, "id"),
                             .node = host->node_id};
    if (node_placed_is_there(node_registry_placed(router->options.registry, id)))
        return (node_target){.kind = NODE_TARGET_BETWEEN};
    if (host == NULL)
        return (node_target){.kind = NODE_TARGET_UNKNOWN};
    return (node_target){.kind = NODE_TARGET_AWAY, .node = host->node_id};
}

/* Candidates for a capability, each named NODE/AGENT. */
typedef struct candidates {
    cx_list names;
    node_target *targets;
    size_t capacity;
} candidates;

static void add_candidate(candidates *list, const char *node_id, node_target target)
{
    if (list->names.count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        list->targets = cx_realloc(list->targets, list->capacity, sizeof *list->targets);
    }
    list->targets[list->names.count] = target;
    cx_list_take(&list->names, cx_format("%s/%s", node_id, target.agent));
}

static bool names_capability(const json_t *entry, const char *capability)
{
    const json_t *each;
    size_t i;

    json_array_foreach (json_object_get(entry, "capabilities"), i, each)
        if (json_is_string(each) && strcmp(json_string_value(each), capability) == 0)
            return true;
    return false;
}

static void add_own(const node_router *router, const char *capability, candidates *list)
{
    size_t cursor = 0;
    const node_agent *agent;

    while ((agent = node_agents_next(router->options.agents, &cursor)) != NULL) {
        const node_spec *spec = node_agent_spec(agent);

        if (!node_agent_is_suspended(agent) && cx_list_has(&spec->capabilities, capability))
            add_candidate(list, router->options.node_id,
                          (node_target){.kind = NODE_TARGET_LOCAL, .agent = spec->id});
    }
}

static void add_peers(const node_router *router, const char *capability, candidates *list)
{
    size_t cursor = 0, i;
    void *value = NULL;
    const json_t *entry;

    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        const peer *host = value;

        if (!host->alive)
            continue;
        json_array_foreach (host->agents, i, entry)
            if (names_capability(entry, capability) &&
                strcmp(cx_json_text_or_empty(entry, "state"), "suspended") != 0)
                add_candidate(list, host->node_id,
                              (node_target){.kind = NODE_TARGET_PEER,
                                            .agent = cx_json_text_or_empty(entry, "id"),
                                            .node = host->node_id});
    }
}

/* Some agent that is being moved has it. */
static bool is_between(const node_router *router, const char *capability)
{
    const node_placed *placed;
    size_t cursor = 0;

    while ((placed = node_registry_next_placed(router->options.registry, &cursor)) != NULL)
        if (placed->spec != NULL && !placed->suspended &&
            cx_list_has(&placed->spec->capabilities, capability))
            return true;
    return false;
}

static node_target find_capability(const node_router *router, const char *capability,
                                   const char *key)
{
    candidates list = {0};
    node_target target = {.kind = NODE_TARGET_UNKNOWN};

    add_own(router, capability, &list);
    add_peers(router, capability, &list);
    if (list.names.count > 0)
        target = list.targets[cx_rendezvous(key, (const char *const *)list.names.items,
                                            list.names.count)];
    else if (is_between(router, capability))
        target.kind = NODE_TARGET_BETWEEN;
    cx_list_free(&list.names);
    cx_free(&list.targets);
    return target;
}

/* ---- forwarding */

typedef struct forwarding {
    char *url, *node_id, *content_type;
    cx_tls_peer tls;
    node_forwarded *done;
    void *arg;
} forwarding;

static void on_forwarded(cx_http_answer *answer, void *arg)
{
    forwarding *ended = arg;

    if (answer->status == 0 && ended->tls.error.code != CX_OK)
        answer->error = ended->tls.error;
    ended->done(answer, ended->arg);
    cx_free(&ended->url);
    cx_free(&ended->node_id);
    cx_free(&ended->content_type);
    cx_free(&ended);
}

/* ---- asking */

typedef struct asking {
    char *url, *node_id;
    cx_tls_peer tls;
    node_router_asked *done;
    void *arg;
} asking;

static void on_asked(cx_http_answer *answer, void *arg)
{
    asking *ended = arg;
    CX_AUTO(cx_json_free) json_t *document = NULL;
    cx_err err;
    bool good = false;

    if (answer->status == 0)
        err = ended->tls.error.code != CX_OK ? ended->tls.error : answer->error;
    else if (cx_json_parse(cx_buffer_bytes(&answer->body), ANSWER_MAX, ended->node_id, &document,
                           &err))
        good = answer->status == 200 || cx_err_from_json(document, &err);
    ended->done(good ? document : NULL, good ? NULL : &err, ended->arg);
    cx_free(&ended->url);
    cx_free(&ended->node_id);
    cx_free(&ended);
}

/* ---- public */

node_router *node_router_open(const node_router_options *options)
{
    node_router *router = cx_alloc(1, sizeof *router);

    router->options = *options;
    router->peers = cx_map_open();
    router->hosts = json_object();
    router->listed = json_object();
    router->refreshed_ms = -ROUTER_REFRESH_PAUSE_MS;
    router->opened_ms = cx_now_ms();
    router->refresh_timer = evtimer_new(options->loop, router_on_refresh, router);
    router->may_have = cx_map_open();
    router->may_have_ids = cx_alloc(NODE_MAY_HAVE_MAX, sizeof(char *));
    return router;
}

void node_router_stop(node_router *router)
{
    router->stopping = true;
}

void node_router_close(node_router **owner)
{
    node_router *router = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (router == NULL)
        return;
    router_end_refreshes(router);
    router_close_peers(router);
    event_free(router->refresh_timer);
    while (cx_map_next(router->may_have, &cursor, NULL, &value))
        cx_free(&value);
    cx_map_close(&router->may_have);
    for (size_t i = 0; i < NODE_MAY_HAVE_MAX; i++)
        cx_free(&router->may_have_ids[i]);
    cx_free(&router->may_have_ids);
    cx_json_free(&router->hosts);
    cx_json_free(&router->listed);
    cx_free(owner);
}

node_target node_router_find(const node_router *router, const char *receiver, const char *key)
{
    const char *capability = node_capability_of(receiver);

    return capability == NULL ? find_agent(router, receiver)
                              : find_capability(router, capability, key);
}

const json_t *node_router_entry(const node_router *router, const char *agent, const char **host)
{
    const json_t *entry = NULL;
    const peer *found = find_host(router, agent, &entry);

    if (found == NULL || !found->alive)
        return NULL;
    *host = found->node_id;
    return entry;
}

void node_router_set_may_have(node_router *router, const char *message_id, const char *node)
{
    char *before = cx_map_get(router->may_have, message_id);
    char **slot;

    if (before != NULL || node == NULL) {
        before = node == NULL ? cx_map_remove(router->may_have, message_id)
                              : cx_map_put(router->may_have, message_id, cx_strdup(node));
        cx_free(&before);
        return;
    }
    slot = &router->may_have_ids[router->may_have_at];
    router->may_have_at = (router->may_have_at + 1) % NODE_MAY_HAVE_MAX;
    if (*slot != NULL) {
        before = cx_map_remove(router->may_have, *slot);
        cx_free(&before);
        cx_free(slot);
    }
    *slot = cx_strdup(message_id);
    cx_map_put(router->may_have, message_id, cx_strdup(node));
}

const char *node_router_may_have(const node_router *router, const char *message_id)
{
    const char *node = cx_map_get(router->may_have, message_id);

    return node != NULL && node_router_reach(router, node) != NODE_REACH_GONE ? node : NULL;
}

node_reach node_router_reach(const node_router *router, const char *node)
{
    const peer *known = cx_map_get(router->peers, node);

    if (strcmp(node, router->options.node_id) == 0)
        return NODE_REACH_SELF;
    if (known == NULL) /* it may be a member whose node is not up yet; or nobody has told us yet */
        return json_object_get(router->listed, node) == NULL &&
                       cx_now_ms() - router->opened_ms >= ROUTER_FORGET_MS
                   ? NODE_REACH_GONE
                   : NODE_REACH_AWAY;
    return known->alive ? NODE_REACH_THERE : NODE_REACH_AWAY;
}

void node_router_forward(node_router *router, const node_forward *forward, node_forwarded *done,
                         void *arg)
{
    const peer *host = cx_map_get(router->peers, forward->node);
    forwarding *started;
    const char *headers[3] = {NULL};

    if (host == NULL || host->api == NULL || router->stopping) {
        cx_http_answer answer = {0};

        cx_fail(&answer.error, CX_UNAVAILABLE, "%s is not there any more", forward->node);
        done(&answer, arg);
        return;
    }
    started = cx_alloc(1, sizeof *started);
    started->url = cx_format("https://%s/api/v1/messages%s", host->api, forward->query);
    started->node_id = cx_strdup(host->node_id);
    started->content_type = cx_format("Content-Type: %s", forward->content_type);
    started->tls = (cx_tls_peer){.tls = router->options.tls, .node_id = started->node_id};
    started->done = done;
    started->arg = arg;
    headers[0] = started->content_type;
    headers[1] = "X-Cx-Forwarded: 1";
    cx_http_loop_start(router->options.http,
                       &(cx_http_request){.method = "POST",
                                          .url = started->url,
                                          .headers = headers,
                                          .body = forward->body,
                                          .answer_max = ANSWER_MAX,
                                          .timeout_ms = forward->timeout_ms,
                                          .connect_timeout_ms = ROUTER_CONNECT_MS,
                                          .tls_hook = cx_tls_client_hook,
                                          .tls_arg = &started->tls},
                       on_forwarded, started);
}

void node_router_ask(node_router *router, const char *node, const char *path,
                     node_router_asked *done, void *arg)
{
    const peer *host = cx_map_get(router->peers, node);
    asking *started;
    cx_err err;

    if (host == NULL || host->api == NULL || router->stopping) {
        cx_fail(&err, CX_UNAVAILABLE, "%s is not there any more", node);
        done(NULL, &err, arg);
        return;
    }
    started = cx_alloc(1, sizeof *started);
    started->url = cx_format("https://%s%s", host->api, path);
    started->node_id = cx_strdup(node);
    started->tls = (cx_tls_peer){.tls = router->options.tls, .node_id = started->node_id};
    started->done = done;
    started->arg = arg;
    cx_http_loop_start(router->options.http,
                       &(cx_http_request){.url = started->url,
                                          .answer_max = ANSWER_MAX,
                                          .timeout_ms = ASK_MS,
                                          .connect_timeout_ms = ROUTER_CONNECT_MS,
                                          .tls_hook = cx_tls_client_hook,
                                          .tls_arg = &started->tls},
                       on_asked, started);
}

json_t *node_router_to_json(const node_router *router)
{
    json_t *peers = json_array();
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        const peer *each = value;

        json_array_append_new(
            peers,
            json_pack("{s:s, s:o, s:b, s:I, s:I, s:I, s:b}", "node_id", each->node_id, "api_addr",
                      cx_json_text(each->api == NULL ? "" : each->api), "alive", each->alive,
                      "revision", (json_int_t)each->revision, "fetched_revision",
                      (json_int_t)each->fetched, "agents",
                      (json_int_t)json_array_size(each->agents), "fetching", each->fetching));
    }
    return peers;
}
