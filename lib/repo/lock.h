/* The lock of a repository: one writer at a time, by a mark that names its holder and expires.
 *
 * CLUSTER/NODE/lock.json: {"owner","host","boot_id","pid","pid_namespace","started","reason",
 * "acquired_at","lease_seconds","token"}. Its age is that of the object, by the storage's clock. A
 * mark is dead when its lease is over, or when it is of this very host and its process is gone: boot
 * id, process id and start time together name a process. A dead one is taken over.
 *
 * The holder renews it while it works, and asks cx_repo_lock_held before it does what can't be
 * undone: whoever slept past his lease finds that the lock is another's, and stops. */
#pragma once

#include "repo/repo.h"

enum { CX_REPO_LEASE_MS = 10 * 60 * 1000 };

typedef struct cx_repo_lock cx_repo_lock;

/* Also clears away what a writer that was killed left half-written. owner: "cx-backup create". BUSY with the holder's name when it is held; waits for it up to wait_ms. */
CX_MUST_CHECK bool cx_repo_lock_take(cx_repo *repo, const char *owner, const char *reason,
                                     int64_t wait_ms, cx_repo_lock **lock, cx_err *err);
/* Renews the lease when a third of it is over, by now_ms of the monotonic clock; BUSY when the lock
 * was taken over. */
CX_MUST_CHECK bool cx_repo_lock_renew(cx_repo_lock *lock, int64_t now_ms, cx_err *err);
/* Reads the mark again: BUSY when it is not ours any more. */
CX_MUST_CHECK bool cx_repo_lock_held(cx_repo_lock *lock, cx_err *err);
/* Gives it back, if it is still ours. */
void cx_repo_lock_release(cx_repo_lock **owner);
/* The mark as it stands, with "alive"; NULL: none. */
CX_MUST_CHECK bool cx_repo_lock_show(cx_repo *repo, json_t **mark, cx_err *err);
