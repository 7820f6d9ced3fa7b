#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/rendezvous.h"

static int values[1000];

static const char *key_of(size_t i, char text[32])
{
    snprintf(text, 32, "key-%zu", i);
    return text;
}

static void what_was_put_is_found_until_it_is_removed(void **state)
{
    CX_AUTO(cx_map_close) cx_map *map = cx_map_open();
    char key[32];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(values); i++)
        assert_null(cx_map_put(map, key_of(i, key), &values[i]));
    assert_int_equal(cx_map_count(map), CX_COUNT(values));
    for (size_t i = 0; i < CX_COUNT(values); i += 2)
        assert_ptr_equal(cx_map_remove(map, key_of(i, key)), &values[i]);
    for (size_t i = 0; i < CX_COUNT(values); i++)
        if (cx_map_get(map, key_of(i, key)) != (i % 2 == 0 ? NULL : &values[i]))
            fail_msg("%s", key);
    assert_null(cx_map_remove(map, "key-0"));
    assert_int_equal(cx_map_count(map), CX_COUNT(values) / 2);
}

static void putting_again_replaces_and_returns_the_old_value(void **state)
{
    CX_AUTO(cx_map_close) cx_map *map = cx_map_open();

    (void)state;
    assert_null(cx_map_put(map, "a", &values[0]));
    assert_ptr_equal(cx_map_put(map, "a", &values[1]), &values[0]);
    assert_ptr_equal(cx_map_get(map, "a"), &values[1]);
    assert_int_equal(cx_map_count(map), 1);
}

static void a_walk_sees_every_entry_once(void **state)
{
    CX_AUTO(cx_map_close) cx_map *map = cx_map_open();
    char text[32];
    size_t cursor = 0, count = 0;
    const char *key = NULL;
    void *value = NULL;
    bool seen[100] = {false};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(seen); i++)
        cx_map_put(map, key_of(i, text), &values[i]);
    while (cx_map_next(map, &cursor, &key, &value)) {
        size_t at = (size_t)((int *)value - values);

        assert_string_equal(key, key_of(at, text));
        assert_false(seen[at]);
        seen[at] = true;
        count++;
    }
    assert_int_equal(count, CX_COUNT(seen));
}

static void a_random_history_matches_a_plain_array(void **state)
{
    CX_AUTO(cx_map_close) cx_map *map = cx_map_open();
    const void *plain[64] = {NULL};
    uint64_t random = 88172645463325252u;
    char key[32];

    (void)state;
    for (size_t step = 0; step < 20000; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;

        size_t at = random % CX_COUNT(plain);

        if (random >> 32 & 1) {
            assert_ptr_equal(cx_map_put(map, key_of(at, key), &values[step % 1000]), plain[at]);
            plain[at] = &values[step % 1000];
        } else {
            assert_ptr_equal(cx_map_remove(map, key_of(at, key)), plain[at]);
            plain[at] = NULL;
        }
    }
    for (size_t i = 0; i < CX_COUNT(plain); i++)
        assert_ptr_equal(cx_map_get(map, key_of(i, key)), plain[i]);
}

static void when_a_name_goes_only_its_keys_move(void **state)
{
    static const char *const five[] = {"node-1", "node-2", "node-3", "node-4", "node-5"};
    static const char *const four[] = {"node-1", "node-2", "node-4", "node-5"};
    size_t per_name[5] = {0};
    char key[32];

    (void)state;
    for (size_t i = 0; i < 2000; i++) {
        const char *before = five[cx_rendezvous(key_of(i, key), five, 5)];
        const char *after = four[cx_rendezvous(key, four, 4)];

        per_name[cx_rendezvous(key, five, 5)]++;
        if (strcmp(before, "node-3") != 0 && strcmp(before, after) != 0)
            fail_msg("%s moved from %s to %s", key, before, after);
    }
    for (size_t i = 0; i < 5; i++)
        if (per_name[i] < 300 || per_name[i] > 500)
            fail_msg("%s has %zu of 2000 keys", five[i], per_name[i]);
}

static void the_order_of_the_names_does_not_matter(void **state)
{
    static const char *const one[] = {"a", "b", "c"};
    static const char *const other[] = {"c", "a", "b"};
    char key[32];

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        key_of(i, key);
        assert_string_equal(one[cx_rendezvous(key, one, 3)], other[cx_rendezvous(key, other, 3)]);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_until_it_is_removed),
        cmocka_unit_test(putting_again_replaces_and_returns_the_old_value),
        cmocka_unit_test(a_walk_sees_every_entry_once),
        cmocka_unit_test(a_random_history_matches_a_plain_array),
        cmocka_unit_test(when_a_name_goes_only_its_keys_move),
        cmocka_unit_test(the_order_of_the_names_does_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
