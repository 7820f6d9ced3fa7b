/* create: one backup. */
#include <string.h>

#include "backup.h"

struct create_options {
    backup_place place;
    backup_key_options keys;
    const char *type;
    cx_list components;
    const char *cache_dir;
    const char *progress;
    int64_t wait_ms;
    bool allow_missing;
};

static const cx_option options[] = {
    {"type", CX_CHOICE(struct create_options, type), "full|incremental|auto", "auto",
     "full reads every file; auto is full when the last full one is a day old"},
    {"component", CX_LIST(struct create_options, components), "C", NULL,
     "only this: agent_registry, agent_state, message_queues, configuration, certificates"},
    BACKUP_PLACE_OPTIONS(struct create_options, place),
    BACKUP_KEY_OPTIONS(struct create_options, keys),
    {"cache-dir", CX_TEXT(struct create_options, cache_dir), "DIR", NULL,
     "what the node remembers of its last backup; default: .cx-backup in data_dir"},
    {"progress", CX_CHOICE(struct create_options, progress), "auto|json|none", "auto",
     "auto: a bar when stderr is a terminal"},
    {"wait", CX_DURATION(struct create_options, wait_ms), "DUR", "0s",
     "wait so long for another writer to end"},
    {"allow-missing", CX_FLAG(struct create_options, allow_missing), NULL, NULL,
     "also when a component has lost all its files since the last backup"},
    {0},
};

static bool create(cx_run *run, const void *parsed, cx_err *err)
{
    const struct create_options *option = parsed;
    CX_AUTO(cx_config_free) cx_config *config = NULL;
    CX_AUTO(backup_close_keys) backup_keys keys = {0};
    CX_AUTO(backup_close_repos) backup_repos repos = {0};
    CX_AUTO(cx_json_free) json_t *document = NULL;
    backup_job job = {
        .type = option->type,
        .components = &option->components,
        .cache_dir = option->cache_dir,
        .progress = run->quiet ? "none" : option->progress,
        .reason = "create",
        .allow_missing = option->allow_missing,
        .wait_ms = option->wait_ms,
    };

    if (!backup_config(run, &config, err) || !backup_open_keys(run, &option->keys, &keys, err) ||
        !backup_open_repos(config, &option->place, &repos, err) ||
        !backup_make(run, config, &repos, &keys, &job, &document, err))
        return false;
    /* Some destinations have it and some don't: nobody may take that for done. */
    run->answer_no = !run->dry_run && !json_is_true(json_object_get(document, "verified"));
    return cx_emit(run, document, err);
}

const cx_command backup_create = {
    .name = "create",
    .summary = "back up this node",
    .description =
        "Databases are captured as consistent snapshots while the node runs. What is stored "
        "already is not stored again, and every backup restores alone. A full one reads back what "
        "it uses again of what is stored, and stores anew what is damaged; an incremental one only "
        "looks whether it is there. With several --repo all get it; exit status 1 when some of "
        "them could not.",
    .options = options,
    .options_size = sizeof(struct create_options),
    .changes = true,
    .run = create,
};
