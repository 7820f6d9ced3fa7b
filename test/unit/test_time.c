#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/time.h"

static void a_time_is_written_as_rfc_3339(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {1795513841123, "2026-11-24T09:50:41.123Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
    };
    char text[CX_TIME_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        assert_string_equal(cx_time_text(rows[i].ms, text), rows[i].text);
}

static void times_are_read_in_any_offset(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"2026-11-24T09:50:41.123Z", 1795513841123},
        {"2026-11-24T11:50:41.123+02:00", 1795513841123},
        {"2026-11-24T04:20:41.123456789-05:30", 1795513841123},
        {"2026-11-24t09:50:41.1z", 1795513841100},
        {"2026-11-24 09:50:41Z", 1795513841000},
        {"1970-01-01", 0},
        {"2000-02-29", 951782400000},
        {"0000-01-01T00:00:00Z", -62167219200000},
        {"2016-12-31T23:59:60Z", 1483228800000},
    };
    int64_t ms;
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (!cx_time_parse(rows[i].text, &ms, &err) || ms != rows[i].ms)
            fail_msg("%s: %" PRId64, rows[i].text, ms);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "now",
        "2026",
        "2026-11-24T09:50:41",
        "2026-11-24T09:50Z",
        "2026-11-24T",
        "2026-11-24T09:50:41Zx",
        "2026-11-24T09:50:41.Z",
        "2026-11-24T09:50:41.1234567890Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T09:60:00Z",
        "2026-11-24T09:50:61Z",
        "2026-11-24T09:50:41+2:00",
        "2026-11-24T09:50:41+24:00",
        "2026-13-01",
        "2026-00-01",
        "2026-02-29",
        "2100-02-29",
        "2026-04-31",
        "-026-04-01",
        " 2026-04-01",
        "2026-04-01 ",
    };
    int64_t ms = 42;
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (cx_time_parse(rows[i], &ms, &err) || ms != 42 || err.code != CX_INVALID)
            fail_msg("'%s' is accepted", rows[i]);
}

/* The C library's calendar is the reference. */
static void every_day_of_four_centuries_is_the_c_librarys(void **state)
{
    char text[CX_TIME_TEXT_SIZE];
    char expected[CX_TIME_TEXT_SIZE];

    (void)state;
    for (time_t day = -73000; day < 73100; day++) {
        time_t seconds = day * 86400 + 3661;
        struct tm parts;
        int64_t ms;
        cx_err err;

        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
        if (strcmp(cx_time_text(seconds * 1000, text), expected) != 0 ||
            !cx_time_parse(text, &ms, &err) || ms != seconds * 1000)
            fail_msg("%s is not %s", text, expected);
    }
}

static void durations_come_back_in_their_largest_exact_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
        const char *written;
    } rows[] = {
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"250ms", 250, "250ms"},
        {"1500ms", 1500, "1500ms"},
        {"90s", 90000, "90s"},
        {"60s", 60000, "1m"},
        {"90m", 5400000, "90m"},
        {"1h", 3600000, "1h"},
        {"30d", 2592000000, "30d"},
        {"2w", 1209600000, "14d"},
        {"007s", 7000, "7s"},
    };
    char text[CX_TIME_TEXT_SIZE];
    int64_t ms;
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        assert_true(cx_duration_parse(rows[i].text, &ms, &err));
        assert_int_equal(ms, rows[i].ms);
        assert_string_equal(cx_duration_text(ms, text), rows[i].written);
    }
    assert_string_equal(cx_duration_text(-5000, text), "-5s");
    assert_string_equal(cx_duration_text(INT64_MIN, text), "-9223372036854775808ms");
}

static void what_is_no_duration_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "5",
        "00",
        "s",
        "-5s",
        "+5s",
        "5 s",
        "5S",
        "1.5h",
        "1h30m",
        "5min",
        "99999999999999999d",
        "9223372036854775808ms",
    };
    int64_t ms = 42;
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (cx_duration_parse(rows[i], &ms, &err) || ms != 42 || err.code != CX_INVALID)
            fail_msg("'%s' is accepted", rows[i]);
}

static void sizes_are_powers_of_1024(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } rows[] = {
        {"0", 0},
        {"512", 512},
        {"512B", 512},
        {"64K", 65536},
        {"64k", 65536},
        {"64KiB", 65536},
        {"64KB", 65536},
        {"10M", 10485760},
        {"2G", 2147483648},
        {"1T", 1099511627776},
        {"9223372036854775807", INT64_MAX},
    };
    static const char *const wrong[] = {
        "", "K", "-1", "1.5G", "1 K", "1KX", "1iB", "1P", "9223372036854775808", "9999999999999T",
    };
    int64_t bytes;
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (!cx_size_parse(rows[i].text, &bytes, &err) || bytes != rows[i].bytes)
            fail_msg("%s: %" PRId64, rows[i].text, bytes);
    for (size_t i = 0; i < CX_COUNT(wrong); i++)
        if (cx_size_parse(wrong[i], &bytes, &err) || err.code != CX_INVALID)
            fail_msg("'%s' is accepted", wrong[i]);
}

static void the_clocks_run(void **state)
{
    int64_t now_ms = cx_now_ms();

    (void)state;
    assert_true(now_ms > 0 && cx_now_ms() >= now_ms);
    assert_true(cx_wall_ms() > 1700000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_written_as_rfc_3339),
        cmocka_unit_test(times_are_read_in_any_offset),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(every_day_of_four_centuries_is_the_c_librarys),
        cmocka_unit_test(durations_come_back_in_their_largest_exact_unit),
        cmocka_unit_test(what_is_no_duration_is_refused),
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(the_clocks_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
