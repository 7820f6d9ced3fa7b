/* status: how old and how good the backups are. */
#include <string.h>

#include "backup.h"
#include "base/io.h"
#include "base/time.h"
#include "repo/lock.h"

enum { NOTE_MAX = 64 * 1024 };

struct status_options {
    backup_place place;
    int64_t max_age_ms;
};

static const cx_option options[] = {
    BACKUP_PLACE_OPTIONS(struct status_options, place),
    {"max-age", CX_DURATION(struct status_options, max_age_ms), "DUR", "26h",
     "the newest backup of every destination must be younger"},
    {0},
};

static json_t *backup_to_json(const cx_stored_backup *backup, int64_t now_ms)
{
    if (backup == NULL)
        return json_null();
    return json_pack("{s:s, s:s, s:o, s:o}", "id", backup->id, "type",
                     cx_backup_is_full(backup->id) ? "full" : "incremental", "arrived_at",
                     cx_json_time(backup->arrived_ms), "age_seconds",
                     cx_json_figure((double)(now_ms - backup->arrived_ms) / 1000));
}

static bool describe(cx_repo *repo, int64_t max_age_ms, json_t *result, bool *good, cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};
    CX_AUTO(cx_json_free) json_t *lock = NULL;
    const cx_stored_backup *last_full = NULL, *last = NULL;
    size_t complete = 0;
    int64_t now_ms = cx_wall_ms();

    if (!cx_repo_backups(repo, &stored, err) ||
        (stored.count > 0 && !cx_dest_now(repo->dest, &now_ms, err)) ||
        !cx_repo_lock_show(repo, &lock, err))
        return false;
    for (size_t i = 0; i < stored.count; i++) {
        if (!stored.items[i].is_complete)
            continue;
        complete++;
        last = &stored.items[i];
        if (cx_backup_is_full(last->id))
            last_full = last;
    }
    *good = last_full != NULL && now_ms - last->arrived_ms < max_age_ms;
    json_object_set_new(result, "backups", json_integer((json_int_t)complete));
    json_object_set_new(result, "incomplete", json_integer((json_int_t)(stored.count - complete)));
    json_object_set_new(result, "last", backup_to_json(last, now_ms));
    json_object_set_new(result, "last_full", backup_to_json(last_full, now_ms));
    json_object_set(result, "lock", lock != NULL ? lock : json_null());
    return true;
}

/* What a file in the node's folder says, or null. */
static json_t *read_note(const char *path)
{
    json_t *note = NULL;
    cx_err ignored;

    return cx_json_read_file(path, NOTE_MAX, &note, &ignored) ? note : json_null();
}

static bool status(cx_run *run, const void *parsed, cx_err *err)
{
    const struct status_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(backup_close_repos) backup_repos repos = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    CX_AUTO(cx_free) char *note = NULL;
    CX_AUTO(cx_free) char *cache_dir = NULL;
    CX_AUTO(cx_free) char *kit = NULL;
    json_t *destinations = json_array();
    bool all_good = true;

    document = json_pack("{s:b, s:o}", "ok", false, "destinations", destinations);
    if (!backup_config(run, &config, err) ||
        !backup_open_repos(config, &option->place, &repos, err))
        return false;
    for (size_t i = 0; i < repos.count; i++) {
        json_t *result =
            json_pack("{s:o}", "repo", cx_json_text(cx_dest_name(repos.items[i]->dest)));
        bool good = false;
        cx_err failure;

        json_array_append_new(destinations, result);
        if (!describe(repos.items[i], option->max_age_ms, result, &good, &failure)) {
            CX_AUTO(cx_json_free) json_t *error = cx_err_to_json(&failure);

            json_object_set(result, "error", json_object_get(error, "error"));
        }
        json_object_set_new(result, "ok", json_boolean(good));
        all_good = all_good && good;
    }
    note = cx_config_data(config, "backup.json");
    cache_dir = backup_cache_dir(config);
    kit = cx_path_join(cache_dir, "kit.json");
    json_object_set_new(document, "ok", json_boolean(all_good));
    json_object_set_new(document, "node", read_note(note));
    json_object_set_new(document, "kit", read_note(kit));
    run->answer_no = !all_good;
    return cx_emit(run, document, err);
}

const cx_command backup_status = {
    .name = "status",
    .summary = "the age of the last backups at every destination, and who writes now",
    .description = "Exit status 1 when a destination has no full backup, or none that is young "
                   "enough, or can't be asked.",
    .options = options,
    .options_size = sizeof(struct status_options),
    .run = status,
};
