#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "gossip/suspicion.h"

static void each_confirmation_brings_the_failure_closer(void **state)
{
    static const struct {
        const char *name;
        uint32_t from[3];
        int64_t fails_at_ms;
    } rows[] = {
        {"one that repeats itself counts once", {7, 7, 7}, 4000},
        {"two of three", {7, 8, 7}, 2830},
        {"all that were wanted: the minimum", {7, 8, 9}, 2000},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_suspicion suspicion = {.min_ms = 2000, .max_ms = 6000, .wanted = 3};
        cx_suspicion_action action = {0};

        for (size_t j = 0; j < CX_COUNT(rows[i].from); j++)
            action = cx_suspicion_input(
                &suspicion, (cx_suspicion_event){CX_SUSPICION_CONFIRMED, rows[i].from[j]}, 1);
        if (action.wake_at_ms != rows[i].fails_at_ms)
            fail_msg("%s: fails at %" PRId64 " ms", rows[i].name, action.wake_at_ms);
    }
}

/* Section 13.5 with the figures of 12.1. */
static void the_size_of_the_cluster_sets_the_time(void **state)
{
    static const struct {
        const char *name;
        size_t count;
        int mult, max_mult;
        int64_t interval_ms;
        int confirmed;
        int64_t fails_at_ms;
    } rows[] = {
        {"two nodes: nobody can confirm", 2, 4, 6, 1000, 0, 4000},
        {"three nodes: one is not enough", 3, 4, 6, 1000, 0, 4000},
        {"four nodes want two", 4, 4, 6, 1000, 0, 24000},
        {"ten nodes, none", 10, 4, 6, 1000, 0, 24000},
        {"ten nodes, one confirms", 10, 4, 6, 1000, 1, 11381},
        {"ten nodes, both confirm", 10, 4, 6, 1000, 2, 4000},
        {"twenty nodes, both confirm", 20, 4, 6, 1000, 2, 5204},
        {"a hundred nodes, both confirm", 100, 4, 6, 1000, 2, 8000},
        {"wide network, four confirm", 10, 6, 6, 5000, 4, 30000},
        {"one machine, one confirms", 10, 3, 6, 1000, 1, 3000},
        {"nobody at all", 0, 4, 6, 1000, 0, 4000},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_suspicion suspicion = cx_suspicion_start(rows[i].count, rows[i].mult, rows[i].max_mult,
                                                    rows[i].interval_ms, 100, 0);
        cx_suspicion_action action =
            cx_suspicion_input(&suspicion, (cx_suspicion_event){.kind = CX_SUSPICION_TICK}, 0);

        for (int j = 0; j < rows[i].confirmed; j++)
            action = cx_suspicion_input(
                &suspicion, (cx_suspicion_event){CX_SUSPICION_CONFIRMED, (uint32_t)j}, 0);
        if (action.wake_at_ms != rows[i].fails_at_ms)
            fail_msg("%s: fails at %" PRId64 " ms", rows[i].name, action.wake_at_ms);
    }
}

static void only_news_is_news(void **state)
{
    cx_suspicion suspicion = cx_suspicion_start(10, 4, 6, 1000, 1, 0);
    static const struct {
        uint32_t from;
        bool is_news;
    } rows[] = {{1, false}, {2, true}, {2, false}, {3, true}, {4, false}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_suspicion_action action = cx_suspicion_input(
            &suspicion, (cx_suspicion_event){CX_SUSPICION_CONFIRMED, rows[i].from}, 1);

        assert_int_equal(action.is_news, rows[i].is_news);
    }
}

static void a_late_confirmation_fails_at_once(void **state)
{
    cx_suspicion suspicion = {.min_ms = 2000, .max_ms = 6000, .wanted = 1};
    cx_suspicion_event confirmed = {CX_SUSPICION_CONFIRMED, 5};

    (void)state;
    assert_int_equal(cx_suspicion_input(&suspicion, confirmed, 3000).verdict, CX_SUSPICION_FAIL);
}

static void a_refutation_ends_it(void **state)
{
    cx_suspicion suspicion = cx_suspicion_start(10, 4, 6, 1000, 1, 0);
    cx_suspicion_event refuted = {.kind = CX_SUSPICION_REFUTED};

    (void)state;
    assert_int_equal(cx_suspicion_input(&suspicion, refuted, 23999).verdict, CX_SUSPICION_CLEAR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_confirmation_brings_the_failure_closer),
        cmocka_unit_test(the_size_of_the_cluster_sets_the_time),
        cmocka_unit_test(only_news_is_news),
        cmocka_unit_test(a_late_confirmation_fails_at_once),
        cmocka_unit_test(a_refutation_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
