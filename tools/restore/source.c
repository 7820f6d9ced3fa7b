/* Which backup is restored, and whether it may be trusted. */
#include <string.h>

#include "base/io.h"
#include "base/time.h"
#include "restore.h"

bool restore_config(const cx_run *run, cx_config **config, cx_err *err)
{
    return cx_config_load(run->config_path, run->config_is_default, config, err);
}

static bool policy_destination(const cx_config *config, char **dest, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *policy = NULL;

    if (!cx_policy_load("backup", NULL, config->policy_dir, &policy, err))
        return false;

    const json_t *destinations = json_object_get(json_object_get(policy, "backup"), "destinations");

    *dest = cx_strdup(cx_json_text_or_empty(json_array_get(destinations, 0), "dest"));
    return true;
}

static bool open_repo(const cx_config *config, const restore_source *source, cx_repo **repo,
                      cx_err *err)
{
    CX_AUTO(cx_free) char *dest = cx_strdup(source->repo);
    bool is_node = config->path[0] != '\0';
    const char *cluster = source->cluster != NULL ? source->cluster
                          : is_node               ? config->cluster
                                                  : NULL;
    const char *node_id = source->node_id != NULL ? source->node_id
                          : is_node               ? config->node_id
                                                  : NULL;

    return (dest != NULL || policy_destination(config, &dest, err)) &&
           cx_repo_open(dest, cluster, node_id, repo, err);
}

/* The key of a folder that only root writes, or one that the operator names: the repository's own
 * would trust whoever wrote the repository. */
static bool trusted_key(const cx_run *run, const restore_source *source, bool restores,
                        restore_backup *backup, cx_minisign_public *key, cx_err *err)
{
    const char *slash = strrchr(run->config_path, '/');
    CX_AUTO(cx_free)
    char *folder = slash == NULL
                       ? cx_strdup("")
                       : cx_strndup(run->config_path, (size_t)(slash - run->config_path) + 1);
    CX_AUTO(cx_free)
    char *path = source->trusted_key != NULL ? cx_strdup(source->trusted_key)
                                             : cx_format("%sbackup/sign.pub", folder);

    backup->is_trusted = source->trusted_key != NULL || cx_exists(path);
    if (backup->is_trusted)
        return cx_minisign_read_public(path, key, err);
    if (!restores)
        return cx_repo_sign_key(backup->repo, key, err);
    cx_fail(err, CX_USAGE, "--trusted-key is missing, and %s too", path);
    return cx_hint(err, "the node's sign.pub; without it anybody's files could be restored");
}

static bool find_at(cx_repo *repo, const cx_stored_backups *stored, const char *at, char **id,
                    cx_err *err)
{
    int64_t limit_ms = 0;

    if (!cx_time_parse(at, &limit_ms, err))
        return cx_wrap(err, "--at");
    for (size_t i = stored->count; i-- > 0;) {
        CX_AUTO(cx_manifest_free) cx_manifest *manifest = NULL;

        if (!stored->items[i].is_complete)
            continue;
        if (!cx_repo_manifest(repo, stored->items[i].id, NULL, &manifest, NULL, err))
            return false;
        if (manifest->created_ms <= limit_ms) {
            *id = cx_strdup(manifest->id);
            return true;
        }
    }
    return cx_fail(err, CX_NOT_FOUND, "%s has no backup of node %s up to %s",
                   cx_dest_name(repo->dest), repo->node_id, at);
}

static bool choose(const cx_run *run, cx_repo *repo, const restore_source *source, char **id,
                   cx_err *err)
{
    CX_AUTO(cx_stored_backups_free) cx_stored_backups stored = {0};

    if ((run->arg_count > 0) + (source->at != NULL) + source->latest > 1)
        return cx_fail(err, CX_USAGE, "an ID, --latest or --at, not two of them");
    if (run->arg_count > 0) {
        *id = cx_strdup(run->args[0]);
        return true;
    }
    if (!cx_repo_backups(repo, &stored, err))
        return false;
    if (source->at != NULL)
        return find_at(repo, &stored, source->at, id, err);
    for (size_t i = stored.count; i-- > 0;)
        if (stored.items[i].is_complete) {
            *id = cx_strdup(stored.items[i].id);
            return true;
        }
    return cx_fail(err, CX_NOT_FOUND, "%s has no backup of node %s", cx_dest_name(repo->dest),
                   repo->node_id);
}

bool restore_open(const cx_run *run, const cx_config *config, const restore_source *source,
                  bool restores, restore_backup *backup, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer lines = {0};
    CX_AUTO(cx_free) char *id = NULL;
    cx_minisign_public key;

    if (restores && source->identity == NULL) {
        cx_fail(err, CX_USAGE, "--identity is missing");
        return cx_hint(err, "identity.txt of cx-backup keygen, or of the recovery kit");
    }
    if ((source->identity != NULL &&
         !cx_age_read_identities(source->identity, &backup->identities, err)) ||
        !open_repo(config, source, &backup->repo, err) ||
        !choose(run, backup->repo, source, &id, err) ||
        !trusted_key(run, source, restores, backup, &key, err) ||
        !cx_repo_manifest(backup->repo, id, &key, &backup->manifest, NULL, err))
        return false;
    if (backup->identities == NULL)
        return true;
    return cx_content_read_index(backup->repo, backup->manifest, backup->identities, &lines, err) &&
           cx_content_parse_index(cx_buffer_bytes(&lines), &backup->index, err);
}

void restore_close(restore_backup *backup)
{
    cx_content_index_free(&backup->index);
    cx_age_identities_free(&backup->identities);
    cx_manifest_free(&backup->manifest);
    cx_repo_close(&backup->repo);
}
