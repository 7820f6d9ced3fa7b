#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/httpwire.h"

static void a_head_is_taken_apart(void **state)
{
    cx_httpwire_head head;
    const char *text = "PUT /v1/a%20b/c?name=x%2Fy&flag&empty=&two=1+2 HTTP/1.1\r\n"
                       "Host: node-1\r\nX-One:  padded \t\r\ncontent-length: 12\r\n"
                       "Expect: 100-Continue\r\n\r\n";

    (void)state;
    assert_int_equal(cx_httpwire_parse(cx_bytes_of(text), &head), 0);
    assert_string_equal(head.method, "PUT");
    assert_string_equal(head.path, "/v1/a b/c");
    assert_string_equal(cx_httpwire_query(&head, "name"), "x/y");
    assert_string_equal(cx_httpwire_query(&head, "flag"), "");
    assert_string_equal(cx_httpwire_query(&head, "empty"), "");
    assert_string_equal(cx_httpwire_query(&head, "two"), "1 2");
    assert_null(cx_httpwire_query(&head, "three"));
    assert_string_equal(cx_httpwire_header(&head, "x-one"), "padded");
    assert_null(cx_httpwire_header(&head, "x-two"));
    assert_int_equal(head.content_length, 12);
    assert_true(head.keep_alive && head.wants_continue && !head.is_chunked);
    cx_httpwire_head_free(&head);
    cx_httpwire_head_free(&head);
}

static void what_two_readers_could_understand_differently_is_refused(void **state)
{
    static const struct {
        const char *name, *text;
        int status;
    } rows[] = {
        {"nothing", "", 400},
        {"no end", "GET / HTTP/1.1\r\nHost: a\r\n", 400},
        {"bare line feeds", "GET / HTTP/1.1\nHost: a\n\n", 400},
        {"a bare CR", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},
        {"more after the end", "GET / HTTP/1.1\r\nHost: a\r\n\r\nx", 400},
        {"two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"a blank at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"no version", "GET /\r\n\r\n", 400},
        {"a later version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"another protocol", "GET / ICY/1.1\r\nHost: a\r\n\r\n", 400},
        {"another method", "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"a method in small letters", "get / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"a method that is no word", "G\"T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"absolute form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"eight bits in the target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"half an escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"an escaped NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"an escaped line end", "GET /a?b=%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
        {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"a folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},
        {"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
        {"a control character", "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", 400},
        {"two lengths",
         "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n", 400},
        {"a list of lengths", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400},
        {"a signed length", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
        {"an empty length", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
        {"a length beyond 64 bits",
         "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        {"length and chunks",
         "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"another encoding",
         "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"chunks in HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"another expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_httpwire_head head;
        int status = cx_httpwire_parse(cx_bytes_of(rows[i].text), &head);

        if (status != rows[i].status)
            fail_msg("%s: %d", rows[i].name, status);
        assert_null(head.text);
    }
}

static void a_hundred_header_lines_are_enough(void **state)
{
    cx_buffer text = {0};
    cx_httpwire_head head;

    (void)state;
    cx_buffer_add_text(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < CX_HTTPWIRE_FIELDS_MAX; i++)
        cx_buffer_addf(&text, "X-%d: y\r\n", i);
    cx_buffer_add_text(&text, "\r\n");
    assert_int_equal(cx_httpwire_parse(cx_buffer_bytes(&text), &head), 431);
    cx_buffer_free(&text);
}

static void the_client_says_whether_the_connection_stays(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        cx_httpwire_head head;

        assert_int_equal(cx_httpwire_parse(cx_bytes_of(rows[i].text), &head), 0);
        if (head.keep_alive != rows[i].keep_alive)
            fail_msg("%s", rows[i].text);
        cx_httpwire_head_free(&head);
    }
}

/* In pieces of step bytes. */
static int take(const char *text, size_t step, size_t body_max, cx_buffer *body, size_t *used)
{
    cx_httpwire_chunked chunked = {0};
    size_t size = strlen(text);
    size_t at = 0;
    int status = 0;

    while (at < size && status == 0 && chunked.state != CX_CHUNKED_DONE) {
        size_t piece = size - at < step ? size - at : step;
        cx_bytes input = {(const uint8_t *)text + at, piece};

        status = cx_httpwire_chunked_take(&chunked, &input, body_max, body);
        at += piece - input.size;
    }
    *used = at;
    if (status == 0 && chunked.state != CX_CHUNKED_DONE)
        return -1;
    return status;
}

static void chunks_give_the_same_body_however_they_are_cut(void **state)
{
    const char *text = "4;name=\"x\"\r\nWiki\r\n0005\r\npedia\r\nA\r\n0123456789\r\n0\r\n"
                       "Trailer: yes\r\n\r\n";
    CX_AUTO(cx_free) char *with_more = cx_format("%sGET /", text);

    (void)state;
    for (size_t step = 1; step <= strlen(text); step++) {
        cx_buffer body = {0};
        size_t used;

        assert_int_equal(take(with_more, step, 19, &body, &used), 0);
        assert_int_equal(used, strlen(text));
        assert_string_equal(body.data, "Wikipedia0123456789");
        cx_buffer_free(&body);
    }
}

static void broken_chunks_are_refused(void **state)
{
    static const struct {
        const char *name, *text;
        int status;
    } rows[] = {
        {"unfinished", "4\r\nWi", -1},
        {"no digits", ";x\r\n", 400},
        {"a sign", "-1\r\n", 400},
        {"a bare line feed", "4\nWiki\r\n0\r\n\r\n", 400},
        {"data longer than said", "4\r\nWikix\r\n", 400},
        {"other text after the size", "4 x\r\nWiki\r\n", 400},
        {"a size of 64 bits", "ffffffffffffffff\r\n", 400},
        {"one byte too many", "15\r\n", 413},
        {"too many in all", "10\r\n0123456789012345\r\n5\r\n", 413},
        {"a huge chunk", "fffffffffffffff\r\n", 413},
    };
    char long_line[1024];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++)
        for (size_t step = 1; step < 64; step++) {
            cx_buffer body = {0};
            size_t used;
            int status = take(rows[i].text, step, 20, &body, &used);

            if (status != rows[i].status)
                fail_msg("%s: %d in pieces of %zu", rows[i].name, status, step);
            cx_buffer_free(&body);
        }
    memset(long_line, '0', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\0';
    cx_buffer body = {0};
    size_t used;

    assert_int_equal(take(long_line, 1000, 20, &body, &used), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(what_two_readers_could_understand_differently_is_refused),
        cmocka_unit_test(a_hundred_header_lines_are_enough),
        cmocka_unit_test(the_client_says_whether_the_connection_stays),
        cmocka_unit_test(chunks_give_the_same_body_however_they_are_cut),
        cmocka_unit_test(broken_chunks_are_refused),
    };

    return cmocka_run_group_tests_name("httpwire", tests, NULL, NULL);
}
