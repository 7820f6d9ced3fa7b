#include "hosting.h"

#include <string.h>

#include "api/client.h"
#include "base/map.h"
#include "base/text.h"
#include "base/time.h"
#include "placement.h"
#include "timer.h"

enum {
    LOOK_MS = 200,
    TOUCH_MS = 20,
    SETTLE_MS = 5000,
    SUSPEND_MS = 30 * 1000,
};

/* What this node does about one placed agent. */
typedef struct hosted {
    node_hosting *hosting;
    char *id;
    node_agent *agent; /* its copy here, also while it leaves; NULL: none */
    bool leaving, hurried, removing;
    int64_t version; /* of the spec that the copy has */
    char *by;
    uint64_t generation; /* of the candidates that owner is chosen from */
    bool owned, ownerless;
    bool moving;      /* its lane is on its way */
    int64_t disowned; /* the version of which it was pinned here: nothing is done for it any more */
    bool no_room;     /* the log knows */
} hosted;

struct node_hosting {
    node_self *node;
    cx_map *by_id;
    json_t *members;    /* of the last answer of the gossip agent; NULL: none yet */
    cx_list candidates; /* node ids */
    uint64_t generation;
    int64_t live; /* nodes of the cluster that are there, this one too */
    bool ready;
    struct event *timer, *touch_timer;
};

/* ---- the view */

static bool is_live(const json_t *member)
{
    const char *status = cx_json_text_or_empty(member, "status");

    return strcmp(status, "alive") == 0 || strcmp(status, "suspect") == 0;
}

static bool is_peer(const node_hosting *hosting, const json_t *member)
{
    return strcmp(cx_json_text_or_empty(member, "node_id"), hosting->node->config->node_id) != 0 &&
           cx_api_member_address(member)[0] != '\0';
}

/* A peer that gossip sees and that answers us. */
static bool is_there(const node_hosting *hosting, const json_t *member)
{
    return is_peer(hosting, member) && is_live(member) &&
           node_tenures_answers(hosting->node->tenures, cx_json_text_or_empty(member, "node_id"));
}

static bool can_host(const node_hosting *hosting, const json_t *member)
{
    const json_t *tags = json_object_get(member, "tags");

    return is_there(hosting, member) && strcmp(cx_json_text_or_empty(tags, "state"), "active") == 0;
}

static bool same_list(const cx_list *a, const cx_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

static void see_candidates(node_hosting *hosting)
{
    const node_self *node = hosting->node;
    cx_list seen = {0};
    const json_t *member;
    size_t i;

    hosting->live = 1;
    if (node->mode.state == NODE_ACTIVE && !node->stopping)
        cx_list_add(&seen, node->config->node_id);
    json_array_foreach (hosting->members, i, member) {
        hosting->live += is_there(hosting, member);
        if (can_host(hosting, member))
            cx_list_add(&seen, cx_json_text_or_empty(member, "node_id"));
    }
    if (same_list(&seen, &hosting->candidates)) {
        cx_list_free(&seen);
        return;
    }
    cx_list_free(&hosting->candidates);
    hosting->candidates = seen;
    hosting->generation++;
}

/* Whether what the others changed while this node was off is known: every node that answers was
 * asked. Once so, it stays so. */
static bool is_ready(const node_hosting *hosting)
{
    const node_self *node = hosting->node;
    const json_t *member;
    size_t i;

    if (hosting->members == NULL)
        return node_leases_expected(node->leases) <= 1 && !node_gossip_is_connected(node->gossip);
    json_array_foreach (hosting->members, i, member) {
        const char *node_id = cx_json_text_or_empty(member, "node_id");

        if (is_there(hosting, member) && !node_router_is_informed(node->router, node_id))
            return false;
    }
    return true;
}

/* ---- telling */

static void on_touched(const cx_err *err, void *arg)
{
    node_hosting *hosting = arg;

    if (err != NULL)
        cx_log_error(&hosting->node->log, CX_ERROR, "registry_failed", err);
    else
        node_changed(hosting->node);
}

static void on_touch_timer(evutil_socket_t fd, short what, void *arg)
{
    node_hosting *hosting = arg;

    (void)fd;
    (void)what;
    node_registry_touch(hosting->node->registry, on_touched, hosting);
}

/* What runs here changed. Many changes at once are told together. */
static void touch(node_hosting *hosting)
{
    if (!evtimer_pending(hosting->touch_timer, NULL))
        node_timer_set(hosting->touch_timer, TOUCH_MS);
}

static void on_settled(node_agent *agent, bool reached, void *arg)
{
    (void)agent;
    (void)reached;
    touch(arg);
}

/* ---- its lane */

static void on_moved(bool changed, const cx_err *err, void *arg)
{
    hosted *of = arg;

    (void)changed;
    of->moving = false;
    if (err != NULL)
        cx_log_error(&of->hosting->node->log, CX_ERROR, "hand_over_failed", err);
}

static void hand_over(hosted *of)
{
    node_queue *queue = of->hosting->node->queue;
    CX_AUTO(cx_free) char *to = cx_format(NODE_LANE_OUT "%s", of->id);

    of->moving = true;
    cx_log_write(&of->hosting->node->log, CX_INFO, "handing_over", "{s:s, s:I}", "agent", of->id,
                 "queued", (json_int_t)node_queue_counts(queue, of->id).queued);
    node_queue_hand_over(queue, of->id, to, on_moved, of);
}

static void drop(hosted *of)
{
    of->moving = true;
    node_queue_drop(of->hosting->node->queue, of->id, "the agent was removed", on_moved, of);
}

/* What waits here for an agent that has no copy here: after a move, or since before a restart. */
static void clear_lane(hosted *of, bool there)
{
    const node_self *node = of->hosting->node;
    node_target target;

    if (of->moving || node_queue_counts(node->queue, of->id).queued <= 0 ||
        node_agents_find(node->agents, of->id) != NULL ||
        node_agents_is_leaving(node->agents, of->id))
        return;
    target = node_router_find(node->router, of->id, of->id);
    if (target.kind == NODE_TARGET_PEER)
        hand_over(of);
    else if (!there && target.kind == NODE_TARGET_UNKNOWN && of->hosting->ready)
        drop(of);
}

/* ---- its copy */

static void on_gone(node_agent *agent, bool reached, void *arg)
{
    hosted *of = arg;

    if (!reached) { /* a process that SIGKILL can't end: the lease stays with it */
        node_agent_await_gone(agent, on_gone, of);
        return;
    }
    of->agent = NULL;
    if (of->removing)
        drop(of);
    of->leaving = of->hurried = of->removing = false;
    node_hosting_look(of->hosting);
}

static void keep_version(hosted *of, const node_placed *placed)
{
    of->version = placed->version;
    cx_free(&of->by);
    of->by = cx_strdup(placed->by);
}

static void start(hosted *of, const node_placed *placed)
{
    node_self *node = of->hosting->node;

    if (node_agents_find(node->agents, of->id) != NULL ||
        node_agents_is_leaving(node->agents, of->id))
        return;
    if ((int64_t)node_agents_count(node->agents) >= node->config->max_agents) {
        if (!of->no_room)
            cx_log_write(&node->log, CX_ERROR, "no_room", "{s:s, s:I}", "agent", of->id,
                         "max_agents", (json_int_t)node->config->max_agents);
        of->no_room = true;
        return;
    }
    of->no_room = false;
    cx_log_write(&node->log, CX_INFO, "agent_hosted", "{s:s, s:I}", "agent", of->id, "fence",
                 (json_int_t)node_tenures_fence(node->tenures, of->id));
    keep_version(of, placed);
    of->agent = node_agents_put(node->agents, node_spec_copy(placed->spec), placed->suspended);
    touch(of->hosting);
    node_agent_settle(of->agent, SETTLE_MS, on_settled, of->hosting);
}

static void leave(hosted *of, int64_t patience_ms)
{
    cx_log_write(&of->hosting->node->log, CX_INFO, "agent_leaves", "{s:s, s:I}", "agent", of->id,
                 "patience_ms", (json_int_t)patience_ms);
    of->leaving = true;
    node_agent_retire(of->agent, patience_ms, on_gone, of);
    touch(of->hosting);
}

static void end(hosted *of)
{
    if (!of->leaving)
        leave(of, 0);
    if (of->agent == NULL || of->hurried)
        return;
    of->hurried = true;
    node_agent_hurry(of->agent, NODE_TENURE_GRACE_MS);
}

static void remove_copy(hosted *of)
{
    of->leaving = of->removing = true;
    node_agent_remove(of->agent, on_gone, of);
    touch(of->hosting);
}

/* A newer version of the spec of what runs here. */
static void follow(hosted *of, const node_placed *placed)
{
    node_self *node = of->hosting->node;
    bool suspended = node_agent_is_suspended(of->agent);

    if (of->version == placed->version && strcmp(of->by, placed->by) == 0)
        return;
    keep_version(of, placed);
    if (!node_spec_equal(node_agent_spec(of->agent), placed->spec))
        node_agents_put(node->agents, node_spec_copy(placed->spec), placed->suspended);
    if (placed->suspended && !suspended)
        node_agent_suspend(of->agent, SUSPEND_MS, on_settled, of->hosting);
    else if (!placed->suspended && suspended && !cx_list_has(&node->mode.suspended, of->id))
        node_agent_resume(of->agent, SUSPEND_MS, on_settled, of->hosting);
    else
        node_agent_settle(of->agent, SETTLE_MS, on_settled, of->hosting);
    touch(of->hosting);
}

/* ---- the look */

static void choose_owner(hosted *of)
{
    const node_hosting *hosting = of->hosting;
    const char *owner;

    if (of->generation == hosting->generation)
        return;
    owner = node_placement_owner(of->id, &hosting->candidates);
    of->generation = hosting->generation;
    of->ownerless = owner == NULL;
    of->owned = owner != NULL && strcmp(owner, hosting->node->config->node_id) == 0;
}

static node_facts facts_of(const hosted *of, const node_placed *placed)
{
    const node_hosting *hosting = of->hosting;
    node_facts now = {.placed = placed->spec != NULL,
                      .owned = of->owned,
                      .ownerless = of->ownerless,
                      .majority = node_hosting_has_majority(hosting),
                      .ready = hosting->ready,
                      .lease = NODE_LEASE_NONE,
                      .copy = NODE_COPY_NONE};

    switch (node_tenures_of(hosting->node->tenures, of->id)) {
    case NODE_TENURE_NONE: break;
    case NODE_TENURE_ASKED: now.lease = NODE_LEASE_ASKED; break;
    case NODE_TENURE_HELD: now.lease = NODE_LEASE_HELD; break;
    case NODE_TENURE_LOST: now.lease = NODE_LEASE_LOST; break;
    }
    if (of->agent != NULL)
        now.copy = of->leaving ? NODE_COPY_LEAVING : NODE_COPY_RUNS;
    return now;
}

static void act(hosted *of, const node_placed *placed, node_placement_step step)
{
    node_tenures *tenures = of->hosting->node->tenures;

    switch (step) { /* no default: the compiler names a step that we forgot */
    case NODE_PLACE_REST: break;
    case NODE_PLACE_CLAIM: node_tenures_claim(tenures, of->id); break;
    case NODE_PLACE_START: start(of, placed); break;
    /* An attempt takes no longer than this. */
    case NODE_PLACE_LEAVE: leave(of, node_agent_spec(of->agent)->message_timeout_ms); break;
    case NODE_PLACE_END: end(of); break;
    case NODE_PLACE_REMOVE: remove_copy(of); break;
    case NODE_PLACE_RELEASE: node_tenures_release(tenures, of->id); break;
    }
}

static hosted *hosted_of(node_hosting *hosting, const char *id)
{
    hosted *of = cx_map_get(hosting->by_id, id);

    if (of != NULL)
        return of;
    of = cx_alloc(1, sizeof *of);
    of->hosting = hosting;
    of->id = cx_strdup(id);
    cx_map_put(hosting->by_id, id, of);
    return of;
}

/* A pinned agent of this name, deployed before: the newer word is that it is placed. */
static void retire_pinned(hosted *of)
{
    node_agent *agent = node_agents_find(of->hosting->node->agents, of->id);

    if (agent != NULL && agent != of->agent)
        node_agent_retire(agent, node_agent_spec(agent)->message_timeout_ms, NULL, NULL);
}

static void consider(node_hosting *hosting, const node_placed *placed)
{
    hosted *of = hosted_of(hosting, placed->id);
    node_facts now;

    if (placed->version <= of->disowned) {
        if (of->agent == NULL) /* a copy that was leaving then is gone now */
            node_tenures_release(hosting->node->tenures, of->id);
        return;
    }
    choose_owner(of);
    if (placed->spec != NULL)
        retire_pinned(of);
    now = facts_of(of, placed);
    act(of, placed, node_placement_next(&now));
    if (of->agent == NULL) {
        clear_lane(of, placed->spec != NULL);
    } else if (!of->leaving && placed->spec != NULL) {
        follow(of, placed);
        node_agents_queued(hosting->node->agents, of->id); /* its lease may have come back */
    }
}

/* The node is stopping, and its agents finish what they have; but not beyond their leases. */
static void end_lost(node_hosting *hosting)
{
    size_t cursor = 0;
    void *value = NULL;

    while (cx_map_next(hosting->by_id, &cursor, NULL, &value)) {
        hosted *of = value;

        if (of->agent != NULL &&
            node_tenures_of(hosting->node->tenures, of->id) == NODE_TENURE_LOST)
            end(of);
    }
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    node_hosting *hosting = arg;
    const node_registry *registry = hosting->node->registry;
    const node_placed *placed;
    size_t cursor = 0;
    bool any = false;

    (void)fd;
    (void)what;
    node_timer_set(hosting->timer, LOOK_MS);
    see_candidates(hosting);
    if (hosting->node->stopping) {
        end_lost(hosting);
        return;
    }
    hosting->ready = hosting->ready || is_ready(hosting);
    while ((placed = node_registry_next_placed(registry, &cursor)) != NULL) {
        any |= placed->spec != NULL;
        consider(hosting, placed);
    }
    node_tenures_watch(hosting->node->tenures, any);
}

/* ---- public */

node_hosting *node_hosting_open(node_self *node)
{
    node_hosting *hosting = cx_alloc(1, sizeof *hosting);
    size_t cursor = 0;

    hosting->node = node;
    hosting->by_id = cx_map_open();
    hosting->generation = 1;
    hosting->timer = evtimer_new(node->loop, on_look, hosting);
    hosting->touch_timer = evtimer_new(node->loop, on_touch_timer, hosting);
    node_timer_set(hosting->timer, 0);
    /* What ran here before the start doesn't any more. */
    if (node_registry_next_placed(node->registry, &cursor) != NULL)
        touch(hosting);
    return hosting;
}

void node_hosting_close(node_hosting **owner)
{
    node_hosting *hosting = *owner;
    size_t cursor = 0;
    void *value = NULL;

    if (hosting == NULL)
        return;
    while (cx_map_next(hosting->by_id, &cursor, NULL, &value)) {
        hosted *of = value;

        cx_free(&of->id);
        cx_free(&of->by);
        cx_free(&of);
    }
    cx_map_close(&hosting->by_id);
    cx_list_free(&hosting->candidates);
    cx_json_free(&hosting->members);
    event_free(hosting->timer);
    event_free(hosting->touch_timer);
    cx_free(owner);
}

void node_hosting_members(node_hosting *hosting, const json_t *answer)
{
    json_t *members = json_object_get(answer, "members");

    if (!json_is_array(members))
        return;
    cx_json_free(&hosting->members);
    hosting->members = json_incref(members);
    node_hosting_look(hosting);
}

void node_hosting_look(node_hosting *hosting)
{
    node_timer_set(hosting->timer, 0);
}

void node_hosting_learn(node_hosting *hosting, const char *node_id, const json_t *list)
{
    node_registry *registry = hosting->node->registry;
    const json_t *item;
    size_t i;

    if (json_array_size(list) > NODE_PLACED_MAX * 2)
        return;
    json_array_foreach (list, i, item) {
        CX_AUTO(cx_free) char *where = cx_format("%s: placed[%zu]", node_id, i);
        CX_AUTO(node_placed_free) node_placed placed = {0};
        cx_err err;

        if (!node_placed_parse(item, where, &placed, &err)) /* a newer program's, perhaps */
            cx_log_error(&hosting->node->log, CX_WARN, "placed_unreadable", &err);
        else if (node_placed_is_newer(&placed, node_registry_placed(registry, placed.id)))
            node_registry_merge(registry, &placed, on_touched, hosting);
    }
    node_hosting_look(hosting);
}

void node_hosting_disown(node_hosting *hosting, const char *agent)
{
    const node_placed *placed = node_registry_placed(hosting->node->registry, agent);
    hosted *of = hosted_of(hosting, agent);

    of->disowned = placed == NULL ? 0 : placed->version;
    if (of->leaving)
        return;
    of->agent = NULL;
    node_tenures_release(hosting->node->tenures, agent);
}

bool node_hosting_has_majority(const node_hosting *hosting)
{
    return hosting->live * 2 > node_leases_expected(hosting->node->leases);
}

size_t node_hosting_leaving(const node_hosting *hosting)
{
    size_t cursor = 0, count = 0;
    void *value = NULL;

    while (cx_map_next(hosting->by_id, &cursor, NULL, &value)) {
        const hosted *of = value;

        count += of->agent != NULL && (of->leaving || !of->ownerless);
    }
    return count;
}

json_t *node_hosting_to_json(const node_hosting *hosting)
{
    const node_self *node = hosting->node;

    return json_pack("{s:o, s:I, s:I, s:b, s:b, s:I, s:I}", "candidates",
                     cx_json_texts(&hosting->candidates), "there", (json_int_t)hosting->live,
                     "expected", (json_int_t)node_leases_expected(node->leases), "majority",
                     node_hosting_has_majority(hosting), "ready", hosting->ready, "leases",
                     (json_int_t)node_tenures_count(node->tenures), "leaving",
                     (json_int_t)node_hosting_leaving(hosting));
}

json_t *node_hosting_describe(const node_hosting *hosting, const char *agent)
{
    const node_self *node = hosting->node;
    const node_placed *placed = node_registry_placed(node->registry, agent);
    const json_t *entry = NULL;
    const char *host = NULL;
    node_counts counts = node_queue_counts(node->queue, agent);
    json_t *json;

    if (!node_placed_is_there(placed))
        return NULL;
    entry = node_router_entry(node->router, agent, &host);
    json = node_spec_to_json(placed->spec);
    json_object_del(json, "env"); /* may hold secrets */
    json_object_update_new(
        json,
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:{s:n, s:n}, s:n, s:n, s:n}", "node_id",
                  host == NULL ? node->config->node_id : host, "state",
                  entry == NULL ? node_agent_state_word(NODE_AGENT_STARTING)
                                : cx_json_text_or_empty(entry, "state"),
                  "queued", (json_int_t)counts.queued, "in_flight", (json_int_t)counts.in_flight,
                  "processed", (json_int_t)0, "failed", (json_int_t)0, "latency_ms", "p50", "p99",
                  "cpu_percent", "rss_bytes", "last_active"));
    return json;
}

void node_hosting_add_waiting(const node_hosting *hosting, json_t *agents)
{
    const node_self *node = hosting->node;
    const node_placed *placed;
    const char *host = NULL;
    size_t cursor = 0;

    if (!node_hosting_has_majority(hosting))
        return;
    while ((placed = node_registry_next_placed(node->registry, &cursor)) != NULL) {
        const hosted *of = cx_map_get(hosting->by_id, placed->id);
        bool ours = of != NULL && of->owned;

        if (placed->spec != NULL && ours && node_agents_find(node->agents, placed->id) == NULL &&
            node_router_entry(node->router, placed->id, &host) == NULL)
            json_array_append_new(agents, node_hosting_describe(hosting, placed->id));
    }
}
