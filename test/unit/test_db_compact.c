#include <fcntl.h>
#include <unistd.h>

#include "base/db_compact.h"
#include "db_fixture.h"

static const char *const migrations[] = {"CREATE TABLE message (id INTEGER PRIMARY KEY, body);"};

/* 8 MB of rows, of which every tenth stays. */
#define FILL                                                                         \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)" \
    " INSERT INTO message SELECT i, randomblob(4000) FROM n"
#define EMPTY "DELETE FROM message WHERE id % 10 <> 0"

static cx_db *open_ours(const struct fixture *fixture)
{
    return open_at(fixture, migrations, 1);
}

static void exec(cx_db *db, const char *sql)
{
    cx_err err;

    if (!cx_db_exec(db, sql, &err))
        fail_msg("%s: %s", sql, err.message);
}

/* One as programs before this one made it. */
static void make_old(const struct fixture *fixture)
{
    sqlite3 *database = NULL;

    assert_int_equal(sqlite3_open(fixture->path, &database), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "PRAGMA journal_mode = WAL; PRAGMA user_version = 1;", 0, 0, 0),
        SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, migrations[0], 0, 0, 0), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, FILL ";" EMPTY, 0, 0, 0), SQLITE_OK);
    sqlite3_close(database);
}

static cx_db_compacted compact(const struct fixture *fixture, const cx_db_compact_options *options)
{
    cx_db_compacted done;
    cx_err err;

    if (!cx_db_compact(fixture->path, options, &done, &err))
        fail_msg("%s", err.message);
    return done;
}

static int64_t count_rows(const struct fixture *fixture)
{
    CX_AUTO(cx_db_close) cx_db *db = open_ours(fixture);

    return ask(db, "SELECT count(*) FROM message");
}

static void space_is_given_back_while_the_owner_has_it_open(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = open_ours(fixture);
    cx_db_compact_options options = {0};
    cx_db_compacted done;

    exec(db, FILL);
    exec(db, EMPTY);
    done = compact(fixture, &(cx_db_compact_options){.dry_run = true});
    assert_true(done.changed && done.after_bytes == done.before_bytes);
    done = compact(fixture, &options);
    assert_true(done.changed && !done.rebuilt && !done.log_in_use);
    assert_true(done.free_bytes > 6 * 1000 * 1000);
    assert_true(done.after_bytes < 2 * 1000 * 1000);
    exec(db, "INSERT INTO message VALUES (1, 'after')");
    assert_int_equal(count_rows(fixture), 201);
    done = compact(fixture, &options);
    assert_false(done.changed);
}

static void little_free_space_is_left_to_the_owner(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_db_close) cx_db *db = open_ours(fixture);
    cx_db_compact_options options = {.min_free_bytes = 100 * 1000 * 1000};

    exec(db, FILL);
    exec(db, EMPTY);
    assert_false(compact(fixture, &options).changed);
}

static void an_old_file_is_rewritten_once_when_it_is_small_enough(void **state)
{
    struct fixture *fixture = *state;
    cx_db_compact_options options = {.rebuild_max_bytes = 1000 * 1000};
    cx_db_compacted done;

    make_old(fixture);
    done = compact(fixture, &options);
    assert_true(done.too_large && !done.changed && done.after_bytes > 8 * 1000 * 1000);
    options.rebuild_max_bytes = 100 * 1000 * 1000;
    done = compact(fixture, &options);
    assert_true(done.changed && done.rebuilt && done.after_bytes < 2 * 1000 * 1000);
    done = compact(fixture, &options);
    assert_false(done.changed || done.rebuilt);
    assert_int_equal(count_rows(fixture), 200);
}

static void a_damaged_file_is_named_and_left_alone(void **state)
{
    struct fixture *fixture = *state;
    cx_db_compact_options options = {.rebuild_max_bytes = 100 * 1000 * 1000};
    CX_AUTO(cx_buffer_free) cx_buffer before = {0};
    CX_AUTO(cx_buffer_free) cx_buffer after = {0};
    char noise[8192];
    cx_db_compacted done;
    cx_err err = {0};

    make_old(fixture);
    memset(noise, 0xa5, sizeof noise);
    CX_AUTO(cx_fd_close) int fd = open(fixture->path, O_RDWR);

    assert_true(pwrite(fd, noise, sizeof noise, 3 * 4096) == (ssize_t)sizeof noise);
    assert_true(cx_read_file(fixture->path, 64 * 1000 * 1000, &before, &err));
    assert_false(cx_db_compact(fixture->path, &options, &done, &err));
    assert_int_equal(err.code, CX_CORRUPT);
    assert_true(cx_read_file(fixture->path, 64 * 1000 * 1000, &after, &err));
    assert_int_equal(before.size, after.size);
    assert_memory_equal(before.data, after.data, before.size);
    assert_false(cx_db_compact("/nowhere/state.db", &options, &done, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
}

static void a_link_above_the_file_is_followed_and_the_file_itself_is_none(void **state)
{
    struct fixture *fixture = *state;
    cx_db_compact_options options = {.rebuild_max_bytes = 100 * 1000 * 1000};
    CX_AUTO(cx_free) char *folder = cx_format("%s/link", fixture->folder);
    CX_AUTO(cx_free) char *path = cx_format("%s/state.db", folder);
    CX_AUTO(cx_free) char *file = cx_format("%s/link.db", fixture->folder);
    cx_db_compacted done;
    cx_err err = {0};

    make_old(fixture);
    assert_int_equal(symlink(".", folder), 0);
    if (!cx_db_compact(path, &options, &done, &err))
        fail_msg("%s", err.message);
    assert_true(done.rebuilt);
    assert_int_equal(symlink("state.db", file), 0);
    assert_false(cx_db_compact(file, &options, &done, &err));
    assert_int_equal(err.code, CX_PERMISSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(space_is_given_back_while_the_owner_has_it_open, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(little_free_space_is_left_to_the_owner, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_old_file_is_rewritten_once_when_it_is_small_enough,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_named_and_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_link_above_the_file_is_followed_and_the_file_itself_is_none, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("db_compact", tests, NULL, NULL);
}
