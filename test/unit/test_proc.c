#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/proc.h"
#include "base/time.h"

enum { TIMEOUT_MS = 30000 };

static cx_proc_result run(const char *script, cx_proc_spec spec)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    cx_proc_result result;
    cx_err err;

    spec.argv = argv;
    spec.timeout_ms = spec.timeout_ms ? spec.timeout_ms : TIMEOUT_MS;
    spec.output_max = spec.output_max ? spec.output_max : 65536;
    if (!cx_proc_run(&spec, &result, &err))
        fail_msg("%s: %s", script, err.message);
    return result;
}

static const char *text_of(const cx_buffer *buffer)
{
    return buffer->data ? (const char *)buffer->data : "";
}

static void output_errors_and_status_come_back(void **state)
{
    static const struct {
        const char *script, *output, *errors;
        int status;
    } rows[] = {
        {"echo out; echo err >&2; exit 7", "out\n", "err\n", 7},
        {"true", "", "", 0},
        {"kill -9 $$", "", "", 137},
        {"cat; echo end", "end\n", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_proc_result result = run(rows[i].script, (cx_proc_spec){0});

        assert_string_equal(text_of(&result.output), rows[i].output);
        assert_string_equal(text_of(&result.errors), rows[i].errors);
        assert_int_equal(result.status, rows[i].status);
        assert_false(result.timed_out);
        cx_proc_result_free(&result);
    }
}

static void megabytes_go_through_both_ways(void **state)
{
    size_t size = 5 * 1024 * 1024;
    CX_AUTO(cx_free) uint8_t *data = cx_alloc(size, 1);

    (void)state;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 31);
    cx_proc_result result =
        run("tee /dev/stderr", (cx_proc_spec){.input = {data, size}, .output_max = size});

    assert_true(cx_bytes_equal(cx_buffer_bytes(&result.output), (cx_bytes){data, size}));
    assert_true(cx_bytes_equal(cx_buffer_bytes(&result.errors), (cx_bytes){data, size}));
    cx_proc_result_free(&result);
}

static void more_output_than_wanted_is_dropped(void **state)
{
    cx_proc_result result = run("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 3",
                                (cx_proc_spec){.output_max = 1000});

    (void)state;
    assert_int_equal(result.output.size, 1000);
    assert_int_equal(result.errors.size, 1000);
    assert_int_equal(result.status, 3);
    cx_proc_result_free(&result);
}

static void a_command_that_does_not_read_is_no_fault(void **state)
{
    size_t size = 1024 * 1024;
    CX_AUTO(cx_free) uint8_t *data = cx_alloc(size, 1);
    cx_proc_result result = run("exec <&-; echo done", (cx_proc_spec){.input = {data, size}});

    (void)state;
    assert_string_equal(text_of(&result.output), "done\n");
    assert_int_equal(result.status, 0);
    cx_proc_result_free(&result);
}

static void folder_and_environment_are_set(void **state)
{
    const char *const env[] = {"CX_TEST_A=new", "CX_TEST_B=added", NULL};
    cx_proc_result result;

    (void)state;
    setenv("CX_TEST_A", "old", 1);
    setenv("CX_TEST_AA", "kept", 1);
    result = run("pwd; echo $CX_TEST_A $CX_TEST_AA $CX_TEST_B",
                 (cx_proc_spec){.folder = "/usr", .env = env});
    assert_string_equal(text_of(&result.output), "/usr\nnew kept added\n");
    cx_proc_result_free(&result);
}

static bool is_alive(const cx_proc_result *result)
{
    return kill((pid_t)atoi(text_of(&result->output)), 0) == 0;
}

static void the_deadline_ends_the_whole_group(void **state)
{
    int64_t started_ms = cx_now_ms();
    cx_proc_result result = run("sleep 600 & echo $!; wait", (cx_proc_spec){.timeout_ms = 300});

    (void)state;
    assert_true(result.timed_out);
    assert_int_equal(result.status, 128 + SIGTERM);
    assert_true(cx_now_ms() - started_ms < TIMEOUT_MS);
    for (int64_t end_ms = cx_now_ms() + TIMEOUT_MS; is_alive(&result) && cx_now_ms() < end_ms;)
        usleep(10000);
    assert_false(is_alive(&result));
    cx_proc_result_free(&result);
}

static void who_ignores_sigterm_is_killed(void **state)
{
    cx_proc_result result = run("trap '' TERM; echo $$; while true; do sleep 600; done",
                                (cx_proc_spec){.timeout_ms = 200});

    (void)state;
    assert_true(result.timed_out);
    assert_int_equal(result.status, 128 + SIGKILL);
    assert_false(is_alive(&result));
    cx_proc_result_free(&result);
}

static void what_is_left_running_does_not_hold_us(void **state)
{
    cx_proc_result result = run("sleep 600 & echo $!; exit 5", (cx_proc_spec){0});

    (void)state;
    assert_int_equal(result.status, 5);
    assert_false(result.timed_out);
    for (int64_t end_ms = cx_now_ms() + TIMEOUT_MS; is_alive(&result) && cx_now_ms() < end_ms;)
        usleep(10000);
    assert_false(is_alive(&result));
    cx_proc_result_free(&result);
}

static void signals_start_fresh_and_no_descriptor_leaks(void **state)
{
    int leaked = dup(STDERR_FILENO); /* without close-on-exec */
    cx_proc_result result;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    result = run("ls /proc/self/fd | wc -l; kill -PIPE $$; echo survived",
                 (cx_proc_spec){.input = {(const uint8_t *)"x", 1}});
    assert_string_equal(text_of(&result.output), "4\n"); /* 0, 1, 2 and the folder itself */
    assert_int_equal(result.status, 128 + SIGPIPE);
    cx_proc_result_free(&result);
    cx_fd_close(&leaked);
}

static void what_can_not_be_started_is_named(void **state)
{
    static const struct {
        const char *program, *folder;
        cx_code code;
    } rows[] = {
        {"no-such-program-here", NULL, CX_NOT_FOUND},
        {"/etc/passwd", NULL, CX_PERMISSION},
        {"true", "/no/such/folder", CX_NOT_FOUND},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        const char *const argv[] = {rows[i].program, NULL};
        cx_proc_spec spec = {.argv = argv, .folder = rows[i].folder, .timeout_ms = TIMEOUT_MS};
        cx_proc_result result;
        cx_err err;

        assert_false(cx_proc_run(&spec, &result, &err));
        if (err.code != rows[i].code || !strstr(err.message, rows[i].program))
            fail_msg("%s: %s: %s", rows[i].program, cx_code_word(err.code), err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_errors_and_status_come_back),
        cmocka_unit_test(megabytes_go_through_both_ways),
        cmocka_unit_test(more_output_than_wanted_is_dropped),
        cmocka_unit_test(a_command_that_does_not_read_is_no_fault),
        cmocka_unit_test(folder_and_environment_are_set),
        cmocka_unit_test(the_deadline_ends_the_whole_group),
        cmocka_unit_test(who_ignores_sigterm_is_killed),
        cmocka_unit_test(what_is_left_running_does_not_hold_us),
        cmocka_unit_test(signals_start_fresh_and_no_descriptor_leaks),
        cmocka_unit_test(what_can_not_be_started_is_named),
    };

    return cmocka_run_group_tests_name("proc", tests, NULL, NULL);
}
