#include <string.h>

#include <sodium.h>

#include "backup.h"
#include "base/io.h"
#include "base/text.h"

enum { NAMING_FILE_MAX = 256 };

const char backup_identity_file[] = "identity.txt";
const char backup_recipients_file[] = "recipients.txt";
const char backup_sign_file[] = "sign.key";
const char backup_trusted_file[] = "sign.pub";
const char backup_naming_file[] = "naming.key";

bool backup_config(const cx_run *run, cx_config **config, cx_err *err)
{
    return cx_config_load(run->config_path, run->config_is_default, config, err);
}

char *backup_cache_dir(const cx_config *config)
{
    return cx_config_data(config, ".cx-backup");
}

/* ---- repositories */

static bool policy_destinations(const cx_config *config, cx_list *dests, cx_err *err)
{
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    size_t at;
    const json_t *destination;

    if (!cx_policy_load("backup", NULL, config->policy_dir, &policy, err))
        return false;
    json_array_foreach (json_object_get(json_object_get(policy, "backup"), "destinations"), at,
                        destination)
        cx_list_add(dests, cx_json_text_or_empty(destination, "dest"));
    return true;
}

/* A host without a configuration has no node of its own. */
static bool open_repo(const cx_config *config, const backup_place *place, const char *dest,
                      cx_repo **repo, cx_err *err)
{
    bool is_node = config->path[0] != '\0';
    const char *cluster = place->cluster != NULL ? place->cluster
                          : is_node              ? config->cluster
                                                 : NULL;
    const char *node_id = place->node_id != NULL ? place->node_id
                          : is_node              ? config->node_id
                                                 : NULL;

    return cx_repo_open(dest, cluster, node_id, repo, err);
}

bool backup_open_repos(const cx_config *config, const backup_place *place, backup_repos *repos,
                       cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list from_policy = {0};
    const cx_list *dests = &place->repos;

    if (dests->count == 0) {
        if (!policy_destinations(config, &from_policy, err))
            return false;
        dests = &from_policy;
    }
    repos->items = cx_alloc(dests->count, sizeof(cx_repo *));
    for (; repos->count < dests->count; repos->count++)
        if (!open_repo(config, place, dests->items[repos->count], &repos->items[repos->count], err))
            return false;
    return true;
}

void backup_close_repos(backup_repos *repos)
{
    for (size_t i = 0; i < repos->count; i++)
        cx_repo_close(&repos->items[i]);
    cx_free(&repos->items);
    *repos = (backup_repos){0};
}

bool backup_open_repo(const cx_config *config, const backup_place *place, cx_repo **repo,
                      cx_err *err)
{
    CX_AUTO(cx_list_free) cx_list from_policy = {0};

    if (place->repos.count > 0)
        return open_repo(config, place, place->repos.items[0], repo, err);
    return policy_destinations(config, &from_policy, err) &&
           open_repo(config, place, from_policy.items[0], repo, err);
}

/* ---- keys */

static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    CX_AUTO(cx_free)
    char *folder = slash == NULL ? cx_strdup(".") : cx_strndup(path, (size_t)(slash - path) + 1);

    return cx_path_join(folder, name);
}

char *backup_key_path(const cx_run *run, const char *name)
{
    CX_AUTO(cx_free) char *below = cx_format("backup/%s", name);

    return beside(run->config_path, below);
}

static bool read_naming_key(const char *path, cx_naming *naming, cx_err *err)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    bool is_right;

    if (!cx_read_secret_file(path, NAMING_FILE_MAX, &text, err))
        return false;
    text.data[strcspn((const char *)text.data, "\r\n")] = '\0';
    is_right = cx_from_hex((const char *)text.data, naming->key, sizeof naming->key, err);
    sodium_memzero(text.data, text.size);
    return is_right || cx_fail(err, CX_INVALID, "%s is no naming key (64 hex digits)", path);
}

/* A signature of a fixed text, which nobody but the key's owner can make and which he makes the same
 * each time (Ed25519 is deterministic), is a secret of its own. */
static void derive_naming_key(const cx_minisign_secret *sign_key, cx_naming *naming)
{
    CX_AUTO(cx_free_secret)
    char *signature = cx_minisign_sign(sign_key, cx_bytes_of("cx naming key"), "cx naming key");

    cx_sha256(cx_bytes_of(signature), naming->key);
}

static bool open_naming_key(const char *file, const char *sign_path, backup_keys *keys, cx_err *err)
{
    CX_AUTO(cx_free)
    char *path = file != NULL ? cx_strdup(file) : beside(sign_path, backup_naming_file);

    if (file == NULL && !cx_exists(path)) {
        derive_naming_key(keys->sign_key, &keys->naming);
        return true;
    }
    return read_naming_key(path, &keys->naming, err);
}

bool backup_open_keys(const cx_run *run, const backup_key_options *options, backup_keys *keys,
                      cx_err *err)
{
    CX_AUTO(cx_free)
    char *recipients = options->recipients_file != NULL
                           ? cx_strdup(options->recipients_file)
                           : backup_key_path(run, backup_recipients_file);
    CX_AUTO(cx_free)
    char *sign = options->sign_key != NULL ? cx_strdup(options->sign_key)
                                           : backup_key_path(run, backup_sign_file);

    if (!cx_age_read_recipients(recipients, &keys->recipients, err) ||
        !cx_minisign_read_secret(sign, &keys->sign_key, err)) {
        if (err->code == CX_NOT_FOUND)
            return cx_hint(err, "cx-backup keygen makes the keys");
        return false;
    }
    return open_naming_key(options->naming_key, sign, keys, err);
}

void backup_close_keys(backup_keys *keys)
{
    cx_minisign_secret_free(&keys->sign_key);
    sodium_memzero(&keys->naming, sizeof keys->naming);
}

bool backup_trusted_key(const cx_run *run, const char *file, cx_repo *repo, cx_minisign_public *key,
                        bool *is_trusted, cx_err *err)
{
    CX_AUTO(cx_free)
    char *path = file != NULL ? cx_strdup(file) : backup_key_path(run, backup_trusted_file);

    *is_trusted = file != NULL || cx_exists(path);
    return *is_trusted ? cx_minisign_read_public(path, key, err) : cx_repo_sign_key(repo, key, err);
}
