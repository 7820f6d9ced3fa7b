#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/time.h"
#include "health/silence.h"

static int set_up(void **state)
{
    char *folder = cx_strdup("/tmp/cx-test-silence-XXXXXX");

    *state = folder;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    cx_err err;
    bool is_removed = cx_remove_tree(*state, &err);

    cx_free(state);
    return is_removed ? 0 : -1;
}

static json_t *make(const char *reason)
{
    json_t *silence = NULL;
    cx_err err;

    if (!health_silence_make(
            &(health_silence_wish){
                .name = "disk", .reason = reason, .owner = "alice", .for_ms = 3600 * 1000},
            &silence, &err))
        fail_msg("%s", err.message);
    return silence;
}

static cx_health_store *open_store(const char *folder)
{
    cx_health_store *store = NULL;
    cx_err err;

    if (!cx_health_store_open(folder, false, &store, &err))
        fail_msg("%s", err.message);
    return store;
}

/* The watchers exchange silences, and their clocks differ. */
static void one_that_was_made_by_a_clock_that_is_ahead_can_be_ended(void **state)
{
    CX_AUTO(cx_health_store_close) cx_health_store *store = open_store(*state);
    CX_AUTO(cx_json_free) json_t *silence = make("");
    CX_AUTO(cx_json_free) json_t *ended = NULL;
    CX_AUTO(cx_json_free) json_t *in_force = NULL;
    int64_t wall_ms = cx_wall_ms();
    bool over = true, changed = false;
    cx_err err;

    json_object_set_new(silence, "updated_ms", json_integer(wall_ms + 600 * 1000));
    assert_true(cx_health_store_put_silence(store, silence, NULL, &err));
    assert_true(health_silence_ended(store, cx_json_text_or_empty(silence, "id"), "alice", &ended,
                                     &over, &err));
    assert_false(over);
    assert_true(cx_health_store_put_silence(store, ended, &changed, &err));
    assert_true(changed);
    assert_true(cx_health_store_silences(store, false, cx_wall_ms(), &in_force, &err));
    assert_int_equal(json_array_size(in_force), 0);
}

static void only_who_made_it_ends_it(void **state)
{
    CX_AUTO(cx_health_store_close) cx_health_store *store = open_store(*state);
    CX_AUTO(cx_json_free) json_t *silence = make("the disk is new");
    const char *id = cx_json_text_or_empty(silence, "id");
    json_t *ended = NULL;
    bool over;
    cx_err err;

    assert_true(cx_health_store_put_silence(store, silence, NULL, &err));
    assert_false(health_silence_ended(store, id, "bob", &ended, &over, &err));
    assert_int_equal(err.code, CX_PERMISSION);
    assert_false(health_silence_ended(store, "nobody", "alice", &ended, &over, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_null(ended);
    assert_true(health_silence_ended(store, id, NULL, &ended, &over, &err));
    cx_json_free(&ended);
}

static void a_wish_is_bounded(void **state)
{
    char reason[400] = "";
    const struct {
        const char *name;
        health_silence_wish wish;
        cx_code code;
    } rows[] = {
        {"no time", {.name = "disk", .reason = ""}, CX_USAGE},
        {"for ever", {.name = "disk", .reason = "", .for_ms = INT64_MAX}, CX_USAGE},
        {"a long reason", {.name = "disk", .reason = reason, .for_ms = 1000}, CX_TOO_LARGE},
        {"no name", {.name = "a b", .reason = "", .for_ms = 1000}, CX_INVALID},
        {"no node", {.name = "disk", .subject = "a/b", .reason = "", .for_ms = 1}, CX_INVALID},
    };

    (void)state;
    memset(reason, 'x', sizeof reason - 1);
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        json_t *silence = NULL;
        cx_err err = {0};

        if (health_silence_make(&rows[i].wish, &silence, &err) || err.code != rows[i].code)
            fail_msg("%s: %s", rows[i].name, err.message);
        assert_null(silence);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_was_made_by_a_clock_that_is_ahead_can_be_ended,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_who_made_it_ends_it, set_up, tear_down),
        cmocka_unit_test(a_wish_is_bounded),
    };

    return cmocka_run_group_tests_name("silence", tests, NULL, NULL);
}
