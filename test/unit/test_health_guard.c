#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "health/guard.h"

static void a_loopback_address_is_known_by_its_text(void **state)
{
    static const struct {
        const char *address;
        bool loopback;
    } rows[] = {
        {"127.0.0.1:9180", true},
        {"127.9.8.7:1", true},
        {"[::1]:9180", true},
        {"localhost:9180", true},
        {"10.0.0.1:9180", false},
        {"0.0.0.0:9180", false},
        {":9180", false},
        {"127.evil.com:1", false},
        {"[::]:9180", false},
        {"localhost.evil:1", false},
        {"node-1.prod:9180", false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (health_guard_is_loopback(rows[i].address) != rows[i].loopback)
            fail_msg("%s", rows[i].address);
}

static void a_name_of_strangers_is_refused(void **state)
{
    static const struct {
        const char *host;
        bool good;
    } rows[] = {
        {"127.0.0.1:9180", true},
        {"[fe80::1]:9180", true},
        {"10.1.2.3", true},
        {"localhost:9180", true},
        {"LocalHost", true},
        {"Node-1.Prod:9180", true},
        {"evil.com:9180", false},
        {"node-1", false},
        {"1.2.3.4.evil.com", false},
        {"", false},
        {"[::1", false},
        {NULL, false},
        {":9180", false},
        {"localhost.", false},
    };
    health_guard guard = {.is_open = true};

    (void)state;
    cx_list_add(&guard.names, "node-1.prod");
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_err err;

        if (health_guard_look(&guard, &(health_request){.host = rows[i].host}, &err) !=
            rows[i].good)
            fail_msg("%s", rows[i].host != NULL ? rows[i].host : "none");
    }
    health_guard_free(&guard);
}

static void a_change_comes_from_this_page_with_its_mark(void **state)
{
    static const struct {
        const char *name;
        health_request request;
        bool good;
    } rows[] = {
        {"the page", {"10.0.0.1:9", "http://10.0.0.1:9", "same-origin", "1", NULL}, true},
        {"behind a proxy", {"10.0.0.1:9", "https://10.0.0.1:9", "same-origin", "1", NULL}, true},
        {"curl", {"10.0.0.1:9", NULL, NULL, "1", NULL}, true},
        {"no mark", {"10.0.0.1:9", "http://10.0.0.1:9", "same-origin", NULL, NULL}, false},
        {"another site", {"10.0.0.1:9", "http://evil.com", "cross-site", "1", NULL}, false},
        {"another origin", {"10.0.0.1:9", "http://evil.com", NULL, "1", NULL}, false},
        {"another port", {"10.0.0.1:9", "http://10.0.0.1:99", "same-site", "1", NULL}, false},
        {"no origin to tell", {"10.0.0.1:9", "null", NULL, "1", NULL}, false},
        {"a name", {"evil.com", "http://evil.com", "same-origin", "1", NULL}, false},
    };
    health_guard guard = {.is_open = true};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_err err;

        if (health_guard_change(&guard, &rows[i].request, &err) != rows[i].good)
            fail_msg("%s", rows[i].name);
    }
}

static void beyond_this_host_only_the_token_opens(void **state)
{
    health_guard guard = {0};
    health_request request = {.host = "10.0.0.1:9", .mark = "1"};
    cx_err err;

    (void)state;
    assert_string_equal(health_guard_word(&guard), "off");
    assert_false(health_guard_change(&guard, &request, &err));
    assert_int_equal(err.code, CX_PERMISSION);

    assert_false(
        health_guard_set_token(&guard, cx_bytes_of("too short\n\n\n\n\n\n\n\n\n\n"), &err));
    assert_true(health_guard_set_token(&guard, cx_bytes_of("0123456789abcdef\n"), &err));
    assert_string_equal(health_guard_word(&guard), "token");
    assert_false(health_guard_change(&guard, &request, &err));
    assert_int_equal(err.code, CX_UNAUTHENTICATED);
    request.authorization = "Bearer 0123456789abcdeF";
    assert_false(health_guard_change(&guard, &request, &err));
    request.authorization = "Basic 0123456789abcdef";
    assert_false(health_guard_change(&guard, &request, &err));
    request.authorization = "Bearer 0123456789abcdef";
    assert_true(health_guard_change(&guard, &request, &err));

    /* A token is asked for on this host, too. */
    guard.is_open = true;
    request.authorization = NULL;
    assert_false(health_guard_change(&guard, &request, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loopback_address_is_known_by_its_text),
        cmocka_unit_test(a_name_of_strangers_is_refused),
        cmocka_unit_test(a_change_comes_from_this_page_with_its_mark),
        cmocka_unit_test(beyond_this_host_only_the_token_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
