#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "health/quiet.h"

static void who_was_taken_out_of_service_is_quiet_and_a_failed_one_for_two_hours(void **state)
{
    static const struct {
        const char *name, *status, *tag, *since;
        const char *word; /* NULL: not quiet */
    } rows[] = {
        {"active", "alive", "active", "1970-01-01T00:00:00Z", NULL},
        {"draining", "alive", "draining", "1970-01-01T00:00:00Z", "draining"},
        {"drained", "suspect", "drained", "1970-01-01T00:00:00Z", "drained"},
        {"for days", "alive", "maintenance", "1970-01-01T00:00:00Z", "maintenance"},
        {"just failed", "failed", "maintenance", "1970-01-01T22:30:00Z", "maintenance"},
        {"stays away", "failed", "maintenance", "1970-01-01T21:30:00Z", NULL},
        {"failed while active", "failed", "active", "1970-01-01T23:59:00Z", NULL},
        {"failed, nobody knows when", "failed", "drained", "once", NULL},
        {"a word of its own", "alive", "asleep", "1970-01-01T00:00:00Z", NULL},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free)
        json_t *member =
            json_pack("{s:s, s:s, s:s, s:{s:s}}", "node_id", "node-1", "status", rows[i].status,
                      "since", rows[i].since, "tags", "state", rows[i].tag);
        CX_AUTO(cx_json_free) json_t *members = json_pack("[O]", member);
        CX_AUTO(cx_json_free) json_t *list = health_quiet_list(members, INT64_C(24) * 3600000);
        cx_silence read;
        cx_err err;

        if ((json_array_size(list) == 1) != (rows[i].word != NULL))
            fail_msg("%s", rows[i].name);
        if (rows[i].word == NULL)
            continue;
        assert_true(cx_silence_from_json(json_array_get(list, 0), "quiet", &read, &err));
        assert_string_equal(read.id, rows[i].word);
        assert_string_equal(read.name, "*");
        assert_string_equal(read.subject, "node-1");
        assert_true(read.from_ms <= INT64_C(24) * 3600000 && read.until_ms > INT64_C(24) * 3600000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_was_taken_out_of_service_is_quiet_and_a_failed_one_for_two_hours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
