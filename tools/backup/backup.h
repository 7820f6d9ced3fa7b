/* cx-backup: what its commands share. */
#pragma once

#include "base/cli.h"
#include "config/config.h"
#include "config/policy.h"
#include "repo/create.h"
#include "repo/prune.h"
#include "repo/repo.h"
#include "repo/verify.h"

extern const cx_command backup_keygen, backup_kit, backup_kit_check, backup_create, backup_list,
    backup_show, backup_ls, backup_diff, backup_dump, backup_verify, backup_copy, backup_prune,
    backup_run, backup_status;

/* ---- where the repository is */

typedef struct backup_place {
    cx_list repos;
    const char *cluster;
    const char *node_id;
} backup_place;

#define BACKUP_PLACE_OPTIONS(type, field)                                                          \
    {"repo", CX_LIST(type, field.repos), "DEST", NULL,                                             \
     "a folder, or s3://bucket/prefix?endpoint=URL&region=R&path_style=1; default: the policy's"}, \
        {"cluster", CX_TEXT(type, field.cluster), "NAME", NULL,                                    \
         "default: the configuration's, else the only one there"},                                 \
    {                                                                                              \
        "node-id", CX_TEXT(type, field.node_id), "ID", NULL,                                       \
            "whose backups; default: this node's, else the only one's there"                       \
    }

/* The configuration; all defaults where no file was named and none is there. */
CX_MUST_CHECK bool backup_config(const cx_run *run, cx_config **config, cx_err *err);

typedef struct backup_repos {
    cx_repo **items;
    size_t count;
} backup_repos;

/* Every --repo, else every destination of the policy backup. */
CX_MUST_CHECK bool backup_open_repos(const cx_config *config, const backup_place *place,
                                     backup_repos *repos, cx_err *err);
void backup_close_repos(backup_repos *repos);
/* The first of them. */
CX_MUST_CHECK bool backup_open_repo(const cx_config *config, const backup_place *place,
                                    cx_repo **repo, cx_err *err);

/* ---- keys */

extern const char backup_identity_file[], backup_recipients_file[], backup_sign_file[],
    backup_trusted_file[], backup_naming_file[];

/* A file in the folder `backup` beside the configuration, where a node's keys are; caller owns. */
char *backup_key_path(const cx_run *run, const char *name);

typedef struct backup_keys {
    cx_age_recipients recipients;
    cx_minisign_secret *sign_key;
    cx_naming naming;
} backup_keys;

typedef struct backup_key_options {
    const char *recipients_file;
    const char *sign_key;
    const char *naming_key;
} backup_key_options;

#define BACKUP_KEY_OPTIONS(type, field)                                                 \
    {"recipients-file", CX_TEXT(type, field.recipients_file), "FILE", NULL,             \
     "who can open the backup: age recipients; default: recipients.txt of the node's "  \
     "keys"},                                                                           \
        {"sign-key", CX_TEXT(type, field.sign_key), "FILE", NULL,                       \
         "minisign secret key; default: sign.key of the node's keys"},                  \
    {                                                                                   \
        "naming-key", CX_TEXT(type, field.naming_key), "FILE", NULL,                    \
            "names what is stored; default: naming.key beside the sign key, else made " \
            "from it"                                                                   \
    }

CX_MUST_CHECK bool backup_open_keys(const cx_run *run, const backup_key_options *options,
                                    backup_keys *keys, cx_err *err);
void backup_close_keys(backup_keys *keys);
/* The key that backups are checked with: the file, else sign.pub of the node's keys, else the one in
 * the repository; *is_trusted is false then: it says that a backup is whole, not whose it is. */
CX_MUST_CHECK bool backup_trusted_key(const cx_run *run, const char *file, cx_repo *repo,
                                      cx_minisign_public *key, bool *is_trusted, cx_err *err);

/* One backup in the document of `verify`. */
json_t *backup_verified_to_json(const char *id, const cx_verified *verified);

/* ---- how long backups are kept */

typedef struct backup_retention {
    int64_t keep_full_ms;
    int64_t keep_incremental_ms;
    int64_t grace_ms;
} backup_retention;

#define BACKUP_RETENTION_OPTIONS(type, field)                                                  \
    {"keep-full", CX_DURATION(type, field.keep_full_ms), "DUR", "30d", "age of full backups"}, \
        {"keep-incremental", CX_DURATION(type, field.keep_incremental_ms), "DUR", "7d",        \
         "age of incremental backups"},                                                        \
    {                                                                                          \
        "grace", CX_DURATION(type, field.grace_ms), "DUR", "24h",                              \
            "remove what no backup names when it has been so for this long"                    \
    }

/* Prunes one repository; the document of `prune`. */
CX_MUST_CHECK bool backup_prune_repo(const cx_run *run, const backup_retention *retention,
                                     cx_repo *repo, const char *trusted_key, const cx_list *discard,
                                     int64_t wait_ms, json_t **document, cx_err *err);
json_t *backup_pruned_to_json(const cx_pruned *pruned, bool dry_run);

/* ---- making backups */

typedef struct backup_job {
    const char *type;          /* full, incremental, auto */
    const cx_list *components; /* NULL or empty: all */
    const char *cache_dir;     /* NULL: .cx-backup in the data folder */
    const char *progress;
    const char *reason;
    bool allow_missing;
    int64_t wait_ms;
} backup_job;

/* Makes one, notes it for the node (data_dir/backup.json), and returns the document of `create`. */
CX_MUST_CHECK bool backup_make(const cx_run *run, const cx_config *config,
                               const backup_repos *repos, const backup_keys *keys,
                               const backup_job *job, json_t **document, cx_err *err);
/* Folder of what the node remembers of its backups; caller owns. */
char *backup_cache_dir(const cx_config *config);
