/* The destinations of a backup that is being made: their locks, and what each has already. A part of
 * repo/create.h.
 *
 * A stored segment is never written again: encrypting it once more gives other bytes, and a manifest
 * may hold the digest of the old ones. What is stored is known from a local copy, which is brought up
 * to date with the manifests that our key signed. An object that only looks like the segment (left by
 * a run that died on another host, named by somebody else's manifest), or that is damaged, is neither
 * trusted nor replaced: the segment gets the next name that its content yields.
 *
 * A destination that fails is left out from then on; the others go on. */
#pragma once

#include <pthread.h>

#include "repo/lock.h"

enum { CX_TARGETS_MAX = 16 };

typedef struct cx_target {
    cx_repo *repo; /* borrowed */
    cx_repo_lock *lock;
    cx_segments *segments;
    cx_list backups; /* whose segments are known */
    char *cache_path;
    size_t new_segments;
    size_t checked_segments, damaged_segments;
    int64_t checked_bytes; /* of what was stored before, and read back */
    int64_t stored_bytes;  /* of new objects */
    int64_t unnoted_bytes; /* of which the local copy does not know yet */
    bool finished;
    bool failed;
    cx_err error; /* the first, when failed */
} cx_target;

typedef struct cx_targets {
    cx_target *items;
    size_t count;
    pthread_mutex_t mutex; /* guards all but repo and lock */
    pthread_cond_t checked;
    bool checks; /* what is stored already is read back once before it is used again */
    const cx_naming *naming;
    const cx_minisign_public *sign_key;
} cx_targets;

/* Takes the locks (unless dry_run) and learns what is there. */
void cx_targets_open(cx_targets *targets, cx_repo **repos, size_t count, const cx_naming *naming,
                     const cx_minisign_public *sign_key, const char *cache_dir, const char *reason,
                     int64_t wait_ms, bool dry_run);
/* Notes what was stored, so that a run that was interrupted goes on where it was; gives the locks
 * back. */
void cx_targets_close(cx_targets *targets);
void cx_targets_fail(cx_targets *targets, size_t at, const cx_err *err);
/* Fails with the first one's error when none is left. */
CX_MUST_CHECK bool cx_targets_alive(cx_targets *targets, cx_err *err);
/* Renews the locks. */
void cx_targets_renew(cx_targets *targets, int64_t now_ms);

/* Whether all of them have this segment. */
bool cx_targets_have(cx_targets *targets, const uint8_t id[CX_SEGMENT_ID_SIZE]);
/* Finds the name of a segment whose first name is id: to_store gets a bit for each destination where
 * the caller has to store it now. With `checks` it reads what is there, and passes over what is damaged; it
 * waits while another thread reads the same. */
CX_MUST_CHECK bool cx_targets_claim(cx_targets *targets, uint8_t id[CX_SEGMENT_ID_SIZE],
                                    uint32_t *to_store, cx_err *err);
/* Stores a segment that was claimed there. */
void cx_targets_store(cx_targets *targets, uint32_t to_store, const cx_segment *segment,
                      cx_bytes stored);
/* What this destination has under an id that was claimed or found. */
cx_segment cx_targets_about(cx_targets *targets, size_t at, const uint8_t id[CX_SEGMENT_ID_SIZE]);
/* Makes all that was stored durable and checks with a fresh listing that every segment of the
 * manifest is there, whole; then signs and stores the manifest. */
void cx_targets_finish(cx_targets *targets, size_t at, const cx_manifest *manifest,
                       const cx_minisign_secret *sign_key);
