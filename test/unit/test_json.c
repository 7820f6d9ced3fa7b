#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/log.h"

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    cx_err err;

    assert_true(cx_json_parse(cx_bytes_of(text), 10000, "test", &json, &err));
    return json;
}

static void a_document_is_printed_as_it_was_read(void **state)
{
    static const char text[] = "{\"b\":1,\"a\":[true,null,0.1,-12.345],\"c\":\"\u00e4\\n\"}";
    CX_AUTO(cx_json_free) json_t *json = parse(text);
    CX_AUTO(cx_free) char *line = cx_json_line(json);

    (void)state;
    assert_string_equal(line, text);
}

static void a_scalar_is_a_document(void **state)
{
    CX_AUTO(cx_json_free) json_t *json = parse(" 5 ");
    CX_AUTO(cx_free) char *line = cx_json_line(json);

    (void)state;
    assert_string_equal(line, "5");
}

static void what_is_no_document_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        const char *place;
    } rows[] = {
        {"", "test:1:"},
        {"{", "test:1:"},
        {"{}\n{}", "test:2:"},
        {"{\"a\":1,\n\"a\":2}", "test:2:"},
        {"{\"a\":\"\\u0000\"}", "test:1:"},
        {"[1,]", "test:1:"},
        {"[\"\xff\"]", "test:1:"},
        {"[99999999999999999999]", "test:1:"},
        {"[1e999]", "test:1:"},
        {"nul", "test:1:"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        json_t *json = NULL;
        cx_err err = {0};

        if (cx_json_parse(cx_bytes_of(rows[i].text), 100, "test", &json, &err))
            fail_msg("'%s' is accepted", rows[i].text);
        assert_null(json);
        assert_int_equal(err.code, CX_MALFORMED);
        if (strncmp(err.message, rows[i].place, strlen(rows[i].place)) != 0)
            fail_msg("'%s': %s", rows[i].text, err.message);
    }
}

static void a_document_beyond_its_bound_is_not_parsed(void **state)
{
    json_t *json = NULL;
    cx_err err;

    (void)state;
    assert_false(cx_json_parse(cx_bytes_of("[1,2,3]"), 6, "test", &json, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
}

static void a_hundred_thousand_levels_are_refused(void **state)
{
    enum { LEVELS = 100000 };
    char *text = malloc(LEVELS);
    json_t *json = NULL;
    cx_err err;

    (void)state;
    memset(text, '[', LEVELS);
    assert_false(cx_json_parse((cx_bytes){(uint8_t *)text, LEVELS}, LEVELS, "test", &json, &err));
    assert_int_equal(err.code, CX_MALFORMED);
    free(text);
}

static void any_bytes_become_text(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } rows[] = {
        {"abc", 3, "abc"},
        {"a\0b", 3,
         "a\xEF\xBF\xBD"
         "b"},
        {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
        {"\xFFz", 2, "\xEF\xBF\xBDz"},
        {"\xC3", 1, "\xEF\xBF\xBD"},
        {"\xC0\x80", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"", 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *text = cx_json_text_n(rows[i].bytes, rows[i].size);

        assert_string_equal(json_string_value(text), rows[i].text);
    }
    assert_true(json_is_null(cx_json_text(NULL)));
}

static void figures_are_short_and_never_nan(void **state)
{
    CX_AUTO(cx_json_free)
    json_t *figures = json_pack("[o, o, o, o]", cx_json_figure(1.0 / 3), cx_json_figure(NAN),
                                cx_json_figure(INFINITY), cx_json_figure(-0.0001));
    CX_AUTO(cx_free) char *line = cx_json_line(figures);

    (void)state;
    assert_string_equal(line, "[0.333,null,null,0.0]");
}

static void a_field_of_the_wrong_kind_is_named(void **state)
{
    CX_AUTO(cx_json_free) json_t *json = parse("{\"n\":5,\"t\":\"x\",\"b\":true,\"z\":null}");
    const char *text = "unchanged";
    int64_t number = 42;
    bool flag = false;
    cx_err err;

    (void)state;
    assert_true(cx_json_get_text(json, "spec", "t", &text, &err));
    assert_string_equal(text, "x");
    assert_true(cx_json_get_text(json, "spec", "z", &text, &err));
    assert_true(cx_json_get_text(json, "spec", "missing", &text, &err));
    assert_string_equal(text, "x");
    assert_false(cx_json_need_text(json, "spec", "z", &text, &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_string_equal(err.message, "spec: 'z' is missing");
    assert_false(cx_json_get_text(json, "spec", "n", &text, &err));
    assert_string_equal(err.message, "spec: 'n' must be a text, not an integer");
    assert_true(cx_json_need_int(json, "spec", "n", 0, 5, &number, &err));
    assert_int_equal(number, 5);
    assert_false(cx_json_get_int(json, "spec", "n", 6, 10, &number, &err));
    assert_string_equal(err.message, "spec: 'n' is 5, must be from 6 to 10");
    assert_false(cx_json_get_int(json, "spec", "t", 0, 10, &number, &err));
    assert_true(cx_json_get_bool(json, "spec", "b", &flag, &err) && flag);
    assert_false(cx_json_get_bool(json, "spec", "n", &flag, &err));
    assert_false(cx_json_get_text(json_object_get(json, "n"), "spec", "t", &text, &err));
}

static void an_unknown_key_names_the_nearest(void **state)
{
    static const char *const keys[] = {"id", "command", NULL};
    CX_AUTO(cx_json_free) json_t *good = parse("{\"id\":1}");
    CX_AUTO(cx_json_free) json_t *bad = parse("{\"id\":1,\"comand\":2}");
    cx_err err;

    (void)state;
    assert_true(cx_json_only_keys(good, "spec", keys, &err));
    assert_false(cx_json_only_keys(bad, "spec", keys, &err));
    assert_int_equal(err.code, CX_INVALID);
    assert_string_equal(err.hint, "did you mean 'command'?");
}

static void an_error_comes_back_from_its_document(void **state)
{
    cx_err err = {0};
    cx_err again = {0};

    (void)state;
    cx_fail(&err, CX_DRAINING, "node-2 drains");
    cx_hint(&err, "try another");

    CX_AUTO(cx_json_free) json_t *json = cx_err_to_json(&err);
    CX_AUTO(cx_free) char *line = cx_json_line(json);

    assert_string_equal(line, "{\"error\":{\"code\":\"draining\",\"message\":\"node-2 drains\","
                              "\"hint\":\"try another\",\"exit\":75}}");
    assert_false(cx_err_from_json(json, &again));
    assert_int_equal(again.code, CX_DRAINING);
    assert_string_equal(again.message, "node-2 drains");
    assert_string_equal(again.hint, "try another");
}

static void what_is_no_error_document_is_unavailable(void **state)
{
    static const char *const rows[] = {"5", "{}", "{\"error\":5}", "{\"error\":{\"code\":5}}"};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free) json_t *json = parse(rows[i]);
        cx_err err = {0};

        assert_false(cx_err_from_json(json, &err));
        assert_int_equal(err.code, CX_UNAVAILABLE);
    }
    assert_false(cx_err_from_json(NULL, &(cx_err){0}));
}

static json_t *logged(int fd)
{
    char text[1000];
    ssize_t size = read(fd, text, sizeof(text) - 1);

    assert_true(size > 0 && text[size - 1] == '\n');
    text[size] = '\0';
    return parse(text);
}

static void a_log_line_is_one_object(void **state)
{
    int pipes[2];
    cx_err err;

    (void)state;
    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);

    cx_log log = {.program = "cx-node", .level = CX_INFO, .fd = pipes[1]};

    cx_log_write(&log, CX_DEBUG, "dropped", "{s:o}", "text", cx_json_text("x"));
    cx_log_write(&log, CX_WARN, "agent_failed", "{s:s, s:i}", "id", "echo", "level", 5);

    CX_AUTO(cx_json_free) json_t *line = logged(pipes[0]);

    assert_string_equal(cx_json_text_or_empty(line, "program"), "cx-node");
    assert_string_equal(cx_json_text_or_empty(line, "level"), "warn");
    assert_string_equal(cx_json_text_or_empty(line, "event"), "agent_failed");
    assert_string_equal(cx_json_text_or_empty(line, "id"), "echo");
    assert_int_equal(strlen(cx_json_text_or_empty(line, "time")) >= 20, true);

    cx_fail(&err, CX_IO, "disk \xff");
    cx_log_error(&log, CX_ERROR, "save_failed", &err);
    CX_AUTO(cx_json_free) json_t *error = logged(pipes[0]);
    assert_string_equal(cx_json_text_or_empty(error, "code"), "io");
    assert_string_equal(cx_json_text_or_empty(error, "message"), "disk \xEF\xBF\xBD");

    cx_log_write(&log, CX_ERROR, "odd", "{s:s}", "text", "\xff");
    CX_AUTO(cx_json_free) json_t *odd = logged(pipes[0]);
    assert_true(json_is_true(json_object_get(odd, "fields_lost")));
    close(pipes[0]);
    close(pipes[1]);
}

static void levels_have_words(void **state)
{
    cx_level level = CX_INFO;
    cx_err err;

    (void)state;
    assert_true(cx_level_parse("error", &level, &err));
    assert_int_equal(level, CX_ERROR);
    assert_false(cx_level_parse("loud", &level, &err));
    assert_int_equal(err.code, CX_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_printed_as_it_was_read),
        cmocka_unit_test(a_scalar_is_a_document),
        cmocka_unit_test(what_is_no_document_is_refused_with_its_place),
        cmocka_unit_test(a_document_beyond_its_bound_is_not_parsed),
        cmocka_unit_test(a_hundred_thousand_levels_are_refused),
        cmocka_unit_test(any_bytes_become_text),
        cmocka_unit_test(figures_are_short_and_never_nan),
        cmocka_unit_test(a_field_of_the_wrong_kind_is_named),
        cmocka_unit_test(an_unknown_key_names_the_nearest),
        cmocka_unit_test(an_error_comes_back_from_its_document),
        cmocka_unit_test(what_is_no_error_document_is_unavailable),
        cmocka_unit_test(a_log_line_is_one_object),
        cmocka_unit_test(levels_have_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
