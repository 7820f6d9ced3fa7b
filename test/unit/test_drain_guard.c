/* Who may be taken out of service, from what the cluster says of itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "drain/guard.h"

/* "node-1 alive active, node-2 failed active": a cluster's document. */
static json_t *cluster(int expected, const char *members)
{
    json_t *list = json_array();
    char name[32], status[32], state[32];
    int used;

    while (sscanf(members, "%31s %31s %31[a-z]%n", name, status, state, &used) == 3) {
        json_array_append_new(list, json_pack("{s:s, s:s, s:{s:s}}", "node_id", name, "status",
                                              status, "tags", "state", state));
        members += used;
        members += strspn(members, ", ");
    }
    return json_pack("{s:o, s:{s:i}}", "members", list, "status", "expected", expected);
}

static void one_node_at_a_time_and_never_the_majority(void **state)
{
    static const struct {
        const char *name;
        int expected;
        const char *members;
        cx_code code;
    } rows[] = {
        {"all are well", 3, "a alive active, b alive active, c alive active", CX_OK},
        {"another is drained", 3, "a alive active, b alive drained, c alive active", CX_BUSY},
        {"another is draining", 5, "a alive active, b alive draining, c alive active", CX_BUSY},
        {"another in maintenance", 3, "a alive active, b suspect maintenance", CX_BUSY},
        {"one of three is down", 3, "a alive active, b failed active, c alive active",
         CX_NO_MAJORITY},
        {"one of three never came", 3, "a alive active, b alive active", CX_NO_MAJORITY},
        {"a failed drained one is no drain", 5,
         "a alive active, b failed drained, c alive active, d alive active, e alive active", CX_OK},
        {"two of five are down", 5,
         "a alive active, b failed active, c failed active, d alive active, e alive active",
         CX_NO_MAJORITY},
        {"more members than expected", 3,
         "a alive active, b failed active, c failed active, d alive active, e alive active",
         CX_NO_MAJORITY},
        {"one that left does not count", 3,
         "a alive active, b alive active, c alive active, d left active", CX_OK},
        {"a cluster of one", 1, "a alive active", CX_OK},
        {"a cluster of two", 2, "a alive active, b alive active", CX_NO_MAJORITY},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = cluster(rows[i].expected, rows[i].members);
        cx_err err = {0};
        bool may = drain_guard(json, "a", &err);

        if (may != (rows[i].code == CX_OK) || (!may && err.code != rows[i].code))
            fail_msg("%s: %s", rows[i].name, err.message);
    }
}

static void what_a_node_says_of_itself_counts_before_gossip(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *json = cluster(3, "a alive active, b alive active, c alive drained");
    cx_err err = {0};

    (void)state;
    assert_false(drain_guard(json, "a", &err));
    drain_guard_know(json, "c", "active");
    assert_true(drain_guard(json, "a", &err));
    drain_guard_know(json, "b", "draining");
    assert_false(drain_guard(json, "a", &err));
    assert_int_equal(err.code, CX_BUSY);
    drain_guard_know(json, "nobody", "draining"); /* no member: no matter */
    assert_true(drain_guard(json, "b", &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node_at_a_time_and_never_the_majority),
        cmocka_unit_test(what_a_node_says_of_itself_counts_before_gossip),
    };

    return cmocka_run_group_tests_name("drain_guard", tests, NULL, NULL);
}
