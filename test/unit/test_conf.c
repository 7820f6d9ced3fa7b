#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/conf.h"

/* The document as JSON, or its findings as "LINE:COLUMN WHERE: MESSAGE" lines. Caller owns. */
static char *parse(cx_bytes text)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_json_free) json_t *json = NULL;
    cx_buffer result = {0};
    cx_err err = {0};

    if (cx_conf_parse(text, "test.yaml", &conf, &errors, &err)) {
        assert_int_equal(errors.count, 0);
        json = cx_conf_to_json(cx_conf_root(conf));
        return json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    }
    assert_null(conf);
    assert_int_equal(err.code, CX_CONFIG);
    for (size_t i = 0; i < errors.count; i++)
        cx_buffer_addf(&result, "%zu:%zu %s: %s\n", errors.items[i].line, errors.items[i].column,
                       errors.items[i].where, errors.items[i].message);
    return cx_buffer_take_text(&result);
}

static void a_plain_scalar_has_the_type_of_the_core_schema(void **state)
{
    static const struct {
        const char *yaml;
        const char *json;
    } rows[] = {
        {"02:00", "\"02:00\""},
        {"yes", "\"yes\""},
        {"on", "\"on\""},
        {"True", "true"},
        {"tRue", "\"tRue\""},
        {"~", "null"},
        {"Null", "null"},
        {"nULL", "\"nULL\""},
        {"0x1f", "31"},
        {"0x1G", "\"0x1G\""},
        {"0o17", "15"},
        {"0o18", "\"0o18\""},
        {"017", "17"},
        {"-17", "-17"},
        {"+17", "17"},
        {"1_000", "\"1_000\""},
        {"1e3", "1000.0"},
        {"1.", "1.0"},
        {".5", "0.5"},
        {".", "\".\""},
        {"-", "[null]"},
        {"1e", "\"1e\""},
        {"1.2.3", "\"1.2.3\""},
        {".inf", "\".inf\""},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9.2233720368547758e18"},
        {"0x8000000000000000", "0.0"},
        {"2026-11-24", "\"2026-11-24\""},
        {"'12'", "\"12\""},
        {"\"true\"", "\"true\""},
        {"|\n  12\n", "\"12\\n\""},
        {"", "null"},
        {"# nothing\n", "null"},
        {"\xef\xbb\xbf"
         "a: 1",
         "{\"a\":1}"},
        {"<<: 1", "{\"<<\":1}"},
        {"é: ü", "{\"é\":\"ü\"}"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *result = parse(cx_bytes_of(rows[i].yaml));

        if (strcmp(rows[i].json, "0.0") == 0) /* beyond int64: a number all the same */
            assert_null(strchr(result, ' '));
        else if (strcmp(result, rows[i].json) != 0)
            fail_msg("%s: %s", rows[i].yaml, result);
    }
}

static void json_is_read_as_it_stands(void **state)
{
    static const char *const rows[] = {
        "{\"a\":1,\"b\":[true,null,\"x\"],\"c\":{\"d\":-1.5}}",
        "{\n\t\"a\":\t[\n\t\t1,\n\t\t2\n\t]\n}\n",
        "{\"path\":\"a\\/b\",\"e\":\"\\u00e9\\n\\\"\"}",
        "{\"emoji\":\"\\ud83d\\ude00\",\"back\":\"\\\\ud83d\"}",
        "[]",
        "\"text\"",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *result = parse(cx_bytes_of(rows[i]));
        CX_AUTO(cx_json_free) json_t *json = json_loads(rows[i], JSON_DECODE_ANY, NULL);
        CX_AUTO(cx_free)
        char *expected = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);

        assert_string_equal(result, expected);
    }
}

static void what_configuration_must_not_have_is_named_with_its_place(void **state)
{
    static const struct {
        const char *yaml;
        const char *findings;
    } rows[] = {
        {"a: &x 1\nb: *x\n", "1:4 a: anchors are not allowed\n2:4 b: aliases are not allowed\n"},
        {"a: !!str 1\nb: ! 2\nc: ! \"3\"\nd: !x {}\n",
         "1:4 a: tags are not allowed\n2:4 b: tags are not allowed\n3:4 c: tags are not allowed\n"
         "4:4 d: tags are not allowed\n"},
        {"%TAG ! tag:example.org,2026:\n---\na: 1\n", "1:1 : tags are not allowed\n"},
        {"a: 1\nb:\n  - {c: 1, c: 2}\na: 2\n",
         "3:12 b[0].c: duplicate key \"c\", already on line 3\n"
         "4:1 a: duplicate key \"a\", already on line 1\n"},
        {"{\"a\":1,\n \"a\":2}", "2:2 a: duplicate key \"a\", already on line 1\n"},
        {"a: 1\n---\nb: 2\n", "2:1 : more than one document\n"},
        {"a: 1\n--- \n...\n", "2:1 : more than one document\n"},
        {"? [a]\n: 1\n", "1:3 : a key must be text\n"},
        {"a: {\"\": 1}\n", "1:5 a: a key must have a name\n"},
        {"a: 1\nb\xff: 2\n", "2:2 : invalid leading UTF-8 octet\n"},
        {"a: \"\xed\xa0\x80\"\n", "1:5 : invalid Unicode character\n"},
        {"a: \x01\n", "1:4 : control characters are not allowed\n"},
        {"a: \"x\\0y\"\n", "1:4 a: a NUL character is not allowed\n"},
        {"\"x\\0\": 1\n", "1:1 : a NUL character is not allowed\n"},
        {"a:\n\t- 1\n",
         "2:1 a: while scanning for the next token, found character that cannot start any token\n"},
        {"a: b: c\n", "1:5 : mapping values are not allowed in this context\n"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *result = parse(cx_bytes_of(rows[i].yaml));

        if (strcmp(result, rows[i].findings) != 0)
            fail_msg("%s: %s", rows[i].yaml, result);
    }
}

static void utf_16_is_refused(void **state)
{
    static const uint8_t text[] = {0xff, 0xfe, 'a', 0, ':', 0, ' ', 0, '1', 0};
    CX_AUTO(cx_free) char *result = parse((cx_bytes){text, sizeof text});

    (void)state;
    assert_string_equal(result, "1:1 : invalid leading UTF-8 octet\n");
}

static char *nested(size_t levels)
{
    cx_buffer text = {0};

    for (size_t i = 0; i < levels; i++)
        cx_buffer_add_text(&text, "[");
    for (size_t i = 0; i < levels; i++)
        cx_buffer_add_text(&text, "]");
    return cx_buffer_take_text(&text);
}

static void nesting_has_a_limit(void **state)
{
    CX_AUTO(cx_free) char *deepest = nested(CX_CONF_DEPTH_MAX);
    CX_AUTO(cx_free) char *deeper = nested(CX_CONF_DEPTH_MAX + 1);
    CX_AUTO(cx_free) char *abyss = nested(400000);
    CX_AUTO(cx_free) char *good = parse(cx_bytes_of(deepest));
    CX_AUTO(cx_free) char *bad = parse(cx_bytes_of(deeper));
    CX_AUTO(cx_free) char *worse = parse(cx_bytes_of(abyss));

    (void)state;
    assert_string_equal(good, deepest);
    assert_non_null(strstr(bad, "nested too deep"));
    assert_non_null(strstr(worse, "nested too deep"));
}

static void size_and_number_of_values_have_limits(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer large = {0};
    CX_AUTO(cx_buffer_free) cx_buffer many = {0};
    CX_AUTO(cx_free) char *too_large = NULL;
    CX_AUTO(cx_free) char *too_many = NULL;

    (void)state;
    memset(cx_buffer_reserve(&large, CX_CONF_BYTES_MAX + 1), 'a', CX_CONF_BYTES_MAX + 1);
    large.size = CX_CONF_BYTES_MAX + 1;
    for (size_t i = 0; i <= CX_CONF_NODES_MAX; i++)
        cx_buffer_add_text(&many, "- 1\n");
    too_large = parse(cx_buffer_bytes(&large));
    too_many = parse(cx_buffer_bytes(&many));
    assert_string_equal(too_large, "1:1 : the document has more than 1048576 bytes\n");
    assert_non_null(strstr(too_many, "too many values"));
}

static void a_key_has_a_limit(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    CX_AUTO(cx_free) char *result = NULL;

    (void)state;
    for (size_t i = 0; i <= CX_CONF_KEY_MAX; i++)
        cx_buffer_add_text(&text, "k");
    cx_buffer_add_text(&text, ": 1\n");
    result = parse(cx_buffer_bytes(&text));
    assert_string_equal(result, "1:1 : the key is too long\n");
}

static void findings_beyond_the_limit_are_dropped(void **state)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    CX_AUTO(cx_buffer_free) cx_buffer text = {0};
    cx_err err = {0};

    (void)state;
    for (size_t i = 0; i < 2 * CX_CONF_ERRORS_MAX; i++)
        cx_buffer_add_text(&text, "- !x 1\n");
    assert_false(cx_conf_parse(cx_buffer_bytes(&text), "f", &conf, &errors, &err));
    assert_int_equal(errors.count, CX_CONF_ERRORS_MAX);
    assert_string_equal(err.message, "f:1:3: [0]: tags are not allowed (and 99 more)");
}

static void an_unknown_key_is_named_with_the_nearest_known_one(void **state)
{
    static const char *const known[] = {"data_dir", "log_dir", NULL};
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    cx_err err = {0};

    (void)state;
    assert_true(
        cx_conf_parse(cx_bytes_of("log_dir: /x\ndata_dri: /y\n"), "f", &conf, &errors, &err));
    cx_conf_only_keys(conf, cx_conf_root(conf), "top", known, &errors);
    assert_int_equal(errors.count, 1);
    assert_int_equal(errors.items[0].line, 2);
    assert_string_equal(errors.items[0].where, "top.data_dri");
    assert_string_equal(errors.items[0].hint, "did you mean \"data_dir\"?");
    assert_false(cx_conf_fail(&errors, &err));
    assert_int_equal(err.code, CX_CONFIG);
    assert_string_equal(err.message, "f:2:1: top.data_dri: unknown key \"data_dri\"");
}

static void findings_stand_in_the_order_of_the_file_and_hold_no_control_characters(void **state)
{
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};

    (void)state;
    cx_conf_errors_add(&errors, "a", 9, 1, "x", NULL, "%s", "red \x1b[31m");
    cx_conf_errors_add(&errors, "a", 2, 5, "y", NULL, "second");
    cx_conf_errors_add(&errors, "a", 2, 1, "z", NULL, "first");
    cx_conf_errors_add(&errors, "b", 1, 1, "b", NULL, "another file");
    assert_string_equal(errors.items[0].message, "first");
    assert_string_equal(errors.items[1].message, "second");
    assert_string_equal(errors.items[2].message, "red ?[31m");
    assert_string_equal(errors.items[3].message, "another file");
}

static void a_missing_file_is_no_finding(void **state)
{
    CX_AUTO(cx_conf_close) cx_conf *conf = NULL;
    CX_AUTO(cx_conf_errors_free) cx_conf_errors errors = {0};
    cx_err err = {0};

    (void)state;
    assert_false(cx_conf_read("/nowhere/config.yaml", &conf, &errors, &err));
    assert_int_equal(err.code, CX_NOT_FOUND);
    assert_int_equal(errors.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_scalar_has_the_type_of_the_core_schema),
        cmocka_unit_test(json_is_read_as_it_stands),
        cmocka_unit_test(what_configuration_must_not_have_is_named_with_its_place),
        cmocka_unit_test(utf_16_is_refused),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(size_and_number_of_values_have_limits),
        cmocka_unit_test(a_key_has_a_limit),
        cmocka_unit_test(findings_beyond_the_limit_are_dropped),
        cmocka_unit_test(an_unknown_key_is_named_with_the_nearest_known_one),
        cmocka_unit_test(findings_stand_in_the_order_of_the_file_and_hold_no_control_characters),
        cmocka_unit_test(a_missing_file_is_no_finding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
