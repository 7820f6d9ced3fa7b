/* Makes a backup: walks the components, captures databases as snapshots, cuts the tar streams, takes
 * over what did not change, seals and stores the rest, and signs.
 *
 * `full` reads every file, and reads back what is stored already before it is used again, so that
 * damage is stored anew; `incremental` takes over what has the same identity (size, times, inode, owner,
 * mode) as at the last backup, and only looks whether it is there. Either way what is stored already is
 * not stored again, and the backup restores alone. */
#pragma once

#include "base/progress.h"
#include "repo/repo.h"
#include "repo/walk.h"

enum { CX_CREATE_COMPONENTS_MAX = 16 };

typedef struct cx_create_component {
    const char *name;
    const cx_walk_root *roots;
    size_t root_count;
} cx_create_component;

typedef struct cx_create_spec {
    const char *type; /* full, incremental */
    const cx_create_component *components;
    size_t component_count;
    cx_repo **repos; /* of one node, up to CX_TARGETS_MAX */
    size_t repo_count;
    const cx_age_recipients *recipients;
    const cx_minisign_secret *sign_key;
    const cx_naming *naming;
    const char *cache_dir; /* made when it is missing; a folder of this node */
    const char *version;
    const char *reason;   /* for the lock */
    const char *progress; /* as cx_progress_start */
    int64_t lock_wait_ms;
    bool allow_missing; /* also when a component lost all its files since the last backup */
    bool dry_run;
} cx_create_spec;

typedef struct cx_created_component {
    const char *name;
    int64_t files, bytes;
    size_t segments;
} cx_created_component;

typedef struct cx_created_target {
    const char *dest; /* borrowed from the repository */
    size_t new_segments;
    size_t checked_segments, damaged_segments; /* that were there; the damaged were stored anew */
    int64_t checked_bytes;
    int64_t stored_bytes;
    bool failed;
    cx_err error;
} cx_created_target;

typedef struct cx_created {
    char *id;
    char *parent; /* NULL: none */
    int64_t created_ms;
    cx_created_component components[CX_CREATE_COMPONENTS_MAX];
    size_t component_count;
    cx_created_target *targets;
    size_t target_count, targets_failed;
    int64_t files, bytes;
    int64_t read_bytes;
    size_t skipped;     /* sockets, pipes, devices */
    size_t changed;     /* files that changed while they were read: read again next time */
    size_t vanished;    /* files that were removed before they were read */
    bool cache_missing; /* incremental, but everything had to be read */
} cx_created;

/* False when no destination has the backup; else targets tell which has it. BUSY when this node is
 * being backed up already. */
CX_MUST_CHECK bool cx_create_backup(const cx_create_spec *spec, cx_created *created, cx_err *err);
void cx_created_free(cx_created *created);
