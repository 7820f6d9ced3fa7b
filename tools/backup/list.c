/* list: the backups that are stored. */
#include "backup.h"
#include "base/time.h"

struct list_options {
    backup_place place;
};

static const cx_option options[] = {
    BACKUP_PLACE_OPTIONS(struct list_options, place),
    {0},
};

static json_t *describe(cx_repo *repo, const cx_stored_backup *stored)
{
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    cx_err err;

    if (!stored->is_complete)
        return json_pack("{s:s, s:s, s:o}", "id", stored->id, "state", "incomplete", "arrived_at",
                         cx_json_time(stored->arrived_ms));
    if (!cx_repo_manifest(repo, stored->id, NULL, &manifest, NULL, &err))
        return json_pack("{s:s, s:s, s:o, s:o}", "id", stored->id, "state", "unreadable",
                         "arrived_at", cx_json_time(stored->arrived_ms), "reason",
                         cx_json_text(err.message));
    return json_pack("{s:s, s:s, s:s, s:s?, s:o, s:o, s:I, s:I}", "id", stored->id, "state",
                     "complete", "type", manifest->type, "parent", manifest->parent, "created_at",
                     cx_json_time(manifest->created_ms), "arrived_at",
                     cx_json_time(stored->arrived_ms), "files", (json_int_t)manifest->files,
                     "bytes", (json_int_t)manifest->bytes);
}

static bool list(cx_run *run, const void *parsed, cx_err *err)
{
    const struct list_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_repo_close) cx_repo *repo = NULL;
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    json_t *backups = json_array();

    document = json_pack("{s:o}", "backups", backups);
    if (!backup_config(run, &config, err) ||
        !backup_open_repo(config, &option->place, &repo, err) ||
        !cx_repo_backups(repo, &stored, err))
        return false;
    for (size_t i = 0; i < stored.count; i++)
        json_array_append_new(backups, describe(repo, &stored.items[i]));
    json_object_set_new(document, "count", json_integer((json_int_t)stored.count));
    json_object_set_new(document, "cluster", json_string(repo->cluster));
    json_object_set_new(document, "node_id", json_string(repo->node_id));
    json_object_set_new(document, "repo", cx_json_text(cx_dest_name(repo->dest)));
    return cx_emit(run, document, err);
}

const cx_command backup_list = {
    .name = "list",
    .summary = "the backups that are stored, the newest last",
    .options = options,
    .options_size = sizeof(struct list_options),
    .run = list,
};
