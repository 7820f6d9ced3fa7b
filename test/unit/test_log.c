#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/log.h"

struct fixture {
    char folder[64];
    char *path, *moved;
    cx_log log;
};

static int set_up(void **state)
{
    struct fixture *fixture = cx_alloc(1, sizeof *fixture);

    strcpy(fixture->folder, "/tmp/cx-test-log-XXXXXX");
    if (!mkdtemp(fixture->folder))
        return -1;
    fixture->path = cx_path_join(fixture->folder, "node.log");
    fixture->moved = cx_path_join(fixture->folder, "node.log.1");
    fixture->log = (cx_log){.program = "cx-test",
                            .level = CX_INFO,
                            .fd = open(fixture->path, O_WRONLY | O_CREAT | O_APPEND, 0640)};
    *state = fixture;
    return fixture->log.fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    cx_err err;
    bool is_removed = cx_remove_tree(fixture->folder, &err);

    cx_fd_close(&fixture->log.fd);
    cx_free(&fixture->path);
    cx_free(&fixture->moved);
    cx_free(&fixture);
    return is_removed ? 0 : -1;
}

static bool holds(const char *path, const char *event)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    cx_err err;

    if (!cx_read_file(path, 64 * 1024, &text, &err))
        fail_msg("%s", err.message);
    cx_buffer_add_text(&text, "");
    return strstr((const char *)text.data, event) != NULL;
}

static void after_a_rotation_lines_go_to_the_new_file_and_none_is_lost(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_free) char *place = cx_log_place(&fixture->log);
    struct stat info;
    cx_err err;

    assert_string_equal(place, fixture->path);
    cx_log_write(&fixture->log, CX_INFO, "before", NULL);
    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    cx_log_write(&fixture->log, CX_INFO, "between", NULL);
    assert_true(cx_log_reopen(&fixture->log, place, &err));
    cx_log_write(&fixture->log, CX_INFO, "after", NULL);

    assert_true(holds(fixture->moved, "before") && holds(fixture->moved, "between"));
    assert_false(holds(fixture->moved, "after"));
    assert_true(holds(fixture->path, "after"));
    assert_int_equal(stat(fixture->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

static void a_file_that_was_not_moved_stays_in_use(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_free) char *place = cx_log_place(&fixture->log);
    cx_err err;

    cx_log_write(&fixture->log, CX_INFO, "first", NULL);
    assert_true(cx_log_reopen(&fixture->log, place, &err));
    cx_log_write(&fixture->log, CX_INFO, "second", NULL);
    assert_true(holds(fixture->path, "first") && holds(fixture->path, "second"));
}

static void where_no_new_file_can_be_made_the_old_one_stays_in_use(void **state)
{
    struct fixture *fixture = *state;
    CX_AUTO(cx_free) char *place = cx_log_place(&fixture->log);
    cx_err err;

    assert_int_equal(rename(fixture->path, fixture->moved), 0);
    assert_int_equal(symlink("/nowhere", fixture->path), 0);
    assert_false(cx_log_reopen(&fixture->log, place, &err));
    cx_log_write(&fixture->log, CX_INFO, "still", NULL);
    assert_true(holds(fixture->moved, "still"));
}

static void a_pipe_has_no_place(void **state)
{
    int ends[2];
    cx_log log;
    cx_err err;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    log = (cx_log){.program = "cx-test", .fd = ends[1]};
    assert_null(cx_log_place(&log));
    assert_true(cx_log_reopen(&log, NULL, &err));
    cx_fd_close(&ends[0]);
    cx_fd_close(&ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(after_a_rotation_lines_go_to_the_new_file_and_none_is_lost,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_not_moved_stays_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_no_new_file_can_be_made_the_old_one_stays_in_use,
                                        set_up, tear_down),
        cmocka_unit_test(a_pipe_has_no_place),
    };

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
