/* show: one backup's manifest. */
#include "backup.h"

struct show_options {
    backup_place place;
};

static const cx_option options[] = {
    BACKUP_PLACE_OPTIONS(struct show_options, place),
    {0},
};

static bool show(cx_run *run, const void *parsed, cx_err *err)
{
    const struct show_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(cx_repo_close) cx_repo *repo = NULL;
    CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;
    CX_AUTO(cx_json_free) json_t *document = NULL;

    if (!backup_config(run, &config, err) ||
        !backup_open_repo(config, &option->place, &repo, err) ||
        !cx_repo_manifest(repo, run->args[0], NULL, &manifest, NULL, err))
        return false;
    document = cx_manifest_to_json(manifest);
    return cx_emit(run, document, err);
}

const cx_command backup_show = {
    .name = "show",
    .arguments = "ID",
    .arguments_min = 1,
    .arguments_max = 1,
    .summary = "the manifest of a backup: its components and their segments",
    .options = options,
    .options_size = sizeof(struct show_options),
    .run = show,
};
