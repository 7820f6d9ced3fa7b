#include "repo/snapshot.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/db.h"
#include "base/io.h"

enum { BUSY_TIMEOUT_MS = 10000, BUSY_RETRY_MS = 20 };

static const char magic[16] = "SQLite format 3";

static void close_database(sqlite3 **owner)
{
    sqlite3_close_v2(*owner);
    *owner = NULL;
}

static bool open_database(const char *path, int flags, sqlite3 **database, cx_err *err)
{
    int fault = sqlite3_open_v2(path, database, flags | SQLITE_OPEN_NOMUTEX, NULL);

    if (fault != SQLITE_OK)
        return cx_db_fail(*database, fault, path, err);
    sqlite3_extended_result_codes(*database, 1);
    sqlite3_busy_timeout(*database, BUSY_TIMEOUT_MS);
    return true;
}

bool cx_snapshot_is_header(cx_bytes head)
{
    return head.size >= sizeof magic && memcmp(head.data, magic, sizeof magic) == 0;
}

bool cx_snapshot_is_database(int folder, const char *name)
{
    uint8_t head[sizeof magic];
    CX_AUTO(cx_fd_close)
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, head, sizeof head);

    return cx_snapshot_is_header((cx_bytes){head, size > 0 ? (size_t)size : 0});
}

static bool copy_pages(sqlite3 *from, sqlite3 *to, const char *path, cx_err *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int fault;

    if (backup == NULL)
        return cx_db_fail(to, sqlite3_extended_errcode(to), path, err);
    /* Not asked of the busy handler: the step itself tells BUSY. */
    for (int waited_ms = 0;; waited_ms += BUSY_RETRY_MS) {
        fault = sqlite3_backup_step(backup, -1);
        if ((fault != SQLITE_BUSY && fault != SQLITE_LOCKED) || waited_ms >= BUSY_TIMEOUT_MS)
            break;
        sqlite3_sleep(BUSY_RETRY_MS);
    }
    sqlite3_backup_finish(backup);
    return fault == SQLITE_DONE || cx_db_fail(NULL, fault, path, err);
}

/* The copy is read once and thrown away: it needs neither journal nor fsync. Read-write also for the
 * source, which is not written: a reader of a database in WAL mode must be able to make its -shm. */
bool cx_snapshot_take(const char *path, const char *copy, cx_err *err)
{
    CX_AUTO(close_database) sqlite3 *from = NULL;
    CX_AUTO(close_database) sqlite3 *to = NULL;
    CX_AUTO(cx_free) char *wal = cx_format("%s-wal", path);
    int number = 0;

    CX_AUTO(cx_fd_close) int fd = open(copy, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return cx_fail_errno(err, "create %s", copy);
    if (!open_database(path, SQLITE_OPEN_READWRITE, &from, err) ||
        !open_database(copy, SQLITE_OPEN_READWRITE, &to, err))
        return false;
    /* A checkpoint at close would write to somebody else's database. Without a -wal there is nothing
     * to write, and what we made for reading goes away at close. */
    if (cx_exists(wal))
        sqlite3_db_config(from, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, &number);
    sqlite3_exec(to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL, NULL);
    return copy_pages(from, to, path, err);
}

bool cx_snapshot_check(const char *path, cx_err *err)
{
    CX_AUTO(close_database) sqlite3 *database = NULL;
    CX_AUTO(cx_free) char *uri = cx_format("file:%s?immutable=1", path);
    sqlite3_stmt *statement = NULL;
    bool is_whole = false;
    int fault;

    /* Immutable: no -wal and -shm are left beside it. A name that a URI can't hold goes without. */
    if (strpbrk(path, "?#%") != NULL
            ? !open_database(path, SQLITE_OPEN_READONLY, &database, err)
            : !open_database(uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, &database, err))
        return false;
    fault = sqlite3_prepare_v2(database, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (fault == SQLITE_OK)
        fault = sqlite3_step(statement);
    if (fault != SQLITE_ROW) {
        cx_db_fail(database, fault, path, err);
    } else {
        const char *answer = (const char *)sqlite3_column_text(statement, 0);

        is_whole = answer != NULL && strcmp(answer, "ok") == 0;
        if (!is_whole)
            cx_fail(err, CX_CORRUPT, "database %s: %s", path, answer != NULL ? answer : "?");
    }
    sqlite3_finalize(statement);
    return is_whole;
}
