#include "alert_scene.h"

/* ---- states */

static void a_value_runs_through_the_states(void **state)
{
    const double x = NAN;
    const struct {
        const char *name, *alert, *check;
        struct {
            int64_t at_s;
            double value;
            const char *state;
        } steps[10];
    } rows[] = {
        {"without a duration it fires at once, and resolves at the second clear look",
         "disk",
         "disk_usage",
         {{0, 79, ""}, {10, 81, "firing"}, {20, 50, "firing"}, {30, 50, "resolved"}}},
        {"at the threshold is not above it", "disk", "disk_usage", {{0, 80, ""}}},
        {"a duration must pass",
         "cpu",
         "cpu_usage",
         {{0, 90, "pending"}, {150, 90, "pending"}, {299, 90, "pending"}, {300, 90, "firing"}}},
        {"what clears before its duration never fires",
         "cpu",
         "cpu_usage",
         {{0, 90, "pending"},
          {150, 90, "pending"},
          {290, 60, ""},
          {300, 90, "pending"},
          {450, 90, "pending"},
          {599, 90, "pending"},
          {600, 90, "firing"}}},
        {"one clear look between is no end",
         "disk",
         "disk_usage",
         {{0, 90, "firing"},
          {10, 50, "firing"},
          {20, 90, "firing"},
          {30, 50, "firing"},
          {40, 50, "resolved"}}},
        {"on the line it stays",
         "disk",
         "disk_usage",
         {{0, 80.1, "firing"},
          {10, 79.9, "firing"},
          {20, 78.5, "firing"},
          {30, 79, "firing"},
          {40, 78.3, "firing"},
          {50, 78.3, "resolved"}}},
        {"below its line: days left",
         "cert",
         "cert_expiry",
         {{0, 31 * 86400.0, ""},
          {10, 29 * 86400.0, "firing"},
          {20, 30.5 * 86400, "firing"},
          {30, 90 * 86400.0, "firing"},
          {40, 90 * 86400.0, "resolved"}}},
        {"a symbol's value is its line",
         "full",
         "agent_count",
         {{0, 9, ""}, {10, 10, "firing"}, {20, 9, "firing"}, {30, 9, "resolved"}}},
        {"unknown neither fires nor resolves",
         "disk",
         "disk_usage",
         {{0, x, ""},
          {10, 90, "firing"},
          {20, x, "firing"},
          {30, x, "firing"},
          {40, 50, "firing"},
          {50, x, "firing"},
          {60, 50, "resolved"}}},
        {"a duration goes on over a gap that is short",
         "cpu",
         "cpu_usage",
         {{0, 90, "pending"}, {100, x, "pending"}, {170, 90, "pending"}, {300, 90, "firing"}}},
        {"after a long gap the duration begins anew",
         "cpu",
         "cpu_usage",
         {{0, 90, "pending"},
          {100, x, "pending"},
          {301, 90, "pending"},
          {450, 90, "pending"},
          {601, 90, "firing"}}},
        {"a pending one that stays unknown goes away",
         "cpu",
         "cpu_usage",
         {{0, 90, "pending"}, {400, x, "pending"}, {481, x, ""}}},
        {"it may come again",
         "disk",
         "disk_usage",
         {{0, 90, "firing"}, {10, 50, "firing"}, {20, 50, "resolved"}, {30, 90, "firing"}}},
        {"a clock that was set back delays nothing",
         "cpu",
         "cpu_usage",
         {{5000, 90, "pending"}, {0, 90, "pending"}, {150, 90, "pending"}, {300, 90, "firing"}}},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(scene_close) struct scene scene;

        scene_open(&scene, "node-1");
        for (size_t j = 0; j < CX_COUNT(rows[i].steps) && rows[i].steps[j].state != NULL; j++) {
            look(&scene, rows[i].check, "node-2", rows[i].steps[j].value, rows[i].steps[j].at_s);
            if (strcmp(state_of(&scene, rows[i].alert, "node-2"), rows[i].steps[j].state) != 0)
                fail_msg("%s: step %zu: %s", rows[i].name, j,
                         state_of(&scene, rows[i].alert, "node-2"));
        }
    }
}

static void a_bare_condition_follows_the_status_of_its_check(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_status(&scene, "agent_responsiveness", "node-2", "ok", 0);
    assert_string_equal(state_of(&scene, "mute", "node-2"), "");
    look_status(&scene, "agent_responsiveness", "node-2", "warning", 1);
    assert_string_equal(state_of(&scene, "mute", "node-2"), "firing");
    look_status(&scene, "partition_detection", NULL, "unknown", 2);
    assert_string_equal(state_of(&scene, "split", "prod"), "");
    look_status(&scene, "partition_detection", NULL, "critical", 3);
    assert_string_equal(state_of(&scene, "split", "prod"), "firing");
}

static void a_node_is_down_when_it_was_away_for_the_threshold(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_at_node(&scene, "node-2", true, 0);
    assert_string_equal(state_of(&scene, "down", "node-2"), "pending");
    look_at_node(&scene, "node-2", true, 60);
    assert_string_equal(state_of(&scene, "down", "node-2"), "pending");
    look_at_node(&scene, "node-2", true, 61);
    assert_string_equal(state_of(&scene, "down", "node-2"), "firing");
    assert_true(cx_alerts_find(scene.alerts, "down", "node-2")->since_ms == start_ms);
    look_at_node(&scene, "node-2", false, 70);
    look_at_node(&scene, "node-2", false, 80);
    assert_string_equal(state_of(&scene, "down", "node-2"), "resolved");
    /* Gossip knows since when. */
    cx_alerts_look_at_node(scene.alerts, &scene.rules, "node-3", true, start_ms, "failed",
                           start_ms + 90000, scene.changes);
    assert_string_equal(state_of(&scene, "down", "node-3"), "firing");
}

static void each_change_is_told_to_the_history_once(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    static const char *const words[] = {"pending", "cleared", "pending", "firing", "resolved"};
    static const double values[] = {90, 50, 90, 90, 90, 50, 50};

    (void)state;
    scene_open(&scene, "node-1");
    for (size_t i = 0; i < CX_COUNT(values); i++)
        look(&scene, "cpu_usage", "node-2", values[i], (int64_t)i * 150);
    assert_int_equal(json_array_size(scene.changes), CX_COUNT(words));
    for (size_t i = 0; i < CX_COUNT(words); i++)
        assert_string_equal(cx_json_text_or_empty(json_array_get(scene.changes, i), "state"),
                            words[i]);
}

static void what_left_the_cluster_or_the_policy_is_resolved(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    CX_AUTO(cx_list_free) cx_list subjects = {0};

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    look(&scene, "cpu_usage", "node-3", 90, 0);
    look_status(&scene, "cluster_membership", NULL, "warning", 0);
    cx_list_add(&subjects, "node-1");
    cx_alerts_forget(scene.alerts, &scene.rules, &subjects, start_ms + 1000, scene.changes);
    assert_string_equal(state_of(&scene, "disk", "node-2"), "resolved");
    assert_string_equal(state_of(&scene, "cpu", "node-3"), "");
    assert_string_equal(state_of(&scene, "members", "prod"), "firing");
    scene.rules.count = 0;
    cx_alerts_forget(scene.alerts, &scene.rules, &subjects, start_ms + 2000, scene.changes);
    assert_string_equal(state_of(&scene, "members", "prod"), "resolved");
}

/* ---- restarts */

static void a_restart_at_any_moment_changes_nothing(void **state)
{
    static const double values[] = {90, 90, 10, 10, 90, 10, 10};

    (void)state;
    for (size_t stop = 0; stop < CX_COUNT(values); stop++) {
        CX_AUTO(scene_close) struct scene one;
        CX_AUTO(scene_close) struct scene two;

        scene_open(&one, "node-1");
        scene_open(&two, "node-1");
        for (size_t i = 0; i < CX_COUNT(values); i++) {
            CX_AUTO(cx_free) char *words = NULL;

            look(&one, "disk_usage", "node-2", values[i], (int64_t)i * 10);
            look(&two, "disk_usage", "node-2", values[i], (int64_t)i * 10);
            words = cx_strdup(told(&one, (int64_t)i * 10));
            assert_string_equal(words, told(&two, (int64_t)i * 10));
            if (i != stop)
                continue;

            CX_AUTO(cx_json_free) json_t *saved = cx_alerts_to_json(two.alerts);
            CX_AUTO(cx_json_free) json_t *again = NULL;
            cx_err err = {0};

            cx_alerts_close(&two.alerts);
            two.alerts = cx_alerts_open("prod", "node-1");
            if (!cx_alerts_from_json(two.alerts, saved, &err))
                fail_msg("%s", err.message);
            again = cx_alerts_to_json(two.alerts);
            assert_true(json_equal(saved, again));
        }
    }
}

static void a_state_that_is_no_state_is_refused(void **state)
{
    static const struct {
        const char *text, *names;
    } rows[] = {
        {"[]", "alerts"},
        {"{}", "version"},
        {"{\"version\":2}", "version"},
        {"{\"version\":1,\"alerts\":[{}]}", "alerts[0]"},
        {"{\"version\":1,\"alerts\":[{\"name\":\"a b\",\"subject\":\"n\",\"state\":\"firing\"}]}",
         "alerts[0]"},
        {"{\"version\":1,\"alerts\":[{\"name\":\"a\",\"subject\":\"n\",\"state\":\"odd\"}]}",
         "state"},
        {"{\"version\":1,\"alerts\":[{\"name\":\"a\",\"subject\":\"n\",\"state\":\"firing\","
         "\"since_ms\":-1}]}",
         "since_ms"},
        {"{\"version\":1,\"alerts\":[{\"name\":\"a\",\"subject\":\"n\",\"state\":\"firing\"},"
         "{\"name\":\"a\",\"subject\":\"n\",\"state\":\"firing\"}]}",
         "twice"},
        {"{\"version\":1,\"notices\":[{\"key\":\"xy\",\"by\":\"n\",\"at_ms\":1}]}", "notices[0]"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_alerts_close) cx_alerts *alerts = cx_alerts_open("prod", "node-1");
        CX_AUTO(cx_json_free) json_t *json = NULL;
        cx_err err = {0};

        assert_true(cx_json_parse(cx_bytes_of(rows[i].text), 10000, "row", &json, &err));
        if (cx_alerts_from_json(alerts, json, &err))
            fail_msg("taken: %s", rows[i].text);
        if (strstr(err.message, rows[i].names) == NULL)
            fail_msg("%s: %s", rows[i].text, err.message);
    }
}

/* Gossip takes any text as a name. */
static void a_name_that_is_no_id_has_no_alerts_and_spoils_no_state(void **state)
{
    static const char *const names[] = {
        "node 2", "a\"b", "",
        "n2345678901234567890123456789012345678901234567890123456789012345678"};
    CX_AUTO(scene_close) struct scene scene;
    CX_AUTO(cx_alerts_close) cx_alerts *again = cx_alerts_open("prod", "node-1");
    CX_AUTO(cx_json_free) json_t *saved = NULL;
    cx_err err = {0};

    (void)state;
    scene_open(&scene, "node-1");
    for (size_t i = 0; i < CX_COUNT(names); i++)
        look_at_node(&scene, names[i], true, 0);
    look(&scene, "disk_usage", names[0], 90, 0);
    look(&scene, "disk_usage", "node-2", 90, 0);
    saved = cx_alerts_to_json(scene.alerts);
    if (!cx_alerts_from_json(again, saved, &err))
        fail_msg("%s", err.message);
    assert_int_equal(again->count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_runs_through_the_states),
        cmocka_unit_test(a_bare_condition_follows_the_status_of_its_check),
        cmocka_unit_test(a_node_is_down_when_it_was_away_for_the_threshold),
        cmocka_unit_test(each_change_is_told_to_the_history_once),
        cmocka_unit_test(what_left_the_cluster_or_the_policy_is_resolved),
        cmocka_unit_test(a_restart_at_any_moment_changes_nothing),
        cmocka_unit_test(a_state_that_is_no_state_is_refused),
        cmocka_unit_test(a_name_that_is_no_id_has_no_alerts_and_spoils_no_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
