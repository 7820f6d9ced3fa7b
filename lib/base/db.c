#include "base/db.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/time.h"

enum {
    BUSY_TIMEOUT_MS =
        10000, /* longer than any transaction of ours, shorter than a user's patience */
    BUSY_RETRY_MS = 20,
    WAL_SIZE_MAX = 64 * 1024 * 1024, /* what the -wal file is cut back to after a checkpoint */
};

struct cx_statement {
    sqlite3_stmt *handle;
    cx_db *db;
    const char *sql;
    bool in_use;
    int bind_fault; /* the first bind that failed; reported by the next step */
};

struct cx_db {
    sqlite3 *handle;
    char *path;
    cx_statement **statements;
    size_t statement_count;
};

/* A file that can't be opened is one that may not be, is not there, …: the system's word for it. */
static cx_code code_of_open(sqlite3 *handle, int fault)
{
    int number = handle ? sqlite3_system_errno(handle) : 0;

    if (fault == SQLITE_CANTOPEN_SYMLINK)
        return CX_PERMISSION;
    return number != 0 ? cx_code_from_errno(number) : CX_CANT_CREATE;
}

static cx_code code_of(sqlite3 *handle, int fault)
{
    switch (fault & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return CX_BUSY;
    case SQLITE_FULL:
    case SQLITE_IOERR: return CX_IO;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return CX_CORRUPT;
    case SQLITE_CANTOPEN: return code_of_open(handle, fault);
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY: return CX_PERMISSION;
    case SQLITE_TOOBIG: return CX_TOO_LARGE;
    case SQLITE_INTERRUPT: return CX_INTERRUPTED;
    case SQLITE_CONSTRAINT:
        if (fault == SQLITE_CONSTRAINT_UNIQUE || fault == SQLITE_CONSTRAINT_PRIMARYKEY)
            return CX_EXISTS;
        return CX_INTERNAL;
    default: return CX_INTERNAL;
    }
}

static bool fail(const cx_db *db, int fault, cx_err *err)
{
    return cx_db_fail(db->handle, fault, db->path, err);
}

static bool exec(cx_db *db, const char *sql, cx_err *err)
{
    int fault = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);

    return fault == SQLITE_OK || fail(db, fault, err);
}

/* The file is made here and not by SQLite, whose mode would depend on the umask, and its name is on
 * disk before anything is committed to it. The -wal and -shm files take over its mode. */
static bool make_file(const char *path, cx_err *err)
{
    CX_AUTO(cx_fd_close) int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CX_AUTO(cx_free) char *folder = NULL;
    const char *slash = strrchr(path, '/');

    if (fd < 0)
        return errno == EEXIST || cx_fail_errno(err, "create %s", path);
    if (!cx_give_to_owner(fd, path, err))
        return false;
    if (fsync(fd) < 0)
        return cx_fail_errno(err, "fsync %s", path);
    if (!slash)
        folder = cx_strdup(".");
    else
        folder = cx_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return cx_sync_folder(folder, err);
}

static bool read_version(cx_db *db, int64_t *version, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;

    if (!cx_db_prepare(db, "PRAGMA user_version", &statement, err) ||
        !cx_step(statement, &row, err))
        return false;
    *version = row ? cx_column_int(statement, 0) : 0;
    return true;
}

static bool check_version(cx_db *db, size_t known, bool read_only, cx_err *err)
{
    int64_t version = 0;

    if (!read_version(db, &version, err))
        return false;
    if (version > (int64_t)known) {
        cx_fail(err, CX_CONFIG, "database %s has version %" PRId64 ", this program knows up to %zu",
                db->path, version, known);
        return cx_hint(err, "a newer release wrote it: use that release");
    }
    if (read_only && version < (int64_t)known) {
        cx_fail(err, CX_CONFIG, "database %s has version %" PRId64 ", this program reads %zu",
                db->path, version, known);
        return cx_hint(err, "the program that owns it brings it up to date when it starts");
    }
    return true;
}

/* SQLite does not ask the busy handler while two connections change the journal mode at once. */
static bool enter_wal(cx_db *db, cx_err *err)
{
    int64_t deadline_ms = cx_now_ms() + BUSY_TIMEOUT_MS;

    for (;;) {
        sqlite3_stmt *statement = NULL;
        int fault = sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
        bool is_wal = false;

        if (fault == SQLITE_OK) {
            fault = sqlite3_step(statement);
            is_wal = fault == SQLITE_ROW &&
                     strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
            sqlite3_finalize(statement);
        }
        if (is_wal)
            return true;
        if (fault == SQLITE_ROW)
            return cx_fail(err, CX_IO, "database %s: this file system can't do a write-ahead log",
                           db->path);
        if (code_of(db->handle, fault) != CX_BUSY || cx_now_ms() >= deadline_ms)
            return fail(db, fault, err);
        sqlite3_sleep(BUSY_RETRY_MS);
    }
}

static bool migrate_once(cx_db *db, const char *const *migrations, int64_t version, cx_err *err)
{
    char stamp[64];
    int64_t now_at = 0;

    snprintf(stamp, sizeof(stamp), "PRAGMA user_version = %" PRId64, version + 1);
    if (!read_version(db, &now_at, err))
        return false;
    if (now_at != version) /* another process was faster */
        return true;
    return exec(db, migrations[version], err) && exec(db, stamp, err);
}

static bool migrate(cx_db *db, const char *const *migrations, size_t count, cx_err *err)
{
    int64_t version = 0;

    if (!read_version(db, &version, err))
        return false;
    for (; version < (int64_t)count; version++) {
        if (!cx_db_begin(db, err))
            return false;
        if (!migrate_once(db, migrations, version, err) || !cx_db_commit(db, err)) {
            cx_db_rollback(db);
            return cx_wrap(err, "migration %" PRId64, version + 1);
        }
    }
    return true;
}

/* Only a file that is still empty can take it (see db_compact.h); in any other one it would be written at
 * each opening, which costs an fsync and fails on a full disk. */
static bool enter_auto_vacuum(cx_db *db, cx_err *err)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row = false;
    int64_t pages;

    if (!cx_db_prepare(db, "PRAGMA page_count", &statement, err) || !cx_step(statement, &row, err))
        return false;
    pages = row ? cx_column_int(statement, 0) : 0;
    cx_statement_done(&statement);
    return pages > 0 || exec(db, "PRAGMA auto_vacuum=INCREMENTAL", err);
}

static bool prepare_connection(cx_db *db, const char *const *migrations, size_t count,
                               bool read_only, cx_err *err)
{
    char limit[64];

    sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    /* Before anything is written: a newer program's file stays as it is. */
    if (!exec(db, "PRAGMA trusted_schema=OFF", err) || !check_version(db, count, read_only, err))
        return false;
    if (read_only)
        return true;
    snprintf(limit, sizeof(limit), "PRAGMA journal_size_limit=%d", WAL_SIZE_MAX);
    return enter_auto_vacuum(db, err) && enter_wal(db, err) &&
           exec(db, "PRAGMA synchronous=FULL", err) && exec(db, limit, err) &&
           migrate(db, migrations, count, err) &&
           /* After the migrations: one that rebuilds a table must be able to drop the old one. */
           exec(db, "PRAGMA foreign_keys=ON", err);
}

static cx_statement *find_free(cx_db *db, const char *sql)
{
    for (size_t i = 0; i < db->statement_count; i++) {
        cx_statement *statement = db->statements[i];

        if (!statement->in_use && (statement->sql == sql || strcmp(statement->sql, sql) == 0))
            return statement;
    }
    return NULL;
}

static void note_bind(cx_statement *statement, int fault)
{
    assert(fault != SQLITE_RANGE && fault != SQLITE_MISUSE);
    if (fault != SQLITE_OK && statement->bind_fault == SQLITE_OK)
        statement->bind_fault = fault;
}

bool cx_db_open(const char *path, const char *const *migrations, size_t count, bool read_only,
                cx_db **db, cx_err *err)
{
    CX_AUTO(cx_db_close) cx_db *opened = NULL;
    int flags = SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE;
    int fault;

    if (read_only && access(path, F_OK) < 0)
        return cx_fail_errno(err, "database %s", path);
    if (!read_only && !make_file(path, err))
        return false;
    opened = cx_alloc(1, sizeof(*opened));
    opened->path = cx_strdup(path);
    flags |= read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    fault = sqlite3_open_v2(path, &opened->handle, flags, NULL);
    if (fault != SQLITE_OK)
        return fail(opened, fault, err);
    if (!prepare_connection(opened, migrations, count, read_only, err))
        return false;
    *db = CX_TAKE(opened);
    return true;
}

void cx_db_close(cx_db **owner)
{
    cx_db *db = CX_TAKE(*owner);

    if (!db)
        return;
    for (size_t i = 0; i < db->statement_count; i++) {
        sqlite3_finalize(db->statements[i]->handle);
        cx_free(&db->statements[i]);
    }
    cx_free(&db->statements);
    sqlite3_close_v2(db->handle);
    cx_free(&db->path);
    cx_free(&db);
}

bool cx_db_version(const char *path, int64_t *version, cx_err *err)
{
    CX_AUTO(cx_db_close) cx_db *db = cx_alloc(1, sizeof(*db));
    int fault;

    if (access(path, F_OK) < 0)
        return cx_fail_errno(err, "database %s", path);
    db->path = cx_strdup(path);
    fault = sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_EXRESCODE, NULL);
    if (fault != SQLITE_OK)
        return fail(db, fault, err);
    sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
    return read_version(db, version, err);
}

bool cx_db_exec(cx_db *db, const char *sql, cx_err *err)
{
    return exec(db, sql, err);
}

bool cx_db_begin(cx_db *db, cx_err *err)
{
    return exec(db, "BEGIN IMMEDIATE", err);
}

bool cx_db_commit(cx_db *db, cx_err *err)
{
    return exec(db, "COMMIT", err);
}

void cx_db_rollback(cx_db *db)
{
    /* Some faults (a full disk) have rolled back already. */
    if (!sqlite3_get_autocommit(db->handle))
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

bool cx_db_prepare(cx_db *db, const char *sql, cx_statement **statement, cx_err *err)
{
    cx_statement *found = find_free(db, sql);

    if (!found) {
        sqlite3_stmt *handle = NULL;
        int fault =
            sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle, NULL);

        if (fault != SQLITE_OK)
            return fail(db, fault, err);
        found = cx_alloc(1, sizeof(*found));
        *found = (cx_statement){.handle = handle, .db = db, .sql = sql};
        db->statements =
            cx_realloc(db->statements, db->statement_count + 1, sizeof(*db->statements));
        db->statements[db->statement_count++] = found;
    }
    found->in_use = true;
    *statement = found;
    return true;
}

void cx_statement_done(cx_statement **owner)
{
    cx_statement *statement = CX_TAKE(*owner);

    if (!statement)
        return;
    sqlite3_reset(statement->handle); /* its fault was told by the step already */
    sqlite3_clear_bindings(statement->handle);
    statement->bind_fault = SQLITE_OK;
    statement->in_use = false;
}

void cx_bind_text(cx_statement *statement, int at, const char *text)
{
    note_bind(statement, text ? sqlite3_bind_text64(statement->handle, at, text, strlen(text),
                                                    SQLITE_TRANSIENT, SQLITE_UTF8)
                              : sqlite3_bind_null(statement->handle, at));
}

void cx_bind_int(cx_statement *statement, int at, int64_t value)
{
    note_bind(statement, sqlite3_bind_int64(statement->handle, at, value));
}

void cx_bind_real(cx_statement *statement, int at, double value)
{
    note_bind(statement, sqlite3_bind_double(statement->handle, at, value));
}

void cx_bind_blob(cx_statement *statement, int at, cx_bytes bytes)
{
    /* A NULL pointer would bind NULL: an empty blob is a value. */
    note_bind(statement, bytes.size > 0 ? sqlite3_bind_blob64(statement->handle, at, bytes.data,
                                                              bytes.size, SQLITE_TRANSIENT)
                                        : sqlite3_bind_zeroblob(statement->handle, at, 0));
}

void cx_bind_null(cx_statement *statement, int at)
{
    note_bind(statement, sqlite3_bind_null(statement->handle, at));
}

bool cx_step(cx_statement *statement, bool *row, cx_err *err)
{
    int fault = statement->bind_fault;

    if (fault == SQLITE_OK)
        fault = sqlite3_step(statement->handle);
    *row = fault == SQLITE_ROW;
    if (fault == SQLITE_ROW || fault == SQLITE_DONE)
        return true;
    fail(statement->db, fault, err);
    /* A statement that failed must not keep its read lock until it is given back. */
    sqlite3_reset(statement->handle);
    return false;
}

bool cx_run_statement(cx_statement *statement, cx_err *err)
{
    bool row = true;

    while (row)
        if (!cx_step(statement, &row, err))
            return false;
    return true;
}

const char *cx_column_text(cx_statement *statement, int at)
{
    return (const char *)sqlite3_column_text(statement->handle, at);
}

int64_t cx_column_int(cx_statement *statement, int at)
{
    return sqlite3_column_int64(statement->handle, at);
}

double cx_column_real(cx_statement *statement, int at)
{
    return sqlite3_column_double(statement->handle, at);
}

cx_bytes cx_column_blob(cx_statement *statement, int at)
{
    const uint8_t *data = sqlite3_column_blob(statement->handle, at);

    return (cx_bytes){data, (size_t)sqlite3_column_bytes(statement->handle, at)};
}

bool cx_column_is_null(cx_statement *statement, int at)
{
    return sqlite3_column_type(statement->handle, at) == SQLITE_NULL;
}

int64_t cx_db_changes(cx_db *db)
{
    return sqlite3_changes64(db->handle);
}

int64_t cx_db_last_id(cx_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

sqlite3 *cx_db_handle(cx_db *db)
{
    return db->handle;
}

bool cx_db_fail(sqlite3 *handle, int fault, const char *path, cx_err *err)
{
    const char *reason = handle ? sqlite3_errmsg(handle) : sqlite3_errstr(fault);

    return cx_fail(err, code_of(handle, fault), "database %s: %s", path, reason);
}
