#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "health/judge.h"
#include "health/print.h"

static cx_condition condition(const char *text)
{
    cx_condition parsed = {0};
    cx_err err = {0};

    if (!cx_condition_parse(text, &parsed, &err))
        fail_msg("%s: %s", text, err.message);
    return parsed;
}

static const char *status_of(const json_t *checks, size_t at)
{
    return cx_json_text_or_empty(json_array_get(checks, at), "status");
}

static void each_line_that_is_crossed_makes_it_worse(void **state)
{
    static const struct {
        const char *name;
        const char *healthy, *critical, *alarm, *warning;
        double value;
        const char *status;
    } rows[] = {
        {"within", "x < 80%", NULL, NULL, NULL, 79.9, "ok"},
        {"at the threshold", "x < 80%", NULL, NULL, NULL, 80, "critical"},
        {"a warning's alert", "x < 80%", NULL, NULL, "x > 70%", 75, "warning"},
        {"violated, but not critical yet", "x < 80%", "x < 95%", NULL, NULL, 90, "warning"},
        {"the line for critical", "x < 80%", "x < 95%", NULL, NULL, 95, "critical"},
        {"a critical alert draws the line too", "x < 1%", NULL, "x > 5%", NULL, 3, "warning"},
        {"the critical alert", "x < 1%", NULL, "x > 5%", NULL, 5.1, "critical"},
        {"a critical alert within the threshold", "x < 80%", NULL, "x > 50%", NULL, 60, "critical"},
        {"expiry counts down", "x > 7d", NULL, NULL, "x < 30d", 20 * 86400.0, "warning"},
        {"expired", "x > 7d", NULL, NULL, "x < 30d", -1, "critical"},
        {"a symbol's value", "x < max_agents", NULL, NULL, NULL, 9, "ok"},
        {"at the symbol's value", "x < max_agents", NULL, NULL, NULL, 10, "critical"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_health_policy policy = {0};
        cx_check_rule *rule = &policy.rules[CX_CHECK_CPU];
        CX_AUTO(cx_json_free) json_t *checks = json_array();

        rule->wanted = true;
        rule->healthy = condition(rows[i].healthy);
        if (rows[i].critical != NULL)
            rule->critical = condition(rows[i].critical);
        if (rows[i].alarm != NULL)
            rule->alarm = condition(rows[i].alarm);
        if (rows[i].warning != NULL)
            rule->warning = condition(rows[i].warning);
        cx_judge(&policy, (cx_judged){"node", "n", CX_CHECK_CPU}, rows[i].value, 10, NULL, checks);
        if (strcmp(status_of(checks, 0), rows[i].status) != 0)
            fail_msg("%s: %s", rows[i].name, status_of(checks, 0));
    }
}

static void the_policy_decides_which_checks_there_are(void **state)
{
    static const char text[] =
        "{\"health_checks\":{\"node_health\":{\"conditions\":["
        "{\"name\":\"cpu_usage\",\"threshold\":\"< 50%\",\"critical\":"
        "{\"name\":\"cpu_usage\",\"threshold\":\"< 60%\"}},"
        "{\"name\":\"message_processing_time\",\"threshold\":\"< 1s\",\"critical\":null},"
        "{\"name\":\"from_the_future\",\"threshold\":\"< 1\"}]}}}";
    CX_AUTO(cx_json_free) json_t *health = NULL;
    cx_health_policy policy = {0};
    cx_err err = {0};

    (void)state;
    assert_true(cx_json_parse(cx_bytes_of(text), sizeof text, "policy", &health, &err));
    assert_true(cx_health_policy_read(health, NULL, &policy, &err));

    assert_true(policy.rules[CX_CHECK_CPU].wanted);
    assert_string_equal(policy.rules[CX_CHECK_CPU].critical.threshold, "< 60%");
    assert_false(policy.rules[CX_CHECK_MEMORY].wanted);
    /* A threshold of its own makes the built-in line for critical void. */
    assert_int_equal(policy.rules[CX_CHECK_PROCESSING_TIME].critical.compare, CX_BARE);
    /* These are not in the operators' words and are there all the same. */
    assert_true(policy.rules[CX_CHECK_CERT_EXPIRY].wanted);
}

static void the_gravest_status_is_that_of_all(void **state)
{
    static const struct {
        const char *checks;
        cx_health health;
    } rows[] = {
        {"[]", CX_HEALTH_OK},
        {"[{\"status\":\"ok\"},{\"status\":\"warning\"}]", CX_HEALTH_WARNING},
        {"[{\"status\":\"unknown\"},{\"status\":\"warning\"}]", CX_HEALTH_UNKNOWN},
        {"[{\"status\":\"critical\"},{\"status\":\"unknown\"},{\"status\":\"ok\"}]",
         CX_HEALTH_CRITICAL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *checks = json_loads(rows[i].checks, 0, NULL);

        if (cx_health_of(checks) != rows[i].health)
            fail_msg("%s: %s", rows[i].checks, cx_health_word(cx_health_of(checks)));
    }
}

static void a_message_can_not_break_out_of_its_line(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *checks = json_pack("[{s:s, s:s, s:s, s:f, s:s, s:s, s:s}]", "scope", "node", "node_id",
                               "n\"\n\\", "name", "cpu_usage", "value", 1.0, "unit", "percent",
                               "status", "critical", "message", "a|b\nCX OK");
    CX_AUTO(cx_buffer_free) cx_buffer nagios = {0};
    CX_AUTO(cx_buffer_free) cx_buffer prometheus = {0};

    (void)state;
    cx_health_nagios(checks, &nagios);
    cx_health_prometheus(checks, &prometheus);

    assert_null(strstr((const char *)nagios.data, "\nCX OK"));
    assert_null(strstr((const char *)nagios.data, "n\"\n"));
    assert_non_null(strstr((const char *)prometheus.data, "node_id=\"n\\\"\\n\\\\\""));
}

static void a_series_is_printed_once_however_many_looks_made_it(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *checks =
        json_pack("[{s:s, s:s, s:s, s:s}, {s:s, s:s, s:s, s:s}]", "scope", "node", "node_id", "n1",
                  "name", "node_reachable", "status", "critical", "scope", "node", "node_id", "n1",
                  "name", "node_reachable", "status", "critical");
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    const char *line;

    (void)state;
    cx_health_prometheus(checks, &text);
    line = strstr((const char *)text.data, "cx_check_status{");
    assert_non_null(line);
    assert_null(strstr(line + 1, "cx_check_status{"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_that_is_crossed_makes_it_worse),
        cmocka_unit_test(the_policy_decides_which_checks_there_are),
        cmocka_unit_test(the_gravest_status_is_that_of_all),
        cmocka_unit_test(a_message_can_not_break_out_of_its_line),
        cmocka_unit_test(a_series_is_printed_once_however_many_looks_made_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
