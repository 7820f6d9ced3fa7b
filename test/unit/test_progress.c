#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/progress.h"

/* What a piece of work of 10 s with a step each 10 ms writes to stderr, given as the kind. */
static char *watch(const char *kind_text, cx_progress_kind kind, int64_t total)
{
    char text[65536];
    int saved = dup(STDERR_FILENO);
    FILE *file = tmpfile();
    cx_progress progress = cx_progress_start(kind_text, "reading", total, 1000);
    ssize_t size;

    if (kind != CX_PROGRESS_NONE)
        progress.kind = kind;
    dup2(fileno(file), STDERR_FILENO);
    for (int i = 0; i <= 1000; i++)
        cx_progress_set(&progress, i * 1000, 1000 + i * 10);
    cx_progress_end(&progress, 11000);
    cx_progress_set(&progress, 7, 99000);
    dup2(saved, STDERR_FILENO);
    close(saved);
    size = pread(fileno(file), text, sizeof(text) - 1, 0);
    fclose(file);
    assert_true(size >= 0);
    return cx_strndup(text, (size_t)size);
}

static void json_is_a_line_a_second(void **state)
{
    CX_AUTO(cx_free) char *text = watch("json", CX_PROGRESS_NONE, 1000000);
    char *rest = text, *line;
    int lines = 0;

    (void)state;
    assert_non_null(strstr(text, "\"done\":1000000,\"total\":1000000,\"elapsed_ms\":10000}\n"));
    while ((line = strsep(&rest, "\n")) && *line) {
        CX_AUTO(cx_json_free) json_t *json = NULL;
        cx_err err;

        assert_true(cx_json_parse(cx_bytes_of(line), 1000, "progress", &json, &err));
        assert_int_equal(json_integer_value(json_object_get(json, "total")), 1000000);
        lines++;
    }
    assert_true(lines >= 10 && lines <= 12);
}

static void a_bar_is_drawn_a_few_times_a_second_and_ends_its_line(void **state)
{
    CX_AUTO(cx_free) char *text = watch("none", CX_PROGRESS_BAR, 1000000);
    size_t drawn = 0;

    (void)state;
    for (const char *at = text; (at = strchr(at, '\r')); at++)
        drawn++;
    assert_true(drawn >= 40 && drawn <= 60);
    assert_non_null(strstr(text, "100%  1.0M/1.0M  100.0k/s"));
    assert_int_equal(text[strlen(text) - 1], '\n');
}

static void without_a_total_there_is_no_percentage(void **state)
{
    CX_AUTO(cx_free) char *text = watch("none", CX_PROGRESS_BAR, 0);

    (void)state;
    assert_null(strchr(text, '%'));
}

static void none_is_nothing(void **state)
{
    CX_AUTO(cx_free) char *text = watch("none", CX_PROGRESS_NONE, 10);

    (void)state;
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_a_line_a_second),
        cmocka_unit_test(a_bar_is_drawn_a_few_times_a_second_and_ends_its_line),
        cmocka_unit_test(without_a_total_there_is_no_percentage),
        cmocka_unit_test(none_is_nothing),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
