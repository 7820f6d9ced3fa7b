#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

static void a_slip_of_the_finger_finds_the_nearest_word(void **state)
{
    static const char *const words[] = {"issue", "init", "token create", "list", "verify"};
    static const struct {
        const char *word, *nearest;
    } rows[] = {
        {"isue", "issue"},  {"issuse", "issue"},
        {"sisue", "issue"}, {"ISSUE", "issue"},
        {"lsit", "list"},   {"token craete", "token create"},
        {"x", NULL},        {"", NULL},
        {"backup", NULL},   {"verifies", "verify"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        const char *nearest = cx_nearest(rows[i].word, words, CX_COUNT(words));

        if (rows[i].nearest == NULL ? nearest != NULL
                                    : nearest == NULL || strcmp(nearest, rows[i].nearest) != 0)
            fail_msg("'%s' gives %s", rows[i].word, nearest != NULL ? nearest : "nothing");
    }
}

static void a_very_long_word_has_no_nearest(void **state)
{
    char word[1000];
    const char *const words[] = {word};

    (void)state;
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    assert_null(cx_nearest(word, words, 1));
    assert_null(cx_nearest("aaaa", words, 1));
}

static void an_id_is_fit_for_a_file_name(void **state)
{
    static const struct {
        const char *id;
        bool good;
    } rows[] = {
        {"node-1", true},
        {"A.b_c-9", true},
        {"9", true},
        {"", false},
        {".", false},
        {"..", false},
        {"-x", false},
        {"a/b", false},
        {"a b", false},
        {"n\u00f6de", false},
        {"a\n", false},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    cx_err err;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (cx_check_id("node id", rows[i].id, &err) != rows[i].good)
            fail_msg("'%s'", rows[i].id);
}

static void an_address_is_split_or_refused(void **state)
{
    static const struct {
        const char *text;
        uint16_t default_port;
        const char *host; /* NULL: refused */
        uint16_t port;
    } rows[] = {
        {"10.0.0.1:7946", 0, "10.0.0.1", 7946},
        {"10.0.0.1", 7946, "10.0.0.1", 7946},
        {"10.0.0.1", 0, NULL, 0},
        {"node-1.example:65535", 0, "node-1.example", 65535},
        {"[::1]:80", 0, "::1", 80},
        {"[::1]", 81, "::1", 81},
        {"[fe80::1%eth0]:80", 0, "fe80::1%eth0", 80},
        {"[fe80::1%]:80", 0, NULL, 0},
        {"::1:80", 0, NULL, 0},
        {"[::1:80", 0, NULL, 0},
        {"[::1]x80", 0, NULL, 0},
        {"[host]:80", 0, NULL, 0},
        {"[]:80", 0, NULL, 0},
        {"[", 80, NULL, 0},
        {":80", 0, NULL, 0},
        {"", 80, NULL, 0},
        {"host:", 80, NULL, 0},
        {"host:0", 0, NULL, 0},
        {"host:65536", 0, NULL, 0},
        {"host:99999999999999999999999", 0, NULL, 0},
        {"host:+80", 0, NULL, 0},
        {"host:80 ", 0, NULL, 0},
        {"user@host:80", 0, NULL, 0},
        {"http://host:80", 0, NULL, 0},
        {"-oProxyCommand=x:80", 0, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *host = NULL;
        uint16_t port = 0;
        cx_err err = {0};
        bool good = cx_parse_host_port(rows[i].text, rows[i].default_port, &host, &port, &err);

        if (good != (rows[i].host != NULL))
            fail_msg("'%s' is %s", rows[i].text, good ? "accepted" : "refused");
        if (good && (strcmp(host, rows[i].host) != 0 || port != rows[i].port))
            fail_msg("'%s' gives %s and %u", rows[i].text, host, port);
        if (!good)
            assert_int_equal(err.code, CX_INVALID);
    }
}

/* Vectors of RFC 4648, section 10. */
static void base64_has_the_vectors_of_its_rfc(void **state)
{
    static const struct {
        const char *plain, *coded;
    } rows[] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *coded = cx_base64(cx_bytes_of(rows[i].plain));
        CX_AUTO(cx_free) char *url = cx_base64url(cx_bytes_of(rows[i].plain));
        CX_AUTO(cx_buffer_free) cx_buffer data = {0};
        cx_err err;

        assert_string_equal(coded, rows[i].coded);
        assert_int_equal(strlen(url), strcspn(rows[i].coded, "="));
        assert_true(cx_from_base64(coded, 6, &data, &err));
        assert_true(cx_bytes_equal(cx_buffer_bytes(&data), cx_bytes_of(rows[i].plain)));
        cx_buffer_clear(&data);
        assert_true(cx_from_base64(url, 6, &data, &err));
        assert_true(cx_bytes_equal(cx_buffer_bytes(&data), cx_bytes_of(rows[i].plain)));
    }
}

static void both_alphabets_of_base64_are_read(void **state)
{
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    (void)state;
    assert_true(cx_from_base64("-_-_+/+/", 6, &data, &err));
    assert_memory_equal(data.data, "\xfb\xff\xbf\xfb\xff\xbf", 6);
}

static void wrong_base64_is_refused_and_adds_nothing(void **state)
{
    static const char *const rows[] = {
        "Z",      "Zg=", "Zg===", "Zg==Zg==", "Zm9=v", "Z g=",
        "Zg==\n", "=",   "====",  "Zh==",     "Zm9=",  "Zm9v!A==",
    };
    CX_AUTO(cx_buffer_free) cx_buffer data = {0};
    cx_err err;

    (void)state;
    cx_buffer_add_text(&data, "before");
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        if (cx_from_base64(rows[i], 100, &data, &err) || data.size != 6)
            fail_msg("'%s' is accepted", rows[i]);
    assert_false(cx_from_base64("Zm9vYg==", 3, &data, &err));
    assert_int_equal(err.code, CX_TOO_LARGE);
}

static void hex_comes_back(void **state)
{
    CX_AUTO(cx_free) char *text = cx_hex((cx_bytes){(const uint8_t *)"\x00\xab\xff", 3});
    uint8_t data[3] = {1, 2, 3};
    cx_err err;

    (void)state;
    assert_string_equal(text, "00abff");
    assert_true(cx_from_hex("00ABff", data, 3, &err));
    assert_memory_equal(data, "\x00\xab\xff", 3);
    assert_false(cx_from_hex("00ab", data, 3, &err));
    assert_false(cx_from_hex("00abfg", data, 3, &err));
}

static void ids_sort_by_their_time(void **state)
{
    char earlier[CX_ULID_SIZE];
    char later[CX_ULID_SIZE];
    char same[CX_ULID_SIZE];

    (void)state;
    cx_ulid(1469918176385, earlier);
    cx_ulid(1469918176386, later);
    cx_ulid(1469918176386, same);
    assert_int_equal(strlen(earlier), 26);
    assert_memory_equal(earlier, "01ARYZ6S41", 10); /* the ULID specification's own example */
    assert_true(strcmp(earlier, later) < 0);
    assert_string_not_equal(later, same);
    assert_int_equal(strspn(later, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), 26);
}

static void the_digest_is_sha256(void **state)
{
    uint8_t digest[CX_SHA256_SIZE];

    (void)state;
    cx_sha256(cx_bytes_of("abc"), digest); /* FIPS 180-2, appendix B.1 */

    CX_AUTO(cx_free) char *text = cx_hex((cx_bytes){digest, sizeof(digest)});

    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    cx_sha256((cx_bytes){0}, digest);
    assert_int_equal(digest[0], 0xe3);
}

static void a_part_of_a_url_is_encoded_as_its_rfc_says(void **state)
{
    CX_AUTO(cx_free) char *plain = cx_percent_encoded("AZaz09-._~");
    CX_AUTO(cx_free) char *odd = cx_percent_encoded("a b/c?&=%+\x7f\xc3\xa4");
    CX_AUTO(cx_free) char *empty = cx_percent_encoded("");
    CX_AUTO(cx_buffer_free) cx_buffer path = {0};

    (void)state;
    assert_string_equal(plain, "AZaz09-._~");
    assert_string_equal(odd, "a%20b%2Fc%3F%26%3D%25%2B%7F%C3%A4");
    assert_string_equal(empty, "");
    cx_percent_add(&path, "x/y z", true);
    assert_string_equal((char *)path.data, "x/y%20z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slip_of_the_finger_finds_the_nearest_word),
        cmocka_unit_test(a_very_long_word_has_no_nearest),
        cmocka_unit_test(an_id_is_fit_for_a_file_name),
        cmocka_unit_test(an_address_is_split_or_refused),
        cmocka_unit_test(base64_has_the_vectors_of_its_rfc),
        cmocka_unit_test(both_alphabets_of_base64_are_read),
        cmocka_unit_test(wrong_base64_is_refused_and_adds_nothing),
        cmocka_unit_test(hex_comes_back),
        cmocka_unit_test(ids_sort_by_their_time),
        cmocka_unit_test(the_digest_is_sha256),
        cmocka_unit_test(a_part_of_a_url_is_encoded_as_its_rfc_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
