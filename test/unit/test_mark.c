#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mark.h"
#include "base/time.h"

static void life_is_judged_by_host_boot_process_and_start(void **state)
{
    const cx_mark mark = {
        .host = "host-1", .boot_id = "boot-1", .pid = 4711, .started_ticks = 1000};
    static const struct {
        const char *name;
        cx_mark_view view;
        cx_life life;
    } rows[] = {
        {"it runs", {"host-1", "boot-1", 1000, true}, CX_LIFE_ALIVE},
        {"nobody has its number", {"host-1", "boot-1", 0, false}, CX_LIFE_DEAD},
        {"another process has its number", {"host-1", "boot-1", 2000, true}, CX_LIFE_DEAD},
        {"its number is used by one that is hidden",
         {"host-1", "boot-1", 0, true},
         CX_LIFE_UNKNOWN},
        {"the host has booted since", {"host-1", "boot-2", 1000, true}, CX_LIFE_DEAD},
        {"another host", {"host-2", "boot-2", 0, false}, CX_LIFE_UNKNOWN},
        {"another host with the same boot id (a container)",
         {"host-2", "boot-1", 0, false},
         CX_LIFE_UNKNOWN},
        {"no boot id here", {"host-1", "", 0, false}, CX_LIFE_UNKNOWN},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (cx_mark_judge(&mark, &rows[i].view) != rows[i].life)
            fail_msg("%s", rows[i].name);
}

static void a_mark_that_says_too_little_proves_nothing(void **state)
{
    const cx_mark whole = {.host = "h", .boot_id = "b", .pid = 1, .started_ticks = 1};
    const cx_mark_view view = {.host = "h", .boot_id = "b"};
    cx_mark mark = whole;

    (void)state;
    assert_int_equal(cx_mark_judge(&mark, &view), CX_LIFE_DEAD);
    mark.pid = 0;
    assert_int_equal(cx_mark_judge(&mark, &view), CX_LIFE_UNKNOWN);
    mark = whole;
    mark.started_ticks = 0;
    assert_int_equal(cx_mark_judge(&mark, &view), CX_LIFE_UNKNOWN);
    mark = whole;
    mark.host[0] = '\0';
    assert_int_equal(cx_mark_judge(&mark, &view), CX_LIFE_UNKNOWN);
    mark = whole;
    mark.boot_id[0] = '\0';
    assert_int_equal(cx_mark_judge(&mark, &view), CX_LIFE_UNKNOWN);
}

static void our_own_process_is_alive_and_its_child_dead_once_it_ended(void **state)
{
    cx_mark mark;
    cx_err err;
    int ends[2];
    char byte;
    pid_t child;

    (void)state;
    assert_true(cx_mark_of(getpid(), &mark, &err));
    assert_int_equal(cx_mark_life(&mark), CX_LIFE_ALIVE);
    assert_true(mark.started_at_ms > 0 && mark.started_at_ms <= cx_wall_ms());
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) < 0);
    }
    close(ends[0]);
    assert_true(cx_mark_of(child, &mark, &err));
    assert_int_equal(cx_mark_life(&mark), CX_LIFE_ALIVE);
    close(ends[1]);
    /* A zombie has ended. */
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(cx_mark_life(&mark), CX_LIFE_DEAD);
    waitpid(child, NULL, 0);
    assert_int_equal(cx_mark_life(&mark), CX_LIFE_DEAD);
    assert_false(cx_mark_of(child, &mark, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
}

static void a_mark_comes_back_from_its_document(void **state)
{
    CX_AUTO(cx_json_free) json_t *json = json_object();
    cx_mark mark, read;
    cx_err err;

    (void)state;
    assert_true(cx_mark_of(getpid(), &mark, &err));
    cx_mark_put(json, &mark);
    assert_true(cx_mark_get(json, "mark", &read, &err));
    assert_string_equal(read.host, mark.host);
    assert_string_equal(read.boot_id, mark.boot_id);
    assert_int_equal(read.pid, mark.pid);
    assert_int_equal(read.started_ticks, mark.started_ticks);
    assert_int_equal(read.started_at_ms, mark.started_at_ms);
}

static void a_document_of_a_stranger_is_checked(void **state)
{
    static const char *const rows[] = {
        "{\"host\":1}",
        "{\"pid\":-1}",
        "{\"pid\":4294967296}",
        "{\"started_at\":\"soon\"}",
        "{\"boot_id\":\"0123456789012345678901234567890123456789\"}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = json_loads(rows[i], 0, NULL);
        cx_mark mark;
        cx_err err;

        if (cx_mark_get(json, "mark", &mark, &err) || err.code != CX_INVALID)
            fail_msg("%s", rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(life_is_judged_by_host_boot_process_and_start),
        cmocka_unit_test(a_mark_that_says_too_little_proves_nothing),
        cmocka_unit_test(our_own_process_is_alive_and_its_child_dead_once_it_ended),
        cmocka_unit_test(a_mark_comes_back_from_its_document),
        cmocka_unit_test(a_document_of_a_stranger_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
