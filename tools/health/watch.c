#include "watch.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/io.h"
#include "base/time.h"
#include "quiet.h"

enum {
    ASKERS = 4, /* rounds at the same time: one that hangs holds up no other */
    COURIERS = 4,
    JOBS_MAX = 256,
    LOCK_WAIT_MS = 1000, /* `alerts` tries the lock for a moment */
};

struct watch_options {
    cx_list policy;
    cx_list allow_host;
    const char *alerts, *listen, *token_file, *peer_listen;
    bool once;
};

static const cx_option options[] = {
    {"policy", CX_LIST(struct watch_options, policy), "FILE", NULL,
     "health.yaml or alerts.yaml (its top-level key says which) instead of policies/; may be given "
     "for both"},
    {"alerts", CX_TEXT(struct watch_options, alerts), "FILE", NULL,
     "alerts from this file instead of policies/alerts.yaml"},
    {"listen", CX_TEXT(struct watch_options, listen), "HOST:PORT", NULL,
     "serve the dashboard, /metrics and /api/v1/state there (plain HTTP)"},
    {"token-file", CX_TEXT(struct watch_options, token_file), "FILE", NULL,
     "the dashboard silences only for who knows the token in this file (mode 0600, at least 16 "
     "bytes); without one: everybody on this host when --listen is loopback, else nobody"},
    {"allow-host", CX_LIST(struct watch_options, allow_host), "NAME", NULL,
     "a name by which browsers may call the dashboard, besides addresses, localhost, this host's "
     "name and that of --listen; may be given more than once"},
    {"peer-listen", CX_TEXT(struct watch_options, peer_listen), "HOST:PORT", NULL,
     "where other watchers reach this one (mutual TLS); default: a free port beside the node API"},
    {"once", CX_FLAG(struct watch_options, once), NULL, NULL,
     "every check once, tell what is to be told, and end"},
    {0},
};

void watch_set_timer(struct event *timer, int64_t after_ms)
{
    struct timeval after = {after_ms / 1000, after_ms % 1000 * 1000};

    event_add(timer, &after);
}

/* ---- a turn */

/* Those that people made, then nodes that are quiet on purpose; freed by the caller. Before the members
 * are known, what was quiet at the last end is. */
static cx_silence *silences_now(watch_self *watch, int64_t wall_ms, size_t *count)
{
    cx_silence *all;
    size_t at;
    json_t *item;
    cx_err ignored;

    if (watch->cluster != NULL) {
        cx_json_free(&watch->quiet);
        watch->quiet = health_quiet_list(json_object_get(watch->cluster, "members"), wall_ms);
    }
    all = cx_alloc(watch->silence_count + json_array_size(watch->quiet) + 1, sizeof *all);
    *count = watch->silence_count;
    for (size_t i = 0; i < watch->silence_count; i++)
        all[i] = watch->silences[i];
    json_array_foreach (watch->quiet, at, item)
        *count += cx_silence_from_json(item, "quiet", &all[*count], &ignored);
    return all;
}

void watch_turn(watch_self *watch)
{
    CX_AUTO(cx_json_free) json_t *notices = json_array();
    int64_t wall_ms = cx_wall_ms();
    size_t count, at;
    CX_AUTO(cx_free) cx_silence *silences = silences_now(watch, wall_ms, &count);
    json_t *notice;

    /* Before it is known what is silenced and what others told, nothing is told: a turn comes then. */
    if (watch->silences_known && watch->peers_known) {
        cx_alerts_sift(watch->alerts, &watch->now.rules, silences, count, wall_ms);
        cx_alerts_tell(watch->alerts, &watch->now.rules, &watch->watchers, wall_ms, notices);
    }
    json_array_foreach (notices, at, notice)
        watch_address(watch, notice, watch->unsaved_notices);
    watch_save(watch);
    if (watch->save_failures > 0)
        watch_lanes_wake(watch);
    watch_events_news(watch);
}

/* ---- policies that change while it runs */

static void adopt_policies(watch_self *watch)
{
    watch_rounds_close(watch);
    watch_lanes_close(watch);
    watch_policies_free(&watch->now);
    watch->now = *watch->next;
    cx_free(&watch->next);
    watch_lanes_open(watch);
    watch_rounds_open(watch);
    cx_log_write(&watch->log, CX_INFO, "reloaded", NULL);
}

void watch_job_ended(watch_self *watch)
{
    watch->working--;
    if (watch->working == 0 && watch->next != NULL && !watch->stopping)
        adopt_policies(watch);
    if (watch->once && watch_is_idle(watch))
        event_base_loopexit(watch->loop, NULL);
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
    watch_self *watch = arg;
    watch_policies policies;
    cx_err err = {0};

    (void)number;
    (void)what;
    if (!cx_log_reopen(&watch->log, watch->log_place, &err))
        cx_log_error(&watch->log, CX_ERROR, "log_not_reopened", &err);
    if (!watch_policies_load(watch, &policies, &err)) {
        cx_log_error(&watch->log, CX_ERROR, "reload_failed", &err);
        return;
    }
    if (watch->next != NULL)
        watch_policies_free(watch->next);
    else
        watch->next = cx_alloc(1, sizeof *watch->next);
    *watch->next = policies;
    if (watch->working == 0)
        adopt_policies(watch);
}

static void on_end(evutil_socket_t number, short what, void *arg)
{
    watch_self *watch = arg;

    (void)what;
    cx_log_write(&watch->log, CX_INFO, "stopping", "{s:s}", "signal",
                 number == SIGTERM ? "SIGTERM" : "SIGINT");
    watch->stopping = true;
    event_base_loopexit(watch->loop, NULL);
}

/* ---- opening */

static bool restore(watch_self *watch, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *state = NULL;
    size_t at;
    json_t *member;

    watch->alerts = cx_alerts_open(watch->config->cluster, watch->config->node_id);
    if (!cx_health_store_load(watch->store, &state, err))
        return false;
    if (state == NULL)
        return true;
    /* The keys of alerts are made of the cluster's name: those of another one are not ours. */
    if (strcmp(cx_json_text_or_empty(state, "cluster"), watch->config->cluster) != 0)
        return true;
    json_array_foreach (json_object_get(state, "members"), at, member)
        cx_api_nodes_add(&watch->members, cx_json_text_or_empty(member, "node_id"),
                         cx_json_text_or_empty(member, "api_addr"),
                         cx_json_text_or_empty(member, "status"));
    json_array_foreach (json_object_get(state, "watcher_nodes"), at, member)
        cx_api_nodes_add(&watch->watcher_nodes, cx_json_text_or_empty(member, "node_id"),
                         cx_json_text_or_empty(member, "api_addr"),
                         cx_json_text_or_empty(member, "status"));
    if (json_is_array(json_object_get(state, "quiet")))
        json_array_extend(watch->quiet, json_object_get(state, "quiet"));
    return cx_alerts_from_json(watch->alerts, json_object_get(state, "alerts"), err) ||
           cx_wrap(err, "health.db");
}

/* Notices of ours that wait for nothing more were sent, or given up, before the end. */
static bool settle_notices(watch_self *watch, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *keys = NULL;

    if (!cx_health_store_waiting(watch->store, NULL, &keys, err))
        return false;
    for (size_t i = 0; i < watch->alerts->notice_count; i++) {
        cx_alert_notice *notice = watch->alerts->notices[i];
        bool waits = false;
        size_t at;
        json_t *key;

        json_array_foreach (keys, at, key)
            waits |= strcmp(json_string_value(key), notice->key) == 0;
        if (!waits && strcmp(notice->by, watch->alerts->self) == 0)
            notice->delivered = true;
    }
    return true;
}

static bool open_files(watch_self *watch, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = cx_config_data(watch->config, "health.lock");

    if (!cx_make_folders(watch->config->data_dir, 0750, NULL, err))
        return false;
    if (!cx_lock_wait(lock, LOCK_WAIT_MS, &watch->lock_fd, err))
        return cx_wrap(err, "another watcher runs here");
    return watch_folder_of(watch->lock_fd, &watch->folder, err) &&
           cx_health_store_open(watch->config->data_dir, false, &watch->store, err) &&
           restore(watch, err) && settle_notices(watch, err);
}

static bool open_pools(watch_self *watch, cx_err *err)
{
    return cx_pool_open(watch->loop, 1, JOBS_MAX, &watch->storage, err) &&
           cx_pool_open(watch->loop, ASKERS, JOBS_MAX, &watch->askers, err) &&
           cx_pool_open(watch->loop, COURIERS, JOBS_MAX, &watch->couriers, err);
}

static bool watch_open(cx_run *run, const struct watch_options *option, watch_self *watch,
                       cx_err *err)
{
    *watch = (watch_self){
        .log = {.program = run->program, .level = CX_INFO, .fd = STDERR_FILENO},
        .lock_fd = -1,
        .started_wall_ms = cx_wall_ms(),
        .alerts_file = option->alerts,
        .once = option->once,
        .unsaved_changes = json_array(),
        .unsaved_notices = json_array(),
        .silence_documents = json_array(),
        .quiet = json_array(),
        .superseded = json_array(),
        .sent = json_object(),
    };
    watch->log_place = cx_log_place(&watch->log);
    if (run->quiet)
        watch->log.level = CX_ERROR;
    for (size_t i = 0; i < option->policy.count; i++)
        cx_list_add(&watch->policy_files, option->policy.items[i]);
    if (!cx_config_load(run->config_path, run->config_is_default, &watch->config, err) ||
        !watch_policies_load(watch, &watch->now, err) || !open_files(watch, err))
        return false;
    watch->loop = event_base_new();
    if (watch->loop == NULL)
        return cx_fail(err, CX_INTERNAL, "no event loop");
    watch_save_open(watch);
    watch->board = health_board_open();
    return open_pools(watch, err) &&
           watch_serve_open(watch,
                            &(watch_serve_options){.address = option->listen,
                                                   .token_file = option->token_file,
                                                   .names = &option->allow_host},
                            err) &&
           watch_peers_open(watch, option->peer_listen, err) &&
           (watch_blind_open(watch), watch_gossip_open(watch, err));
}

static void watch_close(watch_self *watch)
{
    watch->stopping = true;
    watch_serve_close(watch);
    watch_gossip_close(watch);
    watch_peers_close(watch);
    watch_blind_close(watch);
    /* Couriers end first: what they have sent is marked and saved. */
    cx_pool_close(&watch->couriers);
    cx_pool_close(&watch->askers);
    cx_pool_close(&watch->storage);
    if (watch->loop != NULL) {
        watch_lanes_close(watch);
        watch_rounds_close(watch);
        event_free(watch->save_timer);
        if (watch->silence_timer != NULL)
            event_free(watch->silence_timer);
        event_base_free(watch->loop);
    }
    cx_health_store_close(&watch->store);
    health_board_close(&watch->board);
    cx_alerts_close(&watch->alerts);
    cx_free(&watch->silences);
    cx_json_free(&watch->silence_documents);
    cx_json_free(&watch->quiet);
    cx_json_free(&watch->cluster);
    cx_json_free(&watch->unsaved_changes);
    cx_json_free(&watch->unsaved_notices);
    cx_json_free(&watch->superseded);
    cx_json_free(&watch->sent);
    cx_api_nodes_free(&watch->members);
    cx_api_nodes_free(&watch->watcher_nodes);
    cx_list_free(&watch->subjects);
    cx_list_free(&watch->watchers);
    watch_policies_free(&watch->now);
    if (watch->next != NULL)
        watch_policies_free(watch->next);
    cx_free(&watch->next);
    cx_list_free(&watch->policy_files);
    cx_fd_close(&watch->lock_fd);
    cx_config_free(&watch->config);
    cx_free(&watch->log_place);
}

/* ---- running */

static bool run_loop(watch_self *watch, cx_err *err)
{
    struct event *events[] = {
        evsignal_new(watch->loop, SIGTERM, on_end, watch),
        evsignal_new(watch->loop, SIGINT, on_end, watch),
        evsignal_new(watch->loop, SIGHUP, on_reload, watch),
    };
    int status;

    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_add(events[i], NULL);
    watch_silences_open(watch);
    watch_lanes_open(watch);
    watch_rounds_open(watch);
    cx_log_write(&watch->log, CX_INFO, "ready", "{s:s, s:s, s:I, s:I, s:s}", "node_id",
                 watch->config->node_id, "cluster", watch->config->cluster, "rules",
                 (json_int_t)watch->now.rules.count, "alerts", (json_int_t)watch->alerts->count,
                 "version", cx_version);
    sd_notify(0, "READY=1");
    status = event_base_dispatch(watch->loop);
    for (size_t i = 0; i < CX_COUNT(events); i++)
        event_free(events[i]);
    cx_log_write(&watch->log, CX_INFO, "stopped", NULL);
    return status >= 0 || cx_fail(err, CX_INTERNAL, "the event loop failed");
}

/* A watcher that could not look has not seen that all is well. */
static bool has_looked(const watch_self *watch, cx_err *err)
{
    for (size_t i = 0; i < watch->round_count; i++)
        if (watch->rounds[i].error.code != CX_OK) {
            *err = watch->rounds[i].error;
            return false;
        }
    if (watch->save_failures > 0)
        *err = watch->save_error;
    return watch->save_failures == 0;
}

static json_t *once_json(const watch_self *watch, bool *is_firing)
{
    json_t *checks = json_array();
    json_t *alerts = json_array();

    for (size_t i = 0; i < watch->round_count; i++)
        json_array_extend(checks, watch->rounds[i].checks);
    for (size_t i = 0; i < watch->alerts->count; i++) {
        *is_firing |= watch->alerts->items[i]->state == CX_ALERT_FIRING;
        json_array_append_new(alerts, cx_alert_to_json(watch->alerts->items[i]));
    }
    return json_pack("{s:s, s:o, s:I, s:o}", "status", cx_health_word(cx_health_of(checks)),
                     "alerts", alerts, "count", (json_int_t)json_array_size(alerts), "checks",
                     checks);
}

static bool run_watch(cx_run *run, const void *parsed, cx_err *err)
{
    const struct watch_options *option = parsed;
    CX_AUTO(watch_close) watch_self watch = {.lock_fd = -1};
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!watch_open(run, option, &watch, err) || !run_loop(&watch, err))
        return false;
    if (!option->once || watch.stopping)
        return true;
    if (!has_looked(&watch, err))
        return false;
    document = once_json(&watch, &run->answer_no);
    return cx_emit(run, document, err);
}

const cx_command health_watch = {
    .name = "watch",
    .summary = "watch the cluster in the foreground, and tell people when something is wrong",
    .description =
        "Every group of checks of health.yaml is made on its own interval against all members. An "
        "alert of alerts.yaml is pending while its condition holds for less than its duration, "
        "then "
        "firing, then resolved; its actions are told of the last two. Every host may run a "
        "watcher: "
        "of each alert one of them tells. State, silences and what is still to be sent are in "
        "data_dir/health.db and survive any end. Logs NDJSON on stderr. SIGHUP reads the policies "
        "again, and opens its log file anew after a rotation. With --once the exit status is 1 "
        "when an alert fires. --listen serves a dashboard: on a loopback address everybody on this "
        "host may silence alerts there, agents too; with --token-file only who knows the token; on "
        "any other address without one nobody.",
    .options = options,
    .options_size = sizeof(struct watch_options),
    .run = run_watch,
};
