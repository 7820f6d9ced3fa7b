/* Silences: read again every other second, since the commands beside the watcher write them to its file;
 * those of other watchers are kept there, too. */
#include "base/time.h"
#include "watch.h"

enum { SILENCES_LOOK_MS = 2000 };

struct silence_job {
    watch_self *watch;
    json_t *documents;
    bool failed;
    cx_err err;
};

static void silence_work(void *data)
{
    struct silence_job *job = data;

    job->failed = !cx_health_store_silences(job->watch->store, true, cx_wall_ms(), &job->documents,
                                            &job->err);
}

static void take_silences(watch_self *watch, json_t *documents)
{
    size_t at;
    json_t *document;

    cx_free(&watch->silences);
    watch->silences = cx_alloc(json_array_size(documents) + 1, sizeof *watch->silences);
    watch->silence_count = 0;
    json_array_foreach (documents, at, document) {
        cx_err err;

        if (cx_silence_from_json(document, "silence", &watch->silences[watch->silence_count], &err))
            watch->silence_count++;
        else
            cx_log_error(&watch->log, CX_ERROR, "silence_refused", &err);
    }
    cx_json_free(&watch->silence_documents);
    watch->silence_documents = json_incref(documents);
}

static void silence_done(void *data)
{
    struct silence_job *job = data;
    watch_self *watch = job->watch;

    if (job->failed) {
        cx_log_error(&watch->log, CX_ERROR, "silences_failed", &job->err);
    } else if (!watch->silences_known || !json_equal(job->documents, watch->silence_documents)) {
        take_silences(watch, job->documents);
        watch->silences_known = true;
        watch_peers_tell_silences(watch);
        watch_turn(watch);
    }
    cx_json_free(&job->documents);
    cx_free(&job);
}

void watch_look_at_silences(watch_self *watch)
{
    struct silence_job *job = cx_alloc(1, sizeof *job);

    job->watch = watch;
    if (!cx_pool_add(watch->storage, silence_work, silence_done, job))
        cx_free(&job);
}

static void on_silences(evutil_socket_t fd, short what, void *arg)
{
    watch_self *watch = arg;

    (void)fd;
    (void)what;
    watch_set_timer(watch->silence_timer, SILENCES_LOOK_MS);
    watch_folder_look(watch);
    watch_look_at_silences(watch);
}

struct keep_job {
    watch_self *watch;
    json_t *silences;
    json_t *superseded;
    bool changed, failed;
    cx_err err;
};

static void keep_work(void *data)
{
    struct keep_job *job = data;
    size_t at;
    json_t *silence;

    json_array_foreach (job->silences, at, silence) {
        bool changed = false;

        job->failed |=
            !cx_health_store_put_silence(job->watch->store, silence, &changed, &job->err);
        job->changed |= changed;
    }
    if (json_array_size(job->superseded) > 0)
        job->failed |= !cx_health_store_drop(job->watch->store, job->superseded, &job->err);
}

static void keep_done(void *data)
{
    struct keep_job *job = data;
    watch_self *watch = job->watch;

    if (job->failed)
        cx_log_error(&watch->log, CX_ERROR, "silences_failed", &job->err);
    if (job->changed)
        watch_look_at_silences(watch);
    if (job->superseded != NULL && !watch_keeps_quiet(watch)) {
        watch->peers_known = true;
        watch_lanes_wake(watch);
        watch_turn(watch);
    }
    cx_json_free(&job->silences);
    cx_json_free(&job->superseded);
    cx_free(&job);
}

static void keep(watch_self *watch, json_t *silences, json_t *superseded)
{
    struct keep_job *job = cx_alloc(1, sizeof *job);

    *job = (struct keep_job){.watch = watch, .silences = silences, .superseded = superseded};
    if (!cx_pool_add(watch->storage, keep_work, keep_done, job)) {
        cx_fail(&job->err, CX_BUSY, "too many saves wait");
        job->failed = true;
        keep_done(job);
    }
}

void watch_keep_silences(watch_self *watch, const json_t *silences)
{
    json_t *good = json_array();
    size_t at;
    json_t *silence;

    json_array_foreach ((json_t *)silences, at, silence) {
        cx_silence read;
        cx_err err;

        if (cx_silence_from_json(silence, "silence", &read, &err) &&
            json_is_integer(json_object_get(silence, "updated_ms")))
            json_array_append_new(good, json_deep_copy(silence));
    }
    keep(watch, good, NULL);
}

/* What others have told in our place is not sent any more. */
static void drop_superseded(watch_self *watch)
{
    keep(watch, json_array(), CX_TAKE(watch->superseded));
    watch->superseded = json_array();
}

void watch_peers_are_known(watch_self *watch)
{
    drop_superseded(watch);
    watch_peers_tell_silences(watch);
}

void watch_drop_superseded(watch_self *watch)
{
    if (json_array_size(watch->superseded) > 0)
        drop_superseded(watch);
}

void watch_silences_open(watch_self *watch)
{
    watch->silence_timer = evtimer_new(watch->loop, on_silences, watch);
    watch_set_timer(watch->silence_timer, 0);
}
