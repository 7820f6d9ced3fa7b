/* What must not be forgotten is saved, turn by turn, in the storage thread. */
#include "base/time.h"
#include "watch.h"

enum {
    SAVE_RETRY_MS = 5000,
    ONCE_SAVES = 2, /* attempts to save with --once */
    STATE_VERSION = 1,
};

struct save_job {
    watch_self *watch;
    const char *data_dir;
    watch_folder folder;
    cx_health_turn turn;
    json_t *state, *changes, *notices;
    size_t refused;
    bool failed;
    cx_err err;
};

static json_t *nodes_json(const cx_api_nodes *nodes)
{
    json_t *members = json_array();

    for (size_t i = 0; i < nodes->count; i++) {
        const cx_api_node *node = &nodes->items[i];

        json_array_append_new(members,
                              json_pack("{s:o, s:o, s:o}", "node_id", cx_json_text(node->node_id),
                                        "api_addr", cx_json_text(node->api_addr), "status",
                                        cx_json_text(node->status)));
    }
    return members;
}

static json_t *state_json(const watch_self *watch)
{
    return json_pack("{s:i, s:s, s:s, s:I, s:o, s:o, s:o, s:O, s:o}", "version", STATE_VERSION,
                     "node_id", watch->config->node_id, "cluster", watch->config->cluster,
                     "saved_ms", (json_int_t)cx_wall_ms(), "watchers",
                     cx_json_texts(&watch->watchers), "watcher_nodes",
                     nodes_json(&watch->watcher_nodes), "members", nodes_json(&watch->members),
                     "quiet", watch->quiet, "alerts", cx_alerts_to_json(watch->alerts));
}

static void save_work(void *data)
{
    struct save_job *job = data;

    /* Nobody would look for it there. */
    job->failed = !watch_folder_check(job->data_dir, &job->folder, &job->err) ||
                  !cx_health_store_save(job->watch->store, &job->turn, &job->refused, &job->err);
}

/* What could not be saved comes first when it is tried again; the newest of too many are left out. */
static void put_back(json_t **list, json_t **earlier)
{
    for (size_t i = 0; i < json_array_size(*list); i++)
        if (json_array_size(*earlier) < CX_HEALTH_OUTBOX_MAX)
            json_array_append(*earlier, json_array_get(*list, i));
    json_decref(*list);
    *list = CX_TAKE(*earlier);
}

static void tell_peers(watch_self *watch, const json_t *parcels)
{
    CX_AUTO(cx_json_free) json_t *notices = json_array();
    size_t at;
    json_t *parcel;

    json_array_foreach (parcels, at, parcel)
        json_array_append(notices, json_object_get(parcel, "notice"));
    watch_peers_tell(watch, notices);
}

bool watch_is_idle(const watch_self *watch)
{
    if (!watch->peers_known || watch->saving || watch->working > 0 ||
        evtimer_pending(watch->save_timer, NULL))
        return false;
    for (size_t i = 0; i < watch->round_count; i++)
        if (!watch->rounds[i].done_once)
            return false;
    for (size_t i = 0; i < watch->lane_count; i++)
        if (!watch->lanes[i].settled)
            return false;
    return true;
}

static void save_done(void *data)
{
    struct save_job *job = data;
    watch_self *watch = job->watch;

    watch->saving = false;
    watch->save_failures = job->failed ? watch->save_failures + 1 : 0;
    watch->save_error = job->err;
    if (job->failed) {
        cx_log_error(&watch->log, CX_ERROR, "save_failed", &job->err);
        put_back(&watch->unsaved_changes, &job->changes);
        put_back(&watch->unsaved_notices, &job->notices);
        watch_set_timer(watch->save_timer, SAVE_RETRY_MS);
        watch_lanes_wake(watch); /* it is told all the same */
        watch_events_news(watch);
    } else {
        if (job->refused > 0)
            cx_log_write(&watch->log, CX_ERROR, "outbox_full", "{s:I}", "refused",
                         (json_int_t)job->refused);
        if (json_array_size(job->notices) > 0)
            watch_lanes_wake(watch);
        tell_peers(watch, job->notices);
        if (watch->save_again && !watch->stopping) /* else: a restart looks again */
            watch_save(watch);
    }
    cx_json_free(&job->state);
    cx_json_free(&job->changes);
    cx_json_free(&job->notices);
    cx_free(&job);
    if (watch->once && (watch_is_idle(watch) || watch->save_failures == ONCE_SAVES))
        event_base_loopexit(watch->loop, NULL);
}

void watch_save(watch_self *watch)
{
    struct save_job *job;

    watch->save_again = watch->saving || watch->carried > 0;
    /* Where it failed, it is tried again when the timer says so. */
    if (watch->save_again || evtimer_pending(watch->save_timer, NULL))
        return;
    job = cx_alloc(1, sizeof *job);
    job->watch = watch;
    job->data_dir = watch->config->data_dir;
    job->folder = watch->folder;
    job->state = state_json(watch);
    job->changes = CX_TAKE(watch->unsaved_changes);
    job->notices = CX_TAKE(watch->unsaved_notices);
    watch->unsaved_changes = json_array();
    watch->unsaved_notices = json_array();
    job->turn = (cx_health_turn){
        .state = job->state,
        .changes = job->changes,
        .notices = job->notices,
        .wall_ms = cx_wall_ms(),
    };
    watch->saving = true;
    if (!cx_pool_add(watch->storage, save_work, save_done, job)) {
        cx_fail(&job->err, CX_BUSY, "too many saves wait");
        job->failed = true;
        save_done(job);
    }
}

static void on_save(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    watch_save(arg);
}

void watch_save_open(watch_self *watch)
{
    watch->save_timer = evtimer_new(watch->loop, on_save, watch);
}
