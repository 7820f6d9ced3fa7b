#include "base/db_compact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/db.h"
#include "base/io.h"

enum {
    BUSY_TIMEOUT_MS = 10000,
    SLICE_PAGES = 256, /* 1 MiB at SQLite's usual page size */
    REST_MS = 5,       /* between two slices, so that who waits for the lock gets it */
    INCREMENTAL = 2,   /* PRAGMA auto_vacuum */
};

struct compaction {
    sqlite3 *database;
    const char *path;
    const cx_db_compact_options *options;
    cx_db_compacted *result;
};

static void close_compaction(struct compaction *compaction)
{
    sqlite3_close(compaction->database);
    compaction->database = NULL;
}

static bool fail(const struct compaction *compaction, int fault, cx_err *err)
{
    return cx_db_fail(compaction->database, fault, compaction->path, err);
}

static bool exec(const struct compaction *compaction, const char *sql, cx_err *err)
{
    int fault = sqlite3_exec(compaction->database, sql, NULL, NULL, NULL);

    return fault == SQLITE_OK || fail(compaction, fault, err);
}

/* The first column of the first row; the text is the caller's. */
static bool ask(const struct compaction *compaction, const char *sql, char **text, cx_err *err)
{
    sqlite3_stmt *statement = NULL;
    int fault = sqlite3_prepare_v2(compaction->database, sql, -1, &statement, NULL);

    if (fault == SQLITE_OK)
        fault = sqlite3_step(statement);
    if (fault == SQLITE_ROW) {
        const char *answer = (const char *)sqlite3_column_text(statement, 0);

        *text = cx_strdup(answer != NULL ? answer : "");
    }
    sqlite3_finalize(statement);
    return fault == SQLITE_ROW || fail(compaction, fault, err);
}

static bool ask_number(const struct compaction *compaction, const char *sql, int64_t *number,
                       cx_err *err)
{
    CX_AUTO(cx_free) char *text = NULL;

    if (!ask(compaction, sql, &text, err))
        return false;
    *number = strtoll(text, NULL, 10);
    return true;
}

static bool check_integrity(const struct compaction *compaction, cx_err *err)
{
    CX_AUTO(cx_free) char *answer = NULL;

    if (!ask(compaction, "PRAGMA integrity_check(1)", &answer, err))
        return false;
    if (strcmp(answer, "ok") == 0)
        return true;
    cx_fail(err, CX_CORRUPT, "database %s: %s", compaction->path, answer);
    return cx_hint(err, "it was not touched; cx-restore run brings a backup back");
}

static int64_t size_of(const char *path)
{
    CX_AUTO(cx_free) char *log = cx_format("%s-wal", path);
    struct stat file = {0}, log_file = {0};

    if (stat(path, &file) < 0)
        return 0;
    (void)!stat(log, &log_file);
    return (int64_t)file.st_size + (int64_t)log_file.st_size;
}

/* VACUUM needs up to twice the file beside it. */
static bool has_room(const struct compaction *compaction, cx_err *err)
{
    struct statvfs room;
    int64_t needed = 2 * compaction->result->before_bytes, free_bytes;

    if (statvfs(compaction->path, &room) < 0)
        return cx_fail_errno(err, "%s", compaction->path);
    if (__builtin_mul_overflow((int64_t)room.f_bavail, (int64_t)room.f_frsize, &free_bytes) ||
        free_bytes >= needed)
        return true;
    return cx_fail(err, CX_IO, "database %s: rewriting it takes %lld bytes of disk, %lld are free",
                   compaction->path, (long long)needed, (long long)free_bytes);
}

static bool rebuild(const struct compaction *compaction, cx_err *err)
{
    cx_db_compacted *result = compaction->result;

    if (result->before_bytes > compaction->options->rebuild_max_bytes) {
        result->too_large = true;
        return true;
    }
    result->changed = result->rebuilt = true;
    return compaction->options->dry_run ||
           (has_room(compaction, err) && exec(compaction, "PRAGMA auto_vacuum = 2; VACUUM", err));
}

/* Slice by slice, until nothing is free or no slice makes it less. */
static bool give_back(const struct compaction *compaction, int64_t free_pages, cx_err *err)
{
    char slice[64];

    if (compaction->result->free_bytes < compaction->options->min_free_bytes || free_pages == 0)
        return true;
    compaction->result->changed = true;
    if (compaction->options->dry_run)
        return true;
    snprintf(slice, sizeof slice, "PRAGMA incremental_vacuum(%d)", SLICE_PAGES);
    for (int64_t before = free_pages + 1; free_pages > 0 && free_pages < before;) {
        before = free_pages;
        if (cx_interrupted())
            return cx_fail(err, CX_INTERRUPTED, "interrupted");
        if (!exec(compaction, slice, err) ||
            !ask_number(compaction, "PRAGMA freelist_count", &free_pages, err))
            return false;
        sqlite3_sleep(REST_MS);
    }
    return true;
}

/* The file shrinks when the log goes into it. */
static bool checkpoint(const struct compaction *compaction, cx_err *err)
{
    int fault = sqlite3_wal_checkpoint_v2(compaction->database, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                          NULL, NULL);

    compaction->result->log_in_use = (fault & 0xff) == SQLITE_BUSY;
    return fault == SQLITE_OK || compaction->result->log_in_use || fail(compaction, fault, err);
}

static bool open_database(struct compaction *compaction, cx_err *err)
{
    struct stat file;
    int fault;

    if (lstat(compaction->path, &file) < 0)
        return cx_fail_errno(err, "database %s", compaction->path);
    /* SQLITE_OPEN_NOFOLLOW would refuse a link to a folder above it, too. */
    if (S_ISLNK(file.st_mode))
        return cx_fail(err, CX_PERMISSION, "database %s: a link", compaction->path);
    fault = sqlite3_open_v2(compaction->path, &compaction->database,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL);
    if (fault != SQLITE_OK)
        return fail(compaction, fault, err);
    sqlite3_busy_timeout(compaction->database, BUSY_TIMEOUT_MS);
    return exec(compaction, "PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL", err);
}

bool cx_db_compact(const char *path, const cx_db_compact_options *options, cx_db_compacted *result,
                   cx_err *err)
{
    CX_AUTO(close_compaction)
    struct compaction compaction = {.path = path, .options = options, .result = result};
    int64_t free_pages = 0, page_bytes = 0, mode = 0;

    *result = (cx_db_compacted){.before_bytes = size_of(path)};
    result->after_bytes = result->before_bytes;
    if (!open_database(&compaction, err) || !check_integrity(&compaction, err) ||
        !ask_number(&compaction, "PRAGMA auto_vacuum", &mode, err) ||
        !ask_number(&compaction, "PRAGMA page_size", &page_bytes, err) ||
        !ask_number(&compaction, "PRAGMA freelist_count", &free_pages, err))
        return false;
    result->free_bytes = free_pages * page_bytes;
    if (!(mode == INCREMENTAL ? give_back(&compaction, free_pages, err)
                              : rebuild(&compaction, err)))
        return false;
    if (options->dry_run)
        return true;
    if (!checkpoint(&compaction, err))
        return false;
    result->after_bytes = size_of(path);
    return true;
}
