#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/httpd.h"
#include "base/io.h"
#include "base/time.h"
#include "http_server.h"

enum { WAIT_MS = 10000, ANSWER_MAX = 4 * 1024 * 1024, ENDLESS = 100 * 1024 * 1024 };

static int connect_to(http_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* False when the server has closed. */
static bool give(int fd, const char *text)
{
    size_t size = strlen(text);

    return send(fd, text, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Reads until the server closes, or until `until` (NULL: nothing) is there. */
static char *take(int fd, const char *until)
{
    cx_buffer text = {0};
    int64_t end_ms = cx_now_ms() + WAIT_MS;

    cx_buffer_add_text(&text, "");
    while (text.size < ANSWER_MAX && !(until && strstr((char *)text.data, until))) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        ssize_t size;

        if (poll(&ready, 1, (int)(end_ms - cx_now_ms())) <= 0)
            fail_msg("nothing came for %d ms after \"%.80s\"", WAIT_MS, (char *)text.data);
        size = read(fd, cx_buffer_reserve(&text, 65537), 65536);
        if (size <= 0)
            break;
        text.size += (size_t)size;
        text.data[text.size] = '\0';
    }
    return cx_buffer_take_text(&text);
}

static char *ask(http_server *server, const char *request)
{
    CX_AUTO(cx_fd_close) int fd = connect_to(server);

    give(fd, request);
    return take(fd, NULL);
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static void a_request_is_answered(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free)
    char *answer = ask(server, "GET /echo?q=a%26b HTTP/1.1\r\nHost: a\r\nX-Test: yes\r\n"
                               "Connection: close\r\n\r\n");

    (void)state;
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 OK\r\nDate: ", 23), 0);
    assert_true(has(answer, " GMT\r\nContent-Type: application/json\r\nContent-Length: "));
    assert_true(has(answer, "\r\nConnection: close\r\nX-Answer: a  Injected: b\r\n\r\n{"));
    assert_true(has(answer, "\"method\":\"GET\"") && has(answer, "\"path\":\"/echo\""));
    assert_true(has(answer, "\"q\":\"a&b\"") && has(answer, "\"header\":\"yes\""));
    assert_true(has(answer, "\"peer\":\"127.0.0.1:"));
}

static void bodies_come_whole_by_length_and_in_chunks(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_fd_close) int fd = connect_to(server);

    (void)state;
    for (int round = 0; round < 3; round++) {
        CX_AUTO(cx_free) char *by_length = NULL;
        CX_AUTO(cx_free) char *in_chunks = NULL;

        give(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody-");
        give(fd, "one!");
        by_length = take(fd, "body-one!");
        give(fd, "PUT /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbody");
        give(fd, "-\r\n4\r\ntwo!\r\n0\r\n\r\n");
        in_chunks = take(fd, "body-two!");
        assert_true(has(by_length, "Content-Length: 9\r\n"));
        assert_true(has(in_chunks, "Content-Length: 9\r\n"));
    }
    assert_true(http_server_wait_connections(server, 1));
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_buffer_free) cx_buffer requests = {0};
    CX_AUTO(cx_free) char *answers = NULL;
    const char *at;

    (void)state;
    for (int i = 0; i < 2000; i++)
        cx_buffer_addf(&requests, "GET /echo?q=n%dn HTTP/1.1\r\nHost: a\r\n%s\r\n", i,
                       i == 1999 ? "Connection: close\r\n" : "");
    answers = ask(server, (const char *)requests.data);
    at = answers;
    for (int i = 0; i < 2000; i++) {
        char mark[32];

        snprintf(mark, sizeof(mark), "n%dn", i);
        at = strstr(at, mark);
        assert_non_null(at);
    }
}

static void a_stream_is_chunked_and_the_connection_stays(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_fd_close) int fd = connect_to(server);
    CX_AUTO(cx_free) char *stream = NULL;
    CX_AUTO(cx_free) char *head = NULL;
    CX_AUTO(cx_free) char *raw = NULL;

    (void)state;
    give(fd, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    stream = take(fd, "0\r\n\r\n");
    assert_true(has(stream, "Transfer-Encoding: chunked\r\n\r\n"
                            "4\r\none\n\r\n4\r\ntwo\n\r\n6\r\nthree\n\r\n0\r\n\r\n"));
    give(fd, "HEAD /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    head = take(fd, NULL);
    assert_true(has(head, "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"));
    assert_false(has(head, "one"));
    raw = ask(server, "GET /stream HTTP/1.0\r\n\r\n");
    assert_true(has(raw, "Connection: close\r\n\r\none\ntwo\nthree\n"));
}

static void head_has_no_body_and_the_next_answer_follows(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free)
    char *answer = ask(server, "HEAD /big?size=3 HTTP/1.1\r\nHost: a\r\n\r\n"
                               "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    (void)state;
    assert_true(has(answer, "Content-Length: 3\r\n\r\nHTTP/1.1 404 Not Found\r\n"));
    assert_true(has(answer, "{\"error\":{\"code\":\"not_found\""));
}

static void an_answer_of_megabytes_arrives(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free)
    char *answer =
        ask(server, "GET /big?size=3000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    (void)state;
    assert_int_equal(strlen(strstr(answer, "\r\n\r\n") + 4), 3000000);
}

static void what_is_refused_is_answered_and_closed(void **state)
{
    static const struct {
        const char *name, *request;
        const char *status;
    } rows[] = {
        {"garbage", "\x16\x03\x01\x02garbage", "400"},
        {"binary after a letter", "G\xff\xfe\r\n\r\n", "400"},
        {"two lengths",
         "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
        {"method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "405"},
        {"a body too long", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", "413"},
        {"expecting 100",
         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n",
         "413"},
        {"a chunk too long",
         "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n66\r\n", "413"},
        {"a bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n",
         "400"},
        {"version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505"},
        {"a forgotten exchange", "GET /forgotten HTTP/1.1\r\nHost: a\r\n\r\n", "500"},
    };
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(&(cx_httpd_options){.body_max = 100}, NULL);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_free) char *answer = ask(server, rows[i].request);

        if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || strncmp(answer + 9, rows[i].status, 3) != 0 ||
            !has(answer, "Connection: close\r\n") || !has(answer, "{\"error\":{\"code\":"))
            fail_msg("%s: %s", rows[i].name, answer);
    }
    assert_true(http_server_wait_connections(server, 0));
}

static void the_client_may_wait_for_a_go_ahead(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_fd_close) int fd = connect_to(server);
    CX_AUTO(cx_free) char *go_ahead = NULL;
    CX_AUTO(cx_free) char *answer = NULL;

    (void)state;
    give(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    go_ahead = take(fd, "\r\n\r\n");
    assert_string_equal(go_ahead, "HTTP/1.1 100 Continue\r\n\r\n");
    give(fd, "body");
    answer = take(fd, "\r\n\r\nbody");
}

static size_t give_block(int fd, const char *block, size_t size)
{
    ssize_t sent = send(fd, block, size, MSG_NOSIGNAL);

    return sent > 0 ? (size_t)sent : 0;
}

/* Sends on after the refusal too. */
static void a_header_and_a_body_without_end_are_cut_off(void **state)
{
    static const struct {
        const char *start, *status;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ", "HTTP/1.1 431 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", "HTTP/1.1 413 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
         "HTTP/1.1 413 "},
    };
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    char block[65536];

    (void)state;
    memset(block, 'x', sizeof(block));
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_fd_close) int fd = connect_to(server);
        CX_AUTO(cx_free) char *answer = NULL;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        size_t sent = 0;

        give(fd, rows[i].start);
        while (poll(&ready, 1, 0) == 0 && sent < ENDLESS)
            sent += give_block(fd, block, sizeof(block));
        answer = take(fd, "\r\n\r\n");
        assert_int_equal(strncmp(answer, rows[i].status, strlen(rows[i].status)), 0);
        for (size_t more = 1; more > 0 && sent < ENDLESS; sent += more)
            more = give_block(fd, block, sizeof(block));
    }
    assert_true(http_server_wait_connections(server, 0));
}

/* One byte now and then, each well within the idle time-out. */
static void a_client_that_drips_is_ended(void **state)
{
    static const char *const starts[] = {
        "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n",
    };
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(
        &(cx_httpd_options){.idle_timeout_ms = 2000, .request_timeout_ms = 300}, NULL);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(starts); i++) {
        CX_AUTO(cx_fd_close) int fd = connect_to(server);
        CX_AUTO(cx_free) char *answer = NULL;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int64_t end_ms = cx_now_ms() + WAIT_MS;

        give(fd, starts[i]);
        while (poll(&ready, 1, 10) == 0 && cx_now_ms() < end_ms)
            give(fd, "x");
        answer = take(fd, "\r\n\r\n");
        assert_true(has(answer, "HTTP/1.1 408 "));
    }
    assert_true(http_server_wait_connections(server, 0));
}

static void who_says_nothing_is_closed(void **state)
{
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(&(cx_httpd_options){.idle_timeout_ms = 100}, NULL);
    CX_AUTO(cx_fd_close) int silent = connect_to(server);
    CX_AUTO(cx_fd_close) int halfway = connect_to(server);
    CX_AUTO(cx_fd_close) int after_one = connect_to(server);
    CX_AUTO(cx_free) char *nothing = NULL;
    CX_AUTO(cx_free) char *late = NULL;
    CX_AUTO(cx_free) char *one = NULL;

    (void)state;
    give(halfway, "GET / HT");
    give(after_one, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    nothing = take(silent, NULL);
    late = take(halfway, NULL);
    one = take(after_one, NULL);
    assert_string_equal(nothing, "");
    assert_true(has(late, "HTTP/1.1 408 "));
    assert_true(has(one, "HTTP/1.1 200 ") && !has(one, "HTTP/1.1 408"));
}

static void who_takes_nothing_is_closed(void **state)
{
    static const char *const requests[] = {
        "GET /big?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(&(cx_httpd_options){.idle_timeout_ms = 200}, NULL);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(requests); i++) {
        CX_AUTO(cx_fd_close) int fd = connect_to(server);

        give(fd, requests[i]);
        assert_true(http_server_wait_connections(server, 1));
        assert_true(http_server_wait_connections(server, 0));
    }
    assert_true(http_server_wait_gone(server, 1));
}

static void a_flood_of_connections_is_closed_at_the_limit(void **state)
{
    CX_AUTO(http_server_close)
    http_server *server = http_server_open(
        &(cx_httpd_options){.connections_max = 8, .spare_ms = INT64_C(600000)}, NULL);
    int fds[64];
    size_t closed = 0;

    (void)state;
    for (size_t i = 0; i < CX_COUNT(fds); i++)
        fds[i] = connect_to(server);
    for (size_t i = 8; i < CX_COUNT(fds); i++) {
        CX_AUTO(cx_free) char *nothing = take(fds[i], NULL);

        closed += strlen(nothing) == 0;
    }
    assert_int_equal(closed, CX_COUNT(fds) - 8);
    assert_true(http_server_wait_connections(server, 8));
    for (size_t i = 0; i < CX_COUNT(fds); i++)
        close(fds[i]);
    assert_true(http_server_wait_connections(server, 0));

    CX_AUTO(cx_free)
    char *answer = ask(server, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    assert_true(has(answer, "HTTP/1.1 200 "));
}

static void who_sends_no_request_makes_room(void **state)
{
    CX_AUTO(http_server_close)
    http_server *server =
        http_server_open(&(cx_httpd_options){.connections_max = 8, .spare_ms = 1}, NULL);
    int fds[8];

    (void)state;
    for (size_t i = 0; i < CX_COUNT(fds); i++) {
        fds[i] = connect_to(server);
        if (i % 2 == 1)
            give(fds[i], "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
    }
    assert_true(http_server_wait_connections(server, CX_COUNT(fds)));
    usleep(2000);

    CX_AUTO(cx_free)
    char *answer = ask(server, "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    assert_true(has(answer, "HTTP/1.1 200 "));
    assert_true(http_server_wait_connections(server, CX_COUNT(fds) - 1));
    for (size_t i = 0; i < CX_COUNT(fds); i++)
        close(fds[i]);
}

static void a_client_gone_before_the_answer_is_noticed(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);

    (void)state;
    for (int i = 1; i <= 20; i++) {
        CX_AUTO(cx_fd_close) int fd = connect_to(server);

        give(fd, "GET /kept HTTP/1.1\r\nHost: a\r\n\r\n");
        if (i % 2 == 0) /* one that goes by a reset */
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        assert_true(http_server_wait_connections(server, 1));
        usleep(i % 4 == 0 ? 20000 : 0);
        cx_fd_close(&fd);
        assert_true(http_server_wait_connections(server, 0));
    }
    assert_true(http_server_gone(server) >= 10);
}

static void the_server_ends_while_clients_are_at_every_stage(void **state)
{
    static const char *const requests[] = {
        "",
        "GET /",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nb",
        "GET /kept HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /big?size=9000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "garbage",
    };
    int fds[CX_COUNT(requests)];
    http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);

    (void)state;
    for (size_t i = 0; i < CX_COUNT(requests); i++) {
        fds[i] = connect_to(server);
        give(fds[i], requests[i]);
    }
    assert_true(http_server_wait_connections(server, CX_COUNT(requests)));
    http_server_close(&server);
    for (size_t i = 0; i < CX_COUNT(requests); i++)
        close(fds[i]);
}

static void a_taken_address_is_named(void **state)
{
    CX_AUTO(http_server_close) http_server *server = http_server_open(&(cx_httpd_options){0}, NULL);
    CX_AUTO(cx_free) char *taken = cx_format("127.0.0.1:%u", http_server_port(server));
    static const char *const bad[] = {"",      "127.0.0.1",     "127.0.0.1:", "127.0.0.1:x",
                                      "a:b:1", "1.2.3.4:65536", "[::1:80"};
    struct event_base *loop = event_base_new();
    cx_httpd_options options = {.address = taken, .handler = (cx_httpd_handler *)1};
    cx_httpd *httpd = NULL;
    cx_err err;

    (void)state;
    assert_false(cx_httpd_open(loop, &options, &httpd, &err));
    assert_int_equal(err.code, CX_UNAVAILABLE);
    assert_true(has(err.message, taken));
    for (size_t i = 0; i < CX_COUNT(bad); i++) {
        options.address = bad[i];
        assert_false(cx_httpd_open(loop, &options, &httpd, &err));
        assert_int_equal(err.code, CX_INVALID);
    }
    assert_null(httpd);
    event_base_free(loop);
}

static SSL *connect_tls(int fd, SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);

    SSL_set_fd(ssl, fd);
    SSL_connect(ssl);
    return ssl;
}

static void tls_serves_whom_it_trusts(void **state)
{
    test_cert ours = test_cert_make("server", -60, 3600);
    test_cert theirs = test_cert_make("client", -60, 3600);
    SSL_CTX *server_context = test_context(TLS_server_method(), &ours, &theirs);
    SSL_CTX *client_context = test_context(TLS_client_method(), &theirs, &ours);
    http_server *server = http_server_open(&(cx_httpd_options){0}, server_context);

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char request[] =
            "GET /big?size=2000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        CX_AUTO(cx_fd_close) int fd = connect_to(server);
        SSL *ssl = connect_tls(fd, client_context);
        char block[16384];
        size_t taken = 0;
        int size;

        assert_int_equal(SSL_write(ssl, request, sizeof(request) - 1), sizeof(request) - 1);
        while ((size = SSL_read(ssl, block, sizeof(block))) > 0)
            taken += (size_t)size;
        assert_int_equal(SSL_get_error(ssl, size), SSL_ERROR_ZERO_RETURN);
        assert_true(taken > 2000000);
        SSL_free(ssl);
    }
    assert_true(http_server_wait_connections(server, 0));
    http_server_close(&server);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    test_cert_free(&ours);
    test_cert_free(&theirs);
}

static void tls_tells_whom_it_refuses(void **state)
{
    test_cert ours = test_cert_make("server", -60, 3600);
    test_cert theirs = test_cert_make("client", -7200, -3600);
    test_cert stranger = test_cert_make("stranger", -60, 3600);
    SSL_CTX *server_context = test_context(TLS_server_method(), &ours, &theirs);
    http_server *server =
        http_server_open(&(cx_httpd_options){.idle_timeout_ms = 300}, server_context);
    const struct {
        const char *name;
        const test_cert *cert;
        const char *sends; /* instead of a handshake */
        const char *reason;
    } rows[] = {
        {"expired", &theirs, NULL, "certificate has expired"},
        {"a stranger", &stranger, NULL, "self-signed certificate"},
        {"no certificate", NULL, NULL, "peer did not return a certificate"},
        {"plain HTTP", NULL, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http request"},
        {"garbage", NULL, "garbage garbage garbage", "wrong version number"},
        {"half a hello", NULL, "\x16\x03\x01", "the handshake took too long"},
    };

    (void)state;
    for (size_t i = 0; i < CX_COUNT(rows); i++) {
        CX_AUTO(cx_fd_close) int fd = connect_to(server);
        SSL_CTX *context = test_context(TLS_client_method(), rows[i].cert, &ours);
        SSL *ssl = NULL;
        char reason[256], byte;

        if (rows[i].sends) {
            CX_AUTO(cx_free) char *alert = NULL;

            give(fd, rows[i].sends);
            alert = take(fd, NULL);
        } else {
            ssl = connect_tls(fd, context);
            assert_true(SSL_read(ssl, &byte, 1) <= 0);
        }
        http_server_take_refusal(server, reason);
        if (strcmp(reason, rows[i].reason) != 0)
            fail_msg("%s: %s", rows[i].name, reason);
        SSL_free(ssl);
        SSL_CTX_free(context);
    }
    http_server_close(&server);
    SSL_CTX_free(server_context);
    test_cert_free(&ours);
    test_cert_free(&theirs);
    test_cert_free(&stranger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered),
        cmocka_unit_test(bodies_come_whole_by_length_and_in_chunks),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_stream_is_chunked_and_the_connection_stays),
        cmocka_unit_test(head_has_no_body_and_the_next_answer_follows),
        cmocka_unit_test(an_answer_of_megabytes_arrives),
        cmocka_unit_test(what_is_refused_is_answered_and_closed),
        cmocka_unit_test(the_client_may_wait_for_a_go_ahead),
        cmocka_unit_test(a_header_and_a_body_without_end_are_cut_off),
        cmocka_unit_test(a_client_that_drips_is_ended),
        cmocka_unit_test(who_says_nothing_is_closed),
        cmocka_unit_test(who_takes_nothing_is_closed),
        cmocka_unit_test(a_flood_of_connections_is_closed_at_the_limit),
        cmocka_unit_test(who_sends_no_request_makes_room),
        cmocka_unit_test(a_client_gone_before_the_answer_is_noticed),
        cmocka_unit_test(the_server_ends_while_clients_are_at_every_stage),
        cmocka_unit_test(a_taken_address_is_named),
        cmocka_unit_test(tls_serves_whom_it_trusts),
        cmocka_unit_test(tls_tells_whom_it_refuses),
    };

    return cmocka_run_group_tests_name("httpd", tests, NULL, NULL);
}
