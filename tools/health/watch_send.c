#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "health/action.h"
#include "watch.h"

enum { TROUBLE_WAIT_MS = 5000 };

/* ---- a courier's job: takes one group, sends it, settles it */

struct courier_job {
    watch_lane *lane;
    const char *name, *data_dir;
    watch_folder folder;
    const json_t *definition; /* the lane's, which outlives the job */
    const cx_log *log;
    json_t *unsaved;     /* {"action","notice"} that are nowhere but here; NULL: none */
    json_t *sent_before; /* as the lane's `sent` */
    int64_t failures;    /* of this lane in a row */
    cx_health_parcel parcel;
    bool from_memory;   /* the parcel is of `unsaved` */
    int64_t next_at_ms; /* when there is more to do; 0: nothing is left */
    bool sent, gave_up, failed;
    bool forgotten, kept; /* sent_before is out of the outbox; the parcel is still in it */
    cx_err err;
    cx_err trouble; /* with the outbox */
    cx_action_outcome outcome;
};

static bool is_expired(const json_t *notice, int64_t wall_ms)
{
    int64_t at_ms = 0;
    cx_err ignored;

    return cx_time_parse(cx_json_text_or_empty(notice, "at"), &at_ms, &ignored) &&
           wall_ms - at_ms > cx_health_outbox_keep_ms;
}

/* What is too old is given up, and it alone: the rest of the group has its time yet. False: none is. */
static bool keep_expired(cx_health_parcel *parcel, int64_t wall_ms)
{
    size_t count = 0;

    while (is_expired(json_array_get(parcel->notices, count), wall_ms))
        count++;
    if (count == 0)
        return false;
    while (json_array_size(parcel->notices) > count)
        json_array_remove(parcel->notices, json_array_size(parcel->notices) - 1);
    if (parcel->count > count)
        parcel->count = count;
    return true;
}

/* It was sent, or given up. What can't be taken out of the outbox is remembered, not sent again. */
static void settle(struct courier_job *job, cx_health_store *store)
{
    job->next_at_ms = cx_wall_ms();
    job->kept = !job->from_memory && !cx_health_store_done(store, &job->parcel, &job->trouble);
}

static void settle_failure(struct courier_job *job, cx_health_store *store)
{
    int64_t wall_ms = cx_wall_ms();
    int64_t failures = job->failures + 1;
    int64_t retries = json_integer_value(json_object_get(job->definition, "retries"));
    uint32_t random = 0;

    if (job->parcel.failures >= failures)
        failures = job->parcel.failures + 1;
    job->gave_up =
        (!job->outcome.passing && failures > retries) || keep_expired(&job->parcel, wall_ms);
    if (job->gave_up) {
        settle(job, store);
        return;
    }
    cx_random(&random, sizeof random);
    job->next_at_ms = wall_ms + cx_action_wait_ms(failures, random);
    if (!job->from_memory && !cx_health_store_delay(store, &job->parcel, job->next_at_ms,
                                                    job->err.message, &job->trouble))
        return; /* the lane's timer waits all the same */
}

static bool take_from_outbox(struct courier_job *job, cx_health_store **store, cx_err *err)
{
    const json_t *skip = NULL;

    /* What stands in another folder was not put there by us: it may be of another time. */
    if (!watch_folder_check(job->data_dir, &job->folder, err) ||
        !cx_health_store_open(job->data_dir, false, store, err) ||
        !watch_folder_check(job->data_dir, &job->folder, err))
        return false;
    if (json_array_size(job->sent_before) > 0) {
        job->forgotten = cx_health_store_forget(*store, job->name, job->sent_before, &job->trouble);
        skip = job->forgotten ? NULL : job->sent_before;
    }
    return cx_health_store_take(*store, job->name, cx_action_group_max(job->definition), skip,
                                cx_wall_ms(), &job->parcel, err);
}

static void take_from_memory(struct courier_job *job)
{
    size_t max = cx_action_group_max(job->definition), at;
    json_t *item;

    cx_health_parcel_free(&job->parcel);
    job->from_memory = true;
    job->parcel.notices = json_array();
    json_array_foreach (job->unsaved, at, item)
        if (at < max)
            json_array_append(job->parcel.notices, json_object_get(item, "notice"));
}

/* What is in the outbox is older, and goes first. */
static bool take(struct courier_job *job, cx_health_store **store, cx_err *err)
{
    bool taken = take_from_outbox(job, store, err);
    bool nothing = !taken || (job->parcel.notices == NULL && job->parcel.next_ms == 0);

    if (!taken)
        job->trouble = *err;
    if (nothing && job->unsaved != NULL)
        take_from_memory(job);
    return taken || job->from_memory;
}

static void courier_work(void *data)
{
    struct courier_job *job = data;
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;

    job->failed = !take(job, &store, &job->err);
    job->next_at_ms = job->parcel.next_ms;
    if (job->failed || job->parcel.notices == NULL)
        return;
    job->sent = cx_action_send(job->name, job->definition, job->parcel.notices, job->log,
                               &job->outcome, &job->err);
    if (job->sent)
        settle(job, store);
    else
        settle_failure(job, store);
}

/* ---- in the loop */

static void mark_delivered(watch_self *watch, const json_t *notices)
{
    size_t at;
    json_t *notice;

    json_array_foreach (notices, at, notice)
        cx_alerts_delivered(watch->alerts, notice);
}

static void log_end(watch_lane *lane, const struct courier_job *job)
{
    const cx_log *log = &lane->watch->log;
    json_int_t count = (json_int_t)json_array_size(job->parcel.notices);

    if (job->trouble.code != CX_OK)
        cx_log_error(log, CX_ERROR, "outbox_failed", &job->trouble);
    if (job->sent)
        cx_log_write(log, CX_INFO, "sent", "{s:s, s:I, s:I}", "action", lane->name, "notices",
                     count, "failures_before", (json_int_t)lane->waiting_failures);
    if (job->sent && job->outcome.refused[0] != '\0')
        cx_log_write(log, CX_WARN, "not_to_all", "{s:s, s:o}", "action", lane->name, "reason",
                     cx_json_text(job->outcome.refused));
    if (job->sent)
        return;
    if (job->gave_up)
        cx_log_write(log, CX_ERROR, "gave_up", "{s:s, s:o, s:O}", "action", lane->name, "reason",
                     cx_json_text(job->err.message), "notices", job->parcel.notices);
    else if (job->parcel.notices != NULL)
        cx_log_write(log, CX_WARN, "not_sent", "{s:s, s:I, s:o}", "action", lane->name, "notices",
                     count, "reason", cx_json_text(job->err.message));
}

/* What nobody could save is taken along; all but what is settled comes back. */
static json_t *take_unsaved(watch_lane *lane)
{
    watch_self *watch = lane->watch;
    CX_AUTO(cx_json_free) json_t *taken = json_array();

    if (watch->save_failures == 0 || watch->saving)
        return NULL;
    for (size_t i = 0; i < json_array_size(watch->unsaved_notices);) {
        json_t *item = json_array_get(watch->unsaved_notices, i);

        if (strcmp(cx_json_text_or_empty(item, "action"), lane->name) != 0) {
            i++;
            continue;
        }
        json_array_append(taken, item);
        json_array_remove(watch->unsaved_notices, i);
    }
    if (json_array_size(taken) == 0)
        return NULL;
    watch->carried++;
    return CX_TAKE(taken);
}

static void give_back(watch_self *watch, struct courier_job *job)
{
    size_t settled = 0;

    if (job->unsaved == NULL)
        return;
    if (job->from_memory && (job->sent || job->gave_up))
        settled = json_array_size(job->parcel.notices);
    for (size_t i = settled; i < json_array_size(job->unsaved); i++)
        json_array_insert(watch->unsaved_notices, i - settled, json_array_get(job->unsaved, i));
    if (json_array_size(job->unsaved) > settled && job->next_at_ms == 0)
        job->next_at_ms = cx_wall_ms();
    watch->carried--;
    cx_json_free(&job->unsaved);
}

/* What was sent and could not be taken out of the outbox must not be sent again. */
static void remember_sent(watch_lane *lane, const struct courier_job *job)
{
    size_t at;
    json_t *notice;

    if (job->forgotten)
        json_array_clear(lane->sent);
    if (!job->kept)
        return;
    json_array_foreach (job->parcel.notices, at, notice)
        json_array_append_new(lane->sent, cx_json_text(cx_json_text_or_empty(notice, "id")));
}

static void pump(watch_lane *lane);

static void courier_done(void *data)
{
    struct courier_job *job = data;
    watch_lane *lane = job->lane;
    watch_self *watch = lane->watch;
    int64_t wait_ms;

    give_back(watch, job);
    remember_sent(lane, job);
    wait_ms = job->failed ? TROUBLE_WAIT_MS : job->next_at_ms - cx_wall_ms();
    lane->busy = false;
    lane->settled = job->failed || job->parcel.notices == NULL || (!job->sent && !job->gave_up);
    log_end(lane, job);
    lane->waiting_failures = job->sent || job->gave_up     ? 0
                             : job->parcel.notices != NULL ? lane->waiting_failures + 1
                                                           : lane->waiting_failures;
    if (job->sent) {
        mark_delivered(watch, job->parcel.notices);
        watch_peers_tell(watch, job->parcel.notices);
    }
    if (json_array_size(lane->sent) > 0 && !job->failed && job->next_at_ms == 0)
        watch_set_timer(lane->timer, TROUBLE_WAIT_MS); /* to take them out of the outbox */
    else if (job->failed || job->next_at_ms != 0)
        watch_set_timer(lane->timer, wait_ms > 0 ? wait_ms : 0);
    if (job->sent || job->gave_up)
        watch_turn(watch);
    else if (watch->save_again)
        watch_save(watch);
    cx_health_parcel_free(&job->parcel);
    cx_json_free(&job->sent_before);
    cx_free(&job);
    if (lane->again)
        pump(lane);
    watch_job_ended(watch);
}

static void pump(watch_lane *lane)
{
    watch_self *watch = lane->watch;
    struct courier_job *job;

    lane->again = lane->busy;
    if (lane->busy || watch->stopping || watch->next != NULL || !watch->peers_known ||
        watch->folder_state == WATCH_FOLDER_GONE)
        return;
    job = cx_alloc(1, sizeof *job);
    job->lane = lane;
    job->name = lane->name;
    job->data_dir = watch->config->data_dir;
    job->folder = watch->folder;
    job->definition = lane->definition;
    job->log = &watch->log;
    job->failures = (int64_t)lane->waiting_failures;
    job->sent_before = json_deep_copy(lane->sent);
    job->unsaved = take_unsaved(lane);
    if (!cx_pool_add(watch->couriers, courier_work, courier_done, job)) {
        give_back(watch, job);
        cx_json_free(&job->sent_before);
        cx_free(&job);
        watch_set_timer(lane->timer, TROUBLE_WAIT_MS);
        return;
    }
    lane->busy = true;
    lane->settled = false;
    watch->working++;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    pump(arg);
}

static void open_lane(watch_self *watch, const char *name, json_t *definition)
{
    watch_lane *lane = &watch->lanes[watch->lane_count++];
    json_t *sent = json_incref(json_object_get(watch->sent, name));

    json_object_del(watch->sent, name);
    *lane = (watch_lane){.watch = watch,
                         .name = cx_strdup(name),
                         .definition = definition,
                         .sent = sent != NULL ? sent : json_array(),
                         .timer = evtimer_new(watch->loop, on_timer, lane)};
}

/* What waits for an action that the policy has no more is not lost: it goes to the log. */
static void open_orphans(watch_self *watch, const json_t *actions)
{
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;
    CX_AUTO(cx_json_free) json_t *waiting = NULL;
    const char *name;
    json_t *count;
    cx_err err = {0};

    /* At a reload the storage thread may be at work with its connection. */
    if (!cx_health_store_open(watch->config->data_dir, true, &store, &err) ||
        !cx_health_store_waiting(store, &waiting, NULL, &err))
        cx_log_error(&watch->log, CX_ERROR, "outbox_failed", &err);
    json_object_foreach (waiting, name, count)
        if (json_object_get(actions, name) == NULL && watch->lane_count < 100)
            open_lane(watch, name, json_pack("{s:s}", "type", "log"));
}

void watch_lanes_open(watch_self *watch)
{
    json_t *actions = json_object_get(json_object_get(watch->now.alerts, "alerts"), "actions");
    const char *name;
    json_t *definition;

    watch->lanes = cx_alloc(json_object_size(actions) + 101, sizeof *watch->lanes);
    watch->lane_count = 0;
    json_object_foreach (actions, name, definition)
        open_lane(watch, name, json_deep_copy(definition));
    open_orphans(watch, actions);
    watch_lanes_wake(watch);
}

void watch_lanes_close(watch_self *watch)
{
    for (size_t i = 0; i < watch->lane_count; i++) {
        event_free(watch->lanes[i].timer);
        /* What stands in the outbox only because it can't be deleted is not sent by the next one. */
        if (json_array_size(watch->lanes[i].sent) > 0)
            json_object_set(watch->sent, watch->lanes[i].name, watch->lanes[i].sent);
        cx_free(&watch->lanes[i].name);
        cx_json_free(&watch->lanes[i].definition);
        cx_json_free(&watch->lanes[i].sent);
    }
    cx_free(&watch->lanes);
    watch->lane_count = 0;
}

void watch_address(const watch_self *watch, const json_t *notice, json_t *parcels)
{
    const json_t *actions =
        json_object_get(json_object_get(watch->now.alerts, "alerts"), "actions");
    bool resolved = strcmp(cx_json_text_or_empty(notice, "status"), "resolved") == 0;
    size_t at;
    json_t *name;

    json_array_foreach (json_object_get(notice, "actions"), at, name) {
        const json_t *definition = json_object_get(actions, json_string_value(name));

        if (definition == NULL ||
            (resolved && json_is_false(json_object_get(definition, "send_resolved"))))
            continue;
        json_array_append_new(
            parcels, json_pack("{s:O, s:o}", "action", name, "notice", json_deep_copy(notice)));
    }
}

void watch_lanes_wake(watch_self *watch)
{
    for (size_t i = 0; i < watch->lane_count; i++) {
        watch_lane *lane = &watch->lanes[i];

        /* While it backs off, what is new waits with the rest. */
        if (lane->busy)
            lane->again = true;
        else if (!evtimer_pending(lane->timer, NULL))
            pump(lane);
    }
}
