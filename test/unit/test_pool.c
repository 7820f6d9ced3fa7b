#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "base/pool.h"

enum { MANY = 2000, DEADLINE_S = 30 };

struct world {
    struct event_base *loop;
    cx_pool *pool;
    int done;
    int wanted;
    atomic_int worked;
    atomic_int gate; /* workers wait until it is open */
    int batches;
    size_t largest;
    int order[MANY];
};

struct job {
    struct world *world;
    int number;
    int square;
};

static void work(void *arg)
{
    struct job *job = arg;

    while (!atomic_load(&job->world->gate))
        sched_yield();
    job->square = job->number * job->number;
    atomic_fetch_add(&job->world->worked, 1);
}

static void done(void *arg)
{
    struct job *job = arg;
    struct world *world = job->world;

    assert_int_equal(job->square, job->number * job->number);
    world->order[world->done++] = job->number;
    if (world->done == world->wanted)
        event_base_loopexit(world->loop, NULL);
}

static void work_batch(void **jobs, size_t count, void *arg)
{
    struct world *world = arg;

    world->batches++;
    if (count > world->largest)
        world->largest = count;
    for (size_t i = 0; i < count; i++)
        work(jobs[i]);
}

static void run(struct world *world)
{
    struct timeval deadline = {DEADLINE_S, 0};

    event_base_loopexit(world->loop, &deadline);
    event_base_dispatch(world->loop);
}

static void results_come_back_in_the_loop(void **state)
{
    struct world world = {.loop = event_base_new(), .wanted = MANY, .gate = 1};
    struct job jobs[MANY];
    cx_err err;

    (void)state;
    assert_true(cx_pool_open(world.loop, 4, MANY, &world.pool, &err));
    for (int i = 0; i < MANY; i++) {
        jobs[i] = (struct job){.world = &world, .number = i};
        assert_true(cx_pool_add(world.pool, work, done, &jobs[i]));
    }
    run(&world);
    assert_int_equal(world.done, MANY);
    assert_int_equal(cx_pool_waiting(world.pool), 0);
    cx_pool_close(&world.pool);
    cx_pool_close(&world.pool);
    event_base_free(world.loop);
}

static void one_thread_keeps_the_order_and_a_full_queue_refuses(void **state)
{
    struct world world = {.loop = event_base_new()};
    struct job jobs[20];
    int taken = 0;
    cx_err err;

    (void)state;
    assert_true(cx_pool_open(world.loop, 1, 5, &world.pool, &err));
    for (int i = 0; i < 20; i++) {
        jobs[i] = (struct job){.world = &world, .number = i};
        if (cx_pool_add(world.pool, work, done, &jobs[taken]))
            taken++;
    }
    assert_true(taken == 5 || taken == 6); /* the worker may hold one already */
    world.wanted = taken;
    atomic_store(&world.gate, 1);
    run(&world);
    assert_int_equal(world.done, taken);
    for (int i = 0; i < taken; i++)
        assert_int_equal(world.order[i], i);
    cx_pool_close(&world.pool);
    event_base_free(world.loop);
}

static void what_waits_together_is_worked_on_together(void **state)
{
    struct world world = {.loop = event_base_new(), .wanted = 100};
    struct job jobs[100];
    cx_err err;

    (void)state;
    assert_true(
        cx_pool_open_batch(world.loop, 64, 1000, work_batch, done, &world, &world.pool, &err));
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct job){.world = &world, .number = i};
        assert_true(cx_pool_add_batch(world.pool, &jobs[i]));
    }
    atomic_store(&world.gate, 1);
    run(&world);
    assert_int_equal(world.done, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(world.order[i], i);
    cx_pool_close(&world.pool);
    assert_true(world.batches < 10);
    assert_true(world.largest <= 64 && world.largest >= 30);
    event_base_free(world.loop);
}

static void closing_finishes_what_was_taken(void **state)
{
    struct world world = {.loop = event_base_new(), .wanted = -1, .gate = 1};
    struct job jobs[50];
    cx_err err;

    (void)state;
    assert_true(cx_pool_open(world.loop, 2, 100, &world.pool, &err));
    for (int i = 0; i < 50; i++) {
        jobs[i] = (struct job){.world = &world, .number = i};
        assert_true(cx_pool_add(world.pool, work, done, &jobs[i]));
    }
    cx_pool_close(&world.pool);
    assert_int_equal(atomic_load(&world.worked), 50);
    assert_int_equal(world.done, 50);
    event_base_free(world.loop);
}

struct again {
    cx_pool **pool; /* the owner's, as a daemon's `done` has it */
    bool refused;
};

static void work_on_nothing(void *arg)
{
    (void)arg;
}

static void add_again(void *arg)
{
    struct again *again = arg;

    again->refused = !cx_pool_add(*again->pool, work_on_nothing, work_on_nothing, again);
}

static void what_a_result_adds_while_the_pool_closes_is_refused(void **state)
{
    struct world world = {.loop = event_base_new()};
    struct again again = {.pool = &world.pool};
    cx_err err;

    (void)state;
    assert_true(cx_pool_open(world.loop, 1, 10, &world.pool, &err));
    assert_true(cx_pool_add(world.pool, work_on_nothing, add_again, &again));
    cx_pool_close(&world.pool);
    assert_true(again.refused);
    assert_null(world.pool);
    event_base_free(world.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_back_in_the_loop),
        cmocka_unit_test(one_thread_keeps_the_order_and_a_full_queue_refuses),
        cmocka_unit_test(what_waits_together_is_worked_on_together),
        cmocka_unit_test(closing_finishes_what_was_taken),
        cmocka_unit_test(what_a_result_adds_while_the_pool_closes_is_refused),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
