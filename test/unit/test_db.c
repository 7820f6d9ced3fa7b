#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db_fixture.h"

static const char *const migrations[] = {
    "CREATE TABLE node (id TEXT PRIMARY KEY, weight REAL, state BLOB);"
    "INSERT INTO node VALUES ('first', 1.5, x'00ff');",
    "CREATE TABLE task (id INTEGER PRIMARY KEY, node TEXT NOT NULL REFERENCES node (id));",
    "ALTER TABLE node ADD COLUMN zone TEXT;",
};

static const char *const faulty[] = {
    "CREATE TABLE node (id TEXT PRIMARY KEY);",
    "CREATE TABLE half (id TEXT); CREATE TABLE node (id TEXT);",
};

static cx_db *open_with(const struct fixture *fixture, size_t count)
{
    return open_at(fixture, migrations, count);
}

static void a_new_file_is_private_durable_and_of_the_last_version(void **state)
{
    struct fixture *fixture = *state;
    mode_t before = umask(0);
    CX_AUTO(cx_db_close) cx_db *db = open_with(fixture, CX_COUNT(migrations));
    struct stat found;

    umask(before);
    assert_int_equal(stat(fixture->path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(ask(db, "PRAGMA user_version"), 3);
    assert_int_equal(ask(db, "PRAGMA synchronous"), 2);
    assert_int_equal(ask(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(ask(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
}

static void an_older_file_is_migrated_and_a_newer_one_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = open_with(fixture, 1);
    CX_AUTO(cx_buffer_free) cx_buffer before = {0};
    CX_AUTO(cx_buffer_free) cx_buffer after = {0};
    cx_db *refused = NULL;
    cx_err err;

    assert_int_equal(ask(db, "PRAGMA user_version"), 1);
    cx_db_close(&db);
    assert_false(cx_db_open(fixture->path, migrations, 3, true, &refused, &err));
    assert_int_equal(err.code, CX_CONFIG);
    db = open_with(fixture, 3);
    assert_int_equal(ask(db, "PRAGMA user_version"), 3);
    assert_int_equal(ask(db, "SELECT count(*) FROM node WHERE zone IS NULL"), 1);
    cx_db_close(&db);

    assert_true(cx_read_file(fixture->path, 1 << 20, &before, &err));
    assert_false(cx_db_open(fixture->path, migrations, 2, false, &refused, &err));
    assert_int_equal(err.code, CX_CONFIG);
    assert_non_null(strstr(err.message, "version 3"));
    assert_non_null(strstr(err.message, "up to 2"));
    assert_true(cx_read_file(fixture->path, 1 << 20, &after, &err));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&before), cx_buffer_bytes(&after)));
    assert_null(refused);
}

static void a_migration_that_fails_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    cx_err err;

    assert_false(cx_db_open(fixture->path, faulty, 2, false, &db, &err));
    assert_non_null(strstr(err.message, "migration 2"));
    assert_true(cx_db_open(fixture->path, faulty, 1, false, &db, &err));
    assert_int_equal(ask(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
}

static void opening_again_writes_nothing(void **state)
{
    const struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *first = open_with(fixture, 3);
    CX_AUTO(cx_db_close) cx_db *second = NULL;
    CX_AUTO(cx_free) char *wal = cx_format("%s-wal", fixture->path);
    struct stat before, after;

    assert_int_equal(ask(first, "PRAGMA auto_vacuum"), 2);
    assert_int_equal(stat(wal, &before), 0);
    second = open_with(fixture, 3);
    assert_int_equal(stat(wal, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
}

static void reading_needs_a_file_and_writes_nothing(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = NULL;
    CX_AUTO(cx_db_close) cx_db *reader = NULL;
    cx_err err;

    assert_false(cx_db_open(fixture->path, migrations, 3, true, &reader, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_false(cx_exists(fixture->path));
    db = open_with(fixture, 3);
    assert_true(cx_db_open(fixture->path, migrations, 3, true, &reader, &err));
    assert_int_equal(ask(reader, "SELECT count(*) FROM node"), 1);
    assert_false(cx_db_exec(reader, "DELETE FROM node", &err));
    assert_int_equal(err.code, CX_PERMISSION);
}

static void values_come_back_as_they_were_bound(void **state)
{
    CX_AUTO(cx_db_close) cx_db *db = open_with(*state, 1);
    CX_AUTO(cx_statement_done) cx_statement *statement = NULL;
    uint8_t blob[] = {1, 0, 2};
    bool row;
    cx_err err;

    assert_true(cx_db_prepare(db, "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7", &statement, &err));
    cx_bind_text(statement, 1, "t\xc3\xa4xt");
    cx_bind_int(statement, 2, INT64_MIN);
    cx_bind_real(statement, 3, 0.1);
    cx_bind_blob(statement, 4, (cx_bytes){blob, sizeof(blob)});
    cx_bind_null(statement, 5);
    cx_bind_text(statement, 6, NULL);
    cx_bind_blob(statement, 7, (cx_bytes){0});
    assert_true(cx_step(statement, &row, &err));
    assert_true(row);
    assert_string_equal(cx_column_text(statement, 0), "t\xc3\xa4xt");
    assert_true(cx_column_int(statement, 1) == INT64_MIN);
    assert_true(cx_column_real(statement, 2) == 0.1);
    assert_true(cx_bytes_equal(cx_column_blob(statement, 3), (cx_bytes){blob, sizeof(blob)}));
    assert_true(cx_column_is_null(statement, 4) && cx_column_text(statement, 4) == NULL);
    assert_true(cx_column_is_null(statement, 5));
    assert_true(!cx_column_is_null(statement, 6) && cx_column_blob(statement, 6).size == 0);
    assert_true(cx_step(statement, &row, &err));
    assert_false(row);
}

static void a_statement_given_back_comes_unbound(void **state)
{
    CX_AUTO(cx_db_close) cx_db *db = open_with(*state, 1);
    cx_err err;

    for (int i = 0; i < 3; i++) {
        CX_AUTO(cx_statement_done) cx_statement *outer = NULL;
        CX_AUTO(cx_statement_done) cx_statement *inner = NULL;
        bool row;

        assert_true(cx_db_prepare(db, "SELECT ?1", &outer, &err));
        assert_true(cx_db_prepare(db, "SELECT ?1", &inner, &err)); /* while the other is in use */
        assert_ptr_not_equal(outer, inner);
        assert_true(cx_step(outer, &row, &err) && row);
        assert_true(cx_column_is_null(outer, 0));
        cx_bind_int(inner, 1, 7);
        assert_true(cx_step(inner, &row, &err) && row);
        assert_int_equal(cx_column_int(inner, 0), 7);
    }
}

static void transactions_are_all_or_nothing(void **state)
{
    CX_AUTO(cx_db_close) cx_db *db = open_with(*state, 3);
    CX_AUTO(cx_statement_done) cx_statement *insert = NULL;
    cx_err err;

    assert_true(cx_db_begin(db, &err));
    assert_true(cx_db_prepare(db, "INSERT INTO task (node) VALUES (?1)", &insert, &err));
    cx_bind_text(insert, 1, "first");
    assert_true(cx_run_statement(insert, &err));
    assert_int_equal(cx_db_changes(db), 1);
    assert_int_equal(cx_db_last_id(db), 1);
    cx_db_rollback(db);
    cx_db_rollback(db);
    assert_int_equal(ask(db, "SELECT count(*) FROM task"), 0);
}

static void faults_have_codes(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = open_with(fixture, 3);
    static const struct {
        const char *sql;
        cx_code code;
    } rows[] = {
        {"INSERT INTO node (id) VALUES ('first')", CX_EXISTS},
        {"INSERT INTO task (node) VALUES ('nobody')", CX_INTERNAL},
        {"nonsense", CX_INTERNAL},
    };
    cx_err err;

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        assert_false(cx_db_exec(db, rows[i].sql, &err));
        assert_int_equal(err.code, rows[i].code);
        assert_non_null(strstr(err.message, fixture->path));
    }
    cx_db_close(&db);
    assert_true(cx_replace(fixture->path, 0600,
                           cx_bytes_of("this is no database at all, only text"), &err));
    assert_false(cx_db_open(fixture->path, migrations, 3, false, &db, &err));
    assert_int_equal(err.code, CX_CORRUPT);
    assert_false(cx_db_open("/no/such/folder/x.db", migrations, 3, false, &db, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
}

/* Each process opens a file that is not there yet and adds to it: one migrates, none is refused. */
static void many_processes_may_begin_at_once(void **state)
{
    enum { PROCESSES = 8, ROWS = 5 };
    struct fixture *fixture = *state;
    pid_t pids[PROCESSES];

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        cx_db *db = NULL;
        cx_err err;
        bool fine = cx_db_open(fixture->path, migrations, 3, false, &db, &err);

        for (int j = 0; fine && j < ROWS; j++)
            fine = cx_db_begin(db, &err) &&
                   cx_db_exec(db, "INSERT INTO task (node) VALUES ('first')", &err) &&
                   cx_db_commit(db, &err);
        if (!fine)
            fprintf(stderr, "%s\n", err.message);
        cx_db_close(&db);
        _exit(fine ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    CX_AUTO(cx_db_close) cx_db *db = open_with(fixture, 3);

    assert_int_equal(ask(db, "SELECT count(*) FROM task"), PROCESSES * ROWS);
}

/* For all that use SQLite: also those that open and copy a database by themselves. */
static void each_result_of_sqlite_has_its_code(void **state)
{
    static const struct {
        int fault;
        cx_code code;
    } rows[] = {
        {SQLITE_BUSY, CX_BUSY},
        {SQLITE_BUSY_SNAPSHOT, CX_BUSY},
        {SQLITE_LOCKED, CX_BUSY},
        {SQLITE_FULL, CX_IO},
        {SQLITE_IOERR_FSYNC, CX_IO},
        {SQLITE_CORRUPT, CX_CORRUPT},
        {SQLITE_NOTADB, CX_CORRUPT},
        {SQLITE_PERM, CX_PERMISSION},
        {SQLITE_READONLY_DBMOVED, CX_PERMISSION},
        {SQLITE_CANTOPEN_SYMLINK, CX_PERMISSION},
        {SQLITE_CANTOPEN, CX_CANT_CREATE},
        {SQLITE_CONSTRAINT_PRIMARYKEY, CX_EXISTS},
        {SQLITE_CONSTRAINT_CHECK, CX_INTERNAL},
        {SQLITE_MISUSE, CX_INTERNAL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_err err = {0};

        assert_false(cx_db_fail(NULL, rows[i].fault, "a.db", &err));
        if (err.code != rows[i].code || strstr(err.message, "database a.db: ") == NULL)
            fail_msg("%d: %s: %s", rows[i].fault, cx_code_word(err.code), err.message);
    }
}

static void what_can_not_be_opened_is_told_in_the_words_of_the_system(void **state)
{
    struct fixture *fixture = *state;
    cx_db *db = NULL;
    cx_err err = {0};

    assert_int_equal(mkdir(fixture->path, 0700), 0);
    assert_false(cx_db_open(fixture->path, migrations, 1, false, &db, &err));
    assert_int_equal(err.code, cx_code_from_errno(EISDIR));
    assert_null(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_result_of_sqlite_has_its_code),
        cmocka_unit_test_setup_teardown(what_can_not_be_opened_is_told_in_the_words_of_the_system,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_file_is_private_durable_and_of_the_last_version,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_older_file_is_migrated_and_a_newer_one_is_left_alone,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_migration_that_fails_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opening_again_writes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_needs_a_file_and_writes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_come_back_as_they_were_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_statement_given_back_comes_unbound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transactions_are_all_or_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(faults_have_codes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_processes_may_begin_at_once, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
