/* Removing what is no longer kept: backups by the retention, then the segments that no kept manifest
 * names, once nobody has named them for a grace period.
 *
 * Every stage may be killed: a backup vanishes with its signature; segments go only after the list of
 * the unnamed ones, with the time since when, was stored (prune.json) and that time is over. A kept
 * manifest that can't be read stops everything: what it names is not known. */
#pragma once

#include "repo/repo.h"
#include "repo/retention.h"

typedef struct cx_prune_spec {
    cx_repo *repo;
    const cx_minisign_public *key; /* NULL: signatures are not checked */
    cx_retention_policy retention;
    int64_t grace_ms;
    const cx_list *discard; /* ids that go whatever their age; not the last good full one */
    int64_t lock_wait_ms;
    bool dry_run;
} cx_prune_spec;

typedef struct cx_pruned_backup {
    char *id;
    bool is_full;
    int64_t arrived_ms;
    bool kept;
    const char *reason; /* of cx_retention_word, or "incomplete", "discarded" */
} cx_pruned_backup;

typedef struct cx_pruned {
    cx_pruned_backup *backups;
    size_t count;
    size_t backups_removed;
    size_t segments_removed, segments_pending; /* pending: their grace period is not over */
    int64_t bytes_removed;
} cx_pruned;

CX_MUST_CHECK bool cx_prune(const cx_prune_spec *spec, cx_pruned *pruned, cx_err *err);
void cx_pruned_free(cx_pruned *pruned);
/* Whether a stored backup is full, by its id (".…-full-1a2b"). */
bool cx_backup_is_full(const char *id);
