#include "alert_scene.h"

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
        look(&scene, "disk_usage", "node-2", 90, 5);
        hear(&scene, rows[i].firing, rows[i].delivered, rows[i].at_s);
        if (rows[i].alive)
            cx_list_add(&scene.watchers, "node-9");
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

/* ---- clocks */

static void an_end_told_by_a_clock_that_was_ahead_hides_no_later_episode(void **state)
{
    CX_AUTO(scene_close) struct scene ours;
    CX_AUTO(scene_close) struct scene theirs;

    (void)state;
    scene_open(&ours, "node-1");
    look(&ours, "disk_usage", "node-2", 90, 1000);
    assert_string_equal(told(&ours, 1000), "disk/node-2/firing");
    look(&ours, "disk_usage", "node-2", 10, 1010);
    look(&ours, "disk_usage", "node-2", 10, 1020);
    assert_string_equal(told(&ours, 1020), "disk/node-2/resolved");
    look(&ours, "disk_usage", "node-2", 90, 5);
    assert_string_equal(told(&ours, 5), "disk/node-2/firing");

    scene_open(&theirs, "node-1");
    hear(&theirs, false, true, 600);
    assert_string_equal(told(&theirs, 1), "");
    look(&theirs, "disk_usage", "node-2", 90, 10);
    assert_string_equal(told(&theirs, 10), "disk/node-2/firing");
}

static void a_notice_of_a_clock_that_is_ahead_is_not_newer_than_what_comes(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    char key[CX_ALERT_KEY_SIZE];

    (void)state;
    scene_open(&scene, "node-1");
    hear(&scene, false, true, 600);
    told(&scene, 1);
    hear(&scene, true, true, 20);
    cx_alert_key("prod", "disk", "node-2", key);
    assert_true(cx_alerts_notice(scene.alerts, key)->firing);
}

static void what_is_over_inhibits_nothing_when_the_clock_was_set_back(void **state)
{
    CX_AUTO(scene_close) struct scene scene;

    (void)state;
    scene_open(&scene, "node-1");
    look_at_node(&scene, "node-2", true, 1000);
    look_at_node(&scene, "node-2", true, 1061);
    assert_string_equal(told(&scene, 1061), "down/node-2/firing");
    look_at_node(&scene, "node-2", false, 1070);
    look_at_node(&scene, "node-2", false, 1080);
    assert_string_equal(told(&scene, 1080), "down/node-2/resolved");
    look(&scene, "disk_usage", "node-2", 90, 100);
    assert_string_equal(told(&scene, 100), ""); /* a look that may have been under way */
    look(&scene, "disk_usage", "node-2", 90, 120);
    assert_string_equal(told(&scene, 120), "disk/node-2/firing");
}

static void what_was_delivered_late_is_not_what_was_told_last(void **state)
{
    CX_AUTO(scene_close) struct scene scene;
    CX_AUTO(cx_json_free) json_t *first = NULL;
    const char *key;

    (void)state;
    scene_open(&scene, "node-1");
    look(&scene, "disk_usage", "node-2", 90, 0);
    told(&scene, 0);
    first = json_incref(json_array_get(scene.notices, 0));
    key = cx_json_text_or_empty(first, "key");
    look(&scene, "disk_usage", "node-2", 10, 20);
    look(&scene, "disk_usage", "node-2", 10, 30);
    assert_string_equal(told(&scene, 30), "disk/node-2/resolved");
    cx_alerts_delivered(scene.alerts, first);
    assert_false(cx_alerts_notice(scene.alerts, key)->delivered);
    cx_alerts_delivered(scene.alerts, json_array_get(scene.notices, 0));
    assert_true(cx_alerts_notice(scene.alerts, key)->delivered);
    look(&scene, "disk_usage", "node-2", 90, 50);
    assert_string_equal(told(&scene, 50), "disk/node-2/firing");
    cx_alerts_delivered(scene.alerts, first);
    assert_false(cx_alerts_notice(scene.alerts, key)->delivered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        cmocka_unit_test(an_end_told_by_a_clock_that_was_ahead_hides_no_later_episode),
        cmocka_unit_test(what_was_delivered_late_is_not_what_was_told_last),
        cmocka_unit_test(a_notice_of_a_clock_that_is_ahead_is_not_newer_than_what_comes),
        cmocka_unit_test(what_is_over_inhibits_nothing_when_the_clock_was_set_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
