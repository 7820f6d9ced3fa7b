#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/members.h"

static cx_member *add(cx_members *members, const char *name, cx_rng *rng)
{
    cx_member *member = cx_members_add(members, cx_bytes_of(name));

    cx_members_list(members, member, rng);
    return member;
}

static void members_are_found_until_they_are_removed(void **state)
{
    CX_AUTO(cx_members_free) cx_members members = {0};
    cx_rng rng = cx_rng_seed(1);
    bool is_there[500] = {false};
    char name[32];

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t at = (size_t)cx_rng_below(&rng, CX_COUNT(is_there));
        cx_member *member;

        snprintf(name, sizeof(name), "node-%zu", at);
        member = cx_members_find(&members, name);
        assert_int_equal(member != NULL, is_there[at]);
        if (member == NULL) {
            add(&members, name, &rng);
        } else {
            assert_string_equal(member->name, name);
            cx_members_remove(&members, member);
            cx_member_free(&member);
        }
        is_there[at] = !is_there[at];
        assert_int_equal(members.count, members.listed_count);
    }
    for (size_t i = 0; i < members.listed_count; i++)
        assert_int_equal(members.listed[i]->list_at, i);
}

static bool is_not_first(const cx_member *member, const void *context)
{
    (void)context;
    return strcmp(member->name, "node-0") != 0;
}

static void a_pick_is_fair_and_has_nobody_twice(void **state)
{
    static const size_t sizes[] = {4, 200};

    (void)state;
    for (size_t s = 0; s < CX_COUNT(sizes); s++) {
        CX_AUTO(cx_members_free) cx_members members = {0};
        cx_rng rng = cx_rng_seed(2);
        size_t counts[200] = {0};
        char name[32];

        for (size_t i = 0; i < sizes[s]; i++) {
            snprintf(name, sizeof(name), "node-%zu", i);
            add(&members, name, &rng);
        }
        for (int i = 0; i < 20000; i++) {
            cx_member *picked[3];
            size_t count = cx_members_pick(&members, &rng, 3, is_not_first, NULL, picked);

            assert_int_equal(count, 3);
            assert_true(picked[0] != picked[1] && picked[1] != picked[2] && picked[0] != picked[2]);
            for (size_t j = 0; j < 3; j++)
                counts[(size_t)atoi(picked[j]->name + 5)]++;
        }
        assert_int_equal(counts[0], 0);
        for (size_t i = 1; i < sizes[s]; i++) {
            double share = (double)counts[i] * (double)(sizes[s] - 1) / 60000;

            assert_true(share > 0.7 && share < 1.3);
        }
    }
}

static void names_have_a_length_and_no_control_characters(void **state)
{
    char name[CX_GOSSIP_NAME_MAX + 2];

    (void)state;
    memset(name, 'x', sizeof(name));
    assert_true(cx_member_name_is_good(cx_bytes_of("node 1")));
    assert_true(cx_member_name_is_good((cx_bytes){(uint8_t *)name, CX_GOSSIP_NAME_MAX}));
    assert_false(cx_member_name_is_good((cx_bytes){(uint8_t *)name, CX_GOSSIP_NAME_MAX + 1}));
    assert_false(cx_member_name_is_good(cx_bytes_of("")));
    assert_false(cx_member_name_is_good(cx_bytes_of("a\nb")));
    assert_false(cx_member_name_is_good((cx_bytes){(const uint8_t *)"a\0b", 3}));
}

static void tags_come_back_sorted(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer meta = {0};
    cx_gossip_tag tags[] = {{"role", "web"}, {"a", ""}, {"dc", "east"}};
    cx_err err;

    (void)state;
    assert_true(cx_tags_write(tags, 3, &meta, &err));
    CX_AUTO(cx_tags_free) cx_tags read = cx_tags_read(cx_buffer_bytes(&meta));

    assert_int_equal(read.count, 3);
    assert_string_equal(read.items[0].key, "a");
    assert_string_equal(read.items[0].value, "");
    assert_string_equal(read.items[2].value, "web");
}

static void tags_from_outside_may_be_anything(void **state)
{
    static const struct {
        const char *name;
        const uint8_t meta[32];
        size_t size, count;
        const char *key, *value;
    } rows[] = {
        {"nothing: an agent before tags", {0}, 0, 1, "role", ""},
        {"a role: an agent before tags", "web", 3, 1, "role", "web"},
        {"no tags", {0xff, 0x80}, 2, 0, NULL, NULL},
        {"one key twice: the last",
         {0xff, 0x82, 0xa1, 'k', 0xa1, '1', 0xa1, 'k', 0xa1, '2'},
         10,
         1,
         "k",
         "2"},
        {"a NUL in a value", {0xff, 0x81, 0xa1, 'k', 0xa3, 'a', 0, 'b'}, 8, 1, "k", "a?b"},
        {"cut", {0xff, 0x82, 0xa1, 'k', 0xa1, '1'}, 6, 0, NULL, NULL},
        {"no map", {0xff, 0x07}, 2, 0, NULL, NULL},
        {"a count above all", {0xff, 0xdf, 0xff, 0xff, 0xff, 0xff}, 6, 0, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_tags_free)
        cx_tags tags = cx_tags_read((cx_bytes){rows[i].meta, rows[i].size});

        if (tags.count != rows[i].count)
            fail_msg("%s: %zu tags", rows[i].name, tags.count);
        if (rows[i].count == 1 && (strcmp(tags.items[0].key, rows[i].key) != 0 ||
                                   strcmp(tags.items[0].value, rows[i].value) != 0))
            fail_msg("%s: %s=%s", rows[i].name, tags.items[0].key, tags.items[0].value);
    }
}

static void too_many_tags_are_refused(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer meta = {0};
    char value[600];
    cx_gossip_tag tags[] = {{"k", value}, {"k", "again"}};
    cx_err err;

    (void)state;
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    assert_false(cx_tags_write(tags, 1, &meta, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
    value[2] = '\0';
    cx_buffer_clear(&meta);
    assert_false(cx_tags_write(tags, 2, &meta, &err));
    assert_int_equal(err.code, CX_INVALID);
}

static void the_round_trip_is_a_median(void **state)
{
    static const struct {
        double samples[5];
        size_t count;
        double rtt;
    } rows[] = {
        {{0}, 0, -1},      {{3}, 1, 3},       {{3, 1}, 2, 3},          {{3, 1, 2}, 3, 2},
        {{1, 2, 3}, 3, 2}, {{2, 3, 1}, 3, 2}, {{9, 9, 1, 2, 3}, 5, 2},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_member member = {0};

        for (size_t j = 0; j < rows[i].count; j++)
            cx_member_add_rtt(&member, rows[i].samples[j]);
        assert_float_equal(cx_member_rtt(&member), rows[i].rtt, 1e-9);
    }
}

/* Nodes on a line, two milliseconds apart: the coordinates find it. */
static void coordinates_estimate_round_trips(void **state)
{
    enum { NODES = 6 };
    cx_place places[NODES];
    cx_rng rng = cx_rng_seed(3);
    double worst = 0;

    (void)state;
    for (size_t i = 0; i < NODES; i++)
        places[i] = cx_place_start();
    for (int round = 0; round < 5000; round++) {
        size_t a = (size_t)cx_rng_below(&rng, NODES), b = (size_t)cx_rng_below(&rng, NODES);
        double rtt = 0.001 + 0.002 * fabs((double)a - (double)b);

        if (a != b)
            cx_place_update(&places[a], &places[b].at, rtt, &rng);
    }
    for (size_t a = 0; a < NODES; a++) {
        for (size_t b = 0; b < a; b++) {
            double rtt = 0.001 + 0.002 * (double)(a - b);
            double wrong = fabs(cx_coordinate_distance(&places[a].at, &places[b].at) - rtt) / rtt;

            worst = wrong > worst ? wrong : worst;
        }
    }
    assert_true(worst < 0.25);
}

static void nonsense_does_not_move_us(void **state)
{
    cx_place place = cx_place_start();
    cx_coordinate good = place.at, bad = place.at;
    cx_rng rng = cx_rng_seed(4);
    static const double rtts[] = {-1, 11, INFINITY, NAN};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rtts); i++)
        cx_place_update(&place, &good, rtts[i], &rng);
    bad.vec[3] = NAN;
    cx_place_update(&place, &bad, 0.01, &rng);
    assert_float_equal(place.at.error, 1.5, 0);
    /* Finite, and too large for what is computed with it: back to the start. */
    bad.vec[3] = 1e300;
    cx_place_update(&place, &bad, 0.01, &rng);
    assert_true(isfinite(place.at.vec[3]) && isfinite(place.at.adjustment));
}

static void a_coordinate_comes_back(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer payload = {0};
    cx_coordinate sent = {.vec = {1, -2, 3}, .error = 0.5, .adjustment = -0.1, .height = 0.2}, got;
    cx_err err;

    (void)state;
    cx_coordinate_put(&sent, &payload);
    assert_int_equal(payload.size, 130);
    assert_true(cx_coordinate_read(cx_buffer_bytes(&payload), &got, &err));
    assert_memory_equal(&sent, &got, sizeof(sent));
    payload.data[0] = 2;
    assert_false(cx_coordinate_read(cx_buffer_bytes(&payload), &got, &err));
    payload.data[0] = 1;
    for (size_t size = 0; size < payload.size; size++)
        assert_false(cx_coordinate_read((cx_bytes){payload.data, size}, &got, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_until_they_are_removed),
        cmocka_unit_test(a_pick_is_fair_and_has_nobody_twice),
        cmocka_unit_test(names_have_a_length_and_no_control_characters),
        cmocka_unit_test(tags_come_back_sorted),
        cmocka_unit_test(tags_from_outside_may_be_anything),
        cmocka_unit_test(too_many_tags_are_refused),
        cmocka_unit_test(the_round_trip_is_a_median),
        cmocka_unit_test(coordinates_estimate_round_trips),
        cmocka_unit_test(nonsense_does_not_move_us),
        cmocka_unit_test(a_coordinate_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
