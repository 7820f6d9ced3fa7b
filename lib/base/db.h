/* SQLite: one file of state, opened safely, migrated forward, changed in transactions.
 *
 * WAL, synchronous=FULL (what a commit acknowledged is durable), foreign keys on, a busy time-out.
 * user_version counts the migrations that have run; a database from a newer program is refused
 * (CONFIG, with both versions in the message) and not touched. Codes: BUSY after 10 s of waiting for
 * a lock, IO (disk full too), CORRUPT, EXISTS for a unique key that is there already. A connection
 * belongs to one thread at a time. */
#pragma once

#include <sqlite3.h>

#include "base/json.h"

typedef struct cx_db cx_db;
typedef struct cx_statement cx_statement;

/* migrations[i] is SQL that leads from user_version i to i + 1; each runs in its own transaction.
 * The file gets mode 0600. read_only: fails with NOT_FOUND when it isn't there, and with CONFIG when
 * it has not seen all migrations, since it runs none. */
CX_MUST_CHECK bool cx_db_open(const char *path, const char *const *migrations, size_t count,
                              bool read_only, cx_db **db, cx_err *err);
void cx_db_close(cx_db **owner);
/* How many migrations the database at path has seen, whatever this program knows; nothing is written.
 * NOT_FOUND when it isn't there. */
CX_MUST_CHECK bool cx_db_version(const char *path, int64_t *version, cx_err *err);

/* Runs SQL without results (many statements are fine). */
CX_MUST_CHECK bool cx_db_exec(cx_db *db, const char *sql, cx_err *err);
/* BEGIN IMMEDIATE, COMMIT; after a failure inside a transaction, of the commit too, the caller rolls
 * back (harmless when there is nothing to roll back). */
CX_MUST_CHECK bool cx_db_begin(cx_db *db, cx_err *err);
CX_MUST_CHECK bool cx_db_commit(cx_db *db, cx_err *err);
void cx_db_rollback(cx_db *db);

/* A prepared statement from the connection's cache (keyed by the text, which must be a literal).
 * It comes reset and unbound; cx_statement_done gives it back. */
CX_MUST_CHECK bool cx_db_prepare(cx_db *db, const char *sql, cx_statement **statement, cx_err *err);
void cx_statement_done(cx_statement **owner);

/* Parameters count from 1. Texts and blobs are copied. NULL text binds NULL. */
void cx_bind_text(cx_statement *statement, int at, const char *text);
void cx_bind_int(cx_statement *statement, int at, int64_t value);
void cx_bind_real(cx_statement *statement, int at, double value);
void cx_bind_blob(cx_statement *statement, int at, cx_bytes bytes);
void cx_bind_null(cx_statement *statement, int at);

/* *row tells whether there is a row to read. */
CX_MUST_CHECK bool cx_step(cx_statement *statement, bool *row, cx_err *err);
/* Steps a statement that returns no rows to its end. */
CX_MUST_CHECK bool cx_run_statement(cx_statement *statement, cx_err *err);

/* Columns count from 0; texts and blobs live until the next step. NULL columns: NULL, 0, {0}. */
const char *cx_column_text(cx_statement *statement, int at);
int64_t cx_column_int(cx_statement *statement, int at);
double cx_column_real(cx_statement *statement, int at);
cx_bytes cx_column_blob(cx_statement *statement, int at);
bool cx_column_is_null(cx_statement *statement, int at);

int64_t cx_db_changes(cx_db *db); /* rows changed by the last statement */
int64_t cx_db_last_id(cx_db *db); /* rowid of the last insert */
sqlite3 *cx_db_handle(cx_db *db); /* for the backup API; do not close */
/* Fails with what SQLite says, as all above do: for who uses SQLite itself on the database at path.
 * fault: its result code; handle may be NULL. */
bool cx_db_fail(sqlite3 *handle, int fault, const char *path, cx_err *err);
