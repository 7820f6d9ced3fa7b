/* What the watcher must not forget: data_dir/health.db. State, what is to be sent, and silences stand
 * in one SQLite file, so that a change of an alert and the notice of it are durable together, and the
 * commands beside the watcher read and write it whether or not it runs.
 *
 * A connection belongs to one thread at a time; there may be many. */
#pragma once

#include "base/db.h"

typedef struct cx_health_store cx_health_store;

enum {
    CX_HEALTH_OUTBOX_MAX = 20000, /* notices that wait; the newest are refused above it */
    CX_HEALTH_SILENCES_MAX = 1000,
};
extern const int64_t cx_health_history_ms; /* how long changes are kept: 30 days */
extern const int64_t
    cx_health_outbox_keep_ms; /* what can't be sent for so long is given up: a day */
extern const int64_t cx_health_silence_keep_ms; /* silences that are over: a week */

/* The folder must be there. read_only: NOT_FOUND when no watcher ever ran here. */
CX_MUST_CHECK bool cx_health_store_open(const char *data_dir, bool read_only,
                                        cx_health_store **store, cx_err *err);
void cx_health_store_close(cx_health_store **owner);

/* The state as it was saved, NULL before the first time. */
CX_MUST_CHECK bool cx_health_store_load(cx_health_store *store, json_t **state, cx_err *err);

/* One turn of the watcher, in one transaction. The documents are the callee's alone while it runs. */
typedef struct cx_health_turn {
    const json_t *state;
    const json_t *changes; /* a list, for the history */
    const json_t *notices; /* a list of {"action","notice"}: to be sent */
    int64_t wall_ms;
} cx_health_turn;
/* *refused: how many notices found no room. */
CX_MUST_CHECK bool cx_health_store_save(cx_health_store *store, const cx_health_turn *turn,
                                        size_t *refused, cx_err *err);

/* Changes since then, oldest first, at most `max` of the newest. */
CX_MUST_CHECK bool cx_health_store_history(cx_health_store *store, int64_t since_ms, size_t max,
                                           json_t **changes, cx_err *err);

/* ---- outbox: each action has a lane of its own, in order */

typedef struct cx_health_parcel { /* one group of notices for one action */
    json_t *notices;              /* NULL: nothing is due */
    int64_t *ids;
    size_t count;
    int64_t failures; /* of the first, so far */
    int64_t next_ms;  /* nothing is due before; 0: the lane is empty */
} cx_health_parcel;
void cx_health_parcel_free(cx_health_parcel *parcel);

/* skip: ids of notices (a list) that were sent, and stand there only because they could not be
 * deleted; NULL: none. */
CX_MUST_CHECK bool cx_health_store_take(cx_health_store *store, const char *action, size_t max,
                                        const json_t *skip, int64_t wall_ms,
                                        cx_health_parcel *parcel, cx_err *err);
/* They were sent, or given up. */
CX_MUST_CHECK bool cx_health_store_done(cx_health_store *store, const cx_health_parcel *parcel,
                                        cx_err *err);
/* They are tried again then. */
CX_MUST_CHECK bool cx_health_store_delay(cx_health_store *store, const cx_health_parcel *parcel,
                                         int64_t next_ms, const char *why, cx_err *err);
/* These notices (a list of ids) were sent by this action. */
CX_MUST_CHECK bool cx_health_store_forget(cx_health_store *store, const char *action,
                                          const json_t *ids, cx_err *err);
/* What waits about these alerts (a list of keys) is dropped: another watcher told it. */
CX_MUST_CHECK bool cx_health_store_drop(cx_health_store *store, const json_t *keys, cx_err *err);
/* The actions that have something waiting, and how much: {"page_oncall": 3}; the keys of the alerts
 * that it is about, as a list. Either may be NULL. */
CX_MUST_CHECK bool cx_health_store_waiting(cx_health_store *store, json_t **by_action,
                                           json_t **keys, cx_err *err);

/* ---- from one file into another */

/* All that waits, but what was sent ({"ACTION":[ids]}), oldest first: a list of {"action","notice"}. */
CX_MUST_CHECK bool cx_health_store_outbox(cx_health_store *store, const json_t *sent,
                                          json_t **parcels, cx_err *err);
/* State, history and silences go into `to`, where of each silence the newer one counts; what waits
 * there is dropped. All or nothing. */
CX_MUST_CHECK bool cx_health_store_carry(cx_health_store *from, cx_health_store *to, cx_err *err);

/* ---- silences: {"id","name","subject","reason","owner","host","boot_id","pid","started_at",
 * "started_ticks","starts_at","ends_at","updated_ms"} */

/* Those in force at that time, or (all) also those that are over. */
CX_MUST_CHECK bool cx_health_store_silences(cx_health_store *store, bool all, int64_t wall_ms,
                                            json_t **silences, cx_err *err);
/* *found: NULL when there is none of that id. */
CX_MUST_CHECK bool cx_health_store_silence(cx_health_store *store, const char *id, json_t **found,
                                           cx_err *err);
/* The one that was updated last counts. *changed may be NULL. */
CX_MUST_CHECK bool cx_health_store_put_silence(cx_health_store *store, const json_t *silence,
                                               bool *changed, cx_err *err);
