#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/batch.h"

static void add(cx_batch *batch, const char *line)
{
    cx_batch_add(batch, cx_bytes_of(line), batch->count + 1, "echo", "made-here");
}

static bool answer(cx_batch *batch, const char *text, cx_err *err)
{
    return cx_batch_answer(batch, cx_bytes_of(text), err);
}

static const char *status_of(const cx_batch *batch, size_t at)
{
    return batch->lines[at].result != NULL
               ? cx_json_text_or_empty(batch->lines[at].result, "status")
               : "pending";
}

static void a_message_gets_the_receiver_and_the_id_that_it_lacks(void **state)
{
    static const struct {
        const char *name, *line, *sent;
    } rows[] = {
        {"both", "{\"content\":1}",
         "{\"content\":1,\"receiver\":\"echo\",\"message_id\":\"made-here\"}\n"},
        {"none", "{\"receiver\":\"x\",\"message_id\":\"m\",\"content\":1}",
         "{\"receiver\":\"x\",\"message_id\":\"m\",\"content\":1}\n"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_batch_free) cx_batch batch = {0};
        CX_AUTO(cx_buffer_free) cx_buffer body = {0};

        add(&batch, rows[i].line);
        cx_batch_body(&batch, &body);
        if (strcmp((const char *)body.data, rows[i].sent) != 0)
            fail_msg("%s: sent %s", rows[i].name, (const char *)body.data);
    }
}

static void a_line_that_is_no_message_fails_at_its_place_and_is_not_sent(void **state)
{
    CX_AUTO(cx_batch_free) cx_batch batch = {0};
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};
    cx_err err = {0};

    (void)state;
    add(&batch, "{\"message_id\":\"a\"}");
    add(&batch, "{\"message_id\":");
    add(&batch, "[]");
    add(&batch, "{\"message_id\":7}");
    add(&batch, "{\"message_id\":\"b\"}");
    assert_int_equal(batch.pending, 2);
    cx_batch_body(&batch, &body);
    assert_null(strstr((const char *)body.data, "[]"));

    assert_true(answer(&batch,
                       "{\"message_id\":\"a\",\"status\":\"accepted\"}\n"
                       "{\"message_id\":\"b\",\"status\":\"accepted\"}\n",
                       &err));

    assert_string_equal(status_of(&batch, 0), "accepted");
    assert_string_equal(status_of(&batch, 1), "refused");
    assert_string_equal(status_of(&batch, 2), "refused");
    assert_string_equal(status_of(&batch, 3), "refused");
    assert_string_equal(status_of(&batch, 4), "accepted");
    assert_int_equal(batch.accepted, 2);
    assert_int_equal(batch.failed, 3);
}

static void a_line_for_a_node_that_is_full_or_away_is_sent_again_and_others_are_not(void **state)
{
    CX_AUTO(cx_batch_free) cx_batch batch = {0};
    CX_AUTO(cx_buffer_free) cx_buffer body = {0};
    cx_err err = {0};

    (void)state;
    add(&batch, "{\"message_id\":\"a\"}");
    add(&batch, "{\"message_id\":\"b\"}");
    add(&batch, "{\"message_id\":\"c\"}");
    assert_true(
        answer(&batch,
               "{\"message_id\":\"a\",\"status\":\"accepted\"}\n"
               "{\"message_id\":\"b\",\"error\":{\"code\":\"busy\",\"message\":\"full\"}}\n"
               "{\"message_id\":\"c\",\"error\":{\"code\":\"not_found\",\"message\":\"c\"}}",
               &err));
    assert_int_equal(batch.pending, 1);
    assert_int_equal(batch.busy.code, CX_BUSY);
    assert_string_equal(status_of(&batch, 2), "refused");

    cx_batch_body(&batch, &body);
    assert_string_equal((const char *)body.data, "{\"message_id\":\"b\",\"receiver\":\"echo\"}\n");
    assert_true(answer(
        &batch, "{\"message_id\":\"b\",\"error\":{\"code\":\"unavailable\",\"message\":\"away\"}}",
        &err));
    assert_int_equal(batch.pending, 1);
    assert_int_equal(batch.busy.code, CX_UNAVAILABLE);
    assert_true(answer(&batch, "{\"message_id\":\"b\",\"status\":\"accepted\"}\n", &err));

    assert_int_equal(batch.pending, 0);
    assert_int_equal(batch.busy.code, CX_OK);
    assert_int_equal(batch.accepted, 2);
}

static void nothing_is_believed_of_an_answer_that_is_not_about_the_lines(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"nothing", ""},
        {"one line too few", "{\"message_id\":\"a\",\"status\":\"accepted\"}\n"},
        {"one line too many", "{\"message_id\":\"a\",\"status\":\"accepted\"}\n"
                              "{\"message_id\":\"b\",\"status\":\"accepted\"}\n"
                              "{\"message_id\":\"c\",\"status\":\"accepted\"}\n"},
        {"another order", "{\"message_id\":\"b\",\"status\":\"accepted\"}\n"
                          "{\"message_id\":\"a\",\"status\":\"accepted\"}\n"},
        {"no JSON", "accepted\naccepted\n"},
        {"cut off", "{\"message_id\":\"a\",\"status\":\"accepted\"}\n{\"message_id\":\"b\",\"sta"},
        {"neither status nor error",
         "{\"message_id\":\"a\",\"status\":\"accepted\"}\n{\"message_id\":\"b\"}\n"},
        {"an array", "[]\n[]\n"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_batch_free) cx_batch batch = {0};
        cx_err err = {0};

        add(&batch, "{\"message_id\":\"a\"}");
        add(&batch, "{\"message_id\":\"b\"}");
        if (answer(&batch, rows[i].text, &err) || batch.pending != 2 || batch.accepted != 0)
            fail_msg("%s: believed", rows[i].name);
    }
}

static void what_was_never_answered_ends_with_its_id(void **state)
{
    CX_AUTO(cx_batch_free) cx_batch batch = {0};
    cx_err why = {0};

    (void)state;
    add(&batch, "{\"message_id\":\"a\"}");
    cx_fail(&why, CX_UNAVAILABLE, "node-1: connection reset");
    cx_batch_end(&batch, "unacknowledged", &why);

    assert_int_equal(batch.pending, 0);
    assert_int_equal(batch.failed, 1);
    assert_string_equal(status_of(&batch, 0), "unacknowledged");
    assert_string_equal(cx_json_text_or_empty(batch.lines[0].result, "message_id"), "a");
}

static void a_batch_is_full_at_its_bounds(void **state)
{
    CX_AUTO(cx_batch_free) cx_batch by_lines = {0};
    CX_AUTO(cx_batch_free) cx_batch by_bytes = {0};
    CX_AUTO(cx_buffer_free) cx_buffer line = {0};

    (void)state;
    while (!cx_batch_is_full(&by_lines))
        add(&by_lines, "{\"message_id\":\"a\"}");
    assert_int_equal(by_lines.count, CX_BATCH_LINES_MAX);

    cx_buffer_add_text(&line, "{\"content\":\"");
    while (line.size < 200 * 1024)
        cx_buffer_add_text(&line, "xxxxxxxxxxxxxxxx");
    cx_buffer_add_text(&line, "\"}");
    while (!cx_batch_is_full(&by_bytes))
        add(&by_bytes, (const char *)line.data);
    assert_true(by_bytes.bytes <= CX_BATCH_BYTES_MAX);
    assert_true(by_bytes.count > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_gets_the_receiver_and_the_id_that_it_lacks),
        cmocka_unit_test(a_line_that_is_no_message_fails_at_its_place_and_is_not_sent),
        cmocka_unit_test(a_line_for_a_node_that_is_full_or_away_is_sent_again_and_others_are_not),
        cmocka_unit_test(nothing_is_believed_of_an_answer_that_is_not_about_the_lines),
        cmocka_unit_test(what_was_never_answered_ends_with_its_id),
        cmocka_unit_test(a_batch_is_full_at_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
