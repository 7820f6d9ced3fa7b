/* What a bundle makes of text besides redaction: the young part of a log, names without meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/time.h"
#include "bundle/obfuscate.h"
#include "bundle/window.h"

#define OLD   "{\"time\":\"2026-11-24T08:00:00Z\",\"n\":1}\n"
#define YOUNG "{\"time\":\"2026-11-24T10:00:00Z\",\"n\":2}\n"

static void a_log_is_cut_to_its_young_part_and_its_head(void **state)
{
    static const struct {
        const char *name, *log, *head, *rest;
        size_t head_max, size_max;
    } rows[] = {
        {"all young", YOUNG YOUNG, "", YOUNG YOUNG, 0, 1000},
        {"what is old goes", OLD OLD YOUNG YOUNG, "", YOUNG YOUNG, 0, 1000},
        {"but for the head", OLD OLD YOUNG, OLD, YOUNG, sizeof OLD, 1000},
        {"the head never overlaps", OLD YOUNG YOUNG, OLD, YOUNG YOUNG, 1000, 1000},
        {"all old", OLD OLD, "", "", 0, 1000},
        {"lines without a time belong to the one before", OLD "  at x\n" YOUNG "  at y\n", "",
         YOUNG "  at y\n", 0, 1000},
        {"no times at all: young", "one\ntwo\n", "", "one\ntwo\n", 0, 1000},
        {"at most so many bytes, of the end", YOUNG YOUNG YOUNG, "", YOUNG, 0, sizeof YOUNG + 3},
        {"as journals write it", "2026-11-24T08:00:00.5+0000 a\n2026-11-24T12:00:00+0200 b\n", "",
         "2026-11-24T12:00:00+0200 b\n", 0, 1000},
        {"empty", "", "", "", 10, 1000},
    };
    int64_t since_ms = 0;
    cx_err err;

    (void)state;
    assert_true(cx_time_parse("2026-11-24T09:00:00Z", &since_ms, &err));
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_bytes log = cx_bytes_of(rows[i].log);
        bundle_window window = bundle_log_window(log, since_ms, rows[i].head_max, rows[i].size_max);
        CX_AUTO(cx_free) char *head = cx_strndup(rows[i].log, window.head);

        if (strcmp(head, rows[i].head) != 0 || strcmp(rows[i].log + window.from, rows[i].rest) != 0)
            fail_msg("%s: head %s, rest %s", rows[i].name, head, rows[i].log + window.from);
    }
}

static void names_become_the_same_word_everywhere(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"connect 10.1.2.3:8080, 10.1.2.3; 10.1.2.30",
         "connect address-1:8080, address-1; address-2"},
        {"{\"l\":\"\\n10.1.2.3\"}", "{\"l\":\"\\naddress-1\"}"},
        {"[fd00::12]:7946 and fd00::12.", "[address-3]:7946 and address-3."},
        {"0.0.0.0:80 127.0.0.1 ::1 10:20:30 1.2.3", "0.0.0.0:80 127.0.0.1 ::1 10:20:30 1.2.3"},
        {"at 2026-11-24T10:00:00Z dead beef abc:def", "at 2026-11-24T10:00:00Z dead beef abc:def"},
        {"db7.example.org, DB7.example.org:5432", "host-1, host-1:5432"},
        {"xdb7.example.org db7.example.orgs", "xdb7.example.org db7.example.orgs"},
    };
    CX_AUTO(bundle_obfuscator_close) bundle_obfuscator *obfuscator = bundle_obfuscator_open();
    CX_AUTO(cx_json_free) json_t *map = NULL;

    (void)state;
    bundle_obfuscator_know(obfuscator, "db7.example.org");
    bundle_obfuscator_know(obfuscator, "10.9.9.9");
    bundle_obfuscator_know(obfuscator, "localhost");
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer out = {0};

        bundle_obfuscate(obfuscator, cx_bytes_of(rows[i].text), &out);
        if (strcmp((const char *)out.data, rows[i].expected) != 0)
            fail_msg("%s: %s", rows[i].text, (const char *)out.data);
    }
    map = bundle_obfuscator_map(obfuscator);
    assert_string_equal(json_string_value(json_object_get(map, "10.1.2.30")), "address-2");
    assert_int_equal(json_object_size(map), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_is_cut_to_its_young_part_and_its_head),
        cmocka_unit_test(names_become_the_same_word_everywhere),
    };

    return cmocka_run_group_tests_name("bundle_text", tests, NULL, NULL);
}
