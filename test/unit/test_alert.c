#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "health/alert.h"

/* Scenes begin some time after 1970: a time of 0 means "never". */
static const int64_t start_ms = INT64_C(1700000000000);

static const char policy_text[] =
    "{\"alerts\":{\"critical\":["
    "{\"name\":\"split\",\"parsed_condition\":{\"name\":\"partition_detected\"},\"actions\":["
    "\"page\"]},"
    "{\"name\":\"down\",\"parsed_condition\":{\"name\":\"node_unreachable\",\"threshold\":\"> "
    "60s\"},"
    "\"actions\":[\"page\"]}],\"warning\":["
    "{\"name\":\"cpu\",\"parsed_condition\":{\"name\":\"cpu_usage\",\"threshold\":\"> 70%\"},"
    "\"duration_seconds\":300,\"actions\":[\"mail\"]},"
    "{\"name\":\"disk\",\"parsed_condition\":{\"name\":\"disk_usage\",\"threshold\":\"> 80%\"},"
    "\"repeat_seconds\":3600,\"actions\":[\"mail\",\"log\"],\"runbook\":\"disk-full\"},"
    "{\"name\":\"cert\",\"parsed_condition\":{\"name\":\"cert_expiry\",\"threshold\":\"< 30d\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"full\",\"parsed_condition\":{\"name\":\"agent_count\",\"threshold\":\">= "
    "max_agents\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"members\",\"parsed_condition\":{\"name\":\"cluster_membership\"},"
    "\"actions\":[\"mail\"]},"
    "{\"name\":\"mute\",\"parsed_condition\":{\"name\":\"agent_responsiveness\"},"
    "\"actions\":[\"mail\"]}]}}";

struct scene {
    cx_alert_rules rules;
    cx_alerts *alerts;
    json_t *changes;
    json_t *notices; /* of the last turn */
    cx_silence silences[4];
    size_t silence_count;
    cx_list watchers;
    bool did_not_look; /* neither at the nodes nor for a split */
};

static void scene_close(struct scene *scene)
{
    cx_alert_rules_free(&scene->rules);
    cx_alerts_close(&scene->alerts);
    cx_json_free(&scene->changes);
    cx_json_free(&scene->notices);
    cx_list_free(&scene->watchers);
}

static void scene_open(struct scene *scene, const char *self)
{
    CX_AUTO(cx_json_free) json_t *policy = NULL;
    cx_err err = {0};

    *scene = (struct scene){.changes = json_array(), .notices = json_array()};
    assert_true(cx_json_parse(cx_bytes_of(policy_text), sizeof policy_text, "p", &policy, &err));
    if (!cx_alert_rules_read(policy, &scene->rules, &err))
        fail_msg("%s", err.message);
    scene->alerts = cx_alerts_open("prod", self);
    cx_list_add(&scene->watchers, self);
}

/* NAN: it could not be measured. */
static void look(struct scene *scene, const char *check, const char *node_id, double value,
                 int64_t at_s)
{
    CX_AUTO(cx_json_free)
    json_t *checks =
        json_pack("[{s:s, s:s?, s:o, s:s, s:s, s:s}]", "name", check, "node_id", node_id, "value",
                  isnan(value) ? json_null() : json_real(value), "unit", "percent", "status",
                  isnan(value) ? "unknown" : "ok", "message", "it is so");

    cx_alerts_look(scene->alerts, &scene->rules, checks, 10, start_ms + at_s * 1000,
                   scene->changes);
}

static void look_status(struct scene *scene, const char *check, const char *node_id,
                        const char *status, int64_t at_s)
{
    CX_AUTO(cx_json_free)
    json_t *checks =
        json_pack("[{s:s, s:s?, s:n, s:s, s:s, s:s}]", "name", check, "node_id", node_id, "value",
                  "unit", "", "status", status, "message", "it is so");

    cx_alerts_look(scene->alerts, &scene->rules, checks, 10, start_ms + at_s * 1000,
                   scene->changes);
}

static void look_at_node(struct scene *scene, const char *node_id, bool down, int64_t at_s)
{
    cx_alerts_look_at_node(scene->alerts, &scene->rules, node_id, down, 0, "no answer",
                           start_ms + at_s * 1000, scene->changes);
}

/* What is told at that time, as words "NAME/SUBJECT/STATUS". */
static const char *told(struct scene *scene, int64_t at_s)
{
    static char text[512];
    size_t at;
    json_t *notice;

    text[0] = '\0';
    if (!scene->did_not_look) {
        cx_alerts_looked_for(scene->alerts, CX_ALERT_OF_NODE, start_ms + at_s * 1000);
        cx_alerts_looked_for(scene->alerts, CX_ALERT_OF_SPLIT, start_ms + at_s * 1000);
    }
    cx_json_free(&scene->notices);
    scene->notices = json_array();
    cx_alerts_sift(scene->alerts, &scene->rules, scene->silences, scene->silence_count,
                   start_ms + at_s * 1000);
    cx_alerts_tell(scene->alerts, &scene->rules, &scene->watchers, start_ms + at_s * 1000,
                   scene->notices);
    json_array_foreach (scene->notices, at, notice) {
        CX_AUTO(cx_free)
        char *word = cx_format(
            "%s%s/%s/%s", at > 0 ? " " : "", cx_json_text_or_empty(notice, "name"),
            cx_json_text_or_empty(notice, "subject"), cx_json_text_or_empty(notice, "status"));

        strncat(text, word, sizeof text - strlen(text) - 1);
    }
    return text;
}

static const char *state_of(const struct scene *scene, const char *name, const char *subject)
{
    const cx_alert *alert = cx_alerts_find(scene->alerts, name, subject);

    return alert != NULL ? cx_alert_state_word(alert->state) : "";
}

static void silence(struct scene *scene, const char *name, const char *subject, int64_t until_s)
{
    cx_silence *made = &scene->silences[scene->silence_count++];

    *made = (cx_silence){.id = "S1", .from_ms = start_ms, .until_ms = start_ms + until_s * 1000};
    strcpy(made->name, name);
    strcpy(made->subject, subject);
}

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

/* ---- telling */

static void an_alert_is_told_once_and_its_end_once(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    assert_string_equal(told(&scene, 0), "disk/node-2/firing");
    look(&scene, "disk_usage", "node-2", 95, 10);
    assert_string_equal(told(&scene, 10), "");
    look(&scene, "disk_usage", "node-2", 10, 20);
    assert_string_equal(told(&scene, 20), "");
    look(&scene, "disk_usage", "node-2", 10, 30);
    assert_string_equal(told(&scene, 30), "disk/node-2/resolved");
    assert_string_equal(told(&scene, 40), "");
    look(&scene, "disk_usage", "node-2", 90, 50);
    assert_string_equal(told(&scene, 50), "disk/node-2/firing");
}

static void what_never_fired_is_never_told(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "cpu_usage", "node-2", 90, 0);
    assert_string_equal(told(&scene, 0), "");
    look(&scene, "cpu_usage", "node-2", 50, 10);
    assert_string_equal(told(&scene, 10), "");
}

static void a_repeat_tells_again(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    assert_string_equal(told(&scene, 0), "disk/node-2/firing");
    assert_string_equal(told(&scene, 3599), "");
    assert_string_equal(told(&scene, 3600), "disk/node-2/firing");
    assert_true(json_is_true(json_object_get(json_array_get(scene.notices, 0), "again")));
    assert_string_equal(told(&scene, 3700), "");
}

static void the_key_is_the_same_for_ever_and_the_id_is_not(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    CX_AUTO(cx_free) char *key = NULL;
    CX_AUTO(cx_free) char *id = NULL;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    told(&scene, 0);
    key = cx_strdup(cx_json_text_or_empty(json_array_get(scene.notices, 0), "key"));
    id = cx_strdup(cx_json_text_or_empty(json_array_get(scene.notices, 0), "id"));
    look(&scene, "disk_usage", "node-2", 10, 20);
    look(&scene, "disk_usage", "node-2", 10, 30);
    told(&scene, 30);
    assert_string_equal(key, cx_json_text_or_empty(json_array_get(scene.notices, 0), "key"));
    assert_string_not_equal(id, cx_json_text_or_empty(json_array_get(scene.notices, 0), "id"));
    assert_int_equal(strlen(key), CX_ALERT_KEY_SIZE - 1);
}

static void a_silence_keeps_quiet_and_its_end_tells(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    silence(&scene, "disk", "node-2", 100);
    look(&scene, "disk_usage", "node-2", 90, 0);
    look(&scene, "disk_usage", "node-3", 90, 0);
    assert_string_equal(told(&scene, 0), "disk/node-3/firing");
    assert_string_equal(cx_alerts_find(scene.alerts, "disk", "node-2")->silence_id, "S1");
    assert_string_equal(told(&scene, 99), "");
    assert_string_equal(told(&scene, 100), "disk/node-2/firing");
    assert_string_equal(told(&scene, 101), "");
}

static void the_end_of_a_silence_tells_again_what_still_fires(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    assert_string_equal(told(&scene, 0), "disk/node-2/firing");
    silence(&scene, "*", "", 100);
    assert_string_equal(told(&scene, 10), "");
    assert_string_equal(told(&scene, 100), "disk/node-2/firing");
    assert_string_equal(told(&scene, 110), "");
}

static void what_ends_under_a_silence_is_told_to_be_over(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    told(&scene, 0);
    silence(&scene, "disk", "", 100);
    look(&scene, "disk_usage", "node-2", 10, 20);
    look(&scene, "disk_usage", "node-2", 10, 30);
    assert_string_equal(told(&scene, 30), "disk/node-2/resolved");
}

/* ---- what follows from what */

static void a_node_that_is_down_inhibits_what_follows(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_at_node(&scene, "node-2", true, 0);
    look_status(&scene, "cluster_membership", NULL, "warning", 5);
    look(&scene, "disk_usage", "node-2", 90, 5);
    look(&scene, "disk_usage", "node-3", 90, 5);
    assert_string_equal(told(&scene, 5), "disk/node-3/firing");
    assert_string_equal(cx_alerts_find(scene.alerts, "disk", "node-2")->inhibited_by, "down");
    assert_string_equal(cx_alerts_find(scene.alerts, "members", "prod")->inhibited_by, "down");
    look_at_node(&scene, "node-2", true, 61);
    assert_string_equal(told(&scene, 61), "down/node-2/firing");
}

static void what_followed_is_looked_at_again_before_it_is_told(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "cert_expiry", "node-2", 5, 0);
    look_at_node(&scene, "node-2", true, 0);
    assert_string_equal(told(&scene, 0), "");
    look_at_node(&scene, "node-2", true, 61);
    assert_string_equal(told(&scene, 61), "down/node-2/firing");
    look_at_node(&scene, "node-2", false, 70);
    look_at_node(&scene, "node-2", false, 80);
    assert_string_equal(told(&scene, 80), "down/node-2/resolved");
    look(&scene, "cert_expiry", "node-2", NAN, 85);
    assert_string_equal(told(&scene, 85), "");
    /* That look may have begun before the node was back. */
    look(&scene, "cert_expiry", "node-2", 5, 90);
    assert_string_equal(told(&scene, 90), "");
    look(&scene, "cert_expiry", "node-2", 5, 91);
    assert_string_equal(told(&scene, 91), "cert/node-2/firing");
}

static void what_followed_and_is_about_to_end_is_not_told(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_at_node(&scene, "node-2", true, 0);
    look_status(&scene, "cluster_membership", NULL, "warning", 1);
    look_at_node(&scene, "node-2", true, 61);
    assert_string_equal(told(&scene, 61), "down/node-2/firing");
    look_at_node(&scene, "node-2", false, 70);
    look_at_node(&scene, "node-2", false, 80);
    look_status(&scene, "cluster_membership", NULL, "ok", 85);
    assert_string_equal(told(&scene, 85), "down/node-2/resolved");
    look_status(&scene, "cluster_membership", NULL, "ok", 95);
    assert_string_equal(told(&scene, 95), "");
}

static void what_could_follow_waits_for_a_look_at_the_cause(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    scene.did_not_look = true;
    look_status(&scene, "cluster_membership", NULL, "warning", 0);
    look(&scene, "disk_usage", "node-2", 90, 0);
    assert_string_equal(told(&scene, 0), "disk/node-2/firing");
    scene.did_not_look = false;
    assert_string_equal(told(&scene, 5), "members/prod/firing");
}

static void a_split_explains_the_nodes_beyond_it(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_status(&scene, "partition_detection", NULL, "critical", 0);
    look_at_node(&scene, "node-2", true, 0);
    look_at_node(&scene, "node-2", true, 61);
    look(&scene, "disk_usage", "node-1", 90, 61);
    assert_string_equal(told(&scene, 61), "split/prod/firing disk/node-1/firing");
}

/* ---- many watchers */

static void one_of_three_watchers_tells(void **state)
{
    static const char *const names[] = {"node-1", "node-2", "node-3"};
    int count[3] = {0};

    (void)state;
    for (int subject = 0; subject < 30; subject++) {
        CX_AUTO(cx_free) char *node_id = cx_format("n%d", subject);
        int tellers = 0;

        for (size_t i = 0; i < 3; i++) {
            CX_AUTO(scene_close) struct scene scene;

            scene_open(&scene, names[i]);
            for (size_t j = 0; j < 3; j++)
                cx_list_add(&scene.watchers, names[j]);
            look(&scene, "disk_usage", node_id, 90, 0);
            if (told(&scene, 0)[0] != '\0') {
                tellers++;
                count[i]++;
            }
        }
        assert_int_equal(tellers, 1);
    }
    for (size_t i = 0; i < 3; i++)
        assert_true(count[i] > 0);
}

static void hear(struct scene *scene, bool firing, bool delivered, int64_t at_s)
{
    cx_alert_notice notice = {
        .by = "node-9", .firing = firing, .delivered = delivered, .at_ms = start_ms + at_s * 1000};

    cx_alert_key("prod", "disk", "node-2", notice.key);
    cx_alerts_heard(scene->alerts, &notice);
}

static void what_another_watcher_told_is_not_told_again(void **state)
{
    static const struct {
        const char *name;
        bool alive, firing, delivered;
        int64_t at_s;
        const char *told;
    } rows[] = {
        {"it told, and is gone", false, true, true, 0, ""},
        {"it is gone and had not told yet", false, true, false, 0, "disk/node-2/firing"},
        {"it is there and will tell", true, true, false, 0, ""},
        {"it has told the end of this episode already", false, false, true, 100, ""},
        {"it told the end of an earlier episode", false, false, true, -100, "disk/node-2/firing"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(scene_close) struct scene scene;

        /* Whoever is alive, it is ours: the other one was the teller before it went. */
        scene_open(&scene, "node-1");
        hear(&scene, rows[i].firing, rows[i].delivered, rows[i].at_s);
        if (rows[i].alive)
            cx_list_add(&scene.watchers, "node-9");
        look(&scene, "disk_usage", "node-2", 90, 5);
        if (strcmp(told(&scene, 200), rows[i].told) != 0)
            fail_msg("%s: %s", rows[i].name, told(&scene, 200));
    }
}

static void a_notice_is_kept_whole_whatever_its_time(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    CX_AUTO(cx_alerts_close) cx_alerts *again = cx_alerts_open("prod", "node-1");
    CX_AUTO(cx_json_free) json_t *saved = NULL;
    cx_alert_notice notice = {.by = "node-9"}; /* of 1970 */
    cx_err err = {0};

    (void)state;
    scene_open(&scene, "node-1");
    cx_alert_key("prod", "disk", "node-2", notice.key);
    assert_true(cx_alerts_heard(scene.alerts, &notice));
    saved = cx_alerts_to_json(scene.alerts);
    if (!cx_alerts_from_json(again, saved, &err))
        fail_msg("%s", err.message);
}

static void the_end_is_told_by_who_takes_over(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    hear(&scene, true, true, 0);
    look(&scene, "disk_usage", "node-2", 10, 20);
    assert_string_equal(told(&scene, 20), "");
    look(&scene, "disk_usage", "node-2", 10, 30);
    assert_string_equal(told(&scene, 30), "disk/node-2/resolved");
}

static void the_end_is_told_by_who_told_the_beginning_while_that_one_is_there(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    hear(&scene, true, true, 0);
    cx_list_add(&scene.watchers, "node-9");
    look(&scene, "disk_usage", "node-2", 10, 20);
    look(&scene, "disk_usage", "node-2", 10, 30);
    assert_string_equal(told(&scene, 30), "");
}

static void what_we_told_we_tell_the_end_of_whoever_else_is_there(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-3", 90, 40);
    assert_string_equal(told(&scene, 40), "disk/node-3/firing");
    for (int other = 0; other < 20; other++) {
        CX_AUTO(cx_free) char *name = cx_format("other-%d", other);

        cx_list_add(&scene.watchers, name);
    }
    look(&scene, "disk_usage", "node-3", 10, 50);
    look(&scene, "disk_usage", "node-3", 10, 60);
    assert_string_equal(told(&scene, 60), "disk/node-3/resolved");
}

/* A watcher that does not see the others told as well, and is not there for us: we don't tell twice. */
static void what_is_on_its_way_is_not_told_again_when_another_told_too(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 5);
    assert_string_equal(told(&scene, 5), "disk/node-2/firing");
    hear(&scene, true, false, 6);
    look(&scene, "disk_usage", "node-2", 90, 10);
    assert_string_equal(told(&scene, 10), "");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_runs_through_the_states),
        cmocka_unit_test(a_bare_condition_follows_the_status_of_its_check),
        cmocka_unit_test(a_node_is_down_when_it_was_away_for_the_threshold),
        cmocka_unit_test(each_change_is_told_to_the_history_once),
        cmocka_unit_test(what_left_the_cluster_or_the_policy_is_resolved),
        cmocka_unit_test(an_alert_is_told_once_and_its_end_once),
        cmocka_unit_test(what_never_fired_is_never_told),
        cmocka_unit_test(a_repeat_tells_again),
        cmocka_unit_test(the_key_is_the_same_for_ever_and_the_id_is_not),
        cmocka_unit_test(a_silence_keeps_quiet_and_its_end_tells),
        cmocka_unit_test(the_end_of_a_silence_tells_again_what_still_fires),
        cmocka_unit_test(what_ends_under_a_silence_is_told_to_be_over),
        cmocka_unit_test(a_node_that_is_down_inhibits_what_follows),
        cmocka_unit_test(what_followed_is_looked_at_again_before_it_is_told),
        cmocka_unit_test(what_followed_and_is_about_to_end_is_not_told),
        cmocka_unit_test(what_could_follow_waits_for_a_look_at_the_cause),
        cmocka_unit_test(a_split_explains_the_nodes_beyond_it),
        cmocka_unit_test(one_of_three_watchers_tells),
        cmocka_unit_test(what_another_watcher_told_is_not_told_again),
        cmocka_unit_test(a_notice_is_kept_whole_whatever_its_time),
        cmocka_unit_test(the_end_is_told_by_who_takes_over),
        cmocka_unit_test(the_end_is_told_by_who_told_the_beginning_while_that_one_is_there),
        cmocka_unit_test(what_we_told_we_tell_the_end_of_whoever_else_is_there),
        cmocka_unit_test(what_is_on_its_way_is_not_told_again_when_another_told_too),
        cmocka_unit_test(a_restart_at_any_moment_changes_nothing),
        cmocka_unit_test(a_state_that_is_no_state_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
