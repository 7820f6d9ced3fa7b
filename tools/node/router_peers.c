/* The other nodes: their registries, pulled when their revision changes, and asked for anew when
 * somebody looks for an agent that nobody is known to host. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "router_parts.h"
#include "timer.h"

enum {
    REGISTRY_MAX = 8 * 1024 * 1024, /* bytes of a peer's registry */
    FETCH_MS = 2000,
    RETRY_FIRST_MS = 500,
    RETRY_MAX_MS = 30000,
    MEMBERS_MS = 5000, /* so long after our start the gossip agent may still be joining */
};

/* ---- what peers host */

static void rebuild_hosts(node_router *router)
{
    size_t cursor = 0, i;
    void *value = NULL;
    json_t *entry;

    json_object_clear(router->hosts);
    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        const peer *each = value;

        json_array_foreach (each->agents, i, entry) {
            const char *id = cx_json_text_or_empty(entry, "id");
            json_t *nodes = json_object_get(router->hosts, id);

            if (nodes == NULL) {
                nodes = json_array();
                json_object_set_new(router->hosts, id, nodes);
            }
            json_array_append_new(nodes,
                                  json_pack("{s:s, s:O}", "node", each->node_id, "entry", entry));
        }
    }
}

static bool is_registry(const json_t *registry, const char *node_id, cx_err *err)
{
    const json_t *agents = json_object_get(registry, "agents");
    const json_t *entry;
    size_t i;

    if (strcmp(cx_json_text_or_empty(registry, "node_id"), node_id) != 0 || !json_is_array(agents))
        return cx_fail(err, CX_PROTOCOL, "%s: its registry has another shape", node_id);
    json_array_foreach (agents, i, entry)
        if (!json_is_object(entry) ||
            !cx_check_id("agent id", cx_json_text_or_empty(entry, "id"), err))
            return cx_fail(err, CX_PROTOCOL, "%s: agents[%zu] of its registry is none", node_id, i);
    return true;
}

static void end_refresh(node_router *router, refresh *ended)
{
    refresh **at = &router->refreshes;

    while (*at != ended)
        at = &(*at)->next;
    *at = ended->next;
    event_free(ended->timer);
    ended->done(ended->arg);
    cx_free(&ended);
}

static void on_refresh_timeout(evutil_socket_t fd, short what, void *arg)
{
    refresh *late = arg;

    (void)fd;
    (void)what;
    end_refresh(late->router, late);
}

/* Ends those whose fetches are over. */
static void tell_refreshed(node_router *router)
{
    refresh *each, *next;

    if (router->fetches > 0)
        return;
    for (each = router->refreshes; each != NULL; each = next) {
        next = each->next;
        if (each->asked)
            end_refresh(router, each);
    }
}

typedef struct fetch {
    node_router *router;
    char *node_id; /* the peer may be forgotten meanwhile */
    char *url;
    cx_tls_peer tls;
} fetch;

static void fetch_registry(peer *from);

static bool take_registry(peer *from, const cx_http_answer *answer, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *registry = NULL;

    if (answer->status == 0) {
        *err = answer->error;
        return false;
    }
    if (!cx_json_parse(cx_buffer_bytes(&answer->body), REGISTRY_MAX, from->node_id, &registry, err))
        return false;
    if (answer->status != 200)
        return cx_err_from_json(registry, err);
    if (!is_registry(registry, from->node_id, err))
        return false;
    cx_json_free(&from->agents);
    from->agents = json_incref(json_object_get(registry, "agents"));
    from->fetched = json_integer_value(json_object_get(registry, "revision"));
    rebuild_hosts(from->router);
    if (from->router->options.learned != NULL)
        from->router->options.learned(from->node_id, json_object_get(registry, "placed"),
                                      from->router->options.arg);
    return true;
}

static void on_fetched(cx_http_answer *answer, void *arg)
{
    fetch *ended = arg;
    node_router *router = ended->router;
    peer *from = cx_map_get(router->peers, ended->node_id);
    cx_err err;
    uint32_t random = 0;

    router->fetches--;
    if (from != NULL) {
        from->fetching = false;
        if (take_registry(from, answer, &err)) {
            node_backoff_reset(&from->backoff);
            if (from->revision > from->fetched || from->again) /* it changed while we read */
                fetch_registry(from);
        } else {
            if (ended->tls.error.code != CX_OK)
                err = ended->tls.error;
            cx_wrap(&err, "registry of %s", from->node_id);
            cx_log_error(router->options.log, CX_WARN, "registry_fetch_failed", &err);
            cx_random(&random, sizeof random);
            node_timer_set(from->retry_timer, node_backoff_after(&from->backoff, 0, random));
        }
    }
    cx_free(&ended->node_id);
    cx_free(&ended->url);
    cx_free(&ended);
    tell_refreshed(router);
}

static void fetch_registry(peer *from)
{
    node_router *router = from->router;
    fetch *started;

    if (from->fetching || !from->alive || from->api == NULL || router->stopping)
        return;
    event_del(from->retry_timer);
    started = cx_alloc(1, sizeof *started);
    started->router = router;
    started->node_id = cx_strdup(from->node_id);
    started->url = cx_format("https://%s/api/v1/registry", from->api);
    started->tls = (cx_tls_peer){.tls = router->options.tls, .node_id = started->node_id};
    from->fetching = true;
    from->again = false;
    router->fetches++;
    cx_http_loop_start(router->options.http,
                       &(cx_http_request){.url = started->url,
                                          .answer_max = REGISTRY_MAX,
                                          .timeout_ms = FETCH_MS,
                                          .connect_timeout_ms = ROUTER_CONNECT_MS,
                                          .tls_hook = cx_tls_client_hook,
                                          .tls_arg = &started->tls},
                       on_fetched, started);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    peer *from = arg;

    (void)fd;
    (void)what;
    if (from->revision != from->fetched)
        fetch_registry(from);
}

/* ---- members */

static void free_peer(peer *gone)
{
    event_free(gone->retry_timer);
    cx_json_free(&gone->agents);
    cx_free(&gone->node_id);
    cx_free(&gone->api);
    cx_free(&gone);
}

static peer *peer_of(node_router *router, const char *node_id)
{
    peer *found = cx_map_get(router->peers, node_id);

    if (found != NULL)
        return found;
    found = cx_alloc(1, sizeof *found);
    found->router = router;
    found->node_id = cx_strdup(node_id);
    found->fetched = -1;
    found->retry_timer = evtimer_new(router->options.loop, on_retry, found);
    found->backoff = (node_backoff){
        .first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS, .healthy_ms = RETRY_MAX_MS};
    cx_map_put(router->peers, node_id, found);
    return found;
}

/* Its gossip agent is there and its node is not up yet: what it hosts is away, not gone. */
static void seen_without_api(peer *known)
{
    if (known == NULL)
        return;
    known->seen = true;
    known->alive = false;
}

static void take_member(node_router *router, const json_t *member)
{
    const char *node_id = cx_json_text_or_empty(member, "node_id");
    const char *status = cx_json_text_or_empty(member, "status");
    const json_t *tags = json_object_get(member, "tags");
    const char *api = cx_json_text_or_empty(tags, "api");
    const char *revision = cx_json_text_or_empty(tags, "rev");
    CX_AUTO(cx_free) char *host = NULL;
    uint16_t port = 0;
    cx_err err;
    peer *seen;

    if (strcmp(node_id, router->options.node_id) == 0 || !cx_check_id("node", node_id, &err))
        return;
    if (!cx_parse_host_port(api, 0, &host, &port, &err)) {
        seen_without_api(cx_map_get(router->peers, node_id));
        return;
    }
    seen = peer_of(router, node_id);
    seen->seen = true;
    if (seen->api == NULL || strcmp(seen->api, api) != 0) {
        cx_free(&seen->api);
        seen->api = cx_strdup(api);
        seen->fetched = -1;
    }
    seen->alive = strcmp(status, "alive") == 0 || strcmp(status, "suspect") == 0;
    seen->left = strcmp(status, "left") == 0;
    seen->revision = (int64_t)strtoll(revision, NULL, 10);
    if (seen->alive && seen->revision != seen->fetched)
        fetch_registry(seen);
}

/* Those that failed, left, or are not listed are away; who is not listed for long is forgotten. */
static void forget_unseen(node_router *router)
{
    CX_AUTO(cx_list_free) cx_list gone = {0};
    int64_t now_ms = cx_now_ms();
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        peer *each = value;

        if (each->seen)
            each->seen_ms = now_ms;
        each->alive = each->alive && each->seen;
        each->seen = false;
        if (now_ms - each->seen_ms >= ROUTER_FORGET_MS)
            cx_list_add(&gone, each->node_id);
    }
    for (size_t i = 0; i < gone.count; i++)
        free_peer(cx_map_remove(router->peers, gone.items[i]));
    if (gone.count > 0)
        rebuild_hosts(router);
}

/* ---- public */

void router_close_peers(node_router *router)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(router->peers, &cursor, NULL, &value))
        free_peer(value);
    cx_map_close(&router->peers);
}

void router_end_refreshes(node_router *router)
{
    while (router->refreshes != NULL)
        end_refresh(router, router->refreshes);
}

void router_on_refresh(evutil_socket_t fd, short what, void *arg)
{
    node_router *router = arg;
    size_t cursor = 0;
    void *value = NULL;

    (void)fd;
    (void)what;
    router->refreshed_ms = cx_now_ms();
    for (refresh *each = router->refreshes; each != NULL; each = each->next)
        each->asked = true;
    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        peer *each = value;

        if (each->fetching)
            each->again = true;
        else
            fetch_registry(each);
    }
    tell_refreshed(router);
}

void node_router_members(node_router *router, const json_t *members)
{
    const json_t *member;
    size_t i;

    if (members == NULL)
        return;
    json_object_clear(router->listed);
    json_array_foreach (json_object_get(members, "members"), i, member) {
        json_object_set_new(router->listed, cx_json_text_or_empty(member, "node_id"), json_true());
        take_member(router, member);
    }
    forget_unseen(router);
}

const char *node_router_unasked(const node_router *router)
{
    size_t cursor = 0;
    void *value = NULL;

    if ((int64_t)cx_map_count(router->peers) + 1 < router->options.expected &&
        cx_now_ms() - router->opened_ms < MEMBERS_MS)
        return "the cluster";
    while (cx_map_next(router->peers, &cursor, NULL, &value)) {
        const peer *each = value;

        if (each->agents == NULL && !each->left)
            return each->node_id;
    }
    return NULL;
}

bool node_router_is_informed(const node_router *router, const char *node_id)
{
    const peer *known = cx_map_get(router->peers, node_id);

    return known != NULL && known->fetched >= 0;
}

void node_router_refresh(node_router *router, void (*done)(void *arg), void *arg)
{
    int64_t wait_ms = router->refreshed_ms + ROUTER_REFRESH_PAUSE_MS - cx_now_ms();
    refresh *added;

    if (router->stopping || cx_map_count(router->peers) == 0) {
        done(arg);
        return;
    }
    added = cx_alloc(1, sizeof *added);
    added->router = router;
    added->done = done;
    added->arg = arg;
    added->timer = evtimer_new(router->options.loop, on_refresh_timeout, added);
    node_timer_set(added->timer, NODE_REFRESH_MS);
    added->next = router->refreshes;
    router->refreshes = added;
    if (!evtimer_pending(router->refresh_timer, NULL))
        node_timer_set(router->refresh_timer, wait_ms > 0 ? wait_ms : 0);
}
