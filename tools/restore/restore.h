/* cx-restore: what its commands share. */
#pragma once

#include "base/cli.h"
#include "base/progress.h"
#include "config/config.h"
#include "config/policy.h"
#include "repo/content.h"

extern const cx_command restore_plan, restore_run, restore_verify, restore_drill;

enum { RESTORE_PLACES_MAX = 4 };

/* ---- which backup */

typedef struct restore_source {
    const char *repo;
    const char *cluster;
    const char *node_id;
    const char *identity;
    const char *trusted_key;
    bool latest;
    const char *at;
} restore_source;

#define RESTORE_SOURCE_OPTIONS(type, field)                                                      \
    {"latest", CX_FLAG(type, field.latest), NULL, NULL, "the newest backup (the default)"},      \
        {"at", CX_TEXT(type, field.at), "TIME", NULL, "the newest one made up to then"},         \
        {"identity", CX_TEXT(type, field.identity), "FILE", NULL, "age identity that opens it"}, \
        {"trusted-key", CX_TEXT(type, field.trusted_key), "FILE", NULL,                          \
         "minisign public key of the node; default: sign.pub in the folder `backup` beside the " \
         "configuration"},                                                                       \
        {"repo", CX_TEXT(type, field.repo), "DEST", NULL,                                        \
         "a folder, or s3://bucket/prefix?endpoint=URL&region=R&path_style=1; default: the "     \
         "policy's"},                                                                            \
        {"cluster", CX_TEXT(type, field.cluster), "NAME", NULL,                                  \
         "default: the configuration's, else the only one there"},                               \
    {                                                                                            \
        "node-id", CX_TEXT(type, field.node_id), "ID", NULL,                                     \
            "whose backup; default: this node's, else the only one's there"                      \
    }

typedef struct restore_backup {
    cx_repo *repo;
    cx_manifest *manifest;
    cx_age_identities *identities; /* NULL: none was given */
    cx_content_index index;        /* empty without an identity */
    bool is_trusted;               /* the signature is of a key that was given */
} restore_backup;

CX_MUST_CHECK bool restore_config(const cx_run *run, cx_config **config, cx_err *err);
/* Chooses (by the run's argument, else by the options), checks the signature, opens the index. What
 * restores needs a trusted key and an identity. */
CX_MUST_CHECK bool restore_open(const cx_run *run, const cx_config *config,
                                const restore_source *source, bool restores, restore_backup *backup,
                                cx_err *err);
void restore_close(restore_backup *backup);

/* ---- where it goes */

/* A folder (or one file) that is replaced as a whole. */
typedef struct restore_place {
    char *path;         /* "/var/lib/caxton" */
    const char *prefix; /* of its entries' paths in the streams: "", "certs", "config/policies" */
    bool is_file;       /* the configuration itself: the prefix is its whole path */
    bool is_data;       /* data_dir: components that are not restored are carried over */
    bool is_used;       /* something was restored into it */
    bool existed;
    bool is_exchanged; /* what has the stage's name is the old one now */
    char *stage;       /* the new one, beside the old one */
    char *old;         /* where the old one was moved; NULL: there was none */
} restore_place;

extern const char restore_mark_name[];
bool restore_is_data(const char *component);
char *restore_parent(const char *path);     /* its folder; caller owns */
const char *restore_name(const char *path); /* its name there */

typedef struct restore_job {
    const cx_config *config;
    restore_backup *backup;
    cx_list components; /* that are restored */
    const char *glob;   /* only these paths; NULL: all */
    const char *target; /* NULL: where the node has them */
    restore_place places[RESTORE_PLACES_MAX];
    size_t place_count;
    cx_progress progress;
    cx_list databases; /* restored ones, by their path in the stage */
    char *lock;        /* its path; beside the place */
    int lock_fd;
    int node_lock_fd; /* data_dir/node.lock: the node can't start meanwhile */
} restore_job;

/* Components (empty: the default ones) and places; fails on one that the backup has not, and on a
 * target that has no name (USAGE) or holds the repository or a part of it (INVALID). */
CX_MUST_CHECK bool restore_lay_out(restore_job *job, const cx_list *wanted, cx_err *err);
void restore_job_close(restore_job *job);
/* Locks, clears up what a crash left, makes the stages. Nothing that is in use is touched. */
CX_MUST_CHECK bool restore_make_stages(restore_job *job, cx_err *err);
/* Restores into the stages and checks what came. */
CX_MUST_CHECK bool restore_fill_stages(restore_job *job, cx_err *err);
/* Whether a process has the node's lock. */
CX_MUST_CHECK bool restore_node_runs(const cx_config *config, bool *runs, cx_err *err);
/* Copies into a stage what stays as it is. */
CX_MUST_CHECK bool restore_carry_over(restore_job *job, restore_place *place, cx_err *err);
/* Takes the node's lock (of a target too: a node may run on it), carries over what is not restored, and
 * exchanges new and old. */
CX_MUST_CHECK bool restore_swap(restore_job *job, cx_err *err);
/* A folder, for the two below. */
void restore_add_place(restore_job *job, const char *path);
/* Paths of what restores have replaced. */
CX_MUST_CHECK bool restore_list_old(const restore_job *job, cx_list *paths, cx_err *err);
/* Removes what was replaced, by this run and by earlier ones. */
CX_MUST_CHECK bool restore_discard_old(const restore_job *job, size_t *count, cx_err *err);

/* ---- the node */

typedef struct restore_services {
    const char *stop_command;
    const char *start_command;
    bool no_services;
} restore_services;

#define RESTORE_SERVICE_OPTIONS(type, field)                                                     \
    {"stop-command", CX_TEXT(type, field.stop_command), "CMD", NULL,                             \
     "stops the node; default: systemctl stop cx-node, where that unit is active"},              \
        {"start-command", CX_TEXT(type, field.start_command), "CMD", NULL,                       \
         "starts it again; default: systemctl start cx-node, where it was stopped"},             \
    {                                                                                            \
        "no-services", CX_FLAG(type, field.no_services), NULL, NULL, "neither stop nor start it" \
    }

/* Stops the node if it runs, and waits until its lock is free. *stopped tells whether it did. */
CX_MUST_CHECK bool restore_stop(const cx_run *run, const cx_config *config,
                                const restore_services *services, bool *stopped, cx_err *err);
CX_MUST_CHECK bool restore_start(const cx_run *run, const cx_config *config,
                                 const restore_services *services, bool stopped, bool *started,
                                 cx_err *err);
