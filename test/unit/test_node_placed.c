/* tools/node/placed, tools/node/claims: what nodes tell each other of agents with placement any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "node/claims.h"
#include "node/placed.h"

static json_t *json_of(const char *text)
{
    json_t *json = NULL;
    cx_err err;

    if (!cx_json_parse(cx_bytes_of(text), 1 << 20, "test", &json, &err))
        fail_msg("%s", err.message);
    return json;
}

static void the_higher_version_wins_then_the_greater_node(void **state)
{
    node_placed two = {.version = 2, .by = "node-1"}, three = {.version = 3, .by = "node-1"};
    node_placed other = {.version = 3, .by = "node-2"};

    (void)state;
    assert_true(node_placed_is_newer(&two, NULL));
    assert_true(node_placed_is_newer(&three, &two));
    assert_false(node_placed_is_newer(&two, &three));
    assert_true(node_placed_is_newer(&other, &three));
    assert_false(node_placed_is_newer(&three, &other));
    assert_false(node_placed_is_newer(&three, &three));
}

static void a_later_change_wins_whoever_made_it(void **state)
{
    (void)state;
    assert_int_equal(node_placed_next_version(0, 5000), 5000);
    assert_int_equal(node_placed_next_version(4999, 5000), 5000);
    assert_int_equal(node_placed_next_version(5000, 5000), 5001); /* two within a millisecond */
    assert_int_equal(node_placed_next_version(9000, 5000), 9001); /* a clock that is behind */
}

static void a_removal_is_forgotten_after_its_time_a_spec_never(void **state)
{
    const int64_t now_ms = NODE_PLACED_KEEP_MS + 1000;
    node_spec spec = {0};

    (void)state;
    assert_false(node_placed_is_forgotten(&(node_placed){.changed_ms = 1000}, now_ms));
    assert_true(node_placed_is_forgotten(&(node_placed){.changed_ms = 999}, now_ms));
    assert_false(
        node_placed_is_forgotten(&(node_placed){.changed_ms = 999, .spec = &spec}, now_ms));
}

#define HEAD "{\"id\":\"a\",\"version\":7,\"by\":\"node-1\",\"suspended\":true,"
#define TIME "\"changed_at\":\"2026-11-24T10:00:00Z\","

static void what_is_written_is_read_again(void **state)
{
    static const char *const texts[] = {
        HEAD TIME "\"spec\":null}",
        HEAD TIME "\"spec\":{\"command\":[\"echo\"],\"placement\":\"any\",\"env\":{\"A\":\"b\"}}}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(texts); i++) {
        json_t *json = json_of(texts[i]), *again;
        node_placed placed = {0}, copy;
        cx_err err;

        if (!node_placed_parse(json, "placed[0]", &placed, &err))
            fail_msg("%s", err.message);
        assert_int_equal(placed.version, 7);
        assert_true(placed.suspended);
        assert_int_equal(node_placed_is_there(&placed), i);
        copy = node_placed_copy(&placed);
        node_placed_free(&placed);
        again = node_placed_to_json(&copy);
        assert_true(node_placed_parse(again, "placed[0]", &placed, &err));
        assert_int_equal(placed.changed_ms, copy.changed_ms);
        if (i == 1)
            assert_true(node_spec_equal(placed.spec, copy.spec));
        node_placed_free(&copy);
        node_placed_free(&placed);
        cx_json_free(&again);
        cx_json_free(&json);
    }
}

static void what_is_none_is_refused_by_its_field(void **state)
{
    static const struct {
        const char *text, *names;
    } rows[] = {
        {HEAD TIME "\"spec\":null,\"x\":1}", "x"},
        {HEAD "\"spec\":null}", "changed_at"},
        {"{\"id\":\"a\",\"version\":0,\"by\":\"n\"," TIME "\"spec\":null}", "version"},
        {"{\"id\":\"a/b\",\"version\":1,\"by\":\"n\"," TIME "\"spec\":null}", "agent id"},
        {"{\"id\":\"a\",\"version\":1,\"by\":\"\"," TIME "\"spec\":null}", "by"},
        {HEAD TIME "\"spec\":{\"command\":[\"echo\"]}}", "placement"},
        {HEAD TIME "\"spec\":{\"command\":[],\"placement\":\"any\"}}", "command"},
        {HEAD TIME "\"spec\":7}", "spec"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        json_t *json = json_of(rows[i].text);
        node_placed placed = {0};
        cx_err err;

        if (node_placed_parse(json, "placed[3]", &placed, &err))
            fail_msg("%s: was read", rows[i].text);
        if (strstr(err.message, rows[i].names) == NULL || strstr(err.message, "placed[3]") == NULL)
            fail_msg("%s: %s", rows[i].text, err.message);
        cx_json_free(&json);
    }
}

static void claims_travel_and_are_bounded(void **state)
{
    static const struct {
        const char *text, *names;
    } rows[] = {
        {"[]", "object"},
        {"{\"ttl\":\"6s\",\"claims\":[]}", "releases"},
        {"{\"ttl\":\"1h\",\"claims\":[],\"releases\":[]}", "ttl"},
        {"{\"ttl\":\"6s\",\"claims\":[{\"agent\":\"a\"}],\"releases\":[]}", "fence"},
        {"{\"ttl\":\"6s\",\"claims\":[],\"releases\":[{\"agent\":\"/\",\"fence\":1}]}",
         "releases[0]"},
        {"{\"ttl\":\"6s\",\"claims\":[{\"agent\":\"a\",\"fence\":-1}],\"releases\":[]}", "fence"},
    };
    node_claims claims = {.ttl_ms = 6000}, read = {0};
    json_t *json;
    cx_err err;

    (void)state;
    for (int i = 0; i < 5; i++) {
        char *agent = cx_format("a%d", i);

        node_claims_add(&claims, agent, i);
        cx_free(&agent);
    }
    node_claims_add_release(&claims, "b", 9);
    json = node_claims_to_json(&claims);
    assert_true(node_claims_parse(json, &read, &err));
    assert_int_equal(read.ttl_ms, 6000);
    assert_int_equal(read.claim_count, 5);
    assert_string_equal(read.claims[4].agent, "a4");
    assert_int_equal(read.claims[4].fence, 4);
    assert_int_equal(read.releases[0].fence, 9);
    cx_json_free(&json);
    node_claims_free(&claims);
    node_claims_free(&read);
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        json = json_of(rows[i].text);
        if (node_claims_parse(json, &read, &err))
            fail_msg("%s: was read", rows[i].text);
        if (strstr(err.message, rows[i].names) == NULL)
            fail_msg("%s: %s", rows[i].text, err.message);
        node_claims_free(&read);
        cx_json_free(&json);
    }
}

static void a_vote_is_about_the_agent_that_was_asked_for(void **state)
{
    cx_lease_vote vote = {
        .kind = CX_VOTE_REFUSED, .last_fence = 3, .holder = "node/x", .holder_fence = 3};
    cx_lease_vote read = {0};
    json_t *json = node_vote_to_json("a", &vote);
    cx_err err;

    (void)state;
    assert_true(node_vote_parse(json, "claims[0]", "a", &read, &err));
    assert_int_equal(read.kind, CX_VOTE_REFUSED);
    assert_string_equal(read.holder, "node/x");
    assert_int_equal(read.holder_fence, 3);
    assert_false(node_vote_parse(json, "claims[0]", "b", &read, &err));
    assert_non_null(strstr(err.message, "claims[0]"));
    cx_json_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_change_wins_whoever_made_it),
        cmocka_unit_test(a_removal_is_forgotten_after_its_time_a_spec_never),
        cmocka_unit_test(the_higher_version_wins_then_the_greater_node),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(what_is_none_is_refused_by_its_field),
        cmocka_unit_test(claims_travel_and_are_bounded),
        cmocka_unit_test(a_vote_is_about_the_agent_that_was_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
