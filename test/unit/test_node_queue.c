#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/time.h"
#include "node/queue.h"

/* A queue on a database of its own, driven by a loop that runs until what was asked for came. */
typedef struct world {
    char folder[64];
    struct event_base *loop;
    cx_log log;
    node_storage *storage;
    node_queue *queue;
    size_t answers;      /* callbacks so far */
    node_message *taken; /* of the last take or read */
    size_t taken_count;
    bool changed;
    cx_err err;
    node_acceptance *accepted;
    size_t accepted_count;
    int64_t lost;
    char told[256]; /* lanes that have something */
} world;

static void on_queued(const char *lane, void *arg)
{
    world *w = arg;

    snprintf(w->told + strlen(w->told), sizeof w->told - strlen(w->told), "%s ", lane);
}

static void open_queue(world *w, int64_t queue_max, int64_t retention_ms)
{
    cx_err err;

    w->loop = event_base_new();
    w->log = (cx_log){.program = "test", .level = CX_ERROR, .fd = 2};
    if (!node_storage_open(w->loop, w->folder, &w->log, &w->storage, &err) ||
        !node_queue_open(w->loop, w->storage,
                         &(node_queue_options){.queue_max = queue_max,
                                               .retention_ms = retention_ms,
                                               .queued = on_queued,
                                               .arg = w},
                         &w->queue, &err))
        fail_msg("%s", err.message);
}

static void close_queue(world *w)
{
    node_storage_close(&w->storage);
    node_queue_close(&w->queue);
    event_base_free(w->loop);
}

static int setup(void **state)
{
    world *w = cx_alloc(1, sizeof *w);

    strcpy(w->folder, "/tmp/cx-test-queue-XXXXXX");
    if (mkdtemp(w->folder) == NULL)
        return -1;
    open_queue(w, 100, 60000);
    *state = w;
    return 0;
}

static void forget(world *w)
{
    node_messages_free(w->taken, w->taken_count);
    for (size_t i = 0; i < w->accepted_count; i++)
        node_message_free(&w->accepted[i].message);
    cx_free(&w->accepted);
    w->taken = NULL;
    w->taken_count = w->accepted_count = 0;
    w->err = (cx_err){0};
}

static int teardown(void **state)
{
    world *w = *state;
    cx_err err;

    forget(w);
    close_queue(w);
    (void)!cx_remove_tree(w->folder, &err);
    cx_free(&w);
    return 0;
}

static void wait_for(world *w, size_t answers)
{
    int64_t deadline_ms = cx_now_ms() + 10000;

    while (w->answers < answers && cx_now_ms() < deadline_ms)
        event_base_loop(w->loop, EVLOOP_ONCE);
    assert_true(w->answers >= answers);
}

static void on_accepted(node_acceptance *results, size_t count, void *arg)
{
    world *w = arg;

    w->accepted = cx_alloc(count, sizeof *results);
    memcpy(w->accepted, results, count * sizeof *results);
    for (size_t i = 0; i < count; i++)
        results[i].message = (node_message){0};
    w->accepted_count = count;
    w->answers++;
}

static void on_taken(node_message *messages, size_t count, const cx_err *err, void *arg)
{
    world *w = arg;

    w->taken = cx_alloc(count + 1, sizeof *messages);
    memcpy(w->taken, messages, count * sizeof *messages);
    memset(messages, 0, count * sizeof *messages);
    w->taken_count = count;
    if (err != NULL)
        w->err = *err;
    w->answers++;
}

static void on_changed(bool changed, const cx_err *err, void *arg)
{
    world *w = arg;

    w->changed = changed;
    if (err != NULL)
        w->err = *err;
    w->answers++;
}

static void on_measured(const cx_list *lanes, const int64_t *oldest_ms, int64_t lost,
                        const cx_err *err, void *arg)
{
    world *w = arg;

    (void)lanes;
    (void)oldest_ms;
    assert_null(err);
    w->lost = lost;
    w->answers++;
}

/* Messages with the ids PREFIX0, PREFIX1, … for a lane. */
static void start_accept(world *w, const char *lane, const char *prefix, size_t count)
{
    node_message *messages = cx_alloc(count, sizeof *messages);

    for (size_t i = 0; i < count; i++)
        messages[i] = (node_message){
            .id = cx_format("%s%zu", prefix, i),
            .lane = cx_strdup(lane),
            .receiver = cx_strdup(lane),
            .sender = cx_strdup("test"),
            .performative = cx_strdup("request"),
            .content = cx_format("%zu", i),
            .accepted_at_ms = cx_wall_ms(),
        };
    node_queue_accept(w->queue, messages, count, on_accepted, w);
}

static void accept_messages(world *w, const char *lane, const char *prefix, size_t count)
{
    forget(w);
    start_accept(w, lane, prefix, count);
    wait_for(w, w->answers + 1);
}

static void take(world *w, const char *lane, size_t limit)
{
    forget(w);
    node_queue_take(w->queue, lane, limit, on_taken, w);
    wait_for(w, w->answers + 1);
}

static void finish(world *w, const char *lane, const char *id, node_message_state to)
{
    node_queue_finish(
        w->queue,
        &(node_outcome){
            .id = id, .lane = lane, .state = to, .reply = to == NODE_DONE ? "\"yes\"" : NULL},
        on_changed, w);
    wait_for(w, w->answers + 1);
}

static void expect_counts(const world *w, const char *lane, int64_t queued, int64_t in_flight,
                          int64_t done, int64_t failed)
{
    node_counts counts = node_queue_counts(w->queue, lane);

    if (counts.queued != queued || counts.in_flight != in_flight || counts.done != done ||
        counts.failed != failed)
        fail_msg("%s: %d queued, %d in flight, %d done, %d failed", lane, (int)counts.queued,
                 (int)counts.in_flight, (int)counts.done, (int)counts.failed);
}

static void a_lane_gives_its_messages_in_the_order_of_acceptance(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 5);
    accept_messages(w, "b", "b", 1);
    accept_messages(w, "a", "x", 1);
    take(w, "a", 3);
    assert_int_equal(w->taken_count, 3);
    assert_string_equal(w->taken[0].id, "a0");
    assert_string_equal(w->taken[2].id, "a2");
    assert_int_equal(w->taken[0].attempts, 1);
    take(w, "a", 10);
    assert_int_equal(w->taken_count, 3);
    assert_string_equal(w->taken[2].id, "x0");
    expect_counts(w, "a", 0, 6, 0, 0);
    expect_counts(w, "b", 1, 0, 0, 0);
}

static void one_that_goes_back_keeps_its_place(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 3);
    take(w, "a", 2);
    finish(w, "a", "a0", NODE_QUEUED);
    take(w, "a", 1);
    assert_string_equal(w->taken[0].id, "a0");
    assert_int_equal(w->taken[0].attempts, 2);
    expect_counts(w, "a", 1, 2, 0, 0);
    assert_int_equal(node_queue_totals(w->queue).retried, 1);
}

static void the_same_id_is_accepted_once(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 1);
    assert_false(w->accepted[0].duplicate);
    accept_messages(w, "a", "a", 2);
    assert_true(w->accepted[0].duplicate);
    assert_false(w->accepted[1].duplicate);
    take(w, "a", 1);
    finish(w, "a", "a0", NODE_DONE);
    accept_messages(w, "b", "a", 1);
    assert_true(w->accepted[0].duplicate);
    assert_int_equal(w->accepted[0].message.state, NODE_DONE);
    assert_string_equal(w->accepted[0].message.reply, "\"yes\"");
    expect_counts(w, "a", 1, 0, 1, 0);
    expect_counts(w, "b", 0, 0, 0, 0);
    assert_int_equal(node_queue_totals(w->queue).accepted, 2);
    assert_int_equal(node_queue_totals(w->queue).duplicates, 2);
}

static void what_is_not_in_flight_can_not_be_finished(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 1);
    finish(w, "a", "a0", NODE_DONE);
    assert_false(w->changed);
    take(w, "a", 1);
    finish(w, "a", "a0", NODE_DONE);
    assert_true(w->changed);
    finish(w, "a", "a0", NODE_FAILED);
    assert_false(w->changed);
    finish(w, "a", "nobody", NODE_DONE);
    assert_false(w->changed);
    expect_counts(w, "a", 0, 0, 1, 0);
}

static void what_was_in_flight_at_the_end_is_taken_again_and_done_is_not(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 3);
    take(w, "a", 2);
    finish(w, "a", "a0", NODE_DONE);
    close_queue(w);
    open_queue(w, 100, 60000);
    expect_counts(w, "a", 2, 0, 1, 0);
    take(w, "a", 10);
    assert_int_equal(w->taken_count, 2);
    assert_string_equal(w->taken[0].id, "a1");
    assert_int_equal(w->taken[0].attempts, 2);
    assert_int_equal(w->taken[1].attempts, 1);
    assert_int_equal(node_queue_totals(w->queue).accepted, 3);
    assert_int_equal(node_queue_totals(w->queue).processed, 1);
}

static void a_full_lane_is_busy_and_others_are_not(void **state)
{
    world *w = *state;

    node_queue_set_limits(w->queue, 3, 60000);
    accept_messages(w, "a", "a", 5);
    assert_int_equal(w->accepted[2].err.code, CX_OK);
    assert_int_equal(w->accepted[3].err.code, CX_BUSY);
    assert_int_equal(w->accepted[4].err.code, CX_BUSY);
    accept_messages(w, "b", "b", 1);
    assert_int_equal(w->accepted[0].err.code, CX_OK);
    take(w, "a", 1);
    accept_messages(w, "a", "x", 1);
    assert_int_equal(w->accepted[0].err.code, CX_OK);
    expect_counts(w, "a", 3, 1, 0, 0);
}

static void a_failed_message_can_be_tried_again(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 1);
    take(w, "a", 1);
    finish(w, "a", "a0", NODE_FAILED);
    expect_counts(w, "a", 0, 0, 0, 1);
    w->told[0] = '\0';
    node_queue_retry(w->queue, "a0", on_changed, w);
    wait_for(w, w->answers + 1);
    assert_true(w->changed);
    assert_string_equal(w->told, "a ");
    expect_counts(w, "a", 1, 0, 0, 0);
    node_queue_retry(w->queue, "a0", on_changed, w);
    wait_for(w, w->answers + 1);
    assert_false(w->changed);
    assert_int_equal(w->err.code, CX_OK);
    take(w, "a", 1);
    assert_int_equal(w->taken[0].attempts, 1);
}

static void a_job_that_fails_does_not_take_its_batch_along(void **state)
{
    world *w = *state;

    start_accept(w, "a", "a", 2);
    node_queue_retry(w->queue, "nobody", on_changed, w);
    node_queue_find(w->queue, "a1", on_taken, w);
    wait_for(w, 3);
    assert_int_equal(w->err.code, CX_NOT_FOUND);
    assert_int_equal(w->accepted[1].err.code, CX_OK);
    assert_false(w->accepted[1].duplicate);
    assert_int_equal(w->taken_count, 1);
    expect_counts(w, "a", 2, 0, 0, 0);
    assert_int_equal(node_queue_totals(w->queue).accepted, 2);
}

static void dropped_and_moved_messages_leave_their_lane(void **state)
{
    world *w = *state;

    accept_messages(w, "to:x", "o", 2);
    take(w, "to:x", 1);
    node_queue_move(w->queue, "o0", "to:x", "x", on_changed, w);
    wait_for(w, w->answers + 1);
    assert_true(w->changed);
    expect_counts(w, "x", 1, 0, 0, 0);
    node_queue_drop(w->queue, "to:x", "gone", on_changed, w);
    wait_for(w, w->answers + 1);
    expect_counts(w, "to:x", 0, 0, 0, 1);
    take(w, "x", 1);
    assert_string_equal(w->taken[0].id, "o0");
    assert_true(node_queue_is_empty(w->queue, "to:x"));
    assert_false(node_queue_is_empty(w->queue, "x"));
}

/* One message from a node, for this lane. */
/* left_ms: when this node sent it on, by its hops. */
static void accept_on_its_way(world *w, const char *node, const char *lane, const char *id,
                              int64_t left_ms)
{
    node_message *message = cx_alloc(1, sizeof *message);

    forget(w);
    *message = (node_message){.id = cx_strdup(id),
                              .lane = cx_strdup(lane),
                              .receiver = cx_strdup(lane),
                              .sender = cx_strdup("test"),
                              .performative = cx_strdup("request"),
                              .content = cx_strdup("1"),
                              .node = cx_strdup(node),
                              .left_ms = left_ms,
                              .accepted_at_ms = cx_wall_ms()};
    node_queue_accept(w->queue, message, 1, on_accepted, w);
    wait_for(w, w->answers + 1);
}

static void accept_from(world *w, const char *node, const char *lane, const char *id)
{
    accept_on_its_way(w, node, lane, id, 0);
}

/* Sends what waits in `to:x` to a node. */
static void give_away(world *w, const char *id, const char *node)
{
    take(w, "to:x", 1);
    assert_string_equal(w->taken[0].id, id);
    node_queue_aim(w->queue, &id, 1, node, on_changed, w);
    wait_for(w, w->answers + 1);
    node_queue_finish(
        w->queue, &(node_outcome){.id = id, .lane = "to:x", .state = NODE_DONE, .forwarded = true},
        on_changed, w);
    wait_for(w, w->answers + 1);
}

static void what_is_handed_over_keeps_its_order_and_is_counted_when_it_is_there(void **state)
{
    world *w = *state;

    accept_messages(w, "x", "a", 2);
    accept_messages(w, "to:x", "own", 1); /* an agent here sends to x, which has moved */
    accept_messages(w, "x", "b", 1);
    take(w, "x", 1);
    node_queue_hand_over(w->queue, "x", "to:x", on_changed, w);
    wait_for(w, w->answers + 1);
    assert_true(w->changed);
    expect_counts(w, "x", 0, 1, 0, 0); /* what is in flight stays */
    expect_counts(w, "to:x", 3, 0, 0, 0);
    give_away(w, "a1", "node-2");
    give_away(w, "own0", "node-2");
    give_away(w, "b0", "node-2");
    assert_int_equal(node_queue_totals(w->queue).forwarded, 3);
    assert_int_equal(node_queue_totals(w->queue).handed_over, 2);
}

static void what_comes_back_from_where_it_went_is_queued_again(void **state)
{
    world *w = *state;

    accept_messages(w, "to:x", "m", 1);
    give_away(w, "m0", "node-2");
    accept_from(w, "node-3", "x", "m0");
    assert_true(w->accepted[0].duplicate); /* node-3 does not know that node-2 has it */
    assert_string_equal(w->accepted[0].message.node, "node-2");
    expect_counts(w, "x", 0, 0, 0, 0);
    accept_from(w, "node-2", "x", "m0");
    assert_false(w->accepted[0].duplicate);
    expect_counts(w, "x", 1, 0, 0, 0);
    expect_counts(w, "to:x", 0, 0, 0, 0);
    accept_from(w, "node-2", "x", "m0"); /* twice is once */
    assert_true(w->accepted[0].duplicate);
    node_queue_measure(w->queue, on_measured, w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->lost, 0);
    take(w, "x", 2);
    assert_int_equal(w->taken_count, 1);
}

static void what_went_on_from_there_to_others_and_comes_back_is_queued_again(void **state)
{
    world *w = *state;
    int64_t left_ms;

    accept_messages(w, "to:x", "m", 1);
    give_away(w, "m0", "node-2");
    left_ms = cx_wall_ms();
    accept_on_its_way(w, "node-3", "to:x", "m0", left_ms);
    assert_false(w->accepted[0].duplicate);
    expect_counts(w, "to:x", 1, 0, 0, 0);
    while (cx_wall_ms() == left_ms) /* a message is never here and away in the same millisecond */
        ;
    give_away(w, "m0", "node-4");
    accept_on_its_way(w, "node-3", "x", "m0", left_ms); /* node-3 did not hear our answer */
    assert_true(w->accepted[0].duplicate);
    assert_string_equal(w->accepted[0].message.node, "node-4");
    expect_counts(w, "x", 0, 0, 0, 0);
}

static void where_a_message_may_be_is_known_after_a_restart(void **state)
{
    world *w = *state;
    const char *id = "m0";

    accept_messages(w, "to:x", "m", 2);
    take(w, "to:x", 2);
    node_queue_aim(w->queue, &id, 1, "node-2", on_changed, w);
    wait_for(w, w->answers + 1);
    close_queue(w); /* no answer came */
    open_queue(w, 100, 60000);
    take(w, "to:x", 2);
    assert_string_equal(w->taken[0].node, "node-2");
    assert_null(w->taken[1].node);
    /* It says that it does not have it. */
    node_queue_finish(w->queue, &(node_outcome){.id = "m0", .lane = "to:x", .state = NODE_QUEUED},
                      on_changed, w);
    wait_for(w, w->answers + 1);
    take(w, "to:x", 1);
    assert_string_equal(w->taken[0].id, "m0");
    assert_null(w->taken[0].node);
    node_queue_redirect(w->queue, "m0", "node-3", on_changed, w);
    wait_for(w, w->answers + 1);
    node_queue_finish(
        w->queue, &(node_outcome){.id = "m0", .lane = "to:x", .state = NODE_QUEUED, .aimed = true},
        on_changed, w);
    wait_for(w, w->answers + 1);
    take(w, "to:x", 1);
    assert_string_equal(w->taken[0].node, "node-3");
}

static void old_results_are_purged_and_nothing_counts_as_lost(void **state)
{
    world *w = *state;
    int64_t deadline_ms = cx_now_ms() + 10000;

    accept_messages(w, "a", "a", 3);
    take(w, "a", 2);
    finish(w, "a", "a0", NODE_DONE);
    finish(w, "a", "a1", NODE_FAILED);
    close_queue(w);
    open_queue(w, 100, -1000); /* all that is over is old */
    while (node_queue_totals(w->queue).purged < 2 && cx_now_ms() < deadline_ms)
        event_base_loop(w->loop, EVLOOP_ONCE);
    expect_counts(w, "a", 1, 0, 0, 0);
    node_queue_measure(w->queue, on_measured, w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->lost, 0);
    forget(w);
    node_queue_find(w->queue, "a0", on_taken, w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->taken_count, 0);
}

static void lists_show_the_latest_first(void **state)
{
    world *w = *state;

    accept_messages(w, "a", "a", 3);
    accept_messages(w, "b", "b", 1);
    take(w, "a", 1);
    finish(w, "a", "a0", NODE_FAILED);
    forget(w);
    node_queue_list(w->queue, &(node_query){.limit = 2}, on_taken, w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->taken_count, 2);
    assert_string_equal(w->taken[0].id, "b0");
    forget(w);
    node_queue_list(w->queue, &(node_query){.limit = 9, .state = "failed", .lane = "a"}, on_taken,
                    w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->taken_count, 1);
    assert_string_equal(w->taken[0].id, "a0");
    forget(w);
    node_queue_list(w->queue, &(node_query){.limit = 9, .conversation = "none"}, on_taken, w);
    wait_for(w, w->answers + 1);
    assert_int_equal(w->taken_count, 0);
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        QUEUE_TEST(a_lane_gives_its_messages_in_the_order_of_acceptance),
        QUEUE_TEST(one_that_goes_back_keeps_its_place),
        QUEUE_TEST(the_same_id_is_accepted_once),
        QUEUE_TEST(what_is_not_in_flight_can_not_be_finished),
        QUEUE_TEST(what_was_in_flight_at_the_end_is_taken_again_and_done_is_not),
        QUEUE_TEST(a_full_lane_is_busy_and_others_are_not),
        QUEUE_TEST(a_failed_message_can_be_tried_again),
        QUEUE_TEST(a_job_that_fails_does_not_take_its_batch_along),
        QUEUE_TEST(dropped_and_moved_messages_leave_their_lane),
        QUEUE_TEST(what_is_handed_over_keeps_its_order_and_is_counted_when_it_is_there),
        QUEUE_TEST(what_comes_back_from_where_it_went_is_queued_again),
        QUEUE_TEST(what_went_on_from_there_to_others_and_comes_back_is_queued_again),
        QUEUE_TEST(where_a_message_may_be_is_known_after_a_restart),
        QUEUE_TEST(old_results_are_purged_and_nothing_counts_as_lost),
        QUEUE_TEST(lists_show_the_latest_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
