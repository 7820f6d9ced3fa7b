/* A folder of its own for a test's database, and what is asked of it: for the tests of lib/base/db*. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/db.h"
#include "base/io.h"

struct fixture {
    char folder[64];
    char *path;
};

static inline int set_up(void **state)
{
    struct fixture *fixture = cx_alloc(1, sizeof(*fixture));

    strcpy(fixture->folder, "/tmp/cx-test-db-XXXXXX");
    if (!mkdtemp(fixture->folder))
        return -1;
    fixture->path = cx_path_join(fixture->folder, "state.db");
    *state = fixture;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    cx_err err;
    bool is_removed = cx_remove_tree(fixture->folder, &err);

    cx_free(&fixture->path);
    cx_free(&fixture);
    return is_removed ? 0 : -1;
}

static inline cx_db *open_at(const struct fixture *fixture, const char *const *migrations,
                             size_t count)
{
    cx_db *db = NULL;
    cx_err err;

    if (!cx_db_open(fixture->path, migrations, count, false, &db, &err))
        fail_msg("%s", err.message);
    return db;
}

/* The first number of the first row, -1 without one. */
static inline int64_t ask(cx_db *db, const char *sql)
{
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    bool row;
    cx_err err;

    if (!cx_db_prepare(db, sql, &statement, &err) || !cx_step(statement, &row, &err))
        fail_msg("%s: %s", sql, err.message);
    return row ? cx_column_int(statement, 0) : -1;
}
