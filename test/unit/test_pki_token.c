#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "pki/key.h"
#include "pki/token.h"

static cx_token a_token(void)
{
    cx_token token;

    cx_token_generate(1700000000000, &token);
    strcpy(token.cluster, "prod");
    strcpy(token.node_id, "node-4");
    strcpy(token.url, "https://10.0.0.1:8443");
    memset(token.ca_sha256, 'a', CX_FINGERPRINT_SIZE - 1);
    return token;
}

static void a_token_reads_back_as_it_was(void **state)
{
    cx_token token = a_token(), back;
    CX_AUTO(cx_free_secret) char *text = cx_token_text(&token);
    CX_AUTO(cx_free) char *spaced = cx_format("  %s\n", text);
    cx_err err = {0};

    (void)state;
    assert_true(cx_token_parse(spaced, &back, &err));
    assert_memory_equal(&back, &token, sizeof token);
}

static void two_tokens_share_no_secret(void **state)
{
    cx_token a = a_token(), b = a_token();

    (void)state;
    assert_string_not_equal(a.secret, b.secret);
    assert_string_not_equal(a.id, b.id);
}

static void what_is_no_token_is_refused_without_a_word_of_it(void **state)
{
    cx_token token = a_token(), back;
    CX_AUTO(cx_free_secret) char *text = cx_token_text(&token);
    cx_err err = {0};

    (void)state;
    for (size_t size = 0; size < strlen(text); size++) {
        CX_AUTO(cx_free) char *cut = cx_strndup(text, size);

        if (cx_token_parse(cut, &back, &err))
            fail_msg("a cut to %zu bytes was taken", size);
        assert_int_equal(err.code, CX_TOKEN_INVALID);
        assert_int_equal(back.secret[0], 0);
    }

    static const struct {
        const char *name;
        const char *json;
    } rows[] = {
        {"not an object", "[]"},
        {"http", "{\"id\":\"1\",\"cluster\":\"c\",\"node_id\":\"n\",\"url\":\"http://h:1\"}"},
        {"a number for a text", "{\"id\":1}"},
        {"no JSON", "{"},
    };

    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *base64 = cx_base64url(cx_bytes_of(rows[i].json));
        CX_AUTO(cx_free) char *made = cx_format("cxj1.%s", base64);

        if (cx_token_parse(made, &back, &err))
            fail_msg("%s was taken", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_reads_back_as_it_was),
        cmocka_unit_test(two_tokens_share_no_secret),
        cmocka_unit_test(what_is_no_token_is_refused_without_a_word_of_it),
    };

    return cmocka_run_group_tests_name("pki_token", tests, NULL, NULL);
}
