/* The node's mode: drain and maintenance, what they allow, what they remember. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/mode.h"

enum { NOW_MS = 1000000 };

static node_mode entered(const char *request_text, cx_err *err)
{
    node_mode mode = {0};
    CX_AUTO(cx_json_free) json_t *json = json_loads(request_text, 0, NULL);
    CX_AUTO(node_drain_request_free) node_drain_request request = {0};
    bool changed;

    if (node_drain_request_parse(json, &request, err))
        assert_true(node_mode_enter(&mode, &request, "operator/ann", NOW_MS, &changed, err));
    return mode;
}

static void a_drain_leads_to_drained_and_refuses_only_messages(void **state)
{
    cx_err err = {0};
    node_mode mode = entered("{\"reason\":\"disk\"}", &err);

    (void)state;
    assert_int_equal(mode.state, NODE_DRAINING);
    assert_false(node_mode_check(&mode, "node-1", "send", &err));
    assert_int_equal(err.code, CX_DRAINING);
    assert_non_null(strstr(err.message, "operator/ann"));
    assert_non_null(strstr(err.message, "disk"));
    assert_true(node_mode_check(&mode, "node-1", "deploy", &err));
    node_mode_drained(&mode, NOW_MS + 2500);
    assert_int_equal(mode.state, NODE_DRAINED);
    assert_int_equal(mode.waited_ms, 2500);
    node_mode_exit(&mode);
    assert_int_equal(mode.state, NODE_ACTIVE);
    assert_true(node_mode_check(&mode, "node-1", "send", &err));
}

static void maintenance_allows_what_its_list_says(void **state)
{
    static const struct {
        const char *request;
        const char *operation;
        bool allowed;
    } rows[] = {
        {"{\"mode\":\"maintenance\"}", "send", false},
        {"{\"mode\":\"maintenance\"}", "restart", true},
        {"{\"mode\":\"maintenance\",\"allow\":[\"restart\"]}", "restart", true},
        {"{\"mode\":\"maintenance\",\"allow\":[\"restart\"]}", "deploy", false},
        {"{\"mode\":\"maintenance\",\"allow\":[\"send\"]}", "send", true},
        {"{\"mode\":\"maintenance\",\"allow\":[\"send\"]}", "restart", false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_err err = {0};
        node_mode mode = entered(rows[i].request, &err);

        node_mode_drained(&mode, NOW_MS);
        assert_int_equal(mode.state, NODE_MAINTENANCE);
        if (node_mode_check(&mode, "node-1", rows[i].operation, &err) != rows[i].allowed)
            fail_msg("%s: %s", rows[i].request, rows[i].operation);
        node_mode_free(&mode);
    }
}

static void maintenance_is_over_at_its_end_and_not_before(void **state)
{
    cx_err err = {0};
    node_mode mode = entered("{\"mode\":\"maintenance\",\"duration_ms\":5000}", &err);

    (void)state;
    assert_false(node_mode_is_over(&mode, NOW_MS + 4999));
    assert_true(node_mode_is_over(&mode, NOW_MS + 5000));
    node_mode_free(&mode);
    assert_false(node_mode_is_over(&mode, NOW_MS + 5000));
}

static void entering_twice_changes_nothing_and_a_drained_node_goes_on_to_maintenance(void **state)
{
    cx_err err = {0};
    node_mode mode = entered("{}", &err);
    node_drain_request again = {.suspend_below = NODE_NORMAL};
    node_drain_request maintenance = {.maintenance = true, .duration_ms = 1000};
    bool changed = true;

    (void)state;
    assert_true(node_mode_enter(&mode, &again, "operator/bob", NOW_MS + 1, &changed, &err));
    assert_false(changed);
    assert_string_equal(mode.owner, "operator/ann");
    node_mode_drained(&mode, NOW_MS + 2);
    assert_true(node_mode_enter(&mode, &maintenance, "operator/bob", NOW_MS + 3, &changed, &err));
    assert_true(changed);
    assert_int_equal(mode.state, NODE_MAINTENANCE);
    assert_false(node_mode_enter(&mode, &again, "operator/eve", NOW_MS + 4, &changed, &err));
    assert_int_equal(err.code, CX_BUSY);
    node_mode_free(&mode);
}

static void what_is_written_reads_back(void **state)
{
    cx_err err = {0};
    node_mode mode = entered("{\"mode\":\"maintenance\",\"duration_ms\":5000,\"reason\":\"r\","
                             "\"allow\":[\"restart\",\"retry\"],\"suspend_below\":\"critical\"}",
                             &err);
    node_mode back;

    (void)state;
    cx_list_add(&mode.suspended, "agent-1");

    CX_AUTO(cx_json_free) json_t *json = node_mode_to_json(&mode);

    assert_true(node_mode_from_json(json, &back, &err));

    CX_AUTO(cx_json_free) json_t *again = node_mode_to_json(&back);

    assert_true(json_equal(json, again));
    node_mode_free(&mode);
    node_mode_free(&back);
}

static void a_request_that_can_not_be_is_refused_by_name(void **state)
{
    static const struct {
        const char *request;
        const char *named;
    } rows[] = {
        {"{\"mode\":\"sleep\"}", "mode"},
        {"{\"modee\":\"drain\"}", "modee"},
        {"{\"duration_ms\":5}", "duration_ms"},
        {"{\"mode\":\"maintenance\",\"allow\":[\"restrat\"]}", "restrat"},
        {"{\"mode\":\"maintenance\",\"allow\":[7]}", "allow[0]"},
        {"{\"suspend_below\":\"tiny\"}", "suspend_below"},
        {"{\"mode\":\"maintenance\",\"duration_ms\":-1}", "duration_ms"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_err err = {0};
        node_mode mode = entered(rows[i].request, &err);

        if (err.code != CX_INVALID || strstr(err.message, rows[i].named) == NULL)
            fail_msg("%s: %s", rows[i].request, err.message);
        node_mode_free(&mode);
    }
}

static void a_file_that_is_none_of_ours_is_refused(void **state)
{
    static const char *const rows[] = {
        "{}",
        "{\"state\":\"asleep\"}",
        "{\"state\":7}",
        "[]",
        "{\"state\":\"drained\",\"suspended\":[\"../x\"]}",
        "{\"state\":\"drained\",\"entered_at\":\"yesterday\"}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = json_loads(rows[i], 0, NULL);
        cx_err err = {0};
        node_mode mode;

        if (node_mode_from_json(json, &mode, &err))
            fail_msg("%s was taken", rows[i]);
        node_mode_free(&mode);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drain_leads_to_drained_and_refuses_only_messages),
        cmocka_unit_test(maintenance_allows_what_its_list_says),
        cmocka_unit_test(maintenance_is_over_at_its_end_and_not_before),
        cmocka_unit_test(entering_twice_changes_nothing_and_a_drained_node_goes_on_to_maintenance),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_request_that_can_not_be_is_refused_by_name),
        cmocka_unit_test(a_file_that_is_none_of_ours_is_refused),
    };

    return cmocka_run_group_tests_name("node_mode", tests, NULL, NULL);
}
