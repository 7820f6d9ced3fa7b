#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "config/policy.h"

static void a_condition_is_read_in_the_policys_own_words(void **state)
{
    static const struct {
        const char *text;
        cx_condition expected;
    } rows[] = {
        {"cpu_usage < 80%",
         {.name = "cpu_usage", CX_BELOW, 80, "percent", "", .threshold = "< 80%"}},
        {"cpu_usage<80%", {.name = "cpu_usage", CX_BELOW, 80, "percent", "", .threshold = "< 80%"}},
        {"  error_rate  >=  0.5 %  ",
         {.name = "error_rate", CX_ABOVE_OR_EQUAL, 0.5, "percent", "", .threshold = ">= 0.5 %"}},
        {"node_unreachable > 60s",
         {.name = "node_unreachable", CX_ABOVE, 60, "seconds", "", .threshold = "> 60s"}},
        {"p99 <= 100ms", {.name = "p99", CX_BELOW_OR_EQUAL, 0.1, "seconds", "", "<= 100ms"}},
        {"cert_expiry < 30d",
         {.name = "cert_expiry", CX_BELOW, 2592000, "seconds", "", .threshold = "< 30d"}},
        {"rss > 5M", {.name = "rss", CX_ABOVE, 5 * 1048576, "bytes", "", .threshold = "> 5M"}},
        {"age > 5m", {.name = "age", CX_ABOVE, 300, "seconds", "", .threshold = "> 5m"}},
        {"queue_depth < 1000", {.name = "queue_depth", CX_BELOW, 1000, "", "", "< 1000"}},
        {"agent_count < max_agents",
         {.name = "agent_count", CX_BELOW, 0, "", "max_agents", "< max_agents"}},
        {"partition_detected", {.name = "partition_detected"}},
        {"error_rate > 0%", {.name = "error_rate", CX_ABOVE, 0, "percent", "", "> 0%"}},
        {"error_rate > 100%", {.name = "error_rate", CX_ABOVE, 100, "percent", "", "> 100%"}},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        const cx_condition *expected = &rows[i].expected;
        cx_condition condition = {0};
        cx_err err = {0};

        if (!cx_condition_parse(rows[i].text, &condition, &err))
            fail_msg("%s: %s", rows[i].text, err.message);
        if (strcmp(condition.name, expected->name) != 0 || condition.compare != expected->compare ||
            fabs(condition.value - expected->value) > 1e-9 ||
            strcmp(condition.unit, expected->unit) != 0 ||
            strcmp(condition.symbol, expected->symbol) != 0 ||
            strcmp(condition.threshold, expected->threshold) != 0)
            fail_msg("%s: %s %d %g %s %s '%s'", rows[i].text, condition.name,
                     (int)condition.compare, condition.value, condition.unit, condition.symbol,
                     condition.threshold);
    }
}

static void what_is_no_condition_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "   ",
        "80%",
        "< 80%",
        "Cpu_usage < 80%",
        "cpu usage < 80%",
        "cpu_usage 80%",
        "cpu_usage <",
        "cpu_usage < ",
        "cpu_usage = 80%",
        "cpu_usage == 80%",
        "cpu_usage < -1%",
        "cpu_usage < 101%",
        "cpu_usage < 80x",
        "cpu_usage < 80 % 9",
        "cpu_usage < 1.",
        "cpu_usage < .5",
        "cpu_usage < 1..2",
        "cpu_usage < 0x10",
        "cpu_usage < 1e3",
        "cpu_usage < inf%",
        "cpu_usage < max agents",
        "cpu_usage < max_agents%",
        "cpu_usage < 1234567890123456",
        "cpu_usage < 80% < 90%",
        "a\nb < 1",
        "this_is_a_name_that_has_many_more_characters_than_there_is_room_for < 1",
        "a < this_is_a_name_that_has_many_more_characters_than_there_is_room_for_",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_condition condition = {.name = "untouched"};
        cx_err err = {0};

        if (cx_condition_parse(rows[i], &condition, &err))
            fail_msg("'%s' was taken", rows[i]);
        assert_int_equal(err.code, CX_INVALID);
        assert_string_equal(condition.name, "untouched");
    }
}

static void a_value_is_printed_as_a_number(void **state)
{
    static const struct {
        const char *text;
        const char *json;
    } rows[] = {
        {"x < 80%", "80"},
        {"x < 0.5%", "0.5"},
        {"x < limit", "null"},
        {"x", "null"},
        {"x < 888888444444444G", "9.5443669967029997e23"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_condition condition = {0};
        CX_AUTO(cx_json_free) json_t *json = NULL;
        CX_AUTO(cx_free) char *value = NULL;
        cx_err err = {0};

        assert_true(cx_condition_parse(rows[i].text, &condition, &err));
        json = cx_condition_to_json(&condition);
        value = json_dumps(json_object_get(json, "value"), JSON_ENCODE_ANY);
        assert_string_equal(value, rows[i].json);
    }
}

static void a_condition_holds_on_its_side_of_the_threshold(void **state)
{
    static const struct {
        const char *text;
        double value;
        double symbol;
        bool holds;
    } rows[] = {
        {"x < 80%", 79.9, 0, true}, {"x < 80%", 80, 0, false},    {"x <= 80%", 80, 0, true},
        {"x > 60s", 60, 0, false},  {"x > 60s", 60.1, 0, true},   {"x >= 60s", 60, 0, true},
        {"x < limit", 9, 10, true}, {"x < limit", 10, 10, false}, {"x", 0, 0, true},
        {"x < 80%", NAN, 0, false}, {"x > 80%", NAN, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_condition condition = {0};
        cx_err err = {0};

        assert_true(cx_condition_parse(rows[i].text, &condition, &err));
        if (cx_condition_holds(&condition, rows[i].value, rows[i].symbol) != rows[i].holds)
            fail_msg("%s with %g", rows[i].text, rows[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_is_read_in_the_policys_own_words),
        cmocka_unit_test(what_is_no_condition_is_refused),
        cmocka_unit_test(a_value_is_printed_as_a_number),
        cmocka_unit_test(a_condition_holds_on_its_side_of_the_threshold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
