/* A SQLite database as one consistent file, taken while others write to it.
 *
 * By SQLite's backup API in a single step: a reader's view of one moment (in WAL mode nobody waits),
 * with every page in its place, so that what did not change stays the same byte for byte. VACUUM INTO
 * would move the pages. */
#pragma once

#include "base/err.h"

/* Whether the file begins as a SQLite database does. folder: as of openat(2). */
bool cx_snapshot_is_database(int folder, const char *name);
/* The same of a file's first bytes. */
bool cx_snapshot_is_header(cx_bytes head);
/* Copies path to copy, which must not be there. BUSY after 10 s of waiting for a writer. */
CX_MUST_CHECK bool cx_snapshot_take(const char *path, const char *copy, cx_err *err);
/* Whether a database that nobody uses is whole (PRAGMA quick_check): CORRUPT else. */
CX_MUST_CHECK bool cx_snapshot_check(const char *path, cx_err *err);
