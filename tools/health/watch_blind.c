/* A watcher whose own gossip agent is dead doesn't know who else watches, while the others know it for
 * one that is gone: they tell in its place. So while it is blind it keeps quiet and asks those that were
 * there last, watchers and nodes, who tells. Only when none of them says for WAIT_MS that others do, it
 * tells itself: a page that comes twice is better than none.
 *
 * A side of a split is not blind: its agent lives, and says that it is a minority. */
#include <string.h>

#include "base/time.h"
#include "watch.h"

enum {
    WAIT_MS = 30 * 1000,
    ASK_AGAIN_MS = 3000,
    NODES_MAX = 16, /* that are asked: each of them sees the same cluster */
};

static const char notices_path[] = "/api/v1/watch/notices";
static const char cluster_path[] = "/api/v1/cluster";

struct watch_blind {
    watch_self *watch;
    bool is_blind, is_alone; /* alone: it tells itself */
    int64_t others_ms;       /* monotonic: others were seen to tell, or it began */
    struct event *timer;
    cx_api_nodes watchers, nodes; /* those that were there last, without this one */
    cx_list
        with_us;  /* watchers that count on this one, or are blind as well: they share the work */
    size_t asked; /* questions that are not answered yet */
    bool asking, others_tell;
};

static void add_others(const watch_self *watch, const cx_api_nodes *from, size_t max,
                       cx_api_nodes *to)
{
    for (size_t i = 0; i < from->count && to->count < max; i++) {
        const cx_api_node *node = &from->items[i];

        if (strcmp(node->node_id, watch->alerts->self) != 0)
            cx_api_nodes_add(to, node->node_id, node->api_addr, node->status);
    }
}

/* ---- what is said of who tells */

static void hear_watcher(struct watch_blind *blind, const char *node_id, const json_t *document)
{
    const json_t *watchers = json_object_get(document, "watchers");
    bool with_us = json_is_true(json_object_get(document, "blind"));
    size_t at;
    json_t *name;

    watch_peers_hear(blind->watch, document);
    if (!json_is_array(watchers)) /* it is of a release that does not say */
        return;
    json_array_foreach ((json_t *)watchers, at, name)
        with_us |= json_is_string(name) &&
                   strcmp(json_string_value(name), blind->watch->alerts->self) == 0;
    if (with_us)
        cx_list_add(&blind->with_us, node_id);
    else
        blind->others_tell = true;
}

static void hear_node(struct watch_blind *blind, const json_t *cluster)
{
    bool others = false, self = false;
    size_t at;
    json_t *member;

    json_array_foreach (json_object_get(cluster, "members"), at, member) {
        if (strcmp(cx_json_text_or_empty(member, "status"), "alive") != 0 ||
            cx_json_text_or_empty(json_object_get(member, "tags"), "watch")[0] == '\0')
            continue;
        if (strcmp(cx_json_text_or_empty(member, "node_id"), blind->watch->alerts->self) == 0)
            self = true;
        else
            others = true;
    }
    blind->others_tell |= others && !self;
}

/* ---- asking */

static void become_alone(struct watch_blind *blind)
{
    watch_self *watch = blind->watch;

    cx_log_write(&watch->log, CX_WARN, "nobody_else_tells", NULL);
    blind->is_alone = true;
    cx_list_free(&watch->watchers);
    watch->watchers = blind->with_us;
    blind->with_us = (cx_list){0};
    watch_peers_are_known(watch);
}

static void judge(struct watch_blind *blind)
{
    int64_t now_ms = cx_now_ms();

    if (!blind->is_blind)
        return;
    watch_set_timer(blind->timer, ASK_AGAIN_MS);
    if (blind->others_tell) {
        blind->others_ms = now_ms;
        blind->is_alone = false;
        blind->watch->peers_known = false;
    } else if (!blind->is_alone && now_ms - blind->others_ms >= WAIT_MS) {
        become_alone(blind);
    }
}

static void answered(struct watch_blind *blind)
{
    if (--blind->asked == 0 && !blind->asking)
        judge(blind);
}

struct question {
    struct watch_blind *blind;
    char *node_id; /* of a watcher; NULL: a node is asked */
};

static void on_answer(json_t **answer, const cx_err *error, void *arg)
{
    struct question *question = arg;
    struct watch_blind *blind = question->blind;

    (void)error; /* that nobody answers is what is asked */
    if (*answer != NULL && question->node_id != NULL)
        hear_watcher(blind, question->node_id, *answer);
    else if (*answer != NULL)
        hear_node(blind, *answer);
    cx_free(&question->node_id);
    cx_free(&question);
    answered(blind);
}

static void put(struct watch_blind *blind, const cx_api_node *node, bool is_watcher)
{
    struct question *question = cx_alloc(1, sizeof *question);

    question->blind = blind;
    question->node_id = is_watcher ? cx_strdup(node->node_id) : NULL;
    blind->asked++;
    watch_peers_get(blind->watch, node, is_watcher ? notices_path : cluster_path, on_answer,
                    question);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct watch_blind *blind = arg;

    (void)fd;
    (void)what;
    if (!blind->is_blind || blind->asked > 0 || blind->watch->stopping)
        return;
    cx_list_free(&blind->with_us);
    blind->others_tell = false;
    blind->asking = true; /* an answer may come at once */
    for (size_t i = 0; i < blind->watchers.count; i++)
        put(blind, &blind->watchers.items[i], true);
    for (size_t i = 0; i < blind->nodes.count; i++)
        put(blind, &blind->nodes.items[i], false);
    blind->asking = false;
    if (blind->asked == 0)
        judge(blind);
}

/* ---- beginning and end */

void watch_blind_begins(watch_self *watch)
{
    struct watch_blind *blind = watch->blind;

    if (blind == NULL || blind->is_blind)
        return;
    cx_api_nodes_free(&blind->watchers);
    cx_api_nodes_free(&blind->nodes);
    add_others(watch, &watch->watcher_nodes, SIZE_MAX, &blind->watchers);
    add_others(watch, &watch->members, NODES_MAX, &blind->nodes);
    if (blind->watchers.count == 0 && blind->nodes.count == 0)
        return;
    cx_log_write(&watch->log, CX_WARN, "blind", NULL);
    blind->is_blind = true;
    blind->is_alone = false;
    blind->others_ms = cx_now_ms();
    watch->peers_known = false;
    watch_set_timer(blind->timer, 0);
}

void watch_blind_ends(watch_self *watch)
{
    struct watch_blind *blind = watch->blind;
    bool sees_watchers = false;

    if (blind == NULL || !blind->is_blind)
        return;
    for (size_t i = 0; i < watch->watchers.count; i++)
        sees_watchers |= strcmp(watch->watchers.items[i], watch->alerts->self) != 0;
    /* An agent that has just started may not have found the others yet. */
    if (!sees_watchers && blind->watchers.count > 0 && !blind->is_alone)
        return;
    cx_log_write(&watch->log, CX_INFO, "sees_again", NULL);
    blind->is_blind = false;
    event_del(blind->timer);
    watch_peers_forget(watch);
}

bool watch_is_blind(const watch_self *watch)
{
    return watch->blind != NULL && watch->blind->is_blind;
}

bool watch_keeps_quiet(const watch_self *watch)
{
    return watch_is_blind(watch) && !watch->blind->is_alone;
}

void watch_blind_open(watch_self *watch)
{
    if (watch->peers == NULL || watch->once)
        return;
    watch->blind = cx_alloc(1, sizeof *watch->blind);
    watch->blind->watch = watch;
    watch->blind->timer = evtimer_new(watch->loop, on_timer, watch->blind);
}

void watch_blind_close(watch_self *watch)
{
    if (watch->blind == NULL)
        return;
    event_free(watch->blind->timer);
    cx_api_nodes_free(&watch->blind->watchers);
    cx_api_nodes_free(&watch->blind->nodes);
    cx_list_free(&watch->blind->with_us);
    cx_free(&watch->blind);
}
