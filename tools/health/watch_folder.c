/* A data folder that is replaced under the watcher, as cx-restore does it. The old one can still be read,
 * wherever it is now: its file is open. So what waits in its outbox is taken into memory, from where it
 * is sent like all that can't be saved; and as soon as there is another folder, that one gets state,
 * history, silences, and what still waits. What a restore brought along of an outbox is of another
 * time, and was told. */
#include <sys/stat.h>

#include "base/io.h"
#include "watch.h"

enum { LOCK_WAIT_MS = 1000 }; /* `alerts` tries the lock for a moment */

struct folder_job {
    watch_self *watch;
    const char *data_dir;
    watch_folder folder; /* ours; then the one that was followed */
    watch_folder_state state;
    bool is_idle;    /* no courier works with the outbox */
    json_t *sent;    /* what the outbox holds, and was sent: {"ACTION":[ids]} */
    json_t *parcels; /* what waited; NULL: it was not taken */
    bool is_ours, followed;
    int lock_fd; /* of the folder that was followed; -1: it is the old one, back in its place */
    cx_err err;
};

static bool folder_at(const char *data_dir, watch_folder *folder)
{
    CX_AUTO(cx_free) char *lock = cx_path_join(data_dir, "health.lock");
    struct stat there;

    if (lstat(lock, &there) < 0)
        return false;
    *folder = (watch_folder){there.st_dev, there.st_ino};
    return true;
}

bool watch_folder_check(const char *data_dir, const watch_folder *folder, cx_err *err)
{
    watch_folder there;

    return (folder_at(data_dir, &there) && there.device == folder->device &&
            there.inode == folder->inode) ||
           cx_fail(err, CX_IO, "%s is another folder than at the start, or none", data_dir);
}

bool watch_folder_of(int lock_fd, watch_folder *folder, cx_err *err)
{
    struct stat info;

    if (fstat(lock_fd, &info) < 0)
        return cx_fail_errno(err, "stat health.lock");
    *folder = (watch_folder){info.st_dev, info.st_ino};
    return true;
}

/* ---- in the storage thread */

static bool follow(struct folder_job *job, cx_err *err)
{
    CX_AUTO(cx_free) char *lock = cx_path_join(job->data_dir, "health.lock");
    CX_AUTO(cx_health_store_close) cx_health_store *store = NULL;
    CX_AUTO(cx_fd_close) int fd = -1;

    if (!job->is_ours && !cx_lock_wait(lock, LOCK_WAIT_MS, &fd, err))
        return cx_wrap(err, "another watcher runs here");
    if (!job->is_ours && !watch_folder_of(fd, &job->folder, err))
        return false;
    if (!cx_health_store_open(job->data_dir, false, &store, err) ||
        !cx_health_store_carry(job->watch->store, store, err) ||
        !watch_folder_check(job->data_dir, &job->folder, err))
        return false;
    cx_health_store_close(&job->watch->store);
    job->watch->store = CX_TAKE(store);
    job->lock_fd = fd;
    fd = -1;
    return true;
}

static void folder_work(void *data)
{
    struct folder_job *job = data;

    job->is_ours = watch_folder_check(job->data_dir, &job->folder, &job->err);
    if (job->state == WATCH_FOLDER_OURS)
        return;
    if (job->state == WATCH_FOLDER_GONE &&
        (job->is_ours || !job->is_idle ||
         !cx_health_store_outbox(job->watch->store, job->sent, &job->parcels, &job->err)))
        return;
    /* While it is being replaced there may be none: that is somebody else's to make. */
    if (cx_exists(job->data_dir))
        job->followed = follow(job, &job->err);
}

/* ---- in the loop */

/* What waited is older than what could not be saved since. */
static void take_parcels(watch_self *watch, json_t *parcels)
{
    size_t at;
    json_t *later;

    json_array_foreach (watch->unsaved_notices, at, later)
        if (json_array_size(parcels) < CX_HEALTH_OUTBOX_MAX)
            json_array_append(parcels, later);
    json_decref(watch->unsaved_notices);
    watch->unsaved_notices = parcels;
    json_object_clear(watch->sent);
    for (size_t i = 0; i < watch->lane_count; i++)
        json_array_clear(watch->lanes[i].sent);
    watch->folder_state = WATCH_FOLDER_LEFT;
}

static void take_folder(watch_self *watch, const struct folder_job *job)
{
    watch->folder_state = WATCH_FOLDER_OURS;
    watch->folder = job->folder;
    if (job->lock_fd >= 0) {
        cx_fd_close(&watch->lock_fd);
        watch->lock_fd = job->lock_fd;
    }
    cx_log_write(&watch->log, CX_WARN, "folder_replaced", "{s:s}", "data_dir", job->data_dir);
    event_del(watch->save_timer);
}

static void folder_done(void *data)
{
    struct folder_job *job = data;
    watch_self *watch = job->watch;
    bool was_ours = job->state == WATCH_FOLDER_OURS;

    watch->folder_looked_at = false;
    if (job->parcels != NULL)
        take_parcels(watch, CX_TAKE(job->parcels));
    else if (job->state != WATCH_FOLDER_LEFT)
        watch->folder_state = job->is_ours ? WATCH_FOLDER_OURS : WATCH_FOLDER_GONE;
    if (job->followed)
        take_folder(watch, job);
    else if (!job->is_ours)
        cx_log_error(&watch->log, CX_ERROR, "folder_gone", &job->err);
    if (!was_ours) {
        watch_save(watch);
        watch_lanes_wake(watch);
    } else if (!job->is_ours) {
        watch_folder_look(watch);
    }
    cx_json_free(&job->sent);
    cx_free(&job);
}

void watch_folder_look(watch_self *watch)
{
    struct folder_job *job;

    if (watch->folder_looked_at || watch->stopping)
        return;
    job = cx_alloc(1, sizeof *job);
    *job = (struct folder_job){.watch = watch,
                               .data_dir = watch->config->data_dir,
                               .folder = watch->folder,
                               .state = watch->folder_state,
                               .is_idle = true,
                               .sent = json_deep_copy(watch->sent),
                               .lock_fd = -1};
    for (size_t i = 0; i < watch->lane_count; i++) {
        job->is_idle &= !watch->lanes[i].busy;
        json_object_set_new(job->sent, watch->lanes[i].name, json_deep_copy(watch->lanes[i].sent));
    }
    watch->folder_looked_at = cx_pool_add(watch->storage, folder_work, folder_done, job);
    if (!watch->folder_looked_at) {
        cx_json_free(&job->sent);
        cx_free(&job);
    }
}
