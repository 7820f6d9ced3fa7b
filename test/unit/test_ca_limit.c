#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "ca/limit.h"

static size_t take_all(ca_limit *limit, const char *address, int64_t now_ms)
{
    size_t count = 0;

    while (ca_limit_take(limit, address, now_ms))
        count++;
    return count;
}

static void an_address_gets_a_burst_and_then_one_at_a_time(void **state)
{
    ca_limit *limit = cx_alloc(1, sizeof(*limit));

    (void)state;
    assert_int_equal(take_all(limit, "10.0.0.1:1000", 5000), CA_LIMIT_BURST);
    assert_int_equal(take_all(limit, "10.0.0.1:2000", 5000), 0);
    assert_int_equal(take_all(limit, "10.0.0.1:3000", 5000 + 3 * CA_LIMIT_EVERY_MS), 3);
    assert_int_equal(take_all(limit, "10.0.0.1:1", 5000 + 100 * CA_LIMIT_BURST * CA_LIMIT_EVERY_MS),
                     CA_LIMIT_BURST);
    cx_free(&limit);
}

static void one_address_does_not_use_up_another_ones(void **state)
{
    ca_limit *limit = cx_alloc(1, sizeof(*limit));

    (void)state;
    take_all(limit, "10.0.0.1:1000", 0);

    assert_int_equal(take_all(limit, "10.0.0.2:1000", 0), CA_LIMIT_BURST);
    assert_int_equal(take_all(limit, "[::1]:1000", 0), CA_LIMIT_BURST);
    cx_free(&limit);
}

static void when_the_table_is_full_the_oldest_is_forgotten(void **state)
{
    ca_limit *limit = cx_alloc(1, sizeof(*limit));
    char address[64];

    (void)state;
    for (int i = 0; i < CA_LIMIT_ADDRESSES; i++) {
        snprintf(address, sizeof(address), "10.0.%d.%d:1", i / 256, i % 256);
        take_all(limit, address, i);
    }
    assert_int_equal(take_all(limit, "10.9.9.9:1", 1100), CA_LIMIT_BURST);

    assert_int_equal(take_all(limit, "10.0.3.255:1", 1100), 0);
    assert_int_equal(take_all(limit, "10.0.0.0:1", 1100), CA_LIMIT_BURST);
    cx_free(&limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_gets_a_burst_and_then_one_at_a_time),
        cmocka_unit_test(one_address_does_not_use_up_another_ones),
        cmocka_unit_test(when_the_table_is_full_the_oldest_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
