/* prune: removes what is not kept any more. */
#include "backup.h"
#include "base/time.h"

struct prune_options {
    backup_place place;
    backup_retention retention;
    const char *trusted_key;
    cx_list discard;
    int64_t wait_ms;
};

static const cx_option options[] = {
    BACKUP_RETENTION_OPTIONS(struct prune_options, retention),
    {"discard", CX_LIST(struct prune_options, discard), "ID", NULL,
     "remove this one whatever its age (not the last good full one)"},
    {"trusted-key", CX_TEXT(struct prune_options, trusted_key), "FILE", NULL,
     "minisign public key: the last good full backup must be signed by it"},
    BACKUP_PLACE_OPTIONS(struct prune_options, place),
    {"wait", CX_DURATION(struct prune_options, wait_ms), "DUR", "0s",
     "wait so long for another writer to end"},
    {0},
};

static json_t *backup_to_json(const cx_pruned_backup *backup)
{
    return json_pack("{s:s, s:s, s:o, s:s}", "id", backup->id, "type",
                     backup->is_full ? "full" : "incremental", "arrived_at",
                     cx_json_time(backup->arrived_ms), "reason", backup->reason);
}

json_t *backup_pruned_to_json(const cx_pruned *pruned, bool dry_run)
{
    json_t *kept = json_array();
    json_t *removed = json_array();

    for (size_t i = 0; i < pruned->count; i++)
        json_array_append_new(pruned->backups[i].kept ? kept : removed,
                              backup_to_json(&pruned->backups[i]));
    return json_pack(
        "{s:b, s:o, s:o, s:I, s:I, s:I}", "changed",
        !dry_run && pruned->backups_removed + pruned->segments_removed > 0, "kept", kept, "removed",
        removed, "segments_removed", (json_int_t)pruned->segments_removed, "segments_pending",
        (json_int_t)pruned->segments_pending, "removed_bytes", (json_int_t)pruned->bytes_removed);
}

bool backup_prune_repo(const cx_run *run, const backup_retention *retention, cx_repo *repo,
                       const char *trusted_key, const cx_list *discard, int64_t wait_ms,
                       json_t **document, cx_err *err)
{
    CX_AUTO(cx_pruned_free) cx_pruned pruned = {0};
    cx_minisign_public key;
    bool is_trusted = false;
    cx_prune_spec spec = {
        .repo = repo,
        .key = &key,
        .retention = {retention->keep_full_ms, retention->keep_incremental_ms},
        .grace_ms = retention->grace_ms,
        .discard = discard,
        .lock_wait_ms = wait_ms,
        .dry_run = run->dry_run,
    };

    if (!backup_trusted_key(run, trusted_key, repo, &key, &is_trusted, err) ||
        !cx_prune(&spec, &pruned, err))
        return false;
    *document = backup_pruned_to_json(&pruned, run->dry_run);
    return true;
}

static bool prune(cx_run *run, const void *parsed, cx_err *err)
{
    const struct prune_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_repo_close) cx_repo *repo = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    return backup_config(run, &config, err) &&
           backup_open_repo(config, &option->place, &repo, err) &&
           backup_prune_repo(run, &option->retention, repo, option->trusted_key, &option->discard,
                             option->wait_ms, &document, err) &&
           cx_emit(run, document, err);
}

const cx_command backup_prune = {
    .name = "prune",
    .summary = "remove backups whose time is over, and what only they needed",
    .description =
        "Age counts from the arrival by the storage's clock. The last good full backup is always "
        "kept. A segment goes when no kept backup has named it for the grace period. Whenever it "
        "is killed, the repository is whole, and the next run goes on.",
    .options = options,
    .options_size = sizeof(struct prune_options),
    .changes = true,
    .run = prune,
};
