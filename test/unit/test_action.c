#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "health/action.h"
#include "health/action_words.h"

static json_t *notice(const char *name, const char *subject, const char *status,
                      const char *message)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id",
                     "k1-18c-f", "key", "k1", "name", name, "severity", "critical", "status",
                     status, "subject", subject, "cluster", "prod", "watcher", "node-1", "since",
                     "2026-11-24T10:00:00Z", "at", "2026-11-24T10:01:00Z", "message", message,
                     "description", "", "runbook", "node-failure");
}

static json_t *two(void)
{
    json_t *notices = json_array();

    json_array_append_new(notices, notice("node_down", "node-3", "firing", "no answer"));
    json_array_append_new(notices, notice("disk_full", "node-2", "resolved", "disk is 10%"));
    return notices;
}

static void a_group_has_a_title_that_counts(void **state)
{
    CX_AUTO(cx_json_free) json_t *notices = two();
    CX_AUTO(cx_free) char *title = cx_notices_title(notices);
    CX_AUTO(cx_json_free) json_t *document = cx_notices_document(notices);

    (void)state;
    assert_string_equal(title,
                        "[prod] 1 alert firing, 1 resolved: node_down node-3, disk_full node-2");
    assert_string_equal(cx_json_text_or_empty(document, "status"), "firing");
    assert_int_equal(json_array_size(json_object_get(document, "alerts")), 2);
}

static void slack_sees_no_markup_of_a_message(void **state)
{
    CX_AUTO(cx_json_free) json_t *notices = json_array();
    CX_AUTO(cx_json_free) json_t *document = NULL;
    const char *text;

    (void)state;
    json_array_append_new(notices, notice("a", "n", "firing", "<!channel> & <http://x|y>"));
    document = cx_notices_slack(notices, "#ops");
    text = cx_json_text_or_empty(document, "text");
    assert_non_null(strstr(text, "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"));
    assert_null(strchr(text, '<'));
    assert_string_equal(cx_json_text_or_empty(document, "channel"), "#ops");
}

static void pagerduty_is_triggered_and_resolved_by_the_key(void **state)
{
    static const struct {
        const char *status, *action;
    } rows[] = {{"firing", "trigger"}, {"resolved", "resolve"}};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_json_free)
        json_t *one = notice("node_down", "node-3", rows[i].status, "no answer");
        CX_AUTO(cx_json_free) json_t *event = cx_notice_pagerduty(one);
        const json_t *payload = json_object_get(event, "payload");

        assert_string_equal(cx_json_text_or_empty(event, "event_action"), rows[i].action);
        assert_string_equal(cx_json_text_or_empty(event, "dedup_key"), "k1");
        assert_string_equal(cx_json_text_or_empty(payload, "severity"), "critical");
        assert_string_equal(cx_json_text_or_empty(payload, "source"), "node-3");
    }
}

static void alertmanager_gets_labels_that_do_not_change(void **state)
{
    CX_AUTO(cx_json_free) json_t *notices = two();
    CX_AUTO(cx_json_free)
    json_t *list = cx_notices_alertmanager(notices, INT64_C(1800000000000));
    const json_t *first = json_array_get(list, 0);

    (void)state;
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(cx_json_text_or_empty(json_object_get(first, "labels"), "alertname"),
                        "node_down");
    assert_string_equal(cx_json_text_or_empty(first, "endsAt"), "2027-01-15T08:00:00Z");
    assert_string_equal(cx_json_text_or_empty(json_array_get(list, 1), "endsAt"),
                        "2026-11-24T10:01:00Z");
}

static void a_mail_is_one_mail_whatever_is_in_it(void **state)
{
    CX_AUTO(cx_json_free) json_t *notices = json_array();
    CX_AUTO(cx_json_free) json_t *to = json_pack("[s, s]", "ann@example.org", "bob@example.org");
    CX_AUTO(cx_buffer_free) cx_buffer mail = {0};
    cx_err err = {0};
    const char *text, *end;

    (void)state;
    json_array_append_new(notices, notice("disk\r\nBcc: eve@example.org", "nœud", "firing",
                                          "\r\n.\r\nMAIL FROM:<x>"));
    assert_true(cx_notices_mail(notices, "cx@example.org", to, "Tue, 24 Nov 2026 10:00:00 +0000",
                                &mail, &err));
    text = (const char *)mail.data;
    end = strstr(text, "\r\n\r\n");
    assert_non_null(end);
    assert_null(strstr(text, "Bcc:"));
    assert_null(strstr(text, "\n."));
    assert_non_null(strstr(text, "To: ann@example.org,\r\n bob@example.org\r\n"));
    assert_non_null(strstr(text, "Subject: =?UTF-8?B?"));
    assert_non_null(strstr(text, "Message-ID: <k1-18c-f@prod.cx>\r\n"));
    for (const char *at = text; *at != '\0'; at++)
        if ((*at == '\n') != (at > text && at[-1] == '\r'))
            fail_msg("a bare CR or LF at %zu", (size_t)(at - text));
}

static void an_address_that_is_more_than_one_is_refused(void **state)
{
    static const char *const bad[] = {"", "nobody", "a@b, c@d", "a@b>\r\nX", "<a@b>", "a b@c"};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(bad); i++) {
        CX_AUTO(cx_json_free) json_t *notices = two();
        CX_AUTO(cx_json_free) json_t *to = json_pack("[s]", bad[i]);
        CX_AUTO(cx_json_free) json_t *good = json_pack("[s]", "a@b");
        CX_AUTO(cx_buffer_free) cx_buffer mail = {0};
        cx_err err = {0};

        if (cx_notices_mail(notices, "a@b", to, "now", &mail, &err) ||
            cx_notices_mail(notices, bad[i], good, "now", &mail, &err))
            fail_msg("taken: %s", bad[i]);
    }
}

static void waits_double_up_to_the_longest(void **state)
{
    (void)state;
    for (uint32_t random = 0; random < 5; random++) {
        int64_t last = 0;

        for (int64_t failures = 1; failures < 100; failures++) {
            int64_t wait = cx_action_wait_ms(failures, random * 123456789u);

            assert_true(wait <= CX_ACTION_WAIT_MAX_MS);
            assert_true(wait >= CX_ACTION_WAIT_FIRST_MS * 4 / 5);
            if (failures < 8)
                assert_true(wait > last);
            else if (failures > 10)
                assert_true(wait >= CX_ACTION_WAIT_MAX_MS * 4 / 5);
            last = wait;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_has_a_title_that_counts),
        cmocka_unit_test(slack_sees_no_markup_of_a_message),
        cmocka_unit_test(pagerduty_is_triggered_and_resolved_by_the_key),
        cmocka_unit_test(alertmanager_gets_labels_that_do_not_change),
        cmocka_unit_test(a_mail_is_one_mail_whatever_is_in_it),
        cmocka_unit_test(an_address_that_is_more_than_one_is_refused),
        cmocka_unit_test(waits_double_up_to_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
