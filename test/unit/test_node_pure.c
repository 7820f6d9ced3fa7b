#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/backoff.h"
#include "node/lines.h"
#include "node/window.h"

/* ---- back-off */

static node_backoff fresh(void)
{
    return (node_backoff){.first_ms = 100, .max_ms = 1000, .healthy_ms = 5000};
}

static void waits_double_up_to_the_limit(void **state)
{
    static const int64_t most[] = {100, 200, 400, 800, 1000, 1000};
    node_backoff backoff = fresh();

    (void)state;
    for (size_t i = 0; i < CX_COUNT(most); i++) {
        node_backoff copy = backoff;
        int64_t shortest = node_backoff_after(&copy, 0, 0);
        int64_t longest = node_backoff_after(&backoff, 0, (uint32_t)(most[i] / 5));

        if (longest != most[i] || shortest != most[i] - most[i] / 5)
            fail_msg("failure %zu: %d to %d ms", i, (int)shortest, (int)longest);
    }
}

static void who_lasted_long_enough_starts_counting_anew(void **state)
{
    node_backoff backoff = fresh();

    (void)state;
    for (int i = 0; i < 4; i++)
        node_backoff_after(&backoff, 4999, 0);
    assert_int_equal(backoff.failures, 4);
    assert_in_range(node_backoff_after(&backoff, 5000, 0), 80, 100);
    assert_int_equal(backoff.failures, 1);
}

static void a_wait_near_the_end_of_the_numbers_does_not_wrap(void **state)
{
    node_backoff backoff = {
        .first_ms = 1, .max_ms = INT64_C(1) << 31, .healthy_ms = 5000, .failures = UINT32_MAX};

    (void)state;
    assert_true(node_backoff_after(&backoff, 0, UINT32_MAX) > 0);
    assert_int_equal(backoff.failures, UINT32_MAX);
}

/* ---- lines */

static void feed(node_lines *lines, const char *text)
{
    node_lines_add(lines, cx_bytes_of(text));
}

static void expect_line(node_lines *lines, const char *wanted)
{
    cx_bytes line = {0};

    assert_int_equal(node_lines_next(lines, &line), NODE_LINE_WHOLE);
    if (!cx_bytes_equal(line, cx_bytes_of(wanted)))
        fail_msg("'%.*s' instead of '%s'", (int)line.size, (const char *)line.data, wanted);
}

static void expect_none(node_lines *lines)
{
    cx_bytes line = {0};

    assert_int_equal(node_lines_next(lines, &line), NODE_LINE_NONE);
}

static void lines_come_out_however_the_bytes_came_in(void **state)
{
    static const char text[] = "one\n\ntwo and more\nthree\n";

    (void)state;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        CX_AUTO(node_lines_free) node_lines lines = {.line_max = 16};
        const char *wanted[] = {"one", "", "two and more", "three"};
        size_t found = 0;
        cx_bytes line = {0};

        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t left = sizeof text - 1 - at;

            node_lines_add(&lines,
                           (cx_bytes){(const uint8_t *)text + at, left < piece ? left : piece});
            while (node_lines_next(&lines, &line) == NODE_LINE_WHOLE)
                assert_true(cx_bytes_equal(line, cx_bytes_of(wanted[found++])));
        }
        assert_int_equal(found, CX_COUNT(wanted));
    }
}

static void a_line_that_is_too_long_is_told_once_and_dropped(void **state)
{
    CX_AUTO(node_lines_free) node_lines lines = {.line_max = 4};
    cx_bytes line = {0};

    (void)state;
    feed(&lines, "12345");
    assert_int_equal(node_lines_next(&lines, &line), NODE_LINE_TOO_LONG);
    for (int i = 0; i < 100; i++) {
        feed(&lines, "more of it");
        expect_none(&lines);
    }
    assert_true(lines.buffer.size < 100);
    feed(&lines, "end\nok\n");
    expect_line(&lines, "ok");
    feed(&lines, "12345\nfits\n");
    assert_int_equal(node_lines_next(&lines, &line), NODE_LINE_TOO_LONG);
    expect_line(&lines, "fits");
    feed(&lines, "1234");
    expect_none(&lines);
    feed(&lines, "\n");
    expect_line(&lines, "1234");
}

/* ---- windows */

static void percentiles_are_nearest_ranks_of_the_last_minutes(void **state)
{
    node_latency latency = {.capacity = 200};
    node_latency_summary summary;

    (void)state;
    for (int64_t i = 1; i <= 100; i++)
        node_latency_add(&latency, i, 1000);
    summary = node_latency_summarize(&latency, 2000);
    assert_int_equal((int)summary.p50_ms, 50);
    assert_int_equal((int)summary.p99_ms, 99);
    assert_int_equal((int)summary.max_ms, 100);
    assert_int_equal(summary.count, 100);
    assert_int_equal(node_latency_summarize(&latency, 1001 + NODE_WINDOW_MS).count, 0);
    node_latency_free(&latency);
    assert_int_equal(node_latency_summarize(&latency, 0).count, 0);
}

static void only_the_latest_values_are_kept(void **state)
{
    node_latency latency = {.capacity = 3};

    (void)state;
    for (int64_t i = 1; i <= 10; i++)
        node_latency_add(&latency, i, 0);
    assert_int_equal(node_latency_summarize(&latency, 0).count, 3);
    assert_int_equal((int)node_latency_summarize(&latency, 0).p50_ms, 9);
    node_latency_free(&latency);
}

static void outcomes_are_forgotten_after_the_window(void **state)
{
    node_rate rate = {0};
    uint64_t done = 0, failed = 0;

    (void)state;
    node_rate_add(&rate, false, 100000);
    node_rate_add(&rate, true, 100000);
    node_rate_add(&rate, false, 200000);
    node_rate_sum(&rate, 250000, &done, &failed);
    assert_int_equal(done, 2);
    assert_int_equal(failed, 1);
    node_rate_sum(&rate, 100000 + NODE_WINDOW_MS, &done, &failed);
    assert_int_equal(done, 1);
    assert_int_equal(failed, 0);
    node_rate_sum(&rate, 100000 + 10 * NODE_WINDOW_MS, &done, &failed);
    assert_int_equal(done, 0);
}

static void a_histogram_counts_each_value_once(void **state)
{
    node_histogram histogram = {0};
    uint64_t sum = 0;

    (void)state;
    node_histogram_add(&histogram, 0);
    node_histogram_add(&histogram, 1);
    node_histogram_add(&histogram, 3);
    node_histogram_add(&histogram, 1000000);
    for (size_t i = 0; i < NODE_HISTOGRAM_BOUNDS; i++)
        sum += histogram.counts[i];
    assert_int_equal(histogram.counts[0], 2);
    assert_int_equal(sum, 3);
    assert_int_equal(histogram.count, 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_the_limit),
        cmocka_unit_test(who_lasted_long_enough_starts_counting_anew),
        cmocka_unit_test(a_wait_near_the_end_of_the_numbers_does_not_wrap),
        cmocka_unit_test(lines_come_out_however_the_bytes_came_in),
        cmocka_unit_test(a_line_that_is_too_long_is_told_once_and_dropped),
        cmocka_unit_test(percentiles_are_nearest_ranks_of_the_last_minutes),
        cmocka_unit_test(only_the_latest_values_are_kept),
        cmocka_unit_test(outcomes_are_forgotten_after_the_window),
        cmocka_unit_test(a_histogram_counts_each_value_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
