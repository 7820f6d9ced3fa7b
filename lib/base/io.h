/* Files: whole reads with a bound, atomic durable writes, locks that name their holder.
 *
 * Every file of ours appears by cx_replace or by a stage: a temporary name in the same folder,
 * fsync, rename, fsync of the folder. Nothing else creates or renames. Paths are relative to the
 * process's folder as usual. */
#pragma once

#include <sys/types.h>

#include "base/err.h"

/* Reads a whole regular file ("-": stdin). More than size_max bytes: TOO_LARGE. */
CX_MUST_CHECK bool cx_read_file(const char *path, size_t size_max, cx_buffer *data, cx_err *err);
/* The same with O_NOFOLLOW, and refused (PERMISSION) when group or others may read it. For keys.
 * The caller wipes the buffer (sodium_memzero) before it frees it. */
CX_MUST_CHECK bool cx_read_secret_file(const char *path, size_t size_max, cx_buffer *data,
                                       cx_err *err);

/* Replaces path by bytes: all or nothing, durable when it returns true. */
CX_MUST_CHECK bool cx_replace(const char *path, mode_t mode, cx_bytes bytes, cx_err *err);
/* Like cx_replace, but fails with EXISTS when path is there (linkat, so no race). */
CX_MUST_CHECK bool cx_create(const char *path, mode_t mode, cx_bytes bytes, cx_err *err);

/* The stage below cx_replace, for streamed content: open, write to stage->fd, commit. Closing a
 * stage that was not committed removes the temporary file. */
typedef struct cx_stage {
    int fd; /* write here */
    int dir_fd;
    char *temp; /* name within the folder */
    char *name;
    char *path; /* for messages */
} cx_stage;

CX_MUST_CHECK bool cx_stage_open(const char *path, mode_t mode, cx_stage **stage, cx_err *err);
CX_MUST_CHECK bool cx_stage_commit(cx_stage *stage, cx_err *err);
void cx_stage_close(cx_stage **owner);
/* Commits stages that are on one file system together, with one flush of it before they get their
 * names and one after, instead of two for each file. On failure some have their names; each is whole. */
CX_MUST_CHECK bool cx_stage_commit_all(cx_stage *const *stages, size_t count, cx_err *err);

/* All of the bytes, across short writes and EINTR. */
CX_MUST_CHECK bool cx_write_all(int fd, cx_bytes bytes, const char *name, cx_err *err);

/* mkdir -p; made folders get mode, and their parents are fsynced. *changed (may be NULL) tells
 * whether anything was made. */
CX_MUST_CHECK bool cx_make_folders(const char *path, mode_t mode, bool *changed, cx_err *err);
/* As root, gives what this process has just made, open as fd, to the owner of its folder: what an
 * administrator makes in the folders of a service the service can read and change. Everything that
 * makes a file or folder here does so. Nothing for anybody else, and in a folder of root's. */
CX_MUST_CHECK bool cx_give_to_owner(int fd, const char *path, cx_err *err);
/* fsync of a folder, after a rename or unlink in it. */
CX_MUST_CHECK bool cx_sync_folder(const char *path, cx_err *err);
/* Removes a file durably; a missing one is fine. */
CX_MUST_CHECK bool cx_remove_file(const char *path, cx_err *err);
/* Removes a folder and all below it, never following links and never crossing file systems. A
 * missing one is fine. Rename it away first where others may look at it. */
CX_MUST_CHECK bool cx_remove_tree(const char *path, cx_err *err);
/* Removes temporary files of stages that a crash left in the folder (those of cx_stage's naming
 * only). Call while holding the lock that covers the folder. */
CX_MUST_CHECK bool cx_sweep_stages(const char *folder, cx_err *err);
bool cx_exists(const char *path);                         /* anything at all, a dangling link too */
char *cx_path_join(const char *folder, const char *name); /* one slash between; caller owns */

/* An exclusive flock(2) on a file that is never removed. Held by another: BUSY, with the holder's
 * pid from the file in the message. The kernel's lock decides, and ends with the process. */
CX_MUST_CHECK bool cx_lock(const char *path, int *fd, cx_err *err);
/* Like cx_lock, but waits up to timeout_ms. */
CX_MUST_CHECK bool cx_lock_wait(const char *path, int64_t timeout_ms, int *fd, cx_err *err);
/* Closes a descriptor (-1: none) and sets it to -1. */
void cx_fd_close(int *fd);

/* /proc/sys/kernel/random/boot_id, "" when there is none. */
void cx_boot_id(char text[40]);
/* Start time of a process in clock ticks since boot, from /proc; 0 when there is no such process.
 * A pid alone proves nothing: pid, start time and boot id name one process for ever. */
uint64_t cx_process_started(pid_t pid);
