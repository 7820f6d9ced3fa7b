#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/selection.h"
#include "base/time.h"

static const char *const ids[] = {"echo", "slow"};

static void all_that_is_asked_for_must_hold(void **state)
{
    static const struct {
        const char *name;
        cx_agent_selection selection;
        const char *agent;
        bool selected;
    } rows[] = {
        {"nothing asked: any", {0}, "{\"id\":\"x\"}", true},
        {"by id", {.ids = ids, .id_count = 2}, "{\"id\":\"slow\"}", true},
        {"another id", {.ids = ids, .id_count = 2}, "{\"id\":\"x\"}", false},
        {"priority", {.priority = "low"}, "{\"id\":\"x\",\"priority\":\"low\"}", true},
        {"another priority", {.priority = "low"}, "{\"id\":\"x\",\"priority\":\"normal\"}", false},
        {"state and priority",
         {.priority = "low", .state = "running"},
         "{\"id\":\"x\",\"priority\":\"low\",\"state\":\"failed\"}",
         false},
        {"idle for an hour",
         {.inactive_for_ms = 3600000},
         "{\"id\":\"x\",\"last_active\":\"2026-01-01T11:00:00Z\"}",
         true},
        {"idle for less",
         {.inactive_for_ms = 3600000},
         "{\"id\":\"x\",\"last_active\":\"2026-01-01T11:00:01Z\"}",
         false},
        {"never active, started long ago",
         {.inactive_for_ms = 3600000},
         "{\"id\":\"x\",\"last_active\":null,\"started_at\":\"2025-12-31T00:00:00Z\"}",
         true},
        {"nothing known about activity", {.inactive_for_ms = 1}, "{\"id\":\"x\"}", false},
        {"a time that is none",
         {.inactive_for_ms = 1},
         "{\"id\":\"x\",\"last_active\":\"yesterday\"}",
         false},
        {"idle, but work is queued",
         {.inactive_for_ms = 3600000},
         "{\"id\":\"x\",\"queued\":1,\"last_active\":\"2025-01-01T00:00:00Z\"}",
         false},
        {"a clock ahead of ours",
         {.inactive_for_ms = 1},
         "{\"id\":\"x\",\"last_active\":\"2026-01-01T12:05:00Z\"}",
         false},
        {"slow by its latency",
         {.slow_threshold_ms = 10000},
         "{\"id\":\"x\",\"latency_ms\":{\"p50\":1,\"p99\":10000}}",
         true},
        {"slow since it hangs",
         {.slow_threshold_ms = 10000},
         "{\"id\":\"x\",\"latency_ms\":{\"p99\":null},\"oldest_in_flight_seconds\":11}",
         true},
        {"fast", {.slow_threshold_ms = 10000}, "{\"id\":\"x\",\"latency_ms\":{\"p99\":9}}", false},
    };
    int64_t now_ms = 0;
    cx_err err = {0};

    (void)state;
    assert_true(cx_time_parse("2026-01-01T12:00:00Z", &now_ms, &err));
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *agent = NULL;

        assert_true(cx_json_parse(cx_bytes_of(rows[i].agent), 4096, rows[i].name, &agent, &err));
        if (cx_agent_selected(agent, &rows[i].selection, now_ms) != rows[i].selected)
            fail_msg("%s: selected %d", rows[i].name, !rows[i].selected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_is_asked_for_must_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
