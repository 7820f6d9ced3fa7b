#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/time.h"
#include "debug/journey.h"

/* "a accepted 1000, a forwarded 1900": hops, their times in milliseconds. */
static json_t *hops_of(const char *text)
{
    json_t *hops = json_array();
    char node[32], event[32];
    long long ms;
    int size;

    while (sscanf(text, " %31s %31s %lld%n", node, event, &ms, &size) == 3) {
        json_array_append_new(hops, json_pack("{s:s, s:s, s:o}", "node_id", node, "event", event,
                                              "at", cx_json_time(ms)));
        text += size + (text[size] == ',');
    }
    return hops;
}

static json_t *copy_of(const char *id, const char *node, const char *state, const char *hops)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:o}", "message_id", id, "node_id", node, "state", state,
                     "attempts", 3, "hops", hops_of(hops));
}

/* The trace's hops in the same writing, with elapsed_ms. */
static char *line_text(const json_t *trace)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    size_t at;
    json_t *hop;

    cx_buffer_add_text(&text, "");
    json_array_foreach (json_object_get(trace, "hops"), at, hop)
        cx_buffer_addf(&text, "%s%s %s %lld", at > 0 ? ", " : "",
                       cx_json_text_or_empty(hop, "node_id"), cx_json_text_or_empty(hop, "event"),
                       (long long)json_integer_value(json_object_get(hop, "elapsed_ms")));
    return cx_buffer_take_text(&text);
}

static void what_nodes_tell_becomes_one_line(void **state)
{
    static const struct {
        const char *name;
        const char *first, *second; /* hops as node a and node b tell them; NULL: b is not asked */
        const char *line, *state, *node_id;
    } rows[] = {
        {"one node", "a accepted 1000", NULL, "a accepted 0", "done", "a"},
        {"the way is told by both, and once", "a accepted 1000, a forwarded 1900",
         "a accepted 1000, a forwarded 1500, b accepted 1600, b delivered 2000, b done 3000",
         "a accepted 0, a forwarded 500, b accepted 600, b delivered 1000, b done 2000", "done",
         "b"},
        {"what only one knows is put in by time", "a accepted 1000, a failed 1700",
         "b accepted 1500, b done 2000", "a accepted 0, b accepted 500, a failed 700, b done 1000",
         "done", "a"},
        {"the node that has it now is silent", "a accepted 1000, a forwarded 1900", NULL,
         "a accepted 0, a forwarded 900", "unknown", ""},
        {"a node that tells no hops", "", NULL, "", "done", "a"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *copies = json_array();
        CX_AUTO(cx_json_free) json_t *trace = NULL;
        CX_AUTO(cx_free) char *line = NULL;

        json_array_append_new(copies, copy_of("m", "a", "done", rows[i].first));
        if (rows[i].second != NULL)
            json_array_append_new(copies, copy_of("m", "b", "done", rows[i].second));
        trace = debug_journey(copies);
        line = line_text(trace);
        if (strcmp(line, rows[i].line) != 0 ||
            strcmp(cx_json_text_or_empty(trace, "state"), rows[i].state) != 0 ||
            strcmp(cx_json_text_or_empty(trace, "node_id"), rows[i].node_id) != 0)
            fail_msg("%s: %s / %s", rows[i].name, line, cx_json_text_or_empty(trace, "state"));
    }
}

static void attempts_stand_at_the_last_delivery(void **state)
{
    CX_AUTO(cx_json_free) json_t *copies = json_array();
    CX_AUTO(cx_json_free) json_t *trace = NULL;
    const json_t *hops;

    (void)state;
    json_array_append_new(
        copies, copy_of("m", "a", "failed", "a accepted 1000, a delivered 4000, a failed 5000"));
    trace = debug_journey(copies);
    hops = json_object_get(trace, "hops");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(hops, 1), "attempt")), 3);
    assert_null(json_object_get(json_array_get(hops, 0), "attempt"));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(hops, 2), "step_ms")), 1000);
}

static void nonsense_of_a_peer_is_no_hop(void **state)
{
    json_t *numbers = json_pack("[{s:s, s:i}]", "message_id", "m", "hops", 7);
    json_t *words = json_pack("[{s:i, s:[s, n, {s:i}]}]", "message_id", 1, "hops", "x", "at", 1);
    json_t *nothing = json_array();

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        CX_AUTO(cx_json_free) json_t *copies = i == 0 ? numbers : words;
        CX_AUTO(cx_json_free) json_t *trace = debug_journey(copies);

        assert_true(json_is_array(json_object_get(trace, "hops")));
        assert_int_equal(json_array_size(json_object_get(trace, "nodes")), 0);
    }
    assert_null(debug_journey(nothing));
    json_decref(nothing);
}

static void a_conversation_names_each_message_once_in_order(void **state)
{
    static const char *const times[] = {"2026-11-24T10:00:02Z", "2026-11-24T10:00:03Z",
                                        "2026-11-24T10:00:01Z", "2026-11-24T10:00:00Z"};
    CX_AUTO(cx_json_free) json_t *copies = json_array();
    CX_AUTO(cx_json_free) json_t *list = NULL;

    (void)state;
    json_array_append_new(copies, copy_of("b", "x", "done", "x forwarded 2000"));
    json_array_append_new(copies, copy_of("b", "y", "queued", "y accepted 3000"));
    json_array_append_new(copies, copy_of("a", "x", "done", "x done 1000"));
    json_array_append_new(copies, copy_of("self", "x", "done", ""));
    for (size_t i = 0; i < CX_COUNT(times); i++)
        json_object_set_new(json_array_get(copies, i), "accepted_at", json_string(times[i]));
    list = debug_conversation(copies, "self");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 0), "message_id"), "a");
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 1), "node_id"), "y");
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 1), "state"), "queued");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nodes_tell_becomes_one_line),
        cmocka_unit_test(attempts_stand_at_the_last_delivery),
        cmocka_unit_test(nonsense_of_a_peer_is_no_hop),
        cmocka_unit_test(a_conversation_names_each_message_once_in_order),
    };

    return cmocka_run_group_tests_name("debug_journey", tests, NULL, NULL);
}
