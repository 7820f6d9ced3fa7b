#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/redact.h"

static char *redacted(const cx_redactor *redactor, const char *text, cx_redactions *found)
{
    CX_AUTO(cx_buffer_free) cx_buffer out = {0};

    cx_redact(redactor, cx_bytes_of(text), &out, found);
    cx_buffer_add(&out, "", 0);
    return cx_buffer_take_text(&out);
}

#define AWS_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKE1"
#define KEY_32     "q1Cw5C1l2jRnVm8Uo3Xk7Q0ZyT9aBcDeFgHiJkLmNoE="
#define KEY_16     "q1Cw5C1l2jRnVm8Uo3Xk7Q=="
#define PEM_BODY   "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2"
#define JWT        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpMeJf36"

static void secrets_are_gone_and_the_rest_stays(void **state)
{
    static const struct {
        const char *text, *secret, *stays;
        cx_secret kind;
    } rows[] = {
        /* by shape */
        {"a\n-----BEGIN PRIVATE KEY-----\n" PEM_BODY "\n-----END PRIVATE KEY-----\nb", PEM_BODY,
         "\nb", CX_SECRET_PRIVATE_KEY},
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", "b3BlbnNzaC1rZXktdjEA", "",
         CX_SECRET_PRIVATE_KEY},
        {"{\"pem\":\"-----BEGIN EC PRIVATE KEY-----\\n" PEM_BODY
         "\\n-----END EC PRIVATE KEY-----\\n\",\"x\":1}",
         PEM_BODY, "\",\"x\":1}", CX_SECRET_PRIVATE_KEY},
        {PEM_BODY "\n-----END RSA PRIVATE KEY-----\nafter", PEM_BODY, "\nafter",
         CX_SECRET_PRIVATE_KEY},
        {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n" PEM_BODY "\nlog: fine",
         PEM_BODY, "\nlog: fine", CX_SECRET_PRIVATE_KEY},
        {"-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOYBF+abc\n-----END PGP PRIVATE KEY BLOCK-----",
         "lQOYBF", "", CX_SECRET_PRIVATE_KEY},
        {"a key " PEM_BODY " alone", PEM_BODY, " alone", CX_SECRET_PRIVATE_KEY},
        {"{\"k\":\"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\\nc2Vjb25k\"}", "c2Vjb25k",
         "\"}", CX_SECRET_PRIVATE_KEY},
        {"join with cxj1.eyJ1cmwiOiJo-_x now", "eyJ1cmwiOiJo", " now", CX_SECRET_JOIN_TOKEN},
        {"{\"l\":\"\\nAGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L\"}", "1QQPZRY9", "\"}",
         CX_SECRET_AGE_IDENTITY},
        {"age-secret-key-1qqpzry9x8gf2", "1qqpzry9", "", CX_SECRET_AGE_IDENTITY},
        {"id AKIAIOSFODNN7EXAMPLE, ok", "AKIAIOSFODNN7EXAMPLE", ", ok", CX_SECRET_AWS_KEY},
        {"AKIA…," AWS_SECRET "\n", AWS_SECRET, "\n", CX_SECRET_AWS_KEY},
        {"key " KEY_32 " used", KEY_32, " used", CX_SECRET_KEY_BYTES},
        {"{\"keys\":[\"" KEY_16 "\",\"" KEY_32 "\"]}", KEY_32, "\"]}", CX_SECRET_KEY_BYTES},
        {"curl -H 'X: Bearer abcdefgh1234'", "abcdefgh1234", "'", CX_SECRET_BEARER},
        {"https://ops:hunter2@repo.example/x", "hunter2", "@repo.example/x",
         CX_SECRET_URL_CREDENTIALS},
        {"amqp://u:p/w+d@h:1/v", "p/w+d", "@h:1/v", CX_SECRET_URL_CREDENTIALS},
        {"jwt " JWT ".", JWT, "", CX_SECRET_SERVICE_TOKEN},
        {"to https://hooks.slack.com/services/T0/B0/abcdef ok", "abcdef", " ok",
         CX_SECRET_SERVICE_TOKEN},
        /* by name */
        {"{\"password\":\"hun\\\"ter2\",\"b\":1}", "ter2", ",\"b\":1}", CX_SECRET_NAMED},
        {"{\"smtp_password\" : 12345, \"b\":1}", "12345", ", \"b\":1}", CX_SECRET_NAMED},
        {"{\"m\":\"{\\\"api_key\\\":\\\"abc\\\",\\\"b\\\":2}\"}", "abc", "\\\"b\\\":2}",
         CX_SECRET_NAMED},
        {"{\"secrets\":[\"s3\", {\"a\":\"]\"}],\"b\":1}", "s3", ",\"b\":1}", CX_SECRET_NAMED},
        {"{\"client_secret\":\n  {\"v\":\"s3\"},\"b\":1}", "s3", ",\"b\":1}", CX_SECRET_NAMED},
        {"argv: [\"x\",\"--password\",\"hunter2\",\"y\"]", "hunter2", ",\"y\"]", CX_SECRET_NAMED},
        {"cmd --token hunter2 --name n", "hunter2", " --name n", CX_SECRET_NAMED},
        {"cmd --db-password=hunter2 -x", "hunter2", " -x", CX_SECRET_NAMED},
        {"export DB_PASS=hunter2\nexport B=1", "hunter2", "\nexport B=1", CX_SECRET_NAMED},
        {"smtp:\n  password: correct horse\n  host: h\n", "horse", "\n  host: h\n",
         CX_SECRET_NAMED},
        {"  password: |\n    line one\n    two\n  host: h\n", "two", "\n  host: h\n",
         CX_SECRET_NAMED},
        {"tokens:\n- one1\n- two2\nhost: h\n", "two2", "\nhost: h\n", CX_SECRET_NAMED},
        {"secrets:\n  db:\n    x: one1\nhost: h\n", "one1", "\nhost: h\n", CX_SECRET_NAMED},
        {"- name: a\n  private_key: 'x''y z'\n  b: 1", "x''y z", "b: 1", CX_SECRET_NAMED},
        {"GET /x?token=abc123&user=u HTTP", "abc123", "&user=u HTTP", CX_SECRET_NAMED},
        {"[db]\npassword = correct horse\nhost = h\n", "horse", "\nhost = h\n", CX_SECRET_NAMED},
        {"Authorization: Basic dXNlcjpwdw==\r\nHost: h", "dXNlcjpwdw", "\r\nHost: h",
         CX_SECRET_NAMED},
        {"Set-Cookie: sid=1234; Path=/\nHost: h", "1234", "\nHost: h", CX_SECRET_NAMED},
        {"<password>hunter2</password><b>1</b>", "hunter2", "</password><b>1</b>", CX_SECRET_NAMED},
        {"{\"env\":[{\"name\":\"DB_PASSWORD\",\"value\":\"hunter2\"},{\"name\":\"b\"}]}", "hunter2",
         "\"},{\"name\":\"b\"}]}", CX_SECRET_NAMED},
        {"{\"m\":\"{\\\"name\\\": \\\"token\\\", \\\"value\\\": \\\"abc\\\"}\"}", "abc", "}\"}",
         CX_SECRET_NAMED},
        {"env:\n- name: DB_PASSWORD\n  value: hunter2\n- name: B\n  value: 1\n", "hunter2",
         "\n- name: B\n  value: 1\n", CX_SECRET_NAMED},
        {"tls.key: LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCk1IY0NBUUVFSUZsMVMrblVT\nb: 1\n",
         "QUklWQVRFIEtFWS0tLS0t", "\nb: 1\n", CX_SECRET_PRIVATE_KEY},
        {"{\"hash\" => 1, :secret => \"s3cr3t\"}", "s3cr3t", "\"}", CX_SECRET_NAMED},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_redactions found = {0}, again = {0};
        CX_AUTO(cx_free) char *out = redacted(NULL, rows[i].text, &found);
        CX_AUTO(cx_free) char *twice = redacted(NULL, out, &again);

        if (strstr(out, rows[i].secret) != NULL || strstr(out, rows[i].stays) == NULL ||
            found.of[rows[i].kind] == 0)
            fail_msg("row %zu: %s: %s", i, rows[i].text, out);
        if (again.total != 0 || strcmp(out, twice) != 0)
            fail_msg("row %zu: found again in %s: %s", i, out, twice);
    }
}

static void what_is_no_secret_stays(void **state)
{
    static const char *const texts[] = {
        "{\"time\":\"2026-11-24T10:00:00Z\",\"event\":\"agent_started\",\"id\":\"echo\"}",
        "- name: DB_PASSWORD\n  valueFrom: {secretKeyRef: {}}\n- name: HOME\n  value: /x\n",
        "ca: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJmVENDQVNPZ0F3SUJBZ0lVUjgK\n",
        "cert_dir: /etc/caxton/certs\npassphrase_file: /etc/p\nkey_type: p256\n",
        "-----BEGIN CERTIFICATE-----\nMIIBfTCCASOgAwIBAgIUR8\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC "
        "KEY-----\n",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709 Fixed: the token was stale",
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
        "https://node-1:8080/api/v1/messages?state=failed&limit=3 ssh://git@host/x",
        "{\"tokens\":12,\"token\":null,\"password\":\"\",\"secrets\":[]}",
        "password: \ntoken:\nsecret: ~\nhost: h",
        "the password is asked for; a token of the CA; bearer of news; 5 pass: 0 fail",
        "spiffe://prod/node/node-1 serial 1A2B3C node_secretive token_id: 01J",
        "PWD=/home/me OLDPWD=/tmp\npwd: /home/me",
        "if (token == NULL) return; tokens_max = 3",
        "",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(texts); i++) {
        cx_redactions found = {0};
        CX_AUTO(cx_free) char *out = redacted(NULL, texts[i], &found);

        if (found.total != 0 || strcmp(out, texts[i]) != 0)
            fail_msg("%s: %s", texts[i], out);
    }
}

static void what_the_caller_knows_is_found_anywhere(void **state)
{
    CX_AUTO(cx_redactor_close) cx_redactor *redactor = cx_redactor_open();
    cx_redactions found = {0};
    CX_AUTO(cx_free) char *out = NULL;

    (void)state;
    cx_redactor_know(redactor, cx_bytes_of("-----BEGIN PRIVATE KEY-----\n" PEM_BODY
                                           "\r\nshort\n# a comment of a file\nplain words 77\n"));
    out =
        redacted(redactor, "xx" PEM_BODY "yy short # a comment of a file plain words 77!", &found);
    assert_string_equal(out, "xx<redacted:known>yy short # a comment of a file <redacted:known>!");
    assert_int_equal(found.of[CX_SECRET_KNOWN], 2);
}

static void json_stays_json(void **state)
{
    static const char *const texts[] = {
        "{\"password\":\"x\",\"b\":[1]}",
        "{\"password\":77,\"b\":[1]}",
        "{\"tokens\":[\"a\",\"b\"],\"b\":[1]}",
        "{\"credentials\":{\"a\":{\"b\":\"}\"}},\"b\":[1]}",
        "{\"a\":[\"--token\",\"x\"],\"b\":[1]}",
        "{\"l\":\"password: x\\nnext\",\"b\":[1]}",
        "{\"l\":\"K=\\\"AKIAIOSFODNN7EXAMPLE\\\"\",\"b\":[1]}",
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(texts); i++) {
        cx_redactions found = {0};
        CX_AUTO(cx_free) char *out = redacted(NULL, texts[i], &found);
        CX_AUTO(cx_json_free) json_t *json = json_loads(out, 0, NULL);

        if (json == NULL || json_array_size(json_object_get(json, "b")) != 1 || found.total != 1)
            fail_msg("%s: %s", texts[i], out);
    }
}

static void a_mark_that_is_none_hides_nothing(void **state)
{
    cx_redactions found = {0};
    CX_AUTO(cx_free)
    char *out =
        redacted(NULL, "<redacted:AKIAIOSFODNN7EXAMPLE> password: <redacted:known>left", &found);

    (void)state;
    assert_null(strstr(out, "AKIA"));
    assert_null(strstr(out, "left"));
}

static void hostile_text_takes_no_square_of_time(void **state)
{
    static const char *const parts[] = {"-----BEGIN PRIVATE KEY-----",
                                        "token:[",
                                        "////",
                                        "a.a.a.",
                                        "--password ",
                                        "\\\\\\\\\"",
                                        "eyJa.",
                                        "<redacted:",
                                        "x://"};

    (void)state;
    for (size_t i = 0; i < CX_COUNT(parts); i++) {
        CX_AUTO(cx_buffer_free) cx_buffer text = {0};
        CX_AUTO(cx_buffer_free) cx_buffer out = {0};
        cx_redactions found = {0};

        while (text.size < 256 * 1024)
            cx_buffer_add_text(&text, parts[i]);
        alarm(20); /* a square would take minutes */
        cx_redact(NULL, cx_buffer_bytes(&text), &out, &found);
        alarm(0);
        assert_true(out.size > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_gone_and_the_rest_stays),
        cmocka_unit_test(what_is_no_secret_stays),
        cmocka_unit_test(what_the_caller_knows_is_found_anywhere),
        cmocka_unit_test(json_stays_json),
        cmocka_unit_test(a_mark_that_is_none_hides_nothing),
        cmocka_unit_test(hostile_text_takes_no_square_of_time),
    };

    return cmocka_run_group_tests_name("redact", tests, NULL, NULL);
}
