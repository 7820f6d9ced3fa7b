/* cx-health watch: one struct that owns all state of the daemon. One loop, in whose thread everything
 * here happens; what blocks is done by workers, whose jobs own copies of what they need.
 *
 * From a node to a page: watch_round.c (asks, in a worker) -> lib/health/alert.h (looks, tells) ->
 * watch_save.c (saves the turn: state, history and outbox in one transaction) -> watch_send.c (a courier an
 * action). The silences are read again every other second, so that the commands beside the watcher
 * need only the file. */
#pragma once

#include <sys/types.h>

#include <event2/event.h>

#include "api/client.h"
#include "base/log.h"
#include "base/pool.h"
#include "board.h"
#include "collect.h"
#include "health/alert.h"
#include "health/store.h"

extern const cx_command health_watch, health_alerts, health_silence, health_unsilence,
    health_test_action;

typedef struct watch_self watch_self;

typedef enum watch_group { WATCH_CLUSTER, WATCH_NODES, WATCH_AGENTS } watch_group;

/* Checks that are made together. A check with an interval of its own has a round of its own. */
typedef struct watch_round {
    watch_self *watch;
    watch_group group;
    health_parts parts;
    int64_t interval_ms, timeout_ms;
    cx_health_policy policy; /* wanted: these checks only */
    struct event *timer;
    bool running, again; /* again: it was asked for while it ran */
    bool done_once;
    cx_err error;   /* why the last time saw nothing at all; CX_OK else */
    cx_api *api;    /* its worker's */
    json_t *checks; /* of the last time */
} watch_round;

/* One action, one courier. */
typedef struct watch_lane {
    watch_self *watch;
    char *name;
    json_t *definition;
    struct event *timer;
    bool busy, again;
    bool settled;            /* nothing is due now */
    size_t waiting_failures; /* in a row: 0 is well */
    json_t *sent; /* ids of notices that were sent and are still in the outbox: its file can't
                                be written; a list */
} watch_lane;

/* By its lock file, which the watcher holds: no other folder has the same while it does. */
typedef struct watch_folder {
    dev_t device;
    ino_t inode;
} watch_folder;

typedef enum watch_folder_state {
    WATCH_FOLDER_OURS,
    WATCH_FOLDER_GONE, /* it isn't at data_dir any more; the couriers end what they have begun */
    WATCH_FOLDER_LEFT, /* and what waited in it is in memory */
} watch_folder_state;

/* The policies as they are in force. */
typedef struct watch_policies {
    json_t *health, *alerts;
    cx_health_policy policy;
    cx_alert_rules rules;
} watch_policies;

struct watch_self {
    struct event_base *loop;
    cx_config *config;
    cx_log log;
    char *log_place;     /* of its file, which a rotation may move; NULL: it goes to no file */
    int lock_fd;         /* of data_dir/health.lock */
    watch_folder folder; /* the one that we have the lock of */
    watch_folder_state folder_state;
    bool folder_looked_at; /* a job of the storage thread is under way */
    int64_t started_wall_ms;
    cx_list policy_files; /* as given */
    const char *alerts_file;
    watch_policies now;
    watch_policies *next; /* read by SIGHUP; in force when nobody works with the old ones */

    watch_round *rounds;
    size_t round_count;
    watch_lane *lanes;
    size_t lane_count;
    json_t *sent;   /* {"ACTION":[ids]}: as of lanes, while the policies change */
    size_t working; /* jobs of rounds and couriers */

    cx_alerts *alerts;
    cx_silence *silences;
    size_t silence_count;
    json_t *silence_documents;
    json_t *quiet;        /* as health_quiet_list, of the last turn */
    json_t *cluster;      /* the membership as last seen; NULL before */
    cx_api_nodes members; /* those with a node API, as last seen */
    int64_t cluster_ms;   /* monotonic: when it was asked for, so that an older one is not taken */
    health_board *board;
    cx_list subjects, watchers;
    cx_api_nodes watcher_nodes; /* those of the watchers that tell where they listen */

    cx_pool *storage, *askers, *couriers;
    cx_health_store *store; /* the storage thread's */
    json_t *unsaved_changes, *unsaved_notices;
    json_t *superseded; /* keys of alerts that another watcher told while ours waited */
    bool saving, save_again, silences_known, peers_known;
    size_t save_failures; /* in a row */
    size_t carried;       /* couriers that carry what is not saved: nothing is saved meanwhile */
    cx_err save_error;    /* of the last of them */
    struct event *save_timer, *silence_timer;

    struct watch_peers *peers;   /* NULL: it watches alone */
    struct watch_blind *blind;   /* NULL with them, or --once */
    struct watch_gossip *gossip; /* NULL: nobody is told of it */
    struct cx_httpd *httpd;      /* NULL: nobody listens */
    struct watch_page *page;     /* NULL with it, as the next one */
    struct watch_events *events;
    size_t asked; /* jobs of the page that the storage thread has */

    bool once, stopping;
};

/* ---- watch.c */

/* Something was seen, heard or silenced: tells what is to be told, and saves. */
void watch_turn(watch_self *watch);
/* A job of a round or courier ended. */
void watch_job_ended(watch_self *watch);
void watch_set_timer(struct event *timer, int64_t after_ms);

/* ---- watch_save.c */

void watch_save_open(watch_self *watch);
/* Now, or as soon as it can be. While it can't, because the disk is full, what is to be sent is sent
 * all the same, from memory: a page counts for more than that it is never sent twice. */
void watch_save(watch_self *watch);
/* Nothing is under way, and every check was made. */
bool watch_is_idle(const watch_self *watch);

/* ---- watch_folder.c */

/* IO when data_dir is another folder by now, or none. In any thread. */
CX_MUST_CHECK bool watch_folder_check(const char *data_dir, const watch_folder *folder,
                                      cx_err *err);
CX_MUST_CHECK bool watch_folder_of(int lock_fd, watch_folder *folder, cx_err *err);
/* Whether it is still the same; another one that is in its place is followed. */
void watch_folder_look(watch_self *watch);

/* ---- watch_silence.c */

void watch_silences_open(watch_self *watch);
/* All others were asked what they have told: what waits is sent, but for what they told in our place. */
void watch_peers_are_known(watch_self *watch);
/* The same for what others have told since. */
void watch_drop_superseded(watch_self *watch);
/* Silences of others are kept, as far as they are news. */
void watch_keep_silences(watch_self *watch, const json_t *silences);
/* They are read again. */
void watch_look_at_silences(watch_self *watch);

/* ---- watch_policy.c */

CX_MUST_CHECK bool watch_policies_load(const watch_self *watch, watch_policies *policies,
                                       cx_err *err);
void watch_policies_free(watch_policies *policies);

/* ---- watch_round.c */

void watch_rounds_open(watch_self *watch);
void watch_rounds_close(watch_self *watch);
/* Now, or as soon as the one under way is over. */
void watch_round_start(watch_round *round);
/* The members have changed: they are looked at now. */
void watch_rounds_now(watch_self *watch);
/* The membership as it was asked for then (monotonic); false: a later one is known. */
bool watch_take_membership(watch_self *watch, const json_t *cluster, int64_t asked_ms);

/* ---- watch_send.c */

void watch_lanes_open(watch_self *watch);
void watch_lanes_close(watch_self *watch);
/* {"action","notice"} for each action of a notice, appended to `parcels`. */
void watch_address(const watch_self *watch, const json_t *notice, json_t *parcels);
/* Something may be due. */
void watch_lanes_wake(watch_self *watch);

/* ---- watch_serve.c: --listen */

typedef struct watch_serve_options {
    const char *address;    /* NULL: nobody listens */
    const char *token_file; /* NULL: none */
    const cx_list *names;   /* by which a page may call us, besides addresses */
} watch_serve_options;

CX_MUST_CHECK bool watch_serve_open(watch_self *watch, const watch_serve_options *options,
                                    cx_err *err);
void watch_serve_close(watch_self *watch);
/* All that the watcher knows, as GET /api/v1/state answers it; new reference. */
json_t *watch_state(const watch_self *watch);

/* ---- watch_page.c: its files, and who may do what */

struct cx_exchange;
CX_MUST_CHECK bool watch_page_open(watch_self *watch, const watch_serve_options *options,
                                   cx_err *err);
void watch_page_close(watch_self *watch);
CX_MUST_CHECK bool watch_page_may_look(const watch_self *watch, const struct cx_exchange *exchange,
                                       cx_err *err);
CX_MUST_CHECK bool watch_page_may_change(const watch_self *watch,
                                         const struct cx_exchange *exchange, cx_err *err);
const char *watch_page_silencing(const watch_self *watch); /* as health_guard_word */
void watch_page_protect(struct cx_exchange *exchange);     /* adds the headers */
/* False: it is none of the page's files. */
bool watch_page_answer(const watch_self *watch, struct cx_exchange *exchange);

/* ---- watch_events.c */

void watch_events_open(watch_self *watch);
void watch_events_close(watch_self *watch); /* after the server */
void watch_events_answer(watch_self *watch, struct cx_exchange *exchange);
void watch_events_news(watch_self *watch); /* something has changed */

/* ---- watch_change.c */

void watch_history_answer(watch_self *watch, struct cx_exchange *exchange);
void watch_silence_answer(watch_self *watch, struct cx_exchange *exchange);
void watch_unsilence_answer(watch_self *watch, struct cx_exchange *exchange);

/* ---- watch_peers.c */

/* wanted: where to listen for other watchers; NULL: a free port beside the node API, and without a
 * certificate not at all. */
CX_MUST_CHECK bool watch_peers_open(watch_self *watch, const char *wanted, cx_err *err);
void watch_peers_close(watch_self *watch);
const char *watch_peers_address(const watch_self *watch); /* for others; NULL: nowhere */
/* The first question to all of them; later calls do nothing. */
void watch_peers_ask(watch_self *watch);
/* Our notices of these alerts (a list of notice documents) go to whoever would take over. */
void watch_peers_tell(watch_self *watch, const json_t *notices);
void watch_peers_tell_silences(watch_self *watch);

/* An answer is that GET's document; `done` as of cx_api_call_on. */
void watch_peers_get(watch_self *watch, const cx_api_node *node, const char *path,
                     cx_api_done *done, void *arg);
/* What another watcher says of notices and silences. */
void watch_peers_hear(watch_self *watch, const json_t *document);
/* What they have told is asked again, before anything is told. */
void watch_peers_forget(watch_self *watch);

/* ---- watch_blind.c */

void watch_blind_open(watch_self *watch); /* after watch_peers_open */
void watch_blind_close(watch_self *watch);
/* The own gossip agent does not tell the membership; it does again. */
void watch_blind_begins(watch_self *watch);
void watch_blind_ends(watch_self *watch);
bool watch_is_blind(const watch_self *watch);
bool watch_keeps_quiet(const watch_self *watch); /* blind, and others tell, or may */

/* ---- watch_gossip.c */

CX_MUST_CHECK bool watch_gossip_open(watch_self *watch, cx_err *err);
void watch_gossip_close(watch_self *watch);
