#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "health/board.h"

static json_t *node_of(double p99_ms)
{
    return json_pack("{s:s, s:s, s:{s:i}, s:{s:i}, s:{s:f, s:f}, s:{s:s, s:s}, s:{s:n}}", "state",
                     "active", "version", "1.0", "agents", "total", 3, "messages", "queued", 7,
                     "latency_ms", "p50", 1.5, "p99", p99_ms, "certificate", "not_after",
                     "2030-01-01T00:00:00Z", "secret", "x", "backup", "last_success_at");
}

static json_t *first(const health_board *board)
{
    json_t *nodes = health_board_nodes(board);
    json_t *node = json_incref(json_array_get(nodes, 0));

    json_decref(nodes);
    return node;
}

static void what_a_node_said_stays_when_it_is_silent(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *said = node_of(9);
    CX_AUTO(cx_json_free) json_t *node = NULL;

    (void)state;
    health_board_see(board, "node-1", said, 1000);
    health_board_see(board, "node-1", NULL, 2000);
    node = first(board);
    assert_true(json_is_false(json_object_get(node, "answers")));
    assert_string_equal(json_string_value(json_object_get(node, "at")), "1970-01-01T00:00:01Z");
    assert_string_equal(json_string_value(json_object_get(node, "version")), "1.0");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(node, "messages"), "queued")), 7);
    /* Only what is shown is kept. */
    assert_null(json_object_get(json_object_get(node, "certificate"), "secret"));
}

static void nonsense_becomes_null_and_long_texts_are_cut(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *node = NULL;
    char text[5001] = "";
    json_t *said;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    said = json_pack("{s:s, s:[i], s:s, s:i}", "state", text, "version", 1, "agents", "many",
                     "messages", 3);
    health_board_see(board, "node-1", said, 1000);
    json_decref(said);
    node = first(board);
    assert_int_equal(json_string_length(json_object_get(node, "state")), 200);
    assert_true(json_is_null(json_object_get(node, "version")));
    assert_true(json_is_null(json_object_get(json_object_get(node, "agents"), "total")));
    assert_true(json_is_null(json_object_get(json_object_get(node, "latency_ms"), "p99")));
}

static void samples_are_apart_and_the_oldest_go(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *samples = NULL;
    json_t *list;
    int count = HEALTH_BOARD_SAMPLES_MAX + 10;

    (void)state;
    for (int i = 0; i < count * 5; i++) { /* each second */
        json_t *said = node_of(i);

        health_board_see(board, "node-1", said, (int64_t)i * 1000);
        json_decref(said);
    }
    samples = health_board_samples(board);
    list = json_object_get(samples, "node-1");
    assert_int_equal(json_array_size(list), HEALTH_BOARD_SAMPLES_MAX);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(list, 0), 0)), 50);
    assert_int_equal(
        json_integer_value(json_array_get(json_array_get(list, HEALTH_BOARD_SAMPLES_MAX - 1), 0)),
        (count - 1) * 5);
    assert_int_equal(json_number_value(json_array_get(json_array_get(list, 0), 2)), 50);
}

static void a_clock_that_was_set_back_begins_anew(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *said = node_of(1);
    CX_AUTO(cx_json_free) json_t *samples = NULL;

    (void)state;
    health_board_see(board, "node-1", said, 900000);
    health_board_see(board, "node-1", said, 100000);
    samples = health_board_samples(board);
    assert_int_equal(json_array_size(json_object_get(samples, "node-1")), 1);
}

static void of_many_agents_those_in_trouble_are_kept_then_the_busiest(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *agents = json_pack("{s:[]}", "agents");
    CX_AUTO(cx_json_free) json_t *node = NULL;
    json_t *list;

    (void)state;
    for (int i = 0; i < 300; i++) {
        char id[16];

        snprintf(id, sizeof id, "a%d", i);
        json_array_append_new(json_object_get(agents, "agents"),
                              json_pack("{s:s, s:s, s:i, s:b}", "id", id, "state",
                                        i == 17 ? "failed" : "running", "queued", i, "responsive",
                                        i != 3));
    }
    health_board_see_agents(board, "node-1", agents);
    health_board_see_agents(board, "node-1", NULL);
    node = first(board);
    list = json_object_get(node, "agent_list");
    assert_int_equal(json_integer_value(json_object_get(node, "agent_count")), 300);
    assert_int_equal(json_array_size(list), HEALTH_BOARD_AGENTS_MAX);
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 0), "id"), "a17");
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 1), "id"), "a3");
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 2), "id"), "a299");
    assert_string_equal(
        cx_json_text_or_empty(json_array_get(list, HEALTH_BOARD_AGENTS_MAX - 1), "id"), "a252");
}

static void nodes_that_left_are_forgotten_and_their_number_is_bounded(void **state)
{
    CX_AUTO(health_board_close) health_board *board = health_board_open();
    CX_AUTO(cx_json_free) json_t *said = node_of(1);
    CX_AUTO(cx_json_free) json_t *nodes = NULL;
    CX_AUTO(cx_list_free) cx_list stay = {0};

    (void)state;
    for (int i = 0; i < HEALTH_BOARD_NODES_MAX + 5; i++) {
        char id[16];

        snprintf(id, sizeof id, "n%d", i);
        health_board_see(board, id, said, 1000);
    }
    nodes = health_board_nodes(board);
    assert_int_equal(json_array_size(nodes), HEALTH_BOARD_NODES_MAX);
    cx_json_free(&nodes);
    cx_list_add(&stay, "n7");
    health_board_keep(board, &stay);
    health_board_see(board, "new", said, 1000);
    nodes = health_board_nodes(board);
    assert_int_equal(json_array_size(nodes), 2);
    assert_string_equal(cx_json_text_or_empty(json_array_get(nodes, 1), "node_id"), "new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_node_said_stays_when_it_is_silent),
        cmocka_unit_test(nonsense_becomes_null_and_long_texts_are_cut),
        cmocka_unit_test(samples_are_apart_and_the_oldest_go),
        cmocka_unit_test(a_clock_that_was_set_back_begins_anew),
        cmocka_unit_test(of_many_agents_those_in_trouble_are_kept_then_the_busiest),
        cmocka_unit_test(nodes_that_left_are_forgotten_and_their_number_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
