/* What a component consists of: its files, folders and links, in a fixed order (a folder before what
 * is in it, names by their bytes).
 *
 * A SQLite database's -wal, -shm and -journal files are not entries: the database is captured as one
 * snapshot; what they say of changes goes into its identity. Sockets, pipes and devices are left out
 * and counted. Links are never followed. */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "repo/tar.h"

enum { CX_WALK_DEPTH_MAX = 64, CX_WALK_ENTRIES_MAX = 16 * 1024 * 1024 };

/* What tells a file that did not change from one that did. */
typedef struct cx_identity {
    uint64_t device, inode;
    int64_t size, mtime_ns, ctime_ns;
    int64_t wal_size, wal_mtime_ns; /* of a database's -wal; 0: none */
    uint32_t mode, uid, gid;
} cx_identity;

typedef struct cx_walk_entry {
    cx_tar_kind kind;
    char *path;   /* in the tar stream */
    char *target; /* of a link */
    cx_identity identity;
    bool is_database; /* it has a -wal or -journal beside it; others are known by their content */
    uint32_t root;    /* which of the walk's roots it is below */
} cx_walk_entry;

/* One place on disk and where it is in the stream. */
typedef struct cx_walk_root {
    const char *path; /* a folder, or one file */
    const char *name; /* its path in the stream; "" for a folder whose content is at the top */
    const char *const *except; /* names directly below it that are left out, NULL-terminated; a
                                  trailing * stands for anything; NULL: none */
    bool optional;             /* it need not be there */
    bool raw; /* a database's -wal, -shm and -journal are files like any other: for a
                                  folder that nobody uses */
} cx_walk_root;

typedef struct cx_walk {
    cx_walk_entry *entries;
    size_t count, capacity;
    size_t skipped; /* sockets, pipes, devices */
    int64_t bytes;  /* of files */
} cx_walk;

/* NOT_FOUND when a root that is not optional is missing. What vanishes meanwhile is left out. */
CX_MUST_CHECK bool cx_walk_run(const cx_walk_root *roots, size_t count, cx_walk *walk, cx_err *err);
void cx_walk_free(cx_walk *walk);
/* Where an entry is on disk; caller owns. */
char *cx_walk_path(const cx_walk_root *roots, const cx_walk_entry *entry);
/* Identity of an open file; the -wal's part is 0. */
CX_MUST_CHECK bool cx_identity_of(int fd, const char *path, cx_identity *identity, cx_err *err);
bool cx_identity_equal(const cx_identity *a, const cx_identity *b);
